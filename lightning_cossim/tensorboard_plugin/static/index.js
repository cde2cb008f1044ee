// The tab: owns the state that the views share. TensorBoard calls `render` in a separate frame.

import { dress, theme, watchTheme } from "./colors.js";
import { compare } from "./compare.js";
import { Comparing } from "./comparing.js";
import { Controls } from "./controls.js";
import { NO_COURSE, NoAnswer, Source } from "./data.js";
import { element, focused, watchSizes } from "./dom.js";
import { explain } from "./explain.js";
import { passing } from "./filter.js";
import { FilterBar } from "./filterbar.js";
import { Heatmap } from "./heatmap.js";
import { History, dashOf } from "./history.js";
import { Inspector } from "./inspector.js";
import { watchKeys } from "./keys.js";
import { addressOf, readAddress, watchAddress, writeAddress } from "./link.js";
import { lookUp, nearest } from "./lookup.js";
import { aboutError, empty, loading, missing } from "./messages.js";
import { MAX_PINS, placeOf, turned } from "./pins.js";
import { watchReload } from "./reload.js";
import { Scatter } from "./scatter.js";
import { furthest, keyOf } from "./step.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";
import { Tip } from "./tip.js";

/** @import { Course, Run } from "./data.js" */
/** @import { Compared } from "./compare.js" */
/** @import { Filter, Passing } from "./filter.js" */
/** @import { Loaded } from "./inputs.js" */
/** @import { State } from "./link.js" */
/** @import { Looked } from "./lookup.js" */
/** @import { Pair, Step } from "./step.js" */
/** @import { Quantity } from "./wire.js" */

/**
 * A run and tag after loading; `latest` is the last step, `order` has the labels of the heatmaps in order.
 * @typedef {Looked & { step: Step, latest: Step, order: number[] }} Shown
 */
/** @typedef {{ pair: Pair, place: number, color: string, dash: number[], isSelected: boolean }} Chosen a pair that is selected or pinned; `place`: of the pin, -1 if it is not pinned */

const MAX_HISTORIES = 50;
const NEEDS_DATA = ["run", "tag", "step", "run2", "step2"];

export async function render() {
  const style = element("link", { rel: "stylesheet", href: new URL("style.css", import.meta.url).href });
  const loaded = new Promise((resolve) => ["load", "error"].forEach((event) => style.addEventListener(event, resolve)));
  document.head.append(style);
  document.title = "Label similarity";
  document.documentElement.lang = "en";
  await loaded;
  const app = new App();
  document.body.replaceChildren(app.root);
  await app.refresh();
}

export class App {
  constructor() {
    this.state = readAddress();
    this.source = new Source();
    /** @type {Run[] | null} */
    this.runs = null;
    /** @type {Shown[]} one run, or two that are compared */
    this.sides = [];
    /** @type {{ of: string, pair: Pair | null }} the pair that was furthest off when a run and tag were opened */
    this.first = { of: "", pair: null };
    /** @type {WeakMap<Step, { key: string, passing: Passing }>} */
    this.passed = new WeakMap();
    /** @type {Map<string, Course | null>} null while it is loading */
    this.histories = new Map();
    /** @type {{ key: string, evidence: Loaded | null }} evidence of the shown step */
    this.loaded = { key: "", evidence: null };
    /** @type {Looked | null} what the user selected, loaded or not */
    this.looked = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.writing = undefined;
    this.ticket = 0;
    this.lost = false; // whether TensorBoard did not answer since the last view
    this.tip = new Tip();
    this.controls = new Controls(this);
    this.summary = new Summary();
    this.filters = new FilterBar(this);
    this.scatter = new Scatter(this);
    this.comparing = new Comparing(this);
    /** @type {Compared | null} */
    this.compared = null;
    this.inspector = new Inspector(this);
    this.heatmap = new Heatmap(this);
    this.history = new History(this);
    this.table = new Table(this);
    const notice = () => element("p", { class: "notice", hidden: true });
    this.notices = { lost: notice(), comparison: notice(), pins: notice() };
    this.board = element("div", { class: "board" }, this.scatter.root, this.comparing.root, this.inspector.root, this.heatmap.root, this.history.root, this.table.root);
    this.content = element("main", {});
    this.page = [element("h1", { class: "unseen" }, "Label similarity"), element("div", { role: "status" }, ...Object.values(this.notices)), this.summary.root, this.filters.root, this.board];
    this.dialogs = element("div", {});
    this.root = element("div", { class: "app" }, this.controls.root, this.content, this.tip.root, this.dialogs);
    dress(document.documentElement);
    watchTheme(() => {
      dress(document.documentElement);
      this.paint();
    });
    watchSizes(() => this.redraw());
    watchKeys((event) => this.controls.steps.key(event));
    watchAddress((state) => {
      this.state = state;
      this.update();
    });
    watchReload(() => this.look());
  }

