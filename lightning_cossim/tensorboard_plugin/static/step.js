// A step with the lookups that views need: the place of a pair, the name of a label, the pairs with a value.

import { quantityOf } from "./quantities.js";
import { FLAGS } from "./wire.js";

/** @import { Decoded } from "./wire.js" */

/** @typedef {[number, number]} Pair two labels, as rows of the head */

const PLACES = 2 ** 26;

/**
 * The key of a pair, from its labels' rows in the head, the smaller row first. Places cannot be the key, because they differ between steps.
 * @param {Pair} pair
 */
export const keyOf = ([one, other]) => one * PLACES + other;

/**
 * A pair with the smaller row first.
 * @param {number} one
 * @param {number} other
 * @returns {Pair}
 */
const ordered = (one, other) => (one < other ? [one, other] : [other, one]);

class Fields {
  /** @param {Decoded} decoded */
  constructor(decoded) {
    Object.assign(this, decoded);
  }
}

const HasDecoded = /** @type {new (decoded: Decoded) => Decoded} */ (/** @type {unknown} */ (Fields));

export class Step extends HasDecoded {
  /** @param {Decoded} decoded */
  constructor(decoded) {
    super(decoded);
    this.placeOf = new Map(this.labels.map((label, place) => [label, place]));
    /** @type {Map<number, string> | null} names of the labels of all loaded steps of the run */
    this.known = null;
    /** @type {Map<number, number> | null} */
    this.byKey = null;
    /** @type {number[] | null} */
    this.pairs = null;
  }

  /**
   * The name and explanation of a quantity.
   * @param {string} key
   */
  quantity(key) {
    return quantityOf(this.quantities, key);
  }

  /**
   * The labels of a pair as rows of the head, the smaller row first.
   * @param {number} index
   */
  pairAt(index) {
    return ordered(this.labels[this.row[index]], this.labels[this.column[index]]);
  }

  /**
   * The place of a pair of labels in the step; -1 if the step lacks the pair.
   * @param {Pair | null} pair
   */
  indexOf(pair) {
    if (!pair) return -1;
    this.byKey ??= this.keys();
    return this.byKey.get(keyOf(pair)) ?? -1;
  }

  /** The place of each pair by its key. */
  keys() {
    /** @type {Map<number, number>} */
    const found = new Map();
    for (let index = 0; index < this.num; index++) {
      const [one, other] = [this.labels[this.row[index]], this.labels[this.column[index]]];
      found.set(one < other ? one * PLACES + other : other * PLACES + one, index);
    }
    return found;
  }

  /**
   * The name of a label of any loaded step of the run.
   * @param {number} label
   */
  nameOf(label) {
    const place = this.placeOf.get(label);
    const name = place === undefined ? this.known?.get(label) : this.names[place];
    return name || `label ${label}`;
  }

  /**
   * Whether any loaded step of the run has a label.
   * @param {number} label
   */
  isKnown(label) {
    return this.placeOf.has(label) || Boolean(this.known?.has(label));
  }

  /** @param {number} index */
  namesAt(index) {
    return this.pairAt(index).map((label) => this.nameOf(label));
  }

  /** @param {number} index */
  flagAt(index) {
    return FLAGS[this.flag[index]] ?? "";
  }

  /**
   * The reason why a pair is not flagged, in words; empty if the pair is flagged or the step has no reasons.
   * @param {number} index
   */
  whyAt(index) {
    return this.verdict ? "no verdict" : (this.reasons[this.why[index]] ?? "");
  }

  /**
   * Whether an input can make both labels of a pair the most likely ones, in words; empty if this was not computed.
   * @param {number} index
   */
  onTopAt(index) {
    const reach = this.reach?.[index] ?? 0;
    if (reach === 2) return this.flagAt(index) === "look-alike" ? "possible, not seen" : "possible";
    return ["", "never together", "", "undecided"][reach];
  }

  /** The pairs that have a value. */
  get counted() {
    if (!this.pairs) {
      const all = ["overlap", ...this.similarities].map((key) => this.values[key]);
      this.pairs = [];
      for (let index = 0; index < this.num; index++) if (all.some((values) => !Number.isNaN(values[index]))) this.pairs.push(index);
    }
    return this.pairs;
  }

  /** Number of flagged pairs in the step, by flag. */
  get numFlagged() {
    const num = [0, 0, 0];
    for (const flag of this.flag) num[flag]++;
    return { stranger: num[1], lookalike: num[2] };
  }

  /**
   * The pair of this step with the same labels as a pair of another run's step: rows with the same names or, if they differ, unique labels with these names.
   * @param {Step} other
   * @param {Pair | null} pair
   */
  pairFrom(other, pair) {
    if (!pair) return null;
    const [one, two] = pair.map((label) => this.labelFrom(other, label));
    return one === null || two === null || one === two ? null : ordered(one, two);
  }

  /**
   * @param {Step} other
   * @param {number} label
   */
  labelFrom(other, label) {
    const [ours, theirs] = [this.known ?? own(this), other.known ?? own(other)];
    const name = theirs.get(label);
    if (name === undefined) return null;
    if (ours.get(label) === name) return label;
    const found = called(ours, name);
    return found.length === 1 && called(theirs, name).length === 1 ? found[0] : null;
  }
}

/** @param {Step} step */
function own(step) {
  return new Map(step.labels.map((label, place) => [label, step.names[place]]));
}

/**
 * The labels with a name.
 * @param {Map<number, string>} names
 * @param {string} name
 */
function called(names, name) {
  return Array.from(names).flatMap(([label, text]) => (text === name ? [label] : []));
}

/**
 * A matrix n x n in the order of labels; NaN if the step lacks the pair.
 * @param {Step} step
 * @param {ArrayLike<number>} values of each pair
 * @param {number[]} order
 */
export function matrix(step, values, order) {
  const num = order.length;
  const place = new Int32Array(step.names.length).fill(-1);
  order.forEach((label, at) => {
    const of = step.placeOf.get(label);
    if (of !== undefined) place[of] = at;
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

/**
 * The curve of expected overlaps, as corners (cosine, overlap). Steps of versions 1 and 2 have no curve; there, all expected overlaps of pairs are on it.
 * @param {Step} step
 */
export function expectedCurve(step) {
  if (step.curve.length) return step.curve;
  const similarity = step.values[step.cosine];
  const expected = step.values.expected_overlap;
  const known = step.counted.filter((pair) => !Number.isNaN(similarity[pair]) && !Number.isNaN(expected[pair]));
  known.sort((one, other) => similarity[one] - similarity[other]);
  return known.map((pair) => [similarity[pair], expected[pair]]);
}

/**
 * The flagged pair with the largest absolute gap; of a step without flags, any pair. -1 if no gap is known.
 * @param {Step} step
 */
export function furthest(step) {
  const { gap } = step.values;
  const known = step.counted.filter((pair) => !Number.isNaN(gap[pair]));
  const flagged = known.filter((pair) => step.flag[pair]);
  return (flagged.length ? flagged : known).reduce((best, one) => (best < 0 || Math.abs(gap[one]) > Math.abs(gap[best]) ? one : best), -1);
}
