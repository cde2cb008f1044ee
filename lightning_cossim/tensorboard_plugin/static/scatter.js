// Scatter of all pairs: a similarity (x) against the overlap (y), with the curve of expected overlaps and the band in which no pair is flagged.

import { theme } from "./colors.js";
import { canvasOf, choice, element, number, roomOf, shortened, ticks } from "./dom.js";
import { inSentence } from "./quantities.js";
import { expectedCurve } from "./step.js";

/** @import { Colors } from "./colors.js" */
/** @import { App, Shown } from "./index.js" */
/** @import { Step } from "./step.js" */

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {[x: number, y: number]} Point */
/** @typedef {[low: number, high: number]} Range */

const DENSE = 20_000;
const MARGIN = { left: 46, right: 12, top: 10, bottom: 36 };
const REACH = 14;

export class Scatter {
  /** @type {Step} */
  step;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = ""; // key of the similarity
    /** @type {number[]} pairs with a known similarity and overlap */
    this.known = [];
    this.box = { left: 0, top: 0, width: 1, height: 1 };
    /** @type {{ x: Range, y: Range }} */
    this.axes = { x: [0, 1], y: [0, 1] };
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

  /**
   * @param {Shown} shown
   * @param {Shown} [_other] step to compare with
   */
  render({ step }, _other) {
    this.step = step;
    const { state } = this.app;
    this.key = step.similarities.includes(state.x) ? state.x : step.cosine;
    this.head.replaceChildren(
      element("b", {}, "All pairs"),
      choice("x", step.similarities.map((key) => [key, step.quantity(key).title]), this.key, (x) => this.app.set({ x })),
      this.app.explainer(step.quantity(this.key)),
    );
    this.draw();
  }

  draw() {
    if (!this.step) return;
    const { step, key } = this;
    const [width, height] = roomOf(this.canvas, 260, 150);
    const colors = theme();
    const context = canvasOf(this.canvas, width, height);
    const known = this.app.shown(step).pairs.filter((pair) => !Number.isNaN(step.values[key][pair]) && !Number.isNaN(step.values.overlap[pair]));
    this.known = known;
    this.box = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    this.axes = this.range(known);
    this.drawAxes(context, colors);
    const judged = key === step.cosine;
    if (judged && known.length) this.drawExpected(context, colors);
    if (known.length > DENSE) this.drawDensity(context, colors);
    else this.drawDots(context, colors);
    this.drawFlags(context, colors);
    this.drawChosen(context, colors);
    this.say(known.length, judged);
  }

  /**
   * @param {number[]} known
   * @returns {{ x: Range, y: Range }}
   */
  range(known) {
    /** @type {(values: Float32Array) => Range} */
    const padded = (values) => {
      const low = known.reduce((least, pair) => Math.min(least, values[pair]), Infinity);
      const high = known.reduce((most, pair) => Math.max(most, values[pair]), -Infinity);
      if (!(high >= low)) return [0, 1];
      const room = Math.max((high - low) * 0.04, 1e-3);
      return [low - room, high + room];
    };
    const [, top] = padded(this.step.values.overlap);
    const { strangers = 0 } = this.step.limits;
    return { x: padded(this.step.values[this.key]), y: [0, Math.min(1.02, Math.max(top, this.key === this.step.cosine ? strangers * 1.3 : 0))] };
  }

  /** @param {number} value */
  x(value) {
    const [low, high] = this.axes.x;
    return this.box.left + ((value - low) / (high - low)) * this.box.width;
  }

  /** @param {number} value */
  y(value) {
    const [low, high] = this.axes.y;
    return this.box.top + this.box.height - ((value - low) / (high - low)) * this.box.height;
  }

