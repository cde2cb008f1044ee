// The wire format of lightning_cossim/loggers/wire.py: from the bytes of a step to its pairs.

/**
 * A row of Python's table of similarities, its texts chosen for the step's link.
 *
 * @typedef {object} Quantity
 * @property {string} key
 * @property {string} title its name in sentences and over pictures
 * @property {string} column its name over the column of a table
 * @property {number | null} low null: there is no bound
 * @property {number | null} high
 * @property {number} direction 1 if larger means more alike, -1 if smaller does
 * @property {boolean} [whole] its values are whole numbers; up to version 2, none were
 * @property {string[]} about what it is, one paragraph each
 */

/**
 * An array of the body.
 *
 * @typedef {object} Column
 * @property {string} name
 * @property {"uint32" | "uint16" | "uint8"} type
 * @property {number} [low] of a uint16
 * @property {number} [high]
 */

/**
 * What a header says of a step; `Step` of wire.py explains every field.
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
 * What the body adds.
 *
 * @typedef {object} Pairs
 * @property {number} num how many pairs there are
 * @property {Uint32Array} row
 * @property {Uint32Array} column
 * @property {Record<string, Float32Array>} values of each pair, by the key of the quantity; NaN: not known
 * @property {Record<string, Float32Array>} targets what the targets of inputs tell of each pair, if they are known and there was room
 * @property {Uint8Array} flag
 * @property {Uint8Array} why place in `reasons`, 0 where a pair is flagged or nothing was judged
 * @property {Uint8Array | null} reach
 */

/** @typedef {Facts & Pairs} Decoded */
/** @typedef {Facts & { version: number, columns: Column[], targets: string[] }} Header targets: which columns are those of targets */
/**
 * Up to version 2, what was beyond the thresholds was flagged, `truncation` had another name, and the expected overlaps of the pairs were on the curve.
 * @typedef {Omit<Header, "truncation" | "similarities" | "limits" | "reasons" | "standard_errors" | "targets" | "curve"> & { overlap_error: number }} Header2
 */
/** @typedef {Omit<Header2, "columns" | "quantities"> & { blocks: Column[] }} Header1 version 1 had no table, and called columns blocks */

export const VERSION = 3;
export const UNKNOWN = 65535;
export const FLAGS = ["", "stranger", "look-alike"];

const ARRAYS = { uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array };

export class TooNew extends Error {}

/**
 * The step in a response: how long the header is, the header, the body.
 * @param {ArrayBuffer} buffer
 * @returns {Decoded}
 */
export function decode(buffer) {
  if (buffer.byteLength < 4) throw new Error("The answer is empty.");
  const length = new DataView(buffer).getUint32(0, true);
  const header = current(JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))));
  const arrays = readColumns(buffer, 4 + length, header.columns);
  const numLabels = header.names.length;
  const marks = Uint8Array.from(arrays.flag);
  const [row, column] = arrays.pair ? apart(Uint32Array.from(arrays.pair), numLabels) : triangle(numLabels);
  if (row.length !== marks.length) throw new Error(`The step should have ${row.length} pairs, but has ${marks.length}.`);
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
 * A header of any version as the current one has it.
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
  if (!Number.isInteger(num)) throw new Error("The step is cut off.");
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
 * All pairs, row by row of the upper triangle.
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
 * NaN for what is not known: it must never become a zero.
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
