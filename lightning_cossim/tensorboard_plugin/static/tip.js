// The tooltip: names and values of the pair under the pointer.

import { detail, verdict } from "./detail.js";
import { element, number } from "./dom.js";
import { inSentence } from "./quantities.js";

/** @import { Step } from "./step.js" */

/** @typedef {{ clientX: number, clientY: number }} Place in the window, in CSS pixels */

export class Tip {
  constructor() {
    this.root = element("div", { class: "tip", hidden: true });
  }

  /**
   * @param {Place} at
   * @param {Step} step
   * @param {number} pair
   * @param {string} key key of the quantity that the view shows
   * @param {string[]} more lines
   */
  show(at, step, pair, key, more = []) {
    const judged = verdict(step, pair);
    const value = step.values[key][pair];
    const ofView = key === "overlap" ? [] : [`${inSentence(step.quantity(key).title)} ${number(value)}${value < 0 ? ", below zero" : ""}`];
    this.place(at, step.namesAt(pair).join(" / "), [...ofView, ...detail(step, pair), ...more].map((line) => element("div", {}, line)), ...(judged ? [element("div", { class: step.flagAt(pair) }, judged)] : []));
  }

  /**
   * A title and lines.
   * @param {Place} at
   * @param {string} title
   * @param {string[]} lines
   */
  tell(at, title, lines) {
    this.place(at, title, lines.map((line) => element("div", {}, line)));
  }

  /**
   * @param {Place} at
   * @param {string} title
   * @param {HTMLElement[]} lines
   * @param {...HTMLElement} last
   */
  place({ clientX, clientY }, title, lines, ...last) {
    this.root.replaceChildren(element("b", {}, title), ...lines, ...last);
    this.root.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const left = clientX + 14 + width > window.innerWidth ? clientX - width - 10 : clientX + 14;
    const top = Math.min(clientY + 12, window.innerHeight - height - 6);
    this.root.style.transform = `translate(${Math.max(left, 4)}px, ${Math.max(top, 4)}px)`;
  }

  hide() {
    this.root.hidden = true;
  }
}
