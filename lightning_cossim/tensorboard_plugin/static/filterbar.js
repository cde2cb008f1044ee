// The filter of all views: search, flags, and chips that say what is filtered and remove it.

import { element } from "./dom.js";
import { KINDS, NO_FILTER, chips, count, kindAt } from "./filter.js";

/** @import { App } from "./app.js" */
/** @import { Filter, Kind } from "./filter.js" */
/** @import { Step } from "./step.js" */

/** @type {Record<Kind, (num: string, ending: string) => string>} */
const TEXTS = { stranger: (num, ending) => `▲ ${num} stranger${ending}`, "look-alike": (num, ending) => `▼ ${num} look-alike${ending}`, none: (num) => `${num} not flagged` };

export class FilterBar {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {HTMLInputElement} */
    this.search = element("input", { type: "search", placeholder: "name of a label", "aria-label": "Search", oninput: () => app.filter({ search: this.search.value }) });
    this.flags = KINDS.map((kind) => element("button", { type: "button", class: `toggle ${kind}`, "aria-pressed": "false", "data-name": kind, onclick: () => this.toggle(kind) }));
    this.pinned = element("button", { type: "button", class: "toggle", "aria-pressed": "false", onclick: () => app.filter({ pinned: !app.state.pinned }) }, "pinned");
    this.chips = element("span", { class: "chips" });
    this.count = element("output", { class: "shown", "aria-live": "polite" });
    this.root = element("div", { class: "filters", role: "search", "aria-label": "Filter of all views" },
      element("label", { class: "control" }, element("span", {}, "Search"), this.search),
      element("span", { class: "group", role: "group", "aria-label": "Show only" }, element("span", { class: "control" }, "Show only"), ...this.flags, this.pinned),
      this.chips, this.count);
  }

  /** @param {Kind} kind */
  toggle(kind) {
    const { flags } = this.app.state;
    const wanted = KINDS.filter((one) => (one === kind ? !flags.includes(one) : flags.includes(one)));
    this.app.filter({ flags: wanted.length === KINDS.length ? [] : wanted });
  }

  /**
   * Removes a part of the filter. The focus goes to the next chip, or to the search.
   * @param {Partial<Filter>} without
   */
  remove(without) {
    this.app.filter(without);
    (this.chips.querySelector("button") ?? this.search).focus();
  }

  /**
   * The number on a flag is of the pairs that pass the rest of the filter.
   * @param {Step} step
   */
  render(step) {
    const { app } = this;
    const { state } = app;
    if (this.search.value !== state.search) this.search.value = state.search;
    const { pairs } = state.flags.length ? app.passing(step, { ...state, flags: [] }) : app.shown(step);
    KINDS.map((kind) => pairs.filter((pair) => kindAt(step, pair) === kind).length).forEach((num, at) => {
      this.flags[at].setAttribute("aria-pressed", String(state.flags.includes(KINDS[at])));
      this.flags[at].textContent = TEXTS[KINDS[at]](num.toLocaleString("en"), num === 1 ? "" : "s");
    });
    this.pinned.setAttribute("aria-pressed", String(state.pinned));
    this.pinned.hidden = !state.pins.length && !state.pinned;
    const found = chips(step, state);
    const remove = found.map(({ text, without }) => element("button", { type: "button", class: "chip", "aria-label": `Remove the filter: ${text}`, onclick: () => this.remove(without) }, text, element("span", { "aria-hidden": "true" }, " ✕")));
    const all = element("button", { type: "button", class: "chip all", onclick: () => this.remove(NO_FILTER) }, "Show all pairs");
    this.chips.replaceChildren(...remove, ...(found.length > 1 ? [all] : []));
    this.count.textContent = count(app.shown(step));
  }
}
