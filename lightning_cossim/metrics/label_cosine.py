"""LabelCosineSimilarity: cosines between the rows of the last unembedding.

Shapes: K labels, D embedding dimensions.
"""

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
    """Base of the metrics that need only the weights. Its state is the unembedding (K, D) of the last update.

    A subclass sets its `quantity`, a key of the table of similarities, and implements `compute`.
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
        """The changes of a head that leave the similarity unchanged, from the table of similarities."""
        return symmetries_of_weights(self.quantity)

    @override
    def update(self, unembedding: Tensor) -> None:
        """Store a copy of the unembedding for `compute`.

        Args:
            unembedding: (K, D), any floating dtype.

        Raises:
            InputError: `unembedding` is not a floating (K, D) matrix, or a wrapper that cuts tensors runs this update.
        """
        check_uncut()
        check_unembedding(unembedding)
        self.unembedding = taken(unembedding)


class LabelCosineSimilarity(WeightSimilarity):
    r"""Cosines between label representations, label-centered (default) or raw.

    :math:`\cos(i, j) = \tilde g_i^\top \tilde g_j / (\|\tilde g_i\| \|\tilde g_j\|)`, where :math:`\tilde g_i` is row i minus the
    mean row (`centered=True`) or row i itself. `lightning_cossim.functional.label_cosine_similarity` lists the changes that leave
    it unchanged.

    `update(unembedding)` takes (K, D) of any floating dtype. `compute()` returns (K, K) in [-1, 1], for the unembedding of the
    last update.

    Args:
        centered: whether to subtract the mean row over labels first.
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: the unembedding is not a floating (K, D) matrix, or the update comes from a `BootStrapper` or a
            `MultioutputWrapper`. These wrappers cut the unembedding.

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
        """The cosines (K, K) in [-1, 1]. NaN for rows that are not finite, or that are zero (after centering, if centered)."""
        return label_cosine_similarity(self.unembedding, centered=self.centered)
