// The table of pairs: sorted, moved through by keys, downloaded. Only visible rows are elements of the page.

import { columnsOf, columnsOfTwo, sorted } from "./columns.js";
import { element, sizeOf } from "./dom.js";
import { count } from "./filter.js";
import { placeOf } from "./pins.js";
import { arrange, partsOf, room } from "./rows.js";
import { keyOf } from "./step.js";
import { Row, laidOut } from "./table-cells.js";
import { TableHead } from "./table-head.js";

/** @import { App } from "./app.js" */
/** @import { Column } from "./columns.js" */
/** @import { Compared } from "./compare.js" */
/** @import { Shown } from "./selection.js" */
/** @import { Step } from "./step.js" */
/** @import { Laid } from "./table-cells.js" */

const ROW = 28;
const HEAD = 26;
const MORE = 6; // rows above and below those in view

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
    /** @type {Row[]} rows that are elements of the page, in order */
    this.lines = [];
    this.columnsAre = ""; // keys of the columns for which the lines were made
    this.top = 0; // CSS pixels scrolled
    this.active = -1; // pair of the row that takes the focus
    /** @type {number | null} key of the pair to which the table was scrolled last */
    this.revealed = null;
    /** @type {unknown[]} what the rows were made of */
    this.made = [];
    /** @type {Compared | null} */
    this.compared = null;
    this.count = element("span", { class: "note", role: "status" });
    this.head = new TableHead(this);
    this.body = element("tbody", { onkeydown: (event) => this.key(event) });
    this.table = element("table", { role: "grid", "aria-label": "Pairs of labels" }, this.head.widths, element("thead", {}, this.head.row), this.body);
    this.frame = element("div", { class: "frame", tabindex: "-1", onscroll: () => this.scrolled() }, this.table);
    this.hint = element("p", { class: "note" }, "Keys: ↑ ↓ select, Space pins, Enter opens the pair, Tab leaves the table.");
    this.root = element("figure", { class: "pairs" }, element("figcaption", {}, element("h2", {}, "Pairs"), this.count, this.head.downloads, this.hint), this.frame);
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
      this.rows = sorted(passing.pairs.length === passing.num ? this.all : this.all.filter((pair) => passing.marks[pair]), this.sort, state.down);
      this.laid = columns.map((column) => laidOut(column, this.all));
      const keys = columns.map(({ key }) => key).join();
      if (keys !== this.columnsAre) this.lines = [];
      this.columnsAre = keys;
      this.head.render();
      this.table.style.minWidth = `${this.head.width}px`;
      this.table.setAttribute("aria-rowcount", String(this.rows.length + 1));
      this.count.textContent = compared ? `${this.rows.length.toLocaleString("en")} of ${this.all.length.toLocaleString("en")} pairs in A and B` : count(passing);
    }
    const selected = step.indexOf(app.selected);
    this.active = this.rows.includes(selected) ? selected : this.rows.includes(this.active) ? this.active : (this.rows[0] ?? -1);
    this.reveal();
    this.fill(isNew);
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
    this.lines = this.linesFor(parts.map(({ row }) => this.rows[row]), isNew);
    const selected = this.step.indexOf(this.app.selected);
    this.lines.forEach((line, at) => line.mark({ at: parts[at].row, isSelected: line.pair === selected, isActive: line.pair === this.active, pin: placeOf(this.app.state.pins, line.labels) }));
    const wanted = this.lines.flatMap((line, at) => (parts[at].before ? [room(parts[at].before, ROW), line.element] : [line.element]));
    if (after) wanted.push(room(after, ROW));
    if (!this.rows.length) wanted.push(element("tr", {}, element("td", { colSpan: this.laid.length + 1, class: "nothing" }, this.nothing())));
    arrange(this.body, wanted);
    if (hadFocus && !this.body.contains(document.activeElement)) this.lineOf(this.active)?.element.focus({ preventScroll: true });
  }

  /**
   * A line for each pair: the one that shows it already, otherwise one that is free, otherwise a new one. The focused line keeps its pair or,
   * if that is not wanted, gets the active one.
   * @param {number[]} pairs
   * @param {boolean} isNew whether the values have changed
   */
  linesFor(pairs, isNew) {
    const { step, laid, app } = this;
    const wanted = new Set(pairs);
    const focused = this.lines.find(({ element: row }) => row.contains(document.activeElement));
    const stays = focused && isNew ? step.indexOf(focused.labels) : -1;
    /** @type {Map<number, Row>} */
    const kept = new Map();
    if (!isNew) for (const line of this.lines) if (wanted.has(line.pair)) kept.set(line.pair, line);
    if (focused && isNew) kept.set(wanted.has(stays) ? stays : this.active, focused);
    const used = new Set(kept.values());
    const free = this.lines.filter((line) => !used.has(line) && line !== focused);
    return pairs.map((pair) => {
      const line = kept.get(pair) ?? free.shift() ?? new Row(laid, { pin: (labels) => app.pin(labels), choose: (one) => this.choose(one) });
      if (isNew || line.pair !== pair) line.show(step, pair, laid);
      return line;
    });
  }

  /** @param {number} pair */
  lineOf(pair) {
    return this.lines.find((line) => line.pair === pair);
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

  /** @param {number} pair */
  choose(pair) {
    this.active = pair;
    this.lineOf(pair)?.element.focus({ preventScroll: true });
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
}
