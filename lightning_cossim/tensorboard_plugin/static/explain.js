// Dialogs: explain a quantity, explain the tab, show a link to the current view.

import { element } from "./dom.js";

/** @import { Step } from "./step.js" */
/** @import { Quantity } from "./wire.js" */

/** Words that no quantity explains. */
const WORDS = [
  ["±: the standard error", "The number after ± is the standard error of the value before it: how far the value would typically move with other inputs of the same kind. It is computed from eight groups of the inputs. A gap counts if it exceeds its limit by 1.9 standard errors."],
  ["Rank agreement", "Orders all pairs by the cosine and by the overlap, and compares the two orders: 1 if they are the same, 0 if they have nothing in common, −1 if one is the reverse of the other (Spearman's rank correlation)."],
  ["Reliability", "How well the order of the overlaps would repeat with other inputs of the same kind, from 0 to 1, estimated from two halves of the inputs. Below 0.5, no pair is judged."],
  ["Joint mass", "The overlap of a pair is a sum over inputs. The joint mass says on which inputs this sum arises: on inputs whose target is the first label, the second, or another one. If much of it is on other labels, the two are confused on inputs of neither."],
  ["Share explained", "The share of the variance of the overlaps that a rising curve of the cosine explains, from about 0 to 1. It depends on how confident the model is, so compare models by the rank agreement."],
];

const PAPER = "https://arxiv.org/abs/2603.29488";

/**
 * Opens the explanation of a quantity. Every view that names a quantity has a button for it.
 * @param {Element} parent
 * @param {Quantity} quantity
 */
export function explain(parent, quantity) {
  open(parent, quantity.title, ...paragraphs(quantity), paper());
}

/** @param {Quantity} quantity */
function paragraphs({ about: texts }) {
  const shown = texts.length ? texts : ["An earlier version of lightning-cossim wrote this step, without explanations. Steps of newer versions have them."];
  return shown.map((one) => element("p", {}, one));
}

/**
 * Opens the explanation of the tab and of all quantities of the current step.
 * @param {Element} parent
 * @param {Step | undefined} step
 */
export function about(parent, step) {
  open(
    parent,
    "Label similarity",
    element("p", {}, "Each point and each cell is a pair of labels at one step of the training. This tab compares two quantities of the pair: how similar the two rows of the classifier's final linear layer are (a similarity, such as the cosine), and how much the model's probabilities of the two labels overlap on the same inputs."),
    element("p", {}, "A stranger (▲) is confused though unlike: it overlaps more than pairs with its cosine. A look-alike (▼) is apart though alike: it overlaps less. The difference must exceed the threshold and its error. For every other pair, the tab gives the reason for no flag. At first, the pair that is furthest off is selected; select another one in any view to see it in all views. Pin pairs to compare them."),
    element("p", {}, "Keys: ← and → change the step. In the table, ↑ and ↓ change the pair, Space pins it, Enter goes to it. In the scatter and the heatmap, the arrow keys move from pair to pair, and Enter selects; in the heatmap, + and − zoom, and 0 shows all labels. With the pointer: turn the wheel to zoom the heatmap, drag to move it; hold Shift and drag in the scatter to select an area."),
    ...(step?.quantities ?? []).map((one) => element("details", {}, element("summary", {}, one.title), ...paragraphs(one))),
    ...WORDS.map(([word, ...texts]) => element("details", {}, element("summary", {}, word), ...texts.map((one) => element("p", {}, one)))),
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
    field.select(); // the browser denies access to the clipboard: the user copies the selected text
  }
}

function paper() {
  return element("p", {}, "Proofs: ", element("a", { href: PAPER, target: "_blank", rel: "noopener noreferrer" }, "Nielsen, Why not to use Cosine Similarity between Label Representations (arXiv 2603.29488)"));
}

/**
 * @param {Element} parent
 * @param {string} title
 * @param {...Node} content
 */
function open(parent, title, ...content) {
  const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
  /** @type {HTMLDialogElement} */
  const dialog = element("dialog", { "aria-label": title, onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() }, element("div", { class: "inside" }, element("div", { class: "top" }, element("h2", {}, title), close), ...content));
  parent.append(dialog);
  dialog.showModal();
}
