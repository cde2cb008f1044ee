// The density of many points in a plot, with contours around given shares of them. Pure functions.

/** @import { Point } from "./marks.js" */

/**
 * @typedef {object} Density
 * @property {number} columns
 * @property {number} rows
 * @property {Float32Array} cells number of points around each cell, row by row
 * @property {number} most largest of them
 */

/**
 * Counts points in cells and smooths the counts.
 * @param {ArrayLike<number>} x of each point, in [0, 1]; points outside are left out
 * @param {ArrayLike<number>} y
 * @param {number} columns
 * @param {number} rows
 * @returns {Density}
 */
export function densityOf(x, y, columns, rows) {
  const counts = new Float32Array(columns * rows);
  for (let point = 0; point < x.length; point++) {
    const cell = cellOf(x[point], y[point], columns, rows);
    if (cell >= 0) counts[cell]++;
  }
  const cells = smoothed(smoothed(counts, columns, rows), columns, rows);
  return { columns, rows, cells, most: cells.reduce((most, one) => Math.max(most, one), 0) };
}

/**
 * The cell of a point; -1 if it is outside.
 * @param {number} x
 * @param {number} y
 * @param {number} columns
 * @param {number} rows
 */
export function cellOf(x, y, columns, rows) {
  if (!(x >= 0 && x <= 1 && y >= 0 && y <= 1)) return -1;
  return Math.min(Math.floor(y * rows), rows - 1) * columns + Math.min(Math.floor(x * columns), columns - 1);
}

/**
 * Means over a cell and its neighbors, 1 2 1 in either direction. Beyond the edge there is nothing.
 * @param {Float32Array} cells
 * @param {number} columns
 * @param {number} rows
 */
function smoothed(cells, columns, rows) {
  const across = new Float32Array(cells.length);
  const found = new Float32Array(cells.length);
  for (let at = 0; at < cells.length; at++) {
    const column = at % columns;
    across[at] = (2 * cells[at] + (column ? cells[at - 1] : 0) + (column < columns - 1 ? cells[at + 1] : 0)) / 4;
  }
  for (let at = 0; at < cells.length; at++) {
    found[at] = (2 * across[at] + (at >= columns ? across[at - columns] : 0) + (at < columns * (rows - 1) ? across[at + columns] : 0)) / 4;
  }
  return found;
}

/**
 * The densities at the edges of the smallest areas that have given shares of the points.
 * @param {Density} density
 * @param {readonly number[]} shares each in (0, 1), ascending
 */
export function levelsOf({ cells }, shares) {
  const sorted = cells.filter((one) => one > 0).sort().reverse();
  const all = sorted.reduce((sum, one) => sum + one, 0);
  let [at, sum] = [-1, 0];
  return shares.map((share) => {
    while (sum < share * all && at < sorted.length - 1) sum += sorted[++at];
    return sorted[at] ?? 0;
  });
}

/**
 * The lines along which the density has a level, by marching squares through the centers of cells.
 * @param {Density} density
 * @param {number} level
 * @returns {[Point, Point][]} pieces of lines, in [0, 1]
 */
export function contour({ columns, rows, cells }, level) {
  const valueAt = (/** @type {number} */ column, /** @type {number} */ row) => (column < 0 || row < 0 || column >= columns || row >= rows ? 0 : cells[row * columns + column]);
  /** @type {[Point, Point][]} */
  const pieces = [];
  for (let row = -1; row < rows; row++) {
    let [left, under] = [valueAt(-1, row), valueAt(-1, row + 1)];
    for (let column = -1; column < columns; column++) {
      const [right, opposite] = [valueAt(column + 1, row), valueAt(column + 1, row + 1)];
      const isIn = left >= level;
      if (isIn !== right >= level || isIn !== opposite >= level || isIn !== under >= level) {
        const crossings = crossingsOf([[column, row, left], [column + 1, row, right], [column + 1, row + 1, opposite], [column, row + 1, under]], level).map(([x, y]) => /** @type {Point} */ ([(x + 0.5) / columns, (y + 0.5) / rows]));
        for (let at = 0; at + 1 < crossings.length; at += 2) pieces.push([crossings[at], crossings[at + 1]]);
      }
      [left, under] = [right, opposite];
    }
  }
  return pieces;
}

/**
 * Where a level crosses the edges of a square.
 * @param {[x: number, y: number, value: number][]} corners
 * @param {number} level
 */
function crossingsOf(corners, level) {
  return corners.flatMap(([x, y, one], at) => {
    const [nextX, nextY, other] = corners[(at + 1) % 4];
    if (one >= level === other >= level) return [];
    const share = (level - one) / (other - one);
    return [[x + share * (nextX - x), y + share * (nextY - y)]];
  });
}
