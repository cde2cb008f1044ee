"""WatchedPairs: inputs for pairs whose labels are rarely likely together.

The store takes an input for a pair if both labels are among its eight most likely ones. In a vocabulary, two labels can share
probability over many inputs without being among these eight. If a report finds too few inputs for a pair, the next window watches
it: it computes both probabilities on every input.

Shapes: N inputs of a batch, P watched pairs, L labels of these.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import rank_in_group
from lightning_cossim.capture.evidence.input_table import Inputs
from lightning_cossim.capture.evidence.selection import OVERLAP, KeptInputs

__all__ = ["AFTER", "MAX_WATCHED", "WatchedPairs"]

MAX_WATCHED: Final = 64
"""Largest number of watched pairs."""
AFTER: Final = 2.0
"""The value of a watched input is √(p_i p_j) minus this number, so that it ranks after all inputs of the store."""
_FULL: Final = 2048
"""Number of entries at which only the best are kept."""


class WatchedPairs:
    """Keeps for each watched pair the inputs with the largest √(p_i p_j) among those that the store does not take.

    Args:
        pairs: rows of the head, the smaller one first, at most `MAX_WATCHED`.
        per_pair: inputs kept for each pair, at least 1.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], per_pair: int) -> None:
        self.pairs, self._per_pair = tuple(pairs), per_pair
        self.labels, places = np.unique(np.array(self.pairs, dtype=np.int64).reshape(-1, 2), return_inverse=True)
        """(L,), the rows of the head whose probabilities `add` needs."""
        self._first, self._second = places.reshape(-1, 2).T
        self._floor = np.zeros(len(self.pairs), dtype=np.float32)
        """(P,), the smallest √(p_i p_j) that is kept; 0 if there is room."""
        self._entries: list[KeptInputs] = []
        self._size = 0

    def add(self, inputs: Inputs, probs: NDArray[np.float32], start: int) -> NDArray[np.int64]:
        """Add the inputs of a batch.

        Args:
            inputs: N inputs.
            probs: (N, L), their probabilities of `labels`.
            start: the number of inputs that were added before.

        Returns:
            The rows of the batch that were taken, ascending.
        """
        is_likely_NL = probs >= inputs.probs[:, -1:]
        score_NP = np.sqrt(probs[:, self._first] * probs[:, self._second])
        score_NP[is_likely_NL[:, self._first] & is_likely_NL[:, self._second]] = 0  # the store takes these
        row_E, pair_E = np.nonzero(score_NP > self._floor)
        if not len(row_E):
            return row_E
        unknown = np.full(len(row_E), -1)
        new = KeptInputs(
            pair=pair_E,
            which=np.full(len(row_E), OVERLAP),
            value=score_NP[row_E, pair_E],
            first_prob=probs[row_E, self._first[pair_E]],
            second_prob=probs[row_E, self._second[pair_E]],
            predicted=inputs.labels[row_E, 0],
            **{name: getattr(inputs, name)[row_E] for name in ("target", "loader", "batch", "row", "position", "index", "order")},
            number=start + row_E,
            process=unknown,
        )
        self._entries.append(new)
        self._size += len(row_E)
        if self._size > _FULL:
            self._keep_best()
        return np.unique(row_E)

    def _keep_best(self) -> None:
        """Keep `per_pair` inputs for each pair."""
        if not self._entries:
            return
        entries = KeptInputs(*(np.concatenate(columns) for columns in zip(*self._entries, strict=True)))
        entries = entries.at(np.lexsort((entries.number, entries.order, -entries.value, entries.pair)))
        rank = rank_in_group(entries.pair)
        last = rank == self._per_pair - 1
        self._floor[entries.pair[last]] = entries.value[last]
        best = entries.at(rank < self._per_pair)
        self._entries, self._size = [best], len(best.pair)

    @property
    def numbers(self) -> NDArray[Any]:
        """The numbers of the kept inputs."""
        self._keep_best()
        return self._entries[0].number if self._entries else np.zeros(0, dtype=np.int64)

    def select(self, pairs: Sequence[tuple[int, int]]) -> KeptInputs | None:
        """The kept inputs of some pairs, with the places of these in `pairs`; None if there are none."""
        self._keep_best()
        if not self._entries or not pairs:
            return None
        place = {pair: number for number, pair in enumerate(pairs)}
        wanted = np.array([place.get(pair, -1) for pair in self.pairs])[self._entries[0].pair]
        kept = self._entries[0]._replace(pair=wanted, value=self._entries[0].value - np.float32(AFTER))
        return kept.at(wanted >= 0)
