// The pointer and the keys in a heatmap: from cell to cell, zoom, pan, selection.

import { holds, moved, reaching, whole } from "./zoom.js";

/** @import { Cell } from "./grid.js" */
/** @import { Heatmap } from "./heatmap.js" */
/** @import { Point } from "./marks.js" */
/** @import { View } from "./zoom.js" */

const CLICK = 4; // CSS pixels; a shorter drag is a click

export class HeatmapPointer {
  /** @param {Heatmap} heatmap */
  constructor(heatmap) {
    this.heatmap = heatmap;
    /** @type {Cell | null} cell under the pointer, or reached by the keys */
    this.cell = null;
    /** @type {{ x: number, y: number, view: View, moved: boolean } | null} */
    this.grabbed = null;
  }

  /** @param {HTMLCanvasElement} canvas */
  listen(canvas) {
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("pointerdown", (event) => this.grab(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => this.drop());
    canvas.addEventListener("dblclick", () => this.heatmap.look(whole(this.heatmap.grid.num)));
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("blur", () => this.leave());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  get canvas() {
    return this.heatmap.canvas;
  }

  /**
   * @param {MouseEvent} event
   * @returns {Point}
   */
  placeOf(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  }

  /** @param {MouseEvent} event */
  under(event) {
    return this.heatmap.grid.cellAt(this.placeOf(event));
  }

  /**
   * @param {Cell | null} cell
   * @param {{ clientX: number, clientY: number }} at
   */
  point(cell, at) {
    this.cell = cell;
    this.heatmap.point(cell, at);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { heatmap } = this;
    if (this.grabbed && event.buttons) {
      const { x, y, view } = this.grabbed;
      const [right, down] = [event.clientX - x, event.clientY - y];
      if (!this.grabbed.moved && Math.hypot(right, down) < CLICK) return;
      this.grabbed.moved = true;
      this.canvas.style.cursor = "grabbing";
      this.cell = null;
      heatmap.app.tip.hide();
      heatmap.look(moved(view, -down / heatmap.grid.cell, -right / heatmap.grid.cell, heatmap.grid.num));
      return;
    }
    const cell = this.under(event);
    this.canvas.style.cursor = cell && heatmap.pairAt(cell) >= 0 ? "pointer" : "";
    this.point(cell, event);
  }

  leave() {
    this.cell = null;
    this.heatmap.app.tip.hide();
    this.heatmap.drawOver();
  }

  /** @param {PointerEvent} event */
  grab(event) {
    if (event.button) return;
    this.grabbed = { x: event.clientX, y: event.clientY, view: this.heatmap.view, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  release(event) {
    const hasMoved = this.grabbed?.moved;
    this.drop();
    const cell = this.under(event);
    if (!hasMoved && cell) this.heatmap.select(cell);
  }

  drop() {
    this.grabbed = null;
    this.canvas.style.cursor = "";
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const { heatmap } = this;
    const isAll = heatmap.view.num >= heatmap.grid.num;
    if (!this.under(event) || (event.deltaY > 0 && isAll)) return; // all labels are visible: scroll the page instead
    event.preventDefault();
    heatmap.zoom(Math.exp(Math.min(Math.max(event.deltaY, -200), 200) / 400), heatmap.grid.placeOf(this.placeOf(event)));
    this.point(this.under(event), event); // another cell is under the pointer now
  }

  // Keys

  /** @param {KeyboardEvent} event */
  press(event) {
    const { heatmap } = this;
    const { grid } = heatmap;
    if (event.ctrlKey || event.altKey || event.metaKey || !grid.num) return;
    const last = grid.num - 1;
    const now = this.cell ?? heatmap.start();
    const { row, column } = now;
    /** @type {Record<string, () => Cell>} */
    const moves = {
      ArrowUp: () => ({ row: row - 1, column }), ArrowDown: () => ({ row: row + 1, column }), ArrowLeft: () => ({ row, column: column - 1 }), ArrowRight: () => ({ row, column: column + 1 }),
      Home: () => ({ row, column: 0 }), End: () => ({ row, column: last }), PageUp: () => ({ row: row - 10, column }), PageDown: () => ({ row: row + 10, column }),
    };
    /** @type {Record<string, () => unknown>} */
    const acts = {
      "+": () => heatmap.zoom(0.7, grid.middle(now)), "=": () => heatmap.zoom(0.7, grid.middle(now)), "-": () => heatmap.zoom(1 / 0.7, grid.middle(now)),
      0: () => heatmap.look(whole(last + 1)),
      Enter: () => heatmap.select(now, { keep: true }),
      " ": () => heatmap.select(now, { keep: true }),
      Escape: () => this.leave(),
    };
    if (!moves[event.key] && !acts[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    if (acts[event.key]) {
      acts[event.key]();
      if (event.key !== "Escape") this.reach(this.cell ?? now);
      return;
    }
    const to = this.cell ? moves[event.key]() : now; // the first key shows where the cell is
    this.reach({ row: Math.min(Math.max(to.row, 0), last), column: Math.min(Math.max(to.column, 0), last) });
  }

  /**
   * Moves to a cell by keys: brings it into view, shows its tip, and says what it is.
   * @param {Cell} cell
   */
  reach(cell) {
    const { heatmap } = this;
    const { row, column } = cell;
    if (!holds(heatmap.view, row, column)) heatmap.look(reaching(heatmap.view, row, column, heatmap.grid.num));
    const { grid } = heatmap;
    const bounds = this.canvas.getBoundingClientRect();
    const [x, y] = grid.corner(row, column);
    this.point(cell, { clientX: bounds.left + x + grid.cell, clientY: bounds.top + y + grid.cell });
    heatmap.said.textContent = heatmap.inWords(cell);
  }
}
