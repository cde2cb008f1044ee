// The page: its views, and the notices above them.

import { Comparing } from "./comparing.js";
import { compare } from "./compare.js";
import { Controls } from "./controls.js";
import { element, focused } from "./dom.js";
import { FilterBar } from "./filterbar.js";
import { Heatmap } from "./heatmap.js";
import { History } from "./history.js";
import { Inspector } from "./inspector.js";
import { Scatter } from "./scatter.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";
import { Views } from "./views.js";

/** @import { App } from "./app.js" */
/** @import { Compared } from "./compare.js" */
/** @import { Shown } from "./selection.js" */

export class Page {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.views = new Views();
    this.controls = new Controls(app);
    this.summary = new Summary();
    this.filters = new FilterBar(app);
    this.scatter = new Scatter(app);
    this.comparing = new Comparing(app);
    /** @type {Compared | null} */
    this.compared = null;
    this.inspector = new Inspector(app);
    this.heatmap = new Heatmap(app);
    this.history = new History(app);
    this.table = new Table(app);
    const notice = () => element("p", { class: "notice", hidden: true });
    this.notices = { lost: notice(), comparison: notice(), pins: notice() };
    this.board = element("div", { class: "board" }, this.scatter.root, this.comparing.root, this.inspector.root, this.heatmap.root, this.history.root, this.table.root);
    this.parts = [element("h1", { class: "unseen" }, "Label similarity"), element("div", { role: "status" }, ...Object.values(this.notices)), this.summary.root, this.filters.root, this.board];
    this.content = element("main", {});
    this.root = element("div", { class: "app" }, this.controls.root, this.content, app.tip.root, app.dialogs);
  }

  /**
   * Shows a message in place of the views.
   * @param {HTMLElement} message
   */
  replace(message) {
    this.content.replaceChildren(message);
  }

  /**
   * Shows a line above the views, one for each subject; an empty text removes it.
   * @param {"lost" | "comparison" | "pins"} subject
   * @param {string} text
   * @param {() => unknown} [again] for a button that tries again
   */
  say(subject, text, again) {
    const line = this.notices[subject];
    if (text === (line.firstChild?.textContent ?? "")) return;
    line.replaceChildren(...(text ? [element("span", {}, text)] : []), ...(again ? [element("button", { type: "button", onclick: again }, "Try again")] : []));
    line.hidden = !text;
  }

  /** Shows the sides of the app in all views. */
  paint() {
    const { app } = this;
    const [one, other] = app.sides;
    if (!one) return;
    const focus = focused(this.root);
    app.tip.hide();
    this.controls.render(one, app.runs ?? []);
    this.root.classList.toggle("comparing", Boolean(other));
    if (this.board.parentElement !== this.content) this.content.replaceChildren(...this.parts);
    this.summary.render(app.sides);
    this.filters.render(one.step);
    const compared = this.comparison(one, other);
    this.compared = compared;
    this.scatter.root.hidden = compared !== null;
    this.comparing.root.hidden = compared === null;
    const { views } = this;
    if (other && compared) views.render(this.comparing.root, () => this.comparing.render(one, other, compared));
    else views.render(this.scatter.root, () => this.scatter.render(one));
    this.inspect();
    views.render(this.heatmap.root, () => this.heatmap.render(one, other, compared));
    views.render(this.table.root, () => this.table.render(one, compared));
    this.recall();
    focus();
    performance.clearMarks("painted"); // for tests that measure the drawing time
    performance.mark("painted");
  }

  /**
   * The comparison of two shown steps; null if one is shown. It is kept while the steps stay.
   * @param {Shown} one
   * @param {Shown | undefined} other
   */
  comparison(one, other) {
    if (!other) return null;
    return this.compared?.one === one.step && this.compared.other === other.step ? this.compared : compare(one.step, other.step);
  }

  /** Shows the selected pair, and loads its evidence if it is missing. */
  inspect() {
    const { app, inspector } = this;
    if (!app.sides.length) return;
    const evidence = app.reader.evidence(app.sides[0], () => this.inspect());
    this.views.render(inspector.root, () => inspector.render(app.sides, evidence));
  }

  /** Draws the history of the selected and pinned pairs, and loads missing data. */
  recall() {
    const { app } = this;
    const { pairs } = app;
    const sides = app.sides.map((side) => {
      const there = pairs.map(({ pair }) => app.pairIn(side.step, pair)).filter((pair) => pair !== null);
      return { ...side, history: app.reader.history(side, there, () => this.recall()) };
    });
    this.views.render(this.history.root, () => this.history.render(sides, pairs));
    this.controls.steps.trend(sides[0]);
  }

  /** Draws the views anew, in another size. */
  redraw() {
    if (!this.app.sides.length) return;
    this.controls.steps.draw();
    if (this.compared) this.comparing.draw();
    else this.scatter.draw();
    this.heatmap.draw();
    this.history.draw();
    this.table.fill();
  }
}
