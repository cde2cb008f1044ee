// Since when: the gap of the selected pair over the steps as one large chart, and each similarity as a small one.

import { theme } from "./colors.js";
import { apart, axisOf, courseOf, pieces, sinceWhen } from "./course.js";
import { canvasOf, element, number, roomOf } from "./dom.js";
import { FONT, SMALL, flagMark, line, pinMark } from "./marks.js";

/** @import { Colors } from "./colors.js" */
/** @import { Course, Values } from "./data.js" */
/** @import { App, Chosen, Shown } from "./index.js" */
/** @import { Step } from "./step.js" */

/** @typedef {Shown & { history: Course | null }} Followed a shown run with its history; null while it is loading */
/** @typedef {{ left: number, top: number, width: number, height: number }} Box */
/** @typedef {{ key: string, canvas: HTMLCanvasElement, span: { first: number, last: number, box: Box } | null }} Chart the chart of a quantity, and the first and last step on its x axis */
/** @typedef {{ context: CanvasRenderingContext2D, box: Box, x: (step: number) => number, y: (value: number) => number, colors: Colors }} Drawing */
/** @typedef {Course["pairs"][number]} OfPair */
/** @typedef {{ course: Course, of: OfPair, chosen: Chosen, isOther: boolean }} Followable a pair with its values in one of the runs */

const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
const MARGIN = { left: 44, right: 10, top: 8, bottom: 20 };
const LABELS = 64; // room for the names of lines, to the right of the large chart
const MOST_DOTS = 40;

