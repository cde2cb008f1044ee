// What is shown, and what is selected in it: the state that the views share, and what they read from it.

import { theme } from "./colors.js";
import { passing } from "./filter.js";
import { addressOf, readAddress } from "./link.js";
import { dashOf } from "./marks.js";
import { placeOf } from "./pins.js";
import { furthest, keyOf } from "./step.js";

/** @import { Filter, Passing } from "./filter.js" */
/** @import { Looked } from "./lookup.js" */
/** @import { Pair, Step } from "./step.js" */

/**
 * A run and tag after loading; `latest` is the last step, `order` has the labels of the heatmaps in order.
 * @typedef {Looked & { step: Step, latest: Step, order: number[] }} Shown
 */
/** @typedef {{ pair: Pair, place: number, color: string, dash: number[], isSelected: boolean }} Chosen a pair that is selected or pinned; `place`: of the pin, -1 if it is not pinned */

export class Selection {
  constructor() {
    this.state = readAddress();
    /** @type {Shown[]} one run, or two that are compared */
    this.sides = [];
    /** @type {{ of: string, pair: Pair | null }} the pair that was furthest off when a run and tag were opened */
    this.first = { of: "", pair: null };
    /** @type {WeakMap<Step, { key: string, passing: Passing }>} */
    this.passed = new WeakMap();
  }

  /**
   * The pairs of a step that pass the filter.
   * @param {Step} step
   */
  shown(step) {
    const { search, flags, pinned, brush, pins } = this.state;
    const key = JSON.stringify([search, flags, pinned && pins, brush?.key, ...(brush ? [...brush.x, ...brush.y].map(String) : [])]);
    const kept = this.passed.get(step);
    if (kept?.key === key) return kept.passing;
    const found = this.passing(step, this.state);
    this.passed.set(step, { key, passing: found });
    return found;
  }

  /**
   * The pairs of a step that pass another filter than that of the views.
   * @param {Step} step
   * @param {Filter} filter
   */
  passing(step, filter) {
    return passing(step, filter, this.state.pins.map((pin) => this.pairIn(step, pin)).filter((pair) => pair !== null));
  }

  /** A link to the current view. It names run, tag, step and pair, so that later steps do not change the view. */
  get link() {
    const shown = this.sides[0];
    return addressOf(shown ? { ...this.state, run: shown.run, tag: shown.tag, step: shown.step.step, pair: this.selected } : this.state);
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

  /** @param {Pair} pair */
  isPinned(pair) {
    return placeOf(this.state.pins, pair) >= 0;
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
}
