// The step bar: a slider with a tick for every kept step, in front of the rank agreement and the number of flags at every step; plays steps.

import { theme } from "./colors.js";
import { axisOf, pieces } from "./course.js";
import { button, canvasOf, element, number, select, sizeOf } from "./dom.js";

/** @import { App } from "./app.js" */
/** @import { Course } from "./data.js" */
/** @import { Looked } from "./lookup.js" */
/** @import { Shown } from "./selection.js" */

const SPEEDS = [1, 2, 5, 10];
const THUMB = 16; // width of the slider's thumb in style.css; the first and the last step are half of it from the ends
const HEIGHT = 34;
const TICKS = 6; // height of the ticks

export class StepBar {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.isPlaying = false;
    this.speed = 2;
    /** @type {Looked | null} */
    this.side = null;
    /** @type {Course | null} */
    this.course = null;
    /** @type {unknown[]} what the picture behind the slider was made of */
    this.made = [];
    this.slider = element("input", { type: "range", min: "0", step: "1", id: "step", oninput: () => this.slide() });
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.track = element("span", { class: "track" }, this.canvas, this.slider);
    this.now = element("output", { for: "step", class: "now" });
    this.kept = element("span", { class: "note" });
    this.legend = element("span", { class: "note trend" });
    this.player = button("▶", "Play", () => (this.isPlaying ? this.stop() : this.play()));
    const speeds = SPEEDS.map((speed) => /** @type {[string, string]} */ ([String(speed), `${speed} per s`]));
    this.speeds = select("Speed in steps per second", speeds, String(this.speed), (speed) => (this.speed = Number(speed)));
    this.root = element("span", { class: "group steps" },
      element("label", { for: "step" }, "Step"), this.now,
      button("‹", "Previous step", () => this.move(-1)), this.track, button("›", "Next step", () => this.move(1)), this.player, this.speeds,
      element("span", { class: "about" }, this.kept, this.legend));
  }

  /** @param {Looked | Shown | null} side */
  render(side) {
    this.root.hidden = !side;
    this.side = side;
    if (!side) return;
    const { steps, at } = side;
    this.slider.max = String(steps.length - 1);
    this.slider.value = String(at);
    this.slider.disabled = this.player.disabled = steps.length < 2;
    this.slider.setAttribute("aria-valuetext", `step ${steps[at][0]}`);
    this.now.textContent = steps[at][0].toLocaleString("en");
    this.now.title = new Date(steps[at][1] * 1000).toLocaleString();
    if (!("latest" in side)) return;
    const written = Math.max(side.latest.index, steps.length); // a resumed run counts from 1 again, so the number of kept steps is a lower bound
    this.kept.textContent = written > steps.length ? `${steps.length} of ${written} steps kept` : `${steps.length} step${steps.length === 1 ? "" : "s"}`;
    this.kept.title = written > steps.length ? "TensorBoard keeps a sample of the steps. To keep more, start it with --samples_per_plugin lightning_cossim=1000" : "All written steps";
  }

  /**
   * Shows the course of the steps behind the slider.
   * @param {Shown & { history: Course | null }} followed
   */
  trend({ history }) {
    if (history) this.course = history;
    this.draw();
  }

  draw() {
    const { side, course } = this;
    const [width] = sizeOf(this.track);
    if (!side || !width) return;
    const colors = theme();
    const { steps } = side;
    const made = [steps, course, width, colors.page, colors.ink];
    if (made.every((one, at) => one === this.made[at])) return;
    this.made = made;
    const context = canvasOf(this.canvas, width, HEIGHT);
    const x = (/** @type {number} */ at) => THUMB / 2 + at / Math.max(1, steps.length - 1) * (width - THUMB);
    context.fillStyle = colors.muted;
    steps.forEach((_, at) => context.fillRect(x(at) - 0.5, HEIGHT - TICKS, 1, TICKS));
    const places = new Map(steps.map(([step], at) => [step, at]));
    const there = course?.steps.flatMap((step, at) => (places.has(step) ? [{ at, place: places.get(step) ?? 0 }] : [])) ?? [];
    this.legend.textContent = "";
    if (!course || !there.length) return;
    const room = HEIGHT - TICKS - 3;
    const flags = there.map(({ at }) => course.strangers[at] + course.lookalikes[at]);
    const most = Math.max(...flags);
    const bar = Math.max(1, Math.min(8, (width - THUMB) / steps.length - 1));
    context.fillStyle = colors.line;
    if (most) there.forEach(({ place }, at) => context.fillRect(x(place) - bar / 2, HEIGHT - TICKS - (room * flags[at]) / most, bar, (room * flags[at]) / most));
    const agreement = there.map(({ at }) => course.agreement[at]);
    const { low, high } = axisOf(agreement.filter((value) => value !== null), { low: -1, high: 1 });
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.5;
    for (const piece of pieces(there.map(({ place }) => place), agreement)) {
      context.beginPath();
      piece.forEach(([place, value]) => context.lineTo(x(place), 2 + room * (1 - (value - low) / (high - low))));
      if (piece.length === 1) context.rect(x(piece[0][0]) - 1, 2 + room * (1 - (piece[0][1] - low) / (high - low)), 2, 2);
      context.stroke();
    }
    const known = agreement.filter((value) => value !== null);
    this.legend.textContent = `— agreement ▮ flags`;
    this.legend.title = `Line: rank agreement of the cosine with the overlap, ${known.length ? `${number(Math.min(...known))} to ${number(Math.max(...known))}` : "unknown"}. Bars: number of flagged pairs, up to ${most}.`;
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
    this.isPlaying = true;
    this.show("❚❚", "Pause");
    let at = side.at === side.steps.length - 1 ? -1 : side.at;
    const next = async () => {
      const began = performance.now();
      await this.app.goTo(++at);
      if (!this.isPlaying) return;
      if (at >= side.steps.length - 1) this.stop();
      else this.timer = setTimeout(next, Math.max(0, 1000 / this.speed - (performance.now() - began)));
    };
    this.timer = setTimeout(next, 0);
  }

  stop() {
    clearTimeout(this.timer);
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.show("▶", "Play");
    this.app.paint(); // axes follow the data again
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
   * The left and right arrow keys change the step, wherever the focus is, except in text fields and dialogs and where a view has used the key.
   * @param {KeyboardEvent} event
   */
  key(event) {
    const by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    const isTaken = event.target instanceof Element && event.target.closest('input[type="search"], input[type="text"], dialog');
    if (!by || isTaken || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.move(by);
  }
}
