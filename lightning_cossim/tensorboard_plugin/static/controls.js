// The bar at the top: selects run, stage and step; plays steps, compares runs, refreshes, makes a link.

import { button, choice, element } from "./dom.js";
import { about, showLink } from "./explain.js";
import { stageOf } from "./lookup.js";

/** @import { Option } from "./dom.js" */
/** @import { Run } from "./data.js" */
/** @import { App, Shown } from "./index.js" */
/** @import { Looked } from "./lookup.js" */

const PAUSE = 500;

export class Controls {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.pickersAre = ""; // key of the current choices
    this.pickers = element("span", { class: "group" });
    this.slider = element("input", { type: "range", min: "0", step: "1", id: "step", oninput: () => this.slide() });
    this.now = element("output", { for: "step", class: "now" });
    this.kept = element("span", { class: "note" });
    this.player = button("▶", "Play", () => (this.timer ? this.stop() : this.play()));
    this.steps = element("span", { class: "group steps" },
      element("label", { for: "step" }, "Step"),
      button("‹", "Previous step", () => this.move(-1)), this.slider, button("›", "Next step", () => this.move(1)), this.player, this.now, this.kept);
    this.root = element("header", { class: "bar" }, this.pickers, this.steps,
      element("span", { class: "group" },
        button("Refresh", "Load new steps", () => app.refresh()),
        button("Link", "Copy a link to what is shown", () => showLink(app.dialogs, app.link)),
        button("?", "What this tab shows", () => about(app.dialogs, app.sides[0]?.step))));
  }

  /**
   * @param {Looked | Shown | null} side
   * @param {Run[]} runs
   */
  render(side, runs) {
    this.steps.hidden = !side;
    if (!side) {
      this.pickers.replaceChildren();
      this.pickersAre = "";
      return;
    }
    this.renderPickers(side, runs);
    const { steps, at } = side;
    this.slider.max = String(steps.length - 1);
    this.slider.value = String(at);
    this.slider.disabled = steps.length < 2;
    this.slider.setAttribute("aria-valuetext", `step ${steps[at][0]}`);
    this.now.textContent = steps[at][0].toLocaleString("en");
    this.now.title = new Date(steps[at][1] * 1000).toLocaleString();
    if ("latest" in side) {
      const written = numWritten(side);
      this.kept.textContent = written > steps.length ? `${steps.length} of ${written} steps kept` : `${steps.length} step${steps.length === 1 ? "" : "s"}`;
      this.kept.title = written > steps.length ? "TensorBoard keeps a sample of the steps. To keep more, start it with --samples_per_plugin lightning_cossim=1000" : "All written steps";
    }
  }

  /**
   * @param {Looked} side
   * @param {Run[]} runs
   */
  renderPickers(side, runs) {
    const { app } = this;
    const key = JSON.stringify([runs.map(({ run, tags }) => [run, tags.map(({ tag }) => tag)]), side.run, side.tag, app.state.run2]);
    if (key === this.pickersAre) return; // do not close an open choice
    this.pickersAre = key;
    const names = runs.filter(({ tags }) => tags.length).map(({ run }) => run);
    const choices = [
      choice("Run", names.map(itself), side.run, (run) => app.set({ run, step: null })),
      choice("Stage", side.tags.map(({ tag }) => /** @type {Option} */ ([tag, stageOf(tag)])), side.tag, (tag) => app.set({ tag, step: null })),
    ];
    if (names.length > 1) {
      /** @type {Option[]} */
      const others = [["", "no other run"], ...names.filter((run) => run !== side.run).map(itself)];
      choices.push(choice("Compare with", others, app.state.run2 ?? "", (run2) => app.set({ run2: run2 || null })));
    }
    this.pickers.replaceChildren(...choices);
  }

  slide() {
    this.stop();
    this.app.goTo(Number(this.slider.value));
  }

  /** @param {number} by */
  move(by) {
    this.stop();
    return this.app.goTo((this.app.looked?.at ?? 0) + by);
  }

  play() {
    const side = this.app.looked;
    if (!side || side.steps.length < 2) return;
    this.show("❚❚", "Pause");
    let at = side.at === side.steps.length - 1 ? -1 : side.at;
    const next = async () => {
      await this.app.goTo(++at);
      if (!this.timer) return;
      if (at >= side.steps.length - 1) this.stop();
      else this.timer = setTimeout(next, PAUSE);
    };
    this.timer = setTimeout(next, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.show("▶", "Play");
  }

  /**
   * @param {string} text
   * @param {string} title
   */
  show(text, title) {
    this.player.textContent = text;
    this.player.title = title;
    this.player.setAttribute("aria-label", title);
  }

  /**
   * The left and right arrow keys change the step, unless the focused element uses these keys.
   * @param {KeyboardEvent} event
   */
  key(event) {
    const by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    const isTaken = event.target instanceof Element && event.target.closest("input, select, dialog, .frame");
    if (!by || event.ctrlKey || event.altKey || event.metaKey || isTaken) return;
    event.preventDefault();
    this.move(by);
  }
}

/**
 * @param {string} value
 * @returns {Option}
 */
const itself = (value) => [value, value];

/**
 * Number of written steps, from the last step. A resumed run counts from 1 again, so the number of kept steps is a lower bound.
 * @param {Shown} shown
 */
function numWritten({ steps, latest }) {
  return Math.max(latest.index, steps.length);
}
