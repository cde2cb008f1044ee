// The scale of the heatmap: which color a value has. The rules are those of the pictures under Images, see report/plots.py.

/** @import { Quantity } from "./wire.js" */

/** Number of labels from which the scale leaves out the largest hundredth of the values, so that one pair does not make all others pale. */
const MANY = 20;

/**
 * @typedef {object} Scale
 * @property {boolean} signed whether values below zero occur: then zero is the middle of the palette
 * @property {number} limit value at the end of the palette, above 0
 * @property {boolean} reversed whether a larger value means less alike: then it is blue
 */

/**
 * The scale of a matrix: it ends at the largest absolute value or, for many labels, at the 99 % quantile of them.
 * @param {Quantity} quantity
 * @param {Float32Array} cells n x n; NaN: no value
 * @param {number} num number of labels
 * @returns {Scale}
 */
export function scaleOf(quantity, cells, num) {
  const known = cells.filter((value) => !Number.isNaN(value));
  const sizes = known.map(Math.abs).sort();
  const most = sizes[sizes.length - 1] ?? 0;
  const limit = (num > MANY ? quantile(sizes, 0.99) : most) || most || 1;
  return { signed: known.some((value) => value < 0), limit, reversed: quantity.direction < 0 };
}

/**
 * A scale that fits several steps.
 * @param {Scale | undefined} one
 * @param {Scale} other
 * @returns {Scale}
 */
export function widened(one, other) {
  return one ? { ...other, signed: one.signed || other.signed, limit: Math.max(one.limit, other.limit) } : other;
}

/**
 * The place of a value in the palette, in [0, 1]: 0.5 is zero.
 * @param {Scale} scale
 * @param {number} value
 */
export function placeOf({ limit, reversed }, value) {
  const place = 0.5 + Math.min(Math.max(value / limit, -1), 1) / 2;
  return reversed ? 1 - place : place;
}

/**
 * @param {ArrayLike<number>} sorted ascending
 * @param {number} share
 */
function quantile(sorted, share) {
  if (!sorted.length) return 0;
  const at = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return below + (above - below) * (at - Math.floor(at));
}
