// Checks of the fields of a header that comes from an event file, where any value can stand: each returns the value, or throws.
// lightning_cossim/loggers/fields.py does the same.

const MOST_BYTES = 2_000_000;
const LARGEST = 1e300; // differences of numbers up to this size are finite

/**
 * @param {string} name
 * @param {string} wanted
 * @returns {never}
 */
export function refuse(name, wanted) {
  throw new Error(`Expected \`${name}\` ${wanted}. The event file may be damaged.`);
}

/**
 * The header of a blob and the place where its body starts.
 * @param {ArrayBuffer} buffer
 * @returns {{ header: Record<string, unknown>, start: number }}
 */
export function headerOf(buffer) {
  if (buffer.byteLength > MOST_BYTES) refuse("blob", `to have at most ${MOST_BYTES} bytes, got ${buffer.byteLength}`);
  const start = 4 + new DataView(buffer).getUint32(0, true);
  if (start === 4 || start > buffer.byteLength) refuse("blob", "to start with the length of its header");
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(buffer, 4, start - 4));
  return { header: object(JSON.parse(text), "header"), start };
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {string}
 */
export function text(value, name) {
  return typeof value === "string" ? value : refuse(name, "to be a text");
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {boolean}
 */
export function truth(value, name) {
  return typeof value === "boolean" ? value : refuse(name, "to be true or false");
}

/**
 * @template {string} Choice
 * @param {unknown} value
 * @param {string} name
 * @param {readonly Choice[]} choices
 * @returns {Choice}
 */
export function choice(value, name, choices) {
  return choices.find((one) => one === value) ?? refuse(name, `to be ${choices.slice(0, 20).join(" or ")}`);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {number}
 */
export function whole(value, name, low = 0, high = Number.MAX_SAFE_INTEGER) {
  return typeof value === "number" && Number.isInteger(value) && value >= low && value <= high ? value : refuse(name, `to be a whole number from ${low} to ${high}`);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {number}
 */
export function real(value, name, low = -LARGEST, high = LARGEST) {
  return typeof value === "number" && value >= low && value <= high ? value : refuse(name, `to be a number from ${low} to ${high}`);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {number | null}
 */
export const realOrNull = (value, name) => (value === null || value === undefined ? null : real(value, name));

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {Record<string, unknown>}
 */
export function object(value, name) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? /** @type {Record<string, unknown>} */ (value) : refuse(name, "to be an object");
}

/**
 * @template Value
 * @param {unknown} value
 * @param {string} name
 * @param {(value: unknown, name: string) => Value} check
 * @param {number} [length]
 * @returns {Value[]}
 */
export function list(value, name, check, length) {
  if (!Array.isArray(value)) return refuse(name, "to be a list");
  if (length !== undefined && value.length !== length) refuse(name, `to have ${length} values, got ${value.length}`);
  return value.map((one) => check(one, name));
}

/**
 * An object with checked values. The name `__proto__` is a key like others.
 * @template Value
 * @param {unknown} value
 * @param {string} name
 * @param {(value: unknown, name: string) => Value} check
 * @returns {Record<string, Value>}
 */
export function record(value, name, check) {
  return Object.fromEntries(Object.entries(object(value, name)).map(([key, one]) => [key, check(one, name)]));
}
