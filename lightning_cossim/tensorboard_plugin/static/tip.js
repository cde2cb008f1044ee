// What is under the pointer, by name.

import { element, number } from "./dom.js";
import { RUNGS } from "./rungs.js";

export class Tip {
  constructor() {
    this.root = element("div", { class: "tip", hidden: true });
  }

  show(event, step, pair, rung) {
    const flag = step.flagAt(pair);
    const values = [rung, "overlap", "expected_overlap", "gap"].filter((name, at, all) => all.indexOf(name) === at);
    this.root.replaceChildren(
      element("b", {}, step.namesAt(pair).join(" / ")),
      ...values.map((name) => element("div", {}, `${RUNGS[name]?.short ?? name} ${number(step.values[name][pair], { signed: name === "gap" })}`)),
      ...(flag ? [element("div", { class: flag }, flag === "stranger" ? "▲ stranger" : "▼ look-alike")] : []),
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
