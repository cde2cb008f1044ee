// Names and explanations of the quantities of a pair. Each step contains them; they come from Python's table of similarities.

/** @import { Quantity } from "./wire.js" */

/**
 * The row of a quantity in a step's table. Steps of version 1 have no table; for them, the key is the name.
 * @param {readonly Quantity[]} table
 * @param {string} key
 * @returns {Quantity}
 */
export function quantityOf(table, key) {
  const words = key.replaceAll("_", " ");
  return table.find((row) => row.key === key) ?? { key, title: words, column: words, low: null, high: null, direction: 1, about: [] };
}

/**
 * A title for use within a sentence: its first letter in lower case, unless the title begins with an abbreviation.
 * @param {string} title
 */
export const inSentence = (title) => title.replace(/^\p{Lu}(?!\p{Lu})/u, (letter) => letter.toLowerCase());
