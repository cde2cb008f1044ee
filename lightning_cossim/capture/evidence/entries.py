"""Entries: an input's place in a ranking, as one number. Keys: a pair of labels, or a label, as one number.

An entry is a uint64 that sorts by score and then by the order of the inputs: its upper half has the bits of the score (float32,
not negative), its lower half counts down with the id of the input. A larger entry is better, and 0 means none.

Shapes: E entries.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LOW",
    "Entries",
    "Keys",
    "Mask",
    "Scores",
    "best_of",
    "entries_of",
    "floors_of",
    "ids_of",
    "is_label",
    "key_of",
    "keys_of",
    "labels_of",
    "lightest_half",
    "num_keys_of",
    "rank_in_group",
    "renumbered",
]

Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
Entries = NDArray[np.uint64]
Mask = NDArray[np.bool_]

LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


# Entries


def entries_of(scores: Scores, ids: NDArray[Any]) -> Entries:
    """(E,), entries of the scores, at least 0, and the ids of the inputs, in [0, 2³² - 1)."""
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return (bits << _HALF) | (LOW - ids.astype(np.uint64))


def ids_of(entries: Entries) -> Keys:
    """The ids of the inputs of entries that are not 0."""
    return (LOW - (entries & LOW)).astype(np.int64)


def floors_of(entries: Entries) -> Scores:
    """The scores of entries."""
    return (entries >> _HALF).astype(np.uint32).view(np.float32)


def renumbered(entries: Entries, new_ids: NDArray[Any]) -> Entries:
    """The entries with new ids, where `new_ids` is indexed by the old ones. A 0 remains 0."""
    present = entries > 0
    found = entries[present]
    renewed = np.zeros_like(entries)
    renewed[present] = (found & ~LOW) | (LOW - new_ids[ids_of(found)].astype(np.uint64))
    return renewed


def rank_in_group(groups: NDArray[Any]) -> Keys:
    """The number of equal values before each one. Equal values must stand together."""
    place = np.arange(len(groups))
    is_first = np.ones(len(groups), dtype=bool)
    is_first[1:] = groups[1:] != groups[:-1]
    return place - np.maximum.accumulate(np.where(is_first, place, 0))


def best_of(groups: NDArray[Any], entries: Entries, num: int, width: int) -> Entries:
    """The best entries of each group.

    Args:
        groups: (E,), the group of each entry, in [0, `num`).
        entries: (E,).
        num: number of groups.
        width: number of entries per group, at least 1.

    Returns:
        (num, width), largest first; 0 where a group has fewer.
    """
    order = np.lexsort((~entries, groups))
    groups, entries = groups[order], entries[order]
    rank = rank_in_group(groups)
    found = np.zeros((num, width), dtype=np.uint64)
    fits = rank < width
    found[groups[fits], rank[fits]] = entries[fits]
    return found


# Keys


def num_keys_of(num_labels: int) -> int:
    """The number of keys: of all pairs, and of all labels."""
    return num_labels * (num_labels + 1) // 2


def key_of(one: Keys, other: Keys) -> Keys:
    """The keys of pairs in either order; the key of a label is that of the label with itself.

    0 for (0, 0), 1 for (0, 1), 2 for (1, 1), 3 for (0, 2) and so on, without gaps: l (l + 1) / 2 + s of the larger l and the
    smaller s. With the labels exchanged, this is never more.
    """
    keys: Keys = np.maximum((one * (one + 1) >> 1) + other, (other * (other + 1) >> 1) + one)
    return keys


def keys_of(pairs: Sequence[tuple[int, int]]) -> Keys:
    """The keys of pairs of labels."""
    labels = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return key_of(labels[:, 0], labels[:, 1])


def labels_of(keys: Keys) -> tuple[Keys, Keys]:
    """The smaller and the larger label of each key."""
    larger = ((np.sqrt(1 + 8 * keys.astype(np.float64)) - 1) / 2).astype(np.int64)
    larger -= larger * (larger + 1) // 2 > keys  # the root is rounded
    larger += (larger + 1) * (larger + 2) // 2 <= keys
    return keys - larger * (larger + 1) // 2, larger


def is_label(keys: Keys) -> Mask:
    """Whether each key is that of a label, not of a pair."""
    smaller, larger = labels_of(keys)
    is_same: Mask = smaller == larger
    return is_same


def lightest_half(masses: NDArray[np.float64], comes_first: Mask) -> Keys:
    """The places of at least one and about half of the keys, those with the smallest masses. Keys that come first go last."""
    num, num_first = len(masses), int(comes_first.sum())
    num_dropped = num - (max(num // 2, num_first) if num_first < num else num // 2)
    return np.argpartition(np.where(comes_first, np.inf, masses), num_dropped - 1)[:num_dropped]
