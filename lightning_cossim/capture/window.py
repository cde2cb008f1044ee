"""A window: the observations of one stage, from the first to the report, all labels against all."""

from typing import Any

import torch
from torch import Tensor

from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.head import Head, Observation, Weights
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport

__all__ = ["Window"]


class Window:
    """Gathers observations of a head and gives a report on all its labels.

    Args:
        head: the head.
        selection: which labels are looked at.
        overlap: which probability overlap.
        seed: of whatever is drawn at random in this window: an interrupted run that goes on draws the same.
    """

    def __init__(self, head: Head, selection: LabelSelection, overlap: Overlap, seed: int = 0) -> None:
        self.head, self.selection, self.overlap = head, selection, overlap
        # A generator of our own: the user's random numbers stay as they are.
        self.generator = torch.Generator().manual_seed(seed)
        self._metric: SimilarityGap | None = None

    def wants_batch(self) -> bool:
        """Whether the batch that begins is looked at: all are."""
        return True

    def add(self, seen: Observation) -> None:
        """Add what one batch showed."""
        metric = self._begun()
        metric.response = seen.response or metric.response
        metric.update(seen.unembedding, seen.logits, seen.embedding, seen.groups)

    def close(self, processes: Processes) -> GapReport:
        """The report of all that was added, on all processes: every one of them has to call it.

        Raises:
            FailedTogether: one of several processes could not do its part.
        """
        weights, seen_by = self.head.gathered(), processes.where(holds=self._metric is not None)
        snapshot_of = seen_by[0] if seen_by else 0  # else each would have that of the last batch it saw
        metric = processes.together(lambda: self._shown(weights or self.head.weights))
        states = processes.together(lambda: _to_sum(metric, has_snapshot=processes.rank == snapshot_of))
        totals = processes.sums([*states.values()])
        return processes.together(lambda: _of_all(metric, dict(zip(states, totals, strict=True))).report())

    def _shown(self, weights: Weights) -> SimilarityGap:
        """The metric, which has been shown something."""
        metric = self._begun()
        if not metric.update_count:  # this process saw nothing; the weights still have their say
            metric.response = weights.response
            metric.update(weights.unembedding)
        return metric

    def _begun(self) -> SimilarityGap:
        if self._metric is None:
            self._metric = SimilarityGap(
                self.head.num_labels,
                self.head.embedding_dim,
                kind=self.overlap.kind,
                link=self.overlap.link,
                threshold=self.overlap.threshold,
                k=self.overlap.k,
                ignore=self.selection.ignore,
                min_probability=self.selection.min_probability,
                link_scale=self.head.response.link_scale,
                sync_on_compute=False,  # `close` adds up, over those that train this model
            ).to(self.head.device)
        return self._metric


def _to_sum(metric: SimilarityGap, *, has_snapshot: bool) -> dict[str, Tensor]:
    """A metric's states, as they are to be summed: one process has the unembedding of all."""
    states: dict[str, Any] = metric.metric_state
    return states if has_snapshot else {**states, "unembedding": torch.zeros_like(metric.unembedding)}


def _of_all(metric: SimilarityGap, states: dict[str, Tensor]) -> SimilarityGap:
    """The metric, with the states of all processes together."""
    for name, state in states.items():
        setattr(metric, name, state.to(metric.device))
    return metric
