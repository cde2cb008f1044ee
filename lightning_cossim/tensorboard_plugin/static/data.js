// Loads data from the plugin. The last 60 steps are cached.

import { decodeEvidence } from "./evidence.js";
import { Step } from "./step.js";
import { decode } from "./wire.js";

/** @import { Evidence } from "./evidence.js" */
/** @import { Pair } from "./step.js" */

/** @typedef {[number, number]} Kept a step that TensorBoard keeps: its number, and its time in seconds since 1970 */
/** @typedef {{ tag: string, steps: Kept[], evidence?: number[] }} Tag `evidence`: numbers of the steps with evidence */
/** @typedef {{ run: string, tags: Tag[] }} Run */

/** @typedef {(number | null)[]} Values one value for each step; null: unknown */
/**
 * The values of the steps and of pairs over the steps. lightning_cossim/tensorboard_plugin/history.py describes them.
 *
 * @typedef {object} Course
 * @property {number[]} steps
 * @property {Values} agreement
 * @property {number[]} strangers
 * @property {number[]} lookalikes
 * @property {{ strangers: Values, lookalikes: Values }} limits
 * @property {{ labels: Pair, values: Record<string, Values>, flags: (string | null)[] }[]} pairs
 * @property {Error} [error] why the values could not be read
 */
/** @type {Course} */
export const NO_COURSE = { steps: [], agreement: [], strangers: [], lookalikes: [], limits: { strangers: [], lookalikes: [] }, pairs: [] };

const BASE = new URL("./", import.meta.url);
const MAX_STEPS = 60;
const MAX_EVIDENCES = 12;

/** TensorBoard does not answer. */
export class NoAnswer extends Error {}

export class Source {
  constructor() {
    /** @type {Map<string, Promise<Step>>} */
    this.kept = new Map();
    /** @type {Map<string, Promise<Evidence>>} */
    this.evidences = new Map();
    /** @type {Map<string, Map<number, string>>} run and tag to the names of labels in all loaded steps */
    this.names = new Map();
  }

  /** @returns {Promise<Run[]>} */
  async runs() {
    return (await (await ask("runs", {})).json()).runs;
  }

  /**
   * Loads a step. The time is part of the key, because a restarted run has the same step numbers.
   * @param {string} run
   * @param {string} tag
   * @param {Kept} kept
   */
  step(run, tag, [number, time]) {
    return cached(this.kept, MAX_STEPS, JSON.stringify([run, tag, number, time]), () => this.fetch(run, tag, number));
  }

  /**
   * Loads the evidence of a step that has some.
   * @param {string} run
   * @param {string} tag
   * @param {Kept} kept
   */
  evidence(run, tag, [number, time]) {
    const read = async () => decodeEvidence(await (await ask("evidence", { run, tag, step: String(number) })).arrayBuffer());
    return cached(this.evidences, MAX_EVIDENCES, JSON.stringify([run, tag, number, time]), read);
  }

  /**
   * @param {string} run
   * @param {string} tag
   * @param {number} step
   */
  async fetch(run, tag, step) {
    const answer = await ask("step", { run, tag, step: String(step) });
    const read = new Step(decode(await answer.arrayBuffer()));
    const key = JSON.stringify([run, tag]);
    const known = this.names.get(key) ?? new Map();
    this.names.set(key, known);
    read.known = known; // steps have different labels: they share all names
    read.labels.forEach((label, place) => known.set(label, read.names[place]));
    return read;
  }

  /**
   * Loads the values of pairs of labels over all kept steps.
   * @param {string} run
   * @param {string} tag
   * @param {Pair[]} pairs
   * @returns {Promise<Course>}
   */
  async history(run, tag, pairs) {
    const text = pairs.map((pair) => pair.join("-")).join(",");
    return (await ask("pairs", { run, tag, pairs: text })).json();
  }
}

/**
 * A promise from a cache, or a new one; failed ones are not kept. The cache holds the last `most` ones that were asked for.
 * @template Value
 * @param {Map<string, Promise<Value>>} cache
 * @param {number} most
 * @param {string} key
 * @param {() => Promise<Value>} load
 */
function cached(cache, most, key, load) {
  const found = cache.get(key) ?? load();
  cache.delete(key);
  cache.set(key, found);
  found.catch(() => cache.delete(key));
  for (const oldest of Array.from(cache.keys()).slice(0, -most)) cache.delete(oldest);
  return found;
}

/**
 * @param {string} route
 * @param {Record<string, string>} parameters
 */
async function ask(route, parameters) {
  const address = new URL(route, BASE);
  for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw new NoAnswer("TensorBoard does not answer. Check that it is still running.");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