  // Load and select

  async refresh() {
    if (!this.runs) this.content.replaceChildren(loading());
    this.histories.clear();
    this.loaded = { key: "", evidence: null };
    try {
      this.runs = await this.source.runs();
    } catch (error) {
      this.tell(error);
      return;
    }
    await this.update();
  }

  /** Asks for new steps, and shows them if there are any. */
  async look() {
    if (!this.runs || this.isPlaying) return;
    try {
      const runs = await this.source.runs();
      const isNew = JSON.stringify(runs) !== JSON.stringify(this.runs);
      this.runs = runs;
      if (isNew || this.lost) await this.update();
    } catch (error) {
      this.tell(error);
    }
  }

  async update() {
    const { state, runs } = this;
    if (!runs) return; // the runs are loading; `refresh` calls this again
    const ticket = ++this.ticket;
    const found = lookUp(runs, state);
    this.looked = found.one;
    this.controls.render(found.one, runs);
    if (!found.one) {
      this.sides = [];
      this.content.replaceChildren(found.missing ? missing(found.missing) : empty());
      return;
    }
    const wanted = found.other ? [found.one, found.other] : [found.one];
    try {
      const sides = await Promise.all(wanted.map((side) => this.read(side)));
      if (ticket !== this.ticket) return; // the user has selected something else
      this.sides = sides;
      this.lost = false;
      this.say("lost", "");
      this.say("comparison", found.note);
      this.holdFirst(sides[0]);
      this.paint();
      this.prefetch(found.one);
    } catch (error) {
      if (ticket === this.ticket) this.tell(error);
    }
  }

  /**
   * @param {Looked} looked
   * @returns {Promise<Shown>}
   */
  async read(looked) {
    const { run, tag, steps, at } = looked;
    const last = this.source.step(run, tag, steps[steps.length - 1]);
    const [step, latest] = await Promise.all([this.source.step(run, tag, steps[at]), last]);
    const ordered = latest.order.length ? latest : step; // the last step has no order if the model has diverged
    const order = ordered.order.map((place) => ordered.labels[place]);
    return { ...looked, step, latest, order };
  }

  /** @param {Looked} looked */
  prefetch({ run, tag, steps, at }) {
    for (const near of [at + 1, at - 1, at + 2]) {
      if (steps[near]) this.source.step(run, tag, steps[near]).catch(() => {});
    }
  }

  /**
   * Shows an error: above the last view if there is one and TensorBoard does not answer, otherwise in place of the views.
   * @param {unknown} error
   */
  tell(error) {
    this.controls.steps.stop();
    const again = () => this.refresh();
    const [one] = this.sides;
    this.lost = error instanceof NoAnswer && Boolean(one);
    if (!this.lost) {
      this.sides = [];
      this.content.replaceChildren(aboutError(error, again));
      return;
    }
    this.controls.render(one, this.runs ?? []);
    this.say("lost", `TensorBoard does not answer. This is the last view, of step ${one.step.step.toLocaleString("en")} of “${one.run}”.`, again);
  }

  /**
   * Shows a line above the views, one for each subject; an empty text removes it.
   * @param {"lost" | "comparison" | "pins"} subject
   * @param {string} text
   * @param {() => unknown} [again] for a button that tries again
   */
  say(subject, text, again) {
    const line = this.notices[subject];
    if (text === (line.firstChild?.textContent ?? "")) return;
    line.replaceChildren(...(text ? [element("span", {}, text)] : []), ...(again ? [element("button", { type: "button", onclick: again }, "Try again")] : []));
    line.hidden = !text;
  }

  // Change the state

