"""LogitCorrelation and LogOddsVariance: similarities that compare labels over the inputs of the head.

Both keep the same state, `EmbeddingGeometry`: the last unembedding, and sums over inputs. If K <= D, the sums are over the logits
of the head, and each batch uses its own weights. If K > D, the sums are over the embeddings.

Shapes: K labels, L of them, D embedding dimensions, N inputs, B of them at a time, G blocks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.centering import center_labels
from lightning_cossim.functional.inputs import check_rows, live_labels
from lightning_cossim.functional.invariances import symmetries_of_weights
from lightning_cossim.functional.logit_covariance import (
    LogitCovariance,
    LogitMoments,
    logit_moments,
    split_rows,
)
from lightning_cossim.functional.logit_geometry import EmbeddingMoments, embedding_covariance, embedding_moments
from lightning_cossim.functional.similarities import SIMILARITIES, HeadRows
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.snapshot import check_uncut, first_seen, gather_snapshots, taken, unseen
from lightning_cossim.metrics.state import SummedMetric, writable

__all__ = ["BlockMoments", "EmbeddingGeometry", "EmbeddingSimilarity", "LogOddsVariance", "LogitCorrelation"]

_NUMBERS: Final = 2**22
"""Embedding entries that are processed at a time: 32 MB in float64."""


class EmbeddingGeometry(SummedMetric):
    """Base of the metrics that need the inputs: a snapshot of the unembedding (K, D), and float64 sums per block of inputs.

    The sums are `LogitMoments` for K <= D, and `EmbeddingMoments` for K > D. The block is their first dimension.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        num_blocks: G, the number of blocks with separate sums, at least 1.
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: `num_labels` or `embedding_dim` is below 1.
    """

    full_state_update = True

    unembedding: Tensor
    num_inputs_sums: Tensor
    total_sums: Tensor
    outer_sums: Tensor

    def __init__(self, num_labels: int, embedding_dim: int, num_blocks: int = 1, **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_snapshots, **kwargs})
        for argument, size in (("num_labels", num_labels), ("embedding_dim", embedding_dim)):
            if size < 1:
                raise InputError(expected(argument, "to be at least 1", size, "Pass the shape of the head's weight."))
        self.num_labels, self.embedding_dim, self.num_blocks = num_labels, embedding_dim, num_blocks
        self.counted = torch.ones(num_labels, dtype=torch.bool, device="cpu")
        """Boolean (K,), the labels that the mean row includes if their rows are finite."""
        self._has_logits = num_labels <= embedding_dim
        kind, size = (LogitMoments, num_labels + 1) if self._has_logits else (EmbeddingMoments, embedding_dim)
        self._sums = tuple(f"{name}_sums" for name in kind._fields)
        self.add_state("unembedding", unseen(num_labels, embedding_dim), dist_reduce_fx=first_seen)
        for name, shape in zip(self._sums, ((), (size,), (size, size), (embedding_dim,), ()), strict=False):
            self.add_state(name, torch.zeros(num_blocks, *shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_settings(num_blocks)

    def _take_snapshot(self, unembedding: Tensor) -> None:
        """Check an unembedding (K, D) and store a copy."""
        check_uncut()
        check_rows(unembedding, "unembedding", "(K, D)", (self.num_labels, self.embedding_dim))
        self.unembedding = taken(unembedding)

    def _add_moments(
        self, inputs: Tensor, unembedding: Tensor, seen: Tensor | None = None, block_N: Tensor | None = None
    ) -> None:
        """Add the embeddings of a batch, or the logits that the current unembedding gives for them, to the sums.

        Args:
            inputs: (N, D), the embeddings, normalized if the link does so.
            unembedding: (K, D), the rows, normalized if the link does so.
            seen: boolean (N,), the inputs that count; default all finite ones.
            block_N: integer (N,), the block of each input, -1 for none; default block 0 for all.
        """
        check_rows(inputs, "embedding", "(N, D)", (None, self.embedding_dim))
        seen_N = inputs.isfinite().all(dim=1) if seen is None else seen
        moments_of = self._moments_of(unembedding.to(inputs.device))
        states = {name: writable(getattr(self, name)) for name in self._sums}
        for block, f_BD, seen_B in self._parts(inputs, seen_N, block_N):
            for state, part in zip(states.values(), moments_of(f_BD, seen_B), strict=True):
                state[block].add_(part.to(state))
        for name, state in states.items():
            setattr(self, name, state)

    def _moments_of(self, unembedding: Tensor) -> Callable[[Tensor, Tensor], EmbeddingMoments | LogitMoments]:
        """A function from embeddings (B, D) and a mask of those that count (B,) to their sums."""
        if not self._has_logits:
            return lambda f_BD, seen_B: embedding_moments(f_BD, seen=seen_B)
        rows = split_rows(unembedding, self.counted)
        return lambda f_BD, seen_B: logit_moments(f_BD, rows=rows, seen=seen_B)

    def _parts(self, inputs: Tensor, seen_N: Tensor, block_N: Tensor | None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the inputs of each block in parts of limited size: the block, embeddings (B, D), and whether each counts (B,)."""
        size = max(1, _NUMBERS // self.embedding_dim)
        place_N = seen_N.long() if block_N is None else block_N.to(inputs.device).masked_fill(~seen_N, -1) + 1
        counts = place_N.bincount(minlength=self.num_blocks + 1).tolist()
        if max(counts[1:]) == len(inputs):  # all inputs are in one block: no copy
            for f_BD, seen_B in zip(torch.split(inputs, size), torch.split(seen_N, size), strict=True):
                yield counts.index(len(inputs), 1) - 1, f_BD, seen_B
            return
        order_N = place_N.argsort(stable=True)
        for block, of_block in enumerate(torch.split(order_N, counts)[1:]):
            for index_B in torch.split(of_block, size) if len(of_block) else ():
                yield block, inputs[index_B], seen_N[index_B]

    @property
    def _moments(self) -> "BlockMoments":
        """The current sums."""
        return BlockMoments(tuple(getattr(self, name) for name in self._sums), self._has_logits)


@dataclass(frozen=True, eq=False)
class BlockMoments:
    """Sums over the inputs of each block, and the covariances computed from them."""

    sums: tuple[Tensor, ...]
    """(G, ...) each, float64: the fields of `LogitMoments` or `EmbeddingMoments`, per block."""
    has_logits: bool
    """Whether the sums are over logits."""

    def copied(self) -> "BlockMoments":
        """A copy that later inputs do not change."""
        return BlockMoments(tuple(sums.clone() for sums in self.sums), self.has_logits)

    def covariance(self, left_out: int | None = None) -> Tensor | LogitCovariance:
        """The covariance over all inputs, or over all blocks except one.

        Args:
            left_out: the block to leave out; None for none.

        Returns:
            `LogitCovariance` if the sums are over logits, else the covariance of the embeddings (D, D), float64.
        """
        blocks = [block for block in range(len(self.sums[0])) if block != left_out]
        # A single block is not copied, because it may be the largest tensor here.
        total = [sums[blocks[0]] if len(blocks) == 1 else sums[blocks].sum(dim=0) for sums in self.sums]
        return LogitCovariance.of(LogitMoments(*total)) if self.has_logits else embedding_covariance(EmbeddingMoments(*total))

    def logit_covariances_without(self, rows: Tensor, labels: Tensor, live: Tensor, *, centered: bool) -> Tensor:
        """The covariance of the logits of L labels over all inputs outside each block.

        Args:
            rows: (K, D), the rows of the head, normalized if the link does so.
            labels: integer (L,), the labels.
            live: boolean (K,), the labels whose mean logit is subtracted if `centered`.
            centered: whether to center the logits over labels.

        Returns:
            (G, L, L), float64: entry g leaves out block g.
        """
        covariances = [self.covariance(left_out=block) for block in range(len(self.sums[0]))]
        if self.has_logits:
            return torch.stack(
                [one.between(labels, live, centered=centered) for one in covariances if isinstance(one, LogitCovariance)]
            )
        S_GDD = torch.stack([one for one in covariances if isinstance(one, Tensor)])
        rows_LD = (center_labels(rows, live=live) if centered else rows)[labels].to(S_GDD)
        return rows_LD @ S_GDD @ rows_LD.T


class EmbeddingSimilarity(EmbeddingGeometry):
    """Base of the metrics that need only this state. In a `MetricCollection` they share it.

    A subclass sets its `quantity`, a key of the table of similarities.
    """

    def __init__(self, num_labels: int, embedding_dim: int, **kwargs: Any) -> None:
        super().__init__(num_labels, embedding_dim, 1, **kwargs)

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """The changes of a head that leave the similarity unchanged, from the table of similarities."""
        return symmetries_of_weights(self.quantity)

    @override
    def update(self, unembedding: Tensor, embedding: Tensor) -> None:
        """Add a batch of inputs, and store a copy of the unembedding that the batch used.

        Args:
            unembedding: (K, D), any floating dtype.
            embedding: (N, D), any floating dtype. Rows that are not finite are left out.

        Raises:
            InputError: a tensor has other sizes or is not floating, or a wrapper that cuts tensors runs this update.
        """
        self._take_snapshot(unembedding)
        self._add_moments(embedding, unembedding)

    def _matrix(self) -> Tensor:
        """The similarity (K, K) of all labels, from the table of similarities."""
        every_K = torch.arange(self.num_labels, device=self.unembedding.device)
        live_K = live_labels(self.unembedding, None)
        head = HeadRows(self.unembedding, every_K, self._moments.covariance(), live_K, is_centered=True)
        return SIMILARITIES[self.quantity].matrix(head)


class LogitCorrelation(EmbeddingSimilarity):
    r"""Correlation over inputs of the centered logits of every two labels.

    :math:`\tilde g_i^\top \Sigma \tilde g_j / \sqrt{\tilde g_i^\top \Sigma \tilde g_i \cdot \tilde g_j^\top \Sigma \tilde g_j}`,
    with :math:`\tilde g_i` the centered rows and :math:`\Sigma` the covariance of the embeddings.
    `lightning_cossim.functional.logit_correlation` lists the changes that leave it unchanged.

    `update(unembedding, embedding)` takes (K, D) and (N, D) of any floating dtype. If K <= D, it sums over the logits, and each
    batch uses its own unembedding. If K > D, it sums over the embeddings, and `compute` uses the last unembedding. Both give the
    same result while the weights do not change. `compute()` returns (K, K) in [-1, 1].

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: a size is below 1, a tensor has other sizes, or the update comes from a `BootStrapper` or a
            `MultioutputWrapper`. These wrappers cut the unembedding as well as the inputs.

    Example:
        >>> import torch
        >>> metric = LogitCorrelation(num_labels=3, embedding_dim=2)
        >>> W = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-2.0, 0.0]])
        >>> metric.update(W, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        >>> metric.compute()
        tensor([[ 1.,  1., -1.],
                [ 1.,  1., -1.],
                [-1., -1.,  1.]])

        For an error bar, update copies with resampled inputs and the unchanged unembedding:

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
        """The correlations (K, K) in [-1, 1]. NaN for labels whose centered logit is constant; all NaN without inputs."""
        return self._matrix()


class LogOddsVariance(EmbeddingSimilarity):
    r"""Variance over inputs of the log-odds between every two labels, in squared nats. A small value means similar labels.

    :math:`(g_i - g_j)^\top \Sigma\, (g_i - g_j)`, with :math:`\Sigma` the covariance of the embeddings.
    `lightning_cossim.functional.log_odds_variance` lists the changes that leave it unchanged.

    `update(unembedding, embedding)` takes (K, D) and (N, D) of any floating dtype. If K <= D, it sums over the logits, and each
    batch uses its own unembedding. If K > D, it sums over the embeddings, and `compute` uses the last unembedding. Both give the
    same result while the weights do not change. `compute()` returns (K, K), at least 0.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: a size is below 1, a tensor has other sizes, or the update comes from a `BootStrapper` or a
            `MultioutputWrapper`. These wrappers cut the unembedding as well as the inputs.

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
        """The variances (K, K) in squared nats, at least 0. NaN for rows that are not finite; all NaN without inputs."""
        return self._matrix()