export class History {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Followed[]} */
    this.sides = [];
    /** @type {Chosen[]} */
    this.pairs = [];
    this.drawnFor = ""; // the small charts that exist
    /** @type {Chart[]} */
    this.small = [];
    this.large = this.chart("gap");
    this.since = element("p", { class: "since" });
    this.legend = element("ul", { class: "legend" });
    this.note = element("span", { class: "note", role: "status" });
    this.charts = element("div", { class: "charts" });
    this.root = element("section", { class: "history", "aria-labelledby": "since" },
      element("div", { class: "head" }, element("h2", { id: "since" }, "Since when"), this.since, this.note),
      element("div", { class: "large plot" }, this.large.canvas), this.legend, this.charts);
  }

  /**
   * @param {string} key
   * @returns {Chart}
   */
  chart(key) {
    /** @type {Chart} */
    const chart = { key, span: null, canvas: element("canvas", { role: "img", onclick: (event) => this.pick(event, chart) }) };
    return chart;
  }

  /**
   * @param {Followed[]} sides
   * @param {Chosen[]} pairs
   */
  render(sides, pairs) {
    this.sides = sides;
    this.pairs = pairs;
    const [{ step, history }] = sides;
    const error = sides.map((side) => side.history?.error).find(Boolean);
    this.note.textContent = sides.some((side) => !side.history) ? "reading all steps…" : error ? `Cannot read the steps: ${error.message} Press Refresh to try again.` : "";
    const selected = pairs.find(({ isSelected }) => isSelected);
    const of = courseOf(history, selected?.pair ?? null);
    this.since.textContent = history && of ? sinceWhen(history.steps, of.flags) : "";
    this.legend.replaceChildren(...(pairs.length > 1 ? pairs.map((one) => this.entry(step, one)) : []));
    const keys = JSON.stringify(step.similarities);
    if (keys !== this.drawnFor) {
      this.drawnFor = keys;
      this.small = step.similarities.map((key) => this.chart(key));
      this.charts.replaceChildren(...this.small.map(({ key, canvas }) => element("div", { class: "chart" }, element("h3", { class: "title" }, this.app.explainer(step.quantity(key), step.quantity(key).title)), element("div", { class: "plot", "data-key": key }, canvas))));
    }
    this.draw();
  }

  /**
   * @param {Step} step
   * @param {Chosen} chosen
   */
  entry(step, { pair, place, color, dash, isSelected }) {
    const sample = element("canvas", { "aria-hidden": "true" });
    const context = canvasOf(sample, 40, 18);
    context.strokeStyle = isSelected ? theme().select : color;
    context.lineWidth = isSelected ? 2.5 : 1.5;
    context.setLineDash(isSelected ? [] : dash);
    line(context, [0, 9], [40, 9]);
    if (place >= 0) pinMark(context, [20, 9], place, theme());
    const names = pair.map((label) => step.nameOf(label)).join(" / ");
    const pinned = this.app.isPinned(pair);
    const select = element("button", { type: "button", class: "name", title: "Select this pair", onclick: () => this.app.set({ pair }) }, names);
    const pin = element("button", { type: "button", "aria-label": `${pinned ? "Unpin" : "Pin"} ${names}`, onclick: () => this.app.pin(pair) }, pinned ? "unpin" : "pin");
    return element("li", { class: isSelected ? "selected" : "" }, sample, select, pin);
  }

  draw() {
    if (!this.sides.length) return;
    const colors = theme();
    this.drawLarge(colors);
    for (const chart of this.small) this.drawSmall(chart, colors);
  }

  /** The chosen pairs with their values, in every run that has them; the selected pair last, so that it covers the others. */
  get followed() {
    const found = this.sides.flatMap(({ history, step }, side) => this.pairs.flatMap((chosen) => {
      const of = courseOf(history, side ? step.pairFrom(this.sides[0].step, chosen.pair) : chosen.pair);
      return history && of ? [/** @type {Followable} */ ({ course: history, of, chosen, isOther: side > 0 })] : [];
    }));
    return found.sort((one, other) => Number(one.chosen.isSelected) - Number(other.chosen.isSelected) || Number(other.isOther) - Number(one.isOther));
  }

  /** @param {Colors} colors */
  drawLarge(colors) {
    const { followed } = this;
    const [{ step }] = this.sides;
    const selected = followed.filter(({ chosen }) => chosen.isSelected);
    const values = selected.flatMap(({ of, course }) => ["overlap", "expected_overlap"].flatMap((key) => of.values[key] ?? []).concat(added(of, 1), added(of, -1), limits(of, course, 1), limits(of, course, -1)));
    const others = followed.filter(({ chosen }) => !chosen.isSelected).flatMap(({ of }) => of.values.overlap ?? []);
    const names = this.pairs.find(({ isSelected }) => isSelected)?.pair.map((label) => step.nameOf(label)).join(" / ");
    const drawing = this.start(this.large, [...values, ...others].filter((value) => value !== null), "overlap", colors, LABELS);
    this.large.canvas.setAttribute("aria-label", `Overlap and expected overlap of ${names ?? "no pair"} over the steps. ${this.since.textContent}`);
    if (!drawing) return;
    for (const one of [...selected].reverse()) drawGap(drawing, one);
    for (const { course, of, chosen, isOther } of followed) {
      if (chosen.isSelected) continue;
      drawLine(drawing, course.steps, of.values.overlap ?? [], { color: chosen.color, dash: chosen.dash, width: 1.5, isOther });
    }
    drawLabels(drawing, [...selected].reverse().flatMap((one) => drawSelected(drawing, one, this.sides.length > 1)));
  }

  /**
   * @param {Chart} chart
   * @param {Colors} colors
   */
  drawSmall(chart, colors) {
    const { key } = chart;
    const { followed } = this;
    const values = followed.flatMap(({ of }) => (of.values[key] ?? []).filter((value) => value !== null));
    const title = this.sides[0].step.quantity(key).title;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    chart.canvas.setAttribute("aria-label", values.length ? `${title} over the steps, from ${number(low)} to ${number(high)}` : `${title} over the steps: unknown`);
    const drawing = this.start(chart, values, key, colors, 0);
    if (!drawing) return;
    for (const { course, of, chosen, isOther } of followed) {
      drawLine(drawing, course.steps, of.values[key] ?? [], { color: chosen.isSelected ? colors.select : chosen.color, dash: chosen.isSelected ? [] : chosen.dash, width: chosen.isSelected ? 2 : 1.5, isOther });
    }
  }

  /**
   * Clears a chart and draws its axes; null if there is nothing to draw.
   * @param {Chart} chart
   * @param {number[]} values
   * @param {string} key
   * @param {Colors} colors
   * @param {number} labels room to the right
   * @returns {Drawing | null}
   */
  start(chart, values, key, colors, labels) {
    const [width, height] = roomOf(chart.canvas, 120, 60);
    const context = canvasOf(chart.canvas, width, height);
    const box = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right - labels, height: height - MARGIN.top - MARGIN.bottom };
    const steps = this.sides.flatMap(({ history }) => history?.steps ?? []);
    context.font = SMALL;
    context.fillStyle = colors.muted;
    chart.span = null;
    if (!values.length || !steps.length) {
      context.fillText(steps.length ? "unknown for this pair" : "", box.left, box.top + 14);
      return null;
    }
    const { low, high, ticks } = axisOf(values, this.sides[0].step.quantity(key));
    const [first, last] = [Math.min(...steps), Math.max(...steps)];
    const x = (/** @type {number} */ step) => box.left + (last > first ? (step - first) / (last - first) : 0.5) * box.width;
    const y = (/** @type {number} */ value) => box.top + box.height - ((value - low) / (high - low)) * box.height;
    chart.span = { first, last, box };
    const drawing = { context, box, x, y, colors };
    drawAxes(drawing, ticks, first, last, height);
    this.drawNow(drawing);
    return drawing;
  }

  /**
   * A line at the shown step, in each run.
   * @param {Drawing} drawing
   */
  drawNow({ context, box, x, colors }) {
    context.strokeStyle = colors.muted;
    context.lineWidth = 1;
    this.sides.forEach(({ step }, at) => {
      context.setLineDash(at ? [3, 3] : []);
      line(context, [x(step.step), box.top], [x(step.step), box.top + box.height]);
    });
    context.setLineDash([]);
  }

  /**
   * A click selects the nearest kept step.
   * @param {MouseEvent} event
   * @param {Chart} chart
   */
  pick(event, { canvas, span }) {
    if (!span) return;
    const { first, last, box } = span;
    const place = (event.clientX - canvas.getBoundingClientRect().left - box.left) / box.width;
    this.app.goNear(first + place * (last - first));
  }
}

