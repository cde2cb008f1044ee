// Dialogs: what a similarity is, what the tab shows, the link to it.

import { element } from "./dom.js";

/** @import { Step } from "./step.js" */
/** @import { Quantity } from "./wire.js" */

const PAPER = "https://arxiv.org/abs/2603.29488";

/**
 * What a number of a pair is: one click away from every place that names it.
 * @param {Element} parent
 * @param {Quantity} quantity
 */
export function explain(parent, quantity) {
  open(parent, quantity.title, ...paragraphs(quantity), paper());
}

/** @param {Quantity} quantity */
function paragraphs({ about: texts }) {
  const shown = texts.length ? texts : ["This step was written by an earlier lightning-cossim, which wrote no explanations beside the numbers."];
  return shown.map((one) => element("p", {}, one));
}

/**
 * What the tab shows, with everything that the step on view has.
 * @param {Element} parent
 * @param {Step | undefined} step
 */
export function about(parent, step) {
  open(
    parent,
    "Label similarity",
    element("p", {}, "The rows of a classifier's final linear layer look like embeddings of its labels, and their cosines like similarities. Every point and every cell here is a pair of labels at one step of the training: what the rows say (a similarity) against what the model does (how far the two labels are probable for the same inputs)."),
    element("p", {}, "A stranger (▲) overlaps more than is expected of pairs with its cosine; a look-alike (▼) less, either by more than its error. The table says of every other pair why it is not flagged. Select a pair in any view to see it in all others; pin several to compare them over the steps."),
    element("p", {}, "Keys: ← and → go from step to step, ↑ and ↓ in the table from pair to pair. The wheel zooms into heatmaps, dragging moves them."),
    ...(step?.quantities ?? []).map((one) => element("details", {}, element("summary", {}, one.title), ...paragraphs(one))),
    paper(),
  );
}

/**
 * @param {Element} parent
 * @param {string} address
 */
export async function showLink(parent, address) {
  /** @type {HTMLInputElement} */
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

/**
 * @param {Element} parent
 * @param {string} title
 * @param {...Node} content
 */
function open(parent, title, ...content) {
  const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
  /** @type {HTMLDialogElement} */
  const dialog = element("dialog", { "aria-label": title, onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() }, element("div", { class: "inside" }, element("h2", {}, title), ...content, close));
  parent.append(dialog);
  dialog.showModal();
}
