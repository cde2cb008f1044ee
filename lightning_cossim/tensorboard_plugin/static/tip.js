// The tooltip: names and values of the pair under the pointer.

import { detail, verdict } from "./detail.js";
import { element, number } from "./dom.js";

/** @import { Step } from "./step.js" */

export class Tip {
  constructor() {
    this.root = element("div", { class: "tip", hidden: true });
  }

  /**
   * @param {MouseEvent} event
   * @param {Step} step
   * @param {number} pair
   * @param {string} key key of the quantity that the view shows
   */
  show(event, step, pair, key) {
    const flag = step.flagAt(pair);
    const ofView = ["overlap", "gap"].includes(key) ? [] : [`${step.quantity(key).column} ${number(step.values[key][pair])}`];
    const judged = verdict(step, pair);
    this.root.replaceChildren(
      element("b", {}, step.namesAt(pair).join(" / ")),
      ...[...ofView, ...detail(step, pair)].map((line) => element("div", {}, line)),
      ...(judged ? [element("div", { class: flag }, judged)] : []),
    );
    this.root.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const left = event.clientX + 14 + width > window.innerWidth ? event.clientX - width - 10 : event.clientX + 14;
    const top = Math.min(event.clientY + 12, window.innerHeight - height - 6);
    this.root.style.transform = `translate(${left}px, ${Math.max(top, 4)}px)`;
  }

  hide() {
    this.root.hidden = true;
  }
}
