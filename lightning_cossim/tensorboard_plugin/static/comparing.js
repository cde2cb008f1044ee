// Two steps in one scatter: an arrow for each pair, from where it is in A to where it is in B.

import { Axes } from "./axes.js";
import { theme } from "./colors.js";
import { inCommon, isBeyond } from "./compare.js";
import { canvasOf, choice, element, number, roomOf } from "./dom.js";
import { showLegend } from "./legend.js";
import { cursorRing, line, pinMark, selectionRing } from "./marks.js";
import { ARROWS, nearestTo, nextTo } from "./points.js";
import { inSentence } from "./quantities.js";
import { Ranges, rangeOf, roomy } from "./ranges.js";

/** @import { App } from "./app.js" */
/** @import { Colors } from "./colors.js" */
/** @import { Compared } from "./compare.js" */
/** @import { Entry } from "./legend.js" */
/** @import { Context, Point } from "./marks.js" */
/** @import { Spot } from "./points.js" */
/** @import { Shown } from "./selection.js" */

const MOST = 200; // arrows drawn
const MARGIN = { left: 46, right: 14, top: 8, bottom: 36 };
const REACH = 14;
const HEAD = 7;
const DASH = /** @type {const} */ ([5, 3]); // of a smaller gap

/** @typedef {Spot & { from: Point, isBeyond: boolean }} Move where a pair is in B, and where it was in A */

