// The table of pairs: sorted, moved through by keys, downloaded. Only visible rows are elements of the page.

import { theme } from "./colors.js";
import { columnsOf, columnsOfCsv, columnsOfTwo, csv, decimalsOf, fixed, largest, sorted } from "./columns.js";
import { canvasOf, contextOf, element, sizeOf } from "./dom.js";
import { count } from "./filter.js";
import { pinMark } from "./marks.js";
import { placeOf } from "./pins.js";
import { arrange, partsOf, room } from "./rows.js";
import { keyOf } from "./step.js";

/** @import { Column } from "./columns.js" */
/** @import { Compared } from "./compare.js" */
/** @import { App, Shown } from "./index.js" */
/** @import { Step } from "./step.js" */

const ROW = 28;
const HEAD = 26;
const MORE = 6; // rows above and below those in view
// Widths in CSS pixels
const PIN = 34;
const FLAG = 88;
const NAME = 76;
const BAR = 50;
const ROOM_OF_HEADING = 14;
const ROOM_OF_CELL = 12;

/** @typedef {{ column: Column, decimals: number, most: number, width: number }} Laid a column with its decimals, its largest absolute value, and its least width in CSS pixels */

export class Table {
  /** @type {Step} */
  step;
  /** @type {Laid[]} */
  laid = [];
  /** @type {Column} the column by which rows are sorted */
  sort;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {number[]} pairs in the order of the rows */
    this.rows = [];
    /** @type {number[]} all pairs of the table before the filter */
    this.all = [];
    /** @type {Map<number, HTMLTableRowElement>} pair to its row */
    this.elements = new Map();
    this.top = 0; // CSS pixels scrolled
    this.active = -1; // pair of the row that takes the focus
    /** @type {number | null} key of the pair to which the table was scrolled last */
    this.revealed = null;
    /** @type {unknown[]} what the rows were made of */
    this.made = [];
    /** @type {Compared | null} */
    this.compared = null;
    this.downloads = element("span", { class: "buttons" });
    this.count = element("span", { class: "note", role: "status" });
    this.widths = element("colgroup", {});
    this.head = element("tr", { onkeydown: (event) => this.keyInHead(event) });
    this.body = element("tbody", { onkeydown: (event) => this.key(event) });
    this.table = element("table", { role: "grid", "aria-label": "Pairs of labels" }, this.widths, element("thead", {}, this.head), this.body);
    this.frame = element("div", { class: "frame", tabindex: "-1", onscroll: () => this.scrolled() }, this.table);
    this.hint = element("p", { class: "note" }, "Keys: ↑ ↓ select, Space pins, Enter opens the pair, Tab leaves the table.");
    this.root = element("figure", { class: "pairs" }, element("figcaption", {}, element("h2", {}, "Pairs"), this.count, this.downloads, this.hint), this.frame);
  }

  /**
   * @param {Shown} shown
   * @param {Compared | null} compared
   */
  render({ step }, compared) {
    const { app } = this;
    const { state } = app;
    const passing = app.shown(step);
    const made = [step, compared, passing, state.sort, state.down];
    const isNew = made.some((one, at) => one !== this.made[at]);
    if (isNew) {
      this.made = made;
      this.step = step;
      this.compared = compared;
      const columns = compared ? columnsOfTwo(compared) : columnsOf(step);
      const called = (/** @type {string} */ key) => columns.find((one) => one.key === key);
      this.sort = called(state.sort) ?? called(compared ? "beyond" : "gap") ?? columns[0];
      this.all = compared ? compared.pairs : step.counted;
      this.rows = sorted(passing.pairs.length === passing.num ? this.all : this.all.filter((pair) => passing.has.has(pair)), this.sort, state.down);
      this.laid = columns.map((column) => laidOut(column, this.all));
      this.elements.clear();
      this.drawHead();
      this.drawDownloads();
      this.table.setAttribute("aria-rowcount", String(this.rows.length + 1));
      this.count.textContent = compared ? `${this.rows.length.toLocaleString("en")} of ${this.all.length.toLocaleString("en")} pairs in A and B` : count(passing);
    }
    const selected = step.indexOf(app.selected);
    this.active = this.rows.includes(selected) ? selected : this.rows.includes(this.active) ? this.active : (this.rows[0] ?? -1);
    this.reveal();
    this.fill(isNew);
  }

  drawHead() {
    const { state } = this.app;
    const cells = this.laid.map(({ column }) => {
      const { key, text, title = text } = column;
      const isSorted = column === this.sort;
      const isAlikeDown = column.number ? column.direction !== -1 : false;
      const turn = () => this.app.set({ sort: key, down: isSorted ? !state.down : isAlikeDown });
      const shown = column.number && column.size ? `|${text}|` : text;
      const button = element("button", { type: "button", tabindex: isSorted ? "0" : "-1", "data-name": key, title: `Sort by ${title}`, onclick: turn }, `${isSorted ? shown : text}${isSorted ? (state.down ? " ↓" : " ↑") : ""}`);
      return element("th", { scope: "col", class: column.number ? "number" : "", "aria-sort": isSorted ? (state.down ? "descending" : "ascending") : "none" }, button);
    });
    this.head.replaceChildren(element("th", { scope: "col", title: "Pinned pairs are marked in all views" }, "pin"), ...cells);
    const isFixed = (/** @type {Column} */ column) => column.number || /^flag/.test(column.key); // the others share the rest of the width
    this.widths.replaceChildren(element("col", { style: `width:${PIN}px` }), ...this.laid.map(({ width, column }) => element("col", { style: isFixed(column) ? `width:${width}px` : "" })));
    this.table.style.minWidth = `${PIN + this.laid.reduce((sum, { width }) => sum + width, 0)}px`;
  }

  drawDownloads() {
    const [shown, all] = [this.rows.length, this.all.length].map((num) => num.toLocaleString("en"));
    const of = this.compared ? " in both" : this.step.chosen ? " of this step" : "";
    const button = (/** @type {string} */ text, /** @type {readonly number[]} */ pairs) => element("button", { type: "button", title: "Download as CSV, with all columns", onclick: () => this.download(pairs) }, text);
    const part = this.rows.length < this.all.length ? [button(`CSV: ${shown} shown`, this.rows)] : [];
    this.downloads.replaceChildren(...part, button(`CSV: all ${all} pairs${of}`, sorted(this.all, this.sort, this.app.state.down)));
  }

  /**
   * Makes the visible rows, and empty rows in place of the others.
   * @param {boolean} isNew whether the values have changed
   */
  fill(isNew = false) {
    if (!this.step) return;
    const height = this.height || 300;
    const first = Math.max(0, Math.min(Math.floor(this.top / ROW) - MORE, this.rows.length));
    const last = Math.min(this.rows.length, first + Math.ceil(height / ROW) + 2 * MORE);
    const { parts, after } = partsOf(first, last, this.rows.indexOf(this.active), this.rows.length);
    const hadFocus = isNew && this.body.contains(document.activeElement);
    /** @type {HTMLElement[]} */
    const wanted = [];
    const kept = new Set(parts.map(({ row }) => this.rows[row]));
    for (const pair of this.elements.keys()) if (!kept.has(pair)) this.elements.delete(pair);
    for (const { row, before } of parts) {
      if (before) wanted.push(room(before, ROW));
      wanted.push(this.row(this.rows[row], row));
    }
    if (after) wanted.push(room(after, ROW));
    if (!this.rows.length) wanted.push(element("tr", {}, element("td", { colSpan: this.laid.length + 1, class: "nothing" }, this.nothing())));
    arrange(this.body, wanted);
    if (hadFocus) this.elements.get(this.active)?.focus({ preventScroll: true });
  }

  get height() {
    return sizeOf(this.frame)[1];
  }

  scrolled() {
    if (this.frame.scrollTop === this.top) return;
    this.top = this.frame.scrollTop;
    this.fill();
  }

  nothing() {
    const { state } = this.app;
    if (state.pinned && !state.pins.length) return "No pair is pinned. Click into the first column to pin a pair.";
    if (this.all.length) return "No pair passes the filter. Remove a part of the filter to see pairs.";
    if (this.compared) return "A and B have no pair of labels in common.";
    return "No pairs to show.";
  }

  /**
   * The row of a pair, made anew or updated.
   * @param {number} pair
   * @param {number} at its place among the rows
   */
  row(pair, at) {
    const { app, step } = this;
    const kept = this.elements.get(pair);
    const row = kept ?? this.makeRow(pair);
    this.elements.set(pair, row);
    const labels = step.pairAt(pair);
    const isSelected = step.indexOf(app.selected) === pair;
    row.classList.toggle("selected", isSelected);
    row.setAttribute("aria-selected", String(isSelected));
    row.setAttribute("aria-rowindex", String(at + 2));
    row.tabIndex = pair === this.active ? 0 : -1;
    const place = placeOf(app.state.pins, labels);
    const pin = /** @type {HTMLButtonElement} */ (row.cells[0].firstElementChild);
    if (pin.dataset.place !== String(place)) drawPin(pin, place);
    return row;
  }

  /** @param {number} pair */
  makeRow(pair) {
    const { app, step } = this;
    const labels = step.pairAt(pair);
    const pin = element("button", { type: "button", class: "pin", tabindex: "-1", "aria-label": `Pin ${step.namesAt(pair).join(" and ")}`, onclick: (event) => {
      event.stopPropagation();
      app.pin(labels);
    } });
    const cells = this.laid.map((laid) => this.cell(laid, pair));
    return element("tr", { class: step.flagAt(pair), tabindex: "-1", onclick: () => this.choose(pair) }, element("td", { class: "pinned" }, pin), ...cells);
  }

  /**
   * @param {Laid} laid
   * @param {number} pair
   */
  cell({ column, decimals, most }, pair) {
    if (!column.number) {
      const text = column.of(pair);
      const flag = /^flag/.test(column.key) ? ["flag", ...(text ? [text.slice(2)] : [])].join(" ") : "name";
      return element("td", { class: flag, title: text }, text);
    }
    const value = column.of(pair);
    const text = fixed(value, decimals, column.signed);
    if (!column.bar) return element("td", { class: "number" }, text);
    const bar = column.bar === "gap" ? gapBar(value, most) : overlapBar(value, this.step.values.expected_overlap[pair], most);
    return element("td", { class: "number barred" }, element("span", { class: "cell" }, bar, element("span", {}, text)));
  }

  /** @param {number} pair */
  choose(pair) {
    this.active = pair;
    this.elements.get(pair)?.focus({ preventScroll: true });
    this.app.select(this.step, pair, { keep: true });
  }

  /** Scrolls to the selected pair, if it was selected in another view. */
  reveal() {
    const pair = this.step.indexOf(this.app.selected);
    const key = pair < 0 ? null : keyOf(this.step.pairAt(pair));
    const at = this.rows.indexOf(pair);
    if (key !== this.revealed && at >= 0) this.scrollTo(at, 0.5);
    this.revealed = key;
  }

  /**
   * Scrolls to a row, if it is not in view.
   * @param {number} at
   * @param {number} [share] where the row is then, in [0, 1]; without it, the table scrolls as little as needed
   */
  scrollTo(at, share) {
    const space = this.height - HEAD - ROW;
    const [top, bottom] = [this.top, this.top + space];
    if (at * ROW >= top && at * ROW <= bottom) return;
    this.frame.scrollTop = share === undefined ? (at * ROW < top ? at * ROW : at * ROW - space) : Math.max(0, at * ROW - share * space);
    this.top = this.frame.scrollTop;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.rows.length) return;
    const at = this.rows.indexOf(this.active);
    const page = Math.max(1, Math.floor(this.height / ROW) - 2);
    /** @type {Record<string, number>} */
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.rows.length - 1 };
    if (event.key in moves) this.go(Math.min(Math.max(moves[event.key], 0), this.rows.length - 1));
    else if (event.key === " ") this.app.pin(this.step.pairAt(this.active));
    else if (event.key === "Enter") this.app.inspect(this.step, this.active);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} at place of a row */
  go(at) {
    this.active = this.rows[at];
    this.scrollTo(at);
    this.fill();
    this.choose(this.active);
  }

  /**
   * The arrow keys move between the headings, which are one stop of the Tab key.
   * @param {KeyboardEvent} event
   */
  keyInHead(event) {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const buttons = Array.from(this.head.querySelectorAll("button"));
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    const next = buttons[at + step];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    buttons[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** @param {readonly number[]} pairs */
  download(pairs) {
    const { step, compared } = this;
    const columns = columnsOfCsv(step, this.laid.map(({ column }) => column));
    const name = compared ? `${step.stage}_step_${step.step}_and_${compared.other.step}` : `${step.stage}_step_${step.step}`;
    const link = element("a", { href: URL.createObjectURL(new Blob([csv(columns, pairs)], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

/**
 * @param {Column} column
 * @param {readonly number[]} pairs
 * @returns {Laid}
 */
function laidOut(column, pairs) {
  const heading = widthOf(`${column.text} ↓`, "bold 12px") + ROOM_OF_HEADING;
  if (!column.number) return { column, decimals: 0, most: 0, width: /^flag/.test(column.key) ? Math.max(heading, FLAG) : NAME };
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
 * @param {HTMLButtonElement} button
 * @param {number} place -1: not pinned
 */
function drawPin(button, place) {
  button.dataset.place = String(place);
  button.setAttribute("aria-pressed", String(place >= 0));
  button.title = place < 0 ? "Pin this pair: mark it in all views" : `Unpin: this is pin ${place + 1}`;
  const sample = element("canvas", { "aria-hidden": "true" });
  if (place >= 0) pinMark(canvasOf(sample, 18, 18), [9, 9], place, theme());
  button.replaceChildren(...(place < 0 ? [] : [sample]));
}
