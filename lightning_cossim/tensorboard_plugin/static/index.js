// The tab: TensorBoard calls `render` in a separate frame.

import { App } from "./app.js";
import { dress, watchTheme } from "./colors.js";
import { element, watchSizes } from "./dom.js";
import { watchKeys } from "./keys.js";
import { watchAddress } from "./link.js";
import { watchReload } from "./reload.js";

export async function render() {
  const style = element("link", { rel: "stylesheet", href: new URL("style.css", import.meta.url).href });
  const loaded = new Promise((resolve) => ["load", "error"].forEach((event) => style.addEventListener(event, resolve)));
  document.head.append(style);
  document.title = "Label similarity";
  document.documentElement.lang = "en";
  await loaded;
  dress(document.documentElement);
  const app = new App();
  document.body.replaceChildren(app.page.root);
  watch(app);
  await app.refresh();
}

/**
 * Follows what happens around the page: colors, sizes, keys, the address, new steps.
 * @param {App} app
 */
function watch(app) {
  watchTheme(() => {
    dress(document.documentElement);
    app.paint();
  });
  watchSizes(() => app.page.redraw());
  watchKeys((event) => app.page.controls.steps.key(event));
  watchAddress((state) => app.follow(state));
  watchReload(() => app.look());
}
