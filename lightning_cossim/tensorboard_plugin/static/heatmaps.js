// Three heatmaps: a similarity, the overlap and the gap. All steps share one order of labels; all three share one zoom.

import { GAPS, OVERLAPS, along, scaleOf, theme } from "./colors.js";
import { button, canvasOf, contextOf, element, roomOf, select, shortened } from "./dom.js";
import { inSentence } from "./quantities.js";
import { triangle } from "./scatter.js";
import { matrix } from "./step.js";

/** @import { Colors } from "./colors.js" */
/** @import { App, Shown } from "./index.js" */
/** @import { Point } from "./scatter.js" */
/** @import { Step } from "./step.js" */

const LEAST_NAMED = 10;
const NAMES = 74;

export class Heatmaps {
  /** @type {Step} */
  step;
  /** @type {number[]} labels, as rows of the head */
  order = [];

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.from = 0;
    this.num = Infinity;
    this.maps = [new Heatmap(this, null), new Heatmap(this, "overlap"), new Heatmap(this, "gap")];
    this.note = element("p", { class: "note" });
    this.root = element(
      "figure",
      { class: "heatmaps" },
      element("figcaption", {}, element("b", {}, "Label by label"), element("span", { class: "buttons" },
        button("+", "Zoom in (or turn the wheel)", () => this.zoom(0.6)),
        button("−", "Zoom out", () => this.zoom(1 / 0.6)),
        button("All", "Show all labels (or double-click)", () => this.zoom(Infinity)))),
      element("div", { class: "maps" }, ...this.maps.map((map) => map.root)),
      this.note,
    );
  }

  /**
   * @param {Shown} shown
   * @param {Shown} [_other] step to compare with
   */
  render({ step, order }, _other) {
    this.step = step;
    this.order = order;
    this.maps.forEach((map) => map.take(step, order));
    this.draw();
    const some = !order.length ? "no labels to show" : order.length < step.num_labels ? `the ${order.length} most probable of ${step.num_labels.toLocaleString("en")} labels at the last step` : `${order.length} labels`;
    this.note.textContent = `${some}, ordered by overlap · ▲ stranger ▼ look-alike · gray: not compared`;
  }

  get window() {
    const num = Math.min(Math.max(Math.round(this.num), Math.min(4, this.order.length)), this.order.length);
    const from = Math.min(Math.max(Math.round(this.from), 0), this.order.length - num);
    return { from, num };
  }

  /**
   * Zooms, such that the label under the pointer stays in place.
   * @param {number} factor
   */
  zoom(factor, place = 0.5) {
    const { from, num } = this.window;
    const center = from + place * num;
    const wanted = Math.max(num * factor, 4);
    this.num = wanted < this.order.length ? wanted : Infinity; // infinity: all labels, also of a run with more labels
    this.from = center - place * Math.min(this.num, this.order.length);
    this.draw();
  }

  /** @param {number} cells */
  pan(cells) {
    this.from = this.window.from + cells;
    this.draw();
  }

  draw() {
    if (this.step) this.maps.forEach((map) => map.draw());
  }
}

class Heatmap {
  /** @type {Step} */
  step;
  /** @type {number[]} */
  order = [];

  /**
   * @param {Heatmaps} heatmaps
   * @param {string | null} fixed key of the quantity; null: the selected similarity
   */
  constructor(heatmaps, fixed) {
    this.heatmaps = heatmaps;
    this.app = heatmaps.app;
    this.fixed = fixed;
    this.named = fixed === null;
    this.key = ""; // key of the quantity
    this.scale = OVERLAPS;
    this.cells = new Float32Array();
    this.flags = new Float32Array();
    this.box = { left: 0, size: 1, cell: 1, from: 0, num: 0 };
    /** @type {{ x: number, y: number, moved: boolean } | null} */
    this.grabbed = null;
    this.title = element("div", { class: "title" });
    this.canvas = element("canvas", {
      role: "img",
      onpointermove: (event) => this.move(event),
      onpointerleave: () => this.app.tip.hide(),
      onpointerdown: (event) => this.grab(event),
      onpointerup: (event) => this.release(event),
      ondblclick: () => heatmaps.zoom(Infinity),
    });
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.legend = element("canvas", { class: "legend", role: "img" });
    this.root = element("div", { class: this.named ? "map named" : "map" }, this.title, element("div", { class: "plot" }, this.canvas), this.legend);
  }

