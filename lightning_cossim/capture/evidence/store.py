"""EvidenceStore: keeps the inputs that explain the numbers of a pair of labels, in bounded memory.

The likely labels of an input form pairs, and the input competes for a place in three rankings:
- overlap of a pair: largest √(p_i p_j);
- confidence in a label: largest p_i, which is the overlap of the label with itself, so both are in one `TopEntries`;
- suspects of a pair: the target is one of its labels and the prediction is the other, smallest probability of the target first.

Invariant: after each batch, each ranking has the best inputs of all, unless its pair or label is marked as partial. Inputs with
equal scores stand in their order. So what is kept does not depend on the batches, as long as memory suffices.

Shapes: K labels, N inputs of a batch, m likely labels per input, P = m (m + 1) / 2 pairs per input.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import (
    Entries,
    Keys,
    Mask,
    Scores,
    floors_of,
    ids_of,
    key_of,
    keys_of,
    labels_of,
    num_keys_of,
)
from lightning_cossim.capture.evidence.input_table import BYTES_PER_INPUT, NUM_LIKELY, Inputs, InputTable, probs_of_labels
from lightning_cossim.capture.evidence.selection import (
    CONFIDENT_FIRST,
    CONFIDENT_SECOND,
    OVERLAP,
    SUSPECT_LABEL,
    KeptInputs,
    Selection,
    merged,
)
from lightning_cossim.capture.evidence.suspects import (
    BYTES_PER_SUSPECT,
    NUM_SHOWN,
    NUM_SUSPECTS,
    Suspects,
    prob_of,
    suspect_scores,
)
from lightning_cossim.capture.evidence.top_entries import MAX_CHUNK, TopEntries

__all__ = ["EvidenceStore", "Inputs", "Selection", "merged"]

_NUM_MATTERING: Final = 200
"""Number of pairs that matter: those with the largest joint mass."""
_BYTES_PER_INPUT_ADDED: Final = num_keys_of(NUM_LIKELY) * 112
"""Scratch for an input that is added, in bytes."""


class _Rooms(NamedTuple):
    """All parts of a store."""

    table: InputTable
    ranked: TopEntries
    """Overlap and confidence."""
    suspects: Suspects
    chunk: int
    """Maximum number of inputs that are processed together."""

    @property
    def num_bytes(self) -> int:
        return self.chunk * _BYTES_PER_INPUT_ADDED + sum(part.num_bytes for part in self[:3])


class Entered(NamedTuple):
    """Rows of a batch, ascending, that are now among the best inputs of a pair that matters, or of one of its labels.

    Pairs that matter are those in `first`, and 200 pairs with the largest joint mass so far.
    """

    kept: NDArray[np.int64]
    shown: NDArray[np.int64]
    """The same without those that are only suspects after the first 16 of their pair, which no report shows."""


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
        self._num_labels, self._num_seen = num_labels, 0
        self._first = keys_of([pair for pair in first if 0 <= min(pair) < max(pair) < num_labels])
        self._rooms = _rooms(num_labels, per_pair, max_bytes, _with_labels(self._first))
        self._mattering: Keys | None = None
        """The keys of the pairs that matter and of their labels, ascending; None means all."""
        self._next_look = NUM_LIKELY * NUM_LIKELY
        """Number of inputs after which it is found out again which pairs matter."""

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays and of the largest scratch, in bytes; at most `max_bytes`."""
        return self._rooms.num_bytes if self._rooms else 0

    # What comes in

    def add(self, inputs: Inputs) -> Entered:
        """Add the inputs of a batch.

        Returns:
            The rows of the batch that entered a ranking of a pair that matters.
        """
        none = np.zeros(0, dtype=np.int64)
        parts = [Entered(none, none)]
        if self._rooms is not None:
            for first in range(0, len(inputs.labels), self._rooms.chunk):
                chunk = inputs if len(inputs.labels) <= self._rooms.chunk else inputs.at(slice(first, first + self._rooms.chunk))
                entered = self._add(self._rooms, chunk.valid(self._num_labels))
                parts.append(Entered(first + entered.kept, first + entered.shown))
                self._num_seen += len(chunk.labels)
        return parts[-1] if len(parts) <= 2 else Entered(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))

    def _add(self, rooms: _Rooms, inputs: Inputs) -> Entered:
        num = len(inputs.order)
        order = None if (inputs.order[1:] >= inputs.order[:-1]).all() else np.argsort(inputs.order, kind="stable")
        inputs = inputs if order is None else inputs.at(order)
        if rooms.table.size + num > rooms.table.capacity:
            self._drop_unused(rooms)
        with_ties = bool(inputs.order[0] < rooms.table.last_order)
        candidates = rooms.ranked.candidates(*_overlaps(inputs), with_ties=with_ties)
        wrong_keys, wrong_scores, wrong = _wrong(inputs)
        is_suspect = rooms.suspects.candidates(wrong_keys, wrong_scores, with_ties=with_ties)
        wrong_keys, wrong_scores, wrong = wrong_keys[is_suspect], wrong_scores[is_suspect], wrong[is_suspect]
        is_shown = rooms.suspects.shown(wrong_keys, wrong_scores, with_ties=with_ties)
        ids = self._ids(rooms, inputs, order, candidates.local, wrong)
        keys, entered = rooms.ranked.insert(candidates, ids)
        rooms.suspects.add(wrong_keys, wrong_scores, ids[wrong])
        self._look(rooms, num)
        entered, matters = entered[self._matter(keys)], self._matter(wrong_keys)
        return Entered(*(_marked(num, order, entered, wrong[which]) for which in (matters, matters & is_shown)))

    def _ids(self, rooms: _Rooms, inputs: Inputs, order: Keys | None, *needed: Keys) -> Keys:
        """Put the inputs of a batch that are needed into the table, and return the id of each; -1 if it is not needed."""
        ids = np.full(len(inputs.order), -1)
        kept = _marked(len(ids), None, *needed)
        if len(kept):
            numbers = self._num_seen + (kept if order is None else order[kept])
            ids[kept], new_ids = rooms.table.append(inputs if len(kept) == len(ids) else inputs.at(kept), numbers)
            if new_ids is not None:
                rooms.ranked.renumber(new_ids)
                rooms.suspects.renumber(new_ids)
        return ids

    def _look(self, rooms: _Rooms, num: int) -> None:
        """Find out which pairs matter, each time the number of inputs has doubled."""
        if self._num_seen + num >= self._next_look and num_keys_of(self._num_labels - 1) > _NUM_MATTERING:
            self._next_look = 2 * (self._num_seen + num)
            self._mattering = _with_labels(np.union1d(rooms.ranked.heaviest_pairs(_NUM_MATTERING), self._first))

    def _matter(self, keys: Keys) -> Mask:
        if self._mattering is None:
            return np.ones(len(keys), dtype=bool)
        place = np.searchsorted(self._mattering, keys)
        matters: Mask = np.append(self._mattering, -1)[place] == keys
        return matters

    def _drop_unused(self, rooms: _Rooms) -> None:
        """Drop the inputs that no ranking refers to. If too many are left, the lightest pairs and labels lose their entries."""
        rooms.suspects.sort()
        while True:
            used = self._used(rooms)
            if int(used.sum()) <= rooms.table.capacity * 3 // 4:
                break
            if rooms.suspects.num_entries() > rooms.ranked.num_entries():
                rooms.suspects.evict()
            else:
                rooms.ranked.evict()
        new_ids = np.cumsum(used) - 1
        rooms.ranked.renumber(new_ids)
        rooms.suspects.renumber(new_ids)
        rooms.table.keep(np.flatnonzero(used))

    # What is kept

    @staticmethod
    def _used(rooms: _Rooms) -> Mask:
        used = np.zeros(rooms.table.size, dtype=bool)
        rooms.ranked.mark(used)
        rooms.suspects.mark(used)
        return used

    def used(self, *, only_mattering: bool = False) -> NDArray[np.int64]:
        """The numbers of the inputs that a ranking refers to, ascending. An input's number counts the inputs added before it.

        Args:
            only_mattering: whether only the rankings of pairs that matter count, and of their labels; of suspects, the first 16.
        """
        if self._rooms is None:
            return np.zeros(0, dtype=np.int64)
        used = self._used(self._rooms)
        if only_mattering:
            used[:] = False
            ranked, suspects = self._rooms.ranked, self._rooms.suspects
            parts = [suspects.best(suspects.pairs() if self._mattering is None else self._mattering, NUM_SHOWN)]
            if self._mattering is None:
                ranked.mark(used)
            else:
                parts.append(ranked.best(self._mattering))
            for part in parts:
                used[ids_of(part[part > 0])] = True
        return np.sort(self._rooms.table.numbers[used])

    def select(self, pairs: Sequence[tuple[int, int]]) -> Selection:
        """What is kept for these pairs.

        Args:
            pairs: pairs of different labels, in either order.
        """
        pairs = tuple((min(pair), max(pair)) for pair in pairs)
        if self._rooms is None:
            columns = (np.zeros(0, dtype=np.int64) for _ in KeptInputs._fields)
            return Selection(pairs, np.zeros(len(pairs), dtype=bool), KeptInputs(*columns))
        first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        keys = {OVERLAP: key_of(first, second), CONFIDENT_FIRST: key_of(first, first), CONFIDENT_SECOND: key_of(second, second)}
        lists = {which: self._rooms.ranked.best(of_pairs) for which, of_pairs in keys.items()}
        lists[SUSPECT_LABEL] = self._rooms.suspects.best(keys[OVERLAP])
        is_partial = np.logical_or.reduce([self._rooms.ranked.is_partial(of_pairs) for of_pairs in keys.values()])
        found = [_kept_inputs(self._rooms.table, which, entries, (first, second)) for which, entries in lists.items()]
        inputs = KeptInputs(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        return Selection(pairs, ~is_partial, inputs.at(np.argsort(inputs.pair, kind="stable")))


def _kept_inputs(table: InputTable, which: int, entries: Entries, labels: tuple[Keys, Keys]) -> KeptInputs:
    """The entries (number of pairs, width) of one list as columns."""
    pair, place = np.nonzero(entries)
    entries = entries[pair, place]
    ids = ids_of(entries)
    mine = table.columns.at(ids)
    return KeptInputs(
        pair=pair.astype(np.int32),
        which=np.full(len(pair), which, dtype=np.int8),
        value=prob_of(entries) if which == SUSPECT_LABEL else floors_of(entries),
        first_prob=probs_of_labels(table.columns, ids, labels[0][pair]),
        second_prob=probs_of_labels(table.columns, ids, labels[1][pair]),
        predicted=mine.labels[:, 0],
        **{name: getattr(mine, name) for name in ("target", "loader", "batch", "row", "position", "index", "order")},
        number=table.numbers[ids],
        process=np.zeros(len(pair), dtype=np.int32),
    )


def _marked(num: int, order: Keys | None, *places: Keys) -> Keys:
    """The rows at some places of a batch in order, ascending and each once."""
    is_marked = np.zeros(num, dtype=bool)
    for some in places:
        is_marked[some] = True
    return is_marked.nonzero()[0] if order is None else np.sort(order[is_marked])


@cache
def _places(num: int) -> tuple[Keys, Keys]:
    """The places of both labels of each pair among `num` likely labels: first of a label with itself, then of different ones."""
    first, second = np.triu_indices(num, 1)
    return np.append(np.arange(num), first), np.append(np.arange(num), second)


def _overlaps(inputs: Inputs) -> tuple[Keys, Scores]:
    """Keys and scores (P, N) of all likely labels, and of their pairs."""
    num = inputs.labels.shape[1]
    first, second = _places(num)
    labels, probs = inputs.labels.T.astype(np.int64, order="C"), inputs.probs.T
    roots = np.sqrt(probs, order="C")
    scores = roots[first]
    scores *= roots[second]
    scores[:num] = probs
    steps = labels * (labels + 1) >> 1
    keys, exchanged = steps[first], steps[second]
    keys += labels[second]
    exchanged += labels[first]
    return np.maximum(keys, exchanged, out=keys), scores


def _wrong(inputs: Inputs) -> tuple[Keys, NDArray[np.uint32], Keys]:
    """Keys, scores and rows of the inputs whose target is known and not predicted."""
    rows = np.flatnonzero((inputs.target >= 0) & (inputs.target != inputs.labels[:, 0]) & (inputs.probs[:, 0] >= 0))
    target, predicted = inputs.target[rows].astype(np.int64), inputs.labels[rows, 0].astype(np.int64)
    probs = probs_of_labels(inputs, rows, target)
    is_valid = (probs >= 0) & (probs < np.inf)
    if not is_valid.all():
        target, predicted, probs, rows = target[is_valid], predicted[is_valid], probs[is_valid], rows[is_valid]
    return key_of(target, predicted), suspect_scores(probs), rows


def _with_labels(keys: Keys) -> Keys:
    """The keys of pairs and of their labels, ascending."""
    labels = np.concatenate(labels_of(keys))
    return np.union1d(keys, key_of(labels, labels))


def _rooms(num_labels: int, per_pair: int, max_bytes: int, first: Keys) -> _Rooms | None:
    """The parts of a store, with shares of its memory; None if there is too little for one input."""
    most = num_keys_of(num_labels)
    ranked = TopEntries(num_labels, per_pair, max_bytes * 7 // 16, first)
    scratch = min(max_bytes // 8, MAX_CHUNK * _BYTES_PER_INPUT_ADDED)
    left = max(0, max_bytes - ranked.num_bytes - scratch)
    # Each suspect refers to an input, so both get memory for equal numbers.
    num_suspects = min(left // (BYTES_PER_SUSPECT + BYTES_PER_INPUT + 1), most * NUM_SUSPECTS + 4 * MAX_CHUNK)
    suspects = Suspects(num_suspects, first, ranked)
    num_entries = per_pair * most + num_suspects
    num_inputs = min((left - suspects.num_bytes) // (BYTES_PER_INPUT + 1), (num_entries + 2 * MAX_CHUNK) * 4 // 3)
    limits = [MAX_CHUNK, scratch // _BYTES_PER_INPUT_ADDED, num_suspects // 4, num_inputs // 4]
    limits += [] if ranked.is_dense else [ranked.num_rows // (2 * num_keys_of(min(NUM_LIKELY, num_labels)))]
    chunk = min(limits)
    return _Rooms(InputTable(num_labels, num_inputs), ranked, suspects, chunk) if chunk > 0 else None
