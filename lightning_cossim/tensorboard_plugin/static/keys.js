// Keys that are pressed in the tab, or in TensorBoard's page around it while nothing there has the focus.

import { isOnScreen } from "./reload.js";

/** @param {(event: KeyboardEvent) => unknown} callback */
export function watchKeys(callback) {
  document.addEventListener("keydown", callback);
  try {
    const outer = window.parent.document;
    if (outer === document) return;
    outer.addEventListener("keydown", (event) => {
      if ([outer.body, outer.documentElement].some((one) => one === event.target) && isOnScreen()) callback(event);
    });
  } catch {
    // The outer page has another origin: only keys in the tab count.
  }
}