  /**
   * @param {Step} step
   * @param {number[]} order
   */
  take(step, order) {
    this.step = step;
    this.order = order;
    const { state } = this.app;
    this.key = this.fixed ?? (step.similarities.includes(state.map) ? state.map : step.cosine);
    const quantity = step.quantity(this.key);
    const title = this.fixed
      ? element("b", {}, quantity.title)
      : select("Similarity of the heatmap", step.similarities.map((key) => [key, step.quantity(key).title]), this.key, (map) => this.app.set({ map }));
    this.title.replaceChildren(title, this.app.explainer(quantity));
    this.cells = matrix(step, step.values[this.key], order);
    this.flags = matrix(step, step.flag, order);
    this.scale = this.key === "overlap" ? OVERLAPS : this.key === "gap" ? GAPS : scaleOf(quantity, this.cells);
    this.canvas.setAttribute("aria-label", `Heatmap of the ${inSentence(quantity.title)} of ${order.length} labels. The table lists the same pairs.`);
  }

  draw() {
    const colors = theme();
    if (!this.order.length) {
      canvasOf(this.canvas, 1, 1);
      canvasOf(this.legend, 1, 26);
      return;
    }
    const { from, num } = this.heatmaps.window;
    const [width, height] = roomOf(this.canvas, 0, 0);
    const left = this.named ? NAMES : 0;
    const size = Math.max(80, Math.min(width - left, height));
    const context = canvasOf(this.canvas, size + left, size);
    this.box = { left, size, cell: size / num, from, num };
    context.imageSmoothingEnabled = false;
    context.drawImage(this.image(colors), from, from, num, num, left, 0, size, size);
    this.drawMarks(context, colors);
    if (this.named) this.drawNames(context, colors);
    this.drawSelection(context, colors);
    this.drawLegend(colors, left, size);
  }

