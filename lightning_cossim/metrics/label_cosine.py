"""LabelCosineSimilarity: cosines between the rows of the last unembedding seen."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.inputs import check_unembedding
from lightning_cossim.functional.symmetries import Symmetry, symmetries_of_weights
from lightning_cossim.metrics.snapshot import first_seen, gather_snapshots, taken
from lightning_cossim.metrics.state import SummedMetric

__all__ = ["LabelCosineSimilarity"]


class LabelCosineSimilarity(SummedMetric):
    r"""Cosines between label representations, label-centered (default) or raw.

    :math:`\cos(i, j) = \tilde g_i^\top \tilde g_j / (\|\tilde g_i\| \|\tilde g_j\|)`; see
    `lightning_cossim.functional.label_cosine_similarity`, also for what leaves it unchanged.

    `update(unembedding)` takes (K, D), of any floating dtype; the last one wins. `compute()` returns (K, K) in [-1, 1].

    Args:
        centered: whether to subtract the mean row over labels first.
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: an unembedding that is not a floating (K, D) matrix.

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

    full_state_update = True

    unembedding: Tensor

    def __init__(self, centered: bool = True, **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_snapshots, **kwargs})
        self.centered = centered
        self.plot_title = "Label-centered cosine" if centered else "Raw cosine"
        self.add_state("unembedding", torch.empty(0, 0), dist_reduce_fx=first_seen)

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """Translations of all rows, if centered; their lengths, if not."""
        return symmetries_of_weights("centered_cosine" if self.centered else "raw_cosine")

    @override
    def update(self, unembedding: Tensor) -> None:
        """Take the snapshot of the unembedding (K, D) that `compute` is about."""
        check_unembedding(unembedding)
        self.unembedding = taken(unembedding)

    @override
    def compute(self) -> Tensor:
        """(K, K) in [-1, 1], NaN for rows that are zero or not finite."""
        return label_cosine_similarity(self.unembedding, centered=self.centered)
