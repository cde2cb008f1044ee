// Since when: the gap of the selected pair over the steps as one large chart, and each similarity as a small one.

import { theme } from "./colors.js";
import { axisOf, courseOf, sinceWhen } from "./course.js";
import { canvasOf, element, number, roomOf } from "./dom.js";
import { added, drawAxes, drawGap, drawLabels, drawLine, drawSelected, limits } from "./history-lines.js";
import { SMALL, line, pinMark } from "./marks.js";

/** @import { App } from "./app.js" */
/** @import { Colors } from "./colors.js" */
/** @import { Course } from "./data.js" */
/** @import { Drawing, Followable } from "./history-lines.js" */
/** @import { Box } from "./marks.js" */
/** @import { Chosen, Shown } from "./selection.js" */
/** @import { Step } from "./step.js" */

/** @typedef {Shown & { history: Course | null }} Followed a shown run with its history; null while it is loading */
/** @typedef {{ key: string, canvas: HTMLCanvasElement, now: HTMLElement[], span: { first: number, last: number, box: Box } | null }} Chart the chart of a quantity, the lines at the steps shown, and the first and last step on its x axis */

const MARGIN = { left: 44, right: 10, top: 8, bottom: 20 };
const LABELS = 64; // room for the names of lines, to the right of the large chart

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
    /** @type {unknown[]} what the charts were made of */
    this.made = [];
    this.since = element("p", { class: "since" });
    this.legend = element("ul", { class: "legend" });
    this.note = element("span", { class: "note", role: "status" });
    this.charts = element("div", { class: "charts" });
    this.root = element("section", { class: "history", "aria-labelledby": "since" },
      element("div", { class: "head" }, element("h2", { id: "since" }, "Since when"), this.since, this.note),
      element("div", { class: "large plot" }, this.large.canvas, ...this.large.now), this.legend, this.charts);
  }

  /**
   * @param {string} key
   * @returns {Chart}
   */
  chart(key) {
    /** @type {Chart} */
    const chart = { key, span: null, canvas: element("canvas", { role: "img", onclick: (event) => this.pick(event, chart) }), now: [0, 1].map(() => element("i", { class: "now-line" })) };
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
      this.charts.replaceChildren(...this.small.map(({ key, canvas, now }) => element("div", { class: "chart" }, element("h3", { class: "title" }, this.app.explainer(step.quantity(key), step.quantity(key).title)), element("div", { class: "plot", "data-key": key }, canvas, ...now))));
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

  /** Draws the charts, which stay while the steps change, and moves the lines at the shown steps. */
  draw() {
    if (!this.sides.length) return;
    const { pairs, sides, small, large } = this;
    const [{ step }] = sides;
    const colors = theme();
    const charts = [large, ...small];
    const bounds = step.similarities.map((key) => [step.quantity(key).low, step.quantity(key).high]);
    const made = [colors.page, colors.ink, JSON.stringify([pairs, bounds, charts.map(({ canvas }) => roomOf(canvas, 0, 0))]), small, ...sides.map(({ history }) => history), ...(sides.length > 1 ? sides.map((side) => side.step) : [])];
    if (made.length !== this.made.length || made.some((one, at) => one !== this.made[at])) {
      this.made = made;
      this.drawLarge(colors);
      for (const chart of small) this.drawSmall(chart, colors);
    }
    for (const chart of charts) this.drawNow(chart);
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
    return drawing;
  }

  /**
   * A line at the shown step of each run.
   * @param {Chart} chart
   */
  drawNow({ now, span }) {
    now.forEach((line, at) => {
      const side = this.sides[at];
      line.hidden = !span || !side;
      if (!span || !side) return;
      const { first, last, box } = span;
      const share = last > first ? (side.step.step - first) / (last - first) : 0.5;
      line.style.cssText = `top: ${box.top}px; height: ${box.height}px; transform: translateX(${box.left + share * box.width}px)`;
    });
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
