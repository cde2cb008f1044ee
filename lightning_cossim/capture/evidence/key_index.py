"""KeyIndex: finds the row of a key among many keys. LostKeys: remembers which keys lost their rows.

Shapes: R rows, U keys that are looked up.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import Keys, Mask

__all__ = ["BYTES_PER_KEY", "KeyIndex", "LostKeys"]

BYTES_PER_KEY: Final = 8 + 16
"""Memory of a row in bytes: its key, and up to four slots of 4 bytes."""
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
"""Knuth's factor for hashes of 64 bits: 2⁶⁴ divided by the golden ratio."""


def _hashes(keys: Keys, num_bits: int) -> Keys:
    return ((keys.astype(np.uint64) * _FACTOR) >> np.uint64(64 - num_bits)).astype(np.int64)


class KeyIndex:
    """A hash table from keys to rows, with linear probing. Rows are given in the order in which keys are added.

    Invariant: from the slot of a key's hash to the slot that has its row, no slot is empty.

    Args:
        num_rows: number of keys there is room for.
    """

    def __init__(self, num_rows: int) -> None:
        self.size = 0
        self._keys = np.zeros(num_rows, dtype=np.int64)
        self._num_bits = max(1, (2 * num_rows - 1).bit_length())
        self._slots = np.full(2**self._num_bits, -1, dtype=np.int32)

    @property
    def keys(self) -> Keys:
        """The key of each row."""
        return self._keys[: self.size]

    def find(self, keys: Keys) -> Keys:
        """(U,), the rows of the keys; -1 for a key that has none."""
        rows, left, slots = np.full(len(keys), -1), np.arange(len(keys)), _hashes(keys, self._num_bits)
        while len(left):
            found = self._slots[slots]
            is_hit = (found >= 0) & (self._keys[found] == keys[left])
            rows[left[is_hit]] = found[is_hit]
            goes_on = (found >= 0) & ~is_hit
            left, slots = left[goes_on], self._next(slots[goes_on])
        return rows

    def add(self, keys: Keys) -> Keys:
        """Give rows to different keys that have none, and return the rows."""
        rows = np.arange(self.size, self.size + len(keys))
        self._keys[rows] = keys
        self.size += len(keys)
        self._fill(rows)
        return rows

    def keep(self, rows: Keys) -> None:
        """Keep these rows, ascending, and close the gaps."""
        self._keys[: len(rows)] = self._keys[rows]
        self.size = len(rows)
        self._slots.fill(-1)
        self._fill(np.arange(len(rows)))

    def _fill(self, rows: Keys) -> None:
        slots = _hashes(self._keys[rows], self._num_bits)
        while len(rows):
            is_free = self._slots[slots] < 0
            self._slots[slots[is_free]] = rows[is_free]  # one of several rows wins
            is_left = self._slots[slots] != rows
            rows, slots = rows[is_left], self._next(slots[is_left])

    def _next(self, slots: Keys) -> Keys:
        return (slots + 1) & (len(self._slots) - 1)


class LostKeys:
    """The keys that lost entries: exact for the keys that come first, by a hash for the others.

    Args:
        num_marks: memory for the hashes, in bytes, rounded down to a power of 2, at least 8.
        first: the keys that come first.
    """

    def __init__(self, num_marks: int, first: Keys) -> None:
        self._num_bits = max(3, num_marks.bit_length() - 1)
        self._marks = np.zeros(2**self._num_bits, dtype=bool)
        self._first = np.unique(first)
        self._lost_first = np.zeros(len(self._first) + 1, dtype=bool)

    @property
    def num_bytes(self) -> int:
        """Memory of the marks, in bytes."""
        return self._marks.nbytes

    def add(self, keys: Keys) -> None:
        """Add keys."""
        self._marks[_hashes(keys, self._num_bits)] = True
        self._lost_first[:-1] |= np.isin(self._first, keys)

    def has(self, keys: Keys) -> NDArray[np.bool_]:
        """(U,), whether a key was added. It can be True by chance for a key that does not come first, never False."""
        place = np.searchsorted(self._first, keys)
        comes_first: Mask = np.append(self._first, -1)[place] == keys
        return np.where(comes_first, self._lost_first[place], self._marks[_hashes(keys, self._num_bits)])
