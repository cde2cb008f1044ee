"""EvidenceKeeper: keeps the inputs behind the numbers of pairs while windows are open, and gives them to the reports.

For every input it computes the most likely labels, passes them with a reference to an `EvidenceStore`, and keeps a thumbnail or a
text of the inputs that the store wants. Shapes: N observed inputs of a batch, K labels.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.evidence.references import (
    DatasetOrder,
    Origins,
    has_sequences,
    ids_in,
    may_select,
    num_rows,
    origins_of,
)
from lightning_cossim.capture.evidence.selection import OVERLAP, KeptInputs, Selection, merged
from lightning_cossim.capture.evidence.store import EvidenceStore, Inputs
from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.capture.evidence.watched_pairs import MAX_WATCHED, WatchedPairs
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import InputError, in_one_line
from lightning_cossim.functional.confusion import known_targets
from lightning_cossim.functional.joint import NUM_LIKELY
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.most_likely import MostLikely, most_likely, probabilities_of
from lightning_cossim.report import WindowKey
from lightning_cossim.report.evidence import RANKINGS, Example, InputReference, PairEvidence, PairsWithEvidence, View

__all__ = ["NOWHERE", "EvidenceKeeper", "Place"]

T = TypeVar("T")
_ROW_BITS: Final = 32
_POSITION_BITS: Final = 22


class Place(NamedTuple):
    """Where a batch comes from."""

    loader: int | None = None
    """Index of the data loader."""
    batch: int | None = None
    """Index of the batch in its epoch."""
    order: DatasetOrder | None = None
    """The order in which the loader reads its dataset."""


NOWHERE: Final = Place()
"""The place of a batch of which nothing is known."""


class EvidenceKeeper:
    """Keeps inputs for every open window of one head.

    A failure costs the evidence of this process for the rest of the run and one warning, nothing else.

    Args:
        settings: what is kept.
        num_labels: K.
        link: from logits to probabilities.
        viewer: makes thumbnails and texts; None: only references are kept.
        warn: warns the user.
    """

    def __init__(
        self, settings: Evidence, num_labels: int, link: Link, viewer: Viewer | None, warn: Callable[[str], None]
    ) -> None:
        self._settings, self._num_labels, self._link, self._viewer, self._warn = settings, num_labels, link, viewer, warn
        self._windows: dict[WindowKey, _Window] = {}
        self._flagged: dict[WindowKey, Sequence[tuple[int, int]]] = {}
        """The flagged pairs of the last report of each window. Their inputs come first."""
        self._watched: dict[WindowKey, Sequence[tuple[int, int]]] = {}
        """The most important pairs for which the last report of each window had too few inputs."""
        self._works = True

    @classmethod
    def of(
        cls, settings: Evidence, head: Head, labels: LabelSelection, *, with_views: bool, warn: Callable[[str], None]
    ) -> "EvidenceKeeper":
        """The keeper for a head.

        Args:
            settings: what is kept.
            head: the head.
            labels: the names of the labels, which are the tokens of a language model.
            with_views: whether thumbnails and texts are kept.
            warn: warns the user.
        """
        names, has_names = labels.read_names(head.num_labels), labels.names is not None
        viewer = Viewer(settings, names, has_names=has_names, warn=warn) if with_views else None
        return cls(settings, head.num_labels, head.response.link, viewer, warn)

    def open(self, key: WindowKey) -> None:
        """Begin a window."""
        pairs = self._flagged.get(key, ()), self._watched.get(key, ())
        window = self._guarded(lambda: _Window(self._settings, self._num_labels, *pairs))
        self._windows[key] = window or self._empty()

    def drop(self, key: WindowKey) -> None:
        """End a window without a report."""
        self._windows.pop(key, None)

    def add(self, key: WindowKey, seen: Observation, batch: Any, place: Place) -> None:
        """Add the inputs of an observation, whose batch came from `place`."""
        logits = seen.logits
        if self._works and key in self._windows and logits is not None and len(logits):
            self._guarded(lambda: self._windows[key].add(seen, logits, batch, place, self._link, self._viewer))

    def close(
        self,
        key: WindowKey,
        pairs: Sequence[tuple[int, int]],
        flagged: Sequence[tuple[int, int]],
        names: Sequence[str],
        processes: Processes,
    ) -> PairsWithEvidence:
        """End a window, and return what all processes kept for some pairs. All processes must call this with the same pairs.

        Args:
            key: the window.
            pairs: rows of the head.
            flagged: the flagged pairs among them. In the next window with this key, their inputs come first.
            names: (K,), the names of the labels.
            processes: the processes that train together.
        """
        self._flagged[key] = flagged
        window = self._windows.pop(key, None) or self._empty()
        kept = self._guarded(lambda: window.select(pairs)) or self._empty().select(pairs)
        has_rows = all(processes.each(int(window.has_rows)))
        has_positions = all(processes.each(int(window.has_positions)))
        selection = merged(processes.gathered(kept if has_rows else kept.without_rows()), self._settings.per_pair)
        selection = selection if has_positions else selection.without_positions()
        self._watched[key] = _lacking(selection, self._settings.per_pair)
        mine = selection.inputs.number[selection.inputs.process == processes.rank].tolist()
        details = processes.gathered(window.details(mine, has_rows=has_rows, has_positions=has_positions))
        return PairsWithEvidence(pair for pair in _pairs_with(selection, details, names) if pair.examples)

    def _empty(self) -> "_Window":
        return _Window(Evidence(max_bytes=0), self._num_labels)

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """The result of the work; None if it fails, now or before."""
        if not self._works:
            return None
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - reports do not need evidence
            self._works = False
            for key in self._windows:
                self._windows[key] = self._empty()
            why = str(error) if isinstance(error, InputError) else in_one_line(error)
            self._warn(f"keeping inputs as evidence failed and is off for the rest of this run. The error: {why}")
            return None


class _Window:
    """What one window keeps: references in a store, and the identifiers, thumbnails and texts of the inputs that matter.

    Args:
        settings: what is kept.
        num_labels: K.
        first: pairs whose inputs come first.
        watched: pairs for which the store has too few inputs.
    """

    def __init__(
        self,
        settings: Evidence,
        num_labels: int,
        first: Sequence[tuple[int, int]] = (),
        watched: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._ids_key, rest = settings.ids_key, settings.max_bytes // 4
        self._ids, self._views = _Details[str](0 if self._ids_key is None else rest), _Details[View](rest)
        room = settings.max_bytes - self._ids.max_bytes - rest
        self._store = EvidenceStore(num_labels, per_pair=settings.per_pair, max_bytes=room, first=first)
        self._watched = WatchedPairs(watched, settings.per_pair) if watched and room else None
        self.has_rows = True
        """Whether the rows of the inputs are known.

        A call with another number of rows than its batch shows that the model selects or flattens inputs. Then a call with an
        equal number may have done so, too.
        """
        self.has_positions = True
        """Whether the places in a row of a call are those in the sequence, as far as is known. It is decided like `has_rows`."""
        self._num_added = 0
        self._before: dict[int | None, tuple[int, int]] = {}
        """The number of rows that each loader has given so far, and of the places in the calls on them."""

    def add(self, seen: Observation, logits: Tensor, batch: Any, place: Place, link: Link, viewer: Viewer | None) -> None:
        """Add the inputs of an observation."""
        rows = num_rows(batch)
        if rows is not None:
            self._check(seen.shape, rows, batch, logits.shape[1])
        origins = origins_of(seen.shape, seen.index, rows, place.order, -1 if place.batch is None else place.batch)
        likely = most_likely(logits, link, NUM_LIKELY)
        target_N, target_prob_N = _targets(seen, logits, likely)
        order_N = self._order(origins, seen, place.loader, rows or (seen.shape or (len(logits),))[0])
        counts_N = likely.probs[:, 0].isfinite() & likely.normalizer.isfinite()
        if seen.embedding is not None:
            counts_N &= seen.embedding.isfinite().all(dim=1)
        keep = None if counts_N.all() else counts_N.cpu()
        inputs = Inputs(
            labels=_array(likely.labels, keep),
            probs=_array(likely.probs.float(), keep),
            target=_array(target_N, keep),
            target_prob=_array(target_prob_N.float(), keep),
            loader=_array(_constant(place.loader, logits), keep),
            batch=_array(_constant(place.batch, logits), keep),
            row=_array(origins.row, keep),
            position=_array(origins.position, keep),
            index=_array(origins.index, keep),
            order=_array(order_N, keep),
        )
        entered = self._store.add(inputs)
        if self._watched is not None:
            probs = probabilities_of(self._watched.labels, logits, likely, link)
            entered = np.union1d(entered, self._watched.add(inputs, _array(probs, keep), self._num_added))
        numbers = (self._num_added + entered).tolist()
        self._num_added += len(inputs.labels)
        if self.has_rows:
            self._describe(numbers, inputs, entered, batch, rows, viewer)

    def _check(self, shape: tuple[int, ...], rows: int, batch: Any, num_labels: int) -> None:
        """Find out whether the rows and positions of this window are known."""
        self.has_rows &= shape[:1] == (rows,) and not may_select(batch, shape, num_labels)
        if self.has_positions and len(shape) == 2 and not has_sequences(batch, shape):
            self.has_positions, self._views = False, _Details[View](self._views.max_bytes)

    def _describe(
        self, numbers: list[int], inputs: Inputs, entered: Any, batch: Any, rows: int | None, viewer: Viewer | None
    ) -> None:
        """Keep the identifiers and the views of the inputs that entered the store for pairs that matter."""
        row_n, position_n = (torch.from_numpy(column[entered]).long() for column in (inputs.row, inputs.position))
        position_n = position_n if self.has_positions else torch.full_like(position_n, -1)
        if self._ids_key is not None and numbers:
            ids = ids_in(batch, self._ids_key, rows)
            if ids is not None:
                found = ((number, ids[row]) for number, row in zip(numbers, row_n.tolist(), strict=True) if row >= 0)
                self._ids.add(dict(found), sys.getsizeof, self._used)
        if viewer is not None and numbers:
            views = zip(numbers, viewer.views(batch, row_n, position_n), strict=True)
            found_views = {number: view for number, view in views if view is not None}
            self._views.add(found_views, _bytes_of, lambda: self._used(only_mattering=True))

    def _used(self, *, only_mattering: bool = False) -> Any:
        """The numbers of the inputs that are still kept."""
        used = self._store.used(only_mattering=only_mattering)
        return used if self._watched is None else np.union1d(used, self._watched.numbers)

    def select(self, pairs: Sequence[tuple[int, int]]) -> Selection:
        """What is kept for some pairs."""
        selection = self._store.select(pairs)
        more = None if self._watched is None else self._watched.select(selection.pairs)
        return selection if more is None else selection.with_inputs(more)

    def _order(self, origins: Origins, seen: Observation, loader: int | None, num_rows: int) -> Tensor:
        """The number of each input that decides ties, the same for every split of the data into batches and processes.

        It grows with the loader, the index in the dataset, and the position. If the index is unknown, the number of rows before
        stands for it; if the row is unknown too, the number of places before.
        """
        rows_before, places_before = self._before.get(loader, (0, 0))
        self._before[loader] = rows_before + num_rows, places_before + math.prod(seen.shape)
        place = torch.arange(len(origins.row), device="cpu") if seen.index is None else seen.index.cpu()
        row, position, known = (one.cpu() for one in origins)
        row = torch.where(row >= 0, rows_before + row, places_before + place)
        row = torch.where(known >= 0, known, row).clamp(max=2**_ROW_BITS - 1)
        position = position.clamp(0, 2**_POSITION_BITS - 1)
        return ((0 if loader is None else loader) << _ROW_BITS + _POSITION_BITS) + (row << _POSITION_BITS) + position

    def details(self, numbers: Sequence[int], *, has_rows: bool, has_positions: bool) -> tuple[dict[int, str], dict[int, View]]:
        """The identifiers and the views of some inputs, by their numbers.

        Args:
            numbers: the inputs.
            has_rows: whether the rows are known on all processes.
            has_positions: the same of the positions. Without them, texts with a marked position are left out.
        """
        if not has_rows:
            return {}, {}
        return self._ids.of(numbers), self._views.of(numbers) if has_positions == self.has_positions else {}


class _Details(Generic[T]):
    """Something about the inputs that a store refers to, within a number of bytes. Once it is full, new ones are left out.

    Args:
        max_bytes: bound on the sizes of all values together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self._size = max_bytes, 0
        self._kept: dict[int, tuple[T, int]] = {}
        self._wait = 0
        """The number of values to leave out before the values of dropped inputs are searched again."""

    def add(self, values: dict[int, T], size_of: Callable[[T], int], used: Callable[[], Any]) -> None:
        """Keep values, by the numbers of their inputs.

        Args:
            values: number of an input to its value.
            size_of: the bytes of a value.
            used: gives the numbers of the inputs that are still needed.
        """
        for number, value in values.items():
            size = size_of(value)
            if self._size + size > self.max_bytes:
                if self._wait:
                    self._wait -= 1
                    continue
                self._prune(used)
                self._wait = 0 if self._size + size <= self.max_bytes * 3 // 4 else len(self._kept)
            if self._size + size <= self.max_bytes:
                self._kept[number] = value, size
                self._size += size

    def _prune(self, used: Callable[[], Any]) -> None:
        needed = set(used().tolist())
        self._kept = {number: kept for number, kept in self._kept.items() if number in needed}
        self._size = sum(size for _, size in self._kept.values())

    def of(self, numbers: Sequence[int]) -> dict[int, T]:
        """The values of some inputs."""
        return {number: self._kept[number][0] for number in numbers if number in self._kept}


