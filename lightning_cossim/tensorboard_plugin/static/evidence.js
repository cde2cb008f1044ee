// Decodes the evidence of a step: the inputs behind pairs. lightning_cossim/loggers/evidence_wire.py describes the format.

import { checkedEvidence } from "./evidence-header.js";
import { headerOf, whole } from "./fields.js";
import { keyOf } from "./step.js";
import { TooNew } from "./wire.js";

/** @typedef {"overlap" | "suspect_label" | "confident"} Ranking */
/** @typedef {{ loader?: number, batch?: number, row?: number, position?: number, index?: number, process?: number, id?: string }} Reference where an input comes from */

/**
 * An input of a pair.
 *
 * @typedef {object} Example
 * @property {Reference} reference
 * @property {[number | null, number | null]} p probabilities of the pair's two labels; null: the label was not among the most likely ones
 * @property {string} predicted name of the most likely label
 * @property {string | null} target name of the target; null: unknown
 * @property {boolean | null} isRight whether the target was predicted; null: unknown
 * @property {string | null} text
 * @property {Blob | null} picture
 */
/** @typedef {{ ranking: Ranking, num: number, examples: Example[] }} Ranked `num`: number of inputs in the report */
/** @typedef {{ isComplete: boolean, rankings: Ranked[] }} PairEvidence `rankings`: those with inputs, the ones that explain the pair first */
/** @typedef {{ numPairs: number, pairs: Map<number, PairEvidence> }} Evidence `numPairs`: number of pairs with inputs in the report; `pairs`: by the key of a pair */

/** @import { SentExample } from "./evidence-header.js" */

export const VERSION = 1;
/** @type {Ranking[]} */
const RANKINGS = ["overlap", "suspect_label", "confident"];
/** @type {Ranking[]} */
const OF_LOOKALIKES = ["confident", "suspect_label", "overlap"];

/**
 * @param {ArrayBuffer} buffer
 * @returns {Evidence}
 */
export function decodeEvidence(buffer) {
  if (buffer.byteLength < 4) throw new Error("TensorBoard sent empty evidence.");
  const { header: sent, start } = headerOf(buffer);
  if (whole(sent.version, "version", 1) > VERSION) throw new TooNew(`version ${sent.version}`);
  const header = checkedEvidence(sent, buffer.byteLength - start);
  const pictures = header.pictures.map(({ kind, offset, size }) => new Blob([buffer.slice(start + offset, start + offset + size)], { type: `image/${kind}` }));
  const pairs = header.pairs.map(({ labels, flag, is_complete: isComplete, examples, rankings }) => {
    const read = examples.map((one) => example(one, header.names, pictures));
    const order = flag === "look-alike" ? OF_LOOKALIKES : RANKINGS;
    const ranked = order.flatMap((ranking) => {
      const { num, examples: places } = rankings[ranking] ?? { num: 0, examples: [] };
      return places.length ? [{ ranking, num, examples: places.map((place) => read[place]) }] : [];
    });
    return /** @type {[number, PairEvidence]} */ ([keyOf(labels), { isComplete, rankings: ranked }]);
  });
  return { numPairs: header.num_pairs, pairs: new Map(pairs) };
}

/**
 * @param {SentExample} sent
 * @param {Record<string, string>} names
 * @param {Blob[]} pictures
 * @returns {Example}
 */
function example({ reference, p, predicted, target, text, picture }, names, pictures) {
  return {
    reference, p,
    predicted: names[predicted] || `label ${predicted}`,
    target: target === undefined ? null : names[target] || `label ${target}`,
    isRight: target === undefined ? null : target === predicted,
    text: text ?? null,
    picture: picture === undefined ? null : pictures[picture],
  };
}

/**
 * A reference in words: the identifier or the index in the dataset if it is known, otherwise the place in the batches.
 * @param {Reference} reference
 */
export function referenceInWords({ loader, batch, row, position, index, process, id }) {
  const at = position === undefined ? "" : `, position ${position}`;
  if (id !== undefined) return `${id || "''"}${at}`;
  const from = loader ? `loader ${loader}, ` : "";
  if (index !== undefined) return `${from}index ${index}${at}`;
  const known = [["loader", loader], ["batch", batch], ["row", row], ["position", position], ["process", process || undefined]];
  return known.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`])).join(", ") || "unknown";
}

/**
 * The references of inputs for the clipboard: identifiers or indices alone, one a line, if all inputs have them.
 * @param {readonly Example[]} examples
 */
export function referencesAsText(examples) {
  const isPlain = examples.every(({ reference: { index, id, loader, position } }) => position === undefined && (id !== undefined || (index !== undefined && !loader)));
  return examples.map(({ reference }) => (isPlain ? String(reference.id ?? reference.index) : referenceInWords(reference))).join("\n");
}
