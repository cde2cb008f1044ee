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

  /** Of any label that some step of the run has shown. */
  nameOf(label) {
    const name = this.placeOf.has(label) ? this.names[this.placeOf.get(label)] : this.known?.get(label);
    return name || `label ${label}`;
  }

  namesAt(index) {
    return this.pairAt(index).map((label) => this.nameOf(label));
  }

  flagAt(index) {
    return FLAGS[this.flag[index]] ?? "";
  }

  /** Whether any input at all can bring out both labels of a pair on top; empty where it was not asked for. */
  onTopAt(index) {
    const reach = this.reach?.[index] ?? 0;
    if (reach === 2) return this.flagAt(index) === "look-alike" ? "possible, not seen" : "possible";
    return ["", "never together", "", "undecided"][reach];
  }

  /** The pairs that have a value at all. */
  get counted() {
    if (!this.pairs) {
      const all = [...this.rungs.map((rung) => this.values[rung])];
      this.pairs = Array.from(this.row.keys()).filter((index) => all.some((values) => !Number.isNaN(values[index])));
    }
    return this.pairs;
  }

  /** How many pairs shown are flagged, by flag. */
  get numFlagged() {
    const num = { stranger: 0, "look-alike": 0 };
    for (const flag of this.flag) if (flag) num[FLAGS[flag]]++;
    return num;
  }

  /** The pair of another run's labels in this one: rows of the same name, or else the only labels that are called so. */
  pairFrom(other, pair) {
    if (!pair) return null;
    const labels = pair.map((label) => this.labelFrom(other, label));
    if (labels.some((label) => label === null) || labels[0] === labels[1]) return null;
    return labels[0] < labels[1] ? labels : [labels[1], labels[0]];
  }

  labelFrom(other, label) {
    const [ours, theirs] = [this.known ?? own(this), other.known ?? own(other)];
    const name = theirs.get(label);
    if (name === undefined) return null;
    if (ours.get(label) === name) return label;
    const called = (names) => Array.from(names).flatMap(([one, text]) => (text === name ? [one] : []));
    const found = called(ours);
    return found.length === 1 && called(theirs).length === 1 ? found[0] : null;
  }
}

function own(step) {
  return new Map(step.labels.map((label, place) => [label, step.names[place]]));
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
