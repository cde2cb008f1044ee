// Describes a pair at a step in words: its values, their standard errors, its flag or the reason for no flag, and what to do.

import { number } from "./dom.js";
import { inSentence } from "./quantities.js";

/** @import { Step } from "./step.js" */

/** @type {Record<string, string>} */
export const MARKS = { stranger: "▲ stranger", "look-alike": "▼ look-alike", "": "" };
/** @type {Record<string, string>} */
export const FLAG_WORDS = { stranger: "▲ confused though unlike (stranger)", "look-alike": "▼ apart though alike (look-alike)", "": "not flagged" };
/** @type {Record<string, string>} */
const TO_DO = {
  stranger: "Compare the inputs of both labels. If a person confuses them too, the labels are ambiguous: merge them, or use a metric that forgives the mistake. If not, it is an error: check the targets, and collect more inputs of both labels.",
  "look-alike": "In most cases, nothing. Do not merge the labels, remove one, or explain a prediction because their rows are alike: the model keeps their inputs apart.",
  "": "Nothing: the gap of this pair needs no action.",
};
const NUM_ERRORS = 1.895; // of verdicts.py: a gap must exceed its limit by so many standard errors

/**
 * Up to four lines: one about the overlap, one about the joint inputs, two about the targets of inputs. Lines without data are absent.
 * @param {Step} step
 * @param {number} pair
 */
export function detail(step, pair) {
  const { expected_overlap: expected, gap, joint_inputs: joint } = step.values;
  const column = (/** @type {string} */ key) => step.quantity(key).column;
  const lines = [`${column("overlap")} ${withError(step, "overlap", pair)}, ${column("expected_overlap")} ${number(expected[pair])}, ${column("gap")} ${number(gap[pair], { signed: true })}`];
  if (joint) lines.push(`${inSentence(step.quantity("joint_inputs").title)} ${number(joint[pair], { whole: true })}`);
  return [...lines, ...errorsOf(step, pair), ...massOf(step, pair)];
}

/**
 * A value with the standard error of the overlap, which is that of the gap, too.
 * @param {Step} step
 * @param {string} key
 * @param {number} pair
 */
export function withError(step, key, pair) {
  const error = step.values.overlap_error?.[pair];
  return `${number(step.values[key][pair], { signed: key === "gap" })}${error === undefined || Number.isNaN(error) ? "" : ` ± ${number(error)}`}`;
}

/**
 * How many inputs of one label are predicted as the other; empty if targets are unknown.
 * @param {Step} step
 * @param {number} pair
 */
export function errorsOf({ targets, names, row, column }, pair) {
  if (!targets.errors) return [];
  const [there, back] = [targets.errors[pair], targets.errors_back[pair]];
  return [`${there} input${there === 1 ? "" : "s"} of “${names[row[pair]]}” predicted as “${names[column[pair]]}”, ${back} the reverse`];
}

/**
 * The split of the joint mass by the targets of inputs; empty if it is unknown.
 * @param {Step} step
 * @param {number} pair
 */
export function massOf(step, pair) {
  const shares = sharesOf(step, pair);
  if (!shares) return [];
  const [label, other] = [step.row, step.column].map((places) => step.names[places[pair]]);
  const [first, second, neither] = shares.map((share) => Math.round(100 * share));
  return [`joint mass: ${first}% on inputs of “${label}”, ${second}% of “${other}”, ${neither}% of neither`];
}

/**
 * The shares of the joint mass on inputs of the first label, of the second, and of neither; null if they are unknown.
 * @param {Step} step
 * @param {number} pair
 */
export function sharesOf({ targets }, pair) {
  if (!targets.mass_label) return null;
  const shares = [targets.mass_label[pair], targets.mass_other[pair], targets.mass_neither[pair]];
  return shares.some(Number.isNaN) ? null : shares;
}

/**
 * The flag of a pair, or the reason for no flag; empty if a step of an earlier version has no reason.
 * @param {Step} step
 * @param {number} pair
 */
export function verdict(step, pair) {
  const why = step.whyAt(pair);
  return MARKS[step.flagAt(pair)] || (why && `not flagged: ${why}`);
}

