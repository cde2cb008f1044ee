// What stands in place of the views, and what to do about it.

import { element } from "./dom.js";
import { TooNew } from "./wire.js";

export function loading() {
  return message("Reading the steps…", element("p", {}, "This takes a moment after TensorBoard has started."));
}

export function empty() {
  return message(
    "No steps yet",
    element("p", {}, "This tab shows what a LabelSimilarityMonitor logs. Add one to your Trainer, together with a TensorBoardLogger:"),
    element("pre", {}, "from lightning_cossim import LabelSimilarityMonitor\n\ntrainer = Trainer(callbacks=[LabelSimilarityMonitor()], logger=TensorBoardLogger(\"logs\"))"),
    element("p", {}, "The first step comes with the first report; press Refresh then. If there should be steps already, look whether --logdir names the right folder."),
  );
}

/**
 * @param {unknown} error
 * @param {() => unknown} again
 */
export function aboutError(error, again) {
  const retry = element("button", { type: "button", onclick: again }, "Try again");
  if (error instanceof TooNew) {
    return message("This step was written by a later lightning-cossim", element("p", {}, "Upgrade the package where TensorBoard runs, then start TensorBoard anew:"), element("pre", {}, "pip install --upgrade lightning-cossim"), retry);
  }
  return message("This cannot be shown", element("p", {}, error instanceof Error ? error.message : String(error)), retry);
}

/**
 * @param {string} title
 * @param {...Node} content
 */
function message(title, ...content) {
  return element("div", { class: "message", role: "status" }, element("h2", {}, title), ...content);
}
