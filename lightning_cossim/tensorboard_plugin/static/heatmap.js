// One large heatmap of a quantity of all pairs of some labels, with names on both axes, zoom and pan.

import { theme } from "./colors.js";
import { canvasOf, element, number, roomOf } from "./dom.js";
import { Grid } from "./grid.js";
import { drawCells, pictureOf } from "./heatmap-cells.js";
import { drawCross, drawPinned, drawSelected } from "./heatmap-marks.js";
import { LEGEND, drawBar, drawNames, longestName } from "./heatmap-names.js";
import { HeatmapPointer } from "./heatmap-pointer.js";
import { HeatmapWords, keysOf } from "./heatmap-words.js";
import { areMany } from "./labels.js";
import { NO_MATRICES, cellsOf, matricesOf, pairOf } from "./matrices.js";
import { inSentence } from "./quantities.js";
import { scaleOf, widened } from "./scale.js";
import { matrix } from "./step.js";
import { whole, within, zoomed } from "./zoom.js";

/** @import { App } from "./app.js" */
/** @import { Compared } from "./compare.js" */
/** @import { Cell } from "./grid.js" */
/** @import { Scale } from "./scale.js" */
/** @import { Shown } from "./selection.js" */
/** @import { Step } from "./step.js" */
/** @import { View } from "./zoom.js" */

