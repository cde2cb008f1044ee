// Scatter of all pairs: a similarity (x) against the overlap (y), with the curve of expected overlaps and the band in which no pair is flagged.

import { Axes } from "./axes.js";
import { Brush } from "./brush.js";
import { theme } from "./colors.js";
import { button, canvasOf, choice, element, roomOf } from "./dom.js";
import { count } from "./filter.js";
import { showLegend } from "./legend.js";
import { cursorRing, pinMark, selectionRing } from "./marks.js";
import { pointsOf, some } from "./points.js";
import { inSentence } from "./quantities.js";
import { Ranges, rangeOf, roomy } from "./ranges.js";
import { drawBand, drawExpected, judgmentOf, labelLines } from "./scatter-lines.js";
import { ScatterPointer } from "./scatter-pointer.js";
import { SHARES, areDense, drawDensity, drawDots, drawFlags } from "./scatter-points.js";

/** @import { App } from "./app.js" */
/** @import { Entry } from "./legend.js" */
/** @import { Points, Spot } from "./points.js" */
/** @import { Held } from "./ranges.js" */
/** @import { Drawing, Judgment } from "./scatter-lines.js" */
/** @import { Shown } from "./selection.js" */
/** @import { Pair, Step } from "./step.js" */

const MOST_FLAGS = 500; // flagged pairs drawn
const NOWHERE = { pairs: new Uint32Array(), x: new Float32Array(), y: new Float32Array() };
const MARGIN = { left: 46, right: 92, top: 8, bottom: 36 };

