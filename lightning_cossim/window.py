"""A window: the observations of one stage, from the first to the report; and the choice of labels where there are many.

Shapes: K labels of the head, L of them tracked, N inputs, D embedding dimensions.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.config import LabelSelection
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.head import Head
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.observer import Observation
from lightning_cossim.report import GapReport

__all__ = ["ChoosingWindow", "Window"]

_MAX_KEPT: Final = 8192
"""Embeddings that are kept until the labels are chosen."""
_CHUNK: Final = 1024
"""Inputs that are worked on at a time when they are."""


class Window:
    """Gathers observations of a head and gives a report on the labels it tracks."""

    def __init__(self, head: Head, selection: LabelSelection, overlap: Overlap, tracked: Tensor | None = None) -> None:
        self.head, self.selection, self.overlap = head, selection, overlap
        self.tracked = tracked
        """(L,), the labels whose pairs are looked at; None: all."""
        self._metric: SimilarityGap | None = None

    def add(self, seen: Observation) -> None:
        """Add what one batch showed."""
        self._tracking().update(seen.unembedding, seen.logits, seen.embedding)

    def close(self, sum_over_processes: Callable[[Tensor], Tensor]) -> GapReport:  # noqa: ARG002 - for ChoosingWindow
        """The report of all that was added, on all processes: every one of them has to call it."""
        metric = self._tracking()
        if not metric.update_count:  # this process saw nothing; the weights still have their say
            metric.update(self.head.unembedding)
        return metric.report()

    def _tracking(self) -> SimilarityGap:
        if self._metric is None:
            self._metric = SimilarityGap(
                self.head.num_labels,
                self.head.embedding_dim,
                kind=self.overlap.kind,
                threshold=self.overlap.threshold,
                k=self.overlap.k,
                labels=self.tracked,
                ignore=self.selection.ignore,
                min_probability=self.selection.min_probability,
            ).to(self.head.unembedding.device)
        return self._metric


class ChoosingWindow(Window):
    """A first window over more labels than are tracked.

    It sums the labels' probabilities and keeps a random sample of up to 8 192 embeddings. When it closes, the `max_tracked`
    labels with the most probability over all processes are chosen, and their report is formed from the embeddings kept.
    """

    def __init__(self, head: Head, selection: LabelSelection, overlap: Overlap) -> None:
        super().__init__(head, selection, overlap)
        self._mass = torch.zeros(head.num_labels, device=head.unembedding.device)
        self._kept = head.unembedding.new_empty(0, head.embedding_dim)
        self._lots = torch.empty(0)
        self._generator = torch.Generator().manual_seed(0)

    @override
    def add(self, seen: Observation) -> None:
        if seen.logits is None:
            return
        probs_NK = self.overlap.log_probabilities(seen.logits).exp()
        self._mass = self._mass + probs_NK.nan_to_num(0).sum(dim=0)
        if seen.embedding is not None:
            self._keep(seen.embedding)

    def _keep(self, embedding: Tensor) -> None:
        """A random sample of all embeddings so far: those with the smallest of the lots that each has drawn."""
        lots = torch.cat([self._lots, torch.rand(len(embedding), generator=self._generator)])
        chosen = lots.argsort()[:_MAX_KEPT].sort().values
        self._lots = lots[chosen]
        self._kept = torch.cat([self._kept, embedding])[chosen.to(embedding.device)]

    @override
    def close(self, sum_over_processes: Callable[[Tensor], Tensor]) -> GapReport:
        mass_K, known = sum_over_processes(self._mass), self.tracked
        self.tracked = self._most_probable(mass_K) if known is None else known
        for start in range(0, len(self._kept), _CHUNK):
            embedding = self._kept[start : start + _CHUNK]
            self._tracking().update(self.head.unembedding, self.head.logits(embedding), embedding)
        self._kept = self._kept[:0]
        report = super().close(sum_over_processes)
        if not mass_K.any():  # nothing was seen: the next window may choose
            self.tracked = known
        return report

    def _most_probable(self, mass_K: Tensor) -> Tensor:
        """The tracked labels (L,), ascending."""
        live_K = live_labels(self.head.unembedding, None)
        live_K[list(self.selection.ignore)] = False
        mass_K = mass_K.masked_fill(~live_K, -1).cpu()
        return mass_K.argsort(descending=True, stable=True)[: self.selection.max_tracked].sort().values