/** @param {number} at */
export const dashOf = (at) => DASHES[at % DASHES.length];

/**
 * The overlap with its standard error added or subtracted.
 * @param {OfPair} of
 * @param {number} sign
 * @returns {Values}
 */
function added({ values: { overlap = [], overlap_error: errors = [] } }, sign) {
  return overlap.map((value, at) => (value === null ? null : value + sign * (errors[at] ?? 0)));
}

/**
 * The expected overlap with the size that a gap needs for a flag added or subtracted; null without a verdict.
 * @param {OfPair} of
 * @param {Course} course
 * @param {number} sign
 * @returns {Values}
 */
function limits({ values: { expected_overlap: expected = [] } }, { limits: { strangers, lookalikes } }, sign) {
  const limit = sign > 0 ? strangers : lookalikes;
  return expected.map((value, at) => {
    const size = limit[at] ?? null;
    return value === null || size === null ? null : Math.max(value + sign * size, 0);
  });
}

/**
 * @param {Drawing} drawing
 * @param {number[]} ticks
 * @param {number} first
 * @param {number} last
 * @param {number} height
 */
function drawAxes({ context, box, y, colors }, ticks, first, last, height) {
  context.strokeStyle = colors.line;
  context.lineWidth = 1;
  context.textAlign = "right";
  for (const tick of ticks) {
    line(context, [box.left, y(tick)], [box.left + box.width, y(tick)]);
    context.fillText(String(Number(tick.toPrecision(3))).replace("-", "−"), box.left - 5, y(tick) + 4);
  }
  context.textAlign = "left";
  context.fillText(last > first ? first.toLocaleString("en") : "", box.left, height - 5);
  context.textAlign = "right";
  context.fillText(`step ${last.toLocaleString("en")}`, box.left + box.width, height - 5);
  context.textAlign = "left";
}

/**
 * The band in which no gap is flagged, and the gap, shaded.
 * @param {Drawing} drawing
 * @param {Followable} followable
 */
function drawGap(drawing, { course, of, isOther }) {
  if (isOther) return;
  const { context, x, y, colors } = drawing;
  const { overlap = [], expected_overlap: expected = [] } = of.values;
  context.fillStyle = colors.band;
  fillBetween(context, course.steps, limits(of, course, 1), limits(of, course, -1), x, y);
  context.globalAlpha = 0.28;
  for (const [color, sign] of /** @type {const} */ ([[colors.stranger, 1], [colors.lookalike, -1]])) {
    context.fillStyle = color;
    const clipped = overlap.map((value, at) => (value === null || expected[at] === null ? null : sign > 0 ? Math.max(value, expected[at]) : Math.min(value, expected[at])));
    fillBetween(context, course.steps, clipped, expected, x, y);
  }
  context.globalAlpha = 1;
  for (const sign of [1, -1]) drawLine(drawing, course.steps, limits(of, course, sign), { color: colors.hatch, dash: [2, 3], width: 1, isOther, dots: false });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} steps
 * @param {Values} upper
 * @param {Values} lower
 * @param {Drawing["x"]} x
 * @param {Drawing["y"]} y
 */
