"""Window: collects the observations of one stage and computes statistics from them.

`AllPairsWindow` compares all pairs of labels. `VocabularyWindow` is for heads with too many labels. Both are built from sizes and
weights only, so they work for a running model and for the files of a trained model.
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
    """The content of a closed window, over all processes."""

    statistics: Callable[[], Statistics]
    """Computes the statistics. It does not wait for other processes."""
    vocabulary: VocabularySummary | None = None
    """The input of a search for nearest neighbors, if only a sample of the pairs is compared; else None."""


class Window(Protocol):
    """Collects observations of one head."""

    @property
    def generator(self) -> torch.Generator:
        """Random generator of all draws in this window. The global generator stays unchanged."""

    def wants_batch(self) -> bool:
        """Whether to observe the next batch. Call it once per batch."""

    def add(self, seen: Observation) -> None:
        """Add the observation of one batch."""

    def close(self, processes: Processes, weights: Callable[[], Weights]) -> Collected:
        """Combine the content of all processes. Every process must call this.

        Args:
            processes: the processes that train together.
            weights: gives the current weights; only used by a process without observations.

        Raises:
            DistributedError: the work of one of several processes failed.
        """


class AllPairsWindow:
    """Compares all pairs of labels.

    Args:
        spec: sizes of the head.
        selection: which labels are compared.
        overlap: which probability overlap.
        seed: seed of all random draws; a resumed run with the same seed draws the same.
        processes: the processes that train together.
    """

    def __init__(
        self,
        spec: HeadSpec,
        selection: LabelSelection,
        overlap: Overlap,
        seed: int = 0,
        processes: Processes = ALONE,
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
            sync_on_compute=False,  # `close` sums over the processes that train this model
        ).to(spec.device)
        self._metric.place_among(processes.rank, processes.num)

    def wants_batch(self) -> bool:
        """True for every batch."""
        return True

    def add(self, seen: Observation) -> None:
        """Add the observation of one batch."""
        self._metric.use_response(seen.response)
        self._metric.update(seen.unembedding, seen.logits, seen.embedding, seen.groups, seen.targets)

    def close(self, processes: Processes, weights: Callable[[], Weights]) -> Collected:
        """Combine the content of all processes; see `Window.close`."""
        seen_by = processes.where(holds=self._metric.update_count > 0)
        snapshot_of = seen_by[0] if seen_by else 0  # else each process would use that of its own last batch
        processes.together(lambda: self._see_weights(weights))
        states = processes.together(lambda: self._to_sum(has_snapshot=processes.rank == snapshot_of))
        totals = processes.sums([*states.values()])
        processes.together(lambda: self._metric.load_sums(dict(zip(states, totals, strict=True))))
        return Collected(self._metric.statistics)

    def _see_weights(self, weights: Callable[[], Weights]) -> None:
        """If this process has no observations, add the current weights."""
        if not self._metric.update_count:
            now = weights()
            self._metric.use_response(now.response)
            self._metric.update(now.unembedding)

    def _to_sum(self, *, has_snapshot: bool) -> dict[str, Tensor]:
        """The metric's states for a sum over processes: the unembedding comes from one process, and is zero on the others."""
        states: dict[str, Any] = self._metric.metric_state
        return states if has_snapshot else {**states, "unembedding": torch.zeros_like(self._metric.unembedding)}
