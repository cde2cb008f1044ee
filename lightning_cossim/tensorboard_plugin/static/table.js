// The table of pairs, with search, sorting, filter, pins and download. Only visible rows are elements of the page.

import { MARKS } from "./detail.js";
import { element, number } from "./dom.js";
import { count } from "./filter.js";
import { inSentence } from "./quantities.js";
import { keyOf } from "./step.js";

/** @import { App, Shown } from "./index.js" */
/** @import { Step } from "./step.js" */

/**
 * @typedef {object} Heading
 * @property {string} key
 * @property {string} text
 * @property {string} [title] its name within a sentence
 */
/** @typedef {{ number: true, of: (pair: number) => number, signed?: boolean, whole?: boolean, direction?: number }} OfNumbers */
/** @typedef {{ number?: false, of: (pair: number) => string }} OfTexts */
/** @typedef {Heading & (OfNumbers | OfTexts)} Column */

const ROW = 27;

export class Table {
  /** @type {Step} */
  step;
  /** @type {Column[]} */
  columns = [];
  /** @type {Column} the column by which rows are sorted */
  sort;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {number[]} */
    this.rows = [];
    /** @type {number | null} key of the pair to which the table was scrolled last */
    this.revealed = null;
    this.count = element("span", { class: "note", role: "status" });
    this.head = element("tr", {});
    this.body = element("tbody", {});
    this.frame = element("div", { class: "frame", tabindex: "0", role: "region", "aria-label": "Pairs of labels", onscroll: () => this.fill(), onkeydown: (event) => this.key(event) },
      element("table", {}, element("thead", {}, this.head), this.body));
    this.root = element("figure", { class: "pairs" },
      element("figcaption", {}, element("b", {}, "Pairs"),
        element("button", { type: "button", onclick: () => this.download(), title: "Download these pairs as CSV" }, "CSV"), this.count),
      this.frame);
  }

  /**
   * @param {Shown} shown
   * @param {Shown} [compared] step to compare with
   */
  render({ step }, compared) {
    const other = compared?.step;
    const { state } = this.app;
    this.step = step;
    this.columns = columnsOf(step, other);
    const called = (/** @type {string} */ key) => this.columns.find((one) => one.key === key);
    this.sort = called(state.sort) ?? called("gap") ?? this.columns[0];
    this.drawHead();
    this.rows = sorted(this.app.shown(step).pairs, this.sort, state.down);
    this.count.textContent = count(this.app.shown(step));
    this.reveal();
    this.fill();
  }

  drawHead() {
    const { state } = this.app;
    const cells = this.columns.map((column) => {
      const { key, text, title = text } = column;
      const [sorts, right] = [column === this.sort, column.number];
      const isAlikeDown = column.number ? column.direction !== -1 : false;
      const turn = () => this.app.set({ sort: key, down: sorts ? !state.down : isAlikeDown });
      const button = element("button", { type: "button", "data-name": key, title: `Sort by ${title}`, onclick: turn }, `${text}${sorts ? (state.down ? " ↓" : " ↑") : ""}`);
      return element("th", { scope: "col", class: right ? "number" : "", "aria-sort": sorts ? (state.down ? "descending" : "ascending") : "none" }, button);
    });
    this.head.replaceChildren(element("th", { scope: "col", title: "Pinned pairs are shown in all views" }, "pin"), ...cells);
  }

  /** Creates the visible rows, and empty rows above and below with the height of the others. */
  fill() {
    const height = this.frame.clientHeight || 300;
    const first = Math.max(0, Math.floor(this.frame.scrollTop / ROW) - 5);
    const last = Math.min(this.rows.length, first + Math.ceil(height / ROW) + 12);
    const rows = this.rows.slice(first, last).map((pair) => this.row(pair));
    const room = (/** @type {number} */ num) => element("tr", { class: "room", "aria-hidden": "true", style: `height:${num * ROW}px` });
    const nothing = element("tr", {}, element("td", { colSpan: this.columns.length + 1, class: "nothing" }, this.nothing()));
    this.body.replaceChildren(...(this.rows.length ? [room(first), ...rows, room(this.rows.length - last)] : [nothing]));
  }

  nothing() {
    const { state } = this.app;
    if (state.pinned && !state.pins.length) return "No pair is pinned. Tick a pair in the first column to pin it.";
    if (state.search) return "No pair matches the search. Clear the search to see all pairs.";
    if (state.flags.length && this.step.verdict) return `No pair is flagged: ${this.step.verdict}.`;
    return "No pairs to show.";
  }

  /** @param {number} pair */
  row(pair) {
    const { app, step } = this;
    const labels = step.pairAt(pair);
    const selected = step.indexOf(app.selected) === pair;
    const pin = element("input", { type: "checkbox", checked: app.isPinned(labels), onclick: (event) => event.stopPropagation(), onchange: () => app.pin(labels), "aria-label": `Pin ${step.namesAt(pair).join(" and ")}` });
    const cells = this.columns.map((column) => {
      if (column.number) return element("td", { class: "number" }, number(column.of(pair), column));
      const text = column.of(pair);
      return element("td", { class: column.key === "flag" ? "flag" : "name", title: text }, text);
    });
    const flag = step.flagAt(pair);
    return element("tr", { class: [selected ? "selected" : "", flag].join(" ").trim(), "aria-selected": String(selected), onclick: () => app.select(step, pair) }, element("td", {}, pin), ...cells);
  }

  /** Scrolls to the selected pair, if it was selected in another view. */
  reveal() {
    const pair = this.step.indexOf(this.app.selected);
    const key = pair < 0 ? null : keyOf(this.step.pairAt(pair));
    const at = this.rows.indexOf(pair);
    if (key !== this.revealed && at >= 0) {
      const [top, bottom] = [this.frame.scrollTop, this.frame.scrollTop + this.frame.clientHeight - 2 * ROW];
      if (at * ROW < top || at * ROW > bottom) this.frame.scrollTop = Math.max(0, at * ROW - this.frame.clientHeight / 2);
    }
    this.revealed = key;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step || event.target !== this.frame) return;
    event.preventDefault();
    const at = this.rows.indexOf(this.step.indexOf(this.app.selected));
    const next = this.rows[Math.min(Math.max(at + step, 0), this.rows.length - 1)];
    if (next !== undefined) this.app.select(this.step, next, { keep: true });
  }

  download() {
    const link = element("a", { href: URL.createObjectURL(new Blob([csv(this.columns, this.rows)], { type: "text/csv" })), download: `${this.step.stage}_step_${this.step.step}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

/**
 * The columns of a step's table. Every similarity of the step has a column, so a new similarity needs no change here.
 * @param {Step} step
 * @param {Step} [other] step of the run compared with
 * @returns {Column[]}
 */
export function columnsOf(step, other) {
  /** @type {(key: string) => Column} */
  const ofKey = (key) => {
    const { column, title, direction, whole } = step.quantity(key);
    return { key, text: column, title: inSentence(title), number: true, signed: key === "gap", whole, direction, of: (pair) => step.values[key][pair] };
  };
  /** @type {(key: string) => Column} */
  const ofOther = (key) => {
    const of = (/** @type {number} */ pair) => {
      const index = other ? other.indexOf(other.pairFrom(step, step.pairAt(pair))) : -1;
      return other && index >= 0 ? other.values[key][index] : NaN;
    };
    const { column, title, direction } = step.quantity(key);
    return { key: `${key}_b`, text: `${column} in B`, title: `${inSentence(title)} in the run compared with`, number: true, signed: key === "gap", direction, of };
  };
  /** @type {Column} */
  const onTop = { key: "on_top", text: "reachable", title: "whether an input can make the two labels the most likely ones", of: (pair) => step.onTopAt(pair) };
  /** @type {Column} */
  const why = { key: "why_unflagged", text: "why not flagged", of: (pair) => step.whyAt(pair) };
  return [
    { key: "label", text: "label", of: (pair) => step.namesAt(pair)[0] },
    { key: "other", text: "other", of: (pair) => step.namesAt(pair)[1] },
    { key: "flag", text: "flag", of: (pair) => MARKS[step.flagAt(pair)] },
    ...(step.reasons.length || step.verdict ? [why] : []),
    ...(step.reach ? [onTop] : []),
    ...["gap", "overlap", "overlap_error", "expected_overlap", "joint_inputs", ...step.similarities].filter((key) => key in step.values).map(ofKey),
    ...(other ? ["gap", "overlap"].map(ofOther) : []),
  ];
}

/**
 * The pairs sorted by a column. Unknown values come last in both directions.
 * @param {readonly number[]} pairs
 * @param {OfNumbers | OfTexts} column
 * @param {boolean} down
 */
export function sorted(pairs, column, down) {
  const direction = down ? -1 : 1;
  if (!column.number) return by(pairs, column.of, (one, other) => direction * one.localeCompare(other));
  return by(pairs, column.of, (one, other) => {
    if (Number.isNaN(one) || Number.isNaN(other)) return Number(Number.isNaN(one)) - Number(Number.isNaN(other));
    return direction * (one - other);
  });
}

/**
 * The pairs sorted by a comparison of values. Each value is computed once.
 * @template Value
 * @param {readonly number[]} pairs
 * @param {(pair: number) => Value} of
 * @param {(one: Value, other: Value) => number} compare
 */
function by(pairs, of, compare) {
  const valued = pairs.map((pair) => ({ pair, value: of(pair) }));
  return valued.sort((one, other) => compare(one.value, other.value)).map(({ pair }) => pair);
}

/**
 * @param {readonly (Pick<Heading, "key"> & (OfNumbers | OfTexts))[]} columns
 * @param {readonly number[]} pairs
 */
export function csv(columns, pairs) {
  const numeral = (/** @type {number} */ value) => (Number.isNaN(value) ? "" : String(Number(value.toPrecision(6))));
  const cell = (/** @type {string} */ text) => {
    const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // a spreadsheet would run it as a formula
    return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };
  const rows = pairs.map((pair) => columns.map((one) => (one.number ? numeral(one.of(pair)) : cell(one.key === "flag" ? one.of(pair).replace(/^[▲▼] /, "") : one.of(pair)))));
  return [columns.map(({ key }) => key), ...rows].map((row) => row.join(",")).join("\n") + "\n";
}
