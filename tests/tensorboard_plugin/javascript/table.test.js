// The columns, the order and the rows of the table, its CSV, and the comparison of two steps.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { columnsOf, columnsOfCsv, columnsOfTwo, csv, decimalsOf, fixed, largest, sorted } from "../static/columns.js";
import { compare, inCommon, isBeyond, labelsApart } from "../static/compare.js";
import { partsOf } from "../static/rows.js";
import { Step } from "../static/step.js";
import { decode } from "../static/wire.js";

/** @import { Column } from "../static/columns.js" */

function step(name = "ten labels") {
  return new Step(decode(Uint8Array.from(readFileSync(new URL(`../fixtures/${name}.bin`, import.meta.url))).buffer));
}

/** The first pair with hand-made numbers. */
function handMade(name = "ten labels") {
  const one = step(name);
  const numbers = { overlap: 0.4126, overlap_error: 0.0213, expected_overlap: 0.25, gap: 0.1626, joint_inputs: 17 };
  for (const [key, value] of Object.entries(numbers)) one.values[key][0] = value;
  return one;
}

/**
 * @param {Column[]} columns
 * @param {string} key
 */
function called(columns, key) {
  const found = columns.find((one) => one.key === key);
  assert.ok(found, key);
  return found;
}

test("what is not known comes last, whichever way the table is sorted", () => {
  const values = [2, NaN, 1, 3];
  /** @type {Column} */
  const column = { key: "gap", text: "gap", of: (pair) => values[pair], number: true };
  assert.deepEqual(sorted([0, 1, 2, 3], column, true), [3, 0, 2, 1]);
  assert.deepEqual(sorted([0, 1, 2, 3], column, false), [2, 0, 3, 1]);
  assert.deepEqual(sorted([0, 1], { of: (/** @type {number} */ pair) => ["b", "a"][pair] }, false), [1, 0]);
});

test("a table is CSV that no spreadsheet runs", () => {
  /** @type {Column[]} */
  const columns = [
    { key: "label", text: "label", of: (pair) => ["=cmd()", 'say "hi", you'][pair] },
    { key: "gap", text: "gap", number: true, of: (pair) => [NaN, -0.123456789][pair] },
    { key: "flag", text: "flag", of: () => "▲ stranger" },
  ];
  assert.equal(csv(columns, [0, 1]), `label,gap,flag\n'=cmd(),,stranger\n"say ""hi"", you",-0.123457,stranger\n`);
});

test("pairs are sorted by why they are not flagged", () => {
  const one = step();
  const column = columnsOf(one).find(({ key }) => key === "why_unflagged");
  assert.ok(column && !column.number);
  const reasons = sorted(one.counted, column, false).map(column.of);
  assert.ok(reasons[0] === "" && new Set(reasons).size > 2);
  assert.deepEqual(reasons, [...reasons].sort((a, b) => a.localeCompare(b)));
});

test("errors, joint inputs and reasons are in the table and its CSV", () => {
  const one = handMade();
  one.flag[0] = 0;
  one.why[0] = one.reasons.indexOf("within error");
  const columns = columnsOf(one).filter(({ key }) => ["flag", "why_unflagged", "overlap", "overlap_error", "joint_inputs"].includes(key));
  assert.equal(csv(columns, [0]), "flag,overlap,overlap_error,joint_inputs,why_unflagged\n,0.4126,0.0213,17,within error\n");
  assert.deepEqual(columns.map(({ text }) => text), ["flag", "overlap", "std error", "joint", "why not flagged"]);
  assert.deepEqual(columns.flatMap((column) => (column.number ? [fixed(column.of(0), decimalsOf(column, largest(column, [0])))] : [])), ["0.413", "0.021", "17"]);
});

test("a similarity that was added is there without a line of JavaScript", () => {
  const one = step("an added similarity");
  assert.equal(one.similarities[0], "added_distance");
  const column = columnsOf(one).find(({ key }) => key === "added_distance");
  assert.ok(column?.number);
  assert.deepEqual([column.text, column.title, column.direction], ["added", "added <b>distance</b>", -1]);
  assert.ok(column.of(0) >= 0);
  assert.deepEqual(one.quantity("added_distance").about, ["What was added <i>first</i>.", "And then."]);
});

test("the table is sorted by the size of the gap, either sign", () => {
  const one = step();
  [0.1, -0.4, 0.3].forEach((gap, pair) => (one.values.gap[pair] = gap));
  const gap = called(columnsOf(one), "gap");
  assert.deepEqual(sorted([0, 1, 2], gap, true), [1, 2, 0]);
  assert.deepEqual(sorted([0, 1, 2], gap, false), [0, 2, 1]);
  assert.equal(gap.of(1), one.values.gap[1]);
});

test("all numbers of a column have the same decimals", () => {
  const of = (/** @type {number[]} */ values, whole = false) => {
    /** @type {Column} */
    const column = { key: "a", text: "a", number: true, whole, of: (pair) => values[pair] };
    const pairs = [...values.keys()];
    return values.map((value) => fixed(value, decimalsOf(column, largest(column, pairs)), true));
  };
  assert.deepEqual(of([0.5, -0.25, 0, NaN, 1e-9, -1e-9]), ["+0.500", "−0.250", "0.000", "–", "0.000", "0.000"]);
  assert.deepEqual([of([7.517, 15.2]), of([7.517, 815.2]), of([0.2, 2000])], [["+7.52", "+15.20"], ["+7.5", "+815.2"], ["0", "+2000"]]);
  assert.deepEqual(of([17, 3], true), ["+17", "+3"]);
  assert.equal(fixed(0.5, 3), "0.500");
});

