r"""The covariance of the logits of a head over inputs, computed without the (D, D) covariance of the embeddings.

If there are few labels (K <= D), sums over the logits of the head contain as much information as sums over its embeddings, and
are smaller. Each batch adds the logits that its current weights give. While the weights do not change, the covariance is
:math:`W \Sigma W^\top`. During training, it is the covariance of the logits seen.

The part that all rows have in common can be far larger than the differences between labels. Therefore logits are kept in two
parts: the logits of the rows minus their mean, and the logits of the mean row. Uncentered logits, and logits centered over other
labels, follow from these parts in float64.

Shapes: K labels of the head, L of them compared, D embedding dimensions, N inputs; M = K + 1, the labels and the mean row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_cossim.functional.logit_geometry import (
    SAME_EMBEDDING,
    EmbeddingMoments,
    embedding_covariance,
    largest,
    spread_of,
)
from lightning_cossim.functional.overlap import add_products
from lightning_cossim.functional.precision import full_precision, resolution, result_dtype, working_dtype

__all__ = ["LogitCovariance", "LogitMoments", "SplitRows", "logit_moments", "split_rows"]


class SplitRows(NamedTuple):
    """The rows of a head at one moment: each row minus the mean row, followed by the mean row."""

    units: Tensor
    """(M, D), the rows divided by their sizes, for products in float32 or better."""
    wide: Tensor
    """(M, D), the same in the working dtype."""
    sizes: Tensor
    """(M,), the largest absolute value of each row, in the working dtype.

    It is 0 if it is within rounding of 0, and NaN if a row is not finite.
    """


def split_rows(unembedding: Tensor, live: Tensor | None = None) -> SplitRows:
    """Split the rows of an unembedding (K, D) into their mean over live labels (K,), and the rows minus this mean.

    All labels are live by default. Rows that are not finite never count.
    """
    W_KD = unembedding.detach()
    size_K = largest(W_KD).to(working_dtype(W_KD))
    finite_K = size_K.isfinite()
    live_K = finite_K if live is None else finite_K & live.to(finite_K.device)
    rows_MD = size_K.new_empty(len(W_KD) + 1, W_KD.shape[1])
    away_KD, mean_D = rows_MD[:-1], rows_MD[-1]  # in place, because it can be as large as the head
    away_KD.copy_(W_KD).masked_fill_(~finite_K[:, None], 0)
    with full_precision(W_KD):
        mean_D.copy_(live_K.to(size_K) / live_K.sum() @ away_KD)
    away_KD.sub_(mean_D)
    size_M = largest(rows_MD)
    rows_MD.div_(size_M.clamp(min=torch.finfo(size_M.dtype).tiny)[:, None])
    longest = torch.where(live_K, size_K, 0).amax()
    size_M.masked_fill_(size_M <= resolution(W_KD) * longest, 0)
    size_M[:-1].masked_fill_(~finite_K, torch.nan)
    return SplitRows(rows_MD.to(result_dtype(W_KD)), rows_MD, size_M)


class LogitMoments(NamedTuple):
    """Sums over inputs, float64, that determine the covariance of the logits of a head. They add over batches and processes.

    Entries of a label whose row was not finite in any batch are NaN. The entries of other labels are not affected.
    """

    num_inputs: Tensor
    """(), the number of inputs."""
    total: Tensor
    """(M,), the sum of the logits of the split rows."""
    outer: Tensor
    """(M, M), the sum of their outer products, on and above the diagonal. The values below the diagonal have no meaning."""
    embedding_total: Tensor
    """(D,), the sum of the embeddings."""
    embedding_square: Tensor
    """(), the sum of their squared lengths."""


def logit_moments(embedding: Tensor, *, rows: SplitRows, seen: Tensor | None = None) -> LogitMoments:
    r"""The sums :math:`n`, :math:`\sum_x z`, :math:`\sum_x z z^\top`, :math:`\sum_x f` and :math:`\sum_x |f|^2` of one batch.

    The batch is centered by its own mean, so that both products can run in float32. The part of the mean is added in float64.

    Args:
        embedding: (N, D), any floating-point dtype.
        rows: the split rows of the head when it computed these logits.
        seen: boolean (N,), the inputs that count; by default, the finite ones.

    Returns:
        `LogitMoments`, on the embedding's device.

    Raises:
        InputError: `embedding` is not a floating-point (N, D) matrix.
    """
    spread = spread_of(embedding, seen)
    units_MD, spread_ND = rows.units, spread.unit
    dtype = torch.promote_types(units_MD.dtype, spread_ND.dtype)
    with full_precision(embedding):
        z_NK = spread_ND.to(dtype) @ units_MD[:-1].to(dtype).T
        z_N = spread_ND.to(dtype) @ units_MD[-1].to(dtype)  # a separate product: one of K + 1 columns can take 25 % longer
        mean_M = (rows.wide @ spread.mean) * rows.sizes
    z_NM = torch.cat([z_NK, z_N[:, None]], dim=1)
    product_MM = z_NM.new_zeros(z_NM.shape[1], z_NM.shape[1])
    add_products(product_MM, z_NM)
    size_M = rows.sizes * spread.size
    outer_MM = product_MM.to(size_M).mul_(size_M[:, None]).mul_(size_M)
    total_M, total_D = mean_M * spread.num_inputs, spread.mean * spread.num_inputs
    square = (torch.linalg.vector_norm(spread_ND) * spread.size).square()
    return LogitMoments(
        spread.num_inputs, total_M, outer_MM.addr_(total_M, mean_M), total_D, square + (spread.mean * total_D).sum()
    )


@dataclass(frozen=True)
class LogitCovariance:
    """The covariance of the logits of a head over inputs."""

    matrix: Tensor
    """(M, M), population covariance. NaN if a label is unknown, and everywhere without inputs."""
    embedding_variance: Tensor
    """(), the variance of the embeddings, summed over dimensions. It shows whether the variance of a logit is rounding."""

    @classmethod
    def of(cls, moments: LogitMoments) -> "LogitCovariance":
        """The covariance from sums over inputs."""
        outer_MM = moments.outer.triu() + moments.outer.triu(1).T
        matrix_MM = embedding_covariance(EmbeddingMoments(moments.num_inputs, moments.total, outer_MM))
        square, mean_D = moments.embedding_square / moments.num_inputs, moments.embedding_total / moments.num_inputs
        variance = square - mean_D.square().sum()
        return cls(matrix_MM, variance.masked_fill(variance <= SAME_EMBEDDING * square, 0))

    def logit_correlation(self, rows: Tensor, *, labels: Tensor, live: Tensor, centered: bool) -> Tensor:
        """Correlation over inputs of the logits of some labels.

        Args:
            rows: (L, D), the current rows of these labels, centered if `centered` is true.
            labels: (L,), their indices in the head.
            live: boolean (K,), the labels that logits are centered over.
            centered: whether logits are centered over labels.

        Returns:
            (L, L) in [-1, 1], float64 for float64 rows, float32 otherwise. NaN if a label is not live or its logit is constant
            (within rounding).
        """
        C_LL = self.between(labels, live, centered=centered)
        variance_L = C_LL.diagonal()
        square_L = torch.linalg.vector_norm(rows.detach(), dim=1, dtype=working_dtype(rows)).square().to(C_LL)
        noise_L = resolution(rows) * square_L * self.embedding_variance
        known_L = live[labels].to(C_LL.device) & (variance_L > noise_L) & (square_L > 0)
        known_LL = known_L[:, None] & known_L
        deviation_L = torch.where(known_L, variance_L, 0).sqrt()
        corr_LL = (C_LL / deviation_L[:, None] / deviation_L).clamp(-1, 1)
        rounding_L = resolution(rows) * deviation_L.max() / deviation_L  # a new origin adds the rounding of the largest logit
        if ((corr_LL.abs() >= 1 - rounding_L[:, None] - rounding_L) | ~known_LL).all():
            corr_LL = corr_LL.sign()  # embeddings vary in one direction only, so other values than 1 and -1 are rounding
        return corr_LL.masked_fill(~known_LL, torch.nan).to(rows.device, result_dtype(rows))

    def log_odds_variance(self, rows: Tensor, *, labels: Tensor) -> Tensor:
        """Variance over inputs of the difference of two logits.

        Args:
            rows: (L, D), the current rows of these labels.
            labels: (L,), their indices in the head.

        Returns:
            (L, L), at least 0, in squared nats; diagonal 0. Float64 for float64 rows, float32 otherwise. NaN if a label is
            unknown.
        """
        C_LL = self._of(labels)
        variance_L = C_LL.diagonal()
        return (variance_L[:, None] + variance_L - 2 * C_LL).clamp(min=0).to(rows.device, result_dtype(rows))

    def _of(self, labels: Tensor) -> Tensor:
        """The covariance (L, L) of the logits of some labels as stored, without the part of the mean row."""
        labels = labels.to(self.matrix.device)
        return self.matrix[labels[:, None], labels]

    def between(self, labels: Tensor, live: Tensor, *, centered: bool) -> Tensor:
        """The covariance (L, L) of the logits of some labels, uncentered or centered over live labels."""
        C_MM = self.matrix.nan_to_num(0)
        if centered:  # over the current live labels, which can differ from those of `split_rows`
            known_K = live.to(C_MM.device) & ~self.matrix.diagonal()[:-1].isnan()
            origin_M = torch.cat([known_K.to(C_MM) / -known_K.sum(), C_MM.new_zeros(1)])
        else:
            origin_M = torch.cat([C_MM.new_zeros(len(C_MM) - 1), C_MM.new_ones(1)])
        with full_precision(C_MM):
            along_M = C_MM @ origin_M
            across = along_M @ origin_M
        along_L = along_M[labels.to(C_MM.device)]
        return self._of(labels) + along_L[:, None] + along_L + across
