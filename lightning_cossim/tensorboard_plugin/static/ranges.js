// The ranges of axes. They grow with the steps that are shown, never shrink, and stay as they are while steps play, so that a point moves only if its pair does.

/** @import { Range } from "./filter.js" */

/** @typedef {{ range: Range, num: number, isHeld: boolean }} Held `num`: number of steps that the range covers; `isHeld`: whether it stays though a step exceeds it */

export class Ranges {
  constructor() {
    /** @type {Map<string, { range: Range, seen: Set<string>, held: Held | null }>} */
    this.kept = new Map();
  }

  /** Forgets all steps but those that are shown next. */
  reset() {
    this.kept.clear();
  }

  /**
   * @param {string} key what the range is of, for example run, stage and quantity
   * @param {{ step: string, range: Range | null }[]} steps the shown steps with their ranges; null: without values
   * @param {boolean} isPlaying
   * @returns {Held}
   */
  over(key, steps, isPlaying) {
    const kept = this.kept.get(key) ?? { range: /** @type {Range} */ ([Infinity, -Infinity]), seen: new Set(), held: null };
    this.kept.set(key, kept);
    for (const { step, range } of steps) {
      if (kept.seen.has(step) || !range) continue;
      kept.seen.add(step);
      kept.range = [Math.min(kept.range[0], range[0]), Math.max(kept.range[1], range[1])];
    }
    const now = { range: kept.range, num: kept.seen.size, isHeld: false };
    if (!isPlaying) kept.held = null;
    else kept.held ??= { ...now, isHeld: true };
    return kept.held ?? now;
  }
}

/**
 * The range of the values of some pairs; null if none is known.
 * @param {readonly number[]} pairs
 * @param {ArrayLike<number>} values
 * @returns {Range | null}
 */
export function rangeOf(pairs, values) {
  let [low, high] = [Infinity, -Infinity];
  for (const pair of pairs) {
    if (values[pair] < low) low = values[pair];
    if (values[pair] > high) high = values[pair];
  }
  return high >= low ? [low, high] : null;
}

/**
 * A range with some room at its ends.
 * @param {Range} range
 * @returns {Range}
 */
export function roomy([low, high]) {
  if (!(high >= low)) return [0, 1];
  const room = Math.max((high - low) * 0.04, 1e-3);
  return [low - room, high + room];
}