test("a CSV has all columns, also those that the table lacks", () => {
  const one = step("known targets");
  const columns = columnsOfCsv(one, columnsOf(one));
  const [head, first] = csv(columns, [0]).split("\n").map((line) => line.split(","));
  const record = Object.fromEntries(head.map((key, at) => [key, first[at]]));
  assert.deepEqual([record.label, record.other, record.label_row, record.other_row], ["T-shirt", "Trouser", "0", "1"]);
  assert.deepEqual([record.errors, record.errors_back, record.mass_label, record.mass_neither], ["12", "3", "0.5", "0.25"]);
  assert.ok(["gap", "overlap_error", "why_unflagged", ...one.similarities].every((key) => key in record));
});

test("rows in view are elements, and the row with the focus, wherever it is", () => {
  assert.deepEqual(partsOf(2, 5, 3, 9), { parts: [{ row: 2, before: 2 }, { row: 3, before: 0 }, { row: 4, before: 0 }], after: 4 });
  assert.deepEqual(partsOf(4, 6, 1, 9), { parts: [{ row: 1, before: 1 }, { row: 4, before: 2 }, { row: 5, before: 0 }], after: 3 });
  assert.deepEqual(partsOf(4, 6, 8, 9), { parts: [{ row: 4, before: 4 }, { row: 5, before: 0 }, { row: 8, before: 2 }], after: 0 });
  assert.deepEqual(partsOf(0, 0, -1, 0), { parts: [], after: 0 });
});

/** Two steps of the same labels; in the second, three gaps differ. */
function two() {
  const [one, other] = [step(), step()];
  for (const side of [one, other]) side.values.overlap_error.fill(0.03);
  [0, 1, 2].forEach((pair) => one.values.gap[pair] = 0.1);
  [0.1, 0.2, -0.3].forEach((gap, pair) => (other.values.gap[pair] = gap));
  return { one, other };
}

test("a change of the gap is judged by the errors of both", () => {
  const { one, other } = two();
  const compared = compare(one, other);
  const near = (/** @type {number} */ value, /** @type {number} */ wanted) => assert.ok(Math.abs(value - wanted) < 1e-6, `${value}, not ${wanted}`);
  near(compared.change[2], -0.4);
  near(compared.error[2], Math.SQRT2 * 0.03);
  near(compared.beyond[2], 0.4 - 2 * Math.SQRT2 * 0.03);
  assert.deepEqual([0, 1, 2].map((pair) => isBeyond(compared, pair)), [false, true, true]);
  assert.equal(compared.pairs.length, 45);
  const columns = columnsOfTwo(compared);
  assert.deepEqual(sorted(compared.pairs, called(columns, "beyond"), true).slice(0, 2), [2, 1]);
  near(/** @type {number} */ (called(columns, "gap_b").of(2)), -0.3);
  assert.deepEqual([0, 1, 2].map((pair) => Number.isNaN(called(columns, "beyond").of(pair))), [true, false, false]);
});

test("a change without errors is never beyond them", () => {
  const compared = compare(step("version 1"), step());
  assert.equal(compared.pairs.length, 45);
  assert.ok(compared.pairs.every((pair) => !isBeyond(compared, pair) && compared.beyond[pair] === Math.abs(compared.change[pair])));
});

test("pairs are compared by the names of their labels, and the labels in common are said", () => {
  const same = two();
  assert.equal(inCommon(compare(same.one, same.other)), "A and B have the same 10 labels. 45 pairs of A are also in B.");
  for (const side of [same.one, same.other]) side.values.overlap_error.fill(9);
  assert.match(inCommon(compare(same.one, same.other)), / No gap changed by more than the errors of both\.$/);
  assert.match(inCommon(compare(step(), step())), / Nothing changed: all of them have the same overlap, cosine and gap in A and B\.$/);
  const { one, other } = two();
  other.labels = [...other.labels].reverse(); // the same names, rows of the head counted the other way round
  other.placeOf = new Map(other.labels.map((label, place) => [label, place]));
  assert.deepEqual(Array.from(compare(one, other).there).slice(0, 3), [0, 1, 2]);
  other.names = other.names.map((name, place) => (place < 4 ? `${name}!` : name));
  assert.deepEqual(labelsApart(one, other), { num: 6, onlyOne: ["T-shirt", "Trouser", "Pullover", "Dress"], onlyOther: ["T-shirt!", "Trouser!", "Pullover!", "Dress!"] });
  assert.equal(inCommon(compare(one, other)), "A and B have 6 labels in common; 4 labels only in A: T-shirt, Trouser, Pullover and 1 more; 4 labels only in B: T-shirt!, Trouser!, Pullover! and 1 more. 15 pairs of A are also in B. Nothing changed: all of them have the same overlap, cosine and gap in A and B.");
});
