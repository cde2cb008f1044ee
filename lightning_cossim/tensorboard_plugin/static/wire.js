// The wire format of lightning_cossim/reporting/wire.py: from the bytes of a step to its pairs.

export const VERSION = 1;
export const UNKNOWN = 65535;
export const FLAGS = ["", "stranger", "look-alike"];

const ARRAYS = { uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array };

export class TooNew extends Error {}

/** The step in a response: how long the header is, the header, the body. */
export function decode(buffer) {
  if (buffer.byteLength < 4) throw new Error("The answer is empty.");
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (header.version > VERSION) throw new TooNew(`version ${header.version}`);
  const arrays = readBlocks(buffer, 4 + length, header.blocks);
  const numLabels = header.names.length;
  const num = arrays.flag.length;
  const [row, column] = arrays.pair ? apart(arrays.pair, numLabels) : triangle(numLabels);
  if (row.length !== num) throw new Error(`The step should have ${row.length} pairs, but has ${num}.`);
  const values = {};
  for (const { name, type, low, high } of header.blocks) {
    if (type === "uint16") values[name] = real(arrays[name], low, high);
  }
  const rungs = Object.keys(values).filter((name) => name !== "expected_overlap");
  values.gap = values.overlap.map((overlap, pair) => overlap - values.expected_overlap[pair]);
  return { ...header, num, row, column, values, rungs, flag: arrays.flag, reach: arrays.reach ?? null };
}

function readBlocks(buffer, start, blocks) {
  const width = blocks.reduce((sum, { type }) => sum + ARRAYS[type].BYTES_PER_ELEMENT, 0);
  const num = (buffer.byteLength - start) / width;
  if (!Number.isInteger(num)) throw new Error("The step is cut off.");
  const arrays = {};
  for (const { name, type } of blocks) {
    const end = start + num * ARRAYS[type].BYTES_PER_ELEMENT;
    arrays[name] = new ARRAYS[type](buffer.slice(start, end));
    start = end;
  }
  return arrays;
}

function apart(pair, numLabels) {
  return [pair.map((both) => Math.floor(both / numLabels)), pair.map((both) => both % numLabels)];
}

/** All pairs, row by row of the upper triangle. */
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

/** NaN for what is not known: it must never become a zero. */
function real(quantized, low, high) {
  const values = new Float32Array(quantized.length);
  const unit = (high - low) / (UNKNOWN - 1);
  for (let pair = 0; pair < values.length; pair++) {
    values[pair] = quantized[pair] === UNKNOWN ? NaN : low + quantized[pair] * unit;
  }
  return values;
}
