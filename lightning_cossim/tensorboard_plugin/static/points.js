// Points of a plot: the one nearest to a place, and the next one in a direction. Pure functions.

/** @import { Axes } from "./axes.js" */
/** @import { Point } from "./marks.js" */

/** @typedef {{ pair: number, x: number, y: number }} Spot a pair, and where it is on the canvas */
/** @typedef {{ pairs: Uint32Array, x: Float32Array, y: Float32Array }} Points pairs, and where they are on the canvas */

/**
 * Where pairs with both values are on the canvas, those outside of the axes left out.
 * @param {Axes} axes
 * @param {readonly number[]} pairs
 * @param {ArrayLike<number>} across
 * @param {ArrayLike<number>} up
 * @returns {Points}
 */
export function pointsOf(axes, pairs, across, up) {
  const found = { pairs: new Uint32Array(pairs.length), x: new Float32Array(pairs.length), y: new Float32Array(pairs.length) };
  let num = 0;
  for (const pair of pairs) {
    if (!axes.has(across[pair], up[pair])) continue; // NaN is nowhere
    found.pairs[num] = pair;
    found.x[num] = axes.x(across[pair]);
    found.y[num++] = axes.y(up[pair]);
  }
  return { pairs: found.pairs.subarray(0, num), x: found.x.subarray(0, num), y: found.y.subarray(0, num) };
}

/**
 * Some of the points.
 * @param {Points} points
 * @param {(at: number) => boolean} test
 * @returns {Points}
 */
export function some({ pairs, x, y }, test) {
  const places = [];
  for (let at = 0; at < pairs.length; at++) if (test(at)) places.push(at);
  return { pairs: Uint32Array.from(places, (at) => pairs[at]), x: Float32Array.from(places, (at) => x[at]), y: Float32Array.from(places, (at) => y[at]) };
}

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
