// When views are rendered: those on the screen at once, the others after a rest or when they come onto the screen, and only the latest that
// is asked of them. Most of the time for a step goes into the table, which is below the screen of most readers.

const REST = 100; // milliseconds

export class Views {
  constructor() {
    /** @type {Set<Element>} views that are not on the screen */
    this.away = new Set();
    /** @type {Map<Element, () => unknown>} what is still to be rendered */
    this.waiting = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.resting = undefined;
    this.observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => this.follow(target, isIntersecting)));
  }

  /**
   * @param {Element} view
   * @param {boolean} isOnScreen
   */
  follow(view, isOnScreen) {
    if (!isOnScreen) this.away.add(view);
    else if (this.away.delete(view)) this.now(view);
  }

  /**
   * @param {Element} view
   * @param {() => unknown} render
   */
  render(view, render) {
    this.observer.observe(view);
    this.waiting.set(view, render);
    if (!this.away.has(view) || view.contains(document.activeElement)) {
      this.now(view);
      return;
    }
    clearTimeout(this.resting);
    this.resting = setTimeout(() => Array.from(this.waiting.keys()).forEach((one) => this.now(one)), REST);
  }

  /** @param {Element} view */
  now(view) {
    const render = this.waiting.get(view);
    this.waiting.delete(view);
    render?.();
  }
}

/**
 * Calls `callback` when the browser has shown the present state of the page.
 * @param {() => unknown} callback
 */
export function afterPicture(callback) {
  requestAnimationFrame(() => setTimeout(callback));
}
