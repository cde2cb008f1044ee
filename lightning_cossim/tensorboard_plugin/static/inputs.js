// The inputs behind a pair: thumbnails or texts with their probabilities, and where to find them. If there are none, why.

import { element, number, shortened } from "./dom.js";
import { referenceInWords, referencesAsText } from "./evidence.js";
import { keyOf } from "./step.js";

/** @import { App } from "./app.js" */
/** @import { Evidence, Example, PairEvidence, Ranked, Ranking } from "./evidence.js" */
/** @import { Shown } from "./selection.js" */
/** @import { Pair } from "./step.js" */

/** @type {Record<Ranking, [short: string, long: string]>} */
const TITLES = {
  overlap: ["most overlap", "Inputs that add most to the overlap"],
  suspect_label: ["predicted as the other", "Inputs of one label predicted as the other, the least probable target first: the target or the prediction is wrong"],
  confident: ["most confident", "Inputs with one of the labels most confidently predicted"],
};
const MOST = 8;

/** @typedef {Evidence | "loading" | Error} Loaded */

export class Inputs {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.drawn = ""; // key of what is drawn
    /** @type {Ranking | null} the ranking that the user chose */
    this.ranking = null;
    /** @type {string[]} addresses of the pictures that are drawn */
    this.pictures = [];
    this.said = element("span", { class: "note", role: "status" });
    this.root = element("div", { class: "inputs" });
  }

  /** Whether there are inputs to show. */
  get hasCards() {
    return this.root.querySelector(".cards") !== null;
  }

  /**
   * @param {Shown} shown
   * @param {Pair} pair
   * @param {Loaded | null} loaded null: the step has no evidence
   */
  render(shown, pair, loaded) {
    const { run, tag, step } = shown;
    const what = loaded === null || loaded === "loading" ? String(loaded) : loaded instanceof Error ? loaded.message : "";
    const key = JSON.stringify([run, tag, step.step, step.time, keyOf(pair), what, this.ranking, this.app.sides.length]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.said.textContent = "";
    const before = this.pictures;
    this.pictures = [];
    this.root.replaceChildren(element("h3", {}, `On which inputs${this.app.sides.length > 1 ? " (A)" : ""}`), ...this.content(shown, pair, loaded));
    before.forEach((address) => URL.revokeObjectURL(address));
  }

  /**
   * @param {Shown} shown
   * @param {Pair} pair
   * @param {Loaded | null} loaded
   * @returns {Node[]}
   */
  content(shown, pair, loaded) {
    const say = (/** @type {string} */ text) => element("p", { class: "why" }, text);
    if (loaded === "loading") return [say("Reading the inputs…")];
    if (loaded instanceof Error) return [say(`The inputs cannot be read: ${loaded.message}`)];
    if (loaded === null) return this.nothing(shown);
    const found = loaded.pairs.get(keyOf(pair));
    if (!found?.rankings.length) return [say(ofOtherPairs(loaded, shown.tag))];
    const ranked = found.rankings.find(({ ranking }) => ranking === this.ranking) ?? found.rankings[0];
    const names = /** @type {[string, string]} */ (pair.map((label) => shown.step.nameOf(label)));
    return [this.choice(found, ranked), element("ul", { class: ranked.examples.some(({ text }) => text !== null) ? "cards texts" : "cards" }, ...ranked.examples.slice(0, MOST).map((one) => this.card(one, names))), this.foot(found, ranked, `${shown.run}, ${shown.step.stage}, step ${shown.step.step}: ${names.join(" / ")}`)];
  }

  /**
   * Why a step has no inputs, and the nearest one that has.
   * @param {Shown} shown
   */
  nothing({ steps, at, tags, tag }) {
    const having = tags.find((one) => one.tag === tag)?.evidence ?? [];
    if (!having.length) return [element("p", { class: "why" }, "This stage has no inputs. The monitor keeps them unless evidence is off (Display(evidence=False)); steps of earlier versions have none.")];
    const now = steps[at][0];
    const near = having.reduce((best, one) => (Math.abs(one - now) < Math.abs(best - now) ? one : best));
    const go = element("button", { type: "button", onclick: () => this.app.goNear(near) }, `Go to step ${near.toLocaleString("en")}`);
    return [element("p", { class: "why" }, "This step has no inputs. The nearest step with inputs: "), go];
  }

  /**
   * @param {PairEvidence} found
   * @param {Ranked} chosen
   */
  choice({ rankings }, chosen) {
    const buttons = rankings.map(({ ranking, num }) => element("button", { type: "button", class: "toggle", title: TITLES[ranking][1], "aria-pressed": String(ranking === chosen.ranking), onclick: () => this.choose(ranking) }, `${TITLES[ranking][0]} (${num})`));
    return rankings.length > 1 ? element("div", { class: "group", role: "group", "aria-label": "Ranking of the inputs" }, ...buttons) : element("p", { class: "note" }, TITLES[chosen.ranking][1]);
  }

  /** @param {Ranking} ranking */
  choose(ranking) {
    this.ranking = ranking;
    this.app.paint();
  }

  /**
   * @param {Example} one
   * @param {[string, string]} names
   */
  card({ picture, text, p, predicted, target, isRight, reference }, names) {
    const where = referenceInWords(reference);
    const bars = p.map((prob, at) => element("span", { class: "prob", style: `--share: ${100 * (prob ?? 0)}%` }, element("span", { class: "name", title: names[at] }, names[at]), element("span", {}, prob === null ? "–" : number(prob))));
    const judged = isRight === null ? `predicted ${predicted}` : isRight ? `✓ target ${target}` : `✗ target ${target}`;
    const view = picture ? [element("img", { src: this.address(picture), alt: `Input ${where}`, decoding: "sync" })] : [];
    const words = text === null ? [] : [element("span", { class: "text", title: text }, text)];
    return element("li", { class: "card" }, ...view, ...words, element("span", { class: "probs" }, ...bars),
      element("span", { class: "target", title: isRight === false ? `target ${target}, predicted ${predicted}` : judged }, judged), element("span", { class: "where", title: where }, shortened(where, 40)));
  }

  /** @param {Blob} picture */
  address(picture) {
    const address = URL.createObjectURL(picture);
    this.pictures.push(address);
    return address;
  }

  /**
   * @param {PairEvidence} found
   * @param {Ranked} ranked
   * @param {string} where run, stage, step and pair
   */
  foot({ isComplete }, { num, examples }, where) {
    const copy = element("button", { type: "button", title: "Copy the run, the step and the pair, then where to find these inputs, one a line", onclick: () => this.copy(examples, where) }, `Copy ${examples.length === 1 ? "the reference" : `all ${examples.length} references`}`);
    const shown = Math.min(examples.length, MOST);
    const kept = examples.length < num ? `the ${examples.length} kept of ${num}` : String(num);
    const some = num > shown ? `${shown} of ${kept} inputs shown. ` : "";
    const partly = isComplete ? "" : "Inputs may be missing, because the memory for them was full. ";
    const bare = examples.some(({ picture, text }) => picture || text !== null) ? "" : "No pictures or texts were kept, only where to find the inputs. ";
    return element("p", { class: "foot" }, copy, " ", element("span", { class: "note" }, `${some}${partly}${bare}`), this.said);
  }

  /**
   * @param {Example[]} examples
   * @param {string} where
   */
  async copy(examples, where) {
    const text = `# ${where}\n${referencesAsText(examples)}`;
    try {
      await navigator.clipboard.writeText(text);
      this.said.textContent = "Copied.";
    } catch {
      this.said.textContent = text.replaceAll("\n", "; "); // the browser denies access to the clipboard: the user copies the text
    }
  }
}

/**
 * Why a pair has no inputs in a step that has some.
 * @param {Evidence} evidence
 * @param {string} tag
 */
function ofOtherPairs({ numPairs, pairs }, tag) {
  const some = numPairs > pairs.size ? ` Of ${numPairs} pairs with inputs in the report, ${pairs.size} fit into this step; ${tag}_evidence.csv beside the logs has all of them.` : "";
  return `This pair has no inputs here: they are kept for flagged pairs and for those with the largest gaps or joint mass.${some}`;
}
