// The header of a step: every field is checked, and counts are held against the length of the body before anything is allocated.
// lightning_cossim/loggers/step_header.py does the same.

import { choice, list, object, real, realOrNull, record, refuse, text, truth, whole } from "./fields.js";

/** @import { Column, Facts, Quantity } from "./wire.js" */

const MAX_ORDER = 140; // as many labels as a step can have with all their pairs
const SIDES = ["strangers", "lookalikes"];
const MAX_COLUMNS = 100;
const NAME = /^[a-z][a-z0-9_]{0,99}$/;
/** @type {Record<Column["type"], number>} */
export const WIDTHS = { uint32: 4, uint16: 2, uint8: 1 };
/** @type {Map<string, Column["type"]>} columns that are not quantities */
const OWN = new Map([["pair", "uint32"], ["flag", "uint8"], ["reach", "uint8"]]);

/**
 * The columns of a body, and its number of pairs.
 * @param {unknown} value
 * @param {number} numBytes length of the body
 * @returns {{ columns: Column[], num: number }}
 */
export function checkedColumns(value, numBytes) {
  const columns = list(value, "columns", column);
  const names = new Set(columns.map(({ name }) => name));
  if (columns.length > MAX_COLUMNS || names.size < columns.length) refuse("columns", `to have at most ${MAX_COLUMNS} different names`);
  for (const name of ["flag", "overlap", "expected_overlap"]) if (!names.has(name)) refuse("columns", `to have ${name}`);
  const num = numBytes / columns.reduce((sum, { type }) => sum + WIDTHS[type], 0);
  if (!Number.isInteger(num)) throw new Error("The step is incomplete. The event file may be damaged.");
  return { columns, num };
}

/**
 * @param {unknown} value
 * @returns {Column}
 */
function column(value) {
  const fields = object(value, "columns");
  const name = text(fields.name, "name");
  if (!NAME.test(name)) refuse("name", "to be a word of small letters, digits and _");
  const type = choice(fields.type, "type", [OWN.get(name) ?? "uint16"]);
  if (type !== "uint16") return { name, type };
  const low = real(fields.low, "low");
  return { name, type, low, high: real(fields.high, "high", low) };
}

/**
 * The fields of a header in the form of the current version. `order` is cut to labels of the step, each once.
 * @param {Record<string, unknown>} header
 * @param {Column[]} columns
 * @param {number} num number of pairs in the body
 * @returns {Facts & { targets: string[] }}
 */
export function checkedHeader(header, columns, num) {
  const quantities = columns.flatMap(({ name, type }) => (type === "uint16" ? [name] : []));
  const names = list(header.names, "names", text);
  const all = (names.length * (names.length - 1)) / 2;
  if (!columns.some(({ name }) => name === "pair") && all !== num) throw new Error(`Expected ${all} pairs in the step, got ${num}. The event file may be damaged.`);
  const labels = list(header.labels, "labels", whole, names.length);
  if (new Set(labels).size < labels.length) refuse("labels", "to be different rows");
  const known = (/** @type {unknown} */ value, /** @type {string} */ name) => choice(value, name, quantities);
  const similarities = Array.from(new Set(list(header.similarities, "similarities", known)));
  const limits = Object.fromEntries(Object.entries(record(header.limits, "limits", realOrNull)).flatMap(([side, limit]) => (limit === null ? [] : [[choice(side, "limits", SIDES), limit]])));
  const places = list(header.order, "order", (place) => place).flatMap((place) => (typeof place === "number" && Number.isInteger(place) && place >= 0 && place < names.length ? [place] : []));
  return {
    stage: choice(header.stage, "stage", ["train", "val", "test", "analysis", ""]),
    step: whole(header.step, "step"),
    index: whole(header.index, "index"),
    time: real(header.time, "time"),
    link: text(header.link, "link"),
    cosine: choice(header.cosine, "cosine", similarities),
    num_labels: whole(header.num_labels, "num_labels"),
    num_inputs: whole(header.num_inputs, "num_inputs"),
    num_pairs: whole(header.num_pairs, "num_pairs"),
    chosen: text(header.chosen, "chosen"),
    truncation: real(header.truncation, "truncation", 0, 1),
    verdict: text(header.verdict, "verdict"),
    quantities: list(header.quantities, "quantities", quantity),
    similarities,
    thresholds: /** @type {Record<string, number>} */ (record(header.thresholds, "thresholds", realOrNull)),
    limits,
    reasons: list(header.reasons, "reasons", text),
    scalars: record(header.scalars, "scalars", realOrNull),
    standard_errors: /** @type {Record<string, number>} */ (record(header.standard_errors, "standard_errors", realOrNull)),
    undefined: record(header.undefined, "undefined", text),
    remarks: list(header.remarks, "remarks", text),
    names, labels,
    mean_probs: /** @type {number[]} */ (list(header.mean_probs, "mean_probs", realOrNull, names.length)),
    order: Array.from(new Set(places)).slice(0, MAX_ORDER),
    curve: list(header.curve, "curve", (corner) => /** @type {[number, number]} */ (list(corner, "curve", (end) => real(end, "curve"), 2))),
    targets: Array.from(new Set(list(header.targets, "targets", known))),
  };
}

/**
 * @param {unknown} value
 * @returns {Quantity}
 */
function quantity(value) {
  const fields = object(value, "quantities");
  return {
    .../** @type {{}} */ (fields.whole === undefined ? {} : { whole: truth(fields.whole, "whole") }),
    key: text(fields.key, "key"), title: text(fields.title, "title"), column: text(fields.column, "column"),
    low: realOrNull(fields.low, "low"), high: realOrNull(fields.high, "high"),
    direction: fields.direction === -1 ? -1 : whole(fields.direction, "direction", 1, 1),
    about: list(fields.about, "about", text),
  };
}
