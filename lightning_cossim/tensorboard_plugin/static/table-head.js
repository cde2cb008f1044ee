// The head of the table: its columns, by which it can be sorted, and its downloads.

import { columnsOfCsv, csv, sorted } from "./columns.js";
import { element } from "./dom.js";
import { isOfFlags } from "./table-cells.js";

/** @import { Column } from "./columns.js" */
/** @import { Table } from "./table.js" */

const PIN = 34; // width in CSS pixels

export class TableHead {
  /** @param {Table} table */
  constructor(table) {
    this.table = table;
    this.isOf = ""; // what the head was made of
    this.row = element("tr", { onkeydown: (event) => this.key(event) });
    this.widths = element("colgroup", {});
    this.downloads = element("span", { class: "buttons" });
  }

  /** The least width of the table in CSS pixels. */
  get width() {
    return PIN + this.table.laid.reduce((sum, { width }) => sum + width, 0);
  }

  render() {
    const { all, app, compared, laid, rows, sort, step } = this.table;
    const { down } = app.state;
    const isOf = JSON.stringify([laid.map(({ width, column: { key, text, title } }) => [width, key, text, title]), sort.key, down, rows.length, all.length, Boolean(compared), step.chosen]);
    if (isOf === this.isOf) return; // steps have the same columns
    this.isOf = isOf;
    const cells = laid.map(({ column }) => {
      const { key, text, title = text } = column;
      const isSorted = column.key === sort.key;
      const isAlikeDown = column.number ? column.direction !== -1 : false;
      const turn = () => app.set({ sort: key, down: isSorted ? !down : isAlikeDown });
      const shown = column.number && column.size && column.signed ? `|${text}|` : text;
      const button = element("button", { type: "button", tabindex: isSorted ? "0" : "-1", "data-name": key, title: `Sort by ${title}`, onclick: turn }, `${isSorted ? shown : text}${isSorted ? (down ? " ↓" : " ↑") : ""}`);
      return element("th", { scope: "col", class: column.number ? "number" : "", "aria-sort": isSorted ? (down ? "descending" : "ascending") : "none" }, button);
    });
    this.row.replaceChildren(element("th", { scope: "col", title: "Pinned pairs are marked in all views" }, "pin"), ...cells);
    const isFixed = (/** @type {Column} */ column) => column.number || isOfFlags(column); // the others share the rest of the width
    this.widths.replaceChildren(element("col", { style: `width:${PIN}px` }), ...laid.map(({ width, column }) => element("col", { style: isFixed(column) ? `width:${width}px` : "" })));
    this.renderDownloads();
  }

  renderDownloads() {
    const { all, compared, rows, step } = this.table;
    const [shown, every] = [rows.length, all.length].map((num) => num.toLocaleString("en"));
    const of = compared ? " in both" : step.chosen ? " of this step" : "";
    const button = (/** @type {string} */ text, /** @type {() => readonly number[]} */ pairs) => element("button", { type: "button", title: "Download as CSV, with all columns", onclick: () => this.download(pairs()) }, text);
    const part = rows.length < all.length ? [button(`CSV: ${shown} shown`, () => this.table.rows)] : [];
    this.downloads.replaceChildren(...part, button(`CSV: all ${every} pairs${of}`, () => sorted(this.table.all, this.table.sort, this.table.app.state.down)));
  }

  /**
   * The arrow keys move between the headings, which are one stop of the Tab key.
   * @param {KeyboardEvent} event
   */
  key(event) {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const buttons = Array.from(this.row.querySelectorAll("button"));
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
    const { app, compared, laid, step } = this.table;
    const columns = columnsOfCsv(step, laid.map(({ column }) => column));
    const of = app.sides.slice(0, compared ? 2 : 1).map((side) => `${side.run}_${side.step.stage}_step_${side.step.step}`).join("_and_");
    const name = of.replace(/[^\p{L}\p{N}.-]+/gu, "_").replace(/^[_.]+/, "");
    const link = element("a", { href: URL.createObjectURL(new Blob([csv(columns, pairs)], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}
