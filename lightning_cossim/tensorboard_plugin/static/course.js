// The course of a pair over the steps: its lines, the range of their axis, and since when it is flagged.

import { ticks } from "./dom.js";
import { keyOf } from "./step.js";

/** @import { Course, Values } from "./data.js" */
/** @import { Pair } from "./step.js" */
/** @import { Quantity } from "./wire.js" */

const LEAST = 0.1; // share of the possible range that an axis shows at least, so that small changes look small
const LEAST_TICKS = 3;

/**
 * The values of a pair over the steps; null if the course lacks the pair.
 * @param {Course | null} course
 * @param {Pair | null} pair
 */
export function courseOf(course, pair) {
  return (pair && course?.pairs.find(({ labels }) => keyOf(labels) === keyOf(pair))) ?? null;
}

/**
 * The range of an axis and its ticks, at least three. A bounded quantity shows at least a tenth of its range.
 * @param {readonly number[]} values
 * @param {Pick<Quantity, "low" | "high">} quantity
 * @returns {{ low: number, high: number, ticks: number[] }}
 */
export function axisOf(values, { low: least, high: most }) {
  const [low, high] = values.reduce(([one, other], value) => [Math.min(one, value), Math.max(other, value)], [Infinity, -Infinity]);
  if (!(high >= low)) return { low: 0, high: 1, ticks: [0, 0.5, 1] };
  const whole = least !== null && most !== null ? most - least : Math.max(Math.abs(low), Math.abs(high)) || 1;
  const missing = Math.max(LEAST * whole - (high - low), 0) / 2;
  const room = 0.06 * Math.max(high - low, LEAST * whole);
  let [from, to] = [low - missing - room, high + missing + room];
  if (least !== null && from < least) [from, to] = [least, missing ? Math.max(to + least - from, to) : to];
  if (most !== null && to > most) [from, to] = [missing ? Math.min(from - (to - most), from) : from, most];
  if (least !== null) from = Math.max(from, least);
  for (let num = LEAST_TICKS; ; num += 1) {
    const found = ticks(from, to, num);
    if (found.length >= LEAST_TICKS) return { low: from, high: to, ticks: found };
  }
}

/**
 * At how many steps a pair is flagged, and since when; empty if no step has it.
 * @param {readonly number[]} steps
 * @param {readonly (string | null)[]} flags
 */
export function sinceWhen(steps, flags) {
  const known = steps.flatMap((step, at) => (flags[at] === null ? [] : [{ step, flag: flags[at] }]));
  if (!known.length) return "";
  const num = known.filter(({ flag }) => flag).length;
  const plural = known.length === 1 ? "step" : "steps";
  const of = known.length === steps.length ? `${known.length} ${plural}` : `the ${known.length} ${plural} that ${known.length === 1 ? "has" : "have"} the pair`;
  if (!num) return `Never flagged at ${of}.`;
  const last = known[known.length - 1];
  if (!last.flag) return `Flagged at ${num} of ${of}, the last time at step ${text([...known].reverse().find(({ flag }) => flag)?.step)}.`;
  const break_ = known.map(({ flag }) => flag === last.flag).lastIndexOf(false);
  const since = text(known[break_ + 1].step);
  if (num === known.length && break_ < 0) return `Flagged at all ${of}.`;
  return `Flagged at ${num} of ${of}, and at every one since step ${since}.`;
}

/** @param {number | undefined} step */
const text = (step) => (step ?? 0).toLocaleString("en");

/**
 * The known points of a line, in pieces: an unknown value interrupts it.
 * @param {readonly number[]} steps
 * @param {Values} values
 * @returns {[number, number][][]}
 */
export function pieces(steps, values) {
  /** @type {[number, number][][]} */
  const found = [];
  let previous = false;
  steps.forEach((step, at) => {
    const value = values[at] ?? null;
    if (value !== null && previous) found[found.length - 1].push([step, value]);
    else if (value !== null) found.push([[step, value]]);
    previous = value !== null;
  });
  return found;
}

/**
 * Places of labels, moved so that neighbors are at least a distance apart and the order stays.
 * @param {readonly number[]} places
 * @param {number} least
 * @param {number} most the last place
 */
export function apart(places, least, most) {
  const order = Array.from(places.keys()).sort((one, other) => places[one] - places[other]);
  const found = [...places];
  order.forEach((at, rank) => {
    if (rank) found[at] = Math.max(found[at], found[order[rank - 1]] + least);
  });
  order.reverse().forEach((at, rank) => {
    found[at] = Math.min(found[at], rank ? found[order[rank - 1]] - least : most);
  });
  return found;
}
