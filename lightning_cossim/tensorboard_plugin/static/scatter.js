// Scatter of all pairs: a similarity (x) against the overlap (y), with the curve of expected overlaps and the band in which no pair is flagged.

import { Axes, spaced } from "./axes.js";
import { Brush } from "./brush.js";
import { along, theme } from "./colors.js";
import { cellOf, contour, densityOf, levelsOf } from "./density.js";
import { canvasOf, choice, element, number, roomOf } from "./dom.js";
import { count } from "./filter.js";
import { showLegend } from "./legend.js";
import { SMALL, cursorRing, flagMark, line, pinMark, selectionRing } from "./marks.js";
import { ARROWS, nearestTo, nextTo } from "./points.js";
import { inSentence } from "./quantities.js";
import { Ranges, rangeOf, roomy } from "./ranges.js";
import { expectedCurve } from "./step.js";

/** @import { Colors } from "./colors.js" */
/** @import { Density } from "./density.js" */
/** @import { App, Shown } from "./index.js" */
/** @import { Entry } from "./legend.js" */
/** @import { Context, Point } from "./marks.js" */
/** @import { Spot } from "./points.js" */
/** @import { Held } from "./ranges.js" */
/** @import { Step } from "./step.js" */

const DENSE = 3_000; // more pairs than this are drawn as their density
const MOST_FLAGS = 500; // flagged pairs drawn
const CELL = 5; // CSS pixels of a cell of the density
const SHARES = [0.5, 0.8, 0.95];
const MARGIN = { left: 46, right: 92, top: 8, bottom: 36 };
const REACH = 14;

export class Scatter {
  /** @type {Step} */
  step;
  /** @type {Held} */
  held;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = ""; // key of the similarity
    /** @type {Spot[]} pairs that pass the filter and have both values */
    this.spots = [];
    /** @type {Map<number, Spot>} */
    this.spotOf = new Map();
    this.ranges = new Ranges();
    this.axes = new Axes({ left: 0, top: 0, width: 1, height: 1 }, [0, 1], [0, 1]);
    this.brush = new Brush(app);
    this.cursor = -1; // pair that the keys have reached
    this.headIs = ""; // what the head was made of
    /** @type {unknown[]} what the picture below the marks was made of */
    this.made = [];
    this.base = element("canvas", { class: "base", "aria-hidden": "true" });
    this.canvas = element("canvas", {
      role: "application", tabindex: "0", "data-name": "scatter", "aria-describedby": "scatter-point",
      onpointermove: (event) => this.move(event),
      onpointerleave: () => app.tip.hide(),
      onpointerdown: (event) => this.press(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: () => this.drop(),
      onkeydown: (event) => this.onKey(event),
      onblur: () => this.leave(),
    });
    this.head = element("figcaption", {});
    this.legend = element("ul", { class: "key" });
    this.note = element("p", { class: "note" });
    this.said = element("p", { class: "unseen", id: "scatter-point", role: "status" });
    this.root = element("figure", { class: "scatter" }, this.head, this.legend, element("div", { class: "plot" }, this.base, this.canvas), this.note, this.said);
  }

  /** @param {Shown} shown */
  render({ run, tag, step, latest }) {
    const { state, isPlaying } = this.app;
    const moved = this.step && this.cursor >= 0 ? step.indexOf(step === this.step ? step.pairAt(this.cursor) : this.step.pairAt(this.cursor)) : -1;
    this.step = step;
    this.cursor = moved;
    this.key = step.similarities.includes(state.x) ? state.x : step.cosine;
    const held = (/** @type {string} */ key) => {
      const of = [step, latest].map((one) => ({ step: `${one.step} ${one.time}`, range: one.values[key] ? rangeOf(one.counted, one.values[key]) : null }));
      return this.ranges.over(JSON.stringify([run, tag, key]), of, isPlaying);
    };
    this.held = held(this.key);
    const top = roomy(held("overlap").range)[1];
    this.axes = new Axes(this.axes.box, roomy(this.held.range), [0, Math.min(1.02, top)]);
    this.drawHead();
    this.brush.render(this.key, this.axes.ranges);
    this.draw();
  }