function fillBetween(context, steps, upper, lower, x, y) {
  const both = upper.map((value, at) => (lower[at] === null ? null : value));
  const tops = pieces(steps, both);
  const bottoms = pieces(steps, lower.map((value, at) => (both[at] === null ? null : value)));
  tops.forEach((top, at) => {
    context.beginPath();
    top.forEach(([step, value]) => context.lineTo(x(step), y(value)));
    [...bottoms[at]].reverse().forEach(([step, value]) => context.lineTo(x(step), y(value)));
    context.fill();
  });
}

/**
 * The overlap of the selected pair with its error, and the expected overlap.
 * @param {Drawing} drawing
 * @param {Followable} followable
 * @param {boolean} compared
 * @returns {{ name: string, place: number }[]} names of the lines, and where they end
 */
function drawSelected(drawing, { course, of, isOther }, compared) {
  const { context, x, y, colors } = drawing;
  const { overlap = [], expected_overlap: expected = [] } = of.values;
  context.globalAlpha = isOther ? 0.12 : 0.22;
  context.fillStyle = colors.select;
  fillBetween(context, course.steps, added(of, 1), added(of, -1), x, y);
  context.globalAlpha = 1;
  drawLine(drawing, course.steps, expected, { color: colors.muted, dash: [5, 4], width: 1.5, isOther, dots: false });
  drawLine(drawing, course.steps, overlap, { color: colors.select, dash: [], width: 2.5, isOther });
  of.flags.forEach((flag, at) => {
    const value = overlap[at] ?? null;
    if (!flag || value === null) return;
    const direction = flag === "stranger" ? -1 : 1;
    flagMark(context, [x(course.steps[at]), y(value) + direction * 10], course.steps.length > MOST_DOTS ? 3 : 4.5, flag === "stranger" ? 1 : 2, flag === "stranger" ? colors.stranger : colors.lookalike, colors.page);
  });
  const letter = compared ? ` ${isOther ? "B" : "A"}` : "";
  const [value, foreseen] = [lastOf(overlap), lastOf(expected)];
  const limit = isOther || value === null || foreseen === null ? null : lastOf(limits(of, course, value < foreseen ? -1 : 1));
  const named = /** @type {[string, number | null][]} */ ([[`overlap${letter}`, value], [`expected${letter}`, foreseen], [`limit${letter}`, limit]]);
  return named.flatMap(([name, at]) => (at === null ? [] : [{ name, place: y(at) }]));
}

/**
 * The names of lines at their right ends.
 * @param {Drawing} drawing
 * @param {{ name: string, place: number }[]} labels
 */
function drawLabels({ context, box, colors }, labels) {
  const places = apart(labels.map(({ place }) => place), 13, box.top + box.height);
  context.fillStyle = colors.ink;
  context.font = FONT;
  labels.forEach(({ name }, at) => context.fillText(name, box.left + box.width + 8, places[at] + 4));
}

/** @param {Values} values */
const lastOf = (values) => [...values].reverse().find((value) => value !== null) ?? null;

/**
 * @param {Drawing} drawing
 * @param {number[]} steps
 * @param {Values} values
 * @param {{ color: string, dash: number[], width: number, isOther: boolean, dots?: boolean }} style
 */
function drawLine({ context, x, y }, steps, values, { color, dash, width, isOther, dots = steps.length <= MOST_DOTS }) {
  context.strokeStyle = color;
  context.fillStyle = color;
  context.globalAlpha = isOther ? 0.6 : 1;
  context.lineWidth = isOther ? Math.max(1, width / 2) : width;
  context.lineJoin = "round";
  for (const piece of pieces(steps, values)) {
    context.setLineDash(dash);
    context.beginPath();
    piece.forEach(([step, value]) => context.lineTo(x(step), y(value)));
    context.stroke();
    context.setLineDash([]);
    if (!dots && piece.length > 1) continue;
    for (const [step, value] of piece) {
      context.beginPath();
      context.arc(x(step), y(value), isOther ? 1.5 : 2.4, 0, 2 * Math.PI);
      context.fill();
    }
  }
  context.globalAlpha = 1;
}
