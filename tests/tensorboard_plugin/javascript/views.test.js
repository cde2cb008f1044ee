// What the views work out before they draw.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { along, spread } from "../static/colors.js";
import { number, shortened, ticks } from "../static/dom.js";
import { headline } from "../static/headline.js";
import { DEFAULTS, format, parse } from "../static/link.js";
import { Step, expectedCurve, keyOf, matrix } from "../static/step.js";
import { RUNGS, textsOf } from "../static/rungs.js";
import { csv, filtered, sorted } from "../static/table.js";
import { decode } from "../static/wire.js";

function step(name = "ten labels") {
  const bytes = readFileSync(new URL(`../fixtures/${name}.bin`, import.meta.url));
  return new Step(decode(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)));
}

const app = (state = {}, pins = []) => ({ state: { ...DEFAULTS, ...state, pins }, isPinned: (pair) => pins.some((one) => keyOf(one) === keyOf(pair)) });

test("a state goes through a link and comes back", () => {
  const state = { ...DEFAULTS, run: 'a&b=c#d "<i>" %41 ש', tag: "cossim_val", step: 120, run2: "other", x: "raw_cosine", sort: "overlap", down: false, query: "coat & shirt", flag: "stranger", pair: [3, 17], pins: [[0, 1], [4, 9]] };
  assert.deepEqual(parse(format(state)), state);
});

test("a link keeps what is not ours, and leaves out what is as usual", () => {
  assert.equal(format(DEFAULTS, "#lightning_cossim&other=1"), "#lightning_cossim&other=1");
  assert.equal(format({ ...DEFAULTS, step: 3 }, "#lightning_cossim&p.lightning_cossim.step=9"), "#lightning_cossim&p.lightning_cossim.step=3");
});

test("a link that makes no sense is the default", () => {
  const broken = "#p.lightning_cossim.step=x&p.lightning_cossim.pair=1-2-3&p.lightning_cossim.pins=a,1-2&p.lightning_cossim.run=%E0%A4%A&p.lightning_cossim.__proto__=1";
  assert.deepEqual(parse(broken), { ...DEFAULTS, pins: [[1, 2]] });
  assert.deepEqual(parse(""), DEFAULTS);
});

test("a pair is found by its labels, whichever place they have", () => {
  const one = step("chosen pairs");
  for (const index of [0, 17, one.num - 1]) assert.equal(one.indexOf(one.pairAt(index)), index);
  assert.equal(one.indexOf([999998, 999999]), -1);
  assert.equal(one.indexOf(null), -1);
});

test("a pair is found in another run by its names", () => {
  const [one, other] = [step(), step()];
  other.labels = [...other.labels].reverse(); // the same names, rows of the head counted the other way round
  other.placeOf = new Map(other.labels.map((label, place) => [label, place]));
  assert.deepEqual(other.pairFrom(one, [2, 6]), [3, 7]);
  other.names = other.names.map((name) => `${name}!`);
  assert.equal(other.pairFrom(one, [2, 6]), null);
});

test("names that are not of one label alone are no way to find a pair", () => {
  const [one, other] = [step(), step()];
  for (const side of [one, other]) side.names = side.names.map((name, place) => (place < 3 ? "the" : name));
  assert.deepEqual(other.pairFrom(one, [1, 6]), [1, 6]); // the same row, of the same name
  other.labels = [...other.labels].reverse();
  assert.equal(other.pairFrom(one, [1, 6]), null);
});

test("a label keeps the name that some step had for it", () => {
  const one = step();
  one.known = new Map([[4711, "zebra"]]);
  assert.deepEqual([one.nameOf(4711), one.nameOf(12), one.nameOf(2)], ["zebra", "label 12", "Pullover"]);
});

test("the search wants every word in one of the two labels", () => {
  const one = step();
  const found = (state, pins) => filtered(one, app(state, pins)).map((pair) => one.namesAt(pair).join("/"));
  assert.equal(found({}).length, 45);
  assert.equal(found({ query: "COAT" }).length, 9);
  assert.deepEqual(found({ query: "coat shirt" }).sort(), ["Coat/Shirt", "T-shirt/Coat"]);
  assert.deepEqual(found({ query: "nothing" }), []);
  assert.deepEqual(found({ flag: "pinned" }, [[2, 6]]), ["Pullover/Shirt"]);
  const num = one.numFlagged;
  assert.ok(num.stranger > 0 && num["look-alike"] > 0);
  assert.equal(found({ flag: "stranger" }).length, num.stranger);
  assert.equal(found({ flag: "flagged" }).length, num.stranger + num["look-alike"]);
});

test("what is not known comes last, whichever way the table is sorted", () => {
  const values = [2, NaN, 1, 3];
  const column = { of: (pair) => values[pair], number: true };
  assert.deepEqual(sorted([0, 1, 2, 3], column, true), [3, 0, 2, 1]);
  assert.deepEqual(sorted([0, 1, 2, 3], column, false), [2, 0, 3, 1]);
  assert.deepEqual(sorted([0, 1], { of: (pair) => ["b", "a"][pair] }, false), [1, 0]);
});

