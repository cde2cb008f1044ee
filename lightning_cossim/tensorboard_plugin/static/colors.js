// The colors of the page, each with one role, in a light and a dark set and for forced colors. The scales of the heatmap are in scale.js.

/** The palette of the pictures under Images: blue below zero, red above. The middle is as pale, or as dark, as the page. */
const HEAT = {
  light: ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"],
  dark: ["#d3ebff", "#9bd0fb", "#62a9e2", "#3b7cb4", "#2f5273", "#34363a", "#6f4038", "#ad5546", "#e27f69", "#f7b19e", "#ffe0d6"],
};

const THEMES = {
  light: {
    page: "#ffffff", panel: "#ffffff", hover: "#f1f3f4", selected: "#f1e7fb", warn: "#fff4e5", // what texts and marks stand on
    ink: "#202124", muted: "#5f6368", line: "#dadce0", edge: "#80868b", accent: "#7b1fa2",
    dot: "#6f757b", faint: "#d5d8db", band: "#eeeef0", hatch: "#85898e",
    stranger: "#ad4500", lookalike: "#0067a6", // flags: triangles
    select: "#7b1fa2", // the selected pair: a ring, a frame
    pins: ["#00796b", "#c2187a", "#6b6a00", "#2e7d32", "#5d1037", "#37474f", "#795548"], // numbered squares
    below: "#2166ac", above: "#b2182b", // bars
    density: ["#e8eaec", "#b9bec3", "#6f757b"],
    heat: HEAT.light,
  },
  dark: {
    page: "#303030", panel: "#303030", hover: "#3f4042", selected: "#4a3a5c", warn: "#4a3a24",
    ink: "#f1f3f4", muted: "#bdc1c6", line: "#5a5d61", edge: "#9aa0a6", accent: "#d9a6ff",
    dot: "#a2a7ac", faint: "#55585c", band: "#404145", hatch: "#a0a4a8",
    stranger: "#ffa15c", lookalike: "#7cc4ff",
    select: "#d9a6ff",
    pins: ["#4fd8c4", "#ff8ac4", "#e3d24a", "#8fe388", "#ffd3e6", "#cfd8dc", "#d7b8a8"],
    below: "#62a9e2", above: "#e27f69",
    density: ["#45484c", "#74797e", "#c3c7cb"],
    heat: HEAT.dark,
  },
};

/** @typedef {typeof THEMES.light} Colors */

/** The colors that users of forced colors have chosen. The heatmap keeps its palette, because its colors are data. */
const FORCED = {
  page: "Canvas", panel: "Canvas", hover: "Canvas", selected: "Canvas", warn: "Canvas",
  ink: "CanvasText", muted: "CanvasText", line: "GrayText", edge: "ButtonText", accent: "Highlight",
  dot: "CanvasText", faint: "GrayText", band: "Canvas", hatch: "CanvasText",
  stranger: "CanvasText", lookalike: "CanvasText", select: "Highlight", pins: Array(7).fill("CanvasText"), below: "CanvasText", above: "CanvasText",
};

/** Texts, each with what it stands on: a contrast of at least 4.5 is needed. A square of a pin has its number in the color of the page. */
export const TEXTS = /** @type {const} */ ([
  ...both(["ink", "muted", "stranger", "lookalike"], ["page", "hover", "selected", "warn"]), ...both(["select", "accent"], ["page", "panel"]), ...both(["pins"], ["page"]),
]);
/** Marks, each with what it stands on: a contrast of at least 3 is needed. */
export const MARKS = /** @type {const} */ ([
  ...both(["edge", "hatch"], ["page"]), ...both(["dot", "ink", "stranger", "lookalike", "select", "pins"], ["page", "band"]), ...both(["pins", "select", "below", "above"], ["page", "hover", "selected"]),
]);

/**
 * @template {keyof Colors} One
 * @template {keyof Colors} Other
 * @param {One[]} fronts
 * @param {Other[]} backs
 * @returns {[One, Other][]}
 */
function both(fronts, backs) {
  return fronts.flatMap((front) => backs.map((back) => /** @type {[One, Other]} */ ([front, back])));
}

/** @param {"light" | "dark"} name */
export const themeNamed = (name) => THEMES[name];

const forced = () => window.matchMedia("(forced-colors: active)");
const dark = () => window.matchMedia("(prefers-color-scheme: dark)");

export function isDark() {
  if (forced().matches) return dark().matches;
  try {
    const { body } = window.parent.document;
    if (window.parent !== window) return body.classList.contains("dark-mode");
  } catch {
    // The outer page has another origin and cannot be read: use the system's setting.
  }
  return dark().matches;
}

/**
 * Calls `callback` when the page changes between dark, light and forced colors.
 * @param {() => unknown} callback
 */
export function watchTheme(callback) {
  for (const query of [dark(), forced()]) query.addEventListener("change", callback);
  try {
    new MutationObserver(callback).observe(window.parent.document.body, { attributes: true, attributeFilter: ["class"] });
  } catch {
    // As above: only the system's setting is watched.
  }
}

/** @returns {Colors} */
export function theme() {
  const colors = THEMES[isDark() ? "dark" : "light"];
  return forced().matches ? { ...colors, ...FORCED } : colors;
}

/**
 * Gives a page its colors, as custom properties that style.css uses: `--ink`, `--page` and so on.
 * @param {HTMLElement} root
 */
export function dress(root) {
  root.dataset.theme = isDark() ? "dark" : "light";
  for (const [name, color] of Object.entries(theme())) {
    if (typeof color === "string") root.style.setProperty(`--${name}`, color);
  }
}

/** @param {string} hex */
export function channels(hex) {
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
 * The relative luminance of a color, in [0, 1], as WCAG defines it.
 * @param {readonly number[]} rgb
 */
function luminance(rgb) {
  const [red, green, blue] = rgb.map((channel) => (channel <= 10.31 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * The contrast of two colors, in [1, 21], as WCAG defines it.
 * @param {readonly number[]} one
 * @param {readonly number[]} other
 */
export function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/**
 * Black or white, whichever has more contrast with a color: always at least 4.5.
 * @param {readonly number[]} rgb
 */
export const inkOn = (rgb) => (luminance(rgb) > 0.179 ? "#000000" : "#ffffff");
