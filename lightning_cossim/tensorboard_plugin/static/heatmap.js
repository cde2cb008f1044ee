// One large heatmap of a quantity of all pairs of some labels, with names on both axes, zoom and pan.

import { along, inkOn, theme } from "./colors.js";
import { changeOf } from "./compare.js";
import { button, canvasOf, element, keepArrows, number, roomOf, select, shortened, ticks } from "./dom.js";
import { areMany, chosenLabels, narrowed } from "./labels.js";
import { showLegend } from "./legend.js";
import { SMALL, dots, flagMark, frame, hatch, line, pinMark } from "./marks.js";
import { inSentence } from "./quantities.js";
import { placeOf, scaleOf, widened } from "./scale.js";
import { matrix } from "./step.js";
import { holds, moved, reaching, whole, within, zoomed } from "./zoom.js";

/** @import { Colors } from "./colors.js" */
/** @import { Compared } from "./compare.js" */
/** @import { App, Shown } from "./index.js" */
/** @import { Labels } from "./link.js" */
/** @import { Entry } from "./legend.js" */
/** @import { Context, Point } from "./marks.js" */
/** @import { Scale } from "./scale.js" */
/** @import { Step } from "./step.js" */
/** @import { View } from "./zoom.js" */

/** @typedef {{ row: number, column: number }} Cell */

const NAME = 11; // CSS pixels that a name needs across
const FLAGGED = 8; // smallest cell with a triangle
const SIGNED = 11; // smallest cell with a minus sign
const WRITTEN = 34; // smallest cell with its value
/** @type {[string, string][]} */
const SIDES = [["", "B minus A"], ["a", "A"], ["b", "B"]];
const BAR = 12;
const LEGEND = 58;
/** @type {[Labels, string][]} */
const LABELS = [["neighborhood", "neighborhood of the selected pair"], ["probable", "most probable"], ["flagged", "flagged"]];

