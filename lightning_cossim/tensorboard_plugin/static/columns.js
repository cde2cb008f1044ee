// The columns of the table, their order, and the table as CSV. Pure functions of a step.

import { MARKS } from "./detail.js";
import { inSentence } from "./quantities.js";

/** @import { Compared } from "./compare.js" */
/** @import { Step } from "./step.js" */

/**
 * @typedef {object} Heading
 * @property {string} key
 * @property {string} text
 * @property {string} [title] its name within a sentence
 */
/**
 * `size`: the table is sorted by it, if it is not the value; `bar`: what is drawn beside the number.
 * @typedef {object} OfNumbers
 * @property {true} number
 * @property {(pair: number) => number} of
 * @property {(pair: number) => number} [size]
 * @property {boolean} [signed]
 * @property {boolean} [whole]
 * @property {number} [direction]
 * @property {"gap" | "overlap"} [bar]
 */
/** @typedef {{ number?: false, of: (pair: number) => string }} OfTexts */
/** @typedef {Heading & (OfNumbers | OfTexts)} Column */

/**
 * The columns of a step's table. Every similarity of the step has a column, so a new similarity needs no change here.
 * @param {Step} step
 * @returns {Column[]}
 */
export function columnsOf(step) {
  const { gap } = step.values;
  /** @type {(key: string) => Column} */
  const ofKey = (key) => {
    const { column, title, direction, whole } = step.quantity(key);
    const size = key === "gap" ? { size: (/** @type {number} */ pair) => Math.abs(gap[pair]), bar: /** @type {const} */ ("gap"), signed: true } : key === "overlap" ? { bar: /** @type {const} */ ("overlap") } : {};
    return { key, text: column, title: key === "gap" ? "size of the gap" : inSentence(title), number: true, whole, direction, of: (pair) => step.values[key][pair], ...size };
  };
  /** @type {Column} */
  const onTop = { key: "on_top", text: "reachable", title: "whether an input can make the two labels the most likely ones", of: (pair) => step.onTopAt(pair) };
  /** @type {Column} */
  const why = { key: "why_unflagged", text: "why not flagged", of: (pair) => step.whyAt(pair) };
  const has = (/** @type {string[]} */ keys) => keys.filter((key) => key in step.values);
  return [
    ...names(step),
    { key: "flag", text: "flag", of: (pair) => MARKS[step.flagAt(pair)] },
    ...has(["gap", "overlap", "overlap_error", "expected_overlap", "joint_inputs"]).map(ofKey),
    ...(step.reasons.length || step.verdict ? [why] : []),
    ...(step.reach ? [onTop] : []),
    ...has([...step.similarities]).map(ofKey),
  ];
}

/**
 * @param {Step} step
 * @returns {Column[]}
 */
function names(step) {
  return [
    { key: "label", text: "label", of: (pair) => step.namesAt(pair)[0] },
    { key: "other", text: "other", of: (pair) => step.namesAt(pair)[1] },
  ];
}

/**
 * The columns of a comparison of two steps.
 * @param {Compared} compared
 * @returns {Column[]}
 */
export function columnsOfTwo({ one, other, there, change, error, beyond }) {
  /** @type {(key: string, letter: "A" | "B", signed?: boolean) => Column} */
  const ofKey = (key, letter, signed) => {
    const { column, title } = one.quantity(key);
    const of = (/** @type {number} */ pair) => (letter === "A" ? one.values[key][pair] : there[pair] < 0 ? NaN : other.values[key][there[pair]]);
    return { key: `${key}_${letter.toLowerCase()}`, text: `${column} ${letter}`, title: `${inSentence(title)} in ${letter}`, number: true, signed, of };
  };
  return [
    ...names(one),
    { key: "change", text: "change of gap", title: "size of the change of the gap", number: true, signed: true, bar: "gap", of: (pair) => change[pair], size: (pair) => Math.abs(change[pair]) },
    { key: "beyond", text: "beyond errors", title: "change of the gap beyond two standard errors of both; a dash: within them", number: true, of: (pair) => (beyond[pair] > 0 && !Number.isNaN(error[pair]) ? beyond[pair] : NaN), size: (pair) => beyond[pair] },
    ofKey("gap", "A", true), ofKey("gap", "B", true),
    { key: "change_error", text: "std error", title: "standard error of the change", number: true, of: (pair) => error[pair] },
    { key: "flag_a", text: "flag A", of: (pair) => MARKS[one.flagAt(pair)] },
    { key: "flag_b", text: "flag B", of: (pair) => (there[pair] < 0 ? "" : MARKS[other.flagAt(there[pair])]) },
    ofKey("overlap", "A"), ofKey("overlap", "B"), ofKey(one.cosine, "A"), ...(one.cosine in other.values ? [ofKey(one.cosine, "B")] : []),
  ];
}

