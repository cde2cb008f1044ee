"""Suspects: the inputs whose target is one label of a pair and whose prediction is the other, in bounded memory.

An entry is a number as in `entries`; a larger one has a smaller probability of the target. Invariant: the first 100 suspects of
each pair are there, unless the pair is marked as partial. Others may be there until the next sort.

Shapes: E suspects that are added together.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import (
    Entries,
    Keys,
    Mask,
    best_of,
    entries_of,
    ids_of,
    lightest_half,
    rank_in_group,
    renumbered,
)
from lightning_cossim.capture.evidence.top_entries import TopEntries

__all__ = ["BYTES_PER_SUSPECT", "NUM_SHOWN", "NUM_SUSPECTS", "Suspects", "prob_of", "suspect_scores"]

NUM_SUSPECTS: Final = 100
"""Suspects kept for each pair. Wrong labels of one pair can be many, and all of them are worth a look."""
NUM_SHOWN: Final = 16
"""Suspects of each pair that reports show as pictures or texts: the first ones."""
BYTES_PER_SUSPECT: Final = 80
"""Memory of an entry in bytes: 16 for itself, 64 for the scratch when the entries are sorted."""
_HALF: Final = np.uint64(32)


def suspect_scores(probs: NDArray[np.float32]) -> NDArray[np.uint32]:
    """(E,), whole numbers that fall as the probabilities of the targets, at least 0, rise."""
    return ~(np.ascontiguousarray(probs) + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0


def prob_of(entries: Entries) -> NDArray[np.float32]:
    """The probabilities of the targets of suspects."""
    return (~(entries >> _HALF).astype(np.uint32)).view(np.float32)


class _Floors(NamedTuple):
    """The least scores with which suspects enter the first ones of their pairs."""

    keys: Keys
    """The pairs whose first ones are as many as there may be, ascending."""
    scores: NDArray[np.uint32]
    """The score of the last one of each; at the end a 0."""

    @classmethod
    def of(cls, keys: Keys, entries: Entries, is_last: Mask) -> "_Floors":
        return cls(keys[is_last], np.append(entries[is_last] >> _HALF, 0).astype(np.uint32))

    def reached(self, keys: Keys, scores: NDArray[np.uint32], *, with_ties: bool) -> Mask:
        """(E,), which suspects may be among the first ones of their pairs."""
        if not len(self.keys) or not len(keys):
            return np.ones(len(keys), dtype=bool)
        place = np.searchsorted(self.keys, keys)
        is_full = np.append(self.keys, -1)[place] == keys
        floors = np.where(is_full, self.scores[place], 0)
        reached: Mask = ~is_full | (scores >= floors if with_ties else scores > floors)
        return reached


class Suspects:
    """The suspects of all pairs, at most 100 for each.

    When they are too many, half of the pairs lose theirs, those with the smallest joint mass.

    Args:
        capacity: number of suspects there is room for.
        first: keys of the pairs that lose their suspects only after all others.
        pairs: knows the joint masses of the pairs, and marks those that lose suspects.
    """

    def __init__(self, capacity: int, first: Keys, pairs: TopEntries) -> None:
        self._keys, self._entries = np.zeros(capacity, dtype=np.int64), np.zeros(capacity, dtype=np.uint64)
        self._size, self._first, self._pairs = 0, first, pairs
        self._num_sorted = 0
        """Number of suspects after the last sort."""
        self._kept_floors = self._shown_floors = _Floors(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.uint32))
        """Those of the first 100 and of the first 16, at the last sort."""

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays and of the scratch of a sort, in bytes."""
        return len(self._keys) * BYTES_PER_SUSPECT

    @property
    def _kept(self) -> tuple[Keys, Entries]:
        return self._keys[: self._size], self._entries[: self._size]

    def candidates(self, keys: Keys, scores: NDArray[np.uint32], *, with_ties: bool) -> Mask:
        """(E,), which suspects may be among the first 100 of their pairs.

        Args:
            keys: (E,).
            scores: (E,), from `suspect_scores`.
            with_ties: whether a suspect may come before others with equal scores that were added before.
        """
        return self._kept_floors.reached(keys, scores, with_ties=with_ties)

    def shown(self, keys: Keys, scores: NDArray[np.uint32], *, with_ties: bool) -> Mask:
        """(E,), which suspects may be among the first 16 of their pairs. The arguments are those of `candidates`."""
        return self._shown_floors.reached(keys, scores, with_ties=with_ties)

    def add(self, keys: Keys, scores: NDArray[np.uint32], ids: Keys) -> None:
        """Add suspects, at most a quarter of the capacity."""
        if self._size + len(keys) > min(len(self._keys), 2 * self._num_sorted + NUM_SUSPECTS):
            self.sort()
            while self._size + len(keys) > len(self._keys) * 3 // 4 and self._size:
                self.evict()
        new = slice(self._size, self._size + len(keys))
        self._keys[new], self._entries[new] = keys, entries_of(scores.view(np.float32), ids)
        self._size += len(keys)

    def sort(self) -> None:
        """Drop the suspects that are not among the first 100 of their pairs."""
        keys, entries = self._kept
        order = np.lexsort((~entries, keys))
        keys, entries = keys[order], entries[order]
        rank = rank_in_group(keys)
        self._kept_floors = _Floors.of(keys, entries, rank == NUM_SUSPECTS - 1)
        self._shown_floors = _Floors.of(keys, entries, rank == NUM_SHOWN - 1)
        self._replace(keys[rank < NUM_SUSPECTS], entries[rank < NUM_SUSPECTS])
        self._num_sorted = self._size

    def _replace(self, keys: Keys, entries: Entries) -> None:
        self._size = len(keys)
        self._keys[: self._size], self._entries[: self._size] = keys, entries

    def evict(self) -> None:
        """Drop the suspects of half of the pairs. Pairs that come first are spared while there are others."""
        keys, entries = self._kept
        pairs, which = np.unique(keys, return_inverse=True)
        if not len(pairs):
            return
        dropped = lightest_half(self._pairs.masses_of(pairs), np.isin(pairs, self._first))
        self._pairs.lose(pairs[dropped])
        stays = ~np.isin(which, dropped)
        self._replace(keys[stays], entries[stays])
        self.sort()

    def mark(self, used: Mask) -> None:
        """Set the mark of each input that is a suspect; `used` is indexed by ids."""
        used[ids_of(self._kept[1])] = True

    def num_entries(self) -> int:
        """The number of suspects."""
        return self._size

    def pairs(self) -> Keys:
        """The keys of the pairs that have suspects, ascending."""
        return np.unique(self._kept[0])

    def renumber(self, new_ids: NDArray[Any]) -> None:
        """Give the inputs new ids in the same order; `new_ids` is indexed by the old ones."""
        self._entries[: self._size] = renumbered(self._entries[: self._size], new_ids)

    def best(self, keys: Keys, num: int = NUM_SUSPECTS) -> Entries:
        """(U, num), the first suspects of the pairs, the largest entry first; 0 where there are fewer."""
        unique, inverse = np.unique(keys, return_inverse=True)
        all_keys, entries = self._kept
        is_asked = np.isin(all_keys, unique)
        groups = np.searchsorted(unique, all_keys[is_asked])
        return best_of(groups, entries[is_asked], len(unique), num)[inverse]
