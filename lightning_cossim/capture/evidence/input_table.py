"""InputTable: the inputs that some ranking refers to, as columns. The place of an input in the table is its id.

Shapes: N inputs of a batch, m likely labels per input, M inputs there is room for.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BYTES_PER_INPUT", "NUM_LIKELY", "InputTable", "Inputs"]

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
    index: Array  # type: ignore[assignment]
    """Index in the dataset."""
    order: Array
    """The number that breaks ties, the smaller one first. It does not depend on the batches."""


class InputTable:
    """Inputs as columns, in bounded memory.

    Args:
        num_labels: labels of the head.
        capacity: number of inputs there is room for.
    """

    def __init__(self, num_labels: int, capacity: int) -> None:
        self.capacity, self.size, self.num_seen = capacity, 0, 0
        self._num_labels = num_labels
        width = min(NUM_LIKELY, num_labels)
        likely = [np.zeros((capacity, width), dtype=dtype) for dtype in (np.int32, np.float32)]
        single = [np.int32, np.float32, np.int32, np.int32, np.int32, np.int32, np.int64, np.int64]
        self.columns = Inputs(*likely, *(np.zeros(capacity, dtype=dtype) for dtype in single))
        self.numbers = np.zeros(capacity, dtype=np.int64)
        """The number of inputs that were added before each input."""

    @property
    def num_bytes(self) -> int:
        """Memory of the columns and of the scratch of a new order, in bytes."""
        return self.capacity * BYTES_PER_INPUT

    def append(self, inputs: Inputs, first: int, num: int) -> None:
        """Add `num` inputs of a batch, from `first` on, at the end."""
        new, source = slice(self.size, self.size + num), slice(first, first + num)
        mine, width = self.columns, min(inputs.labels.shape[1], self.columns.labels.shape[1])
        labels, probs = inputs.labels[source, :width], inputs.probs[source, :width]
        is_label = labels >= 0
        is_finite = ((probs >= 0) & (probs < np.inf) | ~is_label).all(axis=1, keepdims=True)
        mine.labels[new], mine.probs[new] = -1, np.nan
        mine.labels[new, :width] = labels
        mine.probs[new, :width] = np.where(is_label & is_finite, probs, np.float32(np.nan))
        target = inputs.target[source]
        mine.target[new] = np.where((target >= 0) & (target < self._num_labels), target, -1)
        for column, given in zip(mine[3:], inputs[3:], strict=True):
            column[new] = given[source]
        self.numbers[new] = np.arange(self.num_seen, self.num_seen + num)
        self.size += num
        self.num_seen += num

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Keep the inputs of these ids, ascending, and close the gaps."""
        for column in (*self.columns, self.numbers):
            for first in range(0, len(kept), _BLOCK):
                part = kept[first : first + _BLOCK]
                column[first : first + len(part)] = column[part]
        self.size = len(kept)

    def sort(self, first: int) -> NDArray[np.int64] | None:
        """Sort the inputs from `first` on by their order numbers; inputs with equal numbers keep their places.

        Returns:
            The new id of each old one; None if they were sorted.
        """
        orders = self.columns.order[first : self.size]
        if (orders[1:] >= orders[:-1]).all():
            return None
        order = np.argsort(orders, kind="stable")
        for column in (*self.columns, self.numbers):
            column[first : self.size] = column[first : self.size][order]
        new_ids = np.arange(self.size)
        new_ids[first + order] = np.arange(first, self.size)
        return new_ids
