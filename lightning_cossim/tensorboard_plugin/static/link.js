// Stores the state of the page in the address, in TensorBoard's form for plugins: p.lightning_cossim.<key>=<value>.

import { KINDS } from "./filter.js";
import { MAX_PINS, trimmed } from "./pins.js";

const PREFIX = "p.lightning_cossim.";

/** @import { Brush, Filter, Kind, Range } from "./filter.js" */
/** @import { Pins } from "./pins.js" */
/** @import { Pair } from "./step.js" */

/** @typedef {"neighborhood" | "probable" | "flagged"} Labels which labels the heatmap shows, if there are more than it can show */

/**
 * What a link restores beside the filter.
 *
 * @typedef {object} Selection
 * @property {string | null} run null: the run that was written last
 * @property {string | null} tag null: the validation stage, if there is one
 * @property {number | null} step null: the last step
 * @property {string | null} run2 run to compare with, which can be the same one; null: none
 * @property {number | null} step2 step of the run to compare with; null: the one nearest to `step`
 * @property {string} x similarity of the scatter; empty: the cosine that gaps refer to
 * @property {string} map quantity of the heatmap; empty: the gap
 * @property {Labels} labels
 * @property {string} scale of the heatmap; "fixed": the same for all steps, empty: that of the step
 * @property {string} side what the heatmap of a comparison shows: "a", "b", or, empty, the change from A to B
 * @property {string} sort column by which the table is sorted
 * @property {boolean} down whether the table is sorted in descending order
 * @property {Pair | null} pair selected pair; null: the one that is furthest off
 * @property {Pins} pins pinned pairs
 */
/** @typedef {Selection & Filter} State */

/**
 * @template Value
 * @typedef {object} Field
 * @property {Value} initial
 * @property {(text: string) => Value | null} read
 * @property {(value: NonNullable<Value>) => string} write
 */

/** @type {{ [Key in keyof State]: Field<State[Key]> }} how each value is read and written; links omit values that equal the default */
const FIELDS = {
  run: text(null), tag: text(null), step: whole(), run2: text(null), step2: whole(), x: text(""), map: text(""), labels: labels(), scale: text(""), side: text(""), sort: text("gap"), down: flag(true),
  search: text(""), flags: kinds(), pinned: flag(false), brush: brush(), pair: pair(), pins: pins(pair()),
};
/** @type {Record<string, keyof State>} names that links of earlier versions have */
const EARLIER = { query: "search", flag: "flags" };
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
 * @returns {Field<Pins>}
 */
function pins(one) {
  /** @type {(value: string) => Pins} */
  const read = (value) => {
    const valid = value.split(",").filter((text) => !text || one.read(text)); // an empty text is a free place
    return trimmed(valid.map(one.read).slice(0, MAX_PINS));
  };
  return { initial: [], read, write: (values) => values.map((value) => (value ? one.write(value) : "")).join(",") };
}

/** @returns {Field<Labels>} */
function labels() {
  const all = /** @type {Labels[]} */ (["neighborhood", "probable", "flagged"]);
  return { initial: "neighborhood", read: (value) => all.find((one) => one === value) ?? null, write: (value) => value };
}

/** @returns {Field<Kind[]>} */
function kinds() {
  /** @type {(value: string) => Kind[]} */
  const read = (value) => (value === "flagged" ? ["stranger", "look-alike"] : KINDS.filter((kind) => value.split(",").includes(kind)));
  return { initial: [], read, write: (value) => value.join(",") };
}

/** @returns {Field<Brush | null>} */
function brush() {
  /** @type {(value: string) => Brush | null} */
  const read = (value) => {
    const [key, ...ends] = value.split(",");
    const [left, right, low, high] = ends.map((end, at) => (end === "" ? [-Infinity, Infinity][at % 2] : Number(end)));
    return ends.length === 4 && ends.some(Boolean) && ends.every((end) => end === "" || (end.trim() && Number.isFinite(Number(end)))) ? { key, x: ordered(left, right), y: ordered(low, high) } : null;
  };
  return { initial: null, read, write: ({ key, x, y }) => [key, ...[...x, ...y].map((end) => (Number.isFinite(end) ? Number(end.toPrecision(5)) : ""))].join(",") };
}

/**
 * @param {number} one
 * @param {number} other
 * @returns {Range}
 */
const ordered = (one, other) => (one < other ? [one, other] : [other, one]);

/**
 * The state in the fragment of an address. A missing or invalid value has its default.
 * @param {string} fragment
 */
export function parse(fragment) {
  const state = { ...DEFAULTS };
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at < 0 || !part.startsWith(PREFIX)) continue;
    const name = part.slice(PREFIX.length, at);
    const key = KEYS.find((one) => one === name) ?? (Object.hasOwn(EARLIER, name) ? EARLIER[name] : undefined);
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
