// The places of pinned pairs. A pair keeps its place, and with it its number and color, while others are pinned and unpinned.

import { keyOf } from "./step.js";

/** @import { Pair } from "./step.js" */

/** @typedef {(Pair | null)[]} Pins null: a free place */

export const MAX_PINS = 7;

/**
 * @param {Pins} pins
 * @param {Pair} pair
 * @returns {number} -1: not pinned
 */
export const placeOf = (pins, pair) => pins.findIndex((one) => one !== null && keyOf(one) === keyOf(pair));

/**
 * The places after a pair was pinned, in the first free place, or unpinned; null if no place is free.
 * @param {Pins} pins
 * @param {Pair} pair
 * @returns {Pins | null}
 */
export function turned(pins, pair) {
  const place = placeOf(pins, pair);
  if (place >= 0) return trimmed(pins.map((one, at) => (at === place ? null : one)));
  const free = [...pins, null].indexOf(null);
  if (free >= MAX_PINS) return null;
  return Array.from({ length: Math.max(pins.length, free + 1) }, (_, at) => (at === free ? pair : pins[at]));
}

/**
 * Without free places at the end.
 * @param {Pins} pins
 * @returns {Pins}
 */
export const trimmed = (pins) => (pins.length && pins[pins.length - 1] === null ? trimmed(pins.slice(0, -1)) : pins);
