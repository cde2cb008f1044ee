"""Suspects: the inputs whose target is one label of a pair and whose prediction is the other, in bounded memory.

An entry is a number as in `top_entries`; a larger one has a smaller probability of the target.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.top_entries import TopEntries, best_of, ids_of, lightest_half, rank_in_group, renumbered

__all__ = ["BYTES_PER_SUSPECT", "NUM_SUSPECTS", "Suspects", "suspect_entries"]

NUM_SUSPECTS: Final = 100
"""Suspects kept for each pair. Wrong labels of one pair can be many, and all of them are worth a look."""
BYTES_PER_SUSPECT: Final = 80
"""Memory of an entry in bytes: 16 for itself, 64 for the scratch when the entries are sorted."""

Keys = NDArray[np.int64]
Entries = NDArray[np.uint64]


def suspect_entries(probs: NDArray[np.float32], ids: NDArray[Any]) -> Entries:
    """(E,), entries of the probabilities of the targets, at least 0, and the ids of the inputs."""
    bits = (np.ascontiguousarray(probs) + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0.0 becomes 0.0
    return ((np.uint64(0xFFFFFFFF) - bits) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - ids.astype(np.uint64))


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
        self._num_compact = 0
        """Number of suspects after the last sort."""
        self._watched: Keys | None = None
        self._worst = np.zeros(0, dtype=np.uint64)
        """The last entry of each watched pair; 0 if the pair has room for more."""

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays and of the scratch of a sort, in bytes."""
        return len(self._keys) * BYTES_PER_SUSPECT

    @property
    def _kept(self) -> tuple[Keys, Entries]:
        return self._keys[: self._size], self._entries[: self._size]

    def add(self, keys: Keys, entries: Entries) -> None:
        """Add suspects, at most a quarter of the capacity."""
        if self._size + len(keys) > min(len(self._keys), 2 * self._num_compact + NUM_SUSPECTS):
            self.compact()
            self._find_worst()
            while self._size + len(keys) > len(self._keys) * 3 // 4 and self._size:
                self.evict()
        new = slice(self._size, self._size + len(keys))
        self._keys[new], self._entries[new] = keys, entries
        self._size += len(keys)

    def compact(self) -> None:
        """Drop the suspects that are not among the first 100 of their pair."""
        keys, entries = self._kept
        order = np.lexsort((~entries, keys))
        order = order[rank_in_group(keys[order]) < NUM_SUSPECTS]
        self._size = self._num_compact = len(order)
        self._keys[: self._size], self._entries[: self._size] = keys[order], entries[order]

    def evict(self) -> None:
        """Drop the suspects of half of the pairs. Pairs that come first are spared while there are others."""
        keys, entries = self._kept
        pairs, which = np.unique(keys, return_inverse=True)
        if not len(pairs):
            return
        dropped = lightest_half(self._pairs.sums_of(pairs), np.isin(pairs, self._first))
        self._pairs.lose(pairs[dropped])
        stays = ~np.isin(which, dropped)
        self._size = int(stays.sum())
        self._keys[: self._size], self._entries[: self._size] = keys[stays], entries[stays]
        self._find_worst()

    def mark(self, used: NDArray[np.bool_]) -> None:
        """Set the mark of each input that is a suspect; `used` is indexed by ids."""
        used[ids_of(self._kept[1])] = True

    def num_entries(self) -> int:
        """The number of suspects."""
        return self._size

    def renumber(self, new_ids: NDArray[Any]) -> None:
        """Give the inputs new ids in the same order; `new_ids` is indexed by the old ones."""
        self._entries[: self._size] = renumbered(self._entries[: self._size], new_ids)
        self._worst = renumbered(self._worst, new_ids)

    def watch(self, keys: Keys) -> None:
        """Watch these different pairs; `entering` answers for them."""
        self._watched = np.sort(keys)
        self.compact()
        self._find_worst()

    def _find_worst(self) -> None:
        if self._watched is not None:
            keys, entries = self._kept
            order = np.lexsort((~entries, keys))
            order = order[rank_in_group(keys[order]) == NUM_SUSPECTS - 1]
            order = order[np.isin(keys[order], self._watched)]
            self._worst = np.zeros(len(self._watched), dtype=np.uint64)
            self._worst[np.searchsorted(self._watched, keys[order])] = entries[order]

    def best(self, keys: Keys) -> Entries:
        """(U, 100), the suspects of different pairs, ascending keys, the largest entry first; 0 where there are fewer."""
        all_keys, entries = self._kept
        is_asked = np.isin(all_keys, keys)
        return best_of(np.searchsorted(keys, all_keys[is_asked]), entries[is_asked], len(keys), NUM_SUSPECTS)

    def entering(self, keys: Keys, entries: Entries, local: Keys, orders: Keys, order_of: Keys) -> Keys:
        """The inputs that would be kept for a watched pair, if they came alone.

        Args:
            keys: (E,).
            entries: (E,).
            local: (E,), the input of each entry, as place in `orders`.
            orders: (N,), the number that breaks ties.
            order_of: the same number of each kept input, by id.

        Returns:
            Values of `local`.
        """
        if self._watched is None:
            return local
        place = np.searchsorted(self._watched, keys)
        is_watched = np.append(self._watched, -1)[place] == keys
        worst = np.append(self._worst, np.uint64(0))[place]
        worst_order = order_of[np.where(worst > 0, ids_of(worst), 0)]
        half = np.uint64(32)
        score, floor = entries >> half, worst >> half
        entering: Keys = local[is_watched & ((score > floor) | ((score == floor) & (orders[local] < worst_order)))]
        return entering
