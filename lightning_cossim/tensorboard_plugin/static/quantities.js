// What the numbers of a pair are called and mean. A step brings that with it, from Python's table of similarities.

/** @import { Quantity } from "./wire.js" */

/**
 * The row of a quantity in a step's table. Steps of older runs have no table: there it is called by its key.
 * @param {readonly Quantity[]} table
 * @param {string} key
 * @returns {Quantity}
 */
export function quantityOf(table, key) {
  const words = key.replaceAll("_", " ");
  return table.find((row) => row.key === key) ?? { key, title: words, column: words, low: null, high: null, direction: 1, about: [] };
}

/**
 * A title within a sentence; what begins with an abbreviation stays as it is.
 * @param {string} title
 */
export const inSentence = (title) => title.replace(/^\p{Lu}(?!\p{Lu})/u, (letter) => letter.toLowerCase());
