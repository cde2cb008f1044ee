// Which labels the heatmap shows, and in which order. Pure functions of a step.

/** @import { Passing } from "./filter.js" */
/** @import { Labels } from "./link.js" */
/** @import { Pair, Step } from "./step.js" */

/** Up to this many labels are shown together. */
const MANY = 100;
const NEIGHBORS = 40;

/**
 * @typedef {object} Choice
 * @property {number[]} order labels, as rows of the head
 * @property {string} words how they were chosen and ordered
 */

/**
 * Whether the labels of a step are so many that the user chooses which to show.
 * @param {Step} step
 */
export const areMany = (step) => step.num_labels > MANY;

/**
 * @param {Step} step
 * @param {number[]} order the most probable labels, such that labels that overlap are next to one another
 * @param {Labels} labels
 * @param {Pair | null} pair the selected pair
 * @returns {Choice}
 */
export function chosenLabels(step, order, labels, pair) {
  const all = step.num_labels.toLocaleString("en");
  const probable = { order, words: `${order.length < step.num_labels ? `the ${order.length} most probable of ${all}` : `all ${all}`} labels, ordered by overlap` };
  if (!areMany(step)) return probable;
  if (labels === "flagged") return flagged(step, all);
  if (labels === "neighborhood" && pair && step.indexOf(pair) >= 0) return neighborhood(step, pair, all);
  return probable;
}

/**
 * The selected pair, and the labels that overlap most with one of the two.
 * @param {Step} step
 * @param {Pair} pair
 * @param {string} all
 */
function neighborhood(step, pair, all) {
  const places = pair.map((label) => step.placeOf.get(label) ?? -1);
  const { overlap } = step.values;
  /** @type {Map<number, number>} */
  const nearness = new Map();
  for (let index = 0; index < step.num; index++) {
    const [one, other] = [step.row[index], step.column[index]];
    const near = places.includes(one) ? other : places.includes(other) ? one : -1;
    if (near < 0 || places.includes(near) || Number.isNaN(overlap[index])) continue;
    nearness.set(near, Math.max(nearness.get(near) ?? 0, overlap[index]));
  }
  const nearest = Array.from(nearness).sort(([, one], [, other]) => other - one).slice(0, NEIGHBORS - 2);
  const order = [...pair, ...nearest.map(([place]) => step.labels[place])];
  return { order, words: `the selected pair and the ${nearest.length} of ${all} labels that overlap most with one of the two, nearest first` };
}

/**
 * The labels of flagged pairs, the pairs with the largest gaps first, so that these pairs are beside the diagonal.
 * @param {Step} step
 * @param {string} all
 */
function flagged(step, all) {
  const { gap } = step.values;
  const pairs = step.counted.filter((pair) => step.flag[pair]).sort((one, other) => Math.abs(gap[other]) - Math.abs(gap[one]));
  const labels = new Set(pairs.flatMap((pair) => step.pairAt(pair)));
  const order = Array.from(labels).slice(0, MANY);
  const some = labels.size > order.length ? `${order.length} of the ${labels.size} labels` : `the ${order.length} labels`;
  return { order, words: `${some} of flagged pairs, of ${all} labels, largest gaps first` };
}

/**
 * The labels of the pairs that pass the filter.
 * @param {Step} step
 * @param {number[]} order
 * @param {Passing} passing
 */
export function narrowed(step, order, { pairs, num }) {
  if (pairs.length === num) return order;
  const kept = new Set(pairs.flatMap((pair) => step.pairAt(pair)));
  return order.filter((label) => kept.has(label));
}
