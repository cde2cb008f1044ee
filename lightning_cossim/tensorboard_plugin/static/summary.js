// What is furthest off: a step, or two that are compared, in words.

import { element } from "./dom.js";
import { headline } from "./headline.js";

/** @import { Shown } from "./selection.js" */

export class Summary {
  constructor() {
    this.root = element("section", { class: "summary", "aria-label": "Summary" });
  }

  /** @param {Shown[]} sides */
  render(sides) {
    this.root.replaceChildren(...sides.flatMap((side, at) => this.lines(side, sides.length > 1 ? "AB"[at] : "")));
  }

  /**
   * @param {Shown} shown
   * @param {string} letter empty: no comparison
   */
  lines({ run, step }, letter) {
    const [first, ...rest] = headline(step);
    const where = letter ? [element("span", { class: "letter" }, letter), element("span", { class: "run" }, `${run} · ${step.stage} · step ${step.step.toLocaleString("en")}`), " "] : [];
    const words = element("p", { class: "headline" }, ...where, element("b", {}, first), " ", ...rest.flatMap((one) => [element("span", {}, one), " "]));
    const remarks = element("p", { class: "remarks", title: step.remarks.join("\n"), hidden: !step.remarks.length }, step.remarks.map((one) => `${one}.`).join(" "));
    return [words, remarks];
  }
}
