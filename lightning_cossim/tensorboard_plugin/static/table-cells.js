// The rows of the table as elements: numbers with bars, flags, names, the button that pins. A row shows one pair after another, because new
// elements cost more than new texts.

import { theme } from "./colors.js";
import { decimalsOf, fixed, largest } from "./columns.js";
import { canvasOf, contextOf, element } from "./dom.js";
import { pinMark } from "./marks.js";

/** @import { Column } from "./columns.js" */
/** @import { Pair, Step } from "./step.js" */

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

/** A row that shows one pair after another. */
export class Row {
  /**
   * @param {Laid[]} laid
   * @param {{ pin: (labels: Pair) => unknown, choose: (pair: number) => unknown }} acts
   */
  constructor(laid, { pin, choose }) {
    this.pair = -1; // its place in the step
    /** @type {Pair} */
    this.labels = [-1, -1];
    this.cells = laid.map(({ column }) => new Cell(column));
    this.button = element("button", { type: "button", class: "pin", tabindex: "-1", onclick: (event) => {
      event.stopPropagation();
      pin(this.labels);
    } });
    this.element = element("tr", { tabindex: "-1", onclick: () => choose(this.pair) }, element("td", { class: "pinned" }, this.button), ...this.cells.map((cell) => cell.element));
  }

  /**
   * @param {Step} step
   * @param {number} pair
   * @param {Laid[]} laid the same columns as before
   */
  show(step, pair, laid) {
    this.pair = pair;
    this.labels = step.pairAt(pair);
    this.button.setAttribute("aria-label", `Pin ${step.namesAt(pair).join(" and ")}`);
    this.element.className = step.flagAt(pair);
    this.cells.forEach((cell, at) => cell.show(step, pair, laid[at]));
  }

  /**
   * @param {{ at: number, isSelected: boolean, isActive: boolean, pin: number }} state `at`: its place among all rows; `pin`: place of the pin, -1 if the pair is not pinned
   */
  mark({ at, isSelected, isActive, pin }) {
    this.element.classList.toggle("selected", isSelected);
    this.element.setAttribute("aria-selected", String(isSelected));
    this.element.setAttribute("aria-rowindex", String(at + 2));
    this.element.tabIndex = isActive ? 0 : -1;
    if (this.button.dataset.place === String(pin)) return;
    this.button.dataset.place = String(pin);
    this.button.setAttribute("aria-pressed", String(pin >= 0));
    this.button.title = pin < 0 ? "Pin this pair: mark it in all views" : `Unpin: this is pin ${pin + 1}`;
    const sample = element("canvas", { "aria-hidden": "true" });
    if (pin >= 0) pinMark(canvasOf(sample, 18, 18), [9, 9], pin, theme());
    this.button.replaceChildren(...(pin < 0 ? [] : [sample]));
  }
}

class Cell {
  /** @param {Column} column */
  constructor(column) {
    this.text = document.createTextNode("");
    this.shown = ""; // what it was made of
    this.bar = element("i", {});
    this.line = element("b", {});
    const kind = column.number ? column.bar : undefined;
    const bar = kind === "gap" ? [this.bar] : [this.bar, this.line];
    this.element = kind
      ? element("td", { class: "number barred" }, element("span", { class: "cell" }, element("span", { class: `bar-${kind}`, "aria-hidden": "true" }, ...bar), element("span", {}, this.text)))
      : element("td", { class: column.number ? "number" : "name" }, this.text);
  }

  /**
   * @param {Step} step
   * @param {number} pair
   * @param {Laid} laid
   */
  show(step, pair, { column, decimals, most }) {
    const text = column.number ? fixed(column.of(pair), decimals, column.signed) : column.of(pair);
    if (column.number && column.bar === "gap") this.drawGap(column.of(pair), most);
    if (column.number && column.bar === "overlap") this.drawOverlap(column.of(pair), step.values.expected_overlap[pair], most);
    if (text === this.shown) return;
    this.shown = text;
    this.text.data = text;
    if (column.number) return;
    this.element.title = text;
    if (isOfFlags(column)) this.element.className = ["flag", ...(text ? [text.slice(2)] : [])].join(" ");
  }

  /**
   * A bar from the middle: to the left below zero, to the right above.
   * @param {number} value
   * @param {number} most
   */
  drawGap(value, most) {
    const share = Number.isNaN(value) || !most ? 0 : (50 * Math.abs(value)) / most;
    this.bar.className = value < 0 ? "below" : "above";
    this.bar.style.cssText = value < 0 ? `right:50%;width:${share}%` : `left:50%;width:${share}%`;
  }

  /**
   * A bar of the overlap, with a line at the expected overlap.
   * @param {number} value
   * @param {number} expected
   * @param {number} most
   */
  drawOverlap(value, expected, most) {
    const share = (/** @type {number} */ one) => (Number.isNaN(one) || !most ? 0 : Math.min(100, (100 * one) / most));
    this.bar.style.width = `${share(value)}%`;
    this.line.style.left = `${share(expected)}%`;
    this.line.hidden = Number.isNaN(expected);
  }
}
