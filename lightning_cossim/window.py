"""A window: the observations of one stage, from the first to the report; and the choice of labels where there are many.

Shapes: K labels of the head, L of them tracked, N inputs, D embedding dimensions.
"""

from typing import Any, Final

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.config import LabelSelection
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.precision import working_dtype
from lightning_cossim.head import Head, Weights
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.metrics.state import add_to
from lightning_cossim.observer import Observation
from lightning_cossim.processes import Processes
from lightning_cossim.report import GapReport

__all__ = ["ChoosingWindow", "Window"]

_MAX_KEPT: Final = 8192
"""Embeddings that are kept until the labels are chosen."""
_CHUNK: Final = 1024
"""Inputs that are worked on at a time when they are."""


class Window:
    """Gathers observations of a head and gives a report on the labels it tracks.

    Args:
        head: the head.
        selection: which labels are looked at.
        overlap: which probability overlap.
        seed: of whatever is drawn at random in this window: an interrupted run that goes on draws the same.
        tracked: (L,), the labels whose pairs are looked at; None: all.
    """

    def __init__(
        self, head: Head, selection: LabelSelection, overlap: Overlap, seed: int = 0, tracked: Tensor | None = None
    ) -> None:
        self.head, self.selection, self.overlap = head, selection, overlap
        # A generator of our own: the user's random numbers stay as they are.
        self.generator = torch.Generator().manual_seed(seed)
        self.tracked = tracked
        """(L,), the labels whose pairs are looked at; None: all."""
        self._metric: SimilarityGap | None = None

    def add(self, seen: Observation) -> None:
        """Add what one batch showed."""
        self._tracking().update(seen.unembedding, seen.logits, seen.embedding, seen.groups)

    def close(self, processes: Processes) -> GapReport:
        """The report of all that was added, on all processes: every one of them has to call it.

        Raises:
            FailedTogether: one of several processes could not do its part.
        """
        weights, seen_by = self.head.gathered(), processes.where(holds=self._has_seen)
        snapshot_of = seen_by[0] if seen_by else 0  # else each would have that of the last batch it saw
        metric = processes.together(lambda: self._all_added(weights or self.head.weights))
        states = processes.together(lambda: _to_sum(metric, has_snapshot=processes.rank == snapshot_of))
        totals = processes.sums([*states.values()])
        return processes.together(lambda: _of_all(metric, dict(zip(states, totals, strict=True))).report())

    @property
    def _has_seen(self) -> bool:
        """Whether this process was shown anything."""
        return self._metric is not None

    def _all_added(self, weights: Weights) -> SimilarityGap:
        """The metric, once it has been shown all there is."""
        metric = self._tracking()
        if not metric.update_count:  # this process saw nothing; the weights still have their say
            metric.update(weights.unembedding)
        return metric

    def _tracking(self) -> SimilarityGap:
        if self._metric is None:
            self._metric = SimilarityGap(
                self.head.num_labels,
                self.head.embedding_dim,
                kind=self.overlap.kind,
                link=self.overlap.link,
                threshold=self.overlap.threshold,
                k=self.overlap.k,
                labels=self.tracked,
                ignore=self.selection.ignore,
                min_probability=self.selection.min_probability,
                sync_on_compute=False,  # `close` adds up, over those that train this model
            ).to(self.head.device)
        return self._metric


class ChoosingWindow(Window):
    """A first window over many labels: it gathers their mass and keeps embeddings until it knows which labels matter.

    At its end the `max_tracked` labels with the most probability over all processes are chosen, and their report is formed from
    the embeddings kept, a random sample of all.
    """

    def __init__(self, head: Head, selection: LabelSelection, overlap: Overlap, seed: int = 0) -> None:
        super().__init__(head, selection, overlap, seed)
        self._kept = torch.empty(0, head.embedding_dim, dtype=head.dtype, device=head.device)
        self._weights: Weights | None = None
        """Those of the last observation: the embeddings kept are no others' to read."""
        self._mass = torch.zeros(head.num_labels, dtype=working_dtype(self._kept), device=self._kept.device)
        self._groups = torch.empty(0, dtype=torch.int64)
        self._num_groups = 0
        self._lots = torch.empty(0)

    @override
    def add(self, seen: Observation) -> None:
        if seen.logits is None:
            return
        probs_NK = self.overlap.log_probabilities(seen.logits).exp()
        self._mass = add_to(self._mass, probs_NK.nan_to_num(0).sum(dim=0))
        self._weights = Weights(seen.unembedding.clone(), None if seen.bias is None else seen.bias.clone())
        if seen.embedding is not None:
            self._keep(seen.embedding, torch.arange(len(seen.embedding)) if seen.groups is None else seen.groups.cpu())

    def _keep(self, embedding: Tensor, groups: Tensor) -> None:
        """A random sample of all embeddings so far: those with the smallest of the lots that each has drawn."""
        lots = torch.cat([self._lots, torch.rand(len(embedding), generator=self.generator)])
        chosen = lots.argsort()[:_MAX_KEPT].sort().values
        self._lots = lots[chosen]
        self._groups = torch.cat([self._groups, groups + self._num_groups])[chosen]
        self._kept = torch.cat([self._kept, embedding])[chosen.to(embedding.device)]
        self._num_groups += int(groups.max()) + 1 if len(groups) else 0

    @override
    def close(self, processes: Processes) -> GapReport:
        known, weights, (mass_K,) = self.tracked, self.head.gathered(), processes.sums([self._mass])
        if known is None:
            self.tracked = processes.together(lambda: self._most_probable(mass_K, weights or self.head.weights))
        report = super().close(processes)
        if not mass_K.any():  # nothing was seen: the next window may choose
            self.tracked = known
        return report

    @property
    @override
    def _has_seen(self) -> bool:
        return self._weights is not None

    @override
    def _all_added(self, weights: Weights) -> SimilarityGap:
        weights = self._weights or weights
        for rows in self._chunks():
            embedding = self._kept[rows.to(self._kept.device)]
            self._tracking().update(weights.unembedding, weights.logits(embedding), embedding, self._groups[rows])
        self._kept = self._kept[:0]
        return super()._all_added(weights)

    def _chunks(self) -> tuple[Tensor, ...]:
        """Rows of the embeddings kept, about so many at a time that no group is torn."""
        _, sizes = torch.unique_consecutive(self._groups, return_counts=True)
        chunk_of_group = (sizes.cumsum(0) - sizes) // _CHUNK
        return torch.split(torch.arange(len(self._groups)), chunk_of_group.bincount(weights=sizes).long().tolist())

    def _most_probable(self, mass_K: Tensor, weights: Weights) -> Tensor:
        """The tracked labels (L,), ascending."""
        live_K = live_labels(weights.unembedding, None)
        live_K[list(self.selection.ignore)] = False
        mass_K = mass_K.masked_fill(~live_K, -1).cpu()
        return mass_K.argsort(descending=True, stable=True)[: self.selection.max_tracked].sort().values


def _to_sum(metric: SimilarityGap, *, has_snapshot: bool) -> dict[str, Tensor]:
    """A metric's states, as they are to be summed: one process has the unembedding of all."""
    states: dict[str, Any] = metric.metric_state
    return states if has_snapshot else {**states, "unembedding": torch.zeros_like(metric.unembedding)}


def _of_all(metric: SimilarityGap, states: dict[str, Tensor]) -> SimilarityGap:
    """The metric, with the states of all processes together."""
    for name, state in states.items():
        setattr(metric, name, state.to(metric.device))
    return metric
