// The pointer and the keys in the scatter: from pair to pair, selection of a pair or of an area.

import { number } from "./dom.js";
import { ARROWS, nearestTo, nextTo } from "./points.js";
import { inSentence } from "./quantities.js";

/** @import { Brush } from "./brush.js" */
/** @import { Point } from "./marks.js" */
/** @import { Spot } from "./points.js" */
/** @import { Scatter } from "./scatter.js" */

const REACH = 14; // CSS pixels from the pointer to a point

export class ScatterPointer {
  /**
   * @param {Scatter} scatter
   * @param {Brush} brush
   */
  constructor(scatter, brush) {
    this.scatter = scatter;
    this.brush = brush;
    this.pair = -1; // pair that the keys have reached
  }

  /** @param {HTMLCanvasElement} canvas */
  listen(canvas) {
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerleave", () => this.scatter.app.tip.hide());
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => this.drop());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.leave());
  }

  /**
   * @param {MouseEvent} event
   * @returns {Point}
   */
  placeOf(event) {
    const frame = this.scatter.canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  /** @param {MouseEvent} event */
  pairUnder(event) {
    const { spots, step } = this.scatter;
    return nearestTo(spots, this.placeOf(event), REACH, (pair) => step.flag[pair] > 0);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { app, canvas, key, step } = this.scatter;
    if (this.brush.dragged) {
      this.brush.dragged.to = this.placeOf(event);
      this.scatter.drawOver();
      return;
    }
    const pair = this.pairUnder(event);
    canvas.style.cursor = event.shiftKey || this.brush.isOn ? "crosshair" : pair < 0 ? "" : "pointer";
    if (pair < 0) app.tip.hide();
    else app.tip.show(event, step, pair, key);
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (!this.brush.takes(event)) return;
    this.scatter.canvas.setPointerCapture(event.pointerId);
    this.brush.start(this.placeOf(event));
    this.scatter.app.tip.hide();
  }

  /** @param {PointerEvent} event */
  release(event) {
    const { scatter } = this;
    if (this.brush.dragged) {
      const isDone = this.brush.end(scatter.axes);
      scatter.drawOver();
      if (isDone) return;
    }
    const pair = this.pairUnder(event);
    if (event.button === 0 && pair >= 0) scatter.app.select(scatter.step, pair);
  }

  drop() {
    this.brush.dragged = null;
    this.scatter.drawOver();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { app, spots, step } = this.scatter;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const now = this.scatter.spotAt(this.pair);
    const start = this.scatter.spotOfPair(app.selected) ?? spots[0];
    if (event.key === "Escape" && !now && (this.brush.dragged || app.state.brush)) this.brush.drop();
    else if (!spots.length) return;
    else if (ARROWS[event.key]) this.reach(now ? nextTo(spots, now, ARROWS[event.key]) : start);
    else if (event.key === "Enter" || event.key === " ") app.select(step, (now ?? start).pair, { keep: true });
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
    const { app, canvas, key, said, step } = this.scatter;
    this.pair = pair;
    this.scatter.drawOver();
    const frame = canvas.getBoundingClientRect();
    app.tip.show({ clientX: frame.left + x, clientY: frame.top + y + 6 }, step, pair, key);
    said.textContent = `${step.namesAt(pair).join(" and ")}: ${inSentence(step.quantity(key).title)} ${number(step.values[key][pair])}, overlap ${number(step.values.overlap[pair])}${step.flagAt(pair) ? `, ${step.flagAt(pair)}` : ""}`;
  }

  leave() {
    this.pair = -1;
    this.scatter.app.tip.hide();
    if (this.scatter.step) this.scatter.drawOver();
  }
}
