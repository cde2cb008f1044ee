// Finds what a link or a choice names among the runs that TensorBoard has. If something is missing, a text says so, and nothing else takes its place.

/** @import { Kept, Run, Tag } from "./data.js" */
/** @import { State } from "./link.js" */

/**
 * A selected run and tag, with its kept steps and the place of the selected step among them.
 * @typedef {{ run: string, tag: string, steps: Kept[], tags: Tag[], at: number }} Looked
 */
/**
 * The selected run and, in a comparison, the other one. `missing` says why there is no run; empty if TensorBoard has no steps at all.
 * `note` says why there is no comparison; empty if none is missing.
 * @typedef {{ one: Looked | null, other: Looked | null, missing: string, note: string }} Found
 */

/**
 * @param {Run[]} runs
 * @param {State} state
 * @returns {Found}
 */
export function lookUp(runs, state) {
  const all = withSteps(runs);
  const [run, tag, step] = [state.run ?? latestRun(all)?.run ?? null, state.tag, state.step];
  if (run === null) return { one: null, other: null, missing: "", note: "" };
  const one = within(all, run, tag, step);
  if (typeof one === "string") return { one: null, other: null, missing: one, note: "" };
  if (state.run2 === null) return { one, other: null, missing: "", note: "" };
  const other = within(all, state.run2, counterpart(all, state.run2, one.tag), state.step2);
  if (typeof other === "string") return { one, other: null, missing: "", note: `Nothing to compare with. ${other}` };
  const same = state.step2 === null && step !== null ? { ...other, at: nearest(other.steps, step) } : other;
  return { one, other: same, missing: "", note: "" };
}

/**
 * The steps of a run and a tag; a text if one of them is missing.
 * @param {Run[]} runs
 * @param {string} run
 * @param {string | null} tag null: the validation stage, if there is one
 * @param {number | null} step null: the last one
 * @returns {Looked | string}
 */
function within(runs, run, tag, step) {
  const found = runs.find((one) => one.run === run);
  if (!found) return `TensorBoard has no run “${run}” with steps of this tab.`;
  const { tags } = found;
  const named = tag === null ? (tags.find((one) => /_val\b/.test(one.tag)) ?? tags[0]) : tags.find((one) => one.tag === tag);
  if (!named) return `The run “${run}” has no stage “${stageOf(tag ?? "")}”.`;
  const { tag: name, steps } = named;
  const at = step === null ? steps.length - 1 : steps.findIndex(([number]) => number === step);
  if (at < 0) return `Step ${step?.toLocaleString("en")} of “${run}” is not among the ${steps.length} steps that TensorBoard has of the stage “${stageOf(name)}”.`;
  return { run, tag: name, steps, tags, at };
}

/**
 * The tag of another run to compare with: the same, or the only one of the same stage, which another monitor wrote.
 * @param {Run[]} runs
 * @param {string} run
 * @param {string} tag
 */
function counterpart(runs, run, tag) {
  const tags = runs.find((one) => one.run === run)?.tags.map((one) => one.tag) ?? [];
  const stage = /_(train|val|test)$/.exec(tag)?.[0];
  const alike = stage ? tags.filter((one) => one.endsWith(stage)) : [];
  return tags.includes(tag) || alike.length !== 1 ? tag : alike[0];
}

/**
 * The runs and tags that have steps.
 * @param {Run[]} runs
 */
export function withSteps(runs) {
  return runs.map(({ run, tags }) => ({ run, tags: tags.filter(({ steps }) => steps.length) })).filter(({ tags }) => tags.length);
}

/**
 * The run that was written last.
 * @param {Run[]} runs
 * @returns {Run | undefined}
 */
const latestRun = (runs) => [...runs].sort((one, other) => latestTime(other) - latestTime(one))[0];

/**
 * The time of a run's last step, in seconds since 1970.
 * @param {Run} run
 */
const latestTime = ({ tags }) => Math.max(...tags.flatMap(({ steps }) => steps.map(([, time]) => time)));

/**
 * The place of the step nearest to a number.
 * @param {Kept[]} steps
 * @param {number} step
 */
export function nearest(steps, step) {
  return steps.reduce((best, [one], at) => (Math.abs(one - step) < Math.abs(steps[best][0] - step) ? at : best), 0);
}

/** @param {string} tag */
export const stageOf = (tag) => tag.replace(/cossim_/, "").replaceAll("_", " ");