test("a table is CSV that no spreadsheet runs", () => {
  const columns = [{ key: "label", of: (pair) => ["=cmd()", 'say "hi", you'][pair] }, { key: "gap", of: (pair) => [NaN, -0.123456789][pair] }, { key: "flag", of: () => "▲ stranger" }];
  assert.equal(csv(columns, [0, 1]), `label,gap,flag\n'=cmd(),,stranger\n"say ""hi"", you",-0.123457,stranger\n`);
});

test("a matrix is symmetric, in the order asked for, and NaN where there is no pair", () => {
  const one = step();
  const order = [6, 2, 4];
  const cells = matrix(one, one.values.overlap, order);
  assert.equal(cells.length, 9);
  assert.ok(Number.isNaN(cells[0]) && Number.isNaN(cells[4]));
  assert.equal(cells[1], one.values.overlap[one.indexOf([2, 6])]);
  assert.equal(cells[1], cells[3]);
  assert.ok(matrix(one, one.values.overlap, [6, 12345]).every(Number.isNaN));
});

test("the usual overlap never falls with the cosine", () => {
  const curve = expectedCurve(step());
  assert.equal(curve.length, 45);
  curve.slice(1).forEach(([x, y], at) => assert.ok(x >= curve[at][0] && y >= curve[at][1] - 1e-4));
});

test("a headline says what there is", () => {
  const [agreement, flagged, trust] = headline(step());
  assert.match(agreement, /^The label-centered cosine accounts for .* of the overlap between labels \(\d+ %\)\.$/);
  assert.match(flagged, /^\d+ strangers? and \d+ look-alikes? among 45 pairs of 10 labels; furthest off: “.+” and “.+”, overlap [\d.]+ where [\d.]+ is usual\.$/);
  assert.match(trust, /^From 400 inputs; reliability 0\.\d+: other inputs would show /);
});

test("a headline says why there is nothing", () => {
  const [agreement, flagged] = headline(step("three labels"));
  assert.match(agreement, /^Whether overlaps follow the label-centered cosine is not known: 3 pairs of labels, at least 10 are needed\.$/);
  assert.match(flagged, /^No verdict on pairs: 3 pairs of labels, verdicts need 45\.$/);
});

test("numbers are read as numbers", () => {
  assert.deepEqual([0, -0.00001, 0.12345, 12.345, 1234.5, NaN, null].map((value) => number(value)), ["0.000", "−1.0e-5", "0.123", "12.3", "1235", "–", "–"]);
  assert.deepEqual([0.5, -0.5, 0].map((value) => number(value, { signed: true })), ["+0.500", "−0.500", "0.000"]);
  assert.deepEqual(ticks(-1, 1, 4), [-1, -0.5, 0, 0.5, 1]);
  assert.deepEqual(ticks(2, 2), [2]);
  assert.equal(shortened("😀😀😀😀", 3), "😀😀…");
});

test("zero is the middle of a scale", () => {
  const stops = ["#000000", "#646464", "#ffffff"];
  assert.deepEqual(along(stops, (spread(0) + 1) / 2), [100, 100, 100]);
  assert.deepEqual(along(stops, -3), [0, 0, 0]);
  assert.deepEqual(along(stops, 7), [255, 255, 255]);
});

test("whether an input can bring out both labels is said in words", () => {
  const one = step();
  assert.equal(one.onTopAt(0), "");
  one.reach = new Uint8Array(one.num).map((_, pair) => pair % 4);
  one.flag = new Uint8Array(one.num).map((_, pair) => (pair === 6 ? 2 : 1));
  assert.deepEqual([0, 1, 2, 3, 6].map((pair) => one.onTopAt(pair)), ["", "never together", "possible", "undecided", "possible, not seen"]);
});

test("what is said of a rung is true under the link", () => {
  assert.deepEqual(textsOf("raw_cosine", "softmax"), RUNGS.raw_cosine.text);
  assert.deepEqual(textsOf("raw_cosine", undefined), RUNGS.raw_cosine.text);
  assert.deepEqual(textsOf("overlap", "cosine"), RUNGS.overlap.text);
  for (const link of ["sigmoid", "softcap", "cosine"]) {
    for (const rung of ["raw_cosine", "logit_correlation", "log_odds_variance"]) {
      const said = textsOf(rung, link).join(" ");
      assert.ok(!said.includes("No invertible linear map") && !said.includes("A softmax gives the same"), said);
    }
    assert.match(textsOf("raw_cosine", link).join(" "), /one vector added to all rows changes probabilities/);
  }
  assert.match(textsOf("logit_correlation", "softcap").join(" "), /before the cap/);
  assert.equal(textsOf("log_odds_variance", "sigmoid").length, 1);
});
