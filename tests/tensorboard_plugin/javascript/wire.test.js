// Decoding, against what Python packed and read itself.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { FLAGS, TooNew, VERSION, decode } from "../static/wire.js";

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** @param {string} name */
function fixture(name) {
  const bytes = readFileSync(new URL(`${name}.bin`, FIXTURES));
  return { buffer: Uint8Array.from(bytes).buffer, wanted: JSON.parse(readFileSync(new URL(`${name}.json`, FIXTURES), "utf8")) };
}

const names = readdirSync(FIXTURES).filter((file) => file.endsWith(".bin")).map((file) => file.slice(0, -4));

test("there are fixtures", () => assert.ok(names.length >= 4));

for (const name of names) {
  test(`a step of ${name} is what Python reads`, () => {
    const { buffer, wanted } = fixture(name);
    const step = decode(buffer);
    assert.equal(step.num, wanted.row.length);
    assert.deepEqual(Array.from(step.row), wanted.row);
    assert.deepEqual(Array.from(step.column), wanted.column);
    assert.deepEqual(Array.from(step.flag, (flag) => FLAGS[flag]), wanted.flag);
    assert.deepEqual(Array.from(step.why), wanted.why);
    for (const key of /** @type {const} */ (["names", "quantities", "similarities", "reasons", "truncation", "standard_errors"])) {
      assert.deepEqual(step[key], wanted[key]);
    }
    for (const side of /** @type {const} */ (["strangers", "lookalikes"])) assert.equal(step.limits[side], wanted.limits[side]);
    assertClose(step.values, wanted.values);
    assertClose(step.targets, wanted.targets);
  });
}

/**
 * @param {Record<string, Float32Array>} got
 * @param {Record<string, (number | null)[]>} wanted
 */
function assertClose(got, wanted) {
  assert.deepEqual(Object.keys(got).sort(), Object.keys(wanted).sort());
  for (const [key, values] of Object.entries(wanted)) {
    values.forEach((value, pair) => {
      const one = got[key][pair];
      if (value === null) assert.ok(Number.isNaN(one), `${key} of ${pair} is not known, got ${one}`);
      else assert.ok(Math.abs(one - value) <= 1e-5 * Math.max(1, Math.abs(value)), `${key} of ${pair}: ${one}, not ${value}`);
    });
  }
}

test("whole numbers are whole", () => {
  const { joint_inputs: joint } = decode(fixture("ten labels").buffer).values;
  assert.ok(joint.every(Number.isInteger) && joint.some((one) => one > 4));
});

test("a pair is flagged, or has a reason why not", () => {
  const step = decode(fixture("ten labels").buffer);
  assert.ok(step.flag.some(Boolean) && step.why.some(Boolean));
  step.flag.forEach((flag, pair) => assert.equal(flag > 0, step.why[pair] === 0));
});

test("the limits of older steps are their thresholds, if pairs were judged", () => {
  for (const name of ["version 1", "version 2"]) {
    const { limits, reasons, truncation } = decode(fixture(name).buffer);
    assert.deepEqual([limits, reasons, truncation], [{ strangers: 0.03, lookalikes: 0.03 }, [], 0]);
  }
  assert.deepEqual(decode(fixture("version 2 without a verdict").buffer).limits, {});
});

test("a later version is told apart from what is broken", () => {
  const { buffer } = fixture("ten labels");
  const text = new TextDecoder("latin1").decode(buffer).replace(`"version":${VERSION}`, '"version":9');
  const later = Uint8Array.from(text, (character) => character.charCodeAt(0)).buffer;
  assert.throws(() => decode(later), TooNew);
});

test("what is cut off is an error, not an empty picture", () => {
  const { buffer } = fixture("ten labels");
  assert.throws(() => decode(new ArrayBuffer(0)), /empty/);
  assert.throws(() => decode(buffer.slice(0, buffer.byteLength - 1)), /incomplete/);
  assert.throws(() => decode(buffer.slice(0, buffer.byteLength - 17)), /Expected 45 pairs in the step, got 44/);
  assert.throws(() => decode(buffer.slice(0, 40)), /length of its header/);
});

/**
 * The bytes of a step whose header is changed.
 * @param {(header: any) => void} change
 */
function changed(change) {
  const { buffer } = fixture("ten labels");
  const start = 4 + new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, start - 4)));
  change(header);
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(4 + text.length + buffer.byteLength - start);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  bytes.set(new Uint8Array(buffer, start), 4 + text.length);
  return bytes.buffer;
}

/** @type {Record<string, [change: (header: any) => void, said: RegExp]>} */
const DAMAGED = {
  "more names than pairs": [(header) => (header.names = Array(30_000).fill("")), /Expected 449985000 pairs in the step, got 45/],
  "a name that is no text": [(header) => (header.names[0] = 1), /`names` to be a text/],
  "the same row twice": [(header) => (header.labels[1] = header.labels[0]), /`labels` to be different rows/],
  "a column that is a prototype": [(header) => (header.columns[0].name = "__proto__"), /`name` to be a word/],
  "a column twice": [(header) => (header.columns[1].name = header.columns[0].name), /different names/],
  "a range that is not finite": [(header) => (header.columns[0].high = 1e301), /`high` to be a number/],
  "a negative step": [(header) => (header.step = -1), /`step` to be a whole number/],
  "a cosine that is no column": [(header) => (header.cosine = "constructor"), /`cosine` to be/],
  "a reason less": [(header) => (header.reasons = []), /marks of pairs/],
};

for (const [name, [change, said]] of Object.entries(DAMAGED)) {
  test(`a step with ${name} is refused`, () => assert.throws(() => decode(changed(change)), said));
}

test("the order is cut to labels of the step, each once", () => {
  const { order } = decode(changed((header) => (header.order = [3, 3, -1, 1.5, "2", null, 10, 1e9, 0])));
  assert.deepEqual(order, [3, 0]);
});
