"""A window: the observations of one stage, from the first to the statistics. Here: all pairs of labels.

`VocabularyWindow` is the other kind, for heads with too many labels. Both are built from sizes and weights, so that a trained
model's files go through them as a model at work does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.head import HeadSpec, Observation, Weights
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import Statistics

__all__ = ["AllPairsWindow", "Collected", "Window"]


@dataclass(frozen=True)
class Collected:
    """What a window has collected, over all processes."""

    statistics: Callable[[], Statistics]
    """Computes what it says of its labels. No process waits for another in it."""
    vocabulary: VocabularySummary | None = None
    """What a search for the nearest neighbors starts from, where only a sample of the pairs is compared."""


class Window(Protocol):
    """Collects observations of one head."""

    @property
    def generator(self) -> torch.Generator:
        """Of whatever is drawn at random in this window, so that the user's random numbers stay as they are."""

    def wants_batch(self) -> bool:
        """Whether to look at the batch that begins."""

    def add(self, seen: Observation) -> None:
        """Add what one batch showed."""

    def close(self, processes: Processes, weights: Callable[[], Weights]) -> Collected:
        """What all processes collected: every one of them has to call it.

        Args:
            processes: those that train together.
            weights: of now, asked for only by a process that saw nothing.

        Raises:
            DistributedError: one of several processes could not do its part.
        """


class AllPairsWindow:
    """Compares every two labels.

    Args:
        spec: sizes of the head.
        selection: which labels are compared.
        overlap: which probability overlap.
        seed: of whatever is drawn at random: an interrupted run that goes on draws the same.
        processes: those that train together.
        with_errors: whether scalars have standard errors also for more than 200 labels, for which they take a while.
    """

    def __init__(
        self,
        spec: HeadSpec,
        selection: LabelSelection,
        overlap: Overlap,
        seed: int = 0,
        processes: Processes = ALONE,
        *,
        with_errors: bool = False,
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self._metric = SimilarityGap(
            spec.num_labels,
            spec.embedding_dim,
            overlap=overlap.kind,
            link=overlap.link,
            overlap_threshold=overlap.threshold,
            overlap_k=overlap.k,
            ignore=selection.ignore,
            min_probability=selection.min_probability,
            link_scale=spec.response.link_scale,
            seed=seed,
            sync_on_compute=False,  # `close` adds up, over those that train this model
        ).to(spec.device)
        self._metric.place_among(processes.rank, processes.num)
        self._metric.measure_errors(always=with_errors)

    def wants_batch(self) -> bool:
        """Always."""
        return True

    def add(self, seen: Observation) -> None:
        """Add what one batch showed."""
        self._metric.use_response(seen.response)
        self._metric.update(seen.unembedding, seen.logits, seen.embedding, seen.groups, seen.targets)

    def close(self, processes: Processes, weights: Callable[[], Weights]) -> Collected:
        """What all processes collected; see `Window`."""
        seen_by = processes.where(holds=self._metric.update_count > 0)
        snapshot_of = seen_by[0] if seen_by else 0  # else each would have that of the last batch it saw
        processes.together(lambda: self._see_weights(weights))
        states = processes.together(lambda: self._to_sum(has_snapshot=processes.rank == snapshot_of))
        totals = processes.sums([*states.values()])
        processes.together(lambda: self._metric.load_sums(dict(zip(states, totals, strict=True))))
        return Collected(self._metric.statistics)

    def _see_weights(self, weights: Callable[[], Weights]) -> None:
        """Where this process saw nothing, the weights still have their say."""
        if not self._metric.update_count:
            now = weights()
            self._metric.use_response(now.response)
            self._metric.update(now.unembedding)

    def _to_sum(self, *, has_snapshot: bool) -> dict[str, Tensor]:
        """The metric's states, as they are to be summed: one process has the unembedding of all."""
        states: dict[str, Any] = self._metric.metric_state
        return states if has_snapshot else {**states, "unembedding": torch.zeros_like(self._metric.unembedding)}
