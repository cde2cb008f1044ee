// Every color is seen on what it stands on, and none has two roles.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MARKS, TEXTS, along, channels, contrast, inkOn, themeNamed } from "../static/colors.js";

/** @import { Colors } from "../static/colors.js" */

/** @type {["light", "dark"]} */
const NAMES = ["light", "dark"];

/**
 * The colors of a role.
 * @param {Colors} colors
 * @param {keyof Colors} role
 */
const of = (colors, role) => [colors[role]].flat();

/**
 * The pairs of a front and a back that have less contrast than needed.
 * @param {readonly (readonly [keyof Colors, keyof Colors])[]} pairs
 * @param {number} least
 */
function pale(pairs, least, themes = NAMES.map(themeNamed)) {
  return themes.flatMap((colors) => pairs.flatMap(([front, back]) => of(colors, front).flatMap((one) => of(colors, back).filter((other) => contrast(channels(one), channels(other)) < least).map((other) => `${front} ${one} on ${back} ${other}`))));
}

test("contrast is that of WCAG", () => {
  assert.equal(contrast([0, 0, 0], [255, 255, 255]), 21);
  assert.equal(contrast([255, 255, 255], [255, 255, 255]), 1);
  assert.equal(contrast(channels("#767676"), [255, 255, 255]).toFixed(2), "4.54"); // the palest gray for texts on white
});

test("texts have a contrast of 4.5", () => assert.deepEqual(pale(TEXTS, 4.5), []));

test("marks have a contrast of 3", () => assert.deepEqual(pale(MARKS, 3), []));

test("a color that is too pale is found", () => {
  assert.deepEqual(pale([["muted", "page"]], 4.5, [{ ...themeNamed("light"), muted: "#999999" }]), ["muted #999999 on page #ffffff"]);
});

test("every color has a place in a list, or is one that others stand on", () => {
  const used = new Set(/** @type {readonly string[]} */ ([...TEXTS, ...MARKS].flat()));
  const decoration = ["line", "faint", "heat", "density"]; // lines of a grid, points that the filter leaves out, and cells and shades, of which the tip says the value
  assert.deepEqual(Object.keys(themeNamed("light")).filter((role) => !used.has(role) && !decoration.includes(role)), []);
});

test("a value in a cell is legible on every color of the heatmap", () => {
  for (const name of NAMES) {
    for (let at = 0; at <= 100; at++) {
      const color = along(themeNamed(name).heat, at / 100);
      assert.ok(contrast(channels(inkOn(color)), color) >= 4.5, `${name} ${at}`);
    }
  }
});

test("zero differs from the hatching of cells without a value", () => {
  for (const { hatch, heat } of NAMES.map(themeNamed)) assert.ok(contrast(channels(hatch), channels(heat[5])) >= 3);
});

/**
 * A color as CIE L*a*b*.
 * @param {string} hex
 */
function lab(hex) {
  const [red, green, blue] = channels(hex).map((channel) => (channel <= 10.31 ? channel / 3294.6 : ((channel / 255 + 0.055) / 1.055) ** 2.4));
  const xyz = [(0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505, 0.2126 * red + 0.7152 * green + 0.0722 * blue, (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089];
  const [x, y, z] = xyz.map((value) => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/**
 * The distance of two colors in L*a*b*; 2 is just visible.
 * @param {string} one
 * @param {string} other
 */
const distance = (one, other) => Math.hypot(...lab(one).map((value, at) => value - lab(other)[at]));

test("pins have neither the color of a flag, nor that of the selected pair, nor that of another pin", () => {
  for (const { pins, stranger, lookalike, select } of NAMES.map(themeNamed)) {
    const close = pins.flatMap((pin, at) => [stranger, lookalike, select, ...pins.slice(0, at)].filter((other) => distance(pin, other) < 20).map((other) => `${pin} ${other}`));
    assert.deepEqual(close, []);
    assert.ok([[stranger, lookalike], [stranger, select], [lookalike, select]].every(([one, other]) => distance(one, other) > 40));
  }
});

test("a color between two stops is their mean", () => {
  const stops = ["#000000", "#646464", "#ffffff"];
  assert.deepEqual([along(stops, 0.5), along(stops, 0.25), along(stops, -3), along(stops, 7)], [[100, 100, 100], [50, 50, 50], [0, 0, 0], [255, 255, 255]]);
});
