// Points of a plot: the one nearest to a place, and the next one in a direction. Pure functions.

/** @import { Point } from "./marks.js" */

/** @typedef {{ pair: number, x: number, y: number }} Spot a pair, and where it is on the canvas */

/**
 * The pair nearest to a place, within a distance; -1 if there is none.
 * @param {readonly Spot[]} spots
 * @param {Point} place
 * @param {number} reach
 * @param {(pair: number) => boolean} [isMarked] marked pairs come first where several are about as near
 */
export function nearestTo(spots, [left, top], reach, isMarked = () => false) {
  let [found, least] = [-1, reach];
  for (const { pair, x, y } of spots) {
    const distance = Math.hypot(x - left, y - top) - (isMarked(pair) ? 2 : 0);
    if (distance < least) [found, least] = [pair, distance];
  }
  return found;
}

const FAR = 1e6;

/** @type {Record<string, Point>} */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The next spot in a direction: the nearest one straight ahead, within 45 degrees; if there is none, the nearest one ahead. The same spot if there is none either.
 * @param {readonly Spot[]} spots
 * @param {Spot} from
 * @param {Point} direction
 */
export function nextTo(spots, from, [right, down]) {
  let [found, least] = [from, Infinity];
  for (const spot of spots) {
    const [x, y] = [spot.x - from.x, spot.y - from.y];
    const [ahead, aside] = [x * right + y * down, Math.abs(x * down + y * right)];
    if (ahead <= 0.01) continue;
    const cost = ahead + 2 * aside + (aside > ahead ? FAR : 0);
    if (cost < least) [found, least] = [spot, cost];
  }
  return found;
}
