// The tab: its state, and what the views share. TensorBoard calls `render` in a frame of its own.

import { theme, isDark, watchTheme } from "./colors.js";
import { Controls } from "./controls.js";
import { Source } from "./data.js";
import { element, focused, replace } from "./dom.js";
import { explain } from "./explain.js";
import { History, dashOf } from "./history.js";
import { addressOf, readAddress, watchAddress, writeAddress } from "./link.js";
import { aboutError, empty, loading } from "./messages.js";
import { Side } from "./side.js";
import { keyOf } from "./step.js";
import { Table } from "./table.js";
import { Tip } from "./tip.js";

const MAX_PINS = 7;
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

class App {
  constructor() {
    this.state = readAddress();
    this.source = new Source();
    this.runs = null;
    this.sides = [];
    this.histories = new Map();
    this.looked = null; // the run, stage and place of the step that is wanted, there or on its way
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

  // What there is, and what of it is looked at

  async refresh() {
    if (!this.runs) replace(this.content, loading());
    this.histories.clear();
    try {
      this.runs = await this.source.runs();
    } catch (error) {
      this.tell(error);
      return;
    }
    await this.update();
  }

  /** The run, tag and steps that the state means; it may name what is no longer there. */
  chosen(run, tag) {
    const latest = (one) => Math.max(...one.tags.flatMap(({ steps }) => steps.map(([, time]) => time)));
    const runs = this.runs.filter(({ tags }) => tags.some(({ steps }) => steps.length));
    const found = runs.find((one) => one.run === run) ?? [...runs].sort((one, other) => latest(other) - latest(one))[0];
    if (!found) return null;
    const tags = found.tags.filter(({ steps }) => steps.length);
    const { tag: name, steps } = tags.find((one) => one.tag === tag) ?? tags.find((one) => /_val\b/.test(one.tag)) ?? tags[0];
    return { run: found.run, tag: name, steps, tags };
  }

  /** The kept step nearest to a number; the last one for none. */
  placeOf(steps, step) {
    if (step === null) return steps.length - 1;
    return steps.reduce((best, [one], at) => (Math.abs(one - step) < Math.abs(steps[best][0] - step) ? at : best), 0);
  }

  async update() {
    const ticket = ++this.ticket;
    const one = this.chosen(this.state.run, this.state.tag);
    if (!one) {
      this.sides = [];
      this.looked = null;
      this.controls.render(null, this.runs);
      replace(this.content, empty());
      return;
    }
    one.at = this.placeOf(one.steps, this.state.step);
    const wanted = [one];
    if (this.state.run2 !== one.run && this.runs.some(({ run, tags }) => run === this.state.run2 && tags.some(({ steps }) => steps.length))) {
      const other = this.chosen(this.state.run2, one.tag);
      other.at = this.state.step === null ? other.steps.length - 1 : this.placeOf(other.steps, one.steps[one.at][0]);
      wanted.push(other);
    }
    this.looked = one;
    this.controls.render(one, this.runs);
    try {
      const sides = await Promise.all(wanted.map((side) => this.read(side)));
      if (ticket !== this.ticket) return; // the user went on
      this.sides = sides;
      this.paint();
      this.prefetch(one);
    } catch (error) {
      if (ticket === this.ticket) this.tell(error);
    }
  }

  async read({ run, tag, steps, at }) {
    const last = this.source.step(run, tag, steps.at(-1));
    const [step, latest] = await Promise.all([this.source.step(run, tag, steps[at]), last]);
    const ordered = latest.order.length ? latest : step; // the last one may be of a model that has diverged
    const order = ordered.order.map((place) => ordered.labels[place]);
    return { run, tag, steps, at, step, latest, order };
  }

  prefetch({ run, tag, steps, at }) {
    for (const near of [at + 1, at - 1, at + 2]) {
      if (steps[near]) this.source.step(run, tag, steps[near]).catch(() => {});
    }
  }

  tell(error) {
    this.controls.stop();
    replace(this.content, aboutError(error, () => this.refresh()));
  }

  // The state, and who may change it

  set(patch) {
    this.state = { ...this.state, ...patch };
    this.remember();
    if (NEEDS_DATA.some((key) => key in patch)) return this.update();
    this.paint();
    return Promise.resolve();
  }

  /** A link to what is seen, whatever comes later: it names the run, the stage and the step. */
  get link() {
    const [{ run, tag, step } = {}] = this.sides;
    return addressOf(run === undefined ? this.state : { ...this.state, run, tag, step: step.step });
  }

  /** Keep the address up to date, once the user rests: browsers refuse a hundred changes at a time. */
  remember() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => writeAddress(this.state), 150);
  }

  select(step, index, { keep = false } = {}) {
    const [first] = this.sides;
    const found = index < 0 ? null : step === first.step ? step.pairAt(index) : first.step.pairFrom(step, step.pairAt(index));
    const same = found && this.state.pair && keyOf(found) === keyOf(this.state.pair);
    this.set({ pair: same && !keep ? null : found });
  }

  isPinned = (pair) => this.state.pins.some((one) => keyOf(one) === keyOf(pair));

  pin(pair) {
    const others = this.state.pins.filter((one) => keyOf(one) !== keyOf(pair));
    this.set({ pins: others.length < this.state.pins.length ? others : [...others, pair].slice(-MAX_PINS) });
  }

  goNear(step) {
    this.goTo(this.placeOf(this.looked.steps, step));
  }

  /** To a step by its place among those kept. */
  goTo(at) {
    if (!this.looked) return Promise.resolve();
    const { steps } = this.looked;
    const within = Math.min(Math.max(at, 0), steps.length - 1);
    return this.set({ step: within === steps.length - 1 ? null : steps[within][0] });
  }

  /** The labels in a step of the pair that the state names by the labels of the first run. */
  pairIn(step, pair) {
    const first = this.sides[0]?.step;
    return !pair || step === first ? pair : step.pairFrom(first, pair);
  }

  /** The selected pair and the pinned ones, each with a color and a dash of its own. */
  get pairs() {
    const { pair, pins } = this.state;
    const colors = theme().lines;
    const all = pair && !this.isPinned(pair) ? [...pins, pair] : pins;
    return all.map((one, at) => ({ pair: one, color: colors[at % colors.length], dash: dashOf(at), isSelected: Boolean(pair) && keyOf(one) === keyOf(pair) }));
  }

  get pinned() {
    return this.pairs.filter(({ pair }) => this.isPinned(pair));
  }

  // What is seen

  paint() {
    if (!this.sides.length) return;
    const [one, other] = this.sides;
    const focus = focused(this.root);
    this.tip.hide();
    this.controls.render(one, this.runs);
    this.root.classList.toggle("comparing", Boolean(other));
    this.views[1].root.hidden = !other;
    if (this.board[0].parentElement !== this.content) replace(this.content, ...this.board);
    this.sides.forEach((side, at) => this.views[at].render(side, Boolean(other)));
    this.table.render(one.step, other?.step);
    this.recall();
    focus();
    performance.clearMarks("painted"); // for whoever measures
    performance.mark("painted");
  }

  redraw() {
    this.sides.forEach((_, at) => this.views[at].draw());
    if (this.sides.length) {
      this.table.fill();
      this.history.draw();
    }
  }

  /** Draw how the chosen pairs went, and read what is missing of it. */
  recall() {
    const pairs = this.pairs;
    const sides = this.sides.map((side) => {
      const there = pairs.map(({ pair }) => this.pairIn(side.step, pair)).filter(Boolean);
      const key = JSON.stringify([side.run, side.tag, side.steps.at(-1), there]);
      if (there.length && !this.histories.has(key)) {
        this.histories.set(key, null);
        this.source
          .history(side.run, side.tag, there)
          .catch((error) => ({ steps: [], pairs: [], error })) // asked for again by Refresh alone
          .then((found) => this.histories.set(key, found))
          .then(() => this.recall());
      }
      return { ...side, history: there.length ? this.histories.get(key) : { steps: [], pairs: [] } };
    });
    if (this.histories.size > 50) this.histories.delete(this.histories.keys().next().value);
    this.history.render(sides, pairs);
  }

  explainer(rung) {
    const link = this.sides[0]?.step.link;
    return element("button", { type: "button", class: "explain", "aria-label": "What is this?", title: "What is this?", onclick: () => explain(this.dialogs, rung, link) }, "?");
  }
}
