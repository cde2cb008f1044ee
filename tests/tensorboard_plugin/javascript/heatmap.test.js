// What the heatmap works out before it draws: its scale, its labels, the part it shows; and the places of pins.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { NO_FILTER, passing } from "../static/filter.js";
import { areMany, chosenLabels, narrowed } from "../static/labels.js";
import { MAX_PINS, placeOf as pinAt, turned } from "../static/pins.js";
import { quantityOf } from "../static/quantities.js";
import { placeOf, scaleOf, widened } from "../static/scale.js";
import { Step } from "../static/step.js";
import { decode } from "../static/wire.js";
import { holds, moved, reaching, whole, within, zoomed } from "../static/zoom.js";

/** @import { Pins } from "../static/pins.js" */
/** @import { Pair } from "../static/step.js" */
/** @import { View } from "../static/zoom.js" */

function step(name = "ten labels") {
  return new Step(decode(Uint8Array.from(readFileSync(new URL(`../fixtures/${name}.bin`, import.meta.url))).buffer));
}

const row = (direction = 1) => ({ ...quantityOf([], "a"), direction });

test("a scale ends at the largest absolute value, and zero is its middle", () => {
  const gap = scaleOf(row(), Float32Array.of(NaN, -0.25, 0.5, 0), 3);
  assert.deepEqual(gap, { signed: true, limit: 0.5, reversed: false });
  assert.deepEqual([-2, -0.5, 0, 0.25, 0.5, 9].map((value) => placeOf(gap, value)), [0, 0, 0.5, 0.75, 1, 1]);
  assert.deepEqual(scaleOf(row(), Float32Array.of(0.1, 4), 3).signed, false);
});

test("of many labels, the scale leaves out the largest hundredth of the values", () => {
  const values = Float32Array.from({ length: 201 }, (_, at) => (at === 7 ? -1000 : at % 2 ? at : -at));
  assert.equal(scaleOf(row(), values, 20).limit, 1000);
  assert.equal(scaleOf(row(), values, 21).limit, 199);
  const zeros = Float32Array.from({ length: 500 }, (_, at) => (at === 7 ? 3 : 0));
  assert.equal(scaleOf(row(), zeros, 100).limit, 3); // the quantile is 0
});

test("a larger value that means less alike is blue", () => {
  const variance = scaleOf(row(-1), Float32Array.of(0, 4), 3);
  assert.deepEqual([0, 2, 4].map((value) => placeOf(variance, value)), [0.5, 0.25, 0]);
});

test("a scale without values is finite", () => {
  const nothing = scaleOf(row(), Float32Array.of(NaN), 3);
  assert.deepEqual([nothing.limit, placeOf(nothing, 0)], [1, 0.5]);
});

test("a fixed scale fits every step", () => {
  const [one, other] = [scaleOf(row(), Float32Array.of(-0.2, 0.3), 3), scaleOf(row(), Float32Array.of(0.1), 3)];
  assert.deepEqual([widened(one, other), widened(other, one), widened(undefined, other)], [one, one, other]);
});

/** @param {View} view */
const numbers = ({ row: first, column, num }) => [first, column, num].map((value) => Math.round(value * 1000) / 1000);

test("zooming holds the cell under the pointer, also off the diagonal", () => {
  const place = { x: 0.9, y: 0.1 };
  const near = zoomed(whole(100), 0.1, place, 100);
  assert.deepEqual(numbers(near), [9, 81, 10]); // row 10 and column 90 were there, and still are
  assert.deepEqual([near.row + place.y * near.num, near.column + place.x * near.num].map(Math.round), [10, 90]);
  assert.ok(holds(near, 10, 89) && !holds(near, 10, 10));
  assert.deepEqual(numbers(zoomed(near, 10, place, 100)), [0, 0, 100]);
});

test("a view stays within the matrix, with at least three labels", () => {
  assert.deepEqual(numbers(moved({ row: 1, column: 5, num: 4 }, -9, 99, 10)), [0, 6, 4]);
  assert.deepEqual(numbers(within({ row: 8, column: 8, num: 0.5 }, 10)), [7, 7, 3]);
  assert.deepEqual(numbers(within({ row: 8, column: 8, num: 90 }, 2)), [0, 0, 2]);
  assert.deepEqual(numbers(within(whole(0), 0)), [0, 0, 0]);
});

