// The course of a pair over the steps.

import assert from "node:assert/strict";
import { test } from "node:test";

import { apart, axisOf, courseOf, pieces, sinceWhen } from "../static/course.js";
import { NO_COURSE } from "../static/data.js";

/** @import { Course } from "../static/data.js" */

const COSINE = { low: -1, high: 1 };
const OVERLAP = { low: 0, high: 1 };
const VARIANCE = { low: 0, high: null };

test("an axis shows at least a tenth of the possible range, and three ticks", () => {
  const small = axisOf([0.4, 0.401], COSINE);
  assert.ok(small.high - small.low >= 0.2, JSON.stringify(small));
  for (const values of [[0.4, 0.401], [-1, -1], [1], [0, 1], [0.0001], [0.123, 0.456]]) {
    for (const quantity of [COSINE, OVERLAP, VARIANCE]) {
      const { low, high, ticks } = axisOf(values, quantity);
      assert.ok(ticks.length >= 3 && ticks.every((tick) => tick >= low - 1e-9 && tick <= high + 1e-9), JSON.stringify([values, quantity, low, high, ticks]));
      if (quantity.low !== null && values.every((value) => value >= quantity.low)) assert.ok(low >= quantity.low && values.every((value) => value >= low && value <= high));
    }
  }
});

test("an axis at a bound stays within it", () => {
  const low = axisOf([0.001, 0.002], OVERLAP);
  assert.ok(low.low === 0 && low.high >= 0.1);
  const high = axisOf([0.999, 1], OVERLAP);
  assert.ok(high.high === 1 && high.low <= 0.9);
});

test("an axis without values is from 0 to 1", () => assert.deepEqual(axisOf([], COSINE), { low: 0, high: 1, ticks: [0, 0.5, 1] }));

test("unknown values interrupt a line", () => {
  assert.deepEqual(pieces([1, 2, 3, 4, 5], [null, 0.1, 0.2, null, 0.3]), [[[2, 0.1], [3, 0.2]], [[5, 0.3]]]);
  assert.deepEqual(pieces([1, 2], [null, null]), []);
});

test("a course is found by the labels of its pair", () => {
  /** @type {Course} */
  const course = { ...NO_COURSE, pairs: [{ labels: [2, 6], values: {}, flags: [] }] };
  assert.equal(courseOf(course, [2, 6]), course.pairs[0]);
  assert.deepEqual([courseOf(course, [2, 7]), courseOf(course, null), courseOf(null, [2, 6])], [null, null, null]);
});

test("since when a pair is flagged is said in a sentence", () => {
  const steps = [10, 20, 1000, 2000];
  const [s, l] = ["stranger", "look-alike"];
  /** @type {[(string | null)[], string][]} */
  const told = [
    [["", "", "", ""], "Never flagged at 4 steps."],
    [[s, s, s, s], "Flagged at all 4 steps."],
    [["", s, "", s], "Flagged at 2 of 4 steps, and at every one since step 2,000."],
    [["", s, s, s], "Flagged at 3 of 4 steps, and at every one since step 20."],
    [[l, s, s, s], "Flagged at 4 of 4 steps, and at every one since step 20."],
    [["", s, s, ""], "Flagged at 2 of 4 steps, the last time at step 1,000."],
    [[null, s, s, s], "Flagged at all the 3 steps that have the pair."],
    [[null, "", s, s], "Flagged at 2 of the 3 steps that have the pair, and at every one since step 1,000."],
    [[null, null, null, ""], "Never flagged at the 1 step that has the pair."],
    [[null, null, null, null], ""],
  ];
  for (const [flags, sentence] of told) assert.equal(sinceWhen(steps, flags), sentence);
  assert.equal(sinceWhen([10], [""]), "Never flagged at 1 step.");
});

test("labels that would cover one another move apart, in their order", () => {
  assert.deepEqual(apart([10, 50], 13, 100), [10, 50]);
  assert.deepEqual(apart([12, 10, 11], 13, 100), [36, 10, 23]);
  assert.deepEqual(apart([99, 100], 13, 100), [87, 100]);
  assert.deepEqual(apart([], 13, 100), []);
});
