// A step with what the views ask of it again and again: where a pair is, what a label is called, which pairs count.

import { quantityOf } from "./quantities.js";
import { FLAGS } from "./wire.js";

/** @import { Decoded } from "./wire.js" */

/** @typedef {[number, number]} Pair two labels, by their rows in the head */

const PLACES = 2 ** 26;

/**
 * Pairs are known by their labels' rows in the head, the smaller one first: places differ from step to step.
 * @param {Pair} pair
 */
export const keyOf = ([one, other]) => one * PLACES + other;

/**
 * The smaller one first.
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
    /** @type {Map<number, string> | null} what any step of the run calls its labels */
    this.known = null;
    /** @type {Map<number, number> | null} */
    this.byKey = null;
    /** @type {number[] | null} */
    this.pairs = null;
  }

  /**
   * What a number of a pair is called and means.
   * @param {string} key
   */
  quantity(key) {
    return quantityOf(this.quantities, key);
  }

  /**
   * The rows in the head of a pair's labels, as `keyOf` takes them.
   * @param {number} index
   */
  pairAt(index) {
    return ordered(this.labels[this.row[index]], this.labels[this.column[index]]);
  }

  /**
   * Where a pair of labels is, or -1.
   * @param {Pair | null} pair
   */
  indexOf(pair) {
    if (!pair) return -1;
    this.byKey ??= new Map(Array.from(this.row, (_, index) => [keyOf(this.pairAt(index)), index]));
    return this.byKey.get(keyOf(pair)) ?? -1;
  }

  /**
   * Of any label that some step of the run has shown.
   * @param {number} label
   */
  nameOf(label) {
    const place = this.placeOf.get(label);
    const name = place === undefined ? this.known?.get(label) : this.names[place];
    return name || `label ${label}`;
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
   * Why a pair is not flagged, in words; empty if it is, or if nothing was judged.
   * @param {number} index
   */
  whyAt(index) {
    return this.verdict ? "no verdict" : (this.reasons[this.why[index]] ?? "");
  }

  /**
   * Whether any input at all can bring out both labels of a pair on top; empty where it was not asked for.
   * @param {number} index
   */
  onTopAt(index) {
    const reach = this.reach?.[index] ?? 0;
    if (reach === 2) return this.flagAt(index) === "look-alike" ? "possible, not seen" : "possible";
    return ["", "never together", "", "undecided"][reach];
  }

  /** The pairs that have a value at all. */
  get counted() {
    if (!this.pairs) {
      const all = [...this.similarities, "overlap"].map((key) => this.values[key]);
      this.pairs = Array.from(this.row.keys()).filter((index) => all.some((values) => !Number.isNaN(values[index])));
    }
    return this.pairs;
  }

  /** How many pairs shown are flagged, by flag. */
  get numFlagged() {
    const [, stranger, lookalike] = FLAGS.map((_, flag) => this.flag.filter((one) => one === flag).length);
    return { stranger, lookalike };
  }

  /**
   * The pair of another run's labels in this one: rows of the same name, or else the only labels that are called so.
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
 * The labels of a name.
 * @param {Map<number, string>} names
 * @param {string} name
 */
function called(names, name) {
  return Array.from(names).flatMap(([label, text]) => (text === name ? [label] : []));
}

/**
 * A matrix n x n in the order of labels; NaN where there is no pair.
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
 * The overlap expected of pairs with a cosine: a staircase, as the corners of its line. In steps of older runs, all pairs are on it.
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
