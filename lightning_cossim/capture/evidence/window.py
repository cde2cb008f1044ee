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
from numpy.typing import NDArray
from torch import Tensor

from lightning_cossim.capture.evidence.details import Details, bytes_of
from lightning_cossim.capture.evidence.noted import NotedBatch
from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.references import Origins, has_sequences, ids_in, may_select, origins_of
from lightning_cossim.capture.evidence.sampled_inputs import SampledInputs
from lightning_cossim.capture.evidence.selection import OVERLAP, Selection
from lightning_cossim.capture.evidence.store import EvidenceStore, Inputs
from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.capture.head import Observation
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.functional.joint import NUM_LIKELY
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.most_likely import MostLikely, most_likely
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
        is_vocabulary: whether the head has very many labels, so that a sample of the inputs is kept with more labels of each.
    """

    def __init__(
        self,
        settings: Evidence,
        num_labels: int,
        first: Sequence[tuple[int, int]] = (),
        *,
        is_vocabulary: bool = False,
    ) -> None:
        self._ids_key, rest = settings.ids_key, settings.max_bytes // 4
        self._ids, self._views = Details[str](0 if self._ids_key is None else rest), Details[View](rest)
        self._sample = SampledInputs(num_labels, rest) if is_vocabulary else None
        room = settings.max_bytes - self._ids.max_bytes - rest - (0 if self._sample is None else self._sample.num_bytes)
        self._per_pair = settings.per_pair
        self._store = EvidenceStore(num_labels, per_pair=settings.per_pair, max_bytes=room, first=first)
        self.has_rows = True
        """Whether the rows of the inputs are known.

        A call with another number of rows than its batch shows that the model selects or flattens inputs. Then a call with an
        equal number may have done so, too.
        """
        self.has_positions = True
        """Whether the places in a row of a call are those in the sequence, as far as is known. It is decided like `has_rows`."""
        self.has_room = self._store.num_bytes > 0
        """Whether the store has memory for at least one input."""
        self._num_added = 0
        self._before: dict[int | None, tuple[int, int]] = {}
        """The number of rows that each loader has given so far, and of the places in the calls on them."""

    def add(self, seen: Observation, logits: Tensor, noted: NotedBatch, place: Place, link: Link, viewer: Viewer | None) -> None:
        """Add the inputs of an observation."""
        batch, rows = noted.batch, noted.rows
        self.has_rows &= noted.has_same_rows
        if rows is not None:
            self._check(seen.shape, rows, batch, logits.shape[1])
        likely = most_likely(logits, link, NUM_LIKELY if self._sample is None else self._sample.width)
        first_likely = likely._replace(labels=likely.labels[:, :NUM_LIKELY], probs=likely.probs[:, :NUM_LIKELY])
        inputs, keep = self._inputs(seen, logits, first_likely, place, rows)
        entered, shown = self._store.add(inputs)
        start = self._num_added
        if self._sample is not None:
            entered = np.union1d(entered, self._add_to_sample(self._sample, inputs, likely, keep, batch, viewer))
        self._num_added += len(inputs.labels)
        if self.has_rows and self._ids_key is not None and len(entered):
            self._identify(start + entered, inputs.row[entered], noted.ids, rows, self._ids_key)
        if self.has_rows and viewer is not None and len(shown):
            position_n = inputs.position[shown] if self.has_positions else np.full(len(shown), -1)
            views = viewer.views(batch, torch.from_numpy(inputs.row[shown]), torch.from_numpy(position_n))
            found = {number: view for number, view in zip((start + shown).tolist(), views, strict=True) if view is not None}
            self._views.add(found, bytes_of, lambda: self._used(only_mattering=True))

    def _add_to_sample(
        self,
        sample: SampledInputs,
        inputs: Inputs,
        likely: MostLikely,
        keep: NDArray[np.bool_] | None,
        batch: Any,
        viewer: Viewer | None,
    ) -> NDArray[np.int64]:
        """Add the inputs that the sample wants, with the tokens around them, and return their places."""
        places = sample.wants(inputs.order)
        rows = torch.from_numpy(places if keep is None else np.flatnonzero(keep)[places]).to(likely.labels.device)
        some, tokens = inputs.at(places), None
        if viewer is not None and self.has_rows and self.has_positions:
            around = viewer.tokens_around(batch, torch.from_numpy(some.row).long(), torch.from_numpy(some.position).long())
            tokens = None if around is None else around.numpy()
        labels, probs = likely.labels[rows].cpu().numpy(), likely.probs[rows].float().cpu().numpy()
        sample.add(some, labels, probs, tokens, self._num_added + places)
        return places

    def _inputs(
        self, seen: Observation, logits: Tensor, likely: MostLikely, place: Place, rows: int | None
    ) -> tuple[Inputs, NDArray[np.bool_] | None]:
        """The inputs of an observation without those that have a value that is not finite, and which these are, None if all."""
        num, width = likely.labels.shape
        # Two tensors, because each transfer from a device takes time.
        whole_parts, real_parts = [likely.labels], [likely.probs, likely.normalizer[:, None]]
        if seen.targets is not None:
            target_N1 = seen.targets.to(logits.device).long()[:, None]
            z_N1 = logits.detach().gather(1, target_N1.clamp(0, logits.shape[1] - 1)).to(likely.probs)
            whole_parts.append(target_N1)
            real_parts.append((z_N1 - real_parts[1]).exp())
        if seen.embedding is not None:
            real_parts.append(seen.embedding.detach().sum(dim=1, keepdim=True).to(likely.probs))
        whole, real = (torch.cat(parts, dim=1).cpu().numpy() for parts in (whole_parts, real_parts))
        target, target_prob = np.full(num, -1), np.full(num, np.nan, dtype=np.float32)
        if seen.targets is not None:
            is_known = (whole[:, width] >= 0) & (whole[:, width] < logits.shape[1])
            target, target_prob = np.where(is_known, whole[:, width], -1), np.where(is_known, real[:, width + 1], np.nan)
        origins = origins_of(seen.shape, seen.index, rows, place.order, -1 if place.batch is None else place.batch)
        inputs = Inputs(
            labels=whole[:, :width],
            probs=real[:, :width].astype(np.float32, copy=False),
            target=target,
            target_prob=target_prob.astype(np.float32, copy=False),
            loader=np.full(num, -1 if place.loader is None else place.loader, dtype=np.int32),
            batch=np.full(num, -1 if place.batch is None else place.batch, dtype=np.int32),
            row=origins.row,
            position=origins.position,
            index=origins.index,
            order=self._order(origins, seen, place.loader, rows or (seen.shape or (num,))[0]),
        )
        counts = np.isfinite(real[:, 0]) & np.isfinite(real[:, width])
        if seen.embedding is not None and not np.isfinite(real[:, -1]).all():  # a sum may overflow though no value is infinite
            counts &= seen.embedding.isfinite().all(dim=1).cpu().numpy()
        return (inputs, None) if counts.all() else (inputs.at(counts), counts)

    def _check(self, shape: tuple[int, ...], rows: int, batch: Any, num_labels: int) -> None:
        """Find out whether the rows and positions of this window are known."""
        self.has_rows &= shape[:1] == (rows,) and not may_select(batch, shape, num_labels)
        if self.has_positions and len(shape) == 2 and not has_sequences(batch, shape):
            self.has_positions, self._views = False, Details[View](self._views.max_bytes)

    def _identify(
        self, number_n: NDArray[np.int64], row_n: NDArray[np.int64], batch: Any, rows: int | None, key: str | int
    ) -> None:
        """Keep the identifiers of some inputs of a batch."""
        ids = ids_in(batch, key, rows)
        if ids is not None:
            numbers_and_rows = zip(number_n.tolist(), row_n.tolist(), strict=True)
            self._ids.add({number: ids[row] for number, row in numbers_and_rows if row >= 0}, sys.getsizeof, self._used)

    def _used(self, *, only_mattering: bool = False) -> Any:
        """The numbers of the inputs that are still kept."""
        used = self._store.used(only_mattering=only_mattering)
        return used if self._sample is None or only_mattering else np.union1d(used, self._sample.numbers)

    def select(self, pairs: Sequence[tuple[int, int]]) -> Selection:
        """What is kept for some pairs."""
        selection = self._store.select(pairs)
        if self._sample is None:
            return selection
        of_store = selection.inputs.pair[selection.inputs.which == OVERLAP]
        lacks = np.bincount(of_store, minlength=len(selection.pairs)) < self._per_pair
        return selection.with_inputs(self._sample.select(selection.pairs, lacks, self._per_pair))

    def _order(self, origins: Origins, seen: Observation, loader: int | None, num_rows: int) -> NDArray[np.int64]:
        """The number of each input that decides ties, the same for every split of the data into batches and processes.

        It grows with the loader, the index in the dataset, and the position. If the index is unknown, the number of rows before
        stands for it; if the row is unknown too, the number of places before.
        """
        rows_before, places_before = self._before.get(loader, (0, 0))
        self._before[loader] = rows_before + num_rows, places_before + math.prod(seen.shape)
        place = np.arange(len(origins.row)) if seen.index is None else seen.index.cpu().numpy()
        row = np.where(origins.row >= 0, rows_before + origins.row, places_before + place)
        row = np.minimum(np.where(origins.index >= 0, origins.index, row), 2**_ROW_BITS - 1)
        position = origins.position.clip(0, 2**_POSITION_BITS - 1)
        order: NDArray[np.int64] = (row << _POSITION_BITS) + position
        return order + ((0 if loader is None else loader) << _ROW_BITS + _POSITION_BITS)

    def details(
        self, numbers: Sequence[int], viewer: Viewer | None, *, has_rows: bool, has_positions: bool
    ) -> tuple[dict[int, str], dict[int, View]]:
        """The identifiers and the views of some inputs, by their numbers.

        Args:
            numbers: the inputs.
            viewer: makes texts of the inputs of the sample; None: only references are kept.
            has_rows: whether the rows are known on all processes.
            has_positions: the same of the positions. Without them, texts with a marked position are left out.
        """
        if not has_rows:
            return {}, {}
        views = self._views.of(numbers) if has_positions == self.has_positions else {}
        if self._sample is not None and viewer is not None and has_positions:
            left = [number for number in numbers if number not in views]
            views |= viewer.views_of_tokens(self._sample.tokens_of(left))
        return self._ids.of(numbers), views