export class Comparing {
  /** @type {Compared | null} */
  compared = null;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = "";
    /** @type {Move[]} */
    this.moves = [];
    this.num = 0; // pairs of which there could be an arrow
    this.ranges = new Ranges();
    this.axes = new Axes({ left: 0, top: 0, width: 1, height: 1 }, [0, 1], [0, 1]);
    this.cursor = -1;
    this.base = element("canvas", { class: "base", "aria-hidden": "true" });
    this.canvas = element("canvas", {
      role: "application", tabindex: "0", "data-name": "comparison", "aria-describedby": "comparison-point",
      onpointermove: (event) => this.hover(event),
      onpointerleave: () => app.tip.hide(),
      onclick: (event) => this.select(event),
      onkeydown: (event) => this.onKey(event),
      onblur: () => this.leave(),
    });
    this.head = element("figcaption", {});
    this.legend = element("ul", { class: "key" });
    this.common = element("p", { class: "common" });
    this.note = element("p", { class: "note" });
    this.said = element("p", { class: "unseen", id: "comparison-point", role: "status" });
    this.root = element("figure", { class: "comparison", hidden: true }, this.head, this.common, this.legend, element("div", { class: "plot" }, this.base, this.canvas), this.note, this.said);
  }

  /**
   * @param {Shown} shown
   * @param {Shown} other
   * @param {Compared} compared
   */
  render(shown, other, compared) {
    const { app } = this;
    const { one } = compared;
    const isNew = this.compared !== compared;
    this.compared = compared;
    const both = one.similarities.filter((key) => other.step.values[key]);
    this.key = both.includes(app.state.x) ? app.state.x : both.includes(one.cosine) ? one.cosine : both[0];
    const held = (/** @type {string} */ key) => {
      const of = [shown, other].map(({ run, step }) => ({ step: `${run} ${step.step} ${step.time}`, range: rangeOf(step.counted, step.values[key]) }));
      return this.ranges.over(JSON.stringify([shown.run, other.run, shown.tag, key]), of, app.isPlaying);
    };
    this.axes = new Axes(this.axes.box, roomy(held(this.key).range), [0, Math.min(1.02, roomy(held("overlap").range)[1])]);
    this.head.replaceChildren(element("h2", {}, "From A to B"), choice("x axis", both.map((key) => [key, one.quantity(key).title]), this.key, (x) => app.set({ x })), app.explainer(one.quantity(this.key)));
    if (isNew) this.common.textContent = inCommon(compared);
    this.draw();
  }

  draw() {
    const { compared, key, app } = this;
    if (!compared || this.root.hidden) return;
    const { one, other, there, beyond } = compared;
    const [width, height] = roomOf(this.base, 240, 150);
    const colors = theme();
    const context = canvasOf(this.base, width, height);
    const { x, y } = this.axes.ranges;
    this.axes = new Axes({ left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom }, x, y);
    const { axes } = this;
    const passing = app.shown(one);
    const pairs = compared.pairs.filter((pair) => passing.marks[pair]);
    const isKept = (/** @type {number} */ pair) => app.pairs.some((chosen) => one.indexOf(chosen.pair) === pair);
    const sorted = [...pairs].sort((first, second) => beyond[second] - beyond[first]);
    const drawn = sorted.filter((pair, at) => at < MOST || isKept(pair));
    this.num = sorted.length;
    /** @type {Move[]} */
    this.moves = drawn.map((pair) => ({
      pair, isBeyond: isBeyond(compared, pair),
      from: [axes.x(one.values[key][pair]), axes.y(one.values.overlap[pair])],
      x: axes.x(other.values[key][there[pair]]), y: axes.y(other.values.overlap[there[pair]]),
    }));
    axes.draw(context, colors, one.quantity(key).title, one.quantity("overlap").title);
    axes.within(context, () => {
      for (const move of this.moves.filter((one_) => !one_.isBeyond)) arrow(context, move, colors.dot, 1);
      for (const move of this.moves.filter((one_) => one_.isBeyond).reverse()) arrow(context, move, compared.change[move.pair] < 0 ? colors.below : colors.above, 2, compared.change[move.pair] < 0 ? DASH : []);
    });
    this.drawOver();
    this.tell(colors);
  }

  drawOver() {
    const { app, compared } = this;
    if (!compared) return;
    const colors = theme();
    const [width, height] = roomOf(this.canvas, 240, 150);
    const context = canvasOf(this.canvas, width, height);
    const moveOf = (/** @type {import("./step.js").Pair} */ pair) => this.moves.find((move) => move.pair === compared.one.indexOf(pair));
    for (const { pair, place } of app.pinned) {
      const move = moveOf(pair);
      if (move) pinMark(context, [move.x + 10, move.y - 10], place, colors);
    }
    const selected = app.selected && moveOf(app.selected);
    if (selected) {
      arrow(context, selected, colors.page, 5);
      arrow(context, selected, colors.select, 2.5);
      selectionRing(context, [selected.x, selected.y], 10, colors);
    }
    const reached = this.moves.find(({ pair }) => pair === this.cursor);
    if (reached) cursorRing(context, [reached.x, reached.y], colors);
  }

  /** @param {Colors} colors */
  tell(colors) {
    const { compared, moves, num, app } = this;
    if (!compared) return;
    const beyond = moves.filter((move) => move.isBeyond);
    const grown = beyond.filter(({ pair }) => compared.change[pair] > 0).length;
    /** @type {Entry[]} */
    const entries = [{ sign: "arrow", text: "from A to B, change within two standard errors" }];
    if (grown) entries.push({ sign: "up", text: `${grown} with a larger gap (+)` });
    if (beyond.length - grown) entries.push({ sign: "down", text: `${beyond.length - grown} with a smaller gap (−)` });
    if (app.selected) entries.push({ sign: "selected", text: app.selected.map((label) => compared.one.nameOf(label)).join(" / ") });
    showLegend(this.legend, entries, colors);
    const errors = compared.one.values.overlap_error && compared.other.values.overlap_error ? "" : " · errors are unknown: no change is marked";
    this.note.textContent = `${moves.length < num ? `The ${moves.length} pairs with the largest change of ${num.toLocaleString("en")}` : `All ${num.toLocaleString("en")} pairs`} · errors of A and B are taken as independent${errors}`;
    this.canvas.setAttribute("aria-label", `Scatter with arrows of ${moves.length} pairs from A to B. The arrow keys move from pair to pair, Enter selects. The table lists the same pairs.`);
  }

  /** @param {MouseEvent} event */
  pairUnder(event) {
    const frame = this.canvas.getBoundingClientRect();
    return nearestTo(this.moves, [event.clientX - frame.left, event.clientY - frame.top], REACH, (pair) => this.compared !== null && isBeyond(this.compared, pair));
  }

  /** @param {PointerEvent} event */
  hover(event) {
    const pair = this.pairUnder(event);
    this.canvas.style.cursor = pair < 0 ? "" : "pointer";
    if (pair < 0) this.app.tip.hide();
    else this.show(pair, event);
  }

  /**
   * @param {number} pair
   * @param {{ clientX: number, clientY: number }} at
   */
  show(pair, at) {
    if (this.compared) this.app.tip.tell(at, this.compared.one.namesAt(pair).join(" / "), this.inWords(pair));
  }

  /** @param {number} pair */
  inWords(pair) {
    const { compared, key } = this;
    if (!compared) return [];
    const { one, other, there, change, error } = compared;
    const of = (/** @type {string} */ name, signed = false) => `${inSentence(one.quantity(name).title)} ${number(one.values[name][pair], { signed })} in A, ${number(other.values[name][there[pair]], { signed })} in B`;
    const errors = Number.isNaN(error[pair]) ? "" : ` ± ${number(error[pair])}${isBeyond(compared, pair) ? ", beyond the errors of both" : ", within the errors of both"}`;
    return [of("gap", true), `change of the gap ${number(change[pair], { signed: true })}${errors}`, of("overlap"), of(key)];
  }

  /** @param {MouseEvent} event */
  select(event) {
    const pair = this.pairUnder(event);
    if (this.compared && pair >= 0) this.app.select(this.compared.one, pair, { keep: true });
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const { compared, moves, app } = this;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || !compared || !moves.length) return;
    const now = moves.find(({ pair }) => pair === this.cursor);
    const start = moves.find(({ pair }) => pair === compared.one.indexOf(app.selected)) ?? moves[0];
    if (ARROWS[event.key]) this.reach(now ? nextTo(moves, now, ARROWS[event.key]) : start);
    else if (event.key === "Enter" || event.key === " ") app.select(compared.one, (now ?? start).pair, { keep: true });
    else if (event.key === "Escape" && now) this.leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {Spot} spot */
  reach({ pair, x, y }) {
    this.cursor = pair;
    this.drawOver();
    const frame = this.canvas.getBoundingClientRect();
    this.show(pair, { clientX: frame.left + x, clientY: frame.top + y + 6 });
    this.said.textContent = [this.compared?.one.namesAt(pair).join(" and ") ?? "", ...this.inWords(pair)].join(", ");
  }

  leave() {
    this.cursor = -1;
    this.app.tip.hide();
    this.drawOver();
  }
}

/**
 * @param {Context} context
 * @param {Move} move
 * @param {string} color
 * @param {number} width
 * @param {readonly number[]} dash
 */
function arrow(context, { from: [fromX, fromY], x, y }, color, width, dash = []) {
  const [right, down] = [x - fromX, y - fromY];
  const length = Math.hypot(right, down);
  context.strokeStyle = color;
  context.fillStyle = color;
  context.lineWidth = width;
  if (length < 2) {
    context.fillRect(x - 1.5, y - 1.5, 3, 3);
    return;
  }
  const size = Math.min(HEAD, length);
  const [alongX, alongY] = [(right / length) * size, (down / length) * size];
  context.setLineDash([...dash]);
  line(context, [fromX, fromY], [x - alongX * 0.8, y - alongY * 0.8]);
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x - alongX - alongY * 0.45, y - alongY + alongX * 0.45);
  context.lineTo(x - alongX + alongY * 0.45, y - alongY - alongX * 0.45);
  context.fill();
}
