// Messages that replace the views, with instructions.

import { element } from "./dom.js";
import { TooNew } from "./wire.js";

export function loading() {
  return message("Reading the steps…", element("p", {}, "This can take some seconds after TensorBoard has started."));
}

export function empty() {
  return message(
    "No steps yet",
    element("p", {}, "This tab shows the data of a LabelSimilarityMonitor. These three lines write it:"),
    element("pre", { tabIndex: 0, "aria-label": "Code" }, 'from lightning_cossim import LabelSimilarityMonitor\n\nlogger = TensorBoardLogger("logs")\ntrainer = Trainer(callbacks=[LabelSimilarityMonitor()], logger=logger)'),
    element("p", {}, "The first step comes with the first report; with the default settings, after the first validation. The tab looks for it by itself. If a report has been written already, check that --logdir names the right folder."),
  );
}

/**
 * What a link names and TensorBoard does not have.
 * @param {string} text
 */
export function missing(text) {
  return message("The link names something that is not here", element("p", {}, text), element("p", {}, "Choose a run, a stage or a step above. If a training still writes it, the tab shows it as soon as it is there."));
}

/**
 * @param {unknown} error
 * @param {() => unknown} again
 */
export function aboutError(error, again) {
  const retry = element("button", { type: "button", onclick: again }, "Try again");
  if (error instanceof TooNew) {
    return message("A newer version of lightning-cossim wrote this step", element("p", {}, "Upgrade lightning-cossim in the environment of TensorBoard, then restart TensorBoard:"), element("pre", { tabIndex: 0, "aria-label": "Command" }, "pip install --upgrade lightning-cossim"), retry);
  }
  return message("The tab cannot show this", element("p", {}, error instanceof Error ? error.message : String(error)), retry);
}

/**
 * @param {string} title
 * @param {...Node} content
 */
function message(title, ...content) {
  return element("div", { class: "message", role: "status" }, element("h1", {}, title), ...content);
}
