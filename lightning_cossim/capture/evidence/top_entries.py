"""TopEntries: the best entries of many keys, in bounded memory. A key is a pair of labels, or a label.

An entry is one number (uint64) that sorts by score and then by the order of the inputs: its upper half has the bits of the score
(float32, not negative), its lower half counts down with the id of the input. A larger entry is better, and 0 means none.

Shapes: R rows, one for each key, E entries that are added together, U keys that are looked up.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_CHUNK",
    "LostKeys",
    "TopEntries",
    "best_of",
    "dense_bytes",
    "entries_of",
    "ids_of",
    "lightest_half",
    "rank_in_group",
    "renumbered",
]

Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
Entries = NDArray[np.uint64]
Mask = NDArray[np.bool_]

_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_MAX_ROWS: Final = 2**20
MAX_CHUNK: Final = 2**11
"""Limits that let row, score and input fit into one number of 64 bits: 21 + 31 + 12."""
_BLOCK: Final = 2**14
"""Kept entries that are processed at a time, if memory permits."""
_BYTES_PER_NUMBER: Final = 64
"""Scratch for each of them, in bytes."""
_DENSE_BYTES: Final = 4 + 8 + 1 + 24
"""Bytes per row beside its entries: floor, sum of scores, mark, and scratch of an eviction."""
_SPARSE_BYTES: Final = _DENSE_BYTES + 8 + 24 + 24
"""The same for rows that are found by a sorted index: also key, index, and scratch of a change of the index."""
_MAX_BUCKETS: Final = 2**17
_SMALLEST: Final = np.nextafter(np.float32(0), np.float32(1))


def entries_of(scores: Scores, ids: NDArray[Any]) -> Entries:
    """(E,), entries of the scores, at least 0, and the ids of the inputs, in [0, 2³² - 1)."""
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return (bits << _HALF) | (_LOW - ids.astype(np.uint64))


def ids_of(entries: Entries) -> Keys:
    """The ids of the inputs of entries that are not 0."""
    return (_LOW - (entries & _LOW)).astype(np.int64)


def renumbered(entries: Entries, new_ids: NDArray[Any]) -> Entries:
    """The entries with new ids, where `new_ids` is indexed by the old ones. A 0 remains 0."""
    present = entries > 0
    found = entries[present]
    renewed = np.zeros_like(entries)
    renewed[present] = (found & ~_LOW) | (_LOW - new_ids[ids_of(found)].astype(np.uint64))
    return renewed


def rank_in_group(groups: NDArray[Any]) -> Keys:
    """The number of equal values before each one. Equal values must stand together."""
    place = np.arange(len(groups))
    is_first = np.ones(len(groups), dtype=bool)
    is_first[1:] = groups[1:] != groups[:-1]
    return place - np.maximum.accumulate(np.where(is_first, place, 0))


def best_of(which: NDArray[Any], entries: Entries, num: int, width: int) -> Entries:
    """The best entries of each group.

    Args:
        which: (E,), the group of each entry, in [0, `num`).
        entries: (E,).
        num: number of groups.
        width: number of entries per group, at least 1.

    Returns:
        (num, width), largest first; 0 where a group has fewer.
    """
    order = np.lexsort((~entries, which))
    which, entries = which[order], entries[order]
    rank = rank_in_group(which)
    found = np.zeros((num, width), dtype=np.uint64)
    fits = rank < width
    found[which[fits], rank[fits]] = entries[fits]
    return found


def lightest_half(sums: NDArray[np.float64], comes_first: Mask) -> Keys:
    """The places of at least one and about half of the keys, those with the smallest sums. Keys that come first go last."""
    num, num_first = len(sums), int(comes_first.sum())
    num_dropped = num - (max(num // 2, num_first) if num_first < num else num // 2)
    return np.argpartition(np.where(comes_first, np.inf, sums), num_dropped - 1)[:num_dropped]


def dense_bytes(num_keys: int, width: int) -> int:
    """Memory of one row for every key, in bytes."""
    return num_keys * (8 * width + _DENSE_BYTES)


class LostKeys:
    """The keys that lost entries: exact for the keys that come first, by a hash for the others.

    Args:
        num_marks: memory for the hashes, in bytes, rounded down to a power of 2, at least 8.
        first: the keys that come first.
    """

    def __init__(self, num_marks: int, first: Keys) -> None:
        self._marks = np.zeros(2 ** max(3, num_marks.bit_length() - 1), dtype=bool)
        self._first = np.unique(first)
        self._lost_first = np.zeros(len(self._first) + 1, dtype=bool)

    @property
    def num_bytes(self) -> int:
        """Memory of the marks, in bytes."""
        return self._marks.nbytes

    def add(self, keys: Keys) -> None:
        """Add keys."""
        self._marks[self._hashes(keys)] = True
        self._lost_first[:-1] |= np.isin(self._first, keys)

    def has(self, keys: Keys) -> Mask:
        """(U,), whether a key was added. It can be True by chance for a key that does not come first, never False."""
        place = np.searchsorted(self._first, keys)
        comes_first = np.append(self._first, -1)[place] == keys
        return np.where(comes_first, self._lost_first[place], self._marks[self._hashes(keys)])

    def _hashes(self, keys: Keys) -> NDArray[np.uint64]:
        return (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(65 - len(self._marks).bit_length())


class TopEntries:
    """The best entries of many keys.

    Each key has a row of `width` entries, smallest first. If the rows of all keys fit into `max_bytes`, the key is the number of
    its row. Otherwise rows are given to keys as they come; when no row is left, half of the keys lose theirs, those with the
    smallest sum of scores. A key that lost entries is marked as partial for good.

    Args:
        num_keys: keys are in [0, num_keys).
        width: number of entries per key, at least 1.
        max_bytes: memory for the rows, in bytes.
        first: keys that lose their rows only after all others.
    """

    def __init__(self, num_keys: int, width: int, max_bytes: int, first: Keys) -> None:
        self.is_dense = dense_bytes(num_keys, width) <= max_bytes and num_keys <= _MAX_ROWS
        self.num_rows = num_keys if self.is_dense else min(_MAX_ROWS, max_bytes // (8 * width + _SPARSE_BYTES))
        """The number of rows there is room for."""
        self._width, self._first = width, first
        self._step = max(1, min(_BLOCK, max_bytes // (4 * _BYTES_PER_NUMBER)) // width)
        """Rows that are processed at a time."""
        self._rows = np.zeros((self.num_rows, width), dtype=np.uint64)
        self._floors = np.zeros(self.num_rows, dtype=np.float32)
        """(R,), the smallest score in each row; 0 while a row is not full."""
        self._sums = np.zeros(self.num_rows)
        self._partial = np.zeros(self.num_rows, dtype=bool)
        self._size = num_keys if self.is_dense else 0
        self._keys = np.zeros(0 if self.is_dense else self.num_rows, dtype=np.int64)
        self._index_keys, self._index_rows = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        """The keys that have a row, ascending, and their rows. Empty if dense."""
        self._evicted = LostKeys(1 if self.is_dense else max_bytes // 32, first)
        self._watched: Keys | None = None
        self._buckets = np.zeros(2 ** (min(num_keys, _MAX_BUCKETS, max(2, max_bytes // 64)) - 1).bit_length(), dtype=np.float32)
        """The smallest floor of the watched keys with the same last bits; infinite where there are none."""

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays and of the scratch of a change of the rows, in bytes."""
        scratch = self._step * self._width * _BYTES_PER_NUMBER
        per_row = 8 * self._width + (_DENSE_BYTES if self.is_dense else _SPARSE_BYTES)
        return self.num_rows * per_row + self._evicted.num_bytes + self._buckets.nbytes + scratch

    # What comes in

    def add(self, keys: Keys, scores: Scores, local: NDArray[Any], ids: Keys) -> None:
        """Add entries, at most one per key and input. Entries with the score 0 or NaN do not enter.

        Args:
            keys: (E,).
            scores: (E,), finite and at least 0, or NaN.
            local: (E,), the place of each entry's input in `ids`, less than 4096.
            ids: the ids of the inputs, ascending.
        """
        enters = scores > 0
        if not enters.all():
            keys, scores, local = keys[enters], scores[enters], local[enters]
        rows = keys if self.is_dense else self._rows_for(keys)
        np.add.at(self._sums, rows, scores.astype(np.float64))
        enters = scores >= self._floors[rows]
        if not enters.all():
            rows, scores, local = rows[enters], scores[enters], local[enters]
        # One number of 64 bits per entry: sorting these is many times faster than sorting by several keys.
        code = rows.astype(np.uint64) << np.uint64(43)
        code |= (np.uint64(0x7FFFFFFF) - np.ascontiguousarray(scores).view(np.uint32).astype(np.uint64)) << np.uint64(12)
        code |= local.astype(np.uint64)
        code.sort()
        rank = rank_in_group(code >> np.uint64(43))
        enters = rank < self._width
        code, rank = code[enters], rank[enters]
        rows = (code >> np.uint64(43)).astype(np.int64)
        bits = np.uint64(0x7FFFFFFF) - ((code >> np.uint64(12)) & np.uint64(0x7FFFFFFF))
        entries = (bits << _HALF) | (_LOW - ids.astype(np.uint64)[(code & np.uint64(0xFFF)).astype(np.int64)])
        for turn in range(int(rank.max(initial=-1)) + 1):
            is_next = rank == turn
            self._insert(rows[is_next], entries[is_next])
        if self._watched is not None:
            self._refresh_buckets()

    def _insert(self, rows: Keys, entries: Entries) -> None:
        """Put one entry into each of some different rows. The smallest entry of the row, or the new one, falls out."""
        width = self._width
        for first in range(0, len(rows), self._step):
            part, new = rows[first : first + self._step], entries[first : first + self._step, None]
            block = self._rows.take(part, axis=0).ravel()
            spread = np.empty((len(part), width), dtype=np.uint64)
            spread[:] = new
            # A sorted row a with a new x becomes max(a[k], min(x, a[k + 1])); its last place max(a[k], x).
            flat = spread.ravel()
            np.minimum(block[1:], flat[:-1], out=flat[:-1])
            spread[:, -1:] = new
            np.maximum(flat, block, out=flat)
            self._rows[part] = spread
            self._floors[part] = (spread[:, 0] >> _HALF).astype(np.uint32).view(np.float32)

    def _rows_for(self, keys: Keys) -> Keys:
        """The rows of keys; keys that have none get one."""
        order = _sorted_order(keys)
        sorted_keys = keys[order]
        is_first = np.ones(len(keys), dtype=bool)
        is_first[1:] = sorted_keys[1:] != sorted_keys[:-1]
        unique = sorted_keys[is_first]
        found = self.find(unique)
        while self._size + int((found < 0).sum()) > self.num_rows:
            self.evict()
            found = self.find(unique)
        found[found < 0] = self._give_rows(unique[found < 0])
        rows = np.empty(len(keys), dtype=np.int64)
        rows[order] = found[is_first.cumsum() - 1]
        return rows

    def _give_rows(self, keys: Keys) -> Keys:
        rows = np.arange(self._size, self._size + len(keys))
        self._keys[rows], self._partial[rows] = keys, self._evicted.has(keys)
        place = np.searchsorted(self._index_keys, keys)
        self._index_keys = np.insert(self._index_keys, place, keys)
        self._index_rows = np.insert(self._index_rows, place, rows)
        self._size += len(keys)
        return rows

    # What goes out

    def evict(self) -> None:
        """Take the rows of half of the keys that have entries. Keys that come first are spared while there are others."""
        used = np.flatnonzero(self._rows[: self._size, -1]) if self.is_dense else np.arange(self._size)
        keys = used if self.is_dense else self._keys[: self._size]
        if not len(used):
            return
        dropped = lightest_half(self._sums[used], np.isin(keys, self._first))
        if self.is_dense:
            self._rows[dropped_rows := used[dropped]], self._floors[dropped_rows], self._partial[dropped_rows] = 0, 0, True
        else:
            self._evicted.add(keys[dropped])
            self._close_gaps(np.delete(used, dropped))
        if self._watched is not None:
            self._refresh_buckets()

    def _close_gaps(self, kept: Keys) -> None:
        """Move the rows that are kept, ascending, to the front."""
        for array in (self._rows, self._floors, self._sums, self._partial, self._keys):
            for first in range(0, len(kept), self._step):
                part = kept[first : first + self._step]
                array[first : first + len(part)] = array[part]
            array[len(kept) : self._size] = 0
        self._size = len(kept)
        self._index_rows = np.argsort(self._keys[: self._size])
        self._index_keys = self._keys[self._index_rows]

    def _blocks(self) -> Iterator[Entries]:
        for first in range(0, self._size, self._step):
            yield self._rows[first : min(first + self._step, self._size)]

    def mark(self, used: Mask) -> None:
        """Set the mark of each input that has an entry; `used` is indexed by ids."""
        for block in self._blocks():
            used[ids_of(block[block > 0])] = True

    def num_entries(self) -> int:
        """The number of entries in all rows."""
        return sum(int(np.count_nonzero(block)) for block in self._blocks())

    def renumber(self, new_ids: NDArray[Any]) -> None:
        """Give the inputs new ids in the same order; `new_ids` is indexed by the old ones."""
        for block in self._blocks():
            block[:] = renumbered(block, new_ids)

    # What is looked up

    def find(self, keys: Keys) -> Keys:
        """(U,), the rows of the keys; -1 for a key that has none."""
        if self.is_dense or not self._size:
            return keys if self.is_dense else np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self._index_keys, keys), self._size - 1)
        return np.where(self._index_keys[place] == keys, self._index_rows[place], -1)

    def is_partial(self, keys: Keys) -> Mask:
        """(U,), whether entries of the key may be missing. It can be True by chance for a key without a row, never False."""
        if self.is_dense:
            return self._partial[keys]
        rows = self.find(keys)
        return np.where(rows < 0, self._evicted.has(keys), np.append(self._partial, False)[rows])

    def lose(self, keys: Keys) -> None:
        """Mark different keys as partial for good, because entries of theirs are lost elsewhere."""
        if not self.is_dense:
            self._evicted.add(keys)
        rows = self.find(keys)
        self._partial[rows[rows >= 0]] = True

    def sums_of(self, keys: Keys) -> NDArray[np.float64]:
        """(U,), the sums of the scores of the keys; 0 for a key that has no row."""
        rows = self.find(keys)
        return np.where(rows < 0, 0.0, self._sums[rows]) if self.num_rows else np.zeros(len(keys))

    def best(self, keys: Keys) -> Entries:
        """(U, width), the entries of different keys, the largest first; 0 where there are fewer."""
        rows = self.find(keys)
        return np.where(rows[:, None] < 0, np.uint64(0), self._rows[rows, ::-1])

    def heaviest(self, num: int) -> Keys:
        """The keys with the largest sums of scores, at most `num`, ascending."""
        size = self._size
        rows = np.arange(size) if size <= num else np.argpartition(self._sums[:size], size - num)[size - num :]
        rows = rows[self._sums[rows] > 0]
        return np.sort(rows if self.is_dense else self._keys[rows])

    # What is watched

    def watch(self, keys: Keys) -> None:
        """Watch these different keys; `entering` answers for them."""
        self._watched = np.sort(keys)
        self._refresh_buckets()

    @property
    def watched(self) -> Keys | None:
        """The keys that are watched, ascending; None means all."""
        return self._watched

    def _refresh_buckets(self) -> None:
        assert self._watched is not None
        rows = self.find(self._watched)
        self._buckets.fill(np.inf)
        floors = np.where(rows < 0, np.float32(0), self._floors[rows])
        np.minimum.at(self._buckets, self._watched & (len(self._buckets) - 1), np.maximum(floors, _SMALLEST))

    def entering(self, keys: Keys, scores: Scores, local: Keys, orders: Keys, order_of: Keys) -> Keys:
        """The inputs with an entry that would enter a row of a watched key, if it came alone.

        Args:
            keys: (E,).
            scores: (E,).
            local: (E,), the input of each entry, as place in `orders`.
            orders: (N,), the number that breaks ties.
            order_of: the same number of each kept input, by id.

        Returns:
            Values of `local`.
        """
        if self._watched is None:
            return local[scores > 0]
        # Most entries end here, by one look into a small table.
        near = np.flatnonzero(scores >= self._buckets[keys & (len(self._buckets) - 1)])
        keys, scores, local = keys[near], scores[near], local[near]
        rows = self.find(keys)
        worst = np.where(rows < 0, np.uint64(0), self._rows[rows, 0])
        floors = (worst >> _HALF).astype(np.uint32).view(np.float32)
        worst_order = order_of[np.where(worst > 0, ids_of(worst), 0)]
        enters = (scores > floors) | ((scores == floors) & (orders[local] < worst_order))
        place = np.searchsorted(self._watched, keys)
        is_watched: Mask = np.append(self._watched, -1)[place] == keys
        entering: Keys = local[enters & is_watched]
        return entering


def _sorted_order(keys: Keys) -> NDArray[Any]:
    """The places of the keys in ascending order of key, then of place."""
    num_bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + num_bits > 64:
        return np.argsort(keys, kind="stable")
    code = (keys.astype(np.uint64) << np.uint64(num_bits)) | np.arange(len(keys), dtype=np.uint64)
    code.sort()
    return (code & np.uint64(2**num_bits - 1)).astype(np.int64)