  /** @param {Partial<State>} patch */
  set(patch) {
    this.state = { ...this.state, ...patch };
    this.remember();
    if (NEEDS_DATA.some((key) => key in patch)) return this.update();
    this.paint();
    return Promise.resolve();
  }

  /**
   * Narrows the scatter, the heatmap and the table.
   * @param {Partial<Filter>} patch
   */
  filter(patch) {
    return this.set(patch);
  }

  /**
   * The pairs of a step that pass the filter.
   * @param {Step} step
   */
  shown(step) {
    const { search, flags, pinned, brush, pins } = this.state;
    const key = JSON.stringify([search, flags, pinned && pins, brush]);
    const kept = this.passed.get(step);
    if (kept?.key === key) return kept.passing;
    const there = pins.map((pin) => this.pairIn(step, pin)).filter((pair) => pair !== null);
    const found = passing(step, { search, flags, pinned, brush }, there);
    this.passed.set(step, { key, passing: found });
    return found;
  }

  /** A link to the current view. It names run, tag, step and pair, so that later steps do not change the view. */
  get link() {
    const shown = this.sides[0];
    return addressOf(shown ? { ...this.state, run: shown.run, tag: shown.tag, step: shown.step.step, pair: this.selected } : this.state);
  }

  /** Updates the address 150 ms after the last change of the state, because browsers limit the rate of updates. */
  remember() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => writeAddress(this.state), 150);
  }

  /** The selected pair: the user's, otherwise the one that was furthest off when the run was opened. */
  get selected() {
    return this.state.pair ?? this.first.pair;
  }

  /**
   * Keeps the pair that is furthest off, until another run or stage is opened.
   * @param {Shown} shown
   */
  holdFirst({ run, tag, step }) {
    const of = JSON.stringify([run, tag]);
    if (this.first.of === of && this.first.pair) return;
    const pair = furthest(step);
    this.first = { of, pair: pair < 0 ? null : step.pairAt(pair) };
  }

  /**
   * @param {Step} step
   * @param {number} index of a pair in the step; -1 selects the pair that is furthest off
   * @param {{ keep?: boolean }} options keep: whether a pair that is selected already stays selected
   */
  select(step, index, { keep = false } = {}) {
    const [first] = this.sides;
    const found = index < 0 ? null : step === first.step ? step.pairAt(index) : first.step.pairFrom(step, step.pairAt(index));
    const same = found && this.state.pair && keyOf(found) === keyOf(this.state.pair);
    this.set({ pair: same && !keep ? null : found });
  }

  /**
   * Selects a pair and moves the focus to it.
   * @param {Step} step
   * @param {number} index
   */
  inspect(step, index) {
    this.select(step, index, { keep: true });
    this.inspector.focus();
  }

  /** @param {Pair} pair */
  isPinned(pair) {
    return placeOf(this.state.pins, pair) >= 0;
  }

  /** @param {Pair} pair */
  pin(pair) {
    const pins = turned(this.state.pins, pair);
    this.say("pins", pins ? "" : `${MAX_PINS} pairs are pinned. Unpin one to pin another.`);
    if (pins) this.set({ pins });
    else this.paint();
  }

  /** @param {number} step */
  goNear(step) {
    if (this.looked) this.goTo(nearest(this.looked.steps, step));
  }

  /**
   * Selects a step by its place among the kept steps.
   * @param {number} at
   */
  goTo(at) {
    if (!this.looked) return Promise.resolve();
    const { steps } = this.looked;
    const within = Math.min(Math.max(at, 0), steps.length - 1);
    return this.set({ step: within === steps.length - 1 ? null : steps[within][0] });
  }

  /** Whether the steps are playing; axes stay as they are meanwhile. */
  get isPlaying() {
    return this.controls.steps.isPlaying;
  }

  /**
   * The pair in another step. The state names pairs by the labels of the first run.
   * @param {Step} step
   * @param {Pair | null} pair
   */
  pairIn(step, pair) {
    const first = this.sides[0]?.step;
    return !pair || step === first ? pair : step.pairFrom(first, pair);
  }

  /**
   * The pinned pairs, then the selected pair if it is not pinned. A pin has the color of its place.
   * @returns {Chosen[]}
   */
  get pairs() {
    const { selected, state: { pins } } = this;
    const colors = theme();
    const isSelected = (/** @type {Pair} */ pair) => selected !== null && keyOf(pair) === keyOf(selected);
    const pinned = pins.flatMap((pair, place) => (pair ? [{ pair, place, color: colors.pins[place], dash: dashOf(place + 1), isSelected: isSelected(pair) }] : []));
    return selected && !this.isPinned(selected) ? [...pinned, { pair: selected, place: -1, color: colors.select, dash: [], isSelected: true }] : pinned;
  }

  get pinned() {
    return this.pairs.filter(({ place }) => place >= 0);
  }

  // Draw

  paint() {
    const [one, other] = this.sides;
    if (!one) return;
    const focus = focused(this.root);
    this.tip.hide();
    this.controls.render(one, this.runs ?? []);
    this.root.classList.toggle("comparing", Boolean(other));
    if (this.board.parentElement !== this.content) this.content.replaceChildren(...this.page);
    this.summary.render(this.sides);
    this.filters.render(one.step);
    this.compared = this.comparison(one, other);
    this.scatter.root.hidden = this.compared !== null;
    this.comparing.root.hidden = this.compared === null;
    if (other && this.compared) this.comparing.render(one, other, this.compared);
    else this.scatter.render(one);
    this.inspector.render(this.sides, this.evidence());
    this.heatmap.render(one, other, this.compared);
    this.table.render(one, this.compared);
    this.recall();
    focus();
    performance.clearMarks("painted"); // for tests that measure the drawing time
    performance.mark("painted");
  }

  /**
   * The comparison of two shown steps; null if one is shown. It is kept while the steps stay.
   * @param {Shown} one
   * @param {Shown | undefined} other
   */
  comparison(one, other) {
    if (!other) return null;
    return this.compared?.one === one.step && this.compared.other === other.step ? this.compared : compare(one.step, other.step);
  }

  redraw() {
    if (!this.sides.length) return;
    this.controls.steps.draw();
    if (this.compared) this.comparing.draw();
    else this.scatter.draw();
    this.heatmap.draw();
    this.history.draw();
    this.table.fill();
  }

  /**
   * The evidence of the first step, which is loaded if it is missing; null if the step has none.
   * @returns {Loaded | null}
   */
  evidence() {
    const { run, tag, tags, steps, at } = this.sides[0];
    const kept = steps[at];
    if (!tags.find((one) => one.tag === tag)?.evidence?.includes(kept[0])) return null;
    const key = JSON.stringify([run, tag, kept]);
    if (this.loaded.key !== key) {
      const loaded = { key, evidence: /** @type {Loaded} */ ("loading") };
      this.loaded = loaded;
      this.source
        .evidence(run, tag, kept)
        .catch((error) => /** @type {Error} */ (error)) // only Refresh asks again
        .then((found) => {
          loaded.evidence = found;
          if (this.loaded === loaded && this.sides.length) this.inspector.render(this.sides, found);
        });
    }
    return this.loaded.evidence;
  }

  /** Draws the history of the selected and pinned pairs, and loads missing data. */
  recall() {
    const pairs = this.pairs;
    const sides = this.sides.map((side) => {
      const there = pairs.map(({ pair }) => this.pairIn(side.step, pair)).filter((pair) => pair !== null);
      const key = JSON.stringify([side.run, side.tag, side.steps[side.steps.length - 1], there]);
      if (!this.histories.has(key)) {
        this.histories.set(key, null);
        this.source
          .history(side.run, side.tag, there)
          .catch((error) => ({ ...NO_COURSE, error })) // only Refresh asks again
          .then((found) => this.histories.set(key, found))
          .then(() => this.recall());
      }
      return { ...side, history: this.histories.get(key) ?? null };
    });
    for (const oldest of Array.from(this.histories.keys()).slice(0, -MAX_HISTORIES)) this.histories.delete(oldest);
    this.history.render(sides, pairs);
    this.controls.steps.trend(sides[0]);
  }

  /**
   * A button that explains a quantity.
   * @param {Quantity} quantity
   * @param {string} text a question mark, or the name of the quantity
   */
  explainer(quantity, text = "?") {
    const question = `What is this: ${quantity.title}?`;
    const label = text === "?" ? question : `${text}. What is this?`;
    return element("button", { type: "button", class: text === "?" ? "explain" : "term", "aria-label": label, title: question, onclick: () => explain(this.dialogs, quantity) }, text);
  }
}