  /** @param {Colors} colors */
  image(colors) {
    const num = this.order.length;
    const image = new ImageData(num, num);
    const { stops, place } = this.scale;
    const [red, green, blue] = along([colors.nothing, colors.nothing], 0);
    const table = Array.from({ length: 256 }, (_, at) => along(colors[stops], at / 255));
    for (let cell = 0; cell < this.cells.length; cell++) {
      const value = this.cells[cell];
      const color = Number.isNaN(value) ? [red, green, blue] : table[Math.round(Math.min(Math.max(place(value), 0), 1) * 255)];
      image.data.set([...color, 255], cell * 4);
    }
    const canvas = element("canvas", { width: num, height: num });
    contextOf(canvas).putImageData(image, 0, 0);
    return canvas;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Colors} colors
   */
  drawMarks(context, colors) {
    const { left, cell, from, num } = this.box;
    if (cell < 7) return;
    const all = this.order.length;
    for (let one = 0; one < num; one++) {
      for (let other = 0; other < num; other++) {
        const flag = this.flags[(from + one) * all + from + other];
        if (!flag) continue;
        /** @type {Point} */
        const at = [left + (other + 0.5) * cell, (one + 0.5) * cell];
        triangle(context, at, Math.min(cell / 4, 6) + 1.2, flag === 1 ? -1 : 1, colors.page);
        triangle(context, at, Math.min(cell / 4, 6), flag === 1 ? -1 : 1, colors.ink);
      }
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Colors} colors
   */
  drawNames(context, colors) {
    const { left, cell, from, num } = this.box;
    context.font = "11px Roboto, Arial, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillStyle = colors.ink;
    const every = Math.max(1, Math.ceil(LEAST_NAMED / cell));
    for (let one = every >> 1; one < num; one += every) {
      context.fillText(fitting(context, this.step.nameOf(this.order[from + one]), left - 6), left - 4, (one + 0.5) * cell);
    }
    context.textBaseline = "alphabetic";
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Colors} colors
   */
  drawSelection(context, colors) {
    const { left, size, cell, from, num } = this.box;
    const pair = this.app.pairIn(this.step, this.app.selected);
    if (!pair) return;
    const places = pair.map((label) => this.order.indexOf(label) - from);
    if (places.some((place) => place < 0 || place >= num)) return;
    context.lineWidth = 2;
    context.save();
    context.beginPath();
    context.rect(left, 0, size, size);
    context.clip();
    const side = Math.max(cell, 4) + 2;
    for (const [one, other] of [places, [...places].reverse()]) {
      const [x, y] = [left + other * cell - 1, one * cell - 1];
      context.strokeStyle = colors.page;
      context.lineWidth = 4;
      context.strokeRect(x, y, side, side);
      context.strokeStyle = colors.select;
      context.lineWidth = 2;
      context.strokeRect(x, y, side, side);
    }
    context.restore();
  }

  /**
   * @param {Colors} colors
   * @param {number} left
   * @param {number} size
   */
  drawLegend(colors, left, size) {
    const { stops, place, marks } = this.scale;
    const context = canvasOf(this.legend, size + left, 26);
    for (let at = 0; at < size; at++) {
      context.fillStyle = `rgb(${along(colors[stops], at / size).join()})`;
      context.fillRect(left + at, 0, 1.5, 9);
    }
    context.font = "11px Roboto, Arial, sans-serif";
    context.fillStyle = colors.muted;
    for (const mark of marks) {
      const at = place(mark);
      context.textAlign = at < 0.05 ? "left" : at > 0.95 ? "right" : "center";
      context.fillText(String(mark).replace("-", "−"), left + at * size, 21);
    }
    this.legend.setAttribute("aria-label", `Colors from ${marks[0]} to ${marks[marks.length - 1]}`);
  }

  /**
   * The two labels under the pointer, as places in the order; null if there are none.
   * @param {MouseEvent} event
   */
  under(event) {
    const frame = this.canvas.getBoundingClientRect();
    const { left, cell, from, num } = this.box;
    const other = Math.floor((event.clientX - frame.left - left) / cell);
    const one = Math.floor((event.clientY - frame.top) / cell);
    return one < 0 || other < 0 || one >= num || other >= num ? null : [from + one, from + other];
  }

  /** @param {MouseEvent} event */
  pairUnder(event) {
    const places = this.under(event);
    if (!places || places[0] === places[1]) return -1;
    const [one, other] = places.map((place) => this.order[place]);
    return this.step.indexOf(one < other ? [one, other] : [other, one]);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.grabbed && event.buttons) {
      const { cell } = this.box;
      const moved = [event.clientX - this.grabbed.x, event.clientY - this.grabbed.y];
      const cells = -Math.round((Math.abs(moved[0]) > Math.abs(moved[1]) ? moved[0] : moved[1]) / cell);
      if (cells) {
        this.heatmaps.pan(cells);
        this.grabbed = { x: event.clientX, y: event.clientY, moved: true };
      }
      return;
    }
    const pair = this.pairUnder(event);
    this.canvas.style.cursor = pair < 0 ? "" : "pointer";
    if (pair < 0) this.app.tip.hide();
    else this.app.tip.show(event, this.step, pair, this.key);
  }

  /** @param {PointerEvent} event */
  grab(event) {
    this.grabbed = { x: event.clientX, y: event.clientY, moved: false };
  }

  /** @param {PointerEvent} event */
  release(event) {
    const moved = this.grabbed?.moved;
    this.grabbed = null;
    if (!moved && this.pairUnder(event) >= 0) this.app.select(this.step, this.pairUnder(event));
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (event.deltaY > 0 && this.box.num === this.order.length) return; // all labels are visible: scroll the page instead
    event.preventDefault();
    const frame = this.canvas.getBoundingClientRect();
    const place = Math.min(Math.max((event.clientX - frame.left - this.box.left) / this.box.size, 0), 1);
    this.heatmaps.zoom(event.deltaY < 0 ? 0.8 : 1.25, place);
  }
}

/**
 * A name, shortened to a width in CSS pixels.
 * @param {CanvasRenderingContext2D} context
 * @param {string} name
 * @param {number} room
 */
function fitting(context, name, room) {
  let longest = Array.from(name).length;
  let text = name;
  while (longest > 1 && context.measureText(text).width > room) text = shortened(name, --longest);
  return text;
}
