// Draws the cells of a heatmap: their colors, what has no value or is filtered out, and in large cells flags, signs and values.

import { along, inkOn } from "./colors.js";
import { element } from "./dom.js";
import { SMALL, dots, flagMark, hatch } from "./marks.js";
import { placeOf } from "./scale.js";

/** @import { Colors } from "./colors.js" */
/** @import { Grid } from "./grid.js" */
/** @import { Context, Point } from "./marks.js" */
/** @import { Matrices } from "./matrices.js" */
/** @import { Scale } from "./scale.js" */

/** @typedef {{ context: Context, colors: Colors, grid: Grid, matrices: Matrices, scale: Scale }} Drawing */

// Smallest cells, in CSS pixels
const FLAGGED = 8; // with a triangle
const SIGNED = 11; // with a minus sign
const WRITTEN = 34; // with its value

/**
 * A picture of the values, one pixel a cell.
 * @param {Matrices} matrices
 * @param {Scale} scale
 * @param {Colors} colors
 */
export function pictureOf({ cells, order: { length: num } }, scale, colors) {
  const image = new ImageData(num, num);
  const table = Array.from({ length: 256 }, (_, at) => along(colors.heat, at / 255));
  for (let cell = 0; cell < cells.length; cell++) {
    const value = cells[cell];
    const [red, green, blue] = Number.isNaN(value) ? [0, 0, 0] : table[Math.round(placeOf(scale, value) * 255)];
    image.data[cell * 4] = red;
    image.data[cell * 4 + 1] = green;
    image.data[cell * 4 + 2] = blue;
    image.data[cell * 4 + 3] = Number.isNaN(value) ? 0 : 255;
  }
  const canvas = element("canvas", { width: num, height: num });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

/**
 * @param {Drawing} drawing
 * @param {HTMLCanvasElement} picture
 */
export function drawCells(drawing, picture) {
  const { context, colors, grid } = drawing;
  const { view, left, size } = grid;
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, view.column, view.row, view.num, view.num, left, 0, size, size);
  grid.clipped(context, () => {
    drawAbsent(drawing);
    drawSigns(drawing);
  });
  context.strokeStyle = colors.edge;
  context.lineWidth = 1;
  context.strokeRect(left - 0.5, -0.5, size + 1, size + 1);
}

/**
 * Hatches cells without a value, dots cells that the filter leaves out, and grays the diagonal.
 * @param {Drawing} drawing
 */
function drawAbsent({ context, colors, grid, matrices: { cells, passes } }) {
  const { cell, num } = grid;
  const kinds = { hatch: new Path2D(), dots: new Path2D(), diagonal: new Path2D() };
  const kindAt = (/** @type {number} */ row, /** @type {number} */ column) => {
    const at = row * num + column;
    return row === column ? "diagonal" : Number.isNaN(cells[at]) ? "hatch" : passes[at] === 0 ? "dots" : null;
  };
  const [top, last] = grid.rows;
  const [first, end] = grid.columns;
  for (let row = top; row <= last; row++) {
    let start = first;
    for (let column = first; column <= end; column++) {
      const kind = kindAt(row, column);
      if (column < end && kindAt(row, column + 1) === kind) continue;
      if (kind) kinds[kind].rect(...grid.corner(row, start), (column - start + 1) * cell, cell);
      start = column + 1;
    }
  }
  context.fillStyle = hatch(context, colors.hatch, colors.page);
  context.fill(kinds.hatch);
  context.fillStyle = dots(context, colors.hatch, colors.page);
  context.fill(kinds.dots);
  context.fillStyle = colors.faint;
  context.fill(kinds.diagonal);
}

/**
 * Draws flags, minus signs and values into cells that are large enough.
 * @param {Drawing} drawing
 */
function drawSigns({ context, colors, grid, matrices: { cells, flags, passes }, scale }) {
  const { cell, num } = grid;
  if (cell < FLAGGED) return;
  const [top, last] = grid.rows;
  const [first, end] = grid.columns;
  const { limit, signed } = scale;
  const decimals = limit < 10 ? 2 : limit < 100 ? 1 : 0;
  context.font = SMALL;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let row = top; row <= last; row++) {
    for (let column = first; column <= end; column++) {
      const at = row * num + column;
      const value = cells[at];
      if (row === column || Number.isNaN(value) || passes[at] === 0) continue;
      const [x, y] = grid.corner(row, column);
      const ink = inkOn(along(colors.heat, placeOf(scale, value)));
      const flag = flags[at];
      context.fillStyle = ink;
      if (cell >= WRITTEN) context.fillText(written(value, decimals), x + cell / 2, y + cell * (flag ? 0.66 : 0.5) + 1);
      else if (signed && cell >= SIGNED && value < 0) context.fillRect(x + cell / 2 - cell * 0.18, y + (flag ? cell * 0.78 : cell / 2) - 0.5, cell * 0.36, 1);
      if (!flag) continue;
      const size = Math.min(cell / 4, 5);
      /** @type {Point} */
      const place = cell >= WRITTEN ? [x + cell / 2, y + cell * 0.24 + 1] : [x + cell / 2, y + cell * (cell >= SIGNED && signed && value < 0 ? 0.4 : 0.5)];
      flagMark(context, place, size, flag, "#000000", "#ffffff");
    }
  }
  context.textBaseline = "alphabetic";
}

/**
 * @param {number} value
 * @param {number} decimals
 */
function written(value, decimals) {
  const text = Math.abs(value).toFixed(decimals);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}
