// A step with what the views ask of it again and again: where a pair is, what a label is called, which pairs count.

import { FLAGS } from "./wire.js";

const PLACES = 2 ** 26;

/** Pairs are known by their labels' rows in the head, the smaller one first: places differ from step to step. */
export const keyOf = ([one, other]) => one * PLACES + other;

export class Step {
  constructor(decoded) {
    Object.assign(this, decoded);
    this.placeOf = new Map(this.labels.map((label, place) => [label, place]));
  }

  /** The rows in the head of a pair's labels, as `keyOf` takes them. */
  pairAt(index) {
    const pair = [this.labels[this.row[index]], this.labels[this.column[index]]];
    return pair[0] < pair[1] ? pair : [pair[1], pair[0]];
  }

  /** Where a pair of labels is, or -1. */
  indexOf(pair) {
    if (!pair) return -1;
    this.byKey ??= new Map(Array.from(this.row, (_, index) => [keyOf(this.pairAt(index)), index]));
    return this.byKey.get(keyOf(pair)) ?? -1;
  }

  nameOf(label) {
    return this.placeOf.has(label) ? this.names[this.placeOf.get(label)] || `label ${label}` : `label ${label}`;
  }

  namesAt(index) {
    return this.pairAt(index).map((label) => this.nameOf(label));
  }

  flagAt(index) {
    return FLAGS[this.flag[index]] ?? "";
  }

  /** The pairs that have a value at all. */
  get counted() {
    if (!this.known) {
      const all = [...this.rungs.map((rung) => this.values[rung])];
      this.known = Array.from(this.row.keys()).filter((index) => all.some((values) => !Number.isNaN(values[index])));
    }
    return this.known;
  }

  /** How many pairs shown are flagged, by flag. */
  get numFlagged() {
    const num = { stranger: 0, "look-alike": 0 };
    for (const flag of this.flag) if (flag) num[FLAGS[flag]]++;
    return num;
  }

  /** The same two names in another run, whose head may count its labels in another order. */
  pairFrom(other, pair) {
    if (!pair) return null;
    this.byName ??= new Map(this.names.map((name, place) => [name, this.labels[place]]));
    const labels = pair.map((label) => this.byName.get(other.nameOf(label)));
    if (labels.some((label) => label === undefined)) return null;
    return labels[0] < labels[1] ? labels : [labels[1], labels[0]];
  }
}

/** A matrix n x n in the order of labels; NaN where there is no pair. */
export function matrix(step, values, order) {
  const num = order.length;
  const place = new Int32Array(step.names.length).fill(-1);
  order.forEach((label, at) => {
    if (step.placeOf.has(label)) place[step.placeOf.get(label)] = at;
  });
  const cells = new Float32Array(num * num).fill(NaN);
  for (let pair = 0; pair < step.num; pair++) {
    const one = place[step.row[pair]];
    const other = place[step.column[pair]];
    if (one < 0 || other < 0) continue;
    cells[one * num + other] = values[pair];
    cells[other * num + one] = values[pair];
  }
  return cells;
}

/** What pairs of a cosine usually overlap: a staircase, as the corners of its line. */
export function expectedCurve(step) {
  const similarity = step.values[step.cosine];
  const expected = step.values.expected_overlap;
  const known = step.counted.filter((pair) => !Number.isNaN(similarity[pair]) && !Number.isNaN(expected[pair]));
  known.sort((one, other) => similarity[one] - similarity[other]);
  return known.map((pair) => [similarity[pair], expected[pair]]);
}