  drawHead() {
    const { step, key, app } = this;
    const made = JSON.stringify([key, step.similarities, step.quantity(key)]);
    if (made === this.headIs) return; // keeps the focus, and an open choice
    this.headIs = made;
    this.head.replaceChildren(
      element("h2", {}, "All pairs"),
      choice("x", step.similarities.map((one) => [one, step.quantity(one).title]), key, (x) => app.set({ x })),
      app.explainer(step.quantity(key)), ...this.brush.parts,
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
    const context = canvasOf(this.base, width, height);
    this.spots = this.spotsOf(passing.pairs);
    this.spotOf = new Map(this.spots.map((spot) => [spot.pair, spot]));
    const isJudged = key === step.cosine;
    if (isJudged) axes.within(context, () => this.drawBand(context, colors));
    axes.draw(context, colors, step.quantity(key).title, step.quantity("overlap").title);
    axes.within(context, () => {
      if (passing.pairs.length < passing.num) this.drawDots(context, colors.faint, this.spotsOf(step.counted.filter((pair) => !passing.has.has(pair))));
      if (isJudged && !this.isDense) this.drawExpected(context, colors);
      if (this.isDense) this.drawDensity(context, colors);
      else this.drawDots(context, colors.dot, this.spots);
      if (isJudged && this.isDense) this.drawExpected(context, colors);
      this.drawFlags(context, colors);
    });
    if (isJudged) this.labelLines(context, colors);
    this.drawOver();
    this.tell(isJudged);
  }

  get isDense() {
    return this.spots.length > DENSE;
  }

  /**
   * Where pairs with both values are on the canvas, those outside of the axes left out.
   * @param {readonly number[]} pairs
   * @returns {Spot[]}
   */
  spotsOf(pairs) {
    const { axes, step, key } = this;
    const [across, up] = [step.values[key], step.values.overlap];
    const spots = [];
    for (const pair of pairs) {
      if (axes.has(across[pair], up[pair])) spots.push({ pair, x: axes.x(across[pair]), y: axes.y(up[pair]) }); // NaN is nowhere
    }
    return spots;
  }

  /** The corners of the curve of expected overlaps over the whole axis. */
  get curve() {
    const curve = expectedCurve(this.step);
    if (!curve.length) return [];
    const [low, high] = this.axes.ranges.x;
    return [[low, curve[0][1]], ...curve, [high, curve[curve.length - 1][1]]];
  }

  /** The limits of gaps; null if pairs are not judged. */
  get limits() {
    const { strangers, lookalikes } = this.step.limits;
    return strangers === undefined || lookalikes === undefined ? null : { strangers, lookalikes };
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawBand(context, colors) {
    const { axes, curve, limits } = this;
    if (!limits || !curve.length) return;
    context.fillStyle = colors.band;
    context.beginPath();
    curve.forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y + limits.strangers)));
    [...curve].reverse().forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y - limits.lookalikes)));
    context.fill();
    context.strokeStyle = colors.edge;
    context.lineWidth = 1;
    context.setLineDash([4, 3]);
    for (const shift of [limits.strangers, -limits.lookalikes]) {
      context.beginPath();
      curve.forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y + shift)));
      context.stroke();
    }
    context.setLineDash([]);
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawExpected(context, colors) {
    const { axes, curve } = this;
    for (const [color, width] of /** @type {const} */ ([[colors.page, 4], [colors.ink, 1.5]])) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      curve.forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y)));
      context.stroke();
    }
  }

  /**
   * Writes beside the right end of each line what it is.
   * @param {Context} context
   * @param {Colors} colors
   */
  labelLines(context, colors) {
    const { axes, curve, limits } = this;
    if (!curve.length) return;
    const end = curve[curve.length - 1][1];
    const { top, left, width, height } = axes.box;
    const labels = limits
      ? [{ at: end + limits.strangers, text: `▲ above +${number(limits.strangers)}`, color: colors.stranger }, { at: end, text: "expected", color: colors.ink }, { at: end - limits.lookalikes, text: `▼ below −${number(limits.lookalikes)}`, color: colors.lookalike }]
      : [{ at: end, text: "expected", color: colors.ink }];
    const wanted = labels.map(({ at }) => Math.min(Math.max(axes.y(at), top), top + height));
    const places = spaced(wanted, 14, [top + 6, top + height - 6]);
    context.font = SMALL;
    context.textAlign = "left";
    context.textBaseline = "middle";
    labels.forEach(({ text, color }, at) => {
      context.strokeStyle = colors.edge;
      context.lineWidth = 1;
      line(context, [left + width, wanted[at]], [left + width + 7, places[at]]);
      context.fillStyle = color;
      context.fillText(text, left + width + 10, places[at]);
    });
    context.textBaseline = "alphabetic";
  }

  /**
   * @param {Context} context
   * @param {string} color
   * @param {readonly Spot[]} spots
   */
  drawDots(context, color, spots) {
    context.fillStyle = color;
    const size = this.spots.length > 2000 ? 2.5 : this.spots.length > 300 ? 3 : 5;
    for (const { x, y } of spots) context.fillRect(x - size / 2, y - size / 2, size, size);
  }

  /**
   * Draws the density with contours, and the pairs outside of the last contour as points.
   * @param {Context} context
   * @param {Colors} colors
   */
  drawDensity(context, colors) {
    const { left, top, width, height } = this.axes.box;
    const [columns, rows] = [Math.max(1, Math.round(width / CELL)), Math.max(1, Math.round(height / CELL))];
    const [across, up] = [Float32Array.from(this.spots, ({ x }) => (x - left) / width), Float32Array.from(this.spots, ({ y }) => (y - top) / height)];
    const density = densityOf(across, up, columns, rows);
    const levels = levelsOf(density, SHARES);
    const last = levels[levels.length - 1];
    context.imageSmoothingEnabled = true;
    context.drawImage(shaded(density, last, colors.density), left, top, width, height);
    const outside = this.spots.filter((_, at) => density.cells[cellOf(across[at], up[at], columns, rows)] < last);
    this.drawDots(context, colors.dot, outside);
    context.strokeStyle = colors.ink;
    context.lineWidth = 0.8;
    context.beginPath();
    for (const level of levels) {
      for (const [[x, y], [toX, toY]] of contour(density, level)) {
        context.moveTo(left + x * width, top + y * height);
        context.lineTo(left + toX * width, top + toY * height);
      }
    }
    context.stroke();
  }

  /** Flagged pairs that pass the filter, the largest gaps last, so that they cover the others. */
  get flagged() {
    const { gap } = this.step.values;
    const all = this.spots.filter(({ pair }) => this.step.flag[pair]).sort((one, other) => Math.abs(gap[one.pair]) - Math.abs(gap[other.pair]));
    return { all, drawn: all.slice(-MOST_FLAGS) };
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawFlags(context, colors) {
    const { drawn } = this.flagged;
    const size = drawn.length > 200 ? 4 : 5.5;
    for (const { pair, x, y } of drawn) {
      const flag = this.step.flag[pair];
      flagMark(context, [x, y], size, flag, flag === 1 ? colors.stranger : colors.lookalike, colors.page);
    }
  }

  /** Draws what changes with the pointer, the keys and the selection. */
  drawOver() {
    const { axes, app, step } = this;
    const colors = theme();
    const [width, height] = roomOf(this.canvas, 240, 150);
    const context = canvasOf(this.canvas, width, height);
    for (const { pair, place } of app.pinned) {
      const spot = this.spotOfPair(pair);
      if (spot) pinMark(context, [spot.x + 10, spot.y - 10], place, colors);
    }
    const selected = this.spotOfPair(app.selected);
    if (selected) selectionRing(context, [selected.x, selected.y], 10, colors);
    const reached = this.spotOf.get(this.cursor);
    if (reached && step) cursorRing(context, [reached.x, reached.y], colors);
    this.brush.draw(context, colors, axes);
  }

  /** @param {import("./step.js").Pair | null} pair */
  spotOfPair(pair) {
    const there = this.app.pairIn(this.step, pair);
    return there ? this.spotOf.get(this.step.indexOf(there)) : undefined;
  }

  /** @param {boolean} isJudged */
  tell(isJudged) {
    const { step, app, key } = this;
    const colors = theme();
    const titleOf = (/** @type {string} */ of) => inSentence(step.quantity(of).title);
    const { all, drawn } = this.flagged;
    const flagged = (/** @type {number} */ flag, /** @type {string} */ name) => {
      const [num, shown] = [all, drawn].map((some) => some.filter(({ pair }) => step.flag[pair] === flag).length);
      return `${shown < num ? `${shown} of ${num.toLocaleString("en")}` : num} ${name}${num === 1 ? "" : "s"}`;
    };
    const names = (/** @type {import("./step.js").Pair | null} */ pair) => app.pairIn(step, pair)?.map((label) => step.nameOf(label)).join(" / ") ?? "";
    /** @type {Entry[]} */
    const entries = [{ sign: this.isDense ? "density" : "dot", text: this.isDense ? `pairs; lines around ${SHARES.map((share) => `${100 * share}`).join(", ")} %` : "pair" }];
    if (all.some(({ pair }) => step.flag[pair] === 1)) entries.push({ sign: "stranger", text: flagged(1, "stranger") });
    if (all.some(({ pair }) => step.flag[pair] === 2)) entries.push({ sign: "look-alike", text: flagged(2, "look-alike") });
    if (isJudged && this.curve.length) entries.push({ sign: "line", text: "expected overlap" });
    if (isJudged && this.curve.length && this.limits) entries.push({ sign: "band", text: "gap too small for a flag" });
    const selected = app.selected;
    if (selected) entries.push({ sign: "selected", text: `${names(selected)}${this.spotOfPair(selected) ? "" : " (not shown)"}` });
    for (const { pair, place } of app.pinned) entries.push({ sign: "pin", text: names(pair), place });
    showLegend(this.legend, entries, colors);
    const passing = app.shown(step);
    const { num, isHeld } = this.held;
    const axes = isHeld ? "axes held while playing" : `axes fit the ${num === 1 ? "one step" : `${num} steps`} shown so far`;
    const known = passing.pairs.filter((pair) => !Number.isNaN(step.values[key][pair]) && !Number.isNaN(step.values.overlap[pair]));
    const beyond = known.length - this.spots.length;
    const more = [isJudged ? "" : `flags refer to the ${titleOf(step.cosine)}`, axes, beyond ? `${beyond.toLocaleString("en")} pairs are outside of the axes` : ""];
    this.note.textContent = [count(passing), ...more].filter(Boolean).join(" · ");
    this.note.title = step.chosen;
    this.canvas.setAttribute("aria-label", `Scatter of ${count(passing)}: ${titleOf(key)} against ${titleOf("overlap")}. The arrow keys move from pair to pair, Enter selects. The table lists the same pairs.`);
  }

  // Pointer

  /**
   * @param {MouseEvent} event
   * @returns {Point}
   */
  placeOf(event) {
    const frame = this.canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  /** @param {MouseEvent} event */
  pairUnder(event) {
    return nearestTo(this.spots, this.placeOf(event), REACH, (pair) => this.step.flag[pair] > 0);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.brush.dragged) {
      this.brush.dragged.to = this.placeOf(event);
      this.drawOver();
      return;
    }
    const pair = this.pairUnder(event);
    this.canvas.style.cursor = event.shiftKey || this.brush.isOn ? "crosshair" : pair < 0 ? "" : "pointer";
    if (pair < 0) this.app.tip.hide();
    else this.app.tip.show(event, this.step, pair, this.key);
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (!this.brush.takes(event)) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.brush.start(this.placeOf(event));
    this.app.tip.hide();
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (this.brush.dragged) {
      const isDone = this.brush.end(this.axes);
      this.drawOver();
      if (isDone) return;
    }
    const pair = this.pairUnder(event);
    if (event.button === 0 && pair >= 0) this.app.select(this.step, pair);
  }

  drop() {
    this.brush.dragged = null;
    this.drawOver();
  }

  // Keys

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || !this.spots.length) return;
    const now = this.spotOf.get(this.cursor) ?? null;
    const start = this.spotOfPair(this.app.selected) ?? this.spots[0];
    if (ARROWS[event.key]) this.reach(now ? nextTo(this.spots, now, ARROWS[event.key]) : start);
    else if (event.key === "Enter" || event.key === " ") this.app.select(this.step, (now ?? start).pair, { keep: true });
    else if (event.key === "Escape" && now) this.leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Moves to a point by keys: marks it, shows its tip, and says what it is.
   * @param {Spot} spot
   */
  reach({ pair, x, y }) {
    const { step, key } = this;
    this.cursor = pair;
    this.drawOver();
    const frame = this.canvas.getBoundingClientRect();
    this.app.tip.show({ clientX: frame.left + x, clientY: frame.top + y + 6 }, step, pair, key);
    this.said.textContent = `${step.namesAt(pair).join(" and ")}: ${inSentence(step.quantity(key).title)} ${number(step.values[key][pair])}, overlap ${number(step.values.overlap[pair])}${step.flagAt(pair) ? `, ${step.flagAt(pair)}` : ""}`;
  }

  leave() {
    this.cursor = -1;
    this.app.tip.hide();
    if (this.step) this.drawOver();
  }
}

/**
 * A picture of a density, one pixel a cell: darker, or on a dark page paler, where there are more points.
 * @param {Density} density
 * @param {number} least density that is shown
 * @param {readonly string[]} stops
 */
function shaded({ columns, rows, cells, most }, least, stops) {
  const image = new ImageData(columns, rows);
  cells.forEach((value, cell) => {
    if (value >= least) image.data.set([...along(stops, Math.log1p(value) / Math.log1p(most)), 255], cell * 4);
  });
  const canvas = element("canvas", { width: columns, height: rows });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}
