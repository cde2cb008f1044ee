// Colors for a light and a dark page that color-blind readers can distinguish. Zero is the middle, as pale as the page.

/** @import { Quantity } from "./wire.js" */

const THEMES = {
  light: {
    ink: "#202124", muted: "#5f6368", line: "#dadce0", page: "#ffffff", band: "rgba(32,33,36,.08)", dot: "rgba(60,64,67,.45)",
    stranger: "#b84a00", lookalike: "#0067a6", select: "#202124", nothing: "#e4e4e6",
    diverging: ["#0b4f8a", "#6aa7d6", "#f3f1ee", "#f0a35e", "#a3480b"], sequential: ["#f3f1ee", "#7fb7a6", "#0d5c4a"],
    lines: ["#b84a00", "#0067a6", "#00795c", "#8a4f9e", "#7a6000", "#b0396e", "#3b5bd1", "#5f6368"],
  },
  dark: {
    ink: "#f1f3f4", muted: "#bdc1c6", line: "#5a5d61", page: "#303030", band: "rgba(241,243,244,.12)", dot: "rgba(232,234,237,.45)",
    stranger: "#ffa15c", lookalike: "#7cc4ff", select: "#ffffff", nothing: "#4a4b4d",
    diverging: ["#8ccbff", "#3f7fb5", "#3a3b3d", "#b8692a", "#ffb877"], sequential: ["#3a3b3d", "#3f8f7a", "#9ff0d6"],
    lines: ["#ffa15c", "#7cc4ff", "#6fd8b4", "#d9a6ec", "#e3c84f", "#ff9ac4", "#a7b8ff", "#bdc1c6"],
  },
};

export function isDark() {
  try {
    const { body } = window.parent.document;
    if (window.parent !== window) return body.classList.contains("dark-mode");
  } catch {
    // The outer page has another origin and cannot be read: use the system's setting.
  }
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

/**
 * Calls `callback` when the page changes between dark and light.
 * @param {() => unknown} callback
 */
export function watchTheme(callback) {
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
  try {
    new MutationObserver(callback).observe(window.parent.document.body, { attributes: true, attributeFilter: ["class"] });
  } catch {
    // As above: only the system's setting is watched.
  }
}

/** @typedef {typeof THEMES.light} Colors */

/** @returns {Colors} */
export const theme = () => THEMES[isDark() ? "dark" : "light"];

/** @param {string} hex */
function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/**
 * The color at a place, in [0, 1], between color stops.
 * @param {readonly string[]} stops
 * @param {number} place
 */
export function along(stops, place) {
  const at = Math.min(Math.max(place, 0), 1) * (stops.length - 1);
  const before = Math.min(Math.floor(at), stops.length - 2);
  const [one, other] = [channels(stops[before]), channels(stops[before + 1])];
  return one.map((channel, index) => Math.round(channel + (other[index] - channel) * (at - before)));
}

/**
 * The square root of the absolute value, with the sign of the value. It makes small values distinguishable on a scale that all steps share.
 * @param {number} value
 */
export const spread = (value) => Math.sign(value) * Math.sqrt(Math.abs(value));

/**
 * The scale of a heatmap's colors.
 *
 * @typedef {object} Scale
 * @property {"diverging" | "sequential"} stops
 * @property {(value: number) => number} place of a value, in [0, 1]
 * @property {number[]} marks values that the legend shows
 */

/** @type {Scale} */
export const OVERLAPS = { stops: "sequential", place: spread, marks: [0, 0.1, 0.3, 1] };
/** @type {Scale} */
export const GAPS = { stops: "diverging", place: (value) => (spread(value) + 1) / 2, marks: [-1, -0.2, 0, 0.2, 1] };

/**
 * The scale of a similarity; more alike is to the right. Without a bound, the scale ends at the largest value.
 * @param {Quantity} quantity
 * @param {Float32Array} values
 * @returns {Scale}
 */
export function scaleOf(quantity, values) {
  const { low, high, isBounded } = boundsOf(quantity, values);
  const size = (low < 0 ? Math.max(-low, high) : high - low) || 1;
  const bend = isBounded ? same : spread; // without a bound, a few values can be far larger than the others
  /** @type {(value: number) => number} */
  const place = low < 0 ? (value) => (bend(value / size) + 1) / 2 : (value) => bend((value - low) / size);
  const marks = low < 0 ? (isBounded ? [-1, -0.5, 0, 0.5, 1] : [-1, 0, 1]) : isBounded ? [0, 0.5, 1] : [0, 0.3, 1];
  return {
    stops: low < 0 ? "diverging" : "sequential",
    place: quantity.direction < 0 ? (value) => 1 - place(value) : place,
    marks: marks.map((mark) => rounded(mark * size + Math.max(low, 0))),
  };
}

/**
 * @param {Quantity} quantity
 * @param {Float32Array} values
 */
function boundsOf(quantity, values) {
  const known = values.filter((value) => !Number.isNaN(value));
  const low = quantity.low ?? known.reduce((one, other) => Math.min(one, other), quantity.high ?? 0);
  const high = quantity.high ?? known.reduce((one, other) => Math.max(one, other), low);
  const isUnknown = quantity.low === null && quantity.high === null;
  if (isUnknown && low < 0 && low >= -1 && high <= 1) return { low: -1, high: 1, isBounded: true }; // a cosine of a version 1 step, which has no bounds
  return { low, high, isBounded: quantity.low !== null && quantity.high !== null };
}

/** @param {number} value */
const same = (value) => value;

/** @param {number} value */
const rounded = (value) => Number(value.toPrecision(2));
