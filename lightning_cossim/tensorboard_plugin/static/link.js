// The state of the page as a link, in the part of TensorBoard's address that belongs to plugins: p.lightning_cossim.<key>=<value>.

const PREFIX = "p.lightning_cossim.";

/** Key to how its value is read and written; what equals the default is left out of links. */
const KEYS = {
  run: text(), tag: text(), step: whole(), run2: text(), x: text("centered_cosine"), sort: text("gap"), down: flag(true),
  query: text(""), flag: text(""), pair: pair(), pins: list(pair()),
};

export const DEFAULTS = Object.fromEntries(Object.entries(KEYS).map(([key, { initial }]) => [key, initial]));

function text(initial = null) {
  return { initial, read: (value) => value, write: (value) => value };
}

function whole() {
  return { initial: null, read: (value) => (/^\d{1,15}$/.test(value) ? Number(value) : null), write: String };
}

function flag(initial) {
  return { initial, read: (value) => value === "1", write: (value) => (value ? "1" : "0") };
}

function pair() {
  const read = (value) => (/^\d{1,9}-\d{1,9}$/.test(value) ? value.split("-").map(Number) : null);
  return { initial: null, read, write: (value) => value.join("-") };
}

function list(one) {
  const read = (value) => value.split(",").map(one.read).filter((found) => found !== null).slice(0, 8);
  return { initial: [], read, write: (values) => values.map(one.write).join(",") };
}

/** The state in the fragment of an address; what is missing or makes no sense has its default. */
export function parse(fragment) {
  const state = { ...DEFAULTS };
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const at = part.indexOf("=");
    if (at < 0 || !part.startsWith(PREFIX)) continue;
    const key = part.slice(PREFIX.length, at);
    if (!Object.hasOwn(KEYS, key)) continue;
    try {
      state[key] = KEYS[key].read(decodeURIComponent(part.slice(at + 1))) ?? KEYS[key].initial;
    } catch {
      // not an escaped text: the default stays
    }
  }
  return state;
}

/** The fragment of an address with this state in it, and what else was there. */
export function format(state, fragment = "") {
  const parts = fragment.replace(/^#/, "").split("&").filter((part) => part && !part.startsWith(PREFIX));
  for (const [key, { initial, write }] of Object.entries(KEYS)) {
    const value = state[key];
    if (value === null || value === undefined || value === initial || (Array.isArray(value) && !value.length)) continue;
    parts.push(`${PREFIX}${key}=${encodeURIComponent(write(value))}`);
  }
  return `#${parts.join("&")}`;
}

/** The window whose address is the page's: TensorBoard's, or this one if it stands alone. */
function page() {
  try {
    return window.parent.location.href ? window.parent : window;
  } catch {
    return window;
  }
}

export const readAddress = () => parse(page().location.hash);

export function addressOf(state) {
  const address = new URL(page().location.href);
  const fragment = page() === window ? address.hash : address.hash || "#lightning_cossim";
  address.hash = format(state, fragment);
  return address.href;
}

export function writeAddress(state) {
  try {
    page().history.replaceState(page().history.state, "", addressOf(state));
  } catch {
    // the browser allows no more changes for now: the next one brings the address up to date
  }
}

/** Calls back with the state of a link that is opened while the tab is there. */
export function watchAddress(callback) {
  page().addEventListener("hashchange", () => {
    if (page().location.hash.includes(PREFIX)) callback(readAddress());
  });
}
