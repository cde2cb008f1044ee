"""EvidenceStore: keeps the inputs that explain the numbers of a pair of labels, in bounded memory.

The likely labels of an input form pairs, and the input competes for a place in three rankings:
- overlap of a pair: largest √(p_i p_j);
- confidence in a label: largest p_i;
- suspects of a pair: the target is one of its labels and the prediction is the other, smallest probability of the target first.

The store processes the inputs in chunks whose limits depend only on the number of inputs. So what it keeps does not depend on the
batches.

Shapes: K labels, N inputs of a batch, m likely labels per input, P = m (m - 1) / 2 pairs per input.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.input_table import BYTES_PER_INPUT, NUM_LIKELY, Inputs, InputTable
from lightning_cossim.capture.evidence.selection import (
    CONFIDENT_FIRST,
    CONFIDENT_SECOND,
    OVERLAP,
    SUSPECT_LABEL,
    KeptInputs,
    Selection,
    merged,
)
from lightning_cossim.capture.evidence.suspects import BYTES_PER_SUSPECT, NUM_SUSPECTS, Suspects, suspect_entries
from lightning_cossim.capture.evidence.top_entries import MAX_CHUNK, TopEntries, best_of, entries_of, ids_of, renumbered

__all__ = ["EvidenceStore", "Inputs", "Selection", "merged"]

_NUM_MATTERING: Final = 200
"""Number of pairs that matter: those with the largest joint mass."""
_FIRST_CHUNK: Final = 64
_BYTES_PER_ENTRY: Final = 112
"""Scratch for an entry of the chunk that is processed, in bytes."""

Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
Entries = NDArray[np.uint64]
Competing = tuple[Keys, Scores, NDArray[np.int64]]
"""Keys, scores, and the place of each entry's input among the inputs they came from."""


class _Rooms(NamedTuple):
    """All parts of a store."""

    table: InputTable
    overlap: TopEntries
    confident: TopEntries
    suspects: Suspects
    chunk: int
    """Number of inputs that are processed together."""

    @property
    def num_bytes(self) -> int:
        scratch = self.chunk * _num_pairs(NUM_LIKELY) * _BYTES_PER_ENTRY
        return scratch + sum(part.num_bytes for part in (self.table, self.overlap, self.confident, self.suspects))


