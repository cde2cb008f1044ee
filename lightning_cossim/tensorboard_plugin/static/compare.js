// Compares two steps pair by pair: the labels in common, and the change of each gap against the errors of both. Pure functions.

/** @import { Pair, Step } from "./step.js" */

const NUM_ERRORS = 2;

/**
 * The pairs of a first step (A) in a second one (B). Arrays have an entry for each pair of the first step.
 *
 * @typedef {object} Compared
 * @property {Step} one
 * @property {Step} other
 * @property {Int32Array} there place of the pair in the second step; -1: it lacks the pair
 * @property {number[]} pairs pairs with a known gap in both
 * @property {Float32Array} change gap in B minus gap in A; NaN: unknown
 * @property {Float32Array} error standard error of the change, if the overlaps of A and B are independent; NaN: unknown
 * @property {Float32Array} beyond by how much the absolute change exceeds two standard errors, or, where errors are unknown, the absolute change
 */

/**
 * @param {Step} one
 * @param {Step} other
 * @returns {Compared}
 */
export function compare(one, other) {
  const there = new Int32Array(one.num).fill(-1);
  const [change, error, beyond] = [0, 1, 2].map(() => new Float32Array(one.num).fill(NaN));
  /** @type {number[]} */
  const pairs = [];
  const labels = new Map(one.labels.map((label) => [label, other.labelFrom(one, label)]));
  for (let pair = 0; pair < one.num; pair++) {
    const [first, second] = one.pairAt(pair).map((label) => labels.get(label) ?? null);
    if (first === null || second === null || first === second) continue;
    there[pair] = other.indexOf(/** @type {Pair} */ (first < second ? [first, second] : [second, first]));
    if (there[pair] < 0) continue;
    change[pair] = other.values.gap[there[pair]] - one.values.gap[pair];
    if (Number.isNaN(change[pair])) continue;
    pairs.push(pair);
    error[pair] = Math.hypot(one.values.overlap_error?.[pair] ?? NaN, other.values.overlap_error?.[there[pair]] ?? NaN);
    beyond[pair] = Math.abs(change[pair]) - (Number.isNaN(error[pair]) ? 0 : NUM_ERRORS * error[pair]);
  }
  return { one, other, there, pairs, change, error, beyond };
}

/**
 * Whether every pair has the same gap, overlap and cosine in both.
 * @param {Compared} compared
 */
export function areSame({ one, other, there, pairs }) {
  const same = (/** @type {string} */ key) => !(key in other.values) || pairs.every((pair) => Object.is(one.values[key][pair], other.values[key][there[pair]]));
  return pairs.length > 0 && ["gap", "overlap", one.cosine].every(same);
}

/**
 * The change of a quantity from A to B; NaN: unknown.
 * @param {Compared} compared
 * @param {string} key
 */
export function changeOf({ one, other, there }, key) {
  const values = other.values[key];
  return one.values[key].map((value, pair) => (values && there[pair] >= 0 ? values[there[pair]] - value : NaN));
}

/**
 * Whether a change exceeds the errors of both.
 * @param {Compared} compared
 * @param {number} pair
 */
export const isBeyond = ({ beyond, error }, pair) => beyond[pair] > 0 && !Number.isNaN(error[pair]);

/**
 * The names of labels that only one of two steps has.
 * @param {Step} one
 * @param {Step} other
 */
export function labelsApart(one, other) {
  const there = one.labels.map((label) => other.labelFrom(one, label));
  const back = new Set(there);
  return {
    num: there.filter((label) => label !== null).length,
    onlyOne: one.labels.filter((_, at) => there[at] === null).map((label) => one.nameOf(label)),
    onlyOther: other.labels.filter((label) => !back.has(label)).map((label) => other.nameOf(label)),
  };
}

/**
 * The labels and pairs in common, in words.
 * @param {Compared} compared
 */
export function inCommon(compared) {
  const { one, other, pairs } = compared;
  const { num, onlyOne, onlyOther } = labelsApart(one, other);
  const count = (/** @type {number} */ number, /** @type {string} */ noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const only = (/** @type {string[]} */ names, /** @type {string} */ letter) => (names.length ? [`${count(names.length, "label")} only in ${letter}: ${listed(names)}`] : []);
  const all = !onlyOne.length && !onlyOther.length ? `A and B have the same ${count(num, "label")}` : `A and B have ${count(num, "label")} in common`;
  const moved = areSame(compared) ? " Nothing changed: all of them have the same overlap, cosine and gap in A and B." : pairs.some((pair) => isBeyond(compared, pair)) ? "" : " No gap changed by more than the errors of both.";
  return `${[all, ...only(onlyOne, "A"), ...only(onlyOther, "B")].join("; ")}. ${count(pairs.length, "pair")} of A ${pairs.length === 1 ? "is" : "are"} also in B.${moved}`;
}

/** @param {string[]} names */
function listed(names) {
  const most = 3;
  return names.length <= most ? names.join(", ") : `${names.slice(0, most).join(", ")} and ${(names.length - most).toLocaleString("en")} more`;
}
