// The tab: owns the state that the views share. TensorBoard calls `render` in a separate frame.

import { theme, isDark, watchTheme } from "./colors.js";
import { Controls } from "./controls.js";
import { Source } from "./data.js";
import { element, focused } from "./dom.js";
import { explain } from "./explain.js";
import { History, dashOf } from "./history.js";
import { addressOf, readAddress, watchAddress, writeAddress } from "./link.js";
import { aboutError, empty, loading } from "./messages.js";
import { Side } from "./side.js";
import { keyOf } from "./step.js";
import { Table } from "./table.js";
import { Tip } from "./tip.js";

/** @import { Course, Kept, Run, Tag } from "./data.js" */
/** @import { State } from "./link.js" */
/** @import { Pair, Step } from "./step.js" */
/** @import { Quantity } from "./wire.js" */

/**
 * A selected run and tag, with its kept steps and the place of the selected step among them.
 * @typedef {{ run: string, tag: string, steps: Kept[], tags: Tag[], at: number }} Looked
 */
/**
 * The same after loading; `latest` is the last step, `order` has the labels of the heatmaps in order.
 * @typedef {Looked & { step: Step, latest: Step, order: number[] }} Shown
 */
/** @typedef {{ pair: Pair, color: string, dash: number[], isSelected: boolean }} Chosen a pair that is selected or pinned */

const MAX_PINS = 7;
const MAX_HISTORIES = 50;
const NEEDS_DATA = ["run", "tag", "step", "run2"];

