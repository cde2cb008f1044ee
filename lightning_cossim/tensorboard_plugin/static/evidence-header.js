// The header of evidence: every field is checked. lightning_cossim/loggers/evidence_wire.py describes the format and does the same.

import { choice, list, object, real, record, refuse, text, truth, whole } from "./fields.js";

/** @import { Reference } from "./evidence.js" */
/** @import { Pair } from "./step.js" */

/** @typedef {{ reference: Reference, p: [number | null, number | null], predicted: number, target?: number, text?: string, picture?: number }} SentExample */
/** @typedef {{ labels: Pair, flag?: string, is_complete: boolean, examples: SentExample[], rankings: Record<string, { num: number, examples: number[] }> }} SentPair */
/** @typedef {{ num_pairs: number, names: Record<string, string>, pictures: { kind: string, offset: number, size: number }[], pairs: SentPair[] }} Header the header of a blob */

const MAX_SIDE = 64; // of a picture, in pixels
const FIELDS = ["loader", "batch", "row", "position", "index", "process", "id"];
const RANKINGS = ["overlap", "confident", "suspect_label"];

/**
 * @param {Record<string, unknown>} header
 * @param {number} numBytes length of the body
 * @returns {Header}
 */
export function checkedEvidence(header, numBytes) {
  const names = record(header.names, "names", text);
  let end = 0;
  const pictures = list(header.pictures, "pictures", (value) => {
    const fields = object(value, "pictures");
    for (const side of ["width", "height"]) whole(fields[side], side, 1, MAX_SIDE);
    const found = { kind: choice(fields.kind, "kind", ["png", "jpeg"]), offset: whole(fields.offset, "offset", end, end), size: whole(fields.size, "size", 1, numBytes - end) };
    end += found.size; // no two pictures share bytes: together they are as large as the body
    return found;
  });
  if (end !== numBytes) refuse("pictures", "to fill the body");
  const pairs = list(header.pairs, "pairs", (value) => pair(value, names, pictures.length));
  return { num_pairs: whole(header.num_pairs, "num_pairs", pairs.length), names, pictures, pairs };
}

/**
 * @param {unknown} value
 * @param {Record<string, string>} names
 * @param {number} numPictures
 * @returns {SentPair}
 */
function pair(value, names, numPictures) {
  const fields = object(value, "pairs");
  const row = (/** @type {unknown} */ one, /** @type {string} */ name) => (Object.hasOwn(names, String(whole(one, name))) ? Number(one) : refuse(name, "to be a row with a name"));
  const labels = /** @type {Pair} */ (list(fields.labels, "labels", row, 2));
  if (labels[0] >= labels[1]) refuse("labels", "to be two rows, the smaller one first");
  const examples = list(fields.examples, "examples", (one) => example(one, row, numPictures));
  const rankings = record(fields.rankings, "rankings", (one) => {
    const of = object(one, "rankings");
    const places = list(of.examples, "examples", (place, name) => whole(place, name, 0, examples.length - 1));
    return { num: whole(of.num, "num", places.length), examples: places };
  });
  for (const ranking of Object.keys(rankings)) choice(ranking, "rankings", RANKINGS);
  const flag = fields.flag === undefined ? {} : { flag: choice(fields.flag, "flag", ["stranger", "look-alike"]) };
  return { labels, is_complete: truth(fields.is_complete, "is_complete"), examples, rankings, ...flag };
}

/**
 * @param {unknown} value
 * @param {(value: unknown, name: string) => number} row
 * @param {number} numPictures
 * @returns {SentExample}
 */
function example(value, row, numPictures) {
  const fields = object(value, "examples");
  const reference = object(fields.reference, "reference");
  for (const [key, one] of Object.entries(reference)) choice(key, "reference", FIELDS) === "id" ? text(one, key) : whole(one, key);
  const share = (/** @type {unknown} */ p) => (p === null ? null : real(p, "p", 0, 1));
  return {
    reference: /** @type {Reference} */ (reference),
    p: /** @type {[number | null, number | null]} */ (list(fields.p, "p", share, 2)),
    predicted: row(fields.predicted, "predicted"),
    ...(fields.target === undefined ? {} : { target: row(fields.target, "target") }),
    ...(fields.text === undefined ? {} : { text: text(fields.text, "text") }),
    ...(fields.picture === undefined ? {} : { picture: whole(fields.picture, "picture", 0, numPictures - 1) }),
  };
}
