"""InputTable: the inputs that some ranking refers to, as columns. The place of an input in the table is its id.

Invariant: the inputs are sorted by their order numbers; inputs with equal numbers stand as they came.

Shapes: N inputs of a batch, m likely labels per input.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BYTES_PER_INPUT", "NUM_LIKELY", "InputTable", "Inputs", "probs_of_labels"]

NUM_LIKELY: Final = 8
"""The likely labels of an input, whose pairs compete: at most this many."""
BYTES_PER_INPUT: Final = 13 * NUM_LIKELY + 4 * 6 + 8 * 3
"""Memory of an input in bytes, with 40 bytes of scratch: all columns, and the longest column once more or a new order."""
_BLOCK: Final = 2**12
"""Inputs that are moved at a time."""

Array = NDArray[Any]


class Inputs(NamedTuple):
    """The inputs of a batch, as columns (N,) of whole numbers, unless another shape or kind is given."""

    labels: Array
    """(N, m), the most likely labels, the most likely one first. -1 means none."""
    probs: Array
    """(N, m), float32, their probabilities. An input that has a NaN, a negative or an infinite one does not enter any ranking."""
    target: Array
    """The target; a number that is no label means unknown."""
    target_prob: Array
    """Float32, the probability of the target; NaN if it is unknown."""
    loader: Array
    """Index of the data loader; -1 if it is unknown, as in the next fields."""
    batch: Array
    row: Array
    position: Array
    index: Array  # type: ignore[assignment]  # it hides `tuple.index`, which nobody calls
    """Index in the dataset."""
    order: Array
    """The number that breaks ties, the smaller one first. It does not depend on the batches."""

    def at(self, rows: Any) -> "Inputs":
        """The inputs of some rows: a slice, places or marks."""
        return Inputs(*(column[rows] for column in self))

    def valid(self, num_labels: int) -> "Inputs":
        """The inputs with at most `NUM_LIKELY` labels and without what is not valid.

        A probability that does not count is NaN: that of no label, and all of an input that has a NaN, a negative or an infinite
        one. A target that is no label is -1.
        """
        labels, probs = self.labels[:, :NUM_LIKELY], self.probs[:, :NUM_LIKELY]
        if not (labels.min(initial=0) >= 0 and probs.min(initial=0) >= 0 and probs.max(initial=0) < np.inf):  # false of NaN
            is_label, is_valid = labels >= 0, (probs >= 0) & (probs < np.inf)
            counts = is_label & (is_valid | ~is_label).all(axis=1, keepdims=True)
            probs = np.where(counts, probs, np.float32(np.nan))
        is_known = (self.target >= 0) & (self.target < num_labels)
        target = self.target if is_known.all() else np.where(is_known, self.target, -1)
        return self._replace(labels=labels, probs=probs, target=target)


def probs_of_labels(inputs: Inputs, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The probability of one label for each of some inputs; NaN if it is neither among the likely ones nor the target."""
    is_found = inputs.labels[rows] == labels[:, None]
    likely = inputs.probs[rows, is_found.argmax(axis=1)]
    other = np.where(inputs.target[rows] == labels, inputs.target_prob[rows], np.float32(np.nan))
    return np.where(is_found.any(axis=1), likely, other)


class InputTable:
    """Inputs as columns, in bounded memory.

    Args:
        num_labels: labels of the head.
        capacity: number of inputs there is room for.
    """

    def __init__(self, num_labels: int, capacity: int) -> None:
        self.capacity, self.size = capacity, 0
        width = min(NUM_LIKELY, num_labels)
        likely = [np.zeros((capacity, width), dtype=dtype) for dtype in (np.int32, np.float32)]
        single = [np.int32, np.float32, np.int32, np.int32, np.int32, np.int32, np.int64, np.int64]
        self._columns = Inputs(*likely, *(np.zeros(capacity, dtype=dtype) for dtype in single))
        self._numbers = np.zeros(capacity, dtype=np.int64)

    @property
    def num_bytes(self) -> int:
        """Memory of the columns and of the scratch of a new order, in bytes."""
        return self.capacity * BYTES_PER_INPUT

    @property
    def columns(self) -> Inputs:
        """The inputs, by id."""
        return self._columns.at(slice(self.size))

    @property
    def last_order(self) -> int:
        """The largest order number; with no inputs, one that is smaller than all."""
        return int(self._columns.order[self.size - 1]) if self.size else np.iinfo(np.int64).min

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of inputs that were added to the store before each input, by id."""
        return self._numbers[: self.size]

    def append(self, inputs: Inputs, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Add valid inputs.

        Returns:
            Their ids; and the new id of each old one, the added ones included, None if they are the same.
        """
        start, width = self.size, inputs.labels.shape[1]
        new = slice(start, start + len(numbers))
        self._columns.labels[new, width:], self._columns.probs[new, width:] = -1, np.nan
        self._columns.labels[new, :width], self._columns.probs[new, :width] = inputs.labels, inputs.probs
        for column, given in zip(self._columns[2:], inputs[2:], strict=True):
            column[new] = given
        self._numbers[new] = numbers
        self.size = new.stop
        new_ids = self._sort(start)
        ids = np.arange(start, self.size)
        return (ids, None) if new_ids is None else (new_ids[ids], new_ids)

    def _sort(self, start: int) -> NDArray[np.int64] | None:
        """Restore the order after inputs were added from `start` on, and return the new id of each old one."""
        orders = self.columns.order
        if (np.diff(orders[max(0, start - 1) :]) >= 0).all():
            return None
        order = np.argsort(orders, kind="stable")
        for column in (*self.columns, self.numbers):
            column[:] = column[order]
        new_ids = np.empty(self.size, dtype=np.int64)
        new_ids[order] = np.arange(self.size)
        return new_ids

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Keep the inputs of these ids, ascending, and close the gaps."""
        for column in (*self.columns, self.numbers):
            for first in range(0, len(kept), _BLOCK):
                part = kept[first : first + _BLOCK]
                column[first : first + len(part)] = column[part]
        self.size = len(kept)
