"""TopEntries: the best entries of many keys, in bounded memory. `entries` says what a key and an entry are.

Each key has a row of `width` entries. Invariant: a row has the best entries that its key ever got, unless the key is marked as
partial. A full row is sorted, the smallest entry first; another row has its entries at the front, in any order.

Shapes: R rows, E entries that are added together, U keys that are looked up.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import (
    LOW,
    Entries,
    Keys,
    Mask,
    Scores,
    floors_of,
    ids_of,
    is_label,
    lightest_half,
    num_keys_of,
    rank_in_group,
    renumbered,
)
from lightning_cossim.capture.evidence.key_index import BYTES_PER_KEY, KeyIndex, LostKeys

__all__ = ["MAX_CHUNK", "Candidates", "TopEntries"]

MAX_CHUNK: Final = 2**12
_MAX_ROWS: Final = 2**20
"""Limits that let row, score and input fit into one number of 64 bits: 20 + 31 + 12."""
_BLOCK: Final = 2**14
"""Kept entries that are processed at a time, if memory permits."""
_BYTES_PER_NUMBER: Final = 64
"""Scratch for each of them, in bytes."""
_BYTES_PER_ROW: Final = 4 + 4 + 8 + 1 + 24
"""Bytes per row beside its entries: number of entries, floor, mass, mark, and scratch of an eviction."""


class Candidates(NamedTuple):
    """Entries that may enter a row."""

    rows: Keys
    scores: Scores
    local: Keys
    """The input of each entry, as its place in the batch."""


class TopEntries:
    """The best entries of many keys.

    If the rows of all keys fit into `max_bytes`, the key is the number of its row. Otherwise rows are given to keys as they come;
    when no row is left, half of the keys lose theirs, those with the smallest mass, the sum of all scores of the key. A key that
    lost entries is marked as partial for good.

    Args:
        num_labels: number of labels, whose pairs and themselves are the keys.
        width: number of entries per key, at least 1.
        max_bytes: memory for the rows, in bytes.
        first: keys that lose their rows only after all others.
    """

    def __init__(self, num_labels: int, width: int, max_bytes: int, first: Keys) -> None:
        num_keys, self._num_labels = num_keys_of(num_labels), num_labels
        is_dense = num_keys * (8 * width + _BYTES_PER_ROW) <= max_bytes and num_keys <= _MAX_ROWS
        per_row = 8 * width + _BYTES_PER_ROW + (0 if is_dense else BYTES_PER_KEY)
        self.num_rows = num_keys if is_dense else min(_MAX_ROWS, num_keys, max_bytes // per_row)
        """The number of rows there is room for."""
        self._width, self._first, self._bytes_per_row = width, first, per_row
        self._step = max(1, min(_BLOCK, max_bytes // (4 * _BYTES_PER_NUMBER)) // width)
        """Rows that are processed at a time."""
        self._rows = np.zeros((self.num_rows, width), dtype=np.uint64)
        self._counts = np.zeros(self.num_rows, dtype=np.int32)
        """(R,), the number of entries in each row."""
        self._floors = np.zeros(self.num_rows, dtype=np.float32)
        """(R,), the smallest score in each row; 0 while a row is not full."""
        self._masses = np.zeros(self.num_rows)
        self._partial = np.zeros(self.num_rows, dtype=bool)
        self._index = None if is_dense else KeyIndex(self.num_rows)
        self._lost = LostKeys(1 if is_dense else max_bytes // 32, first)

    @property
    def is_dense(self) -> bool:
        """Whether every key has a row."""
        return self._index is None

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays and of the scratch of a change of the rows, in bytes."""
        return self.num_rows * self._bytes_per_row + self._lost.num_bytes + self._step * self._width * _BYTES_PER_NUMBER

    @property
    def _size(self) -> int:
        return self.num_rows if self._index is None else self._index.size

    # What comes in

    def candidates(self, keys: Keys, scores: Scores, *, with_ties: bool) -> Candidates:
        """Count the masses of entries, and find those that may enter a row. Call `insert` with them next.

        Args:
            keys: (m, N), for each of N inputs the keys of its entries.
            scores: (m, N), finite and at least 0, or NaN. Entries with the score 0 or NaN do not enter.
            with_ties: whether an input may come before others with equal scores that were added before.
        """
        num, keys, scores = keys.shape[1], keys.ravel(), scores.ravel()
        place = None
        if not self.is_dense or not (scores > 0).all():
            place = np.flatnonzero(scores > 0)
            keys, scores = keys[place], scores[place]
        rows = keys if self.is_dense else self._rows_for(keys)
        np.add.at(self._masses, rows, scores.astype(np.float64))
        floors = self._floors[rows]
        found = np.flatnonzero(scores >= floors if with_ties else scores > floors)
        return Candidates(rows[found], scores[found], (found if place is None else place[found]) % num)

    def insert(self, candidates: Candidates, ids: Keys) -> tuple[Keys, Keys]:
        """Add entries, at most one per row and input.

        Args:
            candidates: from `candidates`.
            ids: the ids of the inputs by their places in the batch, ascending.

        Returns:
            Keys and inputs of the entries that are now among the best ones.
        """
        rows, rank, bits, local = self._best_of_each_row(candidates)
        entries = (bits << np.uint64(32)) | (LOW - ids[local].astype(np.uint64))
        enters = self._fill(rows, rank, entries)
        left = np.flatnonzero(~enters)
        rank = rank_in_group(rows[left])
        for turn in range(int(rank.max(initial=-1)) + 1):
            now = left[rank == turn]
            for first in range(0, len(now), self._step):
                part = now[first : first + self._step]
                enters[part] = self._push(rows[part], entries[part])
        rows = rows[enters]
        return (rows if self._index is None else self._index.keys[rows]), local[enters]

    def _best_of_each_row(self, candidates: Candidates) -> tuple[Keys, Keys, NDArray[np.uint64], Keys]:
        """Rows, ranks, bits of the scores, and inputs of the best new entries of each row, sorted by row and rank."""
        # One number of 64 bits per entry: sorting these is many times faster than sorting by several keys.
        code = candidates.rows.astype(np.uint64) << np.uint64(43)
        code |= (np.uint64(0x7FFFFFFF) - candidates.scores.view(np.uint32)) << np.uint64(12)
        code |= candidates.local.astype(np.uint64)
        code.sort()
        rows = (code >> np.uint64(43)).astype(np.int64)
        rank = rank_in_group(rows)
        is_best = rank < self._width
        if not is_best.all():
            code, rows, rank = code[is_best], rows[is_best], rank[is_best]
        bits = np.uint64(0x7FFFFFFF) - ((code >> np.uint64(12)) & np.uint64(0x7FFFFFFF))
        return rows, rank, bits, (code & np.uint64(0xFFF)).astype(np.int64)

    def _fill(self, rows: Keys, rank: Keys, entries: Entries) -> Mask:
        """Put entries into rows that have room, by their rank among the new entries of the row. Returns which ones had room."""
        place = self._counts[rows] + rank
        fits: Mask = place < self._width
        if fits.any():
            rows, place = rows[fits], place[fits]
            self._rows[rows, place] = entries[fits]
            self._counts[rows] = place + 1  # of equal rows, the last one counts, which has the largest place
            full = rows[place == self._width - 1]
            for first in range(0, len(full), self._step):
                part = full[first : first + self._step]
                block = np.sort(self._rows[part], axis=1)
                self._rows[part], self._floors[part] = block, floors_of(block[:, 0])
        return fits

    def _push(self, rows: Keys, entries: Entries) -> Mask:
        """Put one entry into each of some full, different rows, if it is better than the smallest one, which falls out."""
        block = self._rows.take(rows, axis=0).ravel()
        spread = np.repeat(entries, self._width)
        # A sorted row a with a new x becomes max(a[k], min(x, a[k + 1])); its last place max(a[k], x).
        np.minimum(block[1:], spread[:-1], out=spread[:-1])
        new = spread.reshape(-1, self._width)
        new[:, -1] = entries
        enters: Mask = entries > block[:: self._width]
        np.maximum(spread, block, out=spread)
        self._rows[rows], self._floors[rows] = new, floors_of(new[:, 0])
        return enters

    def _rows_for(self, keys: Keys) -> Keys:
        """The rows of keys; keys that have none get one."""
        assert self._index is not None
        while True:
            rows = self._index.find(keys)
            missing = np.flatnonzero(rows < 0)
            order = np.argsort(keys[missing])
            ordered = keys[missing[order]]
            is_new = np.ones(len(ordered), dtype=bool)
            is_new[1:] = ordered[1:] != ordered[:-1]
            if self._index.size + int(is_new.sum()) <= self.num_rows:
                break
            self.evict()
        new = ordered[is_new]
        new_rows = self._index.add(new)
        self._partial[new_rows] = self._lost.has(new)
        rows[missing[order]] = new_rows[is_new.cumsum() - 1]
        return rows

    # What goes out

    def evict(self) -> None:
        """Take the rows of half of the keys that have entries. Keys that come first are spared while there are others."""
        used = np.flatnonzero(self._counts) if self._index is None else np.arange(self._size)
        if not len(used):
            return
        keys = used if self._index is None else self._index.keys
        dropped = lightest_half(self._masses[used], np.isin(keys, self._first))
        if self._index is None:
            rows = used[dropped]
            self._rows[rows], self._counts[rows], self._floors[rows], self._partial[rows] = 0, 0, 0, True
        else:
            self._lost.add(keys[dropped])
            self._close_gaps(np.delete(used, dropped))

    def _close_gaps(self, kept: Keys) -> None:
        """Move the rows that are kept, ascending, to the front."""
        assert self._index is not None
        size = self._size
        for array in (self._rows, self._counts, self._floors, self._masses, self._partial):
            for first in range(0, len(kept), self._step):
                part = kept[first : first + self._step]
                array[first : first + len(part)] = array[part]
            array[len(kept) : size] = 0
        self._index.keep(kept)

    def _blocks(self) -> Iterator[Entries]:
        for first in range(0, self._size, self._step):
            yield self._rows[first : min(first + self._step, self._size)]

    def mark(self, used: Mask) -> None:
        """Set the mark of each input that has an entry; `used` is indexed by ids."""
        for block in self._blocks():
            used[ids_of(block[block > 0])] = True

    def num_entries(self) -> int:
        """The number of entries in all rows."""
        return int(self._counts[: self._size].sum())

    def renumber(self, new_ids: NDArray[Any]) -> None:
        """Give the inputs new ids in the same order; `new_ids` is indexed by the old ones."""
        for block in self._blocks():
            block[:] = renumbered(block, new_ids)

    # What is looked up

    def _find(self, keys: Keys) -> Keys:
        return keys if self._index is None else self._index.find(keys)

    def is_partial(self, keys: Keys) -> Mask:
        """(U,), whether entries of the key may be missing. It can be True by chance for a key without a row, never False."""
        rows = self._find(keys)
        return np.where(rows < 0, self._lost.has(keys), np.append(self._partial, False)[rows])

    def lose(self, keys: Keys) -> None:
        """Mark different keys as partial for good, because entries of theirs are lost elsewhere."""
        self._lost.add(keys)
        rows = self._find(keys)
        self._partial[rows[rows >= 0]] = True

    def masses_of(self, keys: Keys) -> NDArray[np.float64]:
        """(U,), the masses of the keys; 0 for a key that has no row."""
        rows = self._find(keys)
        return np.where(rows < 0, 0.0, np.append(self._masses, 0.0)[rows])

    def best(self, keys: Keys) -> Entries:
        """(U, width), the entries of the keys, the largest first; 0 where there are fewer."""
        rows = self._find(keys)
        found = np.where(rows[:, None] < 0, np.uint64(0), self._rows[rows])
        return np.sort(found, axis=1)[:, ::-1]

    def heaviest_pairs(self, num: int) -> Keys:
        """The keys of the pairs with the largest masses, at most `num`, ascending."""
        masses = self._masses[: self._size]
        num_heavy = min(num + self._num_labels, len(masses))  # labels may be heavier than all pairs
        least = np.partition(masses, len(masses) - num_heavy)[len(masses) - num_heavy] if num_heavy else 0
        rows = np.flatnonzero((masses >= least) & (masses > 0))
        keys = rows if self._index is None else self._index.keys[rows]
        is_pair = ~is_label(keys)
        return np.sort(keys[is_pair][np.argsort(-masses[rows[is_pair]])[:num]])
