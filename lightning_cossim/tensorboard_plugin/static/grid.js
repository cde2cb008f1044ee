// The grid of a heatmap: where its cells are on the canvas, and which of them are in view.

/** @import { Context, Point } from "./marks.js" */
/** @import { View } from "./zoom.js" */

/** @typedef {{ row: number, column: number }} Cell */

export class Grid {
  /**
   * @param {View} view the part of the matrix in view
   * @param {number} num number of labels
   * @param {number} left where the matrix begins, in CSS pixels
   * @param {number} size of the matrix, in CSS pixels
   */
  constructor(view, num, left, size) {
    this.view = view;
    this.num = num;
    this.left = left;
    this.size = size;
    this.cell = size / (view.num || 1); // size of a cell
  }

  /** Rows in view, as [first, last]. */
  get rows() {
    return [Math.floor(this.view.row), Math.min(Math.ceil(this.view.row + this.view.num), this.num) - 1];
  }

  /** Columns in view, as [first, last]. */
  get columns() {
    return [Math.floor(this.view.column), Math.min(Math.ceil(this.view.column + this.view.num), this.num) - 1];
  }

  /**
   * The left upper corner of a cell.
   * @param {number} row
   * @param {number} column
   * @returns {Point}
   */
  corner(row, column) {
    return [this.left + (column - this.view.column) * this.cell, (row - this.view.row) * this.cell];
  }

  /**
   * The place of a point of the canvas in the view, in [0, 1] within the matrix.
   * @param {Point} point
   */
  placeOf([x, y]) {
    return { x: (x - this.left) / this.size, y: y / this.size };
  }

  /**
   * The cell at a point of the canvas; null outside of the matrix.
   * @param {Point} point
   * @returns {Cell | null}
   */
  cellAt(point) {
    const { x, y } = this.placeOf(point);
    if (!this.num || x < 0 || y < 0 || x >= 1 || y >= 1) return null;
    return { row: Math.floor(this.view.row + y * this.view.num), column: Math.floor(this.view.column + x * this.view.num) };
  }

  /**
   * The place of the middle of a cell in the view.
   * @param {Cell} cell
   */
  middle({ row, column }) {
    return { x: (column + 0.5 - this.view.column) / this.view.num, y: (row + 0.5 - this.view.row) / this.view.num };
  }

  /**
   * Calls `draw` for drawing within the matrix.
   * @param {Context} context
   * @param {() => void} draw
   */
  clipped(context, draw) {
    const { left, size } = this;
    context.save();
    context.beginPath();
    context.rect(left, 0, size, size);
    context.clip();
    draw();
    context.restore();
  }
}