test("a view moves as little as needed to reach a cell", () => {
  const view = { row: 2, column: 2, num: 4 };
  assert.deepEqual(numbers(reaching(view, 3, 3, 10)), [2, 2, 4]);
  assert.deepEqual(numbers(reaching(view, 0, 9, 10)), [0, 6, 4]);
});

test("up to a hundred labels are shown in the order of the pictures", () => {
  const one = step();
  const order = one.order.map((place) => one.labels[place]);
  assert.equal(areMany(one), false);
  for (const labels of /** @type {const} */ (["neighborhood", "probable", "flagged"])) {
    assert.deepEqual(chosenLabels(one, order, labels, [2, 6]), { order, words: "all 10 labels, ordered by overlap" });
  }
});

test("of more labels, the neighborhood begins with the selected pair, and goes on with what overlaps most", () => {
  const one = step("chosen pairs");
  const order = one.order.map((place) => one.labels[place]);
  const pair = one.pairAt(17);
  const { order: near, words } = chosenLabels(one, order, "neighborhood", pair);
  assert.deepEqual(near.slice(0, 2), pair);
  assert.equal(new Set(near).size, near.length);
  assert.match(words, /^the selected pair and the \d+ of 300 labels that overlap most with one of the two, nearest first$/);
  const overlapOf = (/** @type {number} */ label) => Math.max(...pair.map((own) => one.values.overlap[one.indexOf(/** @type {Pair} */ ([own, label].sort((a, b) => a - b)))] ?? -1));
  const overlaps = near.slice(2).map(overlapOf);
  assert.deepEqual(overlaps, [...overlaps].sort((a, b) => b - a));
  const most = Math.max(...one.labels.filter((label) => !pair.includes(label)).map(overlapOf));
  assert.equal(overlaps[0], most);
});

test("without a pair of this step, the most probable labels are shown", () => {
  const one = step("chosen pairs");
  for (const pair of /** @type {(Pair | null)[]} */ ([null, [999998, 999999]])) assert.deepEqual(chosenLabels(one, [5, 3], "neighborhood", pair), { order: [5, 3], words: "the 2 most probable of 300 labels, ordered by overlap" });
});

test("the labels of flagged pairs are beside each other, the largest gaps first", () => {
  const one = step("chosen pairs");
  one.flag.fill(0);
  for (const [pair, gap] of [[40, -0.5], [60, 0.9], [80, 0.1]]) {
    one.flag[pair] = 1;
    one.values.gap[pair] = gap;
  }
  const { order, words } = chosenLabels(one, [], "flagged", null);
  assert.deepEqual(order, Array.from(new Set([60, 40, 80].flatMap((pair) => one.pairAt(pair)))));
  assert.equal(words, `the ${order.length} labels of flagged pairs, of 300 labels, largest gaps first`);
  one.flag.fill(1);
  assert.match(chosenLabels(one, [], "flagged", null).words, /^100 of the \d+ labels of flagged pairs/);
});

test("labels without a pair that passes the filter are left out", () => {
  const one = step();
  const order = one.order.map((place) => one.labels[place]);
  assert.deepEqual(narrowed(one, order, passing(one, NO_FILTER, [])), order);
  assert.deepEqual(narrowed(one, order, passing(one, { ...NO_FILTER, pinned: true }, [[2, 6]])).sort(), [2, 6]);
  assert.deepEqual(narrowed(one, order, passing(one, { ...NO_FILTER, search: "nothing" }, [])), []);
});

test("a pin keeps its place while others come and go", () => {
  /** @type {Pair[]} */
  const pairs = Array.from({ length: MAX_PINS + 1 }, (_, at) => [at, at + 1]);
  /** @type {Pins} */
  let pins = [];
  for (const pair of pairs.slice(0, 3)) pins = turned(pins, pair) ?? [];
  pins = turned(pins, pairs[1]) ?? [];
  assert.deepEqual(pins, [pairs[0], null, pairs[2]]);
  assert.equal(pinAt(pins, pairs[2]), 2);
  pins = turned(pins, pairs[5]) ?? [];
  assert.deepEqual(pins, [pairs[0], pairs[5], pairs[2]]);
  assert.deepEqual(turned(turned(pins, pairs[2]) ?? [], pairs[5]), [pairs[0]]);
  for (const pair of [1, 3, 4, 6].map((at) => pairs[at])) pins = turned(pins, pair) ?? [];
  assert.equal(pins.length, MAX_PINS);
  assert.equal(turned(pins, pairs[7]), null);
});
