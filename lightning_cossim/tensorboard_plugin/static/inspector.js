// The selected pair: its numbers, why it is flagged or not, its inputs, and what to do.

import { FLAG_WORDS, because, errorsOf, limitAt, percentile, sharesOf, toDo, withError } from "./detail.js";
import { button, element, number } from "./dom.js";
import { Inputs } from "./inputs.js";

/** @import { App } from "./app.js" */
/** @import { Loaded } from "./inputs.js" */
/** @import { Shown } from "./selection.js" */
/** @import { Step } from "./step.js" */

/** @typedef {{ step: Step, pair: number, letter: string }} Side a step and the place of the pair in it; -1: the step lacks the pair */

export class Inspector {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.inputs = new Inputs(app);
    this.title = element("h2", { id: "pair" });
    this.badge = element("span", { class: "badge" });
    /** @type {number[]} flagged pairs, the largest gap first */
    this.flagged = [];
    this.place = -1; // of the selected pair among them
    this.turns = [button("‹", "Previous flagged pair", () => this.turn(-1)), button("›", "Next flagged pair", () => this.turn(1))];
    this.count = element("span", { class: "note" });
    this.pin = element("button", { type: "button", class: "toggle", title: "Keep this pair in the charts and mark it in all views", onclick: () => app.selected && app.pin(app.selected) }, "Pin");
    this.tools = element("span", { class: "group tools" }, this.turns[0], this.count, this.turns[1], this.pin);
    this.why = element("p", { class: "because", "aria-live": "polite" });
    this.facts = element("div", { class: "facts" });
    this.action = element("p", { class: "todo" });
    this.body = element("div", { class: "columns" }, this.facts, this.inputs.root);
    this.root = element("section", { class: "inspector", "aria-labelledby": "pair" }, element("div", { class: "head" }, this.title, this.badge, this.tools), this.why, this.body, this.action);
  }

  /**
   * @param {Shown[]} sides
   * @param {Loaded | null} evidence of the first side; null: its step has none
   */
  render(sides, evidence) {
    const { app } = this;
    const { selected } = app;
    const [{ step }] = sides;
    const pair = step.indexOf(selected);
    this.body.hidden = this.action.hidden = pair < 0;
    this.renderTools(step);
    if (pair < 0) {
      this.title.textContent = selected ? selected.map((label) => step.nameOf(label)).join(" / ") : "No pair";
      this.badge.replaceChildren();
      this.why.textContent = this.lacking(sides[0]);
      return;
    }
    const flag = step.flagAt(pair);
    this.title.textContent = step.namesAt(pair).join(" / ");
    this.badge.className = `badge ${flag}`;
    this.badge.textContent = step.verdict ? "not judged" : FLAG_WORDS[flag];
    const compared = sides.map((side, at) => ({ step: side.step, pair: side.step.indexOf(app.pairIn(side.step, selected)), letter: sides.length > 1 ? "AB"[at] : "" }));
    this.why.replaceChildren(...compared.flatMap(judged));
    const among = step.chosen && sides.length < 2 ? [element("p", { class: "note" }, `Percentiles are among the ${step.counted.length.toLocaleString("en")} pairs of this step.`)] : [];
    this.facts.replaceChildren(...compared.map(strip), this.numbers(compared), ...among, ...compared.flatMap(targets));
    this.inputs.render(sides[0], step.pairAt(pair), evidence);
    this.body.classList.toggle("bare", !this.inputs.hasCards);
    this.action.replaceChildren(element("b", {}, "What to do: "), toDo(step, pair));
  }

  /** Moves the focus to the pair. */
  focus() {
    this.title.tabIndex = -1;
    this.title.focus();
  }

  /**
   * Why the step lacks the selected pair.
   * @param {Shown} shown
   */
  lacking({ step, run }) {
    const { selected, state } = this.app;
    if (!selected) return "No pair of this step has a gap: its cosines, overlaps or expected overlaps are unknown.";
    const strange = selected.filter((label) => !step.isKnown(label));
    if (strange.length) return `The run “${run}” has no label in row ${strange.join(" and no label in row ")} of the head. Select another pair.`;
    const why = step.chosen ? ` It has ${step.counted.length.toLocaleString("en")} of ${step.num_pairs.toLocaleString("en")} pairs: ${step.chosen}.` : " At this step, one of the two labels was not compared.";
    return `This step does not have the pair${state.pair ? "" : ", which was furthest off when you opened the run"}.${why}`;
  }

  /** @param {Step} step */
  renderTools(step) {
    const { app } = this;
    const { selected } = app;
    const { pairs, num: all } = app.shown(step);
    this.flagged = flaggedByGap(step, pairs);
    this.place = this.flagged.indexOf(step.indexOf(selected));
    const num = this.flagged.length;
    this.count.textContent = `${this.place < 0 ? num : `${this.place + 1} of ${num}`} flagged${pairs.length < all ? " in the filter" : ""}`;
    for (const part of [...this.turns, this.count]) part.hidden = !num;
    this.pin.hidden = !selected;
    this.pin.setAttribute("aria-pressed", String(selected !== null && app.isPinned(selected)));
  }

  /**
   * Selects the next flagged pair, by the size of the gap.
   * @param {number} by 1 or -1
   */
  turn(by) {
    const { flagged, place } = this;
    const from = place < 0 && by < 0 ? 0 : place;
    this.app.select(this.app.sides[0].step, flagged[(from + by + flagged.length) % flagged.length], { keep: true });
  }

  /**
   * The numbers of the pair, in one column, or in one for each of two steps and their difference.
   * @param {Side[]} sides
   */
  numbers(sides) {
    const [{ step }] = sides;
    const compared = sides.length > 1;
    const head = compared ? [element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Number"), ...["A", "B", "B − A"].map((text) => element("th", { scope: "col", class: "number" }, text))))] : [];
    const keys = ["overlap", "expected_overlap", "gap", step.cosine, "joint_inputs", ...step.similarities.filter((key) => key !== step.cosine)];
    return element("table", { class: "numbers", "aria-label": "Numbers of the pair" }, ...head, element("tbody", {}, ...keys.filter((key) => key in step.values).map((key) => this.row(key, sides))));
  }

  /**
   * @param {string} key
   * @param {Side[]} sides
   */
  row(key, sides) {
    const [{ step, pair }] = sides;
    const quantity = step.quantity(key);
    const explainer = this.app.explainer(quantity, quantity.title);
    const cells = sides.map((side) => element("td", { class: "number" }, side.pair < 0 ? "–" : valueOf(side.step, key, side.pair)));
    if (sides.length > 1) {
      const [one, other] = sides.map((side) => (side.pair < 0 ? NaN : side.step.values[key]?.[side.pair]));
      cells.push(element("td", { class: "number" }, number(other - one, { signed: true, whole: quantity.whole })));
    } else {
      cells.push(element("td", { class: "note" }, besides(step, key, pair)));
    }
    return element("tr", { class: key === "gap" ? "sum" : "" }, element("th", { scope: "row" }, explainer), ...cells);
  }
}

