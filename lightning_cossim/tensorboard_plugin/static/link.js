// Stores the state of the page in the address, in TensorBoard's form for plugins: p.lightning_cossim.<key>=<value>.

const PREFIX = "p.lightning_cossim.";

/** @import { Pair } from "./step.js" */

/**
 * The state that a link restores.
 *
 * @typedef {object} State
 * @property {string | null} run
 * @property {string | null} tag
 * @property {number | null} step null: the last step
 * @property {string | null} run2 run to compare with; null: none
 * @property {string} x similarity of the scatter; empty: the cosine that gaps refer to
 * @property {string} map similarity of the first heatmap; empty: as for `x`
 * @property {string} sort column by which the table is sorted
 * @property {boolean} down whether the table is sorted in descending order
 * @property {string} query text of the search
 * @property {string} flag filter of the table; empty: all pairs
 * @property {Pair | null} pair selected pair
 * @property {Pair[]} pins pinned pairs
 */

/**
 * @template Value
 * @typedef {object} Field
 * @property {Value} initial
 * @property {(text: string) => Value | null} read
 * @property {(value: NonNullable<Value>) => string} write
 */

/** @type {{ [Key in keyof State]: Field<State[Key]> }} how each value is read and written; links omit values that equal the default */
const FIELDS = {
  run: text(null), tag: text(null), step: whole(), run2: text(null), x: text(""), map: text(""), sort: text("gap"), down: flag(true),
  query: text(""), flag: text(""), pair: pair(), pins: list(pair()),
};
const KEYS = /** @type {(keyof State)[]} */ (Object.keys(FIELDS));

export const DEFAULTS = /** @type {State} */ (Object.fromEntries(KEYS.map((key) => [key, FIELDS[key].initial])));

/**
 * @template {string | null} Initial
 * @param {Initial} initial
 * @returns {Field<Initial | string>}
 */
function text(initial) {
  return { initial, read: (value) => value, write: (value) => value };
}

/** @returns {Field<number | null>} */
function whole() {
  return { initial: null, read: (value) => (/^\d{1,15}$/.test(value) ? Number(value) : null), write: String };
}

/**
 * @param {boolean} initial
 * @returns {Field<boolean>}
 */
function flag(initial) {
  return { initial, read: (value) => value === "1", write: (value) => (value ? "1" : "0") };
}

/** @returns {Field<Pair | null>} */
function pair() {
  /** @type {(value: string) => Pair | null} */
  const read = (value) => {
    const [, one, other] = /^(\d{1,9})-(\d{1,9})$/.exec(value) ?? [];
    return one === undefined ? null : [Number(one), Number(other)];
  };
  return { initial: null, read, write: (value) => value.join("-") };
}

/**
 * @param {Field<Pair | null>} one
 * @returns {Field<Pair[]>}
 */
function list(one) {
  /** @type {(value: string) => Pair[]} */
  const read = (value) => value.split(",").map(one.read).filter((found) => found !== null).slice(0, 8);
  return { initial: [], read, write: (values) => values.map(one.write).join(",") };
}

/**
 * The state in the fragment of an address. A missing or invalid value has its default.
 * @param {string} fragment
 */
export function parse(fragment) {
  const state = { ...DEFAULTS };
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at < 0 || !part.startsWith(PREFIX)) continue;
    const key = KEYS.find((one) => one === part.slice(PREFIX.length, at));
    if (!key) continue;
    try {
      read(state, key, decodeURIComponent(part.slice(at + 1)));
    } catch {
      // The value is not a valid escaped text: keep the default.
    }
  }
  return state;
}

/**
 * @template {keyof State} Key
 * @param {State} state
 * @param {Key} key
 * @param {string} value
 */
function read(state, key, value) {
  state[key] = FIELDS[key].read(value) ?? FIELDS[key].initial;
}

/**
 * The fragment of an address with this state. Other parts of the fragment stay.
 * @param {State} state
 */
export function format(state, fragment = "") {
  const parts = fragment.replace(/^#/, "").split("&").filter((part) => part && !part.startsWith(PREFIX));
  return `#${[...parts, ...KEYS.flatMap((key) => written(state, key))].join("&")}`;
}

/**
 * @template {keyof State} Key
 * @param {State} state
 * @param {Key} key
 */
function written(state, key) {
  const value = state[key];
  if (value === null || value === FIELDS[key].initial || (Array.isArray(value) && !value.length)) return [];
  return [`${PREFIX}${key}=${encodeURIComponent(FIELDS[key].write(value))}`];
}

/**
 * The window with the address of the page: TensorBoard's window, or this one if the page is not in a frame of the same origin.
 * @returns {Window}
 */
function page() {
  try {
    return window.parent.location.href ? window.parent : window;
  } catch {
    return window;
  }
}

export const readAddress = () => parse(page().location.hash);

/** @param {State} state */
export function addressOf(state) {
  const address = new URL(page().location.href);
  const fragment = page() === window ? address.hash : address.hash || "#lightning_cossim";
  address.hash = format(state, fragment);
  return address.href;
}

/** @param {State} state */
export function writeAddress(state) {
  try {
    page().history.replaceState(page().history.state, "", addressOf(state));
  } catch {
    // The browser limits the rate of updates: the next update will contain this one.
  }
}

/**
 * Calls `callback` with the state of a link that is opened while the tab is open.
 * @param {(state: State) => unknown} callback
 */
export function watchAddress(callback) {
  page().addEventListener("hashchange", () => {
    if (page().location.hash.includes(PREFIX)) callback(readAddress());
  });
}