export class Scatter {
  /** @type {Step} */
  step;
  /** @type {Held} */
  held;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = ""; // key of the similarity
    /** @type {Points} */
    this.points = NOWHERE; // of pairs that pass the filter and have both values
    /** @type {Spot[] | null} the same one by one, once the pointer or the keys need them */
    this.single = null;
    /** @type {{ all: Spot[], drawn: Spot[] }} flagged pairs among them */
    this.flagged = { all: [], drawn: [] };
    this.ranges = new Ranges();
    this.axes = new Axes({ left: 0, top: 0, width: 1, height: 1 }, [0, 1], [0, 1]);
    /** @type {Judgment} */
    this.judgment = { curve: [], limits: null };
    this.brush = new Brush(app);
    this.pointer = new ScatterPointer(this, this.brush);
    this.fit = button("Fit axes", "Fit the axes to this step and the last one", () => this.refit());
    this.headIs = ""; // what the head was made of
    /** @type {unknown[]} what the picture below the marks was made of */
    this.made = [];
    this.base = element("canvas", { class: "base", "aria-hidden": "true" });
    this.canvas = element("canvas", { role: "application", tabindex: "0", "data-name": "scatter", "aria-describedby": "scatter-point" });
    this.pointer.listen(this.canvas);
    this.head = element("figcaption", {});
    this.legend = element("ul", { class: "key" });
    this.note = element("p", { class: "note" });
    this.said = element("p", { class: "unseen", id: "scatter-point", role: "status" });
    this.root = element("figure", { class: "scatter" }, this.head, this.legend, element("div", { class: "plot" }, this.base, this.canvas), this.note, this.said);
  }

  /** @param {Shown} shown */
  render({ run, tag, step, latest }) {
    const { state, isPlaying } = this.app;
    const { pair } = this.pointer;
    this.pointer.pair = this.step && pair >= 0 ? step.indexOf(this.step.pairAt(pair)) : -1;
    this.step = step;
    this.key = step.similarities.includes(state.x) ? state.x : step.cosine;
    const held = (/** @type {string} */ key) => {
      const of = [step, latest].map((one) => ({ step: `${one.step} ${one.time}`, range: one.values[key] ? rangeOf(one.counted, one.values[key]) : null }));
      return this.ranges.over(JSON.stringify([run, tag, key]), of, isPlaying);
    };
    this.held = held(this.key);
    this.fit.hidden = this.held.num <= new Set([step, latest]).size;
    const top = roomy(held("overlap").range)[1];
    this.axes = new Axes(this.axes.box, roomy(this.held.range), [0, Math.min(1.02, top)]);
    this.drawHead();
    this.brush.render(this.key, this.axes.ranges);
    this.draw();
  }

  /** Forgets the steps that were shown before: the axes are those of a link that is opened anew. */
  refit() {
    this.ranges.reset();
    this.app.paint();
  }

  drawHead() {
    const { step, key, app } = this;
    const made = JSON.stringify([key, step.similarities, step.quantity(key)]);
    if (made === this.headIs) return; // keeps the focus, and an open choice
    this.headIs = made;
    this.head.replaceChildren(
      element("h2", {}, "All pairs"),
      choice("x axis", step.similarities.map((one) => [one, step.quantity(one).title]), key, (x) => app.set({ x })),
      app.explainer(step.quantity(key)), ...this.brush.parts, this.fit,
    );
  }

  draw() {
    if (!this.step) return;
    const { step, key } = this;
    const [width, height] = roomOf(this.base, 240, 150);
    const colors = theme();
    const { x, y } = this.axes.ranges;
    this.axes = new Axes({ left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom }, x, y);
    const { axes } = this;
    const passing = this.app.shown(step);
    const made = [step, key, passing, width, height, colors.page, colors.ink, ...x, ...y];
    if (made.every((one, at) => one === this.made[at])) {
      this.drawOver();
      this.tell(key === step.cosine);
      return;
    }
    this.made = made;
    this.points = this.pointsOf(passing.pairs);
    this.single = null;
    this.flagged = this.flaggedNow();
    this.judgment = judgmentOf(step, axes);
    this.drawBase({ context: canvasOf(this.base, width, height), colors, axes });
    this.drawOver();
    this.tell(key === step.cosine);
  }

  /**
   * Draws what stays while the pointer and the selection change.
   * @param {Drawing} drawing
   */
  drawBase(drawing) {
    const { context, colors, axes } = drawing;
    const { judgment, key, points, step } = this;
    const passing = this.app.shown(step);
    const isJudged = key === step.cosine;
    const isDense = areDense(points);
    if (isJudged) axes.within(context, () => drawBand(drawing, judgment));
    axes.draw(context, colors, step.quantity(key).title, step.quantity("overlap").title);
    axes.within(context, () => {
      if (passing.pairs.length < passing.num) drawDots(drawing, colors.faint, this.pointsOf(step.counted.filter((pair) => !passing.marks[pair])), points.pairs.length);
      if (isJudged && !isDense) drawExpected(drawing, judgment);
      if (isDense) drawDensity(drawing, points);
      else drawDots(drawing, colors.dot, points, points.pairs.length);
      if (isJudged && isDense) drawExpected(drawing, judgment);
      drawFlags(drawing, step, this.flagged.drawn);
    });
    if (isJudged) labelLines(drawing, judgment);
  }

  /** @param {readonly number[]} pairs */
  pointsOf(pairs) {
    const { values } = this.step;
    return pointsOf(this.axes, pairs, values[this.key], values.overlap);
  }

  /** The points one by one. */
  get spots() {
    const { pairs, x, y } = this.points;
    this.single ??= Array.from(pairs, (pair, at) => ({ pair, x: x[at], y: y[at] }));
    return this.single;
  }

  /** Flagged pairs that pass the filter, the largest gaps last, so that they cover the others. */
  flaggedNow() {
    const { flag, values: { gap } } = this.step;
    const { pairs, x, y } = some(this.points, (at) => flag[this.points.pairs[at]] > 0);
    const all = Array.from(pairs, (pair, at) => ({ pair, x: x[at], y: y[at] })).sort((one, other) => Math.abs(gap[one.pair]) - Math.abs(gap[other.pair]));
    return { all, drawn: all.slice(-MOST_FLAGS) };
  }

  /** Draws what changes with the pointer, the keys and the selection. */
  drawOver() {
    const { axes, app } = this;
    const colors = theme();
    const [width, height] = roomOf(this.canvas, 240, 150);
    const context = canvasOf(this.canvas, width, height);
    for (const { pair, place } of app.pinned) {
      const spot = this.spotOfPair(pair);
      if (spot) pinMark(context, [spot.x + 10, spot.y - 10], place, colors);
    }
    const selected = this.spotOfPair(app.selected);
    if (selected) selectionRing(context, [selected.x, selected.y], 10, colors);
    const reached = this.spotAt(this.pointer.pair);
    if (reached) cursorRing(context, [reached.x, reached.y], colors);
    this.brush.draw(context, colors, axes);
  }

  /** @param {Pair | null} pair */
  spotOfPair(pair) {
    return this.spotAt(this.step.indexOf(this.app.pairIn(this.step, pair)));
  }

  /**
   * Where a pair is on the canvas; null if it is not shown.
   * @param {number} pair
   * @returns {Spot | null}
   */
  spotAt(pair) {
    const { app, axes, key, step } = this;
    if (pair < 0 || !app.shown(step).marks[pair]) return null;
    const [x, y] = [step.values[key][pair], step.values.overlap[pair]];
    return axes.has(x, y) ? { pair, x: axes.x(x), y: axes.y(y) } : null;
  }

  /** @param {boolean} isJudged */
  tell(isJudged) {
    const { step, app, key, judgment } = this;
    const colors = theme();
    const isDense = areDense(this.points);
    const titleOf = (/** @type {string} */ of) => inSentence(step.quantity(of).title);
    const { all, drawn } = this.flagged;
    const flagged = (/** @type {number} */ flag, /** @type {string} */ name) => {
      const [num, shown] = [all, drawn].map((some) => some.filter(({ pair }) => step.flag[pair] === flag).length);
      return `${shown < num ? `${shown} of ${num.toLocaleString("en")}` : num} ${name}${num === 1 ? "" : "s"}`;
    };
    const names = (/** @type {Pair | null} */ pair) => app.pairIn(step, pair)?.map((label) => step.nameOf(label)).join(" / ") ?? "";
    /** @type {Entry[]} */
    const entries = [{ sign: isDense ? "density" : "dot", text: isDense ? `pairs; lines around ${SHARES.map((share) => `${100 * share}`).join(", ")} %` : "pair" }];
    if (all.some(({ pair }) => step.flag[pair] === 1)) entries.push({ sign: "stranger", text: flagged(1, "stranger") });
    if (all.some(({ pair }) => step.flag[pair] === 2)) entries.push({ sign: "look-alike", text: flagged(2, "look-alike") });
    if (isJudged && judgment.curve.length) entries.push({ sign: "line", text: "expected overlap" });
    if (isJudged && judgment.curve.length && judgment.limits) entries.push({ sign: "band", text: "gap too small for a flag" });
    const selected = app.selected;
    if (selected) entries.push({ sign: "selected", text: `${names(selected)}${this.spotOfPair(selected) ? "" : " (not shown)"}` });
    for (const { pair, place } of app.pinned) entries.push({ sign: "pin", text: names(pair), place });
    showLegend(this.legend, entries, colors);
    const passing = app.shown(step);
    const { num, isHeld } = this.held;
    const axes = isHeld ? "axes held while playing" : `axes fit the ${num === 1 ? "one step" : `${num} steps`} shown so far`;
    const [across, up] = [step.values[key], step.values.overlap];
    const beyond = passing.pairs.filter((pair) => !Number.isNaN(across[pair] + up[pair])).length - this.points.pairs.length;
    const more = [isJudged ? "" : `flags refer to the ${titleOf(step.cosine)}`, axes, beyond ? `${beyond.toLocaleString("en")} pairs are outside of the axes` : ""];
    this.note.textContent = [count(passing), ...more].filter(Boolean).join(" · ");
    this.note.title = step.chosen;
    this.canvas.setAttribute("aria-label", `Scatter of ${count(passing)}: ${titleOf(key)} against ${titleOf("overlap")}. The arrow keys move from pair to pair, Enter selects. The table lists the same pairs.`);
  }
}
