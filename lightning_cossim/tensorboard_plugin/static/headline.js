// Summarizes a step in three sentences.

import { number } from "./dom.js";
import { inSentence } from "./quantities.js";
import { furthest } from "./step.js";

/** @import { Step } from "./step.js" */

const ORDERS = /** @type {const} */ ([[0.8, "in nearly the same order"], [0.5, "in a similar order"], [0.2, "in a weakly similar order"], [-0.2, "in no common order"]]);
const SHARES = /** @type {const} */ ([[80, "nearly all"], [50, "more than half"], [20, "a part"], [5, "little"]]);

/**
 * The pair that is furthest off or why there is none; then the number of flagged pairs, the agreement of the cosine with the overlap,
 * and the reliability.
 * @param {Step} step
 * @returns {string[]}
 */
export function headline(step) {
  const lead = furthestOf(step);
  return [...(lead ? [lead] : []), flagged(step), agreement(step), trust(step)];
}

/** @param {Step} step */
function agreement(step) {
  const cosine = inSentence(step.quantity(step.cosine).title);
  const ranks = step.scalars[`rank_agreement_${step.cosine}`];
  const explained = step.scalars[`explained_${step.cosine}`];
  if (isKnown(ranks)) {
    const [, words] = ORDERS.find(([least]) => ranks > least) ?? [-1, "in partly opposite orders"];
    return `The ${cosine} and the overlap rank pairs of labels ${words} (rank agreement ${number(ranks)}${error(step, `rank_agreement_${step.cosine}`)}; share explained ${number(explained)}).`;
  }
  if (ranks === undefined && isKnown(explained)) return accounted(cosine, explained); // a step of an earlier version
  const why = step.undefined[`rank_agreement_${step.cosine}`] ?? step.undefined[`explained_${step.cosine}`];
  return `The rank agreement of the ${cosine} with the overlap is unknown${why ? `: ${why}` : ""}.`;
}

/**
 * The standard error of a scalar as text; empty if it is unknown.
 * @param {Step} step
 * @param {string} name
 */
function error({ standard_errors: errors }, name) {
  return name in errors ? `, standard error ${number(errors[name])}` : "";
}

/**
 * The first sentence for steps without rank agreements, which earlier versions wrote.
 * @param {string} cosine
 * @param {number} explained
 */
function accounted(cosine, explained) {
  const share = Math.round(100 * Math.max(0, explained));
  const [, words] = SHARES.find(([least]) => share > least) ?? [0, "almost none"];
  return `The ${cosine} explains ${words} of the overlap between labels (${share}%).`;
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
  return `${plural(stranger, "stranger")} and ${plural(lookalike, "look-alike")}${shown} ${among}.`;
}

/**
 * The names of the flagged pair with the largest gap, and its overlap; empty if no pair is flagged.
 * @param {Step} step
 */
function furthestOf(step) {
  const pair = furthest(step);
  if (pair < 0 || !step.flag[pair]) return "";
  const [one, other] = step.namesAt(pair);
  return `“${one}” and “${other}” are furthest off: overlap ${number(step.values.overlap[pair])}, expected ${number(step.values.expected_overlap[pair])}.`;
}

/** @param {Step} step */
function trust(step) {
  const { reliability } = step.scalars;
  const inputs = `${step.num_inputs.toLocaleString("en")} inputs`;
  if (reliability === null || reliability === undefined) return `Based on ${inputs}.`;
  const words = reliability >= 0.9 ? "other inputs would give nearly the same ranking" : reliability >= 0.5 ? "other inputs would give a similar ranking" : "other inputs could give a different ranking, so use more inputs";
  const bound = step.truncation > 0.0005 ? `, overlaps may be up to ${number(step.truncation)} larger` : "";
  return `Based on ${inputs}${bound}; reliability ${number(reliability)}: ${words}.`;
}
