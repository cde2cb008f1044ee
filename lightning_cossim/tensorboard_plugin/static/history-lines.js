// Draws the lines of a chart over the steps: axes, values with their errors, the gap with its limits, names.

import { apart, pieces } from "./course.js";
import { FONT, flagMark, line } from "./marks.js";

/** @import { Colors } from "./colors.js" */
/** @import { Course, Values } from "./data.js" */
/** @import { Box } from "./marks.js" */
/** @import { Chosen } from "./selection.js" */

/** @typedef {{ context: CanvasRenderingContext2D, box: Box, x: (step: number) => number, y: (value: number) => number, colors: Colors }} Drawing */
/** @typedef {Course["pairs"][number]} OfPair */
/** @typedef {{ course: Course, of: OfPair, chosen: Chosen, isOther: boolean }} Followable a pair with its values in one of the runs */

const MOST_DOTS = 40;

/**
 * The overlap with its standard error added or subtracted.
 * @param {OfPair} of
 * @param {number} sign
 * @returns {Values}
 */
export function added({ values: { overlap = [], overlap_error: errors = [] } }, sign) {
  return overlap.map((value, at) => (value === null ? null : value + sign * (errors[at] ?? 0)));
}

/**
 * The expected overlap with the size that a gap needs for a flag added or subtracted; null without a verdict.
 * @param {OfPair} of
 * @param {Course} course
 * @param {number} sign
 * @returns {Values}
 */
export function limits({ values: { expected_overlap: expected = [] } }, { limits: { strangers, lookalikes } }, sign) {
  const limit = sign > 0 ? strangers : lookalikes;
  return expected.map((value, at) => {
    const size = limit[at] ?? null;
    return value === null || size === null ? null : Math.max(value + sign * size, 0);
  });
}

/**
 * @param {Drawing} drawing
 * @param {number[]} ticks
 * @param {number} first
 * @param {number} last
 * @param {number} height
 */
export function drawAxes({ context, box, y, colors }, ticks, first, last, height) {
  context.strokeStyle = colors.line;
  context.lineWidth = 1;
  context.textAlign = "right";
  for (const tick of ticks) {
    line(context, [box.left, y(tick)], [box.left + box.width, y(tick)]);
    context.fillText(String(Number(tick.toPrecision(3))).replace("-", "−"), box.left - 5, y(tick) + 4);
  }
  context.textAlign = "left";
  context.fillText(last > first ? first.toLocaleString("en") : "", box.left, height - 5);
  context.textAlign = "right";
  context.fillText(`step ${last.toLocaleString("en")}`, box.left + box.width, height - 5);
  context.textAlign = "left";
}

/**
 * The band in which no gap is flagged, and the gap, shaded.
 * @param {Drawing} drawing
 * @param {Followable} followable
 */
export function drawGap(drawing, { course, of, isOther }) {
  if (isOther) return;
  const { context, x, y, colors } = drawing;
  const { overlap = [], expected_overlap: expected = [] } = of.values;
  context.fillStyle = colors.band;
  fillBetween(context, course.steps, limits(of, course, 1), limits(of, course, -1), x, y);
  context.globalAlpha = 0.28;
  for (const [color, sign] of /** @type {const} */ ([[colors.stranger, 1], [colors.lookalike, -1]])) {
    context.fillStyle = color;
    const clipped = overlap.map((value, at) => (value === null || expected[at] === null ? null : sign > 0 ? Math.max(value, expected[at]) : Math.min(value, expected[at])));
    fillBetween(context, course.steps, clipped, expected, x, y);
  }
  context.globalAlpha = 1;
  for (const sign of [1, -1]) drawLine(drawing, course.steps, limits(of, course, sign), { color: colors.hatch, dash: [2, 3], width: 1, isOther, dots: false });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} steps
 * @param {Values} upper
 * @param {Values} lower
 * @param {Drawing["x"]} x
 * @param {Drawing["y"]} y
 */
