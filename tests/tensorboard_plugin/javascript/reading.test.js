// Which steps are read, and how many are kept.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

import { Source } from "../static/data.js";
import { Reader } from "../static/reader.js";

/** @import { Kept } from "../static/data.js" */

const bytes = readFileSync(new URL("../fixtures/ten labels.bin", import.meta.url));
/** @type {number[]} */
let asked = [];
globalThis.fetch = async (address) => {
  const step = Number(new URL(String(address)).searchParams.get("step"));
  asked.push(step);
  return step < 0 ? new Response("gone", { status: 404 }) : new Response(Uint8Array.from(bytes));
};

/** @type {Kept[]} */
const STEPS = Array.from({ length: 200 }, (_, at) => [at, at]);
const looked = (/** @type {number} */ at) => ({ run: "run", tag: "cossim_val", steps: STEPS, tags: [], at });

/** @param {() => unknown} act */
function askedBy(act) {
  asked = [];
  act();
  return [...asked].sort((one, other) => one - other);
}

test("a step is read once, and the sixty that were shown last are kept", async () => {
  const source = new Source();
  const read = (/** @type {number} */ at) => source.step("run", "cossim_val", STEPS[at]);
  asked = [];
  for (let at = 0; at < 60; at++) await read(at);
  await read(0);
  assert.equal(asked.length, 60);
  for (let at = 60; at < 119; at++) await read(at);
  assert.equal(source.kept.size, 60);
  await read(0);
  assert.equal(asked.length, 119); // it was asked for after the others
  await read(1);
  assert.deepEqual([asked.length, asked[119]], [120, 1]);
});

test("a step that cannot be read is asked for again", async () => {
  const source = new Source();
  for (let time = 0; time < 2; time++) await assert.rejects(source.step("run", "cossim_val", [-1, 0]), { message: "gone" });
  assert.deepEqual([asked.slice(-2), source.kept.size], [[-1, -1], 0]);
});

test("the next steps in the direction of a short move are read at once, all neighbors after a rest, and none during a drag", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const reader = new Reader();
  const show = (/** @type {number} */ at) => askedBy(() => reader.prefetch(looked(at)));
  const wait = () => askedBy(() => mock.timers.tick(200));
  assert.deepEqual([show(100), show(20), show(60)], [[], [], []]);
  assert.deepEqual(wait(), [59, 61, 62]);
  assert.deepEqual([show(61), show(62)], [[63], [64]]);
  assert.deepEqual(show(61), [60]); // the next two backwards; 59 has been read
  assert.deepEqual([show(199), wait()], [[], [198]]);
  mock.timers.reset();
});
