// Selects a rectangle of the scatter: by dragging with Shift, by dragging while a button is pressed, or by four numbers.

import { element, keepArrows } from "./dom.js";

/** @import { App } from "./app.js" */
/** @import { Axes } from "./axes.js" */
/** @import { Colors } from "./colors.js" */
/** @import { Brush as Rectangle, Range } from "./filter.js" */
/** @import { Context, Point } from "./marks.js" */

const LEAST = 4; // CSS pixels; a smaller rectangle is a click
const OPEN = /** @type {const} */ ([-Infinity, Infinity]);
/** @type {[string, "x" | "y", 0 | 1][]} */
const ENDS = [["x from", "x", 0], ["to", "x", 1], ["y from", "y", 0], ["to", "y", 1]];

export class Brush {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.key = ""; // key of the similarity on the x axis
    this.isOn = false;
    /** @type {{ from: Point, to: Point } | null} */
    this.dragged = null;
    /** @type {{ x: Range, y: Range }} the axes */
    this.ranges = { x: [0, 1], y: [0, 1] };
    this.toggle = element("button", { type: "button", "aria-pressed": "false", title: "Drag in the scatter to show only the pairs in a rectangle. Without this button: hold Shift and drag.", onclick: () => this.turn() }, "Select area");
    /** @type {HTMLInputElement[]} */
    this.inputs = ENDS.map(([text, axis]) => element("input", { type: "number", step: "any", "aria-label": `${axis} ${text.replace(/^. /, "")}`, onchange: () => this.read() }));
    this.clear = element("button", { type: "button", onclick: () => app.filter({ brush: null }) }, "Clear");
    const fields = ENDS.map(([text], at) => element("label", { class: "control" }, element("span", {}, text), this.inputs[at]));
    this.details = element("details", { class: "range" }, element("summary", { title: "Show only the pairs within a range of either axis" }, "Range"), element("div", { onkeydown: keepArrows }, ...fields, this.clear));
    this.parts = [this.toggle, this.details];
  }

  /** Ends a drag, or removes the rectangle from the filter. */
  drop() {
    if (this.dragged) this.dragged = null;
    else this.app.filter({ brush: null });
  }

  turn() {
    this.isOn = !this.isOn;
    this.toggle.setAttribute("aria-pressed", String(this.isOn));
  }

  /**
   * @param {string} key
   * @param {{ x: Range, y: Range }} ranges
   */
  render(key, ranges) {
    this.key = key;
    this.ranges = ranges;
    this.fill(document.activeElement);
    this.clear.hidden = !this.now;
  }

  /**
   * Writes the rectangle into the fields.
   * @param {Element | null} typing the field that the user types in, which stays
   */
  fill(typing) {
    const { now } = this;
    ENDS.forEach(([, axis, end], at) => {
      if (typing !== this.inputs[at]) this.inputs[at].value = now && Number.isFinite(now[axis][end]) ? String(Number(now[axis][end].toPrecision(4))) : "";
      this.inputs[at].placeholder = String(Number(this.ranges[axis][end].toPrecision(2)));
    });
  }

  /** The rectangle of the filter, if it is on these axes. */
  get now() {
    const { brush } = this.app.state;
    return brush?.key === this.key ? brush : null;
  }

  /** Filters by the four numbers. An empty field leaves its end open. */
  read() {
    const values = this.inputs.map((input, at) => (input.value === "" ? OPEN[ENDS[at][2]] : Number(input.value)));
    const [left, right, low, high] = values;
    if (this.inputs.every(({ value }) => value === "")) this.app.filter({ brush: null });
    else if (!values.some(Number.isNaN)) this.app.filter({ brush: { key: this.key, x: ordered(left, right), y: ordered(low, high) } });
    this.fill(null); // the ends may have changed places
  }

  /**
   * Whether a drag that begins with this event selects a rectangle.
   * @param {PointerEvent} event
   */
  takes(event) {
    return event.button === 0 && (this.isOn || event.shiftKey);
  }

  /** @param {Point} from */
  start(from) {
    this.dragged = { from, to: from };
  }

  /**
   * Filters by the dragged rectangle; false if it is too small.
   * @param {Axes} axes
   */
  end(axes) {
    const { dragged } = this;
    this.dragged = null;
    if (!dragged || dragged.from.every((place, at) => Math.abs(place - dragged.to[at]) < LEAST)) return false;
    const [[left, top], [right, bottom]] = [axes.at(dragged.from), axes.at(dragged.to)];
    this.app.filter({ brush: { key: this.key, x: ordered(left, right), y: ordered(top, bottom) } });
    return true;
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   * @param {Axes} axes
   */
  draw(context, colors, axes) {
    const corners = this.dragged ? [this.dragged.from, this.dragged.to] : this.now ? cornersOf(this.now, axes) : null;
    if (!corners) return;
    const [[x, y], [right, bottom]] = corners;
    axes.within(context, () => {
      context.strokeStyle = colors.page;
      context.lineWidth = 3;
      context.strokeRect(x, y, right - x, bottom - y);
      context.strokeStyle = colors.ink;
      context.lineWidth = 1.5;
      context.setLineDash([5, 3]);
      context.strokeRect(x, y, right - x, bottom - y);
      context.setLineDash([]);
    });
  }
}

/**
 * The corners of a rectangle; an open end is at the end of the axis.
 * @param {Rectangle} brush
 * @param {Axes} axes
 * @returns {[Point, Point]}
 */
function cornersOf({ x, y }, axes) {
  const end = (/** @type {number} */ value, /** @type {"x" | "y"} */ axis, /** @type {0 | 1} */ at) => axes[axis](Number.isFinite(value) ? value : axes.ranges[axis][at]);
  return [[end(x[0], "x", 0), end(y[1], "y", 1)], [end(x[1], "x", 1), end(y[0], "y", 0)]];
}

/**
 * @param {number} one
 * @param {number} other
 * @returns {Range}
 */
const ordered = (one, other) => (one < other ? [one, other] : [other, one]);
