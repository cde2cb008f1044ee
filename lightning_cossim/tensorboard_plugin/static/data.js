// What the plugin serves, asked for once: steps are kept, the oldest go first.

import { Step } from "./step.js";
import { decode } from "./wire.js";

const BASE = new URL("./", import.meta.url);
const MAX_STEPS = 60;

export class Source {
  constructor() {
    this.kept = new Map();
    this.names = new Map(); // of the labels of a run and tag
  }

  async runs() {
    return (await (await ask("runs", {})).json()).runs;
  }

  /** A step; `time` tells one from another of the same number in a run that was started over. */
  step(run, tag, [number, time]) {
    const key = JSON.stringify([run, tag, number, time]);
    const kept = this.kept.get(key) ?? this.fetch(run, tag, number);
    this.kept.delete(key);
    this.kept.set(key, kept);
    kept.catch(() => this.kept.delete(key));
    while (this.kept.size > MAX_STEPS) this.kept.delete(this.kept.keys().next().value);
    return kept;
  }

  async fetch(run, tag, step) {
    const answer = await ask("step", { run, tag, step });
    const read = new Step(decode(await answer.arrayBuffer()));
    const key = JSON.stringify([run, tag]);
    if (!this.names.has(key)) this.names.set(key, new Map());
    read.known = this.names.get(key); // labels differ from step to step: what one calls them, all know
    read.labels.forEach((label, place) => read.known.set(label, read.names[place]));
    return read;
  }

  /** How pairs of labels went over all kept steps. */
  async history(run, tag, pairs) {
    const text = pairs.map((pair) => pair.join("-")).join(",");
    return (await ask("pairs", { run, tag, pairs: text })).json();
  }
}

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
