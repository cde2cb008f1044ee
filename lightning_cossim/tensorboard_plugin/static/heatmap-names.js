// Draws what is beside the cells of a heatmap: the names of rows and columns, and the scale with its values.

import { along } from "./colors.js";
import { shortened, ticks } from "./dom.js";
import { SMALL, line } from "./marks.js";
import { placeOf } from "./scale.js";

/** @import { Context } from "./marks.js" */
/** @import { Matrices } from "./matrices.js" */
/** @import { Drawing } from "./heatmap-cells.js" */

const NAME = 11; // CSS pixels that a name needs across
const LONGEST = 20; // characters of a name
const BAR = 12;
/** CSS pixels for the scale, to the right. */
export const LEGEND = 58;

/**
 * One in how many rows is named.
 * @param {number} cell size of a cell
 */
export const everyNamed = (cell) => Math.max(1, Math.ceil(NAME / cell));

/**
 * CSS pixels that the longest name needs.
 * @param {Context} context
 * @param {Matrices} matrices
 */
export function longestName(context, { step, order }) {
  context.font = SMALL;
  return order.reduce((most, label) => Math.max(most, context.measureText(shortened(step.nameOf(label), LONGEST)).width), 0) + 8;
}

/**
 * @param {Drawing} drawing
 * @param {number} bottom room for the names of columns
 */
export function drawNames({ context, colors, grid, matrices: { step, order } }, bottom) {
  const { left, size, cell, view } = grid;
  const every = everyNamed(cell);
  context.font = SMALL;
  context.fillStyle = colors.ink;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const nameAt = (/** @type {number} */ place, /** @type {number} */ room) => fitting(context, step.nameOf(order[place]), room - 8);
  const isShown = (/** @type {number} */ at) => at > 4 && at < size - 4;
  const [top, last] = grid.rows;
  for (let row = top; row <= last; row++) {
    const y = (row + 0.5 - view.row) * cell;
    if (row % every === 0 && isShown(y)) context.fillText(nameAt(row, left), left - 5, y);
  }
  const [first, end] = grid.columns;
  for (let column = first; column <= end; column++) {
    const x = (column + 0.5 - view.column) * cell;
    if (column % every || !isShown(x)) continue;
    context.save();
    context.translate(left + x, size + 6);
    context.rotate(-Math.PI / 2);
    context.fillText(nameAt(column, bottom), 0, 0);
    context.restore();
  }
  context.textBaseline = "alphabetic";
}

/**
 * The colors with their values, to the right.
 * @param {Drawing} drawing
 */
export function drawBar({ context, colors, grid: { left, size }, scale }) {
  const { limit, signed } = scale;
  const low = signed ? -limit : 0;
  const x = left + size + 14;
  const y = (/** @type {number} */ value) => size - ((value - low) / (limit - low)) * size;
  for (let at = 0; at < size; at++) {
    const [red, green, blue] = along(colors.heat, placeOf(scale, limit - ((limit - low) * at) / size));
    context.fillStyle = `rgb(${red},${green},${blue})`;
    context.fillRect(x, at, BAR, 1.5);
  }
  context.strokeStyle = colors.edge;
  context.lineWidth = 1;
  context.strokeRect(x - 0.5, 0.5, BAR + 1, size - 1);
  context.font = SMALL;
  context.fillStyle = colors.ink;
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const tick of severalTicks(low, limit)) {
    line(context, [x + BAR, y(tick)], [x + BAR + 3, y(tick)]);
    context.fillText(tick.toPrecision(2).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "").replace("-", "−"), x + BAR + 5, Math.min(Math.max(y(tick), 6), size - 6));
  }
  context.textBaseline = "alphabetic";
}

/**
 * Ticks of the scale: at least three.
 * @param {number} low
 * @param {number} high
 */
function severalTicks(low, high) {
  const few = ticks(low, high, 4);
  return few.length < 3 ? ticks(low, high, 8) : few;
}

/**
 * A name, shortened to a width in CSS pixels.
 * @param {Context} context
 * @param {string} name
 * @param {number} room
 */
export function fitting(context, name, room) {
  const { width } = context.measureText(name);
  if (width <= room) return name;
  const all = Array.from(name).length;
  let longest = Math.min(all - 1, Math.ceil((all * room) / width) + 2); // characters differ in width
  let text = shortened(name, longest);
  while (longest > 1 && context.measureText(text).width > room) text = shortened(name, --longest);
  return text;
}