export async function render() {
  const style = element("link", { rel: "stylesheet", href: new URL("style.css", import.meta.url).href });
  const loaded = new Promise((resolve) => ["load", "error"].forEach((event) => style.addEventListener(event, resolve)));
  document.head.append(style);
  document.title = "Label similarity";
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
    /** @type {Map<string, Course | null>} null while it is loading */
    this.histories = new Map();
    /** @type {Looked | null} what the user selected, loaded or not */
    this.looked = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.writing = undefined;
    this.ticket = 0;
    this.tip = new Tip();
    this.controls = new Controls(this);
    this.views = [new Side(this, "A"), new Side(this, "B")];
    this.table = new Table(this);
    this.history = new History(this);
    this.content = element("main", {});
    this.board = [element("div", { class: "sides" }, ...this.views.map((view) => view.root)), element("div", { class: "below" }, this.table.root, this.history.root)];
    this.dialogs = element("div", {});
    this.root = element("div", { class: "app" }, this.controls.root, this.content, this.tip.root, this.dialogs);
    this.dress();
    watchTheme(() => {
      this.dress();
      this.paint();
    });
    new ResizeObserver(() => this.redraw()).observe(this.content);
    document.addEventListener("keydown", (event) => this.controls.key(event));
    watchAddress((state) => {
      this.state = state;
      this.update();
    });
  }

  dress() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  }

  // Load and select

  async refresh() {
    if (!this.runs) this.content.replaceChildren(loading());
    this.histories.clear();
    try {
      this.runs = await this.source.runs();
    } catch (error) {
      this.tell(error);
      return;
    }
    await this.update();
  }

  /**
   * The selected run and tag with its steps. If they no longer exist, the run that was written last and its validation stage, if it has one.
   * @param {string | null} run
   * @param {string | null} tag
   */
  chosen(run, tag) {
    const runs = withSteps(this.runs ?? []);
    const found = runs.find((one) => one.run === run) ?? [...runs].sort((one, other) => latestTime(other) - latestTime(one))[0];
    if (!found) return null;
    const { tags } = found;
    const { tag: name, steps } = tags.find((one) => one.tag === tag) ?? tags.find((one) => /_val\b/.test(one.tag)) ?? tags[0];
    return { run: found.run, tag: name, steps, tags };
  }

  /**
   * The place of the kept step nearest to a number; the last place for null.
   * @param {Kept[]} steps
   * @param {number | null} step
   */
  placeOf(steps, step) {
    if (step === null) return steps.length - 1;
    return steps.reduce((best, [one], at) => (Math.abs(one - step) < Math.abs(steps[best][0] - step) ? at : best), 0);
  }

  async update() {
    const { state, runs } = this;
    if (!runs) return; // the runs are loading; `refresh` calls this again
    const ticket = ++this.ticket;
    const first = this.chosen(state.run, state.tag);
    if (!first) {
      this.sides = [];
      this.looked = null;
      this.controls.render(null, runs);
      this.content.replaceChildren(empty());
      return;
    }
    const one = { ...first, at: this.placeOf(first.steps, state.step) };
    const wanted = [one];
    const second = state.run2 !== one.run && withSteps(runs).some(({ run }) => run === state.run2) ? this.chosen(state.run2, one.tag) : null;
    if (second) wanted.push({ ...second, at: this.placeOf(second.steps, state.step === null ? null : one.steps[one.at][0]) });
    this.looked = one;
    this.controls.render(one, runs);
    try {
      const sides = await Promise.all(wanted.map((side) => this.read(side)));
      if (ticket !== this.ticket) return; // the user has selected something else
      this.sides = sides;
      this.paint();
      this.prefetch(one);
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

  /** @param {unknown} error */
  tell(error) {
    this.controls.stop();
    this.content.replaceChildren(aboutError(error, () => this.refresh()));
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

  /** A link to the current view. It names run, tag and step, so that later steps do not change the view. */
  get link() {
    const shown = this.sides[0];
    return addressOf(shown ? { ...this.state, run: shown.run, tag: shown.tag, step: shown.step.step } : this.state);
  }

  /** Updates the address 150 ms after the last change of the state, because browsers limit the rate of updates. */
  remember() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => writeAddress(this.state), 150);
  }

  /**
   * @param {Step} step
   * @param {number} index of a pair in the step; -1 deselects
   * @param {{ keep?: boolean }} options keep: whether a pair that is selected already stays selected
   */
  select(step, index, { keep = false } = {}) {
    const [first] = this.sides;
    const found = index < 0 ? null : step === first.step ? step.pairAt(index) : first.step.pairFrom(step, step.pairAt(index));
    const same = found && this.state.pair && keyOf(found) === keyOf(this.state.pair);
    this.set({ pair: same && !keep ? null : found });
  }

  /** @type {(pair: Pair) => boolean} */
  isPinned = (pair) => this.state.pins.some((one) => keyOf(one) === keyOf(pair));

  /** @param {Pair} pair */
  pin(pair) {
    const others = this.state.pins.filter((one) => keyOf(one) !== keyOf(pair));
    this.set({ pins: others.length < this.state.pins.length ? others : [...others, pair].slice(-MAX_PINS) });
  }

  /** @param {number} step */
  goNear(step) {
    if (this.looked) this.goTo(this.placeOf(this.looked.steps, step));
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
   * The pinned pairs and the selected pair, each with its color and dash pattern.
   * @returns {Chosen[]}
   */
  get pairs() {
    const { pair, pins } = this.state;
    const colors = theme().lines;
    const all = pair && !this.isPinned(pair) ? [...pins, pair] : pins;
    return all.map((one, at) => ({ pair: one, color: colors[at % colors.length], dash: dashOf(at), isSelected: pair !== null && keyOf(one) === keyOf(pair) }));
  }

  get pinned() {
    return this.pairs.filter(({ pair }) => this.isPinned(pair));
  }

  // Draw

  paint() {
    const [one, other] = this.sides;
    if (!one) return;
    const focus = focused(this.root);
    this.tip.hide();
    this.controls.render(one, this.runs ?? []);
    this.root.classList.toggle("comparing", Boolean(other));
    this.views[1].root.hidden = !other;
    if (this.board[0].parentElement !== this.content) this.content.replaceChildren(...this.board);
    this.sides.forEach((side, at) => this.views[at].render(side, Boolean(other)));
    this.table.render(one.step, other?.step);
    this.recall();
    focus();
    performance.clearMarks("painted"); // for tests that measure the drawing time
    performance.mark("painted");
  }

  redraw() {
    this.sides.forEach((_, at) => this.views[at].draw());
    if (this.sides.length) {
      this.table.fill();
      this.history.draw();
    }
  }

  /** Draws the history of the selected and pinned pairs, and loads missing data. */
  recall() {
    const pairs = this.pairs;
    const sides = this.sides.map((side) => {
      const there = pairs.map(({ pair }) => this.pairIn(side.step, pair)).filter((pair) => pair !== null);
      const key = JSON.stringify([side.run, side.tag, side.steps[side.steps.length - 1], there]);
      if (there.length && !this.histories.has(key)) {
        this.histories.set(key, null);
        this.source
          .history(side.run, side.tag, there)
          .catch((error) => ({ steps: [], pairs: [], error })) // only Refresh asks again
          .then((found) => this.histories.set(key, found))
          .then(() => this.recall());
      }
      return { ...side, history: there.length ? (this.histories.get(key) ?? null) : { steps: [], pairs: [] } };
    });
    for (const oldest of Array.from(this.histories.keys()).slice(0, -MAX_HISTORIES)) this.histories.delete(oldest);
    this.history.render(sides, pairs);
  }

  /** @param {Quantity} quantity */
  explainer(quantity) {
    return element("button", { type: "button", class: "explain", "aria-label": "What is this?", title: "What is this?", onclick: () => explain(this.dialogs, quantity) }, "?");
  }
}

/**
 * The runs and tags that have steps.
 * @param {Run[]} runs
 */
function withSteps(runs) {
  return runs.map(({ run, tags }) => ({ run, tags: tags.filter(({ steps }) => steps.length) })).filter(({ tags }) => tags.length);
}

/**
 * The time of a run's last step, in seconds since 1970.
 * @param {Run} run
 */
const latestTime = ({ tags }) => Math.max(...tags.flatMap(({ steps }) => steps.map(([, time]) => time)));
