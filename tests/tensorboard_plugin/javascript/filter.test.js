// Which pairs pass a filter, and how that is said.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { NO_FILTER, chips, count, passing } from "../static/filter.js";
import { Step, furthest } from "../static/step.js";
import { decode } from "../static/wire.js";

/** @import { Filter, Range } from "../static/filter.js" */
/** @import { Pair } from "../static/step.js" */

function step(name = "ten labels") {
  return new Step(decode(Uint8Array.from(readFileSync(new URL(`../fixtures/${name}.bin`, import.meta.url))).buffer));
}

/**
 * The names of the pairs that pass.
 * @param {Step} one
 * @param {Partial<Filter>} filter
 * @param {Pair[]} pins
 */
const found = (one, filter, pins = []) => passing(one, { ...NO_FILTER, ...filter }, pins).pairs.map((pair) => one.namesAt(pair).join("/"));

test("the search wants every word in one of the two labels", () => {
  const one = step();
  assert.equal(found(one, {}).length, 45);
  assert.equal(found(one, { search: "COAT" }).length, 9);
  assert.deepEqual(found(one, { search: " coat  shirt" }).sort(), ["Coat/Shirt", "T-shirt/Coat"]);
  assert.deepEqual(found(one, { search: "nothing" }), []);
});

test("flags narrow to any of the chosen ones", () => {
  const one = step();
  const { stranger, lookalike } = one.numFlagged;
  assert.ok(stranger > 0 && lookalike > 0);
  assert.equal(found(one, { flags: ["stranger"] }).length, stranger);
  assert.equal(found(one, { flags: ["stranger", "look-alike"] }).length, stranger + lookalike);
  assert.equal(found(one, { flags: ["none"] }).length, 45 - stranger - lookalike);
});

test("pinned pairs are found by their labels", () => {
  const one = step();
  assert.deepEqual(found(one, { pinned: true }, [[2, 6]]), ["Pullover/Shirt"]);
  assert.deepEqual(found(one, { pinned: true }), []);
  assert.equal(found(one, {}, [[2, 6]]).length, 45);
});

test("a rectangle keeps the pairs in it, edges included", () => {
  const one = step();
  const [x, y] = [one.values.raw_cosine, one.values.overlap];
  /** @type {Filter["brush"]} */
  const brush = { key: "raw_cosine", x: [x[7], 1], y: [0, y[7]] };
  const { pairs, marks } = passing(one, { ...NO_FILTER, brush }, []);
  assert.ok(marks[7] && pairs.length < 45);
  assert.deepEqual(pairs, one.counted.filter((pair) => x[pair] >= x[7] && y[pair] <= y[7]));
  assert.equal(found(one, { brush: { ...brush, key: "gone" } }).length, 45);
  assert.equal(found(one, { brush: { key: "raw_cosine", x: [-Infinity, x[7]], y: [-Infinity, Infinity] } }).length, one.counted.filter((pair) => x[pair] <= x[7]).length);
});

test("filters add up", () => {
  const one = step();
  const both = found(one, { search: "coat", flags: ["none"] });
  assert.deepEqual(both, found(one, { search: "coat" }).filter((name) => found(one, { flags: ["none"] }).includes(name)));
  assert.ok(both.length > 0 && both.length < 9);
});

test("every part of a filter is said, with the change that removes it", () => {
  const one = step();
  /** @type {Filter} */
  const filter = { search: "coat shirt", flags: ["stranger", "none"], pinned: true, brush: { key: "raw_cosine", x: [-0.25, 0.5], y: [0, 0.1234] } };
  assert.deepEqual(chips(one, filter), [
    { text: "name has “coat” and “shirt”", without: { search: "" } },
    { text: "strangers or not flagged", without: { flags: [] } },
    { text: "pinned", without: { pinned: false } },
    { text: "raw cos −0.25 to 0.5, overlap 0 to 0.12", without: { brush: null } },
  ]);
  /** @type {(x: Range, y: Range) => string[]} */
  const said = (x, y) => chips(one, { ...NO_FILTER, brush: { key: "raw_cosine", x, y } }).map(({ text }) => text);
  assert.deepEqual(said([0.5, Infinity], [-Infinity, Infinity]), ["raw cos at least 0.5"]);
  assert.deepEqual(said([-Infinity, Infinity], [-Infinity, 0.1]), ["overlap at most 0.1"]);
  assert.deepEqual(chips(one, { ...NO_FILTER, search: " ", brush: { key: "gone", x: [0, 1], y: [0, 1] } }), []);
});

test("how many are shown is said of how many there are", () => {
  const shown = (/** @type {Step} */ one, /** @type {Partial<Filter>} */ filter) => count(passing(one, { ...NO_FILTER, ...filter }, []));
  assert.equal(shown(step(), {}), "45 pairs");
  assert.equal(shown(step(), { search: "coat" }), "9 of 45 pairs");
  assert.match(shown(step("chosen pairs"), {}), /^[\d,]+ pairs in this step, of all 44,850$/);
  assert.match(shown(step("chosen pairs"), { flags: ["stranger"] }), /^[\d,]+ of [\d,]+ pairs in this step, of all 44,850$/);
});

test("the pair that is furthest off is a flagged one, if any is", () => {
  const one = step();
  const { gap } = one.values;
  const size = (/** @type {number} */ pair) => Math.abs(gap[pair]);
  const most = (/** @type {number[]} */ pairs) => pairs.reduce((best, pair) => (size(pair) > size(best) ? pair : best));
  assert.equal(furthest(one), most(one.counted.filter((pair) => one.flag[pair])));
  one.flag.fill(0);
  assert.equal(furthest(one), most(one.counted));
  gap.fill(NaN);
  assert.equal(furthest(one), -1);
});
