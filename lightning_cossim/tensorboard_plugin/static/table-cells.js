// The rows of the table as elements: numbers with bars, flags, names, the button that pins.

import { theme } from "./colors.js";
import { decimalsOf, fixed, largest } from "./columns.js";
import { canvasOf, contextOf, element } from "./dom.js";
import { pinMark } from "./marks.js";

/** @import { Column } from "./columns.js" */
/** @import { Step } from "./step.js" */

/** @typedef {{ column: Column, decimals: number, most: number, width: number }} Laid a column with its decimals, its largest absolute value, and its least width in CSS pixels */

// Widths in CSS pixels
const FLAG = 88;
const NAME = 76;
const BAR = 50;
const ROOM_OF_HEADING = 14;
const ROOM_OF_CELL = 12;

/** @param {Column} column */
export const isOfFlags = ({ key }) => key.startsWith("flag");

/**
 * @param {Column} column
 * @param {readonly number[]} pairs
 * @returns {Laid}
 */
export function laidOut(column, pairs) {
  const heading = widthOf(`${column.text} ↓`, "bold 12px") + ROOM_OF_HEADING;
  if (!column.number) return { column, decimals: 0, most: 0, width: isOfFlags(column) ? Math.max(heading, FLAG) : NAME };
  const most = largest(column, pairs);
  const decimals = decimalsOf(column, most);
  return { column, decimals, most, width: Math.ceil(Math.max(heading, widthOf(fixed(most, decimals, true), "13px") + ROOM_OF_CELL + (column.bar ? BAR : 0))) };
}

/** @type {CanvasRenderingContext2D | null} */
let ruler = null;

/**
 * The width of a text in CSS pixels.
 * @param {string} text
 * @param {string} font
 */
function widthOf(text, font) {
  ruler ??= contextOf(element("canvas", {}));
  ruler.font = `${font} Roboto, Arial, sans-serif`;
  return ruler.measureText(text).width;
}

/**
 * The row of a pair.
 * @param {Step} step
 * @param {number} pair
 * @param {Laid[]} laid
 * @param {{ pin: () => unknown, choose: () => unknown }} acts
 */
export function rowOf(step, pair, laid, { pin, choose }) {
  const button = element("button", { type: "button", class: "pin", tabindex: "-1", "aria-label": `Pin ${step.namesAt(pair).join(" and ")}`, onclick: (event) => {
    event.stopPropagation();
    pin();
  } });
  return element("tr", { class: step.flagAt(pair), tabindex: "-1", onclick: choose }, element("td", { class: "pinned" }, button), ...laid.map((one) => cellOf(step, pair, one)));
}

/**
 * @param {Step} step
 * @param {number} pair
 * @param {Laid} laid
 */
function cellOf(step, pair, { column, decimals, most }) {
  if (!column.number) {
    const text = column.of(pair);
    const flag = isOfFlags(column) ? ["flag", ...(text ? [text.slice(2)] : [])].join(" ") : "name";
    return element("td", { class: flag, title: text }, text);
  }
  const value = column.of(pair);
  const text = fixed(value, decimals, column.signed);
  if (!column.bar) return element("td", { class: "number" }, text);
  const bar = column.bar === "gap" ? gapBar(value, most) : overlapBar(value, step.values.expected_overlap[pair], most);
  return element("td", { class: "number barred" }, element("span", { class: "cell" }, bar, element("span", {}, text)));
}

/**
 * A bar from the middle: to the left below zero, to the right above.
 * @param {number} value
 * @param {number} most
 */
function gapBar(value, most) {
  const share = Number.isNaN(value) || !most ? 0 : (50 * Math.abs(value)) / most;
  const style = value < 0 ? `right:50%;width:${share}%` : `left:50%;width:${share}%`;
  return element("span", { class: "bar-gap", "aria-hidden": "true" }, element("i", { class: value < 0 ? "below" : "above", style }));
}

/**
 * A bar of the overlap, with a line at the expected overlap.
 * @param {number} value
 * @param {number} expected
 * @param {number} most
 */
function overlapBar(value, expected, most) {
  const share = (/** @type {number} */ one) => (Number.isNaN(one) || !most ? 0 : Math.min(100, (100 * one) / most));
  const line = Number.isNaN(expected) ? [] : [element("b", { style: `left:${share(expected)}%` })];
  return element("span", { class: "bar-overlap", "aria-hidden": "true" }, element("i", { style: `width:${share(value)}%` }), ...line);
}

/**
 * Shows in a row whether its pair is pinned.
 * @param {HTMLTableRowElement} row
 * @param {number} place of the pin; -1: not pinned
 */
export function showPin(row, place) {
  const button = /** @type {HTMLButtonElement} */ (row.cells[0].firstElementChild);
  if (button.dataset.place === String(place)) return;
  button.dataset.place = String(place);
  button.setAttribute("aria-pressed", String(place >= 0));
  button.title = place < 0 ? "Pin this pair: mark it in all views" : `Unpin: this is pin ${place + 1}`;
  const sample = element("canvas", { "aria-hidden": "true" });
  if (place >= 0) pinMark(canvasOf(sample, 18, 18), [9, 9], place, theme());
  button.replaceChildren(...(place < 0 ? [] : [sample]));
}
