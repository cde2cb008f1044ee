// Decodes a step from its bytes. lightning_cossim/loggers/wire.py describes the format.

import { headerOf, list, object, refuse, whole } from "./fields.js";
import { checkedColumns, checkedHeader } from "./step-header.js";

/**
 * A row of Python's table of similarities, with the texts for the step's link.
 *
 * @typedef {object} Quantity
 * @property {string} key
 * @property {string} title its name in sentences and in titles of pictures
 * @property {string} column its name in the heading of a table's column
 * @property {number | null} low lowest possible value; null: no bound
 * @property {number | null} high highest possible value; null: no bound
 * @property {number} direction 1: larger means more alike, -1: smaller means more alike
 * @property {boolean} [whole] whether its values are whole numbers; absent up to version 2
 * @property {string[]} about its explanation, one text for each paragraph
 */

/**
 * An array of the body.
 *
 * @typedef {object} Column
 * @property {string} name
 * @property {"uint32" | "uint16" | "uint8"} type
 * @property {number} [low] value that 0 means, if the type is uint16
 * @property {number} [high] value that 65534 means
 */

/**
 * The facts in a header; `Step` in wire.py explains each field.
 *
 * @typedef {object} Facts
 * @property {string} stage
 * @property {number} step
 * @property {number} index
 * @property {number} time
 * @property {string} link
 * @property {string} cosine
 * @property {number} num_labels
 * @property {number} num_inputs
 * @property {number} num_pairs
 * @property {string} chosen
 * @property {number} truncation
 * @property {string} verdict
 * @property {Quantity[]} quantities
 * @property {string[]} similarities
 * @property {Record<string, number>} thresholds
 * @property {{ strangers?: number, lookalikes?: number }} limits
 * @property {string[]} reasons
 * @property {Record<string, number | null>} scalars
 * @property {Record<string, number>} standard_errors
 * @property {Record<string, string>} undefined
 * @property {string[]} remarks
 * @property {string[]} names
 * @property {number[]} labels
 * @property {number[]} mean_probs
 * @property {number[]} order
 * @property {[number, number][]} curve
 */

/**
 * The data of the pairs, from the body.
 *
 * @typedef {object} Pairs
 * @property {number} num number of pairs
 * @property {Uint32Array} row
 * @property {Uint32Array} column
 * @property {Record<string, Float32Array>} values key of a quantity to its value for each pair; NaN: unknown
 * @property {Record<string, Float32Array>} targets statistics of each pair from the targets of inputs; empty if the step does not have them
 * @property {Uint8Array} flag
 * @property {Uint8Array} why place in `reasons`; 0 if a pair is flagged or not judged
 * @property {Uint8Array | null} reach
 */

/** @typedef {Facts & Pairs} Decoded */
export const VERSION = 3;
export const UNKNOWN = 65535;
export const FLAGS = ["", "stranger", "look-alike"];

const MAX_REACH = 3;
const ARRAYS = { uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array };

export class TooNew extends Error {}

/**
 * The step in a response, after a check of every field. The bytes are the length of the header, the header, and the body.
 * @param {ArrayBuffer} buffer
 * @returns {Decoded}
 */
export function decode(buffer) {
  if (buffer.byteLength < 4) throw new Error("TensorBoard sent an empty step.");
  const { header: sent, start } = headerOf(buffer);
  const header = current(sent);
  const { columns, num } = checkedColumns(header.columns, buffer.byteLength - start);
  const { targets: ofTargets, ...facts } = checkedHeader(header, columns, num);
  const numLabels = facts.names.length;
  const arrays = readColumns(buffer, start, columns, num);
  const marks = Uint8Array.from(arrays.flag);
  const [row, column] = arrays.pair ? apart(Uint32Array.from(arrays.pair), numLabels) : triangle(numLabels);
  if (arrays.pair && (row.some((one, pair) => one >= column[pair]) || new Set(arrays.pair).size < num)) refuse("body", `to have different pairs of ${numLabels} labels`);
  /** @type {Record<string, Float32Array>} */
  const values = {};
  for (const { name, type, low = 0, high = 0 } of columns) {
    if (type === "uint16") values[name] = real(arrays[name], low, high);
  }
  /** @type {Record<string, Float32Array>} */
  const targets = {};
  for (const name of ofTargets) {
    targets[name] = values[name];
    delete values[name];
  }
  values.gap = values.overlap.map((overlap, pair) => overlap - values.expected_overlap[pair]);
  const flag = marks.map((mark) => (mark < FLAGS.length ? mark : 0));
  const why = marks.map((mark) => (mark < FLAGS.length ? 0 : mark - (FLAGS.length - 1)));
  const reach = arrays.reach ? Uint8Array.from(arrays.reach) : null;
  if (why.some((one) => one >= Math.max(1, facts.reasons.length)) || reach?.some((one) => one > MAX_REACH)) refuse("body", "to have marks of pairs that the format knows");
  return { ...facts, num, row, column, values, targets, flag, why, reach };
}

/**
 * The header in the form of the current version.
 * @param {Record<string, unknown>} header
 * @returns {Record<string, unknown>}
 */
function current(header) {
  const version = whole(header.version, "version", 1);
  if (version > VERSION) throw new TooNew(`version ${version}`);
  const latest = version < 2 ? { ...header, columns: header.blocks, quantities: [] } : header;
  if (version > 2) return latest;
  const keys = list(latest.columns, "columns", object).flatMap(({ name, type }) => (type === "uint16" ? [name] : []));
  const { stranger: strangers, lookalike: lookalikes } = object(latest.thresholds, "thresholds");
  return {
    ...latest,
    truncation: latest.overlap_error,
    similarities: keys.filter((key) => key !== "overlap" && key !== "expected_overlap"),
    limits: latest.verdict ? {} : { strangers, lookalikes },
    reasons: [],
    standard_errors: {},
    targets: [],
    curve: [],
  };
}

/**
 * @param {ArrayBuffer} buffer
 * @param {number} start
 * @param {Column[]} columns
 * @param {number} num number of pairs
 */
function readColumns(buffer, start, columns, num) {
  /** @type {Record<string, Uint32Array | Uint16Array | Uint8Array>} */
  const arrays = {};
  for (const { name, type } of columns) {
    const end = start + num * ARRAYS[type].BYTES_PER_ELEMENT;
    arrays[name] = new ARRAYS[type](buffer.slice(start, end));
    start = end;
  }
  return arrays;
}

/**
 * @param {Uint32Array} pair
 * @param {number} numLabels
 */
function apart(pair, numLabels) {
  return [pair.map((both) => Math.floor(both / numLabels)), pair.map((both) => both % numLabels)];
}

/**
 * All pairs, in the order of the rows of the upper triangle.
 * @param {number} numLabels
 */
function triangle(numLabels) {
  const num = (numLabels * (numLabels - 1)) / 2;
  const row = new Uint32Array(num);
  const column = new Uint32Array(num);
  let pair = 0;
  for (let one = 0; one < numLabels; one++) {
    for (let other = one + 1; other < numLabels; other++) {
      row[pair] = one;
      column[pair++] = other;
    }
  }
  return [row, column];
}

/**
 * The values of quantized numbers. An unknown value is NaN, never zero.
 * @param {ArrayLike<number>} quantized
 * @param {number} low
 * @param {number} high
 */
function real(quantized, low, high) {
  const values = new Float32Array(quantized.length);
  const unit = (high - low) / (UNKNOWN - 1);
  for (let pair = 0; pair < values.length; pair++) {
    values[pair] = quantized[pair] === UNKNOWN ? NaN : low + quantized[pair] * unit;
  }
  return values;
}