def _targets(seen: Observation, logits: Tensor, likely: MostLikely) -> tuple[Tensor, Tensor]:
    """The target of every input (N,), -1 if it is unknown, and its probability, NaN if it is unknown."""
    target_N = torch.full((len(logits),), -1, dtype=torch.int64, device=logits.device)
    if seen.targets is not None:
        target_N = known_targets(seen.targets.to(logits.device), logits.shape[1])
    z_N = logits.detach().gather(1, target_N.clamp(min=0)[:, None])[:, 0].to(likely.normalizer)
    return target_N, (z_N - likely.normalizer).exp().masked_fill(target_N < 0, torch.nan)


def _lacking(selection: Selection, per_pair: int) -> list[tuple[int, int]]:
    """The first pairs of a selection with fewer inputs than `per_pair` that add to their overlap without being watched."""
    inputs = selection.inputs
    of_store = inputs.pair[(inputs.which == OVERLAP) & (inputs.value >= 0)]
    num_P = np.bincount(of_store, minlength=len(selection.pairs))
    return [selection.pairs[place] for place in np.flatnonzero(num_P < per_pair)[:MAX_WATCHED]]


def _constant(value: int | None, logits: Tensor) -> Tensor:
    return torch.full((len(logits),), -1 if value is None else value, dtype=torch.int32, device="cpu")


