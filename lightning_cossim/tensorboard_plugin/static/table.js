// The table of pairs: searched, sorted, filtered, pinned, downloaded. Only the rows in sight are elements.

import { element, number } from "./dom.js";
import { RUNGS } from "./rungs.js";
import { keyOf } from "./step.js";

const ROW = 27;
const FILTERS = [["", "all pairs"], ["flagged", "flagged"], ["stranger", "strangers"], ["look-alike", "look-alikes"], ["pinned", "pinned"]];
const MARKS = { stranger: "▲ stranger", "look-alike": "▼ look-alike", "": "" };

export class Table {
  constructor(app) {
    this.app = app;
    this.rows = [];
    this.search = element("input", { type: "search", placeholder: "label", "aria-label": "Search", oninput: () => app.set({ query: this.search.value }) });
    this.filter = element("select", { "aria-label": "Show", onchange: () => app.set({ flag: this.filter.value }) });
    for (const [value, text] of FILTERS) this.filter.append(element("option", { value }, text));
    this.count = element("span", { class: "note", role: "status" });
    this.head = element("tr", {});
    this.body = element("tbody", {});
    this.frame = element("div", { class: "frame", tabindex: "0", role: "region", "aria-label": "Pairs of labels", onscroll: () => this.fill(), onkeydown: (event) => this.key(event) },
      element("table", {}, element("thead", {}, this.head), this.body));
    this.root = element("figure", { class: "pairs" },
      element("figcaption", {}, element("b", {}, "Pairs"),
        element("label", { class: "control" }, element("span", {}, "Search"), this.search),
        element("label", { class: "control" }, element("span", {}, "Show"), this.filter),
        element("button", { type: "button", onclick: () => this.download(), title: "Download these pairs as CSV" }, "CSV"), this.count),
      this.frame);
  }

  render(step, other) {
    const { state } = this.app;
    this.step = step;
    this.other = other;
    if (this.search.value !== state.query) this.search.value = state.query;
    this.filter.value = state.flag;
    this.columns = this.columnsOf(step, other);
    if (!this.columns.some(({ key }) => key === state.sort)) this.sort = "gap";
    else this.sort = state.sort;
    this.drawHead();
    this.rows = sorted(filtered(step, this.app), this.columns.find(({ key }) => key === this.sort), state.down);
    this.count.textContent = `${this.rows.length.toLocaleString("en")} of ${step.counted.length.toLocaleString("en")}`;
    this.reveal();
    this.fill();
  }

  columnsOf(step, other) {
    const numbers = ["gap", "overlap", "expected_overlap", ...step.rungs.filter((rung) => rung !== "overlap")];
    const columns = [
      { key: "label", text: "label", of: (pair) => step.namesAt(pair)[0] },
      { key: "other", text: "other", of: (pair) => step.namesAt(pair)[1] },
      { key: "flag", text: "flag", of: (pair) => MARKS[step.flagAt(pair)] },
      ...numbers.map((key) => ({ key, text: RUNGS[key]?.short ?? key, title: RUNGS[key]?.name, number: true, signed: key === "gap", of: (pair) => step.values[key][pair] })),
    ];
    if (step.reach) columns.splice(3, 0, { key: "on_top", text: "on top", title: "Whether any input at all can make the two the most likely labels", of: (pair) => step.onTopAt(pair) });
    if (other) {
      for (const key of ["gap", "overlap"]) {
        const of = (pair) => {
          const index = other.indexOf(other.pairFrom(step, step.pairAt(pair)));
          return index < 0 ? NaN : other.values[key][index];
        };
        columns.push({ key: `${key}_b`, text: `${key} in B`, title: `${RUNGS[key].name} in the run compared with`, number: true, signed: key === "gap", of });
      }
    }
    return columns;
  }

  drawHead() {
    const { state } = this.app;
    const cells = this.columns.map(({ key, text, title, number: right }) => {
      const sorts = key === this.sort;
      const turn = () => this.app.set({ sort: key, down: sorts ? !state.down : Boolean(right) });
      const button = element("button", { type: "button", "data-name": key, title: title ? `Sort by ${title.toLowerCase()}` : `Sort by ${text}`, onclick: turn }, `${text}${sorts ? (state.down ? " ↓" : " ↑") : ""}`);
      return element("th", { scope: "col", class: right ? "number" : "", "aria-sort": sorts ? (state.down ? "descending" : "ascending") : "none" }, button);
    });
    this.head.replaceChildren(element("th", { scope: "col", title: "Pinned pairs stay in all views" }, "pin"), ...cells);
  }