  /**
   * @param {number} pair
   * @returns {Point}
   */
  at(pair) {
    return [this.x(this.step.values[this.key][pair]), this.y(this.step.values.overlap[pair])];
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
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
    context.fillText(this.step.quantity(this.key).title, left + width / 2, top + height + 31);
    context.save();
    context.translate(11, top + height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.step.quantity("overlap").title, 0, 0);
    context.restore();
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawExpected(context, colors) {
    const { left, top, width, height } = this.box;
    const curve = expectedCurve(this.step);
    if (!curve.length) return;
    const { strangers, lookalikes } = this.step.limits;
    const isJudged = strangers !== undefined && lookalikes !== undefined;
    const [low, high] = this.axes.x;
    const corners = [[low, curve[0][1]], ...curve, [high, curve[curve.length - 1][1]]];
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    if (isJudged) {
      context.fillStyle = colors.band;
      context.beginPath();
      corners.forEach(([x, y]) => context.lineTo(this.x(x), this.y(y + strangers)));
      [...corners].reverse().forEach(([x, y]) => context.lineTo(this.x(x), this.y(y - lookalikes)));
      context.fill();
    }
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.5;
    context.beginPath();
    corners.forEach(([x, y]) => context.lineTo(this.x(x), this.y(y)));
    context.stroke();
    context.restore();
    if (!isJudged) return;
    context.font = "italic 12px Roboto, Arial, sans-serif";
    context.textAlign = "left";
    context.fillStyle = colors.stranger;
    context.fillText("▲ strangers", left + 6, top + 13);
    context.textAlign = "right";
    context.fillStyle = colors.lookalike;
    context.fillText("▼ look-alikes", left + width - 6, top + height - 6);
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawDots(context, colors) {
    context.fillStyle = colors.dot;
    const size = this.known.length > 2000 ? 2 : this.known.length > 300 ? 3 : 5;
    for (const pair of this.known) {
      const [x, y] = this.at(pair);
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
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

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawFlags(context, colors) {
    const size = this.step.numFlagged.stranger + this.step.numFlagged.lookalike > 400 ? 3 : 5;
    for (const pair of this.known) {
      const flag = this.step.flagAt(pair);
      if (flag) triangle(context, this.at(pair), size, flag === "stranger" ? -1 : 1, flag === "stranger" ? colors.stranger : colors.lookalike);
    }
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   */
  drawChosen(context, colors) {
    const { pinned } = this.app;
    const selected = this.app.pairIn(this.step, this.app.selected);
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
    /** @type {Point} */
    const at = [beside ? x + 13 : x - 13, Math.max(y - 8, this.box.top + 12)];
    context.strokeText(text, ...at);
    context.fillText(text, ...at);
  }

  /**
   * @param {number} num
   * @param {boolean} judged
   */
  say(num, judged) {
    const { step } = this;
    const titleOf = (/** @type {string} */ key) => inSentence(step.quantity(key).title);
    const shown = step.chosen ? `${num.toLocaleString("en")} of ${step.num_pairs.toLocaleString("en")} pairs shown` : `${num.toLocaleString("en")} pairs`;
    const band = step.limits.strangers === undefined ? "" : "; band: gaps too small for a flag";
    this.note.textContent = `${shown} · ${judged ? `line: expected overlap${band}` : `flags use the ${titleOf(step.cosine)}`}`;
    this.note.title = step.chosen;
    this.canvas.setAttribute("aria-label", `Scatter of ${shown}: ${titleOf(this.key)} against ${titleOf("overlap")}. The table lists the same pairs.`);
  }

  /** @param {MouseEvent} event */
  nearest(event) {
    const frame = this.canvas.getBoundingClientRect();
    const [left, top] = [event.clientX - frame.left, event.clientY - frame.top];
    let found = -1;
    let least = REACH ** 2;
    for (const pair of this.known) {
      const [x, y] = this.at(pair);
      const distance = (x - left) ** 2 + (y - top) ** 2 - (this.step.flag[pair] ? 4 : 0);
      if (distance < least) [found, least] = [pair, distance];
    }
    return found;
  }

  /** @param {MouseEvent} event */
  hover(event) {
    const pair = this.nearest(event);
    this.canvas.style.cursor = pair < 0 ? "" : "pointer";
    if (pair < 0) this.app.tip.hide();
    else this.app.tip.show(event, this.step, pair, this.key);
  }

  /** @param {MouseEvent} event */
  select(event) {
    const pair = this.nearest(event);
    this.app.select(this.step, pair);
  }
}

/**
 * @param {Context} context
 * @param {Point} from
 * @param {Point} to
 */
function line(context, from, to) {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

/** @param {number} value */
function axisNumber(value) {
  return Math.abs(value) >= 10 ? number(value).replace(/\.0$/, "") : String(Number(value.toFixed(3))).replace("-", "−");
}

/**
 * @param {Context} context
 * @param {Point} at
 * @param {number} size
 * @param {number} direction
 * @param {string} color
 */
export function triangle(context, [x, y], size, direction, color) {
  context.fillStyle = color;
  context.beginPath();
  context.moveTo(x, y + direction * size);
  context.lineTo(x - size, y - direction * size * 0.75);
  context.lineTo(x + size, y - direction * size * 0.75);
  context.fill();
}

/**
 * @param {Context} context
 * @param {Point} at
 * @param {number} radius
 * @param {string} color
 * @param {number} width
 */
function ring(context, [x, y], radius, color, width) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}