/**
 * The columns of a step's CSV: those of the table, the rows of the labels in the head, and what targets say of each pair.
 * @param {Step} step
 * @param {Column[]} columns of the table
 * @returns {Column[]}
 */
export function columnsOfCsv(step, columns) {
  const rows = ["label_row", "other_row"].map((key, at) => /** @type {Column} */ ({ key, text: key, number: true, whole: true, of: (pair) => [step.row, step.column].map((places) => step.labels[places[pair]])[at] }));
  const targets = Object.entries(step.targets).map(([key, values]) => /** @type {Column} */ ({ key, text: key, number: true, of: (pair) => values[pair] }));
  return [...columns, ...rows, ...targets];
}

/**
 * The largest absolute value of a column; 0 if none is known.
 * @param {OfNumbers} column
 * @param {readonly number[]} pairs
 */
export function largest({ of }, pairs) {
  let most = 0;
  for (const pair of pairs) {
    const size = Math.abs(of(pair));
    if (size > most) most = size;
  }
  return most;
}

/**
 * The number of digits after the point for all values of a column.
 * @param {OfNumbers} column
 * @param {number} most largest absolute value
 */
export function decimalsOf({ whole }, most) {
  if (whole) return 0;
  return most >= 1000 ? 0 : most >= 100 ? 1 : most >= 10 ? 2 : 3;
}

/**
 * A number with a given number of digits after the point; a dash if it is unknown.
 * @param {number} value
 * @param {number} decimals
 * @param {boolean} signed
 */
export function fixed(value, decimals, signed = false) {
  if (Number.isNaN(value)) return "–";
  const text = Math.abs(value).toFixed(decimals);
  const isZero = Number(text) === 0;
  return `${value < 0 && !isZero ? "−" : signed && !isZero ? "+" : ""}${text}`;
}

/**
 * The pairs sorted by a column. Unknown values come last in both directions.
 * @param {readonly number[]} pairs
 * @param {OfNumbers | OfTexts} column
 * @param {boolean} down
 */
export function sorted(pairs, column, down) {
  const direction = down ? -1 : 1;
  if (column.number) {
    const of = column.size ?? column.of;
    return ascending(Float64Array.from(pairs, (pair) => direction * of(pair)), pairs);
  }
  const texts = pairs.map(column.of);
  const places = Array.from(pairs.keys()).sort((one, other) => direction * texts[one].localeCompare(texts[other]) || one - other);
  return places.map((place) => pairs[place]);
}

const LOW = 2 ** 29 - 1; // the bits of a number that no 32-bit number uses

/**
 * The pairs by their numbers, of which 24 bits count; equal ones keep their order, and NaN comes last. Numbers are sorted without a function
 * that compares them, with the places of the pairs in their lowest bits: that is four times as fast.
 * @param {Float64Array} numbers
 * @param {readonly number[]} pairs
 */
function ascending(numbers, pairs) {
  const words = new Uint32Array(numbers.buffer); // two for each number, the low one first
  for (let at = 0; at < numbers.length; at++) {
    numbers[at] = Number.isNaN(numbers[at]) ? Number.MAX_VALUE : Math.fround(numbers[at]) || 0;
    words[2 * at] = (words[2 * at] & ~LOW) | (numbers[at] < 0 ? LOW - at : at);
  }
  numbers.sort();
  return Array.from(numbers, (number, at) => pairs[number < 0 ? LOW - (words[2 * at] & LOW) : words[2 * at] & LOW]);
}

/**
 * @param {readonly (Pick<Heading, "key"> & (OfNumbers | OfTexts))[]} columns
 * @param {readonly number[]} pairs
 */
export function csv(columns, pairs) {
  const numeral = (/** @type {number} */ value) => (Number.isNaN(value) ? "" : String(Number(value.toPrecision(6))));
  const cell = (/** @type {string} */ text) => {
    const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // a spreadsheet would run it as a formula
    return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };
  const rows = pairs.map((pair) => columns.map((one) => (one.number ? numeral(one.of(pair)) : cell(one.key.startsWith("flag") ? one.of(pair).replace(/^[▲▼] /, "") : one.of(pair)))));
  return [columns.map(({ key }) => key), ...rows].map((row) => row.join(",")).join("\n") + "\n";
}
