// Dialogs: what a rung is, what the tab shows, the link to it.

import { element } from "./dom.js";
import { PAPER, RUNGS, textsOf } from "./rungs.js";

export function explain(parent, rung, link) {
  open(parent, RUNGS[rung].name, ...textsOf(rung, link).map((one) => element("p", {}, one)), paper());
}

/** What the tab shows, with the rungs that the step on view has. */
export function about(parent, step) {
  const shown = Object.keys(RUNGS).filter((rung) => rung === "gap" || !step || rung in step.values);
  open(
    parent,
    "Label similarity",
    element("p", {}, "The rows of a classifier's final linear layer look like embeddings of its labels, and their cosines like similarities. Every point and every cell here is a pair of labels at one step of the training: what the rows say (a similarity) against what the model does (how far the two labels are probable for the same inputs)."),
    element("p", {}, "A stranger (▲) overlaps more than pairs of its cosine usually do; a look-alike (▼) less. Select a pair in any view to see it in all others; pin several to compare them over the steps."),
    element("p", {}, "Keys: ← and → go from step to step, ↑ and ↓ in the table from pair to pair. The wheel zooms into heatmaps, dragging moves them."),
    ...shown.map((rung) => element("details", {}, element("summary", {}, RUNGS[rung].name), ...textsOf(rung, step?.link).map((one) => element("p", {}, one)))),
    paper(),
  );
}

export async function showLink(parent, address) {
  const field = element("input", { type: "text", value: address, readOnly: true, "aria-label": "Link", onfocus: () => field.select() });
  const said = element("p", { class: "note", role: "status" }, "Copy this link:");
  open(parent, "Link to what is shown", said, field);
  try {
    await navigator.clipboard.writeText(address);
    said.textContent = "Copied. The link opens this tab with the same run, step, pair and filters:";
  } catch {
    field.select(); // the browser does not allow it: the user copies it
  }
}

function paper() {
  return element("p", {}, "The proofs: ", element("a", { href: PAPER, target: "_blank", rel: "noopener noreferrer" }, "Nielsen, Why not to use Cosine Similarity between Label Representations (arXiv 2603.29488)"));
}

function open(parent, title, ...content) {
  const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = element("dialog", { "aria-label": title, onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() }, element("div", { class: "inside" }, element("h2", {}, title), ...content, close));
  parent.append(dialog);
  dialog.showModal();
}
