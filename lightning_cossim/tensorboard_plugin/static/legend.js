// A line of small pictures with words: what the marks of a view mean. It stands outside the picture, so that it never covers data.

import { along } from "./colors.js";
import { canvasOf, element } from "./dom.js";
import { dots, flagMark, hatch, line, pinMark, selectionRing } from "./marks.js";

/** @import { Colors } from "./colors.js" */
/** @import { Context } from "./marks.js" */

const WIDTH = 22;
const HEIGHT = 16;

/** @typedef {"line" | "band" | "dot" | "stranger" | "look-alike" | "selected" | "pin" | "hatch" | "dots" | "density" | "arrow" | "up" | "down"} Sign */
/** @typedef {{ sign: Sign, text: string, place?: number }} Entry `place`: of a pin */

/** @type {Record<Sign, (context: Context, colors: Colors, place: number) => void>} */
const DRAW = {
  line: (context, colors) => {
    context.fillStyle = colors.ink;
    context.fillRect(0, HEIGHT / 2 - 1, WIDTH, 2);
  },
  band: (context, colors) => {
    context.fillStyle = colors.band;
    context.fillRect(0, 2, WIDTH, HEIGHT - 4);
    context.strokeStyle = colors.edge;
    context.setLineDash([3, 2]);
    context.strokeRect(0.5, 2.5, WIDTH - 1, HEIGHT - 5);
  },
  dot: (context, colors) => {
    context.fillStyle = colors.dot;
    context.fillRect(WIDTH / 2 - 2.5, HEIGHT / 2 - 2.5, 5, 5);
  },
  density: (context, colors) => {
    for (let at = 0; at < WIDTH; at++) {
      context.fillStyle = `rgb(${along(colors.density, at / WIDTH).join()})`;
      context.fillRect(at, 3, 1, HEIGHT - 6);
    }
  },
  stranger: (context, colors) => flagMark(context, [WIDTH / 2, HEIGHT / 2], 5, 1, colors.stranger, colors.page),
  "look-alike": (context, colors) => flagMark(context, [WIDTH / 2, HEIGHT / 2], 5, 2, colors.lookalike, colors.page),
  selected: (context, colors) => selectionRing(context, [WIDTH / 2, HEIGHT / 2], 5, colors),
  pin: (context, colors, place) => pinMark(context, [WIDTH / 2, HEIGHT / 2], place, colors),
  hatch: (context, colors) => {
    context.fillStyle = hatch(context, colors.hatch, colors.page);
    context.fillRect(0, 1, WIDTH, HEIGHT - 2);
  },
  dots: (context, colors) => {
    context.fillStyle = dots(context, colors.hatch, colors.page);
    context.fillRect(0, 1, WIDTH, HEIGHT - 2);
  },
  arrow: (context, colors) => drawArrow(context, colors.dot, 1.5),
  up: (context, colors) => drawArrow(context, colors.above, 2.5),
  down: (context, colors) => drawArrow(context, colors.below, 2.5, [4, 3]),
};

/**
 * @param {Context} context
 * @param {string} color
 * @param {number} width
 * @param {number[]} dash
 */
function drawArrow(context, color, width, dash = []) {
  context.strokeStyle = color;
  context.fillStyle = color;
  context.lineWidth = width;
  context.setLineDash(dash);
  line(context, [1, HEIGHT / 2], [WIDTH - 6, HEIGHT / 2]);
  context.beginPath();
  context.moveTo(WIDTH - 1, HEIGHT / 2);
  context.lineTo(WIDTH - 8, HEIGHT / 2 - 4);
  context.lineTo(WIDTH - 8, HEIGHT / 2 + 4);
  context.fill();
}

/** @type {WeakMap<Element, string>} */
const drawn = new WeakMap();

/**
 * Shows entries in a list, unless it shows them already.
 * @param {HTMLUListElement} list
 * @param {Entry[]} entries
 * @param {Colors} colors
 */
export function showLegend(list, entries, colors) {
  const key = JSON.stringify([entries, colors.page, colors.ink, colors.select]);
  if (drawn.get(list) === key) return;
  drawn.set(list, key);
  const items = entries.map(({ sign, text, place = 0 }) => {
    const sample = element("canvas", { "aria-hidden": "true" });
    DRAW[sign](canvasOf(sample, WIDTH, HEIGHT), colors, place);
    return element("li", {}, sample, element("span", {}, text));
  });
  list.replaceChildren(...items);
}
