// Decodes a step from its bytes. lightning_cossim/loggers/wire.py describes the format.

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
/** @typedef {Facts & { version: number, columns: Column[], targets: string[] }} Header `targets` names the columns that belong to `targets` of `Pairs` */
/**
 * Header of version 2: every pair beyond the thresholds was flagged, `truncation` had another name, and the expected overlaps of the pairs were on the curve.
 * @typedef {Omit<Header, "truncation" | "similarities" | "limits" | "reasons" | "standard_errors" | "targets" | "curve"> & { overlap_error: number }} Header2
 */
/** @typedef {Omit<Header2, "columns" | "quantities"> & { blocks: Column[] }} Header1 header of version 1: it had no `quantities`, and named columns `blocks` */

export const VERSION = 3;
export const UNKNOWN = 65535;
export const FLAGS = ["", "stranger", "look-alike"];

const ARRAYS = { uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array };

export class TooNew extends Error {}

/**
 * The step in a response. The bytes are the length of the header, the header, and the body.
 * @param {ArrayBuffer} buffer
 * @returns {Decoded}
 */
export function decode(buffer) {
  if (buffer.byteLength < 4) throw new Error("TensorBoard sent an empty step.");
  const length = new DataView(buffer).getUint32(0, true);
  const header = current(JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))));
  const arrays = readColumns(buffer, 4 + length, header.columns);
  const numLabels = header.names.length;
  const marks = Uint8Array.from(arrays.flag);
  const [row, column] = arrays.pair ? apart(Uint32Array.from(arrays.pair), numLabels) : triangle(numLabels);
  if (row.length !== marks.length) throw new Error(`Expected ${row.length} pairs in the step, got ${marks.length}. The event file may be damaged.`);
  /** @type {Record<string, Float32Array>} */
  const values = {};
  for (const { name, type, low = 0, high = 0 } of header.columns) {
    if (type === "uint16") values[name] = real(arrays[name], low, high);
  }
  /** @type {Record<string, Float32Array>} */
  const targets = {};
  for (const name of header.targets) {
    targets[name] = values[name];
    delete values[name];
  }
  values.gap = values.overlap.map((overlap, pair) => overlap - values.expected_overlap[pair]);
  const flag = marks.map((mark) => (mark < FLAGS.length ? mark : 0));
  const why = marks.map((mark) => (mark < FLAGS.length ? 0 : mark - (FLAGS.length - 1)));
  return { ...header, num: marks.length, row, column, values, targets, flag, why, reach: arrays.reach ? Uint8Array.from(arrays.reach) : null };
}

/**
 * The header in the form of the current version.
 * @param {Header | Header1 | Header2} header
 * @returns {Header}
 */
function current(header) {
  if (header.version > VERSION) throw new TooNew(`version ${header.version}`);
  if ("blocks" in header) {
    const { blocks, ...others } = header;
    return current({ ...others, columns: blocks, quantities: [] });
  }
  if (!("overlap_error" in header)) return header;
  const keys = header.columns.filter(({ type }) => type === "uint16").map(({ name }) => name);
  const { stranger: strangers, lookalike: lookalikes } = header.thresholds;
  return {
    ...header,
    truncation: header.overlap_error,
    similarities: keys.filter((key) => key !== "overlap" && key !== "expected_overlap"),
    limits: header.verdict ? {} : { strangers, lookalikes },
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
 */
function readColumns(buffer, start, columns) {
  const width = columns.reduce((sum, { type }) => sum + ARRAYS[type].BYTES_PER_ELEMENT, 0);
  const num = (buffer.byteLength - start) / width;
  if (!Number.isInteger(num)) throw new Error("The step is incomplete. The event file may be damaged.");
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
