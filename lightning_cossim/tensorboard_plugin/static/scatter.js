// Every pair: a rung (x) against the overlap (y), with what is usual, and the threshold's band around it.

import { theme } from "./colors.js";
import { canvasOf, choice, element, number, shortened, ticks } from "./dom.js";
import { RUNGS } from "./rungs.js";
import { expectedCurve } from "./step.js";

const DENSE = 20_000;
const MARGIN = { left: 46, right: 12, top: 10, bottom: 36 };
const REACH = 14;

export class Scatter {
  constructor(app) {
    this.app = app;
    this.canvas = element("canvas", {
      role: "img", tabindex: "0",
      onpointermove: (event) => this.hover(event),
      onpointerleave: () => app.tip.hide(),
      onclick: (event) => this.select(event),
    });
    this.head = element("figcaption", {});
    this.note = element("p", { class: "note" });
    this.root = element("figure", { class: "scatter" }, this.head, element("div", { class: "plot" }, this.canvas), this.note);
  }

  render(step) {
    this.step = step;
    const { state } = this.app;
    this.rung = step.rungs.includes(state.x) && state.x !== "overlap" ? state.x : step.cosine;
    const options = step.rungs.filter((rung) => rung !== "overlap").map((rung) => [rung, RUNGS[rung]?.name ?? rung]);
    this.head.replaceChildren(
      element("b", {}, "All pairs"),
      choice("x", options, this.rung, (x) => this.app.set({ x })),
      this.app.explainer(this.rung),
    );
    this.draw();
  }

  draw() {
    if (!this.step) return;
    const { step, rung } = this;
    const width = Math.max(260, this.canvas.parentElement.clientWidth);
    const height = Math.max(150, this.canvas.parentElement.clientHeight);
    const colors = theme();
    const context = canvasOf(this.canvas, width, height);
    const known = step.counted.filter((pair) => !Number.isNaN(step.values[rung][pair]) && !Number.isNaN(step.values.overlap[pair]));
    this.known = known;
    this.box = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    this.axes = this.range(known);
    this.drawAxes(context, colors);
    const judged = rung === step.cosine;
    if (judged && known.length) this.drawExpected(context, colors);
    if (known.length > DENSE) this.drawDensity(context, colors);
    else this.drawDots(context, colors);
    this.drawFlags(context, colors);
    this.drawChosen(context, colors);
    this.say(known.length, judged);
  }

  range(known) {
    const bounds = (values) => known.reduce(([low, high], pair) => [Math.min(low, values[pair]), Math.max(high, values[pair])], [Infinity, -Infinity]);
    const padded = ([low, high], least) => {
      if (!(high >= low)) return [0, 1];
      const room = Math.max((high - low) * 0.04, least);
      return [low - room, high + room];
    };
    const x = padded(bounds(this.step.values[this.rung]), 1e-3);
    const [, top] = padded(bounds(this.step.values.overlap), 1e-3);
    const { stranger } = this.step.thresholds;
    return { x, y: [0, Math.min(1.02, Math.max(top, this.rung === this.step.cosine ? stranger * 1.3 : 0))] };
  }

  x(value) {
    const [low, high] = this.axes.x;
    return this.box.left + ((value - low) / (high - low)) * this.box.width;
  }

  y(value) {
    const [low, high] = this.axes.y;
    return this.box.top + this.box.height - ((value - low) / (high - low)) * this.box.height;
  }

  at(pair) {
    return [this.x(this.step.values[this.rung][pair]), this.y(this.step.values.overlap[pair])];
  }

