"""LogitCorrelation and LogOddsVariance: labels compared through the inputs that the head saw.

Both keep the same state, `EmbeddingGeometry`: the last unembedding seen, and sums over inputs. Where labels are no more than
embedding dimensions, these are sums over the logits of the head, each batch at its own weights, else over the embeddings.
Shapes: K labels, D embedding dimensions, N inputs.
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
"""Numbers of the embeddings that are worked on at a time: in float64, 32 MB."""


class EmbeddingGeometry(SummedMetric):
    """State shared by the metrics that see labels through the inputs: a snapshot (K, D), and sums in float64 per block of inputs.

    The sums are `LogitMoments` for K <= D, else `EmbeddingMoments`, with the block before their own dimensions.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        num_blocks: how many sums are kept apart.
        kwargs: as for every `torchmetrics.Metric`.
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
        """The labels that count for the mean row, if they are finite."""
        self._has_logits = num_labels <= embedding_dim
        kind, size = (LogitMoments, num_labels + 1) if self._has_logits else (EmbeddingMoments, embedding_dim)
        self._sums = tuple(f"{name}_sums" for name in kind._fields)
        self.add_state("unembedding", unseen(num_labels, embedding_dim), dist_reduce_fx=first_seen)
        for name, shape in zip(self._sums, ((), (size,), (size, size), (embedding_dim,), ()), strict=False):
            self.add_state(name, torch.zeros(num_blocks, *shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_settings(num_blocks)

    def _take_snapshot(self, unembedding: Tensor) -> None:
        check_uncut()
        check_rows(unembedding, "unembedding", "(K, D)", (self.num_labels, self.embedding_dim))
        self.unembedding = taken(unembedding)

    def _add_moments(
        self, inputs: Tensor, unembedding: Tensor, seen: Tensor | None = None, block_N: Tensor | None = None
    ) -> None:
        """Add a batch of embeddings (N, D), and the logits that the unembedding (K, D) of that moment gives for them.

        Args:
            inputs: (N, D), the embeddings as the head's link sees them.
            unembedding: (K, D), the rows as the head's link sees them.
            seen: boolean (N,), the inputs that count; default those that are finite.
            block_N: whole numbers (N,), the block that each input goes to, -1: none; default the first.
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
        """From embeddings (B, D) and which of them count (B,) to the sums that they add."""
        if not self._has_logits:
            return lambda f_BD, seen_B: embedding_moments(f_BD, seen=seen_B)
        rows = split_rows(unembedding, self.counted)
        return lambda f_BD, seen_B: logit_moments(f_BD, rows=rows, seen=seen_B)

    def _parts(self, inputs: Tensor, seen_N: Tensor, block_N: Tensor | None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The inputs of every block, not too many at a time: the block, embeddings (B, D), and which of them count (B,)."""
        size = max(1, _NUMBERS // self.embedding_dim)
        place_N = seen_N.long() if block_N is None else block_N.to(inputs.device).masked_fill(~seen_N, -1) + 1
        counts = place_N.bincount(minlength=self.num_blocks + 1).tolist()
        if max(counts[1:]) == len(inputs):  # all go to one block: none is copied
            for f_BD, seen_B in zip(torch.split(inputs, size), torch.split(seen_N, size), strict=True):
                yield counts.index(len(inputs), 1) - 1, f_BD, seen_B
            return
        order_N = place_N.argsort(stable=True)
        for block, of_block in enumerate(torch.split(order_N, counts)[1:]):
            for index_B in torch.split(of_block, size) if len(of_block) else ():
                yield block, inputs[index_B], seen_N[index_B]

    @property
    def _moments(self) -> "BlockMoments":
        return BlockMoments(tuple(getattr(self, name) for name in self._sums), self._has_logits)


@dataclass(frozen=True, eq=False)
class BlockMoments:
    """Sums over the inputs of every block, and the covariances that follow from them."""

    sums: tuple[Tensor, ...]
    """(G, ...) each: those of `LogitMoments` or of `EmbeddingMoments`."""
    has_logits: bool
    """Whether they are of logits."""

    def copied(self) -> "BlockMoments":
        """The same sums, which later inputs do not change."""
        return BlockMoments(tuple(sums.clone() for sums in self.sums), self.has_logits)

    def covariance(self, left_out: int | None = None) -> Tensor | LogitCovariance:
        """Of all inputs, or of those of all blocks but one."""
        blocks = [block for block in range(len(self.sums[0])) if block != left_out]
        # One block is not copied: it may be the largest thing here.
        total = [sums[blocks[0]] if len(blocks) == 1 else sums[blocks].sum(dim=0) for sums in self.sums]
        return LogitCovariance.of(LogitMoments(*total)) if self.has_logits else embedding_covariance(EmbeddingMoments(*total))

    def logit_covariances_without(self, rows: Tensor, labels: Tensor, live: Tensor, *, centered: bool) -> Tensor:
        """The covariances of the logits of some labels (G, L, L), float64, over all inputs but those of each block.

        Args:
            rows: (K, D), the rows as the head's link sees them.
            labels: (L,), which labels.
            live: boolean (K,), the labels that logits are centered over.
            centered: whether logits are centered over labels.
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
    """The metrics that are computed from this state alone. In a `MetricCollection` they share it.

    A subclass names its `quantity`, a key of the table of similarities.
    """

    def __init__(self, num_labels: int, embedding_dim: int, **kwargs: Any) -> None:
        super().__init__(num_labels, embedding_dim, 1, **kwargs)

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """What the table of similarities says leaves it unchanged."""
        return symmetries_of_weights(self.quantity)

    @override
    def update(self, unembedding: Tensor, embedding: Tensor) -> None:
        """Add a batch of embeddings (N, D), those that are finite; take the unembedding (K, D) of the same moment."""
        self._take_snapshot(unembedding)
        self._add_moments(embedding, unembedding)

    def _matrix(self) -> Tensor:
        """(K, K), the similarity of all labels, as the table has it."""
        every_K = torch.arange(self.num_labels, device=self.unembedding.device)
        live_K = live_labels(self.unembedding, None)
        head = HeadRows(self.unembedding, every_K, self._moments.covariance(), live_K, is_centered=True)
        return SIMILARITIES[self.quantity].matrix(head)


class LogitCorrelation(EmbeddingSimilarity):
    r"""Correlation over inputs of the centered logits of every two labels.

    :math:`\tilde g_i^\top \Sigma \tilde g_j / \sqrt{\tilde g_i^\top \Sigma \tilde g_i \cdot \tilde g_j^\top \Sigma \tilde g_j}`;
    see `lightning_cossim.functional.logit_correlation`, also for what leaves it unchanged.

    `update(unembedding, embedding)` takes (K, D) and (N, D), of any floating dtype. For K <= D the logits of each batch add up,
    at the unembedding that it came with; for K > D embeddings add up and the last unembedding wins. The two are the same as long
    as the weights stand still. `compute()` returns (K, K) in [-1, 1].

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
        return self._matrix()


class LogOddsVariance(EmbeddingSimilarity):
    r"""Variance over inputs of the log-odds between every two labels, in squared nats. Small means alike.

    :math:`(g_i - g_j)^\top \Sigma\, (g_i - g_j)`; see `lightning_cossim.functional.log_odds_variance`, also for what leaves it
    unchanged.

    `update(unembedding, embedding)` takes (K, D) and (N, D), of any floating dtype. For K <= D the logits of each batch add up,
    at the unembedding that it came with; for K > D embeddings add up and the last unembedding wins. The two are the same as long
    as the weights stand still. `compute()` returns (K, K), at least 0.

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
        return self._matrix()