def _array(column: Tensor, keep: Tensor | None) -> Any:
    column = column.detach().cpu()
    return (column if keep is None else column[keep]).numpy()


def _bytes_of(view: View) -> int:
    """The bytes of a view, with the objects around it."""
    return 200 + (0 if view.picture is None else view.picture.nbytes) + sys.getsizeof(view.text or "")


def _pairs_with(
    selection: Selection, details: Sequence[tuple[dict[int, str], dict[int, View]]], names: Sequence[str]
) -> Iterator[PairEvidence]:
    """The evidence of every pair of a selection.

    Args:
        selection: what all processes kept.
        details: for every process, the identifiers and the views of its inputs, by their numbers.
        names: (K,), the names of the labels.
    """
    for place, pair in enumerate(selection.pairs):
        examples = {ranking: tuple(_examples(selection.of(place, ranking), details)) for ranking in RANKINGS}
        yield PairEvidence(
            labels=pair,
            names=(names[pair[0]], names[pair[1]]),
            examples={ranking: found for ranking, found in examples.items() if found},
            is_complete=bool(selection.is_complete[place]),
        )


def _examples(inputs: KeptInputs, details: Sequence[tuple[dict[int, str], dict[int, View]]]) -> Iterator[Example]:
    for place in range(len(inputs.number)):
        one = {name: column[place].item() for name, column in zip(KeptInputs._fields, inputs, strict=True)}
        known = {name: None if one[name] < 0 else one[name] for name in ("loader", "batch", "row", "position", "index", "target")}
        ids, views = details[one["process"]]
        target, number = known.pop("target"), one["number"]
        yield Example(
            reference=InputReference(**known, id=ids.get(number), process=one["process"]),
            probabilities=(one["first_prob"], one["second_prob"]),
            predicted=one["predicted"],
            target=target,
            view=views.get(number),
        )