export class Heatmap {
  /** @type {Step} */
  step;
  /** @type {Shown} */
  shown;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = ""; // key of the quantity
    /** @type {Compared | null} */
    this.compared = null;
    /** @type {Compared | null} the comparison, if its changes are shown */
    this.change = null;
    this.matrices = NO_MATRICES;
    /** @type {unknown[]} what the matrices were made of */
    this.made = [];
    /** @type {Map<string, Scale>} widest scale of a quantity over the steps that were shown */
    this.widest = new Map();
    /** @type {Scale} */
    this.scale = { signed: true, limit: 1, reversed: false };
    this.view = whole(0);
    this.grid = new Grid(this.view, 0, 0, 1);
    /** @type {HTMLCanvasElement | null} */
    this.picture = null;
    this.base = element("canvas", { class: "base", "aria-hidden": "true" });
    this.canvas = element("canvas", { role: "application", tabindex: "0", "data-name": "heatmap", "aria-describedby": "heatmap-cell" });
    this.pointer = new HeatmapPointer(this);
    this.pointer.listen(this.canvas);
    this.words = new HeatmapWords(this);
    this.said = element("p", { class: "unseen", id: "heatmap-cell", role: "status" });
    this.root = element("figure", { class: "heatmap" }, ...this.words.above, element("div", { class: "plot" }, this.base, this.canvas), this.words.note, this.said);
  }

  /**
   * @param {Shown} first
   * @param {Shown | undefined} second step to compare with
   * @param {Compared | null} compared
   */
  render(first, second, compared) {
    const { app } = this;
    const { state } = app;
    const shown = second && state.side === "b" ? second : first;
    const { step, order: probable } = shown;
    this.shown = shown;
    this.step = step;
    this.compared = compared;
    this.change = compared && state.side === "" ? compared : null;
    this.key = keysOf(step).includes(state.map) ? state.map : "gap";
    const selected = app.pairIn(step, app.selected);
    const passing = app.shown(step);
    const made = [step, this.change, this.key, probable, passing, state.labels, areMany(step) && state.labels === "neighborhood" ? selected?.join() : ""];
    if (made.some((one, at) => one !== this.made[at])) {
      const before = this.matrices.order.join();
      this.matrices = matricesOf({ step, key: this.key, change: this.change, probable, labels: state.labels, selected, passing });
      if (this.matrices.order.join() !== before) this.view = whole(this.matrices.order.length);
      this.pointer.cell = null;
      this.made = made;
    }
    this.picture = null;
    this.scale = this.scaleNow();
    this.words.drawHead();
    this.draw();
  }

  /** The scale of this step or, if it is fixed, the widest one of the steps that were shown and the last step. */
  scaleNow() {
    const { step, key, shown, app, matrices: { cells, order } } = this;
    const quantity = step.quantity(key);
    const now = scaleOf(quantity, cells, order.length);
    const of = JSON.stringify([shown.run, shown.tag, key, app.state.labels, this.change?.other.step]);
    const last = this.change || shown.latest === step || !shown.latest.values[key] ? now : scaleOf(quantity, matrix(shown.latest, shown.latest.values[key], order), order.length);
    const widest = widened(this.widest.get(of), widened(now, last));
    this.widest.set(of, widest);
    return app.state.scale === "fixed" || app.isPlaying ? widest : now;
  }

  /** What the heatmap is of. */
  get title() {
    const { title } = this.step.quantity(this.key);
    return this.change ? `Change of the ${inSentence(title)}` : title;
  }

  /**
   * @param {number} factor
   * @param {{ x: number, y: number }} place
   */
  zoom(factor, place = { x: 0.5, y: 0.5 }) {
    this.look(zoomed(this.view, factor, place, this.matrices.order.length));
  }

  /** @param {View} view */
  look(view) {
    this.view = within(view, this.matrices.order.length);
    this.draw();
  }

  draw() {
    if (!this.step) return;
    const { matrices, scale, view } = this;
    const num = matrices.order.length;
    const colors = theme();
    const [width, height] = roomOf(this.base, 200, 200);
    const context = canvasOf(this.base, width, height);
    this.canvas.setAttribute("aria-label", `Heatmap of the ${inSentence(this.title)} of ${num} labels. The arrow keys move from cell to cell, + and − zoom, 0 shows all, Enter selects the pair. The table lists the same pairs.`);
    this.words.drawKey(colors);
    const longest = longestName(context, matrices);
    const [left, bottom] = [Math.min(longest, width * 0.26), Math.min(longest, height * 0.26)];
    this.grid = new Grid(view, num, left, Math.max(80, Math.min(width - left - LEGEND, height - bottom - 2)));
    if (num) {
      const drawing = { context, colors, grid: this.grid, matrices, scale };
      this.picture ??= pictureOf(matrices, scale, colors);
      drawCells(drawing, this.picture);
      drawNames(drawing, bottom);
      drawBar(drawing);
    }
    this.canvas.style.touchAction = view.num < num ? "none" : "pan-y";
    this.drawOver();
    this.words.tell();
    this.words.tellOutside();
  }

  /** Draws what changes with the pointer and the selection. */
  drawOver() {
    const { app, grid, matrices, pointer, step } = this;
    const colors = theme();
    const [width, height] = roomOf(this.canvas, 200, 200);
    const context = canvasOf(this.canvas, width, height);
    if (!grid.num) return;
    const over = { context, colors, grid, matrices };
    for (const { pair, place } of app.pinned) drawPinned(over, app.pairIn(step, pair), place);
    drawSelected(over, app.pairIn(step, app.selected));
    if (pointer.cell) drawCross(over, pointer.cell, height - grid.size - 8);
  }

  // For the pointer and the keys

  /**
   * The pair of a cell; -1 if the step lacks it.
   * @param {Cell} cell
   */
  pairAt(cell) {
    return pairOf(this.matrices, cell);
  }

  /**
   * @param {Cell} cell
   * @param {{ keep?: boolean }} [options] keep: whether a pair that is selected already stays selected
   */
  select(cell, options) {
    const pair = this.pairAt(cell);
    if (pair >= 0) this.app.select(this.step, pair, options);
  }

  /**
   * Draws the cross of a cell, and shows its tip; null removes both.
   * @param {Cell | null} cell
   * @param {{ clientX: number, clientY: number }} at
   */
  point(cell, at) {
    const { app, key, step, matrices } = this;
    this.drawOver();
    if (!cell || cell.row === cell.column) {
      app.tip.hide();
      return;
    }
    const pair = this.pairAt(cell);
    const names = this.namesOf(cell).join(" / ");
    const value = pair < 0 ? NaN : matrices.values[pair];
    if (Number.isNaN(value)) app.tip.tell(at, names, [step.chosen && pair < 0 ? "not compared: this step has a part of the pairs" : "not compared"]);
    else if (this.change) app.tip.tell(at, names, [`${inSentence(this.title)} ${number(value, { signed: true })}`, `${number(step.values[key][pair])} in A, ${number(step.values[key][pair] + value)} in B`]);
    else app.tip.show(at, step, pair, key, matrices.passes[cell.row * this.grid.num + cell.column] === 0 ? ["filtered out"] : []);
  }

  /** @param {Cell} cell */
  namesOf({ row, column }) {
    return [row, column].map((place) => this.step.nameOf(this.matrices.order[place]));
  }

  /** The cell from which the keys start: the selected pair's, otherwise the first one in view. */
  start() {
    const { app, view } = this;
    const [cell] = cellsOf(this.matrices, app.pairIn(this.step, app.selected));
    return cell ?? { row: Math.ceil(view.row), column: Math.min(Math.ceil(view.column) + 1, this.grid.num - 1) };
  }

  /** @param {Cell} cell */
  inWords(cell) {
    const names = this.namesOf(cell);
    if (cell.row === cell.column) return `${names[0]} with itself`;
    const pair = this.pairAt(cell);
    const value = pair < 0 ? NaN : this.matrices.values[pair];
    const words = Number.isNaN(value) ? "not compared" : `${inSentence(this.title)} ${number(value, { signed: true })}`;
    return `${names.join(" and ")}: ${words}${pair >= 0 && this.step.flagAt(pair) ? `, ${this.step.flagAt(pair)}` : ""}`;
  }
}
