// The axes of a plot: where a value is on the canvas, and the lines and numbers beside it.

import { number, ticks } from "./dom.js";
import { FONT, line } from "./marks.js";

/** @import { Colors } from "./colors.js" */
/** @import { Range } from "./filter.js" */
/** @import { Box, Context, Point } from "./marks.js" */

export class Axes {
  /**
   * @param {Box} box
   * @param {Range} x
   * @param {Range} y
   */
  constructor(box, x, y) {
    this.box = box;
    this.ranges = { x, y };
  }

  /** @param {number} value */
  x(value) {
    const [low, high] = this.ranges.x;
    return this.box.left + ((value - low) / (high - low)) * this.box.width;
  }

  /** @param {number} value */
  y(value) {
    const [low, high] = this.ranges.y;
    return this.box.top + this.box.height - ((value - low) / (high - low)) * this.box.height;
  }

  /**
   * The values at a point of the canvas, within the axes.
   * @param {Point} point
   * @returns {Point}
   */
  at([left, top]) {
    const { box, ranges: { x, y } } = this;
    const [across, up] = [(left - box.left) / box.width, (box.top + box.height - top) / box.height].map((share) => Math.min(Math.max(share, 0), 1));
    return [x[0] + across * (x[1] - x[0]), y[0] + up * (y[1] - y[0])];
  }

  /**
   * Whether a value of either axis is within its range.
   * @param {number} x
   * @param {number} y
   */
  has(x, y) {
    const { x: across, y: up } = this.ranges;
    return x >= across[0] && x <= across[1] && y >= up[0] && y <= up[1];
  }

  /**
   * Calls `draw` for drawing within the axes.
   * @param {Context} context
   * @param {() => void} draw
   */
  within(context, draw) {
    const { left, top, width, height } = this.box;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    draw();
    context.restore();
  }

  /**
   * @param {Context} context
   * @param {Colors} colors
   * @param {string} across title of the x axis
   * @param {string} up title of the y axis
   */
  draw(context, colors, across, up) {
    const { left, top, width, height } = this.box;
    context.font = FONT;
    context.strokeStyle = colors.line;
    context.fillStyle = colors.muted;
    context.lineWidth = 1;
    context.textAlign = "center";
    for (const tick of ticks(...this.ranges.x)) {
      line(context, [this.x(tick), top], [this.x(tick), top + height]);
      context.fillText(axisNumber(tick), this.x(tick), top + height + 15);
    }
    context.textAlign = "right";
    for (const tick of ticks(...this.ranges.y, 4)) {
      line(context, [left, this.y(tick)], [left + width, this.y(tick)]);
      context.fillText(axisNumber(tick), left - 6, this.y(tick) + 4);
    }
    context.fillStyle = colors.ink;
    context.textAlign = "center";
    context.fillText(across, left + width / 2, top + height + 31);
    context.save();
    context.translate(11, top + height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(up, 0, 0);
    context.restore();
  }
}

/** @param {number} value */
export function axisNumber(value) {
  return Math.abs(value) >= 10 ? number(value).replace(/\.0$/, "") : String(Number(value.toFixed(3))).replace("-", "−");
}

/**
 * Places of labels, in ascending order, at least a line apart and within a range, each as near to its wanted place as possible.
 * @param {number[]} wanted ascending
 * @param {number} apart
 * @param {Range} range
 */
export function spaced(wanted, apart, [low, high]) {
  const places = [...wanted];
  for (let at = 0; at < places.length; at++) places[at] = Math.max(places[at], at ? places[at - 1] + apart : low);
  for (let at = places.length - 1; at >= 0; at--) places[at] = Math.min(places[at], at < places.length - 1 ? places[at + 1] - apart : high);
  return places;
}