/**
 * Why the pair is flagged or not, with the flag in words if two steps are compared.
 * @param {Side} side
 * @returns {(string | Node)[]}
 */
function judged({ step, pair, letter }) {
  if (!letter) return [because(step, pair)];
  const text = pair < 0 ? "This step does not have the pair." : `${FLAG_WORDS[step.flagAt(pair)]}. ${because(step, pair)}`;
  return [element("span", { class: "line" }, element("span", { class: "letter" }, letter), text)];
}

/**
 * @param {Step} step
 * @param {string} key
 * @param {number} pair
 */
function valueOf(step, key, pair) {
  if (!(key in step.values)) return "–";
  return ["overlap", "gap"].includes(key) ? withError(step, key, pair) : number(step.values[key][pair], { whole: step.quantity(key).whole });
}

/**
 * What helps to judge a number: its place among all pairs, its limit, or of how many.
 * @param {Step} step
 * @param {string} key
 * @param {number} pair
 */
function besides(step, key, pair) {
  const limit = limitAt(step, pair);
  if (key === "gap") return Number.isNaN(limit) ? "" : `limit ${number(limit)}`;
  if (key === "joint_inputs") return `of ${step.num_inputs.toLocaleString("en")} inputs`;
  if (key === "expected_overlap") return "";
  const place = percentile(step, key, pair);
  if (Number.isNaN(place)) return "";
  if (place === 0 || place === 100) return place ? "highest" : "lowest";
  return `${ordinal(Math.min(Math.max(Math.round(place), 1), 99))} percentile`;
}

