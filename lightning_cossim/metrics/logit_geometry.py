"""LogitCorrelation and LogOddsVariance: labels compared through the covariance of the embeddings.

Both keep the same state, `EmbeddingGeometry`: the last unembedding seen, and three sums over embeddings.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_rows
from lightning_cossim.functional.invariances import symmetries_of_weights
from lightning_cossim.functional.logit_geometry import (
    EmbeddingMoments,
    embedding_covariance,
    embedding_moments,
    log_odds_variance,
    logit_correlation,
)
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.snapshot import check_uncut, first_seen, gather_snapshots, taken, unseen
from lightning_cossim.metrics.state import SummedMetric, add_to

__all__ = ["EmbeddingGeometry", "EmbeddingSimilarity", "LogOddsVariance", "LogitCorrelation"]


class EmbeddingGeometry(SummedMetric):
    """State shared by the metrics that see labels through the embeddings: a snapshot (K, D) and moments in float64."""

    full_state_update = True

    unembedding: Tensor
    embedding_count: Tensor
    embedding_total: Tensor
    embedding_outer: Tensor

    def __init__(self, num_labels: int, embedding_dim: int, **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_snapshots, **kwargs})
        for argument, size in (("num_labels", num_labels), ("embedding_dim", embedding_dim)):
            if size < 1:
                raise InputError(expected(argument, "to be at least 1", size, "Pass the shape of the head's weight."))
        self.num_labels, self.embedding_dim = num_labels, embedding_dim
        self.add_state("unembedding", unseen(num_labels, embedding_dim), dist_reduce_fx=first_seen)
        self.add_state("embedding_count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("embedding_total", torch.zeros(embedding_dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("embedding_outer", torch.zeros(embedding_dim, embedding_dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_settings()

    def _take_snapshot(self, unembedding: Tensor) -> None:
        check_uncut()
        check_rows(unembedding, "unembedding", "(K, D)", (self.num_labels, self.embedding_dim))
        self.unembedding = taken(unembedding)

    def _add_moments(self, embedding: Tensor, seen: Tensor | None = None) -> None:
        check_rows(embedding, "embedding", "(N, D)", (None, self.embedding_dim))
        batch = embedding_moments(embedding, seen=seen)
        self.embedding_count = add_to(self.embedding_count, batch.num_inputs)
        self.embedding_total = add_to(self.embedding_total, batch.total)
        # In place on the batch's: (D, D) is the largest thing here.
        self.embedding_outer = batch.outer.to(self.embedding_outer).add_(self.embedding_outer)

    def _covariance(self) -> Tensor:
        return embedding_covariance(EmbeddingMoments(self.embedding_count, self.embedding_total, self.embedding_outer))


class EmbeddingSimilarity(EmbeddingGeometry):
    """The metrics that are computed from this state alone. In a `MetricCollection` they share it.

    A subclass names its `quantity`, a key of the table of similarities, and computes it.
    """

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """What the table of similarities says leaves it unchanged."""
        return symmetries_of_weights(self.quantity)

    @override
    def update(self, unembedding: Tensor, embedding: Tensor) -> None:
        """Add a batch of embeddings (N, D), those that are finite; take the unembedding (K, D) of the same moment."""
        self._take_snapshot(unembedding)
        self._add_moments(embedding)


class LogitCorrelation(EmbeddingSimilarity):
    r"""Correlation over inputs of the centered logits of every two labels.

    :math:`\tilde g_i^\top \Sigma \tilde g_j / \sqrt{\tilde g_i^\top \Sigma \tilde g_i \cdot \tilde g_j^\top \Sigma \tilde g_j}`;
    see `lightning_cossim.functional.logit_correlation`, also for what leaves it unchanged.

    `update(unembedding, embedding)` takes (K, D) and (N, D), of any floating dtype: embeddings add up, the last unembedding
    wins. `compute()` returns (K, K) in [-1, 1].

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: sizes below 1, tensors that do not have them, or an update by a `BootStrapper` or a `MultioutputWrapper`,
            which cut the unembedding as well as the inputs.

    Example:
        >>> import torch
        >>> metric = LogitCorrelation(num_labels=3, embedding_dim=2)
        >>> W = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-2.0, 0.0]])
        >>> metric.update(W, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        >>> metric.compute()
        tensor([[ 1.,  1., -1.],
                [ 1.,  1., -1.],
                [-1., -1.,  1.]])

        For an error bar, update copies with inputs that are resampled, and with the unembedding as it is:

        >>> generator = torch.Generator().manual_seed(0)
        >>> embedding = torch.randn(50, 2, generator=generator)
        >>> copies = [LogitCorrelation(num_labels=3, embedding_dim=2) for _ in range(200)]
        >>> for copy in copies:
        ...     copy.update(W, embedding[torch.randint(50, (50,), generator=generator)])
        >>> error = torch.stack([copy.compute() for copy in copies]).std(dim=0)
        >>> bool(0.05 < error[0, 1] < 0.15)
        True
    """

    quantity = "logit_correlation"

    @override
    def compute(self) -> Tensor:
        """(K, K) in [-1, 1], NaN for labels whose centered logit is constant, all NaN without inputs."""
        return logit_correlation(self.unembedding, embedding_covariance=self._covariance())


class LogOddsVariance(EmbeddingSimilarity):
    r"""Variance over inputs of the log-odds between every two labels, in squared nats. Small means alike.

    :math:`(g_i - g_j)^\top \Sigma\, (g_i - g_j)`; see `lightning_cossim.functional.log_odds_variance`, also for what leaves it
    unchanged.

    `update(unembedding, embedding)` takes (K, D) and (N, D), of any floating dtype: embeddings add up, the last unembedding
    wins. `compute()` returns (K, K), at least 0.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: sizes below 1, tensors that do not have them, or an update by a `BootStrapper` or a `MultioutputWrapper`,
            which cut the unembedding as well as the inputs.

    Example:
        >>> import torch
        >>> metric = LogOddsVariance(num_labels=2, embedding_dim=1)
        >>> metric.update(torch.tensor([[1.0], [-1.0]]), torch.tensor([[-1.0], [1.0]]))
        >>> metric.compute()
        tensor([[0., 4.],
                [4., 0.]])
    """

    quantity = "log_odds_variance"

    @override
    def compute(self) -> Tensor:
        """(K, K), at least 0, all NaN without inputs."""
        return log_odds_variance(self.unembedding, embedding_covariance=self._covariance())
