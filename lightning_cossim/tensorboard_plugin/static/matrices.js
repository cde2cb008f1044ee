// What a heatmap is of: labels in an order, and the values, flags and filter of their pairs as matrices.

import { changeOf } from "./compare.js";
import { chosenLabels, narrowed } from "./labels.js";
import { matrix } from "./step.js";

/** @import { Compared } from "./compare.js" */
/** @import { Passing } from "./filter.js" */
/** @import { Labels } from "./link.js" */
/** @import { Pair, Step } from "./step.js" */

/**
 * @typedef {object} Matrices
 * @property {Step} step
 * @property {number[]} order labels, as rows of the head
 * @property {string} words how the labels were chosen
 * @property {Float32Array} values of each pair
 * @property {Float32Array} cells values, n x n; NaN: no value
 * @property {Float32Array} flags n x n
 * @property {Float32Array} passes n x n; 0: the filter leaves the pair out
 */

/**
 * What the matrices are made of.
 * @typedef {object} Wanted
 * @property {Step} step
 * @property {string} key of the quantity
 * @property {Compared | null} change the comparison whose changes are shown; null: the values of the step
 * @property {number[]} probable the most probable labels in order
 * @property {Labels} labels which labels are shown
 * @property {Pair | null} selected
 * @property {Passing} passing
 */

/** @type {Matrices} */
export const NO_MATRICES = { step: /** @type {Step} */ ({}), order: [], words: "", values: new Float32Array(), cells: new Float32Array(), flags: new Float32Array(), passes: new Float32Array() };

/**
 * @param {Wanted} wanted
 * @returns {Matrices}
 */
export function matricesOf({ step, key, change, probable, labels, selected, passing }) {
  const { order: all, words } = chosenLabels(step, probable, labels, selected);
  const order = narrowed(step, all, passing);
  const values = change ? changeOf(change, key) : step.values[key];
  return {
    step, order, values,
    words: order.length < all.length ? `${order.length} labels with pairs that pass the filter; before the filter, ${words}` : words,
    cells: matrix(step, values, order),
    flags: matrix(step, change ? new Uint8Array(step.num) : step.flag, order),
    passes: matrix(step, passing.marks, order),
  };
}

/**
 * The pair of a cell; -1 if the step lacks it.
 * @param {Matrices} matrices
 * @param {{ row: number, column: number }} cell
 */
export function pairOf({ step, order }, { row, column }) {
  const [one, other] = [order[row], order[column]];
  return one === other ? -1 : step.indexOf(one < other ? [one, other] : [other, one]);
}

/**
 * The two cells of a pair; none if a label is not shown.
 * @param {Matrices} matrices
 * @param {Pair | null} pair
 * @returns {{ row: number, column: number }[]}
 */
export function cellsOf({ order }, pair) {
  const [row, column] = (pair ?? [-1, -1]).map((label) => order.indexOf(label));
  return row < 0 || column < 0 ? [] : [{ row, column }, { row: column, column: row }];
}

/**
 * Whether a pair of two different labels has no value.
 * @param {Matrices} matrices
 */
export function hasGaps({ cells, order: { length } }) {
  return cells.some((value, at) => Number.isNaN(value) && at % (length + 1) !== 0);
}
