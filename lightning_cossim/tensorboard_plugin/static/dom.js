// Creates elements. All texts are set as text, never as HTML, because the names of labels, runs and tags come from users.

/** @typedef {{ [Name in keyof HTMLElementEventMap as `on${Name}`]?: (event: HTMLElementEventMap[Name]) => unknown }} Handlers */
/** @typedef {Handlers & Record<string, unknown>} Properties event handlers, attributes, and properties that are not strings */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} properties
 * @param {...(Node | string)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name in made && typeof value !== "string") Reflect.set(made, name, value);
    else made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/**
 * @param {string} text
 * @param {string} title
 * @param {(event: MouseEvent) => unknown} onclick
 */
export function button(text, title, onclick) {
  return element("button", { type: "button", title, "aria-label": title, onclick }, text);
}

/**
 * Remembers the focused element by its name. Call the returned function to focus the element with that name, if the focus was lost.
 * @param {Element} root
 */
export function focused(root) {
  /** @param {Element} one */
  const part = (one) => Array.from(root.querySelectorAll("figure, header"), (found) => found.contains(one)).indexOf(true);
  /** @param {HTMLElement} one */
  const name = (one) => `${one.tagName} ${part(one)} ${one.dataset.name ?? one.getAttribute("aria-label") ?? one.textContent}`;
  const before = document.activeElement;
  if (!(before instanceof HTMLElement) || before === document.body || !root.contains(before)) return () => {};
  const wanted = name(before);
  return () => {
    if (document.activeElement === before) return;
    const same = /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll(before.tagName));
    Array.from(same).find((one) => name(one) === wanted)?.focus({ preventScroll: true });
  };
}

/**
 * Leaves the arrow keys to the controls of an element, so that they do not change the step.
 * @param {KeyboardEvent} event
 */
export function keepArrows(event) {
  if (event.key.startsWith("Arrow")) event.stopPropagation();
}

/** @typedef {[value: string, text: string]} Option */

/**
 * A choice with a label that only screen readers get.
 * @param {string} label
 * @param {Option[]} options
 * @param {string} value
 * @param {(value: string) => unknown} onchange
 */
export function select(label, options, value, onchange) {
  /** @type {HTMLSelectElement} */
  const made = element("select", { "aria-label": label, onchange: () => onchange(made.value) });
  for (const [one, text] of options) made.append(element("option", { value: one }, text));
  made.value = value;
  made.title = made.selectedOptions[0]?.text ?? ""; // the page cuts long names
  return made;
}

/**
 * A choice with a visible label.
 * @param {string} label
 * @param {Option[]} options
 * @param {string} value
 * @param {(value: string) => unknown} onchange
 */
export function choice(label, options, value, onchange) {
  return element("label", { class: "control" }, element("span", {}, label), select(label, options, value, onchange));
}

/** @param {HTMLCanvasElement} canvas */
export function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("The browser does not provide a canvas to draw on. Use another browser.");
  return context;
}

/**
 * Resizes and clears a canvas, at the screen's resolution, and returns its context in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
export function canvasOf(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns;
    canvas.height = rows;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = contextOf(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** @type {WeakMap<Element, [width: number, height: number]>} */
const rooms = new WeakMap();
/** @type {ResizeObserver | null} */
let observer = null;
let onresize = () => {};

/**
 * Calls `callback` when an element of which `sizeOf` was asked has another size.
 * @param {() => void} callback
 */
export function watchSizes(callback) {
  onresize = callback;
}

/**
 * The inner size of an element in CSS pixels. It is measured once and observed from then on, because each measurement lets the browser lay out the page.
 * @param {Element} of
 */
export function sizeOf(of) {
  const known = rooms.get(of);
  if (known) return known;
  observer ??= new ResizeObserver((entries) => {
    const changed = entries.filter(({ target }) => rooms.get(target)?.join() !== measured(target).join());
    for (const { target } of changed) rooms.set(target, measured(target));
    if (changed.length) onresize();
  });
  observer.observe(of);
  const now = measured(of);
  if (now[0] && now[1]) rooms.set(of, now); // an element that is not on the page yet has no size
  return now;
}

/**
 * @param {Element} of
 * @returns {[number, number]}
 */
const measured = ({ clientWidth, clientHeight }) => [clientWidth, clientHeight];

/**
 * The width and height available to a canvas, in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} leastWidth
 * @param {number} leastHeight
 */
export function roomOf(canvas, leastWidth, leastHeight) {
  const [width, height] = canvas.parentElement ? sizeOf(canvas.parentElement) : [0, 0];
  return [Math.max(leastWidth, width), Math.max(leastHeight, height)];
}

/**
 * A number as text: three digits after the point below 10, fewer above, an exponent for very small or large numbers. NaN is a dash.
 * @param {number | null | undefined} value
 */
export function number(value, { signed = false, whole = false } = {}) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const text = whole ? size.toFixed(0) : size !== 0 && (size < 0.0005 || size >= 1e5) ? size.toExponential(1) : size >= 100 ? size.toFixed(0) : size.toFixed(size >= 10 ? 1 : 3);
  const sign = value < 0 && Number(text) !== 0 ? "−" : signed && Number(text) !== 0 ? "+" : "";
  return sign + text;
}

/**
 * @param {string} text
 * @param {number} longest
 */
export function shortened(text, longest) {
  const characters = Array.from(text);
  return characters.length <= longest ? text : `${characters.slice(0, longest - 1).join("")}…`;
}

/**
 * Ticks of an axis: about `num` round numbers.
 * @param {number} low
 * @param {number} high
 */
export function ticks(low, high, num = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / num;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5].map((one) => one * power).find((one) => one >= rough) ?? 10 * power;
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) found.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return found;
}
