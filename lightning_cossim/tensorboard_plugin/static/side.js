// One run at one step: its summary in words, its scatter and its heatmaps.

import { element } from "./dom.js";
import { headline } from "./headline.js";
import { Heatmaps } from "./heatmaps.js";
import { Scatter } from "./scatter.js";

/** @import { App, Shown } from "./index.js" */

export class Side {
  /**
   * @param {App} app
   * @param {string} letter
   */
  constructor(app, letter) {
    this.letter = letter;
    this.scatter = new Scatter(app);
    this.heatmaps = new Heatmaps(app);
    this.words = element("p", { class: "headline", "aria-live": "polite" });
    this.remarks = element("p", { class: "remarks" });
    this.root = element("section", { class: "side" }, this.words, this.remarks, element("div", { class: "views" }, this.scatter.root, this.heatmaps.root));
  }

  /**
   * @param {Shown} shown
   * @param {boolean} isCompared
   */
  render({ run, step, order }, isCompared) {
    const [first, ...rest] = headline(step);
    const where = isCompared ? [element("span", { class: "letter" }, this.letter), element("span", { class: "run" }, `${run} · ${step.stage} · step ${step.step.toLocaleString("en")}`), " "] : [];
    this.words.replaceChildren(...where, element("b", {}, first), ` ${rest.join(" ")}`);
    this.remarks.textContent = step.remarks.map((one) => `${one}.`).join(" ");
    this.remarks.title = step.remarks.join("\n");
    this.remarks.hidden = !step.remarks.length;
    this.scatter.render(step);
    this.heatmaps.render(step, order);
  }

  draw() {
    this.scatter.draw();
    this.heatmaps.draw();
  }
}
