"""SampledInputs: inputs of a head with very many labels, each with its 32 most likely labels.

The store takes an input for a pair if both labels are among its eight most likely ones. In a vocabulary, two labels can share
probability over many inputs without being among these eight, and nobody knows before the report which pairs these are. So this
sample keeps more labels of each input, for any pair.

Shapes: N inputs of a batch, S kept inputs, m labels per input, W tokens per input, E labels of kept inputs.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import Mask
from lightning_cossim.capture.evidence.input_table import NUM_LIKELY, Inputs
from lightning_cossim.capture.evidence.selection import OVERLAP, KeptInputs
from lightning_cossim.capture.evidence.texts import NUM_AROUND

__all__ = ["AFTER", "NUM_LABELS", "SampledInputs"]

NUM_LABELS: Final = 32
"""The labels that are kept of an input: at most this many."""
AFTER: Final = 2.0
"""The value of a sampled input is √(p_i p_j) minus this number, so that it ranks after all inputs of the store."""
_REFERENCE: Final = ("target", "loader", "batch", "row", "position", "index", "order")
_BYTES_OF_REFERENCE: Final = 8 * (len(_REFERENCE) + 3)
_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
"""A factor whose products with whole numbers are spread evenly; they choose the sample."""


class SampledInputs:
    """An even sample of the inputs, in bounded memory. While there is room, it has all of them.

    Which inputs are in the sample depends on their order numbers only, not on the batches they come in.

    Args:
        num_labels: number of labels K.
        max_bytes: memory in bytes.
    """

    def __init__(self, num_labels: int, max_bytes: int) -> None:
        self.width = min(NUM_LABELS, num_labels)
        """m."""
        of_input = 8 * self.width + 4 * NUM_AROUND + _BYTES_OF_REFERENCE
        self._capacity = max_bytes * 2 // (3 * of_input)  # a third is for what is computed when inputs are dropped or searched
        self.num_bytes: Final = self._capacity * of_input * 3 // 2
        """Memory of all arrays and of the largest scratch, in bytes."""
        self._size = 0
        self._labels = np.zeros((self._capacity, self.width), dtype=np.int32)
        self._probs = np.zeros((self._capacity, self.width), dtype=np.float32)
        self._tokens = np.full((self._capacity, NUM_AROUND), -1, dtype=np.int32)
        self._reference = {name: np.zeros(self._capacity, dtype=np.int64) for name in (*_REFERENCE, "number", "lot")}
        self._most = np.iinfo(np.int64).max
        """Inputs with a larger lot are not in the sample."""

    def wants(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of the inputs of a batch that are in the sample, by their order numbers (N,)."""
        return np.flatnonzero(_lots(order) <= self._most) if self._capacity else np.zeros(0, dtype=np.int64)

    def add(
        self,
        inputs: Inputs,
        labels: NDArray[Any],
        probs: NDArray[np.float32],
        tokens: NDArray[Any] | None,
        numbers: NDArray[np.int64],
    ) -> None:
        """Add inputs that the sample wants.

        Args:
            inputs: N inputs, with their references.
            labels: (N, m), their most likely labels, the most likely one first.
            probs: (N, m), the probabilities of these labels.
            tokens: (N, W), the tokens around each input; None if they are unknown.
            numbers: (N,), the number of inputs that were added to the window before each one.
        """
        lots, left = _lots(inputs.order), np.arange(len(numbers))
        while len(left):
            if self._size == self._capacity:
                self._thin()
            left = left[lots[left] <= self._most]
            places, left = np.split(left, [self._capacity - self._size])
            new = slice(self._size, self._size + len(places))
            self._labels[new], self._probs[new] = labels[places], probs[places]
            self._tokens[new] = -1 if tokens is None else tokens[places]
            for name in _REFERENCE:
                self._reference[name][new] = getattr(inputs, name)[places]
            self._reference["number"][new], self._reference["lot"][new] = numbers[places], lots[places]
            self._size = new.stop

    def _thin(self) -> None:
        """Halve the range of lots that are in the sample until a quarter of the memory is free."""
        lots = self._reference["lot"][: self._size]
        while (lots <= self._most).sum() > self._capacity * 3 // 4:
            self._most //= 2
        stays = np.flatnonzero(lots <= self._most)
        columns: list[NDArray[Any]] = [self._labels, self._probs, self._tokens, *self._reference.values()]
        for column in columns:
            column[: len(stays)] = column[stays]
        self._size = len(stays)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(S,), the numbers of the kept inputs."""
        return self._reference["number"][: self._size]

    def tokens_of(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """The tokens around some inputs, by their numbers; -1 stands for no token. Inputs without tokens are left out."""
        places = np.flatnonzero(np.isin(self.numbers, numbers))
        known = places[(self._tokens[places] >= 0).any(axis=1)]
        return dict(zip(self.numbers[known].tolist(), self._tokens[known].tolist(), strict=True))

    def select(self, pairs: Sequence[tuple[int, int]], which: Mask, per_pair: int) -> KeptInputs:
        """The inputs with the largest √(p_i p_j), without those that the store takes for the pair.

        Args:
            pairs: rows of the head.
            which: for each pair, whether to search it.
            per_pair: inputs for each pair, at least 1.
        """
        searched = [(place, pair) for place, pair in enumerate(pairs) if which[place]]
        places_of = self._places_of({label for _, pair in searched for label in pair})
        found = [self._best(place, places_of[one], places_of[other], per_pair) for place, (one, other) in searched]
        empty = KeptInputs(*(np.zeros(0, dtype=np.float32 if "prob" in name else np.int64) for name in KeptInputs._fields))
        return KeptInputs(*(np.concatenate(columns) for columns in zip(empty, *found, strict=True)))

    def _places_of(self, labels: set[int]) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each label, the kept inputs that have it, ascending, and its column in each of them."""
        some = np.array(sorted(labels), dtype=np.int64)
        input_E, column_E = np.nonzero(np.isin(self._labels[: self._size], some))
        label_E = self._labels[input_E, column_E]
        order = np.argsort(label_E, kind="stable")
        label_E, input_E, column_E = label_E[order], input_E[order], column_E[order]
        starts, ends = np.searchsorted(label_E, some), np.searchsorted(label_E, some, side="right")
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return {label: (input_E[part], column_E[part]) for label, part in zip(some.tolist(), parts, strict=True)}

    def _best(
        self, pair: int, one: tuple[NDArray[np.int64], ...], other: tuple[NDArray[np.int64], ...], per_pair: int
    ) -> KeptInputs:
        """The inputs of a pair of labels, each given by its inputs and its columns."""
        inputs, of_one, of_other = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
        columns = one[1][of_one], other[1][of_other]
        probs = [self._probs[inputs, column] for column in columns]
        score = np.sqrt(probs[0] * probs[1])
        counts = (score > 0) & (np.maximum(*columns) >= NUM_LIKELY)  # the store takes the others
        order = np.lexsort((self._reference["order"][inputs], -score))
        best = order[counts[order]][:per_pair]
        mine, num = inputs[best], len(best)
        return KeptInputs(
            pair=np.full(num, pair),
            which=np.full(num, OVERLAP),
            value=score[best] - np.float32(AFTER),
            first_prob=probs[0][best],
            second_prob=probs[1][best],
            predicted=self._labels[mine, 0].astype(np.int64),
            **{name: self._reference[name][mine] for name in (*_REFERENCE, "number")},
            process=np.zeros(num, dtype=np.int64),
        )


def _lots(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,), a number from 0 on for each order number. They are spread evenly, so that inputs with small ones are a sample."""
    bits = order.astype(np.uint64)
    bits = (bits ^ (bits >> np.uint64(30))) * _FACTOR
    bits = (bits ^ (bits >> np.uint64(27))) * _FACTOR
    return (bits >> np.uint64(1)).astype(np.int64)
