// What stands around a heatmap: the choice of what it shows, its legend, and its notes in words.

import { button, element, keepArrows, select } from "./dom.js";
import { everyNamed } from "./heatmap-names.js";
import { areMany } from "./labels.js";
import { showLegend } from "./legend.js";
import { cellsOf, hasGaps } from "./matrices.js";
import { holds, reaching, whole } from "./zoom.js";

/** @import { Colors } from "./colors.js" */
/** @import { Heatmap } from "./heatmap.js" */
/** @import { Entry } from "./legend.js" */
/** @import { Labels } from "./link.js" */
/** @import { Step } from "./step.js" */

/** @type {[string, string][]} */
const SIDES = [["", "B minus A"], ["a", "A"], ["b", "B"]];
/** @type {[Labels, string][]} */
const LABELS = [["neighborhood", "neighborhood of the selected pair"], ["probable", "most probable"], ["flagged", "flagged"]];

export class HeatmapWords {
  /** @param {Heatmap} heatmap */
  constructor(heatmap) {
    this.heatmap = heatmap;
    this.headIs = ""; // what the head was made of
    this.head = element("figcaption", {});
    this.legend = element("ul", { class: "key" });
    this.outside = element("p", { class: "outside", hidden: true });
    this.note = element("p", { class: "note" });
    this.above = [this.head, this.legend, this.outside];
  }

  drawHead() {
    const { heatmap } = this;
    const { app, step, key: shown, title: heading, compared } = heatmap;
    const { state } = app;
    const made = JSON.stringify([shown, step.similarities, heading, Boolean(compared), state.side, areMany(step), state.labels, state.scale]);
    if (made === this.headIs) return; // keeps the focus, and an open choice
    this.headIs = made;
    const parts = keysOf(step).map((key) => {
      const { title, column } = step.quantity(key);
      const input = element("input", { type: "radio", name: "map", value: key, checked: key === shown, "aria-label": title, "data-name": `map ${key}`, onchange: () => app.set({ map: key }) });
      return element("label", { title, class: key === shown ? "chosen" : "" }, input, element("span", {}, column));
    });
    this.head.replaceChildren(
      element("h2", {}, heading), app.explainer(step.quantity(shown)),
      ...(compared ? [element("label", { class: "control" }, element("span", {}, "Of"), select("Step of the heatmap", SIDES, state.side, (side) => app.set({ side })))] : []),
      element("span", { class: "switch", role: "radiogroup", "aria-label": "Quantity of the heatmap", onkeydown: keepArrows }, ...parts),
      ...(areMany(step) ? [element("label", { class: "control" }, element("span", {}, "Labels"), select("Labels of the heatmap", LABELS, state.labels, (labels) => app.set({ labels: /** @type {Labels} */ (labels) })))] : []),
      element("label", { class: "control" }, element("span", {}, "Scale"), select("Scale of the heatmap", [["", "of this step"], ["fixed", "fixed over steps"]], state.scale, (scale) => app.set({ scale }))),
      element("span", { class: "buttons" },
        button("+", "Zoom in", () => heatmap.zoom(0.6)),
        button("−", "Zoom out", () => heatmap.zoom(1 / 0.6)),
        button("All", "Show all labels", () => heatmap.look(whole(heatmap.grid.num)))),
    );
  }

  /** @param {Colors} colors */
  drawKey(colors) {
    const { step, app, matrices } = this.heatmap;
    /** @type {Entry[]} */
    const entries = [];
    if (matrices.flags.includes(1)) entries.push({ sign: "stranger", text: "stranger" });
    if (matrices.flags.includes(2)) entries.push({ sign: "look-alike", text: "look-alike" });
    if (hasGaps(matrices)) entries.push({ sign: "hatch", text: "not compared" });
    const passing = app.shown(step);
    if (passing.pairs.length < passing.num) entries.push({ sign: "dots", text: "filtered out" });
    showLegend(this.legend, entries, colors);
  }

  /** Says which labels are shown, in which order and scale. */
  tell() {
    const { app, grid, matrices, scale: { signed } } = this.heatmap;
    const every = everyNamed(grid.cell);
    const scale = app.state.scale === "fixed" ? "scale fixed over the steps seen" : app.isPlaying ? "scale held while playing" : "scale of this step, as in Images";
    this.note.textContent = grid.num ? `${matrices.words}${every > 1 ? `, 1 in ${every} named` : ""} · ${scale}${signed ? "; − marks values below zero" : ""}` : "No label has a pair that passes the filter.";
    this.note.title = this.note.textContent;
  }

  /** Says where the selected pair is, if it is not in view, with a way to it. */
  tellOutside() {
    const { heatmap } = this;
    const { app, step, grid, view, matrices } = heatmap;
    const pair = app.pairIn(step, app.selected);
    this.outside.hidden = true;
    if (!pair) return;
    const names = pair.map((label) => step.nameOf(label)).join(" / ");
    const [cell] = cellsOf(matrices, pair);
    if (cell && holds(view, cell.row, cell.column)) return;
    if (cell && view.num > grid.num - 0.5) return;
    const go = cell
      ? button("Go to it", "Move the heatmap to the selected pair", () => heatmap.look(reaching(heatmap.view, cell.row, cell.column, heatmap.grid.num)))
      : areMany(step) && app.state.labels !== "neighborhood" && step.indexOf(pair) >= 0
        ? button("Show its neighborhood", "Show the labels near the selected pair", () => app.set({ labels: "neighborhood" }))
        : null;
    const where = cell ? "is outside of this part" : step.indexOf(pair) >= 0 ? "is not among these labels" : "is not in this step";
    this.outside.hidden = false;
    this.outside.replaceChildren(`The selected pair, ${names}, ${where}. `, ...(go ? [go] : []));
  }
}

/**
 * The quantities that the heatmap can show.
 * @param {Step} step
 */
export const keysOf = (step) => ["gap", "overlap", ...step.similarities];
