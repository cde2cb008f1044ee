// Charts of the selected and pinned pairs over all kept steps, one for each similarity and one for the overlap.

import { theme } from "./colors.js";
import { detail, verdict } from "./detail.js";
import { canvasOf, element, number, roomOf, ticks } from "./dom.js";
import { keyOf } from "./step.js";

/** @import { Colors } from "./colors.js" */
/** @import { Course } from "./data.js" */
/** @import { App, Chosen, Shown } from "./index.js" */
/** @import { Step } from "./step.js" */

/** @typedef {Shown & { history: Course | null }} Followed a shown run with its history; null while it is loading */
/** @typedef {{ left: number, top: number, width: number, height: number }} Box */
/** @typedef {{ key: string, canvas: HTMLCanvasElement, span: { first: number, last: number, box: Box } | null }} Chart the chart of a quantity, and the first and last step on its x axis */
/** @typedef {{ steps: number[], values: (number | null)[], color: string, dash: number[], width: number, faint: boolean }} Line */

const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
const MARGIN = { left: 40, right: 8, top: 8, bottom: 20 };

export class History {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Followed[]} */
    this.sides = [];
    /** @type {Chosen[]} */
    this.pairs = [];
    /** @type {Chart[]} */
    this.drawn = [];
    this.legend = element("ul", { class: "legend" });
    this.detail = element("p", { class: "detail" });
    this.charts = element("div", { class: "charts" });
    this.title = element("b", {}, "Over the steps");
    this.note = element("span", { class: "note", role: "status" });
    this.root = element("figure", { class: "history" }, element("figcaption", {}, this.title, this.note), this.legend, this.detail, this.charts);
  }

  /**
   * @param {Followed[]} sides
   * @param {Chosen[]} pairs
   */
  render(sides, pairs) {
    this.sides = sides;
    this.pairs = pairs;
    const [{ step }] = sides;
    this.note.textContent = "";
    const at = step.indexOf(pairs.find(({ isSelected }) => isSelected)?.pair ?? null);
    this.detail.textContent = at < 0 ? "" : [...detail(step, at), verdict(step, at)].filter(Boolean).join(" · ");
    this.detail.hidden = at < 0;
    if (!pairs.length) {
      this.legend.replaceChildren();
      this.drawn = [];
      this.charts.replaceChildren(element("p", { class: "hint" }, "Select a pair in any view to see its similarities over the steps here. Pin pairs in the table to compare several."));
      return;
    }
    const error = sides.map(({ history }) => history?.error).find(Boolean);
    if (sides.some(({ history }) => !history)) this.note.textContent = "reading all steps…";
    else if (error) this.note.textContent = `Cannot read the steps: ${error.message} Press Refresh to try again.`;
    this.legend.replaceChildren(...pairs.map((one) => this.entry(step, one)));
    this.drawn = [];
    this.charts.replaceChildren(...[...step.similarities, "overlap"].map((key) => this.chart(step, key)));
    this.draw();
  }

  /**
   * @param {Step} step
   * @param {Chosen} chosen
   */
  entry(step, { pair, color, dash, isSelected }) {
    const sample = element("canvas", { "aria-hidden": "true" });
    const context = canvasOf(sample, 28, 10);
    context.strokeStyle = color;
    context.lineWidth = 2;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(0, 5);
    context.lineTo(28, 5);
    context.stroke();
    const names = pair.map((label) => step.nameOf(label)).join(" / ");
    const pinned = this.app.isPinned(pair);
    const button = element("button", { type: "button", title: pinned ? "Unpin" : "Pin this pair: show it in all views", "aria-label": `${pinned ? "Unpin" : "Pin"} ${names}`, onclick: () => this.app.pin(pair) }, pinned ? "unpin" : "pin");
    return element("li", { class: isSelected ? "selected" : "" }, sample, element("span", { class: "name" }, names), button);
  }

  /**
   * @param {Step} step
   * @param {string} key
   */
  chart(step, key) {
    const quantity = step.quantity(key);
    /** @type {Chart} */
    const chart = { key, span: null, canvas: element("canvas", { role: "img", "aria-label": `${quantity.title} over the steps`, onclick: (event) => this.pick(event, chart) }) };
    this.drawn.push(chart);
    return element("div", { class: "chart" }, element("div", { class: "title" }, element("b", {}, quantity.title), this.app.explainer(quantity)), element("div", { class: "plot", "data-key": key }, chart.canvas));
  }

  draw() {
    const colors = theme();
    for (const chart of this.drawn) this.drawChart(chart, colors);
  }

  /**
   * The lines of a quantity, one for each pair and run.
   * @param {string} key
   * @param {Colors} colors
   */
  lines(key, colors) {
    /** @type {Line[]} */
    const lines = [];
    this.sides.forEach(({ history, step }, side) => {
      for (const { pair, color, dash, isSelected } of this.pairs) {
        const wanted = side ? step.pairFrom(this.sides[0].step, pair) : pair;
        const found = history?.pairs.find(({ labels }) => wanted && keyOf(labels) === keyOf(wanted));
        if (!history || !found?.values[key]) continue;
        const line = { steps: history.steps, faint: side > 0 };
        lines.push({ ...line, values: found.values[key], color, dash, width: isSelected ? 2.5 : 1.5 });
        if (key === "overlap" && isSelected) lines.push({ ...line, values: found.values.expected_overlap, color: colors.muted, dash: [1, 3], width: 1.5 });
      }
    });
    return lines;
  }

  /**
   * @param {Chart} chart
   * @param {Colors} colors
   */
  drawChart(chart, colors) {
    const [width, height] = roomOf(chart.canvas, 120, 70);
    const context = canvasOf(chart.canvas, width, height);
    const lines = this.lines(chart.key, colors);
    const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
    const steps = this.sides.flatMap(({ history }) => history?.steps ?? []);
    const box = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    context.font = "11px Roboto, Arial, sans-serif";
    context.fillStyle = colors.muted;
    if (!values.length) {
      context.fillText(steps.length ? "unknown for this pair" : "", box.left, box.top + 14);
      return;
    }
    const [low, high] = padded(Math.min(...values), Math.max(...values));
    const [first, last] = [Math.min(...steps), Math.max(...steps)];
    const x = (/** @type {number} */ step) => box.left + (last > first ? (step - first) / (last - first) : 0.5) * box.width;
    const y = (/** @type {number} */ value) => box.top + box.height - ((value - low) / (high - low)) * box.height;
    chart.span = { first, last, box };
    context.strokeStyle = colors.line;
    context.textAlign = "right";
    for (const tick of ticks(low, high, 3)) {
      context.beginPath();
      context.moveTo(box.left, y(tick));
      context.lineTo(box.left + box.width, y(tick));
      context.stroke();
      context.fillText(number(tick), box.left - 4, y(tick) + 4);
    }
    context.textAlign = "left";
    context.fillText(first.toLocaleString("en"), box.left, height - 5);
    context.textAlign = "right";
    if (last > first) context.fillText(`step ${last.toLocaleString("en")}`, box.left + box.width, height - 5);
    context.strokeStyle = colors.muted;
    context.lineWidth = 1;
    const now = x(this.sides[0].step.step);
    context.beginPath();
    context.moveTo(now, box.top);
    context.lineTo(now, box.top + box.height);
    context.stroke();
    for (const line of lines) drawLine(context, line, x, y);
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
 * @param {number} low
 * @param {number} high
 */
function padded(low, high) {
  const room = Math.max((high - low) * 0.08, Math.abs(high) * 0.02, 1e-4);
  return [low - room, high + room];
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Line} line
 * @param {(step: number) => number} x
 * @param {(value: number) => number} y
 */
function drawLine(context, { steps, values, color, dash, width, faint }, x, y) {
  context.strokeStyle = color;
  context.fillStyle = color;
  context.globalAlpha = faint ? 0.55 : 1;
  context.lineWidth = faint ? 1 : width;
  context.setLineDash(dash);
  context.beginPath();
  let drawing = false;
  steps.forEach((step, at) => {
    const value = values[at];
    if (value === null) {
      drawing = false; // unknown values interrupt the line
      return;
    }
    if (drawing) context.lineTo(x(step), y(value));
    else context.moveTo(x(step), y(value));
    drawing = true;
  });
  context.stroke();
  context.setLineDash([]);
  if (steps.length <= 40) {
    steps.forEach((step, at) => {
      const value = values[at];
      if (value === null) return;
      context.beginPath();
      context.arc(x(step), y(value), faint ? 1.5 : 2.2, 0, 2 * Math.PI);
      context.fill();
    });
  }
  context.globalAlpha = 1;
}
