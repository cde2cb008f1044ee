// What plots work out before they draw: densities, contours, ranges of axes, places of labels, points near the pointer.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Axes, axisNumber, spaced } from "../static/axes.js";
import { cellOf, contour, densityOf, levelsOf } from "../static/density.js";
import { ARROWS, nearestTo, nextTo, pointsOf, some } from "../static/points.js";
import { Ranges, rangeOf, roomy } from "../static/ranges.js";

/** @import { Spot } from "../static/points.js" */

test("a density has every point, spread over the cells around it", () => {
  const { cells, most } = densityOf([0.5, 0.5, 2, NaN], [0.5, 0.5, 0.5, 0.5], 11, 11);
  assert.equal(cells.reduce((sum, one) => sum + one), 2); // two are outside
  assert.equal(cells.indexOf(most), 5 * 11 + 5);
  assert.ok(cells[5 * 11 + 4] > 0 && cells[5 * 11 + 2] === 0);
});

test("points on the edges are in the outermost cells", () => assert.deepEqual([cellOf(0, 0, 4, 3), cellOf(1, 1, 4, 3), cellOf(1.01, 0, 4, 3), cellOf(0, NaN, 4, 3)], [0, 11, -1, -1]));

test("the smallest area with a share of the points ends at a level", () => {
  const density = { columns: 4, rows: 1, cells: Float32Array.of(1, 6, 2, 1), most: 6 };
  assert.deepEqual(levelsOf(density, [0.5, 0.6, 0.61, 0.8, 0.95]), [6, 6, 2, 2, 1]);
});

test("a contour is a closed line around the cells above its level", () => {
  const cells = new Float32Array(25);
  cells[12] = 1;
  const pieces = contour({ columns: 5, rows: 5, cells, most: 1 }, 0.5);
  assert.equal(pieces.length, 4);
  const ends = pieces.flat().map((point) => point.map((value) => value.toFixed(3)).join());
  assert.deepEqual(new Set(ends), new Set(["0.500,0.400", "0.600,0.500", "0.500,0.600", "0.400,0.500"])); // halfway to the neighbors
  assert.ok([...new Set(ends)].every((end) => ends.filter((one) => one === end).length === 2));
  cells[0] = 1; // in a corner the line is closed beyond the edge
  const corner = contour({ columns: 5, rows: 5, cells, most: 1 }, 0.5);
  assert.equal(corner.length, 8);
});

test("a range grows with the steps, never shrinks, and stays while steps play", () => {
  const ranges = new Ranges();
  const over = (/** @type {string} */ step, /** @type {[number, number] | null} */ range, isPlaying = false) => ranges.over("run", [{ step, range }], isPlaying);
  assert.deepEqual(over("1", [0, 1]), { range: [0, 1], num: 1, isHeld: false });
  assert.deepEqual(over("2", [-1, 0.5]), { range: [-1, 1], num: 2, isHeld: false });
  assert.deepEqual(over("1", [0, 1]).range, [-1, 1]);
  assert.deepEqual(over("3", null).num, 2);
  assert.deepEqual(over("4", [0, 5], true), { range: [-1, 5], num: 3, isHeld: true }); // the step at which it begins
  assert.deepEqual(over("5", [0, 9], true), { range: [-1, 5], num: 3, isHeld: true });
  assert.deepEqual(over("5", [0, 9]), { range: [-1, 9], num: 4, isHeld: false });
  assert.deepEqual(ranges.over("other", [{ step: "1", range: [3, 4] }], false).range, [3, 4]);
});

test("a range of values leaves out what is not known", () => {
  assert.deepEqual(rangeOf([0, 1, 2], Float32Array.of(2, NaN, -1, 99)), [-1, 2]);
  assert.equal(rangeOf([1], Float32Array.of(2, NaN)), null);
  assert.deepEqual([roomy([Infinity, -Infinity]), roomy([1, 1])], [[0, 1], [0.999, 1.001]]);
});

test("a place on the canvas has the values that are drawn there", () => {
  const axes = new Axes({ left: 10, top: 5, width: 100, height: 50 }, [-1, 1], [0, 2]);
  assert.deepEqual([axes.x(0), axes.y(0), axes.y(2)], [60, 55, 5]);
  assert.deepEqual([axes.at([60, 30]), axes.at([-99, 999])], [[0, 1], [-1, 0]]);
  assert.deepEqual([axes.has(0, 1), axes.has(0, 2.1), axes.has(NaN, 1)], [true, false, false]);
  assert.deepEqual([0.25, -1, 12, 1500].map(axisNumber), ["0.25", "−1", "12", "1500"]);
});

test("labels of lines do not cover each other", () => {
  assert.deepEqual(spaced([10, 12, 80], 14, [0, 100]), [10, 24, 80]);
  assert.deepEqual(spaced([95, 96, 97], 14, [6, 100]), [72, 86, 100]);
  assert.deepEqual(spaced([-5], 14, [6, 100]), [6]);
});

/** @type {Spot[]} */
const SPOTS = [{ pair: 7, x: 0, y: 0 }, { pair: 8, x: 10, y: 1 }, { pair: 9, x: 4, y: 30 }, { pair: 10, x: 12, y: 1 }];

test("the nearest point is found, a marked one first where two are about as near", () => {
  assert.equal(nearestTo(SPOTS, [9, 0], 14), 8);
  assert.equal(nearestTo(SPOTS, [11, 1], 14, (pair) => pair === 10), 10);
  assert.equal(nearestTo(SPOTS, [100, 100], 14), -1);
});

test("the arrows go to the next point ahead, and stay where there is none", () => {
  const next = (/** @type {number} */ from, /** @type {string} */ key) => nextTo(SPOTS, SPOTS[from], ARROWS[key]).pair;
  assert.deepEqual([next(0, "ArrowRight"), next(1, "ArrowRight"), next(3, "ArrowRight"), next(0, "ArrowDown"), next(2, "ArrowUp"), next(0, "ArrowLeft")], [8, 10, 10, 9, 7, 7]);
});

test("points are where the axes say, without those outside and those without a value", () => {
  const axes = new Axes({ left: 10, top: 20, width: 100, height: 50 }, [0, 1], [0, 2]);
  const points = pointsOf(axes, [4, 0, 1, 2, 3], [0.5, NaN, 0.25, 2, 0], [1, 1, NaN, 1, 2, 9]);
  assert.deepEqual([...points.pairs].map((pair, at) => [pair, points.x[at], points.y[at]]), [[4, 10, 20], [0, 60, 45]]);
  const all = pointsOf(axes, [0, 1, 2], [0, 0.5, 1], [0, 1, 2]);
  assert.deepEqual([[...all.pairs], [...all.x], [...all.y]], [[0, 1, 2], [10, 60, 110], [70, 45, 20]]);
  const few = some(all, (at) => at !== 1);
  assert.deepEqual([[...few.pairs], [...few.x], [...few.y]], [[0, 2], [10, 110], [70, 20]]);
});
