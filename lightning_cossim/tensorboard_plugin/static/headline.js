// What a step shows, in words.

import { number } from "./dom.js";
import { inSentence } from "./quantities.js";

/** @import { Step } from "./step.js" */

const ORDERS = /** @type {const} */ ([[0.8, "in nearly the same order"], [0.5, "in a similar order"], [0.2, "in a faintly similar order"], [-0.2, "in no common order"]]);
const SHARES = /** @type {const} */ ([[80, "nearly all"], [50, "more than half"], [20, "a part"], [5, "little"]]);

/**
 * One sentence on how far the cosine agrees with the overlap, one on the flagged pairs, one on how far to trust both.
 * @param {Step} step
 */
export function headline(step) {
  return [agreement(step), flagged(step), trust(step)];
}

/** @param {Step} step */
function agreement(step) {
  const cosine = inSentence(step.quantity(step.cosine).title);
  const ranks = step.scalars[`rank_agreement_${step.cosine}`];
  const explained = step.scalars[`explained_${step.cosine}`];
  if (isKnown(ranks)) {
    const [, words] = ORDERS.find(([least]) => ranks > least) ?? [-1, "in partly opposite orders"];
    return `The ${cosine} and the overlap put pairs of labels ${words} (rank agreement ${number(ranks)}${error(step, `rank_agreement_${step.cosine}`)}; share explained ${number(explained)}).`;
  }
  if (ranks === undefined && isKnown(explained)) return accounted(cosine, explained); // an earlier version's step
  const why = step.undefined[`rank_agreement_${step.cosine}`] ?? step.undefined[`explained_${step.cosine}`];
  return `Whether overlaps follow the ${cosine} is not known${why ? `: ${why}` : ""}.`;
}

/**
 * What stands behind a scalar, if its error is known.
 * @param {Step} step
 * @param {string} name
 */
function error({ standard_errors: errors }, name) {
  return name in errors ? `, standard error ${number(errors[name])}` : "";
}

/**
 * What led before there were rank agreements among the scalars.
 * @param {string} cosine
 * @param {number} explained
 */
function accounted(cosine, explained) {
  const share = Math.round(100 * Math.max(0, explained));
  const [, words] = SHARES.find(([least]) => share > least) ?? [0, "next to nothing"];
  return `The ${cosine} accounts for ${words} of the overlap between labels (${share}%).`;
}

/**
 * @param {number | null | undefined} value
 * @returns {value is number}
 */
function isKnown(value) {
  return value !== null && value !== undefined;
}

/** @param {Step} step */
function flagged(step) {
  if (step.verdict) return `No verdict on pairs: ${step.verdict}.`;
  const { stranger, lookalike } = step.numFlagged;
  const plural = (/** @type {number} */ num, /** @type {string} */ one) => `${num.toLocaleString("en")} ${one}${num === 1 ? "" : "s"}`;
  const among = `among ${plural(step.num_pairs, "pair")} of ${plural(step.num_labels, "label")}`;
  if (!stranger && !lookalike) return `No pair is flagged ${among}.`;
  const shown = step.chosen ? " shown" : "";
  return `${plural(stranger, "stranger")} and ${plural(lookalike, "look-alike")}${shown} ${among}${furthest(step)}.`;
}

/**
 * The pair furthest from what is expected, by name.
 * @param {Step} step
 */
function furthest(step) {
  const gaps = step.values.gap;
  const all = step.counted.filter((pair) => step.flag[pair]);
  const pair = all.reduce((best, one) => (best < 0 || Math.abs(gaps[one]) > Math.abs(gaps[best]) ? one : best), -1);
  if (pair < 0) return "";
  const names = step.namesAt(pair).map((name) => `“${name}”`).join(" and ");
  return `; furthest off: ${names}, overlap ${number(step.values.overlap[pair])} where ${number(step.values.expected_overlap[pair])} is expected`;
}

/** @param {Step} step */
function trust(step) {
  const { reliability } = step.scalars;
  const inputs = `${step.num_inputs.toLocaleString("en")} inputs`;
  if (reliability === null || reliability === undefined) return `From ${inputs}.`;
  const words = reliability >= 0.9 ? "other inputs would show about the same" : reliability >= 0.5 ? "other inputs would show much the same" : "other inputs would show something else: look at more";
  const bound = step.truncation > 0.0005 ? `, overlaps may be up to ${number(step.truncation)} larger` : "";
  return `From ${inputs}${bound}; reliability ${number(reliability)}: ${words}.`;
}
