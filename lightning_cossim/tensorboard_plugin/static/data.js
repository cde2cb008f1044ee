// What the plugin serves, asked for once: steps are kept, the oldest go first.

import { Step } from "./step.js";
import { decode } from "./wire.js";

/** @import { Pair } from "./step.js" */

/** @typedef {[number, number]} Kept a step that TensorBoard keeps: its number, and when it was written */
/** @typedef {{ tag: string, steps: Kept[] }} Tag */
/** @typedef {{ run: string, tags: Tag[] }} Run */

/**
 * How pairs went over the steps; null where something is not known.
 *
 * @typedef {object} Course
 * @property {number[]} steps
 * @property {{ labels: Pair, values: Record<string, (number | null)[]> }[]} pairs
 * @property {Error} [error] why it could not be read
 */

const BASE = new URL("./", import.meta.url);
const MAX_STEPS = 60;

export class Source {
  constructor() {
    /** @type {Map<string, Promise<Step>>} */
    this.kept = new Map();
    /** @type {Map<string, Map<number, string>>} of the labels of a run and tag */
    this.names = new Map();
  }

  /** @returns {Promise<Run[]>} */
  async runs() {
    return (await (await ask("runs", {})).json()).runs;
  }

  /**
   * A step; its time tells it from another of the same number in a run that was started over.
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
    read.known = known; // labels differ from step to step: what one calls them, all know
    read.labels.forEach((label, place) => known.set(label, read.names[place]));
    return read;
  }

  /**
   * How pairs of labels went over all kept steps.
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
    throw new Error("TensorBoard does not answer. Is it still running?");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