/**
 * Why a pair is flagged, or why not, in a sentence with its numbers; empty if the step has no reasons.
 * @param {Step} step
 * @param {number} pair
 */
export function because(step, pair) {
  if (step.verdict) return `No pair is judged: ${step.verdict}.`;
  const [gap, limit] = [withError(step, "gap", pair), limitAt(step, pair)];
  const flag = step.flagAt(pair);
  if (flag) {
    const side = flag === "stranger" ? "more" : "less";
    const surely = step.values.overlap_error ? ` by more than ${NUM_ERRORS.toFixed(1)} standard errors` : ""; // steps of versions 1 and 2 have no errors
    return `It overlaps ${side} than pairs with its cosine do. Its gap, ${gap}, exceeds ${number(limit)}${surely}.`;
  }
  const reason = step.whyAt(pair);
  return reason && (SENTENCES[reason]?.(step, pair, gap, number(limit)) ?? `It is not flagged: ${reason}.`);
}

/**
 * The size that the gap of a pair must exceed for a flag.
 * @param {Step} step
 * @param {number} pair
 */
export function limitAt({ limits, values }, pair) {
  return (values.gap[pair] < 0 ? limits.lookalikes : limits.strangers) ?? NaN;
}

/** @type {Record<string, (step: Step, pair: number, gap: string, limit: string) => string>} a reason of verdicts.py to its sentence */
const SENTENCES = {
  "no gap": () => "It has no gap: its cosine, its overlap or its expected overlap is unknown.",
  "below threshold": (_step, _pair, gap, limit) => `Its gap, ${gap}, is within the limit, ${limit}.`,
  "within the spread of gaps": ({ thresholds, values }, pair, gap, limit) =>
    `Its gap, ${gap}, exceeds the threshold, ${number(values.gap[pair] < 0 ? thresholds.lookalike : thresholds.stranger)}, but not the limit, ${limit}, which is the spread of the gaps of all pairs.`,
  "error unknown": (_step, _pair, gap) => `Its gap, ${gap}, is large, but the error of its overlap is unknown.`,
  "within error": (_step, _pair, gap, limit) => `Its gap, ${gap}, exceeds ${limit}, but not by ${NUM_ERRORS.toFixed(1)} standard errors: other inputs could give a smaller gap.`,
  "overlap may be larger": ({ truncation }, _pair, gap) => `Its gap, ${gap}, is large, but its overlap may be up to ${number(truncation)} larger: only the most likely labels of each input were kept.`,
  "too few joint inputs": ({ thresholds, values }, pair, gap) => `Its gap, ${gap}, is large, but both labels are likely on ${number(values.joint_inputs?.[pair], { whole: true })} inputs only; a stranger needs ${thresholds.min_joint_inputs ?? "more"}.`,
  "cosine too high for a stranger": (_step, _pair, gap) => `Its gap, ${gap}, is large, but its cosine is among the highest tenth: labels so alike are no strangers.`,
  "cosine too low for a look-alike": (_step, _pair, gap) => `Its gap, ${gap}, is large, but its cosine is in the lower half: labels so unlike are no look-alikes.`,
  "too few inputs": (_step, _pair, gap) => `Its gap, ${gap}, is large, but one of its labels is likely on too few inputs.`,
  known: (_step, _pair, gap) => `Its gap is ${gap}. You listed the pair as known, so it is never flagged.`,
};

/**
 * What to do about a pair, in the words of the documentation.
 * @param {Step} step
 * @param {number} pair
 */
export const toDo = (step, pair) => (step.verdict ? "Nothing yet: no pair is judged." : TO_DO[step.flagAt(pair)]);

/**
 * The share of pairs of the step with a lower value, in percent; NaN if the value is unknown.
 * @param {Step} step
 * @param {string} key
 * @param {number} pair
 */
export function percentile(step, key, pair) {
  const values = step.values[key];
  const value = values[pair];
  let [lower, same, known] = [0, 0, 0];
  for (const one of step.counted) {
    if (Number.isNaN(values[one])) continue;
    known += 1;
    if (values[one] < value) lower += 1;
    else if (values[one] === value) same += 1;
  }
  return Number.isNaN(value) || known < 2 ? NaN : (100 * (lower + (same - 1) / 2)) / (known - 1);
}