export class Heatmap {
  /** @type {Step} */
  step;
  /** @type {Shown} */
  shown;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = ""; // key of the quantity
    /** @type {number[]} labels, as rows of the head */
    this.order = [];
    this.words = ""; // how the labels were chosen
    /** @type {Compared | null} */
    this.compared = null;
    /** @type {Compared | null} the comparison, if its changes are shown */
    this.change = null;
    /** @type {Float32Array} */
    this.values = new Float32Array(); // of each pair
    this.cells = new Float32Array();
    this.flags = new Float32Array();
    this.passes = new Float32Array();
    /** @type {Map<string, Scale>} widest scale of a quantity over the steps that were shown */
    this.widest = new Map();
    /** @type {Scale} */
    this.scale = { signed: true, limit: 1, reversed: false };
    this.headIs = ""; // what the head was made of
    this.view = whole(0);
    this.box = { left: 0, size: 1, cell: 1 };
    /** @type {unknown[]} what `cells` were made of */
    this.made = [];
    /** @type {HTMLCanvasElement | null} */
    this.image = null;
    /** @type {Cell | null} cell under the pointer, or reached by the keys */
    this.cursor = null;
    /** @type {{ x: number, y: number, view: View, moved: boolean } | null} */
    this.grabbed = null;
    this.base = element("canvas", { class: "base", "aria-hidden": "true" });
    this.canvas = element("canvas", {
      role: "application", tabindex: "0", "data-name": "heatmap", "aria-describedby": "heatmap-cell",
      onpointermove: (event) => this.move(event),
      onpointerleave: () => this.leave(),
      onpointerdown: (event) => this.grab(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: () => this.drop(),
      ondblclick: () => this.look(whole(this.order.length)),
      onkeydown: (event) => this.press(event),
      onblur: () => this.leave(),
    });
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.head = element("figcaption", {});
    this.note = element("p", { class: "note" });
    this.outside = element("p", { class: "outside", hidden: true });
    this.legend = element("ul", { class: "key" });
    this.said = element("p", { class: "unseen", id: "heatmap-cell", role: "status" });
    this.root = element("figure", { class: "heatmap" }, this.head, this.legend, this.outside, element("div", { class: "plot" }, this.base, this.canvas), this.note, this.said);
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
      const { order, words } = chosenLabels(step, probable, state.labels, selected);
      const kept = narrowed(step, order, passing);
      if (kept.join() !== this.order.join()) this.view = whole(kept.length);
      this.order = kept;
      this.words = kept.length < order.length ? `${kept.length} labels with pairs that pass the filter; before the filter, ${words}` : words;
      this.values = this.change ? changeOf(this.change, this.key) : step.values[this.key];
      this.cells = matrix(step, this.values, kept);
      this.flags = matrix(step, this.change ? new Uint8Array(step.num) : step.flag, kept);
      this.passes = matrix(step, Uint8Array.from(step.row, (_, pair) => Number(passing.has.has(pair))), kept);
      this.cursor = null;
      this.made = made;
    }
    this.image = null;
    this.scale = this.scaleNow();
    this.drawHead();
    this.draw();
  }

  /** The scale of this step or, if it is fixed, the widest one of the steps that were shown and the last step. */
  scaleNow() {
    const { step, key, shown, order, app } = this;
    const quantity = step.quantity(key);
    const now = scaleOf(quantity, this.cells, order.length);
    const of = JSON.stringify([shown.run, shown.tag, key, app.state.labels, this.change?.other.step]);
    const last = this.change || shown.latest === step || !shown.latest.values[key] ? now : scaleOf(quantity, matrix(shown.latest, shown.latest.values[key], order), order.length);
    const widest = widened(this.widest.get(of), widened(now, last));
    this.widest.set(of, widest);
    return this.isFixed ? widest : now;
  }

  get isFixed() {
    return this.app.state.scale === "fixed" || this.app.isPlaying;
  }

  drawHead() {
    const { app, step } = this;
    const { state } = app;
    const made = JSON.stringify([this.key, step.similarities, this.title, Boolean(this.compared), state.side, areMany(step), state.labels, state.scale]);
    if (made === this.headIs) return; // keeps the focus, and an open choice
    this.headIs = made;
    const parts = keysOf(step).map((key) => {
      const { title, column } = step.quantity(key);
      const input = element("input", { type: "radio", name: "map", value: key, checked: key === this.key, "aria-label": title, "data-name": `map ${key}`, onchange: () => app.set({ map: key }) });
      return element("label", { title, class: key === this.key ? "chosen" : "" }, input, element("span", {}, column));
    });
    this.head.replaceChildren(
      element("h2", {}, this.title), app.explainer(step.quantity(this.key)),
      ...(this.compared ? [element("label", { class: "control" }, element("span", {}, "Of"), select("Step of the heatmap", SIDES, state.side, (side) => app.set({ side })))] : []),
      element("span", { class: "switch", role: "radiogroup", "aria-label": "Quantity of the heatmap", onkeydown: keepArrows }, ...parts),
      ...(areMany(step) ? [element("label", { class: "control" }, element("span", {}, "Labels"), select("Labels of the heatmap", LABELS, state.labels, (labels) => app.set({ labels: /** @type {Labels} */ (labels) })))] : []),
      element("label", { class: "control" }, element("span", {}, "Scale"), select("Scale of the heatmap", [["", "of this step"], ["fixed", "fixed over steps"]], state.scale, (scale) => app.set({ scale }))),
      element("span", { class: "buttons" },
        button("+", "Zoom in", () => this.zoom(0.6)),
        button("−", "Zoom out", () => this.zoom(1 / 0.6)),
        button("All", "Show all labels", () => this.look(whole(this.order.length)))),
    );
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
    this.look(zoomed(this.view, factor, place, this.order.length));
  }

  /** @param {View} view */
  look(view) {
    this.view = within(view, this.order.length);
    this.draw();
  }

  draw() {
    if (!this.step) return;
    const colors = theme();
    const num = this.order.length;
    const [width, height] = roomOf(this.base, 200, 200);
    const context = canvasOf(this.base, width, height);
    this.canvas.setAttribute("aria-label", this.label());
    this.drawKey(colors);
    if (num) {
      context.font = SMALL;
      const longest = this.order.reduce((most, label) => Math.max(most, context.measureText(shortened(this.step.nameOf(label), 20)).width), 0) + 8;
      const [left, bottom] = [Math.min(longest, width * 0.26), Math.min(longest, height * 0.26)];
      const size = Math.max(80, Math.min(width - left - LEGEND, height - bottom - 2));
      this.box = { left, size, cell: size / this.view.num };
      this.image ??= this.paint(colors);
      context.imageSmoothingEnabled = false;
      context.drawImage(this.image, this.view.column, this.view.row, this.view.num, this.view.num, left, 0, size, size);
      this.clipped(context, () => {
        this.drawAbsent(context, colors);
        this.drawCells(context, colors);
      });
      context.strokeStyle = colors.edge;
      context.lineWidth = 1;
      context.strokeRect(left - 0.5, -0.5, size + 1, size + 1);
      this.drawNames(context, colors, bottom);
      this.drawBar(context, colors);
    }
    this.canvas.style.touchAction = this.view.num < num ? "none" : "pan-y";
    this.drawOver();
    this.tell();
    this.tellOutside();
  }

  label() {
    const { order } = this;
    return `Heatmap of the ${inSentence(this.title)} of ${order.length} labels. The arrow keys move from cell to cell, + and − zoom, 0 shows all, Enter selects the pair. The table lists the same pairs.`;
  }

  /** @param {Colors} colors */
  paint(colors) {
    const num = this.order.length;
    const image = new ImageData(num, num);
    const table = Array.from({ length: 256 }, (_, at) => along(colors.heat, at / 255));
    for (let cell = 0; cell < this.cells.length; cell++) {
      const value = this.cells[cell];
      const [red, green, blue] = Number.isNaN(value) ? [0, 0, 0] : table[Math.round(placeOf(this.scale, value) * 255)];
      image.data[cell * 4] = red;
      image.data[cell * 4 + 1] = green;
      image.data[cell * 4 + 2] = blue;
      image.data[cell * 4 + 3] = Number.isNaN(value) ? 0 : 255;
    }
    const canvas = element("canvas", { width: num, height: num });
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    return canvas;
  }

  /**
   * Calls `draw` for drawing within the matrix.
   * @param {Context} context
   * @param {() => void} draw
   */
  clipped(context, draw) {
    const { left, size } = this.box;
    context.save();
    context.beginPath();
    context.rect(left, 0, size, size);
    context.clip();
    draw();
    context.restore();
  }

  /** Rows and columns in view, as [first, last]. */
  get rows() {
    return [Math.floor(this.view.row), Math.min(Math.ceil(this.view.row + this.view.num), this.order.length) - 1];
  }

  get columns() {
    return [Math.floor(this.view.column), Math.min(Math.ceil(this.view.column + this.view.num), this.order.length) - 1];
  }

  /**
   * The left upper corner of a cell.
   * @param {number} row
   * @param {number} column
   * @returns {Point}
   */
  corner(row, column) {
    const { left, cell } = this.box;
    return [left + (column - this.view.column) * cell, (row - this.view.row) * cell];
  }

  /**
   * Hatches cells without a value, dots cells that the filter leaves out, and grays the diagonal.
   * @param {Context} context
   * @param {Colors} colors
   */
  drawAbsent(context, colors) {
    const num = this.order.length;
    const { cell } = this.box;
    const kinds = { hatch: new Path2D(), dots: new Path2D(), diagonal: new Path2D() };
    const kindAt = (/** @type {number} */ row, /** @type {number} */ column) => {
      const at = row * num + column;
      return row === column ? "diagonal" : Number.isNaN(this.cells[at]) ? "hatch" : this.passes[at] === 0 ? "dots" : null;
    };
    const [top, last] = this.rows;
    const [first, end] = this.columns;
    for (let row = top; row <= last; row++) {
      let start = first;
      for (let column = first; column <= end; column++) {
        const kind = kindAt(row, column);
        if (column < end && kindAt(row, column + 1) === kind) continue;
        if (kind) kinds[kind].rect(...this.corner(row, start), (column - start + 1) * cell, cell);
        start = column + 1;
      }
    }
    context.fillStyle = hatch(context, colors.hatch, colors.page);
    context.fill(kinds.hatch);
    context.fillStyle = dots(context, colors.hatch, colors.page);
    context.fill(kinds.dots);
    context.fillStyle = colors.faint;
    context.fill(kinds.diagonal);
  }

  /**
   * Draws flags, minus signs and values into cells that are large enough.
   * @param {Context} context
   * @param {Colors} colors
   */
  drawCells(context, colors) {
    const { cell } = this.box;
    if (cell < FLAGGED) return;
    const num = this.order.length;
    const [top, last] = this.rows;
    const [first, end] = this.columns;
    const { limit, signed } = this.scale;
    const decimals = limit < 10 ? 2 : limit < 100 ? 1 : 0;
    context.font = SMALL;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let row = top; row <= last; row++) {
      for (let column = first; column <= end; column++) {
        const at = row * num + column;
        const value = this.cells[at];
        if (row === column || Number.isNaN(value) || this.passes[at] === 0) continue;
        const [x, y] = this.corner(row, column);
        const ink = inkOn(along(colors.heat, placeOf(this.scale, value)));
        const flag = this.flags[at];
        context.fillStyle = ink;
        if (cell >= WRITTEN) context.fillText(written(value, decimals), x + cell / 2, y + cell * (flag ? 0.66 : 0.5) + 1);
        else if (signed && cell >= SIGNED && value < 0) context.fillRect(x + cell / 2 - cell * 0.18, y + (flag ? cell * 0.78 : cell / 2) - 0.5, cell * 0.36, 1);
        if (!flag) continue;
        const size = Math.min(cell / 4, 5);
        /** @type {Point} */
        const place = cell >= WRITTEN ? [x + cell / 2, y + cell * 0.24 + 1] : [x + cell / 2, y + cell * (cell >= SIGNED && signed && value < 0 ? 0.4 : 0.5)];
        flagMark(context, place, size, flag, "#000000", "#ffffff");
      }
    }
    context.textBaseline = "alphabetic";
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   * @param {number} bottom room for the names of columns
   */
  drawNames(context, colors, bottom) {
    const { left, size, cell } = this.box;
    const every = Math.max(1, Math.ceil(NAME / cell));
    context.font = SMALL;
    context.fillStyle = colors.ink;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const nameAt = (/** @type {number} */ place, /** @type {number} */ room) => fitting(context, this.step.nameOf(this.order[place]), room - 8);
    const isShown = (/** @type {number} */ at) => at > 4 && at < size - 4;
    for (let row = this.rows[0]; row <= this.rows[1]; row++) {
      const y = (row + 0.5 - this.view.row) * cell;
      if (row % every === 0 && isShown(y)) context.fillText(nameAt(row, left), left - 5, y);
    }
    for (let column = this.columns[0]; column <= this.columns[1]; column++) {
      const x = (column + 0.5 - this.view.column) * cell;
      if (column % every || !isShown(x)) continue;
      context.save();
      context.translate(left + x, size + 6);
      context.rotate(-Math.PI / 2);
      context.fillText(nameAt(column, bottom), 0, 0);
      context.restore();
    }
    context.textBaseline = "alphabetic";
  }

  /**
   * The colors with their values, to the right.
   * @param {Context} context
   * @param {Colors} colors
   */
  drawBar(context, colors) {
    const { left, size } = this.box;
    const { limit, signed } = this.scale;
    const low = signed ? -limit : 0;
    const x = left + size + 14;
    const y = (/** @type {number} */ value) => size - ((value - low) / (limit - low)) * size;
    for (let at = 0; at < size; at++) {
      const [red, green, blue] = along(colors.heat, placeOf(this.scale, limit - ((limit - low) * at) / size));
      context.fillStyle = `rgb(${red},${green},${blue})`;
      context.fillRect(x, at, BAR, 1.5);
    }
    context.strokeStyle = colors.edge;
    context.lineWidth = 1;
    context.strokeRect(x - 0.5, 0.5, BAR + 1, size - 1);
    context.font = SMALL;
    context.fillStyle = colors.ink;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const tick of severalTicks(low, limit)) {
      line(context, [x + BAR, y(tick)], [x + BAR + 3, y(tick)]);
      context.fillText(tick.toPrecision(2).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "").replace("-", "−"), x + BAR + 5, Math.min(Math.max(y(tick), 6), size - 6));
    }
    context.textBaseline = "alphabetic";
  }

  /** @param {Colors} colors */
  drawKey(colors) {
    const { step, app } = this;
    /** @type {Entry[]} */
    const entries = [];
    const has = (/** @type {number} */ flag) => this.flags.includes(flag);
    if (has(1)) entries.push({ sign: "stranger", text: "stranger" });
    if (has(2)) entries.push({ sign: "look-alike", text: "look-alike" });
    const num = this.order.length;
    if (this.cells.some((value, at) => Number.isNaN(value) && Math.floor(at / num) !== at % num)) entries.push({ sign: "hatch", text: "not compared" });
    const passing = app.shown(step);
    if (passing.pairs.length < passing.num) entries.push({ sign: "dots", text: "filtered out" });
    showLegend(this.legend, entries, colors);
  }

  /** Says which labels are shown, in which order and scale. */
  tell() {
    const { app } = this;
    const num = this.order.length;
    const every = Math.max(1, Math.ceil(NAME / this.box.cell));
    const scale = app.state.scale === "fixed" ? "scale fixed over the steps seen" : app.isPlaying ? "scale held while playing" : "scale of this step, as in Images";
    this.note.textContent = num ? `${this.words}${every > 1 ? `, 1 in ${every} named` : ""} · ${scale}${this.scale.signed ? "; − marks values below zero" : ""}` : "No label has a pair that passes the filter.";
    this.note.title = this.note.textContent;
  }

  /** Draws what changes with the pointer and the selection. */
  drawOver() {
    const colors = theme();
    const [width, height] = roomOf(this.canvas, 200, 200);
    const context = canvasOf(this.canvas, width, height);
    if (!this.order.length) return;
    this.clipped(context, () => {
      for (const { pair, place } of this.app.pinned) this.drawPin(context, colors, pair, place);
    });
    this.clipped(context, () => {
      for (const [row, column] of this.cellsOf(this.app.selected)) {
        const [left, top] = this.corner(row, column);
        const side = Math.max(this.box.cell, 5);
        frame(context, { left, top, width: side, height: side }, colors.select, colors.page);
      }
    });
    if (this.cursor) this.drawCross(context, colors, this.cursor);
  }

  /**
   * The two cells of a pair; none if a label is not shown.
   * @param {import("./step.js").Pair | null} pair
   */
  cellsOf(pair) {
    const there = this.app.pairIn(this.step, pair);
    const [row, column] = (there ?? [-1, -1]).map((label) => this.order.indexOf(label));
    return row < 0 || column < 0 ? [] : [[row, column], [column, row]];
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   * @param {import("./step.js").Pair} pair
   * @param {number} place of the pin
   */
  drawPin(context, colors, pair, place) {
    const { cell } = this.box;
    for (const [row, column] of this.cellsOf(pair)) {
      const [left, top] = this.corner(row, column);
      if (cell < 40) frame(context, { left, top, width: Math.max(cell, 5), height: Math.max(cell, 5) }, colors.pins[place], colors.page);
      if (cell >= 24) pinMark(context, [left + 6, top + 6], place, colors);
    }
  }

  /**
   * The lines from a cell to its two names, and the names in bold.
   * @param {Context} context
   * @param {Colors} colors
   * @param {Cell} cursor
   */
  drawCross(context, colors, { row, column }) {
    const { left, size, cell } = this.box;
    const [x, y] = this.corner(row, column);
    context.lineWidth = 1;
    this.clipped(context, () => {
      for (const [color, shift] of /** @type {const} */ ([[colors.page, 1], [colors.ink, 0]])) {
        context.strokeStyle = color;
        for (const [at, out] of [[y, -1], [y + cell, 1]]) line(context, [left, at + out * shift], [left + size, at + out * shift]);
        for (const [at, out] of [[x, -1], [x + cell, 1]]) line(context, [at + out * shift, 0], [at + out * shift, size]);
      }
    });
    context.font = "bold 11px Roboto, Arial, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    const plate = (/** @type {string} */ name, /** @type {number} */ room) => {
      const text = fitting(context, name, room);
      context.fillStyle = colors.page;
      context.fillRect(-room - 5, -8, room + 5, 16);
      context.fillStyle = colors.ink;
      context.fillText(text, -5, 0);
    };
    context.save();
    context.translate(left, Math.min(Math.max(y + cell / 2, 8), size - 8));
    plate(this.step.nameOf(this.order[row]), left - 6);
    context.restore();
    const { clientHeight = 0 } = this.canvas;
    context.save();
    context.translate(Math.min(Math.max(x + cell / 2, left + 8), left + size - 8), size + 1);
    context.rotate(-Math.PI / 2);
    plate(this.step.nameOf(this.order[column]), clientHeight - size - 8);
    context.restore();
    context.textBaseline = "alphabetic";
  }

  /** Says where the selected pair is, if it is not in view, with a way to it. */
  tellOutside() {
    const { app, step } = this;
    const pair = app.pairIn(step, app.selected);
    this.outside.hidden = true;
    if (!pair) return;
    const names = pair.map((label) => step.nameOf(label)).join(" / ");
    const [cell] = this.cellsOf(app.selected);
    if (cell && holds(this.view, cell[0], cell[1])) return;
    if (cell && this.view.num > this.order.length - 0.5) return;
    const isFlagged = step.flag[step.indexOf(pair)] > 0;
    const go = cell
      ? button("Go to it", "Move the heatmap to the selected pair", () => this.look(reaching(this.view, cell[0], cell[1], this.order.length)))
      : areMany(step) && app.state.labels !== "neighborhood" && step.indexOf(pair) >= 0
        ? button("Show its neighborhood", "Show the labels near the selected pair", () => app.set({ labels: "neighborhood" }))
        : null;
    const where = cell ? "is outside of this part" : isFlagged || step.indexOf(pair) >= 0 ? "is not among these labels" : "is not in this step";
    this.outside.hidden = false;
    this.outside.replaceChildren(`The selected pair, ${names}, ${where}. `, ...(go ? [go] : []));
  }

  // Pointer

  /**
   * @param {MouseEvent} event
   * @returns {Cell | null}
   */
  under(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const { left, size, cell } = this.box;
    const [x, y] = [event.clientX - bounds.left - left, event.clientY - bounds.top];
    if (!this.order.length || x < 0 || y < 0 || x >= size || y >= size) return null;
    return { row: Math.floor(this.view.row + y / cell), column: Math.floor(this.view.column + x / cell) };
  }

  /**
   * The pair of a cell; -1 if the step lacks it.
   * @param {Cell} cell
   */
  pairAt({ row, column }) {
    const [one, other] = [this.order[row], this.order[column]];
    return one === other ? -1 : this.step.indexOf(one < other ? [one, other] : [other, one]);
  }

  /**
   * @param {Cell | null} cell
   * @param {{ clientX: number, clientY: number }} at
   */
  point(cell, at) {
    this.cursor = cell;
    this.drawOver();
    if (!cell || cell.row === cell.column) {
      this.app.tip.hide();
      return;
    }
    const pair = this.pairAt(cell);
    const names = [cell.row, cell.column].map((place) => this.step.nameOf(this.order[place])).join(" / ");
    const value = pair < 0 ? NaN : this.values[pair];
    if (Number.isNaN(value)) this.app.tip.tell(at, names, [this.step.chosen && pair < 0 ? "not compared: this step has a part of the pairs" : "not compared"]);
    else if (this.change) this.app.tip.tell(at, names, [`${inSentence(this.title)} ${number(value, { signed: true })}`, `${number(this.step.values[this.key][pair])} in A, ${number(this.step.values[this.key][pair] + value)} in B`]);
    else this.app.tip.show(at, this.step, pair, this.key, this.passes[cell.row * this.order.length + cell.column] === 0 ? ["filtered out"] : []);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.grabbed && event.buttons) {
      const { x, y, view } = this.grabbed;
      const [right, down] = [event.clientX - x, event.clientY - y];
      if (!this.grabbed.moved && Math.hypot(right, down) < 4) return;
      this.grabbed.moved = true;
      this.canvas.style.cursor = "grabbing";
      this.cursor = null;
      this.app.tip.hide();
      this.look(moved(view, -down / this.box.cell, -right / this.box.cell, this.order.length));
      return;
    }
    const cell = this.under(event);
    this.canvas.style.cursor = cell && this.pairAt(cell) >= 0 ? "pointer" : "";
    this.point(cell, event);
  }

  leave() {
    this.cursor = null;
    this.app.tip.hide();
    this.drawOver();
  }

  /** @param {PointerEvent} event */
  grab(event) {
    if (event.button) return;
    this.grabbed = { x: event.clientX, y: event.clientY, view: this.view, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  release(event) {
    const hasMoved = this.grabbed?.moved;
    this.drop();
    const cell = this.under(event);
    if (!hasMoved && cell && this.pairAt(cell) >= 0) this.app.select(this.step, this.pairAt(cell));
  }

  drop() {
    this.grabbed = null;
    this.canvas.style.cursor = "";
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const isAll = this.view.num >= this.order.length;
    if (!this.under(event) || (event.deltaY > 0 && isAll)) return; // all labels are visible: scroll the page instead
    event.preventDefault();
    const bounds = this.canvas.getBoundingClientRect();
    const { left, size } = this.box;
    const place = { x: (event.clientX - bounds.left - left) / size, y: (event.clientY - bounds.top) / size };
    this.zoom(Math.exp(Math.min(Math.max(event.deltaY, -200), 200) / 400), place);
    this.point(this.under(event), event); // another cell is under the pointer now
  }

  // Keys

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.order.length) return;
    const last = this.order.length - 1;
    const now = this.cursor ?? this.start();
    const { row, column } = now;
    /** @type {Record<string, () => Cell>} */
    const moves = {
      ArrowUp: () => ({ row: row - 1, column }), ArrowDown: () => ({ row: row + 1, column }), ArrowLeft: () => ({ row, column: column - 1 }), ArrowRight: () => ({ row, column: column + 1 }),
      Home: () => ({ row, column: 0 }), End: () => ({ row, column: last }), PageUp: () => ({ row: row - 10, column }), PageDown: () => ({ row: row + 10, column }),
    };
    /** @type {Record<string, () => unknown>} */
    const acts = {
      "+": () => this.zoom(0.7, this.placeIn(now)), "=": () => this.zoom(0.7, this.placeIn(now)), "-": () => this.zoom(1 / 0.7, this.placeIn(now)),
      0: () => this.look(whole(last + 1)),
      Enter: () => this.pairAt(now) >= 0 && this.app.select(this.step, this.pairAt(now), { keep: true }),
      " ": () => this.pairAt(now) >= 0 && this.app.select(this.step, this.pairAt(now), { keep: true }),
      Escape: () => this.leave(),
    };
    if (!moves[event.key] && !acts[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    if (acts[event.key]) {
      acts[event.key]();
      if (event.key !== "Escape") this.reach(this.cursor ?? now);
      return;
    }
    const to = this.cursor ? moves[event.key]() : now; // the first key shows where the cell is
    this.reach({ row: Math.min(Math.max(to.row, 0), last), column: Math.min(Math.max(to.column, 0), last) });
  }

  /** The cell from which the keys start: the selected pair's, otherwise the first one in view. */
  start() {
    const [cell] = this.cellsOf(this.app.selected);
    if (cell) return { row: cell[0], column: cell[1] };
    return { row: Math.ceil(this.view.row), column: Math.min(Math.ceil(this.view.column) + 1, this.order.length - 1) };
  }

  /** @param {Cell} cell */
  placeIn({ row, column }) {
    return { x: (column + 0.5 - this.view.column) / this.view.num, y: (row + 0.5 - this.view.row) / this.view.num };
  }

  /**
   * Moves to a cell by keys: brings it into view, shows its tip, and says what it is.
   * @param {Cell} cell
   */
  reach(cell) {
    if (!holds(this.view, cell.row, cell.column)) this.look(reaching(this.view, cell.row, cell.column, this.order.length));
    const bounds = this.canvas.getBoundingClientRect();
    const [x, y] = this.corner(cell.row, cell.column);
    this.point(cell, { clientX: bounds.left + x + this.box.cell, clientY: bounds.top + y + this.box.cell });
    this.said.textContent = this.inWords(cell);
  }

  /** @param {Cell} cell */
  inWords(cell) {
    const names = [cell.row, cell.column].map((place) => this.step.nameOf(this.order[place]));
    if (cell.row === cell.column) return `${names[0]} with itself`;
    const pair = this.pairAt(cell);
    const value = pair < 0 ? NaN : this.values[pair];
    const words = Number.isNaN(value) ? "not compared" : `${inSentence(this.title)} ${number(value, { signed: true })}`;
    return `${names.join(" and ")}: ${words}${pair >= 0 && this.step.flagAt(pair) ? `, ${this.step.flagAt(pair)}` : ""}`;
  }
}

/**
 * The quantities that the heatmap can show.
 * @param {Step} step
 */
const keysOf = (step) => ["gap", "overlap", ...step.similarities];

/**
 * Ticks of the legend: at least three.
 * @param {number} low
 * @param {number} high
 */
function severalTicks(low, high) {
  const few = ticks(low, high, 4);
  return few.length < 3 ? ticks(low, high, 8) : few;
}

/**
 * @param {number} value
 * @param {number} decimals
 */
function written(value, decimals) {
  const text = Math.abs(value).toFixed(decimals);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/**
 * A name, shortened to a width in CSS pixels.
 * @param {Context} context
 * @param {string} name
 * @param {number} room
 */
function fitting(context, name, room) {
  const { width } = context.measureText(name);
  if (width <= room) return name;
  const all = Array.from(name).length;
  let longest = Math.min(all - 1, Math.ceil((all * room) / width) + 2); // characters differ in width
  let text = shortened(name, longest);
  while (longest > 1 && context.measureText(text).width > room) text = shortened(name, --longest);
  return text;
}
