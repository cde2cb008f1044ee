"""EvidenceWindow: the inputs that one window keeps, with references, identifiers, thumbnails and texts.

For every input it computes the most likely labels, and passes them with a reference to an `EvidenceStore`. It keeps details of
the inputs that the store takes for pairs that matter. Shapes: N observed inputs of a batch, K labels.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.capture.evidence.details import Details, bytes_of
from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.references import Origins, has_sequences, ids_in, may_select, num_rows, origins_of
from lightning_cossim.capture.evidence.selection import Selection
from lightning_cossim.capture.evidence.store import EvidenceStore, Inputs
from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.capture.evidence.watched_pairs import WatchedPairs
from lightning_cossim.capture.head import Observation
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.functional.confusion import known_targets
from lightning_cossim.functional.joint import NUM_LIKELY
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.most_likely import MostLikely, most_likely, probabilities_of
from lightning_cossim.report.evidence import View

__all__ = ["EvidenceWindow"]

_ROW_BITS: Final = 32
_POSITION_BITS: Final = 22


class EvidenceWindow:
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
        self._ids, self._views = Details[str](0 if self._ids_key is None else rest), Details[View](rest)
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
            self.has_positions, self._views = False, Details[View](self._views.max_bytes)

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
            self._views.add(found_views, bytes_of, lambda: self._used(only_mattering=True))

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


def _targets(seen: Observation, logits: Tensor, likely: MostLikely) -> tuple[Tensor, Tensor]:
    """The target of every input (N,), -1 if it is unknown, and its probability, NaN if it is unknown."""
    target_N = torch.full((len(logits),), -1, dtype=torch.int64, device=logits.device)
    if seen.targets is not None:
        target_N = known_targets(seen.targets.to(logits.device), logits.shape[1])
    z_N = logits.detach().gather(1, target_N.clamp(min=0)[:, None])[:, 0].to(likely.normalizer)
    return target_N, (z_N - likely.normalizer).exp().masked_fill(target_N < 0, torch.nan)


def _constant(value: int | None, logits: Tensor) -> Tensor:
    return torch.full((len(logits),), -1 if value is None else value, dtype=torch.int32, device="cpu")


def _array(column: Tensor, keep: Tensor | None) -> Any:
    column = column.detach().cpu()
    return (column if keep is None else column[keep]).numpy()