class EvidenceStore:
    """Keeps the inputs that explain the numbers of a pair of labels, in bounded memory.

    Args:
        num_labels: number of labels K, at least 2.
        per_pair: inputs kept for each pair or label, at least 1. Suspects of a pair are up to 100.
        max_bytes: memory in bytes; with too few for one input, the store keeps nothing.
        first: pairs that come first when memory is short, for example those that the last report flagged. After them come the
            pairs with the largest joint mass, the sum of √(p_i p_j).
    """

    def __init__(self, num_labels: int, *, per_pair: int, max_bytes: int, first: Collection[tuple[int, int]] = ()) -> None:
        self._num_labels, self._num_pairs = num_labels, _num_pairs(num_labels)
        valid = {(min(pair), max(pair)) for pair in first if 0 <= min(pair) < max(pair) < num_labels}
        self._first = _keys_of(sorted(valid))
        self._rooms = _rooms(num_labels, per_pair, max_bytes, sorted(valid))
        self._places = np.triu_indices(min(NUM_LIKELY, num_labels), 1)
        """(P,) twice, the places of the likely labels that form each pair."""
        self._pending = self._num_absorbed = 0
        self._goal = _FIRST_CHUNK
        if self._rooms is not None:
            self._goal = min(_FIRST_CHUNK, self._rooms.chunk)
            if self._num_pairs <= _NUM_MATTERING:
                self._watch(self._rooms, np.arange(self._num_pairs))

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays and of the largest scratch, in bytes; at most `max_bytes`."""
        return self._rooms.num_bytes if self._rooms else 0

    def add(self, inputs: Inputs) -> NDArray[np.int64]:
        """Add the inputs of a batch.

        Returns:
            The rows of the batch, ascending, that rank high enough at present in a pair that matters, or in one of its labels.
            Pairs that matter are those in `first`, and 200 pairs with the largest joint mass. As long as it is not known which
            ones these are, all do.
        """
        if self._rooms is None:
            return np.zeros(0, dtype=np.int64)
        rows, done, num = [np.zeros(0, dtype=np.int64)], 0, len(inputs.labels)
        while done < num:
            size = min(num - done, self._goal - self._pending)
            self._rooms.table.append(inputs, done, size)
            rows.append(done + self._entering(self._rooms, size))
            self._pending += size
            done += size
            if self._pending == self._goal:
                self._absorb(self._rooms)
        return np.concatenate(rows)

    def _entering(self, rooms: _Rooms, num: int) -> NDArray[np.int64]:
        """Which of the last `num` inputs rank high enough in a pair that matters, or in one of its labels."""
        last = slice(rooms.table.size - num, rooms.table.size)
        order_of = rooms.table.columns.order
        orders, enters = order_of[last], np.zeros(num, dtype=bool)
        for top, competing in ((rooms.overlap, self._overlaps(last)), (rooms.confident, self._confidences(last))):
            enters[top.entering(*competing, orders, order_of)] = True
        keys, probs, local = self._wrong(last)
        enters[rooms.suspects.entering(keys, suspect_entries(probs, local), local, orders, order_of)] = True
        return np.flatnonzero(enters)

    # Entries of inputs

    def _columns(self, part: slice) -> Inputs:
        assert self._rooms is not None
        return Inputs(*(column[part] for column in self._rooms.table.columns))

    def _overlaps(self, part: slice) -> Competing:
        """Keys and scores of the pairs of all likely labels, (P · N,) each."""
        columns = self._columns(part)
        first, second = self._places
        labels, roots = np.ascontiguousarray(columns.labels.T, dtype=np.int64), np.sqrt(columns.probs.T)
        one, other = labels[first], labels[second]
        keys = _pair_keys(np.minimum(one, other), np.maximum(one, other))
        return keys.ravel(), (roots[first] * roots[second]).ravel(), _repeated(len(columns.labels), len(first))

    def _confidences(self, part: slice) -> Competing:
        """Labels and probabilities of all likely labels, (m · N,) each."""
        labels, probs = self._columns(part)[:2]
        return labels.T.astype(np.int64).ravel(), probs.T.ravel(), _repeated(*labels.shape)

    def _wrong(self, part: slice) -> Competing:
        """Keys and probabilities of the target of the inputs whose target is known and not predicted."""
        columns = self._columns(part)
        is_known = (columns.target >= 0) & (columns.probs[:, 0] >= 0)
        local = np.flatnonzero(is_known & (columns.target != columns.labels[:, 0]))
        columns = Inputs(*(column[local] for column in columns))
        target, predicted = columns.target.astype(np.int64), columns.labels[:, 0].astype(np.int64)
        probs = _prob_of(columns, target)
        is_valid = (probs >= 0) & (probs < np.inf)
        keys = _pair_keys(np.minimum(target, predicted), np.maximum(target, predicted))
        return keys[is_valid], probs[is_valid], local[is_valid]

    # Chunks

    def _absorb(self, rooms: _Rooms) -> None:
        """Let the pending inputs compete, and make room for the next chunk."""
        table = rooms.table
        start = table.size - self._pending
        part, ids = slice(start, table.size), np.arange(start, table.size)
        table.sort(start)
        competing = self._overlaps(part), self._confidences(part), self._wrong(part)
        new_ids = table.sort(0)
        if new_ids is not None:
            self._renumber(rooms, new_ids)
            ids = new_ids[ids]
        for top, (keys, scores, local) in zip((rooms.overlap, rooms.confident), competing[:2], strict=True):
            top.add(keys, scores, local, ids)
        keys, probs, local = competing[2]
        rooms.suspects.add(keys, suspect_entries(probs, ids[local]))
        self._num_absorbed += 1
        self._goal, self._pending = min(rooms.chunk, max(_FIRST_CHUNK, table.num_seen)), 0
        if self._num_pairs > _NUM_MATTERING and self._num_absorbed.bit_count() == 1:
            self._watch(rooms, np.union1d(rooms.overlap.heaviest(_NUM_MATTERING), self._first))
        if table.size + self._goal > table.capacity:
            self._drop_unused(rooms)

    @staticmethod
    def _renumber(rooms: _Rooms, new_ids: NDArray[Any]) -> None:
        for part in (rooms.overlap, rooms.confident, rooms.suspects):
            part.renumber(new_ids)

    @staticmethod
    def _watch(rooms: _Rooms, keys: Keys) -> None:
        rooms.overlap.watch(keys)
        rooms.suspects.watch(keys)
        rooms.confident.watch(np.unique(_labels_of(keys)))

    def _drop_unused(self, rooms: _Rooms) -> None:
        """Drop the inputs that no ranking refers to. If too many are left, the lightest pairs and labels lose their entries."""
        table = rooms.table
        holders: list[TopEntries | Suspects] = [rooms.overlap, rooms.confident, rooms.suspects]
        rooms.suspects.compact()
        while True:
            used = np.zeros(table.size, dtype=bool)
            for holder in holders:
                holder.mark(used)
            if int(used.sum()) <= table.capacity * 3 // 4:
                break
            max(holders, key=lambda holder: holder.num_entries()).evict()
        self._renumber(rooms, np.cumsum(used, dtype=np.int64) - 1)
        table.keep(np.flatnonzero(used))

    # What is kept

    def used(self, *, only_mattering: bool = False) -> NDArray[np.int64]:
        """The numbers of the inputs that a ranking refers to, ascending. An input's number counts the inputs added before it.

        Args:
            only_mattering: whether only the rankings of pairs that matter count, and of their labels.
        """
        if self._rooms is None:
            return np.zeros(0, dtype=np.int64)
        rooms, is_used = self._rooms, np.zeros(self._rooms.table.size, dtype=bool)
        is_used[len(is_used) - self._pending :] = True
        watched, labels = rooms.overlap.watched, rooms.confident.watched
        if only_mattering and watched is not None and labels is not None:
            parts = rooms.overlap.best(watched), rooms.confident.best(labels), rooms.suspects.best(watched)
            found = np.concatenate([part.ravel() for part in parts])
            is_used[ids_of(found[found > 0])] = True
        else:
            for holder in (rooms.overlap, rooms.confident, rooms.suspects):
                holder.mark(is_used)
        return np.sort(rooms.table.numbers[: rooms.table.size][is_used])

    def select(self, pairs: Sequence[tuple[int, int]]) -> Selection:
        """What is kept for these pairs.

        Args:
            pairs: pairs of different labels, in either order.
        """
        pairs = tuple((min(pair), max(pair)) for pair in pairs)
        if self._rooms is None:
            columns = (np.zeros(0, dtype=np.int64) for _ in KeptInputs._fields)
            return Selection(pairs, np.zeros(len(pairs), dtype=bool), KeptInputs(*columns))
        rooms, keys, labels = self._rooms, _keys_of(pairs), np.array(pairs, dtype=np.int64).reshape(-1, 2)
        order = np.argsort(rooms.table.columns.order[: rooms.table.size], kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        lists = {
            OVERLAP: self._best(rooms.overlap, self._overlaps, keys, rank),
            CONFIDENT_FIRST: self._best(rooms.confident, self._confidences, labels[:, 0], rank),
            CONFIDENT_SECOND: self._best(rooms.confident, self._confidences, labels[:, 1], rank),
            SUSPECT_LABEL: self._best(rooms.suspects, self._wrong, keys, rank),
        }
        is_partial = rooms.overlap.is_partial(keys)
        is_partial |= rooms.confident.is_partial(labels.ravel()).reshape(-1, 2).any(axis=1)
        return Selection(pairs, ~is_partial, self._kept_inputs(lists, labels, order))

    def _best(self, holder: TopEntries | Suspects, source: Callable[[slice], Competing], keys: Keys, rank: Keys) -> Entries:
        """The best entries of each key, pending ones included, largest first. Their ids are ranks among all orders."""
        assert self._rooms is not None
        size = self._rooms.table.size
        unique, inverse = np.unique(keys, return_inverse=True)
        stored = renumbered(holder.best(unique), rank)
        start = size - self._pending
        new_keys, scores, local = source(slice(start, size))
        is_asked = np.isin(new_keys, unique) & ((scores >= 0) if holder is self._rooms.suspects else (scores > 0))
        to_entries = suspect_entries if holder is self._rooms.suspects else entries_of
        new = to_entries(scores[is_asked], rank[start + local[is_asked]])
        which = np.concatenate([np.repeat(np.arange(len(unique)), stored.shape[1]), np.searchsorted(unique, new_keys[is_asked])])
        entries = np.concatenate([stored.ravel(), new])
        return best_of(which[entries > 0], entries[entries > 0], len(unique), stored.shape[1])[inverse]

    def _kept_inputs(self, lists: dict[int, Entries], labels: Keys, by_rank: Keys) -> KeptInputs:
        """The entries of all lists (number of pairs, width) each as columns; `by_rank` has the id of each rank."""
        assert self._rooms is not None
        found = []
        for which, table in lists.items():
            pair, place = np.nonzero(table)
            entries = table[pair, place]
            bits = (entries >> np.uint64(32)).astype(np.uint32)
            value = (~bits if which == SUSPECT_LABEL else bits).view(np.float32)
            ids = by_rank[ids_of(entries)]
            mine = Inputs(*(column[ids] for column in self._rooms.table.columns))
            found.append(
                KeptInputs(
                    pair.astype(np.int32),
                    np.full(len(pair), which, dtype=np.int8),
                    value,
                    _prob_of(mine, labels[pair, 0]),
                    _prob_of(mine, labels[pair, 1]),
                    mine.labels[:, 0],
                    *mine[2:3],
                    *mine[4:],
                    self._rooms.table.numbers[ids],
                    np.zeros(len(pair), dtype=np.int32),
                )
            )
        inputs = KeptInputs(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        return inputs.at(np.argsort(inputs.pair, kind="stable"))


def _rooms(num_labels: int, per_pair: int, max_bytes: int, first: Sequence[tuple[int, int]]) -> _Rooms | None:
    """The parts of a store, with shares of its memory; None if there is too little for one input."""
    num_likely, num_pairs = min(NUM_LIKELY, num_labels), _num_pairs(num_labels)
    labels = np.unique(np.array(first, dtype=np.int64))
    overlap = TopEntries(num_pairs, per_pair, max_bytes * 5 // 16, _keys_of(first))
    confident = TopEntries(num_labels, per_pair, max_bytes // 8, labels)
    scratch = min(max_bytes // 8, MAX_CHUNK * _num_pairs(NUM_LIKELY) * _BYTES_PER_ENTRY)
    left = max(0, max_bytes - overlap.num_bytes - confident.num_bytes - scratch)
    # Each suspect refers to an input, so both get memory for equal numbers.
    num = left // (BYTES_PER_SUSPECT + 1 + BYTES_PER_INPUT)
    num_suspects = min(num, num_pairs * NUM_SUSPECTS + 4 * MAX_CHUNK)
    suspects = Suspects(num_suspects, _keys_of(first), overlap)
    num_entries = per_pair * (num_pairs + num_labels) + num_suspects
    num_inputs = min((left - suspects.num_bytes) // BYTES_PER_INPUT, (num_entries + 2 * MAX_CHUNK) * 4 // 3)
    limits = [scratch // (_num_pairs(NUM_LIKELY) * _BYTES_PER_ENTRY), num_suspects // 4, num_inputs // 4]
    limits += [] if overlap.is_dense else [overlap.num_rows // (2 * _num_pairs(num_likely))]
    limits += [] if confident.is_dense else [confident.num_rows // (2 * num_likely)]
    chunk = min(MAX_CHUNK, *limits)
    return _Rooms(InputTable(num_labels, num_inputs), overlap, confident, suspects, chunk) if chunk > 0 else None


def _num_pairs(num: int) -> int:
    return num * (num - 1) // 2


def _pair_keys(smaller: Keys, larger: Keys) -> Keys:
    """The keys of pairs: 0 for (0, 1), 1 for (0, 2), 2 for (1, 2), 3 for (0, 3) and so on. They have no gaps."""
    return (larger * (larger - 1) >> 1) + smaller


def _repeated(num: int, times: int) -> Keys:
    """0 to `num` - 1, several times (times · num,)."""
    repeated = np.empty((times, num), dtype=np.int64)
    repeated[:] = np.arange(num)
    return repeated.ravel()


def _keys_of(pairs: Sequence[tuple[int, int]]) -> Keys:
    labels = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return _pair_keys(labels[:, 0], labels[:, 1])


def _labels_of(keys: Keys) -> Keys:
    """Both labels of each pair (2, number of pairs)."""
    larger = ((1 + np.sqrt(1 + 8 * keys.astype(np.float64))) / 2).astype(np.int64)
    larger -= larger * (larger - 1) // 2 > keys  # the root is rounded
    larger += larger * (larger + 1) // 2 <= keys
    return np.stack([keys - larger * (larger - 1) // 2, larger])


def _prob_of(inputs: Inputs, labels: Keys) -> Scores:
    """(N,), the probability of one label for each input; NaN if the label is neither among the likely ones nor the target."""
    is_label = inputs.labels == labels[:, None]
    likely = inputs.probs[np.arange(len(labels)), is_label.argmax(axis=1)]
    other = np.where(inputs.target == labels, inputs.target_prob, np.float32(np.nan))
    return np.where(is_label.any(axis=1), likely, other)
