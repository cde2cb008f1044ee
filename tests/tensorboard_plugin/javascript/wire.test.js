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
    assert.deepEqual(step.names, wanted.names);
    assert.deepEqual(step.quantities, wanted.quantities);
    assert.deepEqual(Object.keys(wanted.values).sort(), [...step.similarities, "overlap", "expected_overlap", "gap"].sort());
    for (const [key, values] of Object.entries(wanted.values)) {
      values.forEach((/** @type {number | null} */ value, /** @type {number} */ pair) => {
        const got = step.values[key][pair];
        if (value === null) assert.ok(Number.isNaN(got), `${key} of ${pair} is not known, got ${got}`);
        else assert.ok(Math.abs(got - value) <= 1e-5 * Math.max(1, Math.abs(value)), `${key} of ${pair}: ${got}, not ${value}`);
      });
    }
  });
}

test("a later version is told apart from what is broken", () => {
  const { buffer } = fixture("ten labels");
  const text = new TextDecoder("latin1").decode(buffer).replace(`"version":${VERSION}`, '"version":9');
  const later = Uint8Array.from(text, (character) => character.charCodeAt(0)).buffer;
  assert.throws(() => decode(later), TooNew);
});

test("what is cut off is an error, not an empty picture", () => {
  const { buffer } = fixture("ten labels");
  assert.throws(() => decode(new ArrayBuffer(0)), /empty/);
  assert.throws(() => decode(buffer.slice(0, buffer.byteLength - 1)), /cut off/);
  assert.throws(() => decode(buffer.slice(0, buffer.byteLength - 13)), /should have 45 pairs, but has 44/);
  assert.throws(() => decode(buffer.slice(0, 40)), RangeError);
});