function fillBetween(context, steps, upper, lower, x, y) {
  const both = upper.map((value, at) => (lower[at] === null ? null : value));
  const tops = pieces(steps, both);
  const bottoms = pieces(steps, lower.map((value, at) => (both[at] === null ? null : value)));
  tops.forEach((top, at) => {
    context.beginPath();
    top.forEach(([step, value]) => context.lineTo(x(step), y(value)));
    [...bottoms[at]].reverse().forEach(([step, value]) => context.lineTo(x(step), y(value)));
    context.fill();
  });
}

/**
 * The overlap of the selected pair with its error, and the expected overlap.
 * @param {Drawing} drawing
 * @param {Followable} followable
 * @param {boolean} compared
 * @returns {{ name: string, place: number }[]} names of the lines, and where they end
 */
export function drawSelected(drawing, { course, of, isOther }, compared) {
  const { context, x, y, colors } = drawing;
  const { overlap = [], expected_overlap: expected = [] } = of.values;
  context.globalAlpha = isOther ? 0.12 : 0.22;
  context.fillStyle = colors.select;
  fillBetween(context, course.steps, added(of, 1), added(of, -1), x, y);
  context.globalAlpha = 1;
  drawLine(drawing, course.steps, expected, { color: colors.muted, dash: [5, 4], width: 1.5, isOther, dots: false });
  drawLine(drawing, course.steps, overlap, { color: colors.select, dash: [], width: 2.5, isOther });
  of.flags.forEach((flag, at) => {
    const value = overlap[at] ?? null;
    if (!flag || value === null) return;
    const direction = flag === "stranger" ? -1 : 1;
    flagMark(context, [x(course.steps[at]), y(value) + direction * 10], course.steps.length > MOST_DOTS ? 3 : 4.5, flag === "stranger" ? 1 : 2, flag === "stranger" ? colors.stranger : colors.lookalike, colors.page);
  });
  const letter = compared ? ` ${isOther ? "B" : "A"}` : "";
  const [value, foreseen] = [lastOf(overlap), lastOf(expected)];
  const limit = isOther || value === null || foreseen === null ? null : lastOf(limits(of, course, value < foreseen ? -1 : 1));
  const named = /** @type {[string, number | null][]} */ ([[`overlap${letter}`, value], [`expected${letter}`, foreseen], [`limit${letter}`, limit]]);
  return named.flatMap(([name, at]) => (at === null ? [] : [{ name, place: y(at) }]));
}

/**
 * The names of lines at their right ends.
 * @param {Drawing} drawing
 * @param {{ name: string, place: number }[]} labels
 */
export function drawLabels({ context, box, colors }, labels) {
  const places = apart(labels.map(({ place }) => place), 13, box.top + box.height);
  context.fillStyle = colors.ink;
  context.font = FONT;
  labels.forEach(({ name }, at) => context.fillText(name, box.left + box.width + 8, places[at] + 4));
}

/** @param {Values} values */
const lastOf = (values) => [...values].reverse().find((value) => value !== null) ?? null;

/**
 * @param {Drawing} drawing
 * @param {number[]} steps
 * @param {Values} values
 * @param {{ color: string, dash: number[], width: number, isOther: boolean, dots?: boolean }} style
 */
export function drawLine({ context, x, y }, steps, values, { color, dash, width, isOther, dots = steps.length <= MOST_DOTS }) {
  context.strokeStyle = color;
  context.fillStyle = color;
  context.globalAlpha = isOther ? 0.6 : 1;
  context.lineWidth = isOther ? Math.max(1, width / 2) : width;
  context.lineJoin = "round";
  for (const piece of pieces(steps, values)) {
    context.setLineDash(dash);
    context.beginPath();
    piece.forEach(([step, value]) => context.lineTo(x(step), y(value)));
    context.stroke();
    context.setLineDash([]);
    if (!dots && piece.length > 1) continue;
    for (const [step, value] of piece) {
      context.beginPath();
      context.arc(x(step), y(value), isOther ? 1.5 : 2.4, 0, 2 * Math.PI);
      context.fill();
    }
  }
  context.globalAlpha = 1;
}
