// Draws the points of the scatter: as dots or, if there are many, as their density with contours; flagged pairs over them.

import { along } from "./colors.js";
import { cellOf, contour, densityOf, levelsOf } from "./density.js";
import { element } from "./dom.js";
import { flagMark } from "./marks.js";
import { some } from "./points.js";

/** @import { Density } from "./density.js" */
/** @import { Points, Spot } from "./points.js" */
/** @import { Drawing } from "./scatter-lines.js" */
/** @import { Step } from "./step.js" */

const DENSE = 3_000; // more pairs than this are drawn as their density
const CELL = 5; // CSS pixels of a cell of the density
/** Shares of the pairs within the contours. */
export const SHARES = [0.5, 0.8, 0.95];

/** @param {Points} points */
export const areDense = ({ pairs }) => pairs.length > DENSE;

/**
 * @param {Drawing} drawing
 * @param {string} color
 * @param {Points} points
 * @param {number} num number of points in the plot: more of them are smaller
 */
export function drawDots({ context }, color, { x, y }, num) {
  context.fillStyle = color;
  const size = num > 2000 ? 2.5 : num > 300 ? 3 : 5;
  for (let at = 0; at < x.length; at++) context.fillRect(x[at] - size / 2, y[at] - size / 2, size, size);
}

/**
 * Draws the density with contours, and the pairs outside of the last contour as points.
 * @param {Drawing} drawing
 * @param {Points} points
 */
export function drawDensity(drawing, points) {
  const { context, colors, axes } = drawing;
  const { left, top, width, height } = axes.box;
  const [columns, rows] = [Math.max(1, Math.round(width / CELL)), Math.max(1, Math.round(height / CELL))];
  const [across, up] = [points.x.map((x) => (x - left) / width), points.y.map((y) => (y - top) / height)];
  const density = densityOf(across, up, columns, rows);
  const levels = levelsOf(density, SHARES);
  const last = levels[levels.length - 1];
  context.imageSmoothingEnabled = true;
  context.drawImage(shaded(density, last, colors.density), left, top, width, height);
  const outside = some(points, (at) => density.cells[cellOf(across[at], up[at], columns, rows)] < last);
  drawDots(drawing, colors.dot, outside, points.pairs.length);
  context.strokeStyle = colors.ink;
  context.lineWidth = 0.8;
  context.beginPath();
  for (const level of levels) {
    for (const [[x, y], [toX, toY]] of contour(density, level)) {
      context.moveTo(left + x * width, top + y * height);
      context.lineTo(left + toX * width, top + toY * height);
    }
  }
  context.stroke();
}

/**
 * @param {Drawing} drawing
 * @param {Step} step
 * @param {readonly Spot[]} spots
 */
export function drawFlags({ context, colors }, step, spots) {
  const size = spots.length > 200 ? 4 : 5.5;
  for (const { pair, x, y } of spots) {
    const flag = step.flag[pair];
    flagMark(context, [x, y], size, flag, flag === 1 ? colors.stranger : colors.lookalike, colors.page);
  }
}

/**
 * A picture of a density, one pixel a cell: darker, or on a dark page paler, where there are more points.
 * @param {Density} density
 * @param {number} least density that is shown
 * @param {readonly string[]} stops
 */
function shaded({ columns, rows, cells, most }, least, stops) {
  const image = new ImageData(columns, rows);
  const table = Array.from({ length: 256 }, (_, at) => along(stops, at / 255));
  const unit = 255 / Math.log1p(most);
  cells.forEach((value, cell) => {
    if (!(value >= least)) return;
    const [red, green, blue] = table[Math.round(Math.log1p(value) * unit)];
    image.data[4 * cell] = red;
    image.data[4 * cell + 1] = green;
    image.data[4 * cell + 2] = blue;
    image.data[4 * cell + 3] = 255;
  });
  const canvas = element("canvas", { width: columns, height: rows });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}
