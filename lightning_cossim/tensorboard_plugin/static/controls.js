// The bar at the top: selects run, stage and comparison; has the step bar; refreshes, makes a link.

import { button, choice, element, focused } from "./dom.js";
import { about, showLink } from "./explain.js";
import { stageOf, withSteps } from "./lookup.js";
import { StepBar } from "./stepbar.js";

/** @import { App } from "./app.js" */
/** @import { Run } from "./data.js" */
/** @import { Option } from "./dom.js" */
/** @import { Looked } from "./lookup.js" */
/** @import { Shown } from "./selection.js" */

export class Controls {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.steps = new StepBar(app);
    this.pickersAre = ""; // key of the current choices
    this.pickers = element("span", { class: "group" });
    this.root = element("header", { class: "bar" }, this.pickers, this.steps.root,
      element("span", { class: "group" },
        button("Refresh", "Load new steps", () => app.refresh()),
        button("Link", "Copy a link to what is shown", () => showLink(app.dialogs, app.link)),
        button("?", "What this tab shows", () => about(app.dialogs, app.sides[0]?.step))));
  }

  /**
   * @param {Looked | Shown | null} side null: what is wanted does not exist
   * @param {Run[]} runs
   */
  render(side, runs) {
    this.renderPickers(side, withSteps(runs));
    this.steps.render(side);
  }

  /**
   * @param {Looked | null} side
   * @param {Run[]} runs
   */
  renderPickers(side, runs) {
    const { app } = this;
    const { run2, step2 } = app.state;
    const run = side?.run ?? app.state.run ?? "";
    const tag = side?.tag ?? app.state.tag ?? "";
    const key = JSON.stringify([runs.map((one) => [one.run, one.tags.map(({ tag: name, steps }) => [name, run2 === one.run ? steps : 0])]), run, tag, run2, step2]);
    if (key === this.pickersAre) return; // do not close an open choice
    this.pickersAre = key;
    const names = runs.map((one) => one.run);
    const tags = side?.tags ?? runs.find((one) => one.run === run)?.tags ?? [];
    if (!names.length) {
      this.pickers.replaceChildren();
      return;
    }
    const focus = focused(this.root);
    this.pickers.replaceChildren(
      choice("Run", withMissing(names.map(itself), run), run, (chosen) => this.open(chosen, runs)),
      choice("Stage", withMissing(tags.map((one) => /** @type {Option} */ ([one.tag, stageOf(one.tag)])), tag), tag, (chosen) => app.set({ run, tag: chosen, step: null })),
      ...this.comparison(run, tag, runs),
    );
    focus();
  }

  /**
   * Shows the last step of a run, of the same stage if the run has it.
   * @param {string} run
   * @param {Run[]} runs
   */
  open(run, runs) {
    const { tag } = this.app.state;
    const has = runs.find((one) => one.run === run)?.tags.some((one) => one.tag === tag);
    this.app.set({ run, tag: has ? tag : null, step: null, pair: null });
  }

  /**
   * The choice of another run, or of another step of the same run, and of its step.
   * @param {string} run
   * @param {string} tag
   * @param {Run[]} runs
   */
  comparison(run, tag, runs) {
    const { app } = this;
    const { run2, step2 } = app.state;
    const stepsOf = (/** @type {string} */ name) => runs.find((one) => one.run === name)?.tags.find((one) => one.tag === tag)?.steps ?? [];
    /** @type {Option[]} */
    const others = [["", "nothing"], ...(stepsOf(run).length > 1 ? [/** @type {Option} */ ([run, "the same run at another step"])] : []), ...runs.filter((one) => one.run !== run).map((one) => itself(one.run))];
    if (others.length === 1 && !run2) return [];
    const compare = choice("Compare with", withMissing(others, run2 ?? ""), run2 ?? "", (chosen) => app.set(chosen === run ? { run2: run, ...fromFirst(stepsOf(run), app.state.step) } : { run2: chosen || null, step2: null }));
    if (!run2) return [compare];
    /** @type {Option[]} */
    const steps = [["", "the nearest step"], ...stepsOf(run2).map(([step]) => /** @type {Option} */ ([String(step), `step ${step.toLocaleString("en")}`]))];
    return [compare, choice("at", withMissing(steps, step2 === null ? "" : String(step2)), step2 === null ? "" : String(step2), (step) => app.set({ step2: step === "" ? null : Number(step) }))];
  }
}

/**
 * The comparison of a run with itself, forward in time: A is its first step, B the step that was shown, or the last one.
 * @param {(readonly [number, ...unknown[]])[]} steps
 * @param {number | null} shown null: the last one
 */
function fromFirst(steps, shown) {
  const [first, last] = [steps[0][0], steps[steps.length - 1][0]];
  return { step: first, step2: shown === null || shown === first ? last : shown };
}

/**
 * The options and, if it is not among them, the value: a choice never shows something else.
 * @param {Option[]} options
 * @param {string} value
 * @returns {Option[]}
 */
function withMissing(options, value) {
  return options.some(([one]) => one === value) ? options : [[value, value ? `${value} (missing)` : "choose"], ...options];
}

/**
 * @param {string} value
 * @returns {Option}
 */
const itself = (value) => [value, value];
