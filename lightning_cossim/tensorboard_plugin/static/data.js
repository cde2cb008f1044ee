// Loads data from the plugin. The last 60 steps are cached.

import { Step } from "./step.js";
import { decode } from "./wire.js";

/** @import { Pair } from "./step.js" */

/** @typedef {[number, number]} Kept a step that TensorBoard keeps: its number, and its time in seconds since 1970 */
/** @typedef {{ tag: string, steps: Kept[] }} Tag */
/** @typedef {{ run: string, tags: Tag[] }} Run */

/**
 * The values of pairs over the steps; null means unknown.
 *
 * @typedef {object} Course
 * @property {number[]} steps
 * @property {{ labels: Pair, values: Record<string, (number | null)[]> }[]} pairs
 * @property {Error} [error] why the values could not be read
 */

const BASE = new URL("./", import.meta.url);
const MAX_STEPS = 60;

export class Source {
  constructor() {
    /** @type {Map<string, Promise<Step>>} */
    this.kept = new Map();
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
    const key = JSON.stringify([run, tag, number, time]);
    const kept = this.kept.get(key) ?? this.fetch(run, tag, number);
    this.kept.delete(key);
    this.kept.set(key, kept);
    kept.catch(() => this.kept.delete(key));
    for (const oldest of Array.from(this.kept.keys()).slice(0, -MAX_STEPS)) this.kept.delete(oldest);
    return kept;
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
    throw new Error("TensorBoard does not answer. Check that it is still running.");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
