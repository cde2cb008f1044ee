// Draws the marks over a heatmap: pinned pairs, the selected pair, and the cross of the pointer.

import { fitting } from "./heatmap-names.js";
import { frame, line, pinMark } from "./marks.js";
import { cellsOf } from "./matrices.js";

/** @import { Colors } from "./colors.js" */
/** @import { Cell, Grid } from "./grid.js" */
/** @import { Context } from "./marks.js" */
/** @import { Matrices } from "./matrices.js" */
/** @import { Pair } from "./step.js" */

/** @typedef {{ context: Context, colors: Colors, grid: Grid, matrices: Matrices }} Over */

const LEAST = 5; // CSS pixels of the smallest frame

/**
 * @param {Over} over
 * @param {Pair | null} pair
 * @param {number} place of the pin
 */
export function drawPinned({ context, colors, grid, matrices }, pair, place) {
  const { cell } = grid;
  const side = Math.max(cell, LEAST);
  grid.clipped(context, () => {
    for (const { row, column } of cellsOf(matrices, pair)) {
      const [left, top] = grid.corner(row, column);
      if (cell < 40) frame(context, { left, top, width: side, height: side }, colors.pins[place], colors.page);
      if (cell >= 24) pinMark(context, [left + 6, top + 6], place, colors);
    }
  });
}

/**
 * @param {Over} over
 * @param {Pair | null} pair
 */
export function drawSelected({ context, colors, grid, matrices }, pair) {
  const side = Math.max(grid.cell, LEAST);
  grid.clipped(context, () => {
    for (const { row, column } of cellsOf(matrices, pair)) {
      const [left, top] = grid.corner(row, column);
      frame(context, { left, top, width: side, height: side }, colors.select, colors.page);
    }
  });
}

/**
 * The lines from a cell to its two names, and the names in bold.
 * @param {Over} over
 * @param {Cell} cursor
 * @param {number} bottom room for the name of the column
 */
export function drawCross({ context, colors, grid, matrices: { step, order } }, { row, column }, bottom) {
  const { left, size, cell } = grid;
  const [x, y] = grid.corner(row, column);
  context.lineWidth = 1;
  grid.clipped(context, () => {
    for (const [color, shift] of /** @type {const} */ ([[colors.page, 1], [colors.ink, 0]])) {
      context.strokeStyle = color;
      for (const [at, out] of [[y, -1], [y + cell, 1]]) line(context, [left, at + out * shift], [left + size, at + out * shift]);
      for (const [at, out] of [[x, -1], [x + cell, 1]]) line(context, [at + out * shift, 0], [at + out * shift, size]);
    }
  });
  context.font = "bold 11px Roboto, Arial, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  const plate = (/** @type {string} */ name, /** @type {number} */ room) => {
    const text = fitting(context, name, room);
    context.fillStyle = colors.page;
    context.fillRect(-room - 5, -8, room + 5, 16);
    context.fillStyle = colors.ink;
    context.fillText(text, -5, 0);
  };
  context.save();
  context.translate(left, Math.min(Math.max(y + cell / 2, 8), size - 8));
  plate(step.nameOf(order[row]), left - 6);
  context.restore();
  context.save();
  context.translate(Math.min(Math.max(x + cell / 2, left + 8), left + size - 8), size + 1);
  context.rotate(-Math.PI / 2);
  plate(step.nameOf(order[column]), bottom);
  context.restore();
  context.textBaseline = "alphabetic";
}
