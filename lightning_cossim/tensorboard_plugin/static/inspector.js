// The selected pair: its numbers, its flag or the reason for no flag.

import { detail, verdict } from "./detail.js";
import { element } from "./dom.js";

/** @import { App, Shown } from "./index.js" */

export class Inspector {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.root = element("section", { class: "inspector", "aria-label": "Selected pair" });
  }

  /** @param {Shown[]} sides */
  render([{ step }]) {
    const pair = step.indexOf(this.app.selected);
    this.root.replaceChildren(element("h2", {}, pair < 0 ? "No pair" : step.namesAt(pair).join(" / ")), element("p", { class: "detail" }, pair < 0 ? "" : [...detail(step, pair), verdict(step, pair)].filter(Boolean).join(" · ")));
  }
}
