// The marks that the scatter, the heatmap and the comparison draw on a canvas: a shape for each role, so that no role depends on its color alone.

/** @import { Colors } from "./colors.js" */

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {[x: number, y: number]} Point */
/** @typedef {{ left: number, top: number, width: number, height: number }} Box */

export const FONT = "12px Roboto, Arial, sans-serif";
export const SMALL = "11px Roboto, Arial, sans-serif";

const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];

/**
 * The dashes of the line with a number.
 * @param {number} at
 */
export const dashOf = (at) => DASHES[at % DASHES.length];

/**
 * @param {Context} context
 * @param {Point} from
 * @param {Point} to
 */
export function line(context, from, to) {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

/**
 * A triangle that points up for a stranger (flag 1) and down for a look-alike (flag 2), with an edge in the color of the page.
 * @param {Context} context
 * @param {Point} at
 * @param {number} size
 * @param {number} flag
 * @param {string} color
 * @param {string} edge
 */
export function flagMark(context, [x, y], size, flag, color, edge) {
  const up = flag === 1 ? -1 : 1;
  context.beginPath();
  context.moveTo(x, y + up * size);
  context.lineTo(x - size, y - up * size * 0.75);
  context.lineTo(x + size, y - up * size * 0.75);
  context.closePath();
  context.strokeStyle = edge;
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.stroke();
  context.fillStyle = color;
  context.fill();
}

/**
 * The ring of the selected pair, with an edge in the color of the page on either side.
 * @param {Context} context
 * @param {Point} at
 * @param {number} radius
 * @param {Colors} colors
 */
export function selectionRing(context, [x, y], radius, colors) {
  for (const [color, width] of /** @type {const} */ ([[colors.page, 6], [colors.select, 3]])) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

/**
 * The dashed ring of the point that the keys have reached.
 * @param {Context} context
 * @param {Point} at
 * @param {Colors} colors
 */
export function cursorRing(context, [x, y], colors) {
  context.save();
  context.strokeStyle = colors.page;
  context.lineWidth = 4;
  context.beginPath();
  context.arc(x, y, 13, 0, 2 * Math.PI);
  context.stroke();
  context.strokeStyle = colors.ink;
  context.lineWidth = 2;
  context.setLineDash([4, 3]);
  context.stroke();
  context.restore();
}

/**
 * The square of a pinned pair, with the number of the pin.
 * @param {Context} context
 * @param {Point} at its center
 * @param {number} place of the pin, from 0
 * @param {Colors} colors
 */
export function pinMark(context, [x, y], place, colors) {
  const half = 7;
  context.fillStyle = colors.page;
  context.fillRect(x - half - 1.5, y - half - 1.5, 2 * half + 3, 2 * half + 3);
  context.fillStyle = colors.pins[place];
  context.fillRect(x - half, y - half, 2 * half, 2 * half);
  context.fillStyle = colors.page;
  context.font = "bold 11px Roboto, Arial, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(place + 1), x, y + 0.5);
  context.textBaseline = "alphabetic";
}

/**
 * A frame with an edge in the color of the page, so that it is visible on every color.
 * @param {Context} context
 * @param {Box} box
 * @param {string} color
 * @param {string} edge
 */
export function frame(context, { left, top, width, height }, color, edge) {
  context.lineJoin = "miter";
  context.strokeStyle = edge;
  context.lineWidth = 5;
  context.strokeRect(left - 1, top - 1, width + 2, height + 2);
  context.strokeStyle = color;
  context.lineWidth = 2.5;
  context.strokeRect(left - 1, top - 1, width + 2, height + 2);
}

/**
 * A pattern of diagonal lines: what has no value.
 * @param {Context} context
 * @param {string} color
 * @param {string} page
 */
export function hatch(context, color, page) {
  const size = 8;
  return pattern(context, size, page, (tile) => {
    tile.strokeStyle = color;
    tile.lineWidth = 1;
    for (const shift of [-size, 0, size]) line(tile, [shift - 1, size + 1], [shift + size + 1, -1]);
  });
}

/**
 * A pattern of dots: what the filter leaves out.
 * @param {Context} context
 * @param {string} color
 * @param {string} page
 */
export function dots(context, color, page) {
  return pattern(context, 5, page, (tile) => {
    tile.fillStyle = color;
    tile.fillRect(2, 2, 1, 1);
  });
}

/**
 * @param {Context} context
 * @param {number} size in CSS pixels
 * @param {string} page
 * @param {(tile: Context) => void} draw
 */
function pattern(context, size, page, draw) {
  const ratio = window.devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.round(size * ratio);
  const tile = /** @type {Context} */ (canvas.getContext("2d"));
  tile.scale(canvas.width / size, canvas.width / size);
  tile.fillStyle = page;
  tile.fillRect(0, 0, size, size);
  draw(tile);
  const made = /** @type {CanvasPattern} */ (context.createPattern(canvas, "repeat"));
  made.setTransform(new DOMMatrix().scale(size / canvas.width));
  return made;
}
