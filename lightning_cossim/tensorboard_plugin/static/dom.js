// Elements. Texts are set as text, never as HTML: labels, runs and tags are what users named them.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

/** Notes where the focus is, by what the element is called; calling what comes back puts it there again, if it was lost. */
export function focused(root) {
  const part = (one) => Array.from(root.querySelectorAll("figure, header")).indexOf(one.closest("figure, header"));
  const name = (one) => `${one.tagName} ${part(one)} ${one.dataset.name ?? one.getAttribute("aria-label") ?? one.textContent}`;
  const before = document.activeElement;
  if (!before || before === document.body || !root.contains(before)) return () => {};
  const wanted = name(before);
  return () => {
    if (document.activeElement === before) return;
    Array.from(root.querySelectorAll(before.tagName)).find((one) => name(one) === wanted)?.focus({ preventScroll: true });
  };
}

/** A labeled choice; `options` are [value, text] or { label, options } for a group. */
export function choice(label, options, value, onchange) {
  const select = element("select", { "aria-label": label, onchange: () => onchange(select.value) });
  for (const [one, text] of options) select.append(element("option", { value: one }, text));
  select.value = value;
  return element("label", { class: "control" }, element("span", {}, label), select);
}

/** A canvas with as many pixels as the screen has, and its context in CSS pixels. */
export function canvasOf(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns;
    canvas.height = rows;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** A number as it is read: three digits, a real minus, no NaN. */
export function number(value, { signed = false } = {}) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 0.0005 || size >= 1e5) ? size.toExponential(1) : size >= 100 ? size.toFixed(0) : size.toFixed(size >= 10 ? 1 : 3);
  const sign = value < 0 && Number(text) !== 0 ? "−" : signed && Number(text) !== 0 ? "+" : "";
  return sign + text;
}

export function shortened(text, longest) {
  const characters = Array.from(text);
  return characters.length <= longest ? text : `${characters.slice(0, longest - 1).join("")}…`;
}

/** Ticks of an axis: a few round numbers. */
export function ticks(low, high, num = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / num;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) found.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return found;
}
