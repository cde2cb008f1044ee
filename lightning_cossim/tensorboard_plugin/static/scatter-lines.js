// Draws the lines of the scatter: the curve of expected overlaps, the band in which no pair is flagged, and what they are in words.

import { spaced } from "./axes.js";
import { number } from "./dom.js";
import { SMALL, line } from "./marks.js";
import { expectedCurve } from "./step.js";

/** @import { Axes } from "./axes.js" */
/** @import { Colors } from "./colors.js" */
/** @import { Context, Point } from "./marks.js" */
/** @import { Step } from "./step.js" */

/** @typedef {{ context: Context, colors: Colors, axes: Axes }} Drawing */
/** @typedef {{ curve: Point[], limits: { strangers: number, lookalikes: number } | null }} Judgment the corners of the curve over the whole axis, and the limits of gaps; null if pairs are not judged */

/**
 * @param {Step} step
 * @param {Axes} axes
 * @returns {Judgment}
 */
export function judgmentOf(step, axes) {
  const { strangers, lookalikes } = step.limits;
  const limits = strangers === undefined || lookalikes === undefined ? null : { strangers, lookalikes };
  const curve = /** @type {Point[]} */ (expectedCurve(step));
  if (!curve.length) return { curve: [], limits };
  const [low, high] = axes.ranges.x;
  return { curve: [[low, curve[0][1]], ...curve, [high, curve[curve.length - 1][1]]], limits };
}

/**
 * @param {Drawing} drawing
 * @param {Judgment} judgment
 */
export function drawBand({ context, colors, axes }, { curve, limits }) {
  if (!limits || !curve.length) return;
  context.fillStyle = colors.band;
  context.beginPath();
  curve.forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y + limits.strangers)));
  [...curve].reverse().forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y - limits.lookalikes)));
  context.fill();
  context.strokeStyle = colors.edge;
  context.lineWidth = 1;
  context.setLineDash([4, 3]);
  for (const shift of [limits.strangers, -limits.lookalikes]) {
    context.beginPath();
    curve.forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y + shift)));
    context.stroke();
  }
  context.setLineDash([]);
}

/**
 * @param {Drawing} drawing
 * @param {Judgment} judgment
 */
export function drawExpected({ context, colors, axes }, { curve }) {
  for (const [color, width] of /** @type {const} */ ([[colors.page, 4], [colors.ink, 1.5]])) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    curve.forEach(([x, y]) => context.lineTo(axes.x(x), axes.y(y)));
    context.stroke();
  }
}

/**
 * Writes beside the right end of each line what it is.
 * @param {Drawing} drawing
 * @param {Judgment} judgment
 */
export function labelLines({ context, colors, axes }, { curve, limits }) {
  if (!curve.length) return;
  const end = curve[curve.length - 1][1];
  const { top, left, width, height } = axes.box;
  const labels = limits
    ? [{ at: end + limits.strangers, text: `▲ above +${number(limits.strangers)}`, color: colors.stranger }, { at: end, text: "expected", color: colors.ink }, { at: end - limits.lookalikes, text: `▼ below −${number(limits.lookalikes)}`, color: colors.lookalike }]
    : [{ at: end, text: "expected", color: colors.ink }];
  const wanted = labels.map(({ at }) => Math.min(Math.max(axes.y(at), top), top + height));
  const places = spaced(wanted, 14, [top + 6, top + height - 6]);
  context.font = SMALL;
  context.textAlign = "left";
  context.textBaseline = "middle";
  labels.forEach(({ text, color }, at) => {
    context.strokeStyle = colors.edge;
    context.lineWidth = 1;
    line(context, [left + width, wanted[at]], [left + width + 7, places[at]]);
    context.fillStyle = color;
    context.fillText(text, left + width + 10, places[at]);
  });
  context.textBaseline = "alphabetic";
}
