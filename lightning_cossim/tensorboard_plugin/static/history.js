// The selected and the pinned pairs over all kept steps, one small chart for every rung.

import { theme } from "./colors.js";
import { canvasOf, element, number, ticks } from "./dom.js";
import { RUNGS } from "./rungs.js";

const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
const MARGIN = { left: 40, right: 8, top: 8, bottom: 20 };

export class History {
  constructor(app) {
    this.app = app;
    this.legend = element("ul", { class: "legend" });
    this.charts = element("div", { class: "charts" });
    this.title = element("b", {}, "Over the steps");
    this.note = element("span", { class: "note", role: "status" });
    this.root = element("figure", { class: "history" }, element("figcaption", {}, this.title, this.note), this.legend, this.charts);
  }

  /** What is shown of each pair and run; `sides` are { step, run, tag, history } with the history null while it is on its way. */
  render(sides, pairs) {
    this.sides = sides;
    this.pairs = pairs;
    const [{ step }] = sides;
    this.note.textContent = "";
    if (!pairs.length) {
      this.legend.replaceChildren();
      this.charts.replaceChildren(element("p", { class: "hint" }, "Select a pair in any view, and its rungs over the steps are drawn here. Pin pairs in the table to compare several."));
      return;
    }
    const failed = sides.find(({ history }) => history?.error);
    if (sides.some(({ history }) => !history)) this.note.textContent = "reading all steps…";
    else if (failed) this.note.textContent = `not read: ${failed.history.error.message} Refresh tries again.`;
    this.legend.replaceChildren(...pairs.map((one) => this.entry(step, one)));
    const rungs = [...step.rungs.filter((rung) => rung !== "overlap"), "overlap"];
    this.charts.replaceChildren(...rungs.map((rung) => this.chart(rung)));
    this.draw();
  }

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
    const button = element("button", { type: "button", title: pinned ? "Unpin" : "Pin: keep this pair in all views", "aria-label": `${pinned ? "Unpin" : "Pin"} ${names}`, onclick: () => this.app.pin(pair) }, pinned ? "unpin" : "pin");
    return element("li", { class: isSelected ? "selected" : "" }, sample, element("span", { class: "name" }, names), button);
  }

  chart(rung) {
    const canvas = element("canvas", { role: "img", "aria-label": `${RUNGS[rung]?.name ?? rung} over the steps`, onclick: (event) => this.pick(event, canvas) });
    return element("div", { class: "chart" }, element("div", { class: "title" }, element("b", {}, RUNGS[rung]?.name ?? rung), this.app.explainer(rung)), element("div", { class: "plot", "data-rung": rung }, canvas));
  }

  draw() {
    if (!this.pairs?.length) return;
    const colors = theme();
    for (const plot of this.charts.querySelectorAll(".plot")) this.drawChart(plot.firstChild, plot.dataset.rung, colors);
  }

  /** The lines of a rung: of every pair, in every run. */
  lines(rung) {
    const lines = [];
    this.sides.forEach(({ history, step }, side) => {
      for (const { pair, color, dash, isSelected } of this.pairs) {
        const found = history?.pairs.find(({ labels }) => this.same(labels, side ? step.pairFrom(this.sides[0].step, pair) : pair));
        if (!found?.values[rung]) continue;
        lines.push({ steps: history.steps, values: found.values[rung], color, dash, width: isSelected ? 2.5 : 1.5, faint: side > 0 });
        if (rung === "overlap" && isSelected) lines.push({ steps: history.steps, values: found.values.expected_overlap, color: theme().muted, dash: [1, 3], width: 1.5, faint: side > 0 });
      }
    });
    return lines;
  }

  same(one, other) {
    return other && one[0] === other[0] && one[1] === other[1];
  }

  drawChart(canvas, rung, colors) {
    const room = canvas.parentElement;
    const [width, height] = [Math.max(120, room.clientWidth), Math.max(70, room.clientHeight)];
    const context = canvasOf(canvas, width, height);
    const lines = this.lines(rung);
    const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
    const steps = this.sides.flatMap(({ history }) => history?.steps ?? []);
    const box = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    context.font = "11px Roboto, Arial, sans-serif";
    context.fillStyle = colors.muted;
    if (!values.length) {
      context.fillText(steps.length ? "not known for this pair" : "", box.left, box.top + 14);
      return;
    }
    const [low, high] = padded(Math.min(...values), Math.max(...values));
    const [first, last] = [Math.min(...steps), Math.max(...steps)];
    const x = (step) => box.left + (last > first ? (step - first) / (last - first) : 0.5) * box.width;
    const y = (value) => box.top + box.height - ((value - low) / (high - low)) * box.height;
    canvas.steps = { first, last, box };
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

  /** A click goes to the nearest kept step. */
  pick(event, canvas) {
    if (!canvas.steps) return;
    const { first, last, box } = canvas.steps;
    const place = (event.clientX - canvas.getBoundingClientRect().left - box.left) / box.width;
    this.app.goNear(first + place * (last - first));
  }
}

export const dashOf = (at) => DASHES[at % DASHES.length];

function padded(low, high) {
  const room = Math.max((high - low) * 0.08, Math.abs(high) * 0.02, 1e-4);
  return [low - room, high + room];
}

function drawLine(context, { steps, values, color, dash, width, faint }, x, y) {
  context.strokeStyle = color;
  context.fillStyle = color;
  context.globalAlpha = faint ? 0.55 : 1;
  context.lineWidth = faint ? 1 : width;
  context.setLineDash(dash);
  context.beginPath();
  let drawing = false;
  steps.forEach((step, at) => {
    if (values[at] === null) {
      drawing = false; // a gap in the line is a gap in what is known
      return;
    }
    if (drawing) context.lineTo(x(step), y(values[at]));
    else context.moveTo(x(step), y(values[at]));
    drawing = true;
  });
  context.stroke();
  context.setLineDash([]);
  if (steps.length <= 40) {
    steps.forEach((step, at) => {
      if (values[at] === null) return;
      context.beginPath();
      context.arc(x(step), y(values[at]), faint ? 1.5 : 2.2, 0, 2 * Math.PI);
      context.fill();
    });
  }
  context.globalAlpha = 1;
}
