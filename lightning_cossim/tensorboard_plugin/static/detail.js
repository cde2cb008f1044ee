// Describes a pair at a step in words: its values, their standard errors, and its flag or the reason for no flag.

import { number } from "./dom.js";
import { inSentence } from "./quantities.js";

/** @import { Step } from "./step.js" */

/** @type {Record<string, string>} */
export const MARKS = { stranger: "▲ stranger", "look-alike": "▼ look-alike", "": "" };

/**
 * Up to four lines: one about the overlap, one about the joint inputs, two about the targets of inputs. Lines without data are absent.
 * @param {Step} step
 * @param {number} pair
 */
export function detail(step, pair) {
  const { overlap, overlap_error: error, expected_overlap: expected, gap, joint_inputs: joint } = step.values;
  const column = (/** @type {string} */ key) => step.quantity(key).column;
  const within = error && !Number.isNaN(error[pair]) ? ` ± ${number(error[pair])}` : "";
  const lines = [`${column("overlap")} ${number(overlap[pair])}${within}, ${column("expected_overlap")} ${number(expected[pair])}, ${column("gap")} ${number(gap[pair], { signed: true })}`];
  if (joint) lines.push(`${inSentence(step.quantity("joint_inputs").title)} ${number(joint[pair], { whole: true })}`);
  return [...lines, ...ofTargets(step, pair)];
}

/**
 * @param {Step} step
 * @param {number} pair
 */
function ofTargets({ targets, names, row, column }, pair) {
  if (!targets.errors) return [];
  const [label, other] = [names[row[pair]], names[column[pair]]];
  const [there, back] = [targets.errors[pair], targets.errors_back[pair]];
  const lines = [`${there} input${there === 1 ? "" : "s"} of “${label}” predicted as “${other}”, ${back} the reverse`];
  const [first, second, neither] = [targets.mass_label, targets.mass_other, targets.mass_neither].map((shares) => Math.round(100 * shares[pair]));
  if (!Number.isNaN(first)) lines.push(`joint mass: ${first}% on inputs of “${label}”, ${second}% of “${other}”, ${neither}% of neither`);
  return lines;
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