  /** The rows in sight, and as much room above and below as the others take. */
  fill() {
    const height = this.frame.clientHeight || 300;
    const first = Math.max(0, Math.floor(this.frame.scrollTop / ROW) - 5);
    const last = Math.min(this.rows.length, first + Math.ceil(height / ROW) + 12);
    const rows = this.rows.slice(first, last).map((pair) => this.row(pair));
    const room = (num) => element("tr", { class: "room", "aria-hidden": "true", style: `height:${num * ROW}px` });
    const nothing = element("tr", {}, element("td", { colSpan: this.columns.length + 1, class: "nothing" }, this.nothing()));
    this.body.replaceChildren(...(this.rows.length ? [room(first), ...rows, room(this.rows.length - last)] : [nothing]));
  }

  nothing() {
    const { state } = this.app;
    if (state.flag === "pinned" && !state.pins.length) return "Nothing is pinned: tick a pair in the first column.";
    if (state.query) return "No pair has a label like this. Clear the search to see all.";
    if (state.flag && this.step.verdict) return `No pair is flagged: ${this.step.verdict}.`;
    return "No pairs here.";
  }

  row(pair) {
    const { app, step } = this;
    const labels = step.pairAt(pair);
    const selected = step.indexOf(app.state.pair) === pair;
    const pin = element("input", { type: "checkbox", checked: app.isPinned(labels), onclick: (event) => event.stopPropagation(), onchange: () => app.pin(labels), "aria-label": `Pin ${step.namesAt(pair).join(" and ")}` });
    const cells = this.columns.map(({ key, of, number: right, signed }) => {
      const value = of(pair);
      return element("td", { class: right ? "number" : key === "flag" ? "flag" : "name", title: right ? "" : value }, right ? number(value, { signed }) : value);
    });
    const flag = step.flagAt(pair);
    return element("tr", { class: [selected ? "selected" : "", flag].join(" ").trim(), "aria-selected": String(selected), onclick: () => app.select(step, pair) }, element("td", {}, pin), ...cells);
  }

  /** Bring the selected pair into sight, if it was chosen elsewhere. */
  reveal() {
    const pair = this.step.indexOf(this.app.state.pair);
    const key = pair < 0 ? null : keyOf(this.step.pairAt(pair));
    const at = this.rows.indexOf(pair);
    if (key !== this.revealed && at >= 0) {
      const [top, bottom] = [this.frame.scrollTop, this.frame.scrollTop + this.frame.clientHeight - 2 * ROW];
      if (at * ROW < top || at * ROW > bottom) this.frame.scrollTop = Math.max(0, at * ROW - this.frame.clientHeight / 2);
    }
    this.revealed = key;
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target !== this.frame) return;
    event.preventDefault();
    const at = this.rows.indexOf(this.step.indexOf(this.app.state.pair));
    const next = this.rows[Math.min(Math.max(at + step, 0), this.rows.length - 1)];
    if (next !== undefined) this.app.select(this.step, next, { keep: true });
  }

  download() {
    const link = element("a", { href: URL.createObjectURL(new Blob([csv(this.columns, this.rows)], { type: "text/csv" })), download: `${this.step.stage}_step_${this.step.step}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

/** The pairs that the search and the filter leave. */
export function filtered(step, { state, isPinned }) {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = words.map((word) => new Set(step.names.flatMap((name, place) => (name.toLowerCase().includes(word) ? [place] : []))));
  return step.counted.filter((pair) => {
    if (state.flag === "pinned" && !isPinned(step.pairAt(pair))) return false;
    if (state.flag === "flagged" && !step.flag[pair]) return false;
    if (["stranger", "look-alike"].includes(state.flag) && step.flagAt(pair) !== state.flag) return false;
    return matching.every((places) => places.has(step.row[pair]) || places.has(step.column[pair]));
  });
}

/** By a column; what is not known comes last, whichever way. */
export function sorted(pairs, { of, number: isNumber }, down) {
  const keys = new Map(pairs.map((pair) => [pair, of(pair)]));
  const direction = down ? -1 : 1;
  return [...pairs].sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    if (!isNumber) return direction * a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return direction * (a - b);
  });
}

export function csv(columns, pairs) {
  const cell = (value) => {
    if (typeof value === "number") return Number.isNaN(value) ? "" : String(Number(value.toPrecision(6)));
    const harmless = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value; // a spreadsheet would take it for a formula
    return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };
  const rows = pairs.map((pair) => columns.map(({ key, of }) => cell(key === "flag" ? of(pair).replace(/^[▲▼] /, "") : of(pair))));
  return [columns.map(({ key }) => key), ...rows].map((row) => row.join(",")).join("\n") + "\n";
}
