"""LabelCosineSimilarity: cosines between the rows of the last unembedding seen."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.inputs import check_unembedding
from lightning_cossim.functional.invariances import symmetries_of_weights
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.snapshot import check_uncut, first_seen, gather_snapshots, taken
from lightning_cossim.metrics.state import SummedMetric

__all__ = ["LabelCosineSimilarity", "WeightSimilarity"]


class WeightSimilarity(SummedMetric):
    """State of the metrics that see the weights alone: a snapshot (K, D), the last one seen.

    A subclass names its `quantity`, a key of the table of similarities, and computes it.
    """

    full_state_update = True

    unembedding: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_snapshots, **kwargs})
        self.add_state("unembedding", torch.empty(0, 0, dtype=torch.float32), dist_reduce_fx=first_seen)
        self.add_settings()

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """What the table of similarities says leaves it unchanged."""
        return symmetries_of_weights(self.quantity)

    @override
    def update(self, unembedding: Tensor) -> None:
        """Take the snapshot of the unembedding (K, D) that `compute` is about."""
        check_uncut()
        check_unembedding(unembedding)
        self.unembedding = taken(unembedding)


class LabelCosineSimilarity(WeightSimilarity):
    r"""Cosines between label representations, label-centered (default) or raw.

    :math:`\cos(i, j) = \tilde g_i^\top \tilde g_j / (\|\tilde g_i\| \|\tilde g_j\|)`; see
    `lightning_cossim.functional.label_cosine_similarity`, also for what leaves it unchanged.

    `update(unembedding)` takes (K, D), of any floating dtype; the last one wins. `compute()` returns (K, K) in [-1, 1].

    Args:
        centered: whether to subtract the mean row over labels first.
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: an unembedding that is not a floating (K, D) matrix, or one from a `BootStrapper` or a `MultioutputWrapper`,
            which cut it.

    Example:
        >>> import torch
        >>> metric = LabelCosineSimilarity()
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        >>> metric.compute()
        tensor([[ 1.0000,  0.0000, -0.7071],
                [ 0.0000,  1.0000, -0.7071],
                [-0.7071, -0.7071,  1.0000]])

    Source: Nielsen, arXiv 2603.29488, section 3.
    """

    def __init__(self, centered: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centered = centered
        self.add_settings(centered)
        self.quantity = "centered_cosine" if centered else "raw_cosine"

    @override
    def compute(self) -> Tensor:
        """(K, K) in [-1, 1], NaN for rows that are zero or not finite."""
        return label_cosine_similarity(self.unembedding, centered=self.centered)
