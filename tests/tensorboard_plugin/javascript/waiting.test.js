// When views are rendered.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Views } from "../static/views.js";

/** @type {Record<string, unknown>} */
const page = /** @type {any} */ (globalThis);
page.IntersectionObserver = class {
  observe() {}
};
page.document = { activeElement: null };

/** A view, as far as `Views` knows it; `focused`: whether it has the focus. */
const view = (focused = false) => /** @type {Element} */ (/** @type {unknown} */ ({ contains: () => focused }));

test("a view on the screen is rendered at once, another one after a rest, and only as it was asked for last", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const [near, far, views] = [view(), view(), new Views()];
  /** @type {string[]} */
  const drawn = [];
  const ask = (/** @type {Element} */ one, /** @type {string} */ name) => views.render(one, () => drawn.push(name));
  ask(near, "near 1");
  ask(far, "far 1");
  assert.deepEqual(drawn.splice(0), ["near 1", "far 1"]); // where they are is not known yet
  views.follow(far, false);
  for (const at of [2, 3, 4]) {
    ask(near, `near ${at}`);
    ask(far, `far ${at}`);
    mock.timers.tick(60);
  }
  assert.deepEqual(drawn.splice(0), ["near 2", "near 3", "near 4"]);
  mock.timers.tick(60);
  assert.deepEqual(drawn.splice(0), ["far 4"]);
  mock.timers.tick(500);
  assert.deepEqual(drawn, []);
  ask(far, "far 5");
  views.follow(far, true);
  assert.deepEqual(drawn.splice(0), ["far 5"]); // it came onto the screen
  ask(far, "far 6");
  assert.deepEqual(drawn.splice(0), ["far 6"]);
  mock.timers.reset();
});

test("the view that has the focus is rendered at once, wherever it is", () => {
  const [focused, views] = [view(true), new Views()];
  let num = 0;
  views.follow(focused, false);
  views.render(focused, () => num++);
  assert.equal(num, 1);
});
