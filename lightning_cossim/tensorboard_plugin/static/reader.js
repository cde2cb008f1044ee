// Reads what the views show of a run and tag: a step, and when a view needs them, its evidence and the values of pairs over all steps.

import { NO_COURSE, Source } from "./data.js";

/** @import { Course } from "./data.js" */
/** @import { Loaded } from "./inputs.js" */
/** @import { Looked } from "./lookup.js" */
/** @import { Shown } from "./selection.js" */
/** @import { Pair } from "./step.js" */

const MAX_HISTORIES = 50;
const REST = 150; // milliseconds

export class Reader {
  constructor() {
    this.source = new Source();
    /** @type {Map<string, Course | null>} null while it is loading */
    this.histories = new Map();
    /** @type {{ key: string, evidence: Loaded | null }} evidence of the shown step */
    this.loaded = { key: "", evidence: null };
    this.at = -1; // place of the step that was shown last
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.resting = undefined;
  }

  /** Reads evidence and histories again when they are needed next. */
  forget() {
    this.histories.clear();
    this.loaded = { key: "", evidence: null };
  }

  /**
   * @param {Looked} looked
   * @returns {Promise<Shown>}
   */
  async read(looked) {
    const { run, tag, steps, at } = looked;
    const last = this.source.step(run, tag, steps[steps.length - 1]);
    const [step, latest] = await Promise.all([this.source.step(run, tag, steps[at]), last]);
    const ordered = latest.order.length ? latest : step; // the last step has no order if the model has diverged
    const order = ordered.order.map((place) => ordered.labels[place]);
    return { ...looked, step, latest, order };
  }

  /**
   * Reads the steps that are probably shown next: the next two in the direction of a short move at once; all neighbors after a rest, so that
   * they do not delay a drag over many steps.
   * @param {Looked} looked
   */
  prefetch({ run, tag, steps, at }) {
    const read = (/** @type {number[]} */ places) => places.forEach((place) => steps[place] && this.source.step(run, tag, steps[place]).catch(() => {}));
    const by = at - this.at;
    this.at = at;
    clearTimeout(this.resting);
    if (Math.abs(by) === 1) read([at + by, at + 2 * by]);
    this.resting = setTimeout(() => read([at + 1, at - 1, at + 2]), REST);
  }

  /**
   * The evidence of a step; null if the step has none. If it is missing, it is loaded, and `then` is called.
   * @param {Shown} shown
   * @param {() => unknown} then
   * @returns {Loaded | null}
   */
  evidence({ run, tag, tags, steps, at }, then) {
    const kept = steps[at];
    if (!tags.find((one) => one.tag === tag)?.evidence?.includes(kept[0])) return null;
    const key = JSON.stringify([run, tag, kept]);
    if (this.loaded.key !== key) {
      const loaded = { key, evidence: /** @type {Loaded} */ ("loading") };
      this.loaded = loaded;
      this.source
        .evidence(run, tag, kept)
        .catch((error) => /** @type {Error} */ (error)) // only Refresh asks again
        .then((found) => {
          loaded.evidence = found;
          if (this.loaded === loaded) then();
        });
    }
    return this.loaded.evidence;
  }

  /**
   * The values of pairs over the steps; null while they are loading: then `then` is called.
   * @param {Shown} shown
   * @param {Pair[]} pairs
   * @param {() => unknown} then
   */
  history({ run, tag, steps }, pairs, then) {
    const key = JSON.stringify([run, tag, steps[steps.length - 1], pairs]);
    if (!this.histories.has(key)) {
      this.histories.set(key, null);
      this.source
        .history(run, tag, pairs)
        .catch((error) => ({ ...NO_COURSE, error })) // only Refresh asks again
        .then((found) => this.histories.set(key, found))
        .then(then);
    }
    for (const oldest of Array.from(this.histories.keys()).slice(0, -MAX_HISTORIES)) this.histories.delete(oldest);
    return this.histories.get(key) ?? null;
  }
}