/** @param {number} whole */
function ordinal(whole) {
  const ending = Math.floor(whole / 10) % 10 === 1 ? "th" : (["th", "st", "nd", "rd"][whole % 10] ?? "th");
  return `${whole}${ending}`;
}

/**
 * The overlap with its error and the expected overlap with the limits of gaps, on one axis.
 * @param {Side} side
 */
function strip({ step, pair, letter }) {
  const name = letter ? [element("span", { class: "letter" }, letter)] : [];
  if (pair < 0) return element("div", { class: "strip" }, ...name, element("span", { class: "note" }, "This step does not have the pair."));
  const { overlap, overlap_error: errors, expected_overlap: expecteds } = step.values;
  const [value, expected, error] = [overlap[pair], expecteds[pair], errors?.[pair] || 0];
  const { strangers = 0, lookalikes = 0 } = step.limits;
  const most = [value + error, expected + strangers].filter((one) => one > 0).reduce((one, other) => Math.max(one, other), 0.01) * 1.08;
  const at = (/** @type {number} */ one) => Math.min(Math.max((100 * one) / most, 0), 100);
  const part = (/** @type {string} */ kind, /** @type {number} */ from, /** @type {number} */ to) => element("span", { class: kind, style: `left: ${at(from)}%; width: ${at(to) - at(from)}%` });
  const parts = Number.isNaN(value) ? [] : Number.isNaN(expected) ? [part("error", value - error, value + error), part("value", value, value)] : [
    part("band", expected - lookalikes, expected + strangers),
    part(`gap ${step.flagAt(pair)}`, Math.min(value, expected), Math.max(value, expected)),
    part("error", value - error, value + error), part("expected", expected, expected), part("value", value, value),
  ];
  const text = (/** @type {string} */ kind, /** @type {number} */ place, /** @type {string} */ words) => element("span", { class: `mark ${kind}`, style: `left: ${at(place)}%; --shift: ${at(place) > 70 ? "-100%" : at(place) < 12 ? "0%" : "-50%"}` }, words);
  const marks = Number.isNaN(value) || Number.isNaN(expected) ? [] : [text("above", value, `overlap ${number(value)}`), text("below", expected, `expected ${number(expected)}`)];
  return element("div", { class: "strip", "aria-hidden": "true" }, ...name, element("span", { class: "axis" }, ...parts, ...marks));
}

/**
 * The errors either way and the split of the joint mass; empty if targets are unknown.
 * @param {Side} side
 */
function targets({ step, pair, letter }) {
  if (pair < 0) return [];
  const shares = sharesOf(step, pair);
  const of = letter ? [element("span", { class: "letter" }, letter)] : [];
  const lines = errorsOf(step, pair).map((line) => element("p", { class: "errors" }, ...of, `${line}.`));
  if (!shares) return lines;
  const names = [step.names[step.row[pair]], step.names[step.column[pair]], "other labels"];
  const percent = shares.map((share) => Math.round(100 * share));
  const bar = element("div", { class: "mass", "aria-hidden": "true" }, ...shares.map((share) => element("span", { style: `flex-grow: ${share}` })));
  return [...lines, bar, element("p", { class: "errors" }, `Joint mass: ${names.map((name, at) => `${percent[at]} % on inputs of ${name}`).join(", ")}.`)];
}

/**
 * The flagged pairs among some, the largest absolute gap first.
 * @param {Step} step
 * @param {readonly number[]} pairs
 */
function flaggedByGap(step, pairs) {
  const { gap } = step.values;
  return pairs.filter((pair) => step.flag[pair]).sort((one, other) => Math.abs(gap[other]) - Math.abs(gap[one]));
}
