// Evidence from its bytes, as Python packs it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decodeEvidence, referenceInWords, referencesAsText } from "../static/evidence.js";
import { keyOf } from "../static/step.js";
import { TooNew } from "../static/wire.js";

/** @import { Example } from "../static/evidence.js" */

const bytes = () => Uint8Array.from(readFileSync(new URL("../fixtures/evidence.blob", import.meta.url))).buffer;
const pictures = JSON.parse(readFileSync(new URL("../fixtures/evidence.json", import.meta.url), "utf8"));

test("the inputs of a pair come in the order of its rankings, with their names", async () => {
  const { numPairs, pairs } = decodeEvidence(bytes());
  assert.deepEqual([numPairs, pairs.size], [2, 2]);
  const found = pairs.get(keyOf([2, 6]));
  assert.deepEqual(found?.rankings.map(({ ranking, num, examples }) => [ranking, num, examples.length]), [["overlap", 3, 3], ["suspect_label", 1, 1]]);
  const [first, second, third] = found?.rankings[0].examples ?? [];
  assert.deepEqual({ ...first, picture: null }, { reference: { loader: 0, batch: 7, row: 0, index: 100, process: 0 }, p: [0.5, 0.25], predicted: "Pullover", target: "Shirt", isRight: false, text: null, picture: null });
  assert.deepEqual([second.text, second.picture, second.p, second.target, second.isRight], ["<b>text</b>", null, [null, 0.5], null, null]);
  assert.equal(third.isRight, true);
  assert.equal(first.picture?.type, `image/${pictures[0].kind}`);
  assert.equal(Buffer.from(await /** @type {Blob} */ (first.picture).arrayBuffer()).toString("base64"), pictures[0].content);
});

test("a look-alike is explained by its confident inputs first", () => {
  const found = decodeEvidence(bytes()).pairs.get(keyOf([0, 1]));
  assert.deepEqual(found?.rankings.map(({ ranking }) => ranking), ["confident", "overlap"]);
  assert.equal(found?.isComplete, false);
});

test("evidence of a later version is not read", () => {
  const later = Buffer.from(Buffer.from(bytes()).toString("latin1").replace('"version":1', '"version":9'), "latin1");
  assert.throws(() => decodeEvidence(Uint8Array.from(later).buffer), TooNew);
  assert.throws(() => decodeEvidence(new ArrayBuffer(0)), /empty evidence/);
});

test("a reference is its identifier, its index, or its place in the batches", () => {
  assert.equal(referenceInWords({ id: "img/9.png", index: 4, loader: 0, batch: 1, row: 2 }), "img/9.png");
  assert.equal(referenceInWords({ id: "" }), "''");
  assert.equal(referenceInWords({ index: 4, loader: 0, batch: 1, row: 2, process: 0 }), "index 4");
  assert.equal(referenceInWords({ index: 4, loader: 2, position: 7 }), "loader 2, index 4, position 7");
  assert.equal(referenceInWords({ loader: 0, batch: 1, row: 2, process: 3 }), "loader 0, batch 1, row 2, process 3");
  assert.equal(referenceInWords({}), "unknown");
});

test("references are copied as plain indices or identifiers, if all inputs have them", () => {
  const copied = (/** @type {Example["reference"][]} */ ...references) => referencesAsText(references.map((reference) => /** @type {Example} */ ({ reference })));
  assert.equal(copied({ index: 4, loader: 0 }, { index: 9 }), "4\n9");
  assert.equal(copied({ id: "a.png", index: 4 }, { id: "b.png" }), "a.png\nb.png");
  assert.equal(copied({ index: 4 }, { batch: 1, row: 2 }), "index 4\nbatch 1, row 2");
  assert.equal(copied({ index: 4, position: 2 }), "index 4, position 2");
});