  drawAxes(context, colors) {
    const { left, top, width, height } = this.box;
    context.font = "12px Roboto, Arial, sans-serif";
    context.strokeStyle = colors.line;
    context.fillStyle = colors.muted;
    context.lineWidth = 1;
    context.textAlign = "center";
    for (const tick of ticks(...this.axes.x)) {
      line(context, [this.x(tick), top], [this.x(tick), top + height]);
      context.fillText(axisNumber(tick), this.x(tick), top + height + 15);
    }
    context.textAlign = "right";
    for (const tick of ticks(...this.axes.y, 4)) {
      line(context, [left, this.y(tick)], [left + width, this.y(tick)]);
      context.fillText(axisNumber(tick), left - 6, this.y(tick) + 4);
    }
    context.fillStyle = colors.ink;
    context.textAlign = "center";
    context.fillText(RUNGS[this.rung]?.name ?? this.rung, left + width / 2, top + height + 31);
    context.save();
    context.translate(11, top + height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("Probability overlap", 0, 0);
    context.restore();
  }

  drawExpected(context, colors) {
    const { left, top, width, height } = this.box;
    const curve = expectedCurve(this.step);
    if (!curve.length) return;
    const { stranger, lookalike } = this.step.thresholds;
    const [low, high] = this.axes.x;
    const corners = [[low, curve[0][1]], ...curve, [high, curve.at(-1)[1]]];
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.fillStyle = colors.band;
    context.beginPath();
    corners.forEach(([x, y]) => context.lineTo(this.x(x), this.y(y + stranger)));
    [...corners].reverse().forEach(([x, y]) => context.lineTo(this.x(x), this.y(y - lookalike)));
    context.fill();
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.5;
    context.beginPath();
    corners.forEach(([x, y]) => context.lineTo(this.x(x), this.y(y)));
    context.stroke();
    context.restore();
    context.font = "italic 12px Roboto, Arial, sans-serif";
    context.textAlign = "left";
    context.fillStyle = colors.stranger;
    context.fillText("▲ strangers", left + 6, top + 13);
    context.textAlign = "right";
    context.fillStyle = colors.lookalike;
    context.fillText("▼ look-alikes", left + width - 6, top + height - 6);
  }

  drawDots(context, colors) {
    context.fillStyle = colors.dot;
    const size = this.known.length > 2000 ? 2 : this.known.length > 300 ? 3 : 5;
    for (const pair of this.known) {
      const [x, y] = this.at(pair);
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }

  drawDensity(context, colors) {
    const cell = 4;
    const counts = new Map();
    let most = 1;
    for (const pair of this.known) {
      const [x, y] = this.at(pair);
      const key = Math.floor(x / cell) * 65_536 + Math.floor(y / cell);
      const count = (counts.get(key) ?? 0) + 1;
      counts.set(key, count);
      most = Math.max(most, count);
    }
    context.fillStyle = colors.ink;
    for (const [key, count] of counts) {
      context.globalAlpha = 0.12 + (0.78 * Math.log1p(count)) / Math.log1p(most);
      context.fillRect(Math.floor(key / 65_536) * cell, (key % 65_536) * cell, cell, cell);
    }
    context.globalAlpha = 1;
  }

  drawFlags(context, colors) {
    const size = this.step.numFlagged.stranger + this.step.numFlagged["look-alike"] > 400 ? 3 : 5;
    for (const pair of this.known) {
      const flag = this.step.flagAt(pair);
      if (flag) triangle(context, this.at(pair), size, flag === "stranger" ? -1 : 1, flag === "stranger" ? colors.stranger : colors.lookalike);
    }
  }

  drawChosen(context, colors) {
    const { state, pinned } = this.app;
    const selected = this.app.pairIn(this.step, state.pair);
    pinned.forEach(({ pair, color }) => {
      const index = this.step.indexOf(this.app.pairIn(this.step, pair));
      if (index >= 0 && this.known.includes(index)) ring(context, this.at(index), 7, color, 2);
    });
    const index = this.step.indexOf(selected);
    if (index < 0 || !this.known.includes(index)) return;
    const [x, y] = this.at(index);
    ring(context, [x, y], 9, colors.select, 2.5);
    const text = this.step.namesAt(index).map((name) => shortened(name, 18)).join(" / ");
    context.font = "bold 12px Roboto, Arial, sans-serif";
    const beside = x + 16 + context.measureText(text).width < this.box.left + this.box.width;
    context.textAlign = beside ? "left" : "right";
    context.lineWidth = 4;
    context.strokeStyle = colors.page;
    context.fillStyle = colors.ink;
    const at = [beside ? x + 13 : x - 13, Math.max(y - 8, this.box.top + 12)];
    context.strokeText(text, ...at);
    context.fillText(text, ...at);
  }

  say(num, judged) {
    const { step } = this;
    const shown = step.chosen ? `${num.toLocaleString("en")} of ${step.num_pairs.toLocaleString("en")} pairs shown` : `${num.toLocaleString("en")} pairs`;
    const line_ = judged ? "line: usual overlap; band: within the thresholds" : `flags go by the ${(RUNGS[step.cosine]?.name ?? step.cosine).toLowerCase()}`;
    this.note.textContent = `${shown} · ${line_}`;
    this.note.title = step.chosen;
    this.canvas.setAttribute("aria-label", `Scatter of ${shown}: ${RUNGS[this.rung]?.name ?? this.rung} against probability overlap. The table lists the same pairs.`);
  }

  nearest(event) {
    const frame = this.canvas.getBoundingClientRect();
    const [left, top] = [event.clientX - frame.left, event.clientY - frame.top];
    let found = -1;
    let least = REACH ** 2;
    for (const pair of this.known ?? []) {
      const [x, y] = this.at(pair);
      const distance = (x - left) ** 2 + (y - top) ** 2 - (this.step.flag[pair] ? 4 : 0);
      if (distance < least) [found, least] = [pair, distance];
    }
    return found;
  }

  hover(event) {
    const pair = this.nearest(event);
    this.canvas.style.cursor = pair < 0 ? "" : "pointer";
    if (pair < 0) this.app.tip.hide();
    else this.app.tip.show(event, this.step, pair, this.rung);
  }

  select(event) {
    const pair = this.nearest(event);
    this.app.select(this.step, pair);
  }
}

function line(context, from, to) {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function axisNumber(value) {
  return Math.abs(value) >= 10 ? number(value).replace(/\.0$/, "") : String(Number(value.toFixed(3))).replace("-", "−");
}

export function triangle(context, [x, y], size, direction, color) {
  context.fillStyle = color;
  context.beginPath();
  context.moveTo(x, y + direction * size);
  context.lineTo(x - size, y - direction * size * 0.75);
  context.lineTo(x + size, y - direction * size * 0.75);
  context.fill();
}

function ring(context, [x, y], radius, color, width) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}
