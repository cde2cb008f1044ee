// What follows from a change of the state that the views share: steps are read, and the page is painted.

import { NoAnswer } from "./data.js";
import { element } from "./dom.js";
import { explain } from "./explain.js";
import { writeAddress } from "./link.js";
import { lookUp, nearest } from "./lookup.js";
import { aboutError, empty, loading, missing } from "./messages.js";
import { Page } from "./page.js";
import { MAX_PINS, turned } from "./pins.js";
import { Reader } from "./reader.js";
import { Selection } from "./selection.js";
import { keyOf } from "./step.js";
import { Tip } from "./tip.js";
import { afterPicture } from "./views.js";

/** @import { Run } from "./data.js" */
/** @import { Filter } from "./filter.js" */
/** @import { State } from "./link.js" */
/** @import { Looked } from "./lookup.js" */
/** @import { Pair, Step } from "./step.js" */
/** @import { Quantity } from "./wire.js" */

const NEEDS_DATA = ["run", "tag", "step", "run2", "step2"];

export class App extends Selection {
  constructor() {
    super();
    this.reader = new Reader();
    /** @type {Run[] | null} */
    this.runs = null;
    /** @type {Looked | null} what the user selected, loaded or not */
    this.looked = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.writing = undefined;
    this.ticket = 0;
    this.lost = false; // whether TensorBoard did not answer since the last view
    this.tip = new Tip();
    this.dialogs = element("div", {});
    this.page = new Page(this);
  }

  // Load and select

  async refresh() {
    if (!this.runs) this.page.replace(loading());
    this.reader.forget();
    try {
      this.runs = await this.reader.source.runs();
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
      const runs = await this.reader.source.runs();
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
    this.page.controls.render(found.one, runs);
    if (!found.one) {
      this.sides = [];
      this.page.replace(found.missing ? missing(found.missing) : empty());
      return;
    }
    const wanted = found.other ? [found.one, found.other] : [found.one];
    try {
      const sides = await Promise.all(wanted.map((side) => this.reader.read(side)));
      if (ticket !== this.ticket) return; // the user has selected something else
      this.sides = sides;
      this.lost = false;
      this.page.say("lost", "");
      this.page.say("comparison", found.note);
      this.holdFirst(sides[0]);
      this.paint();
      afterPicture(() => ticket === this.ticket && this.reader.prefetch(sides[0]));
    } catch (error) {
      if (ticket === this.ticket) this.tell(error);
    }
  }

  /**
   * Shows an error: above the last view if there is one and TensorBoard does not answer, otherwise in place of the views.
   * @param {unknown} error
   */
  tell(error) {
    this.page.controls.steps.stop();
    const again = () => this.refresh();
    const [one] = this.sides;
    this.lost = error instanceof NoAnswer && Boolean(one);
    if (!this.lost) {
      this.sides = [];
      this.page.replace(aboutError(error, again));
      return;
    }
    this.page.controls.render(one, this.runs ?? []);
    this.page.say("lost", `TensorBoard does not answer. This is the last view, of step ${one.step.step.toLocaleString("en")} of “${one.run}”.`, again);
  }

  // Change the state

  /**
   * Shows the state of another address.
   * @param {State} state
   */
  follow(state) {
    this.state = state;
    this.update();
  }

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

  /** Updates the address 150 ms after the last change of the state, because browsers limit the rate of updates. */
  remember() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => writeAddress(this.state), 150);
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
    this.page.inspector.focus();
  }

  /** @param {Pair} pair */
  pin(pair) {
    const pins = turned(this.state.pins, pair);
    this.page.say("pins", pins ? "" : `${MAX_PINS} pairs are pinned. Unpin one to pin another.`);
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
    return this.page.controls.steps.isPlaying;
  }

  // Show

  paint() {
    this.page.paint();
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
