// The part of a square matrix that a heatmap shows: a square with its own start for rows and for columns. Pure functions.

/**
 * @typedef {object} View
 * @property {number} row first row; a fraction means a part of a cell
 * @property {number} column first column
 * @property {number} num number of rows, and of columns
 */

/** Smallest number of rows. */
const LEAST = 3;

/**
 * All rows and columns.
 * @param {number} all
 * @returns {View}
 */
export const whole = (all) => ({ row: 0, column: 0, num: all });

/**
 * The nearest view within a matrix.
 * @param {View} view
 * @param {number} all number of rows of the matrix
 * @returns {View}
 */
export function within({ row, column, num }, all) {
  const size = Math.min(Math.max(num, Math.min(LEAST, all)), all);
  const start = (/** @type {number} */ first) => Math.min(Math.max(first, 0), all - size);
  return { row: start(row), column: start(column), num: size };
}

/**
 * Zooms such that the cell at a place stays there.
 * @param {View} view
 * @param {number} factor below 1 zooms in
 * @param {{ x: number, y: number }} place in the view, each in [0, 1]
 * @param {number} all
 */
export function zoomed(view, factor, { x, y }, all) {
  const { num } = within({ ...view, num: view.num * factor }, all);
  return within({ row: view.row + y * (view.num - num), column: view.column + x * (view.num - num), num }, all);
}

/**
 * @param {View} view
 * @param {number} rows
 * @param {number} columns
 * @param {number} all
 */
export function moved(view, rows, columns, all) {
  return within({ ...view, row: view.row + rows, column: view.column + columns }, all);
}

/**
 * Whether a whole cell is in the view.
 * @param {View} view
 * @param {number} row
 * @param {number} column
 */
export function holds(view, row, column) {
  const inside = (/** @type {number} */ cell, /** @type {number} */ first) => cell >= first - 0.01 && cell + 1 <= first + view.num + 0.01;
  return inside(row, view.row) && inside(column, view.column);
}

/**
 * The view moved as little as needed to hold a cell.
 * @param {View} view
 * @param {number} row
 * @param {number} column
 * @param {number} all
 */
export function reaching(view, row, column, all) {
  const start = (/** @type {number} */ cell, /** @type {number} */ first) => Math.min(Math.max(first, cell + 1 - view.num), cell);
  return within({ ...view, row: start(row, view.row), column: start(column, view.column) }, all);
}
