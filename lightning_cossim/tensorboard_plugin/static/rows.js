// Rows of a long table, of which only those in view are elements, and the row that has the focus.

import { element } from "./dom.js";

/**
 * Which rows are elements: those in view and the active one, with the number of rows left out before each and after the last.
 * @param {number} first row in view
 * @param {number} last row after those in view
 * @param {number} active row that the keys have reached; -1: none
 * @param {number} all number of rows
 */
export function partsOf(first, last, active, all) {
  const rows = Array.from({ length: Math.max(0, last - first) }, (_, at) => first + at);
  const wanted = active < 0 || (active >= first && active < last) ? rows : active < first ? [active, ...rows] : [...rows, active];
  const parts = wanted.map((row, at) => ({ row, before: row - (at ? wanted[at - 1] + 1 : 0) }));
  return { parts, after: all - (wanted.length ? wanted[wanted.length - 1] + 1 : 0) };
}

/**
 * Makes elements the children of a parent, in order. Those that are in their places stay, and so does the focused one, because an element that moves loses the focus.
 * @param {Element} parent
 * @param {HTMLElement[]} wanted
 */
export function arrange(parent, wanted) {
  const focused = wanted.find((one) => one.parentElement === parent && one.contains(document.activeElement));
  const stay = new Set(wanted);
  for (const child of Array.from(parent.children)) if (!stay.has(/** @type {HTMLElement} */ (child))) child.remove();
  let next = parent.firstElementChild;
  for (const one of wanted) {
    while (one === focused && next && next !== one) {
      const other = next;
      next = next.nextElementSibling;
      parent.append(other); // out of the way of the focused element, which stays
    }
    if (one === next) next = next.nextElementSibling;
    else parent.insertBefore(one, next);
  }
}

/**
 * An empty row in place of others.
 * @param {number} num
 * @param {number} height of a row in CSS pixels
 */
export const room = (num, height) => element("tr", { class: "room", "aria-hidden": "true", style: `height:${num * height}px` });
