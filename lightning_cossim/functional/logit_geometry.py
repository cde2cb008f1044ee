"""Similarities of labels in the space of logits: the weights, combined with the covariance of the embeddings.

If no input varies in a direction of the embedding space, this direction contributes to a cosine but to no probability. The
covariance of the embeddings removes it: the rows and the covariance together give the covariance of the *logits* of two labels.
Shapes: `f_ND` embeddings, `S_DD` their covariance, `W_KD` unembedding, `C_KK` covariance of the logits.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.functional.centering import centered_rows
from lightning_cossim.functional.inputs import check_matrix, check_width, live_labels
from lightning_cossim.functional.precision import full_precision, resolution, result_dtype, working_dtype

__all__ = [
    "SAME_EMBEDDING",
    "EmbeddingMoments",
    "Spread",
    "embedding_covariance",
    "embedding_moments",
    "largest",
    "log_odds_variance",
    "logit_correlation",
    "logit_geometry_of",
    "spread_of",
]

SAME_EMBEDDING: Final = 1e-12
"""A coordinate is constant if its variance is at most this share of its mean square: float64 cancellation leaves as much."""


class EmbeddingMoments(NamedTuple):
    """Three sums over inputs, float64, that determine a covariance. They add over batches and processes."""

    num_inputs: Tensor
    """(), the number of inputs."""
    total: Tensor
    """(D,), the sum of the embeddings."""
    outer: Tensor
    """(D, D), the sum of their outer products."""


def embedding_moments(embedding: Tensor, *, seen: Tensor | None = None) -> EmbeddingMoments:
    r"""The sums :math:`n`, :math:`\sum_x f(x)` and :math:`\sum_x f(x) f(x)^\top` of one batch.

    The batch is centered by its own mean, so that the product can run in float32. :math:`n\, m m^\top` is added in float64.

    Args:
        embedding: (N, D), any floating-point dtype.
        seen: boolean (N,), the inputs that count; by default, the finite ones.

    Returns:
        `EmbeddingMoments`, on the embedding's device.

    Raises:
        InputError: `embedding` is not a floating-point (N, D) matrix.
    """
    spread = spread_of(embedding, seen)
    with full_precision(embedding):
        outer_DD = (spread.unit.T @ spread.unit).to(spread.mean).mul_(spread.size**2)
    total_D = spread.mean * spread.num_inputs
    return EmbeddingMoments(spread.num_inputs, total_D, outer_DD.addr_(total_D, spread.mean))


class Spread(NamedTuple):
    """A batch of embeddings, centered by its own mean."""

    num_inputs: Tensor
    """(), the number of inputs that count, in the working dtype."""
    mean: Tensor
    """(D,), the mean of the embeddings, in the working dtype."""
    unit: Tensor
    """(N, D), the embeddings minus their mean, divided by `size`, for products. Zero if an input does not count."""
    size: Tensor
    """(), the largest absolute value of the centered embeddings, in the working dtype.

    Division by it keeps all squares in the range of float32.
    """


def spread_of(embedding: Tensor, seen: Tensor | None) -> Spread:
    """The mean of embeddings (N, D), and their deviations from it.

    `seen` (N,) marks the inputs that count; by default, the finite ones.
    """
    check_matrix(embedding, "embedding", "(N, D)", "Pass the embeddings that enter the head, one row per input.")
    seen_N = embedding.isfinite().all(dim=1) if seen is None else seen
    count = seen_N.sum(dtype=working_dtype(embedding))
    f_ND = torch.where(seen_N[:, None], embedding.detach(), 0).to(count.dtype)
    mean_D = f_ND.sum(dim=0) / count.clamp(min=1)
    f_ND.sub_(mean_D).mul_(seen_N[:, None])
    size = largest(f_ND.flatten()) if len(f_ND) else f_ND.new_zeros(())
    unit_ND = f_ND.div_(size.clamp(min=torch.finfo(size.dtype).tiny)).to(result_dtype(embedding))
    return Spread(count, mean_D, unit_ND, size)


def largest(numbers: Tensor) -> Tensor:
    """The largest absolute value in the last dimension, without a temporary copy. NaN or infinite if a number is."""
    return torch.maximum(numbers.amax(dim=-1), -numbers.amin(dim=-1))


def embedding_covariance(moments: EmbeddingMoments) -> Tensor:
    r"""The population covariance :math:`\frac1n \sum_x f f^\top - \bar f \bar f^\top` (D, D). NaN without inputs.

    A coordinate whose variance is within rounding of zero (1e-12 of its mean square) is constant. Its row and column are 0.
    """
    mean_D = moments.total / moments.num_inputs
    covariance_DD = moments.outer / moments.num_inputs
    square_D = covariance_DD.diagonal().clone()
    covariance_DD.addr_(mean_D, mean_D, alpha=-1)
    constant_D = covariance_DD.diagonal() <= SAME_EMBEDDING * square_D
    return covariance_DD.masked_fill_(constant_D[:, None] | constant_D, 0)


def logit_correlation(
    unembedding: Tensor, *, embedding_covariance: Tensor, centered: bool = True, live: Tensor | None = None
) -> Tensor:
    r"""Correlation over inputs of the centered logits of labels i and j.

    :math:`\tilde g_i^\top \Sigma \tilde g_j / \sqrt{\tilde g_i^\top \Sigma \tilde g_i \cdot \tilde g_j^\top \Sigma \tilde g_j}`
    where :math:`\Sigma` is the covariance of the embeddings. It does not change under a translation of all rows, or under any
    invertible linear map of the embeddings with its inverse on the rows. It equals the label-centered cosine if :math:`\Sigma` is
    isotropic on the span of the centered rows.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        embedding_covariance: (D, D), symmetric, population covariance of the embeddings.
        centered: whether to subtract the mean row first. Pass False for a sigmoid head.
        live: boolean (K,), the labels that count; all by default. Rows that are not finite never count.

    Returns:
        (K, K) in [-1, 1], float64 for a float64 unembedding, float32 otherwise. NaN if a label is not live or its centered logit
        is constant (within rounding).

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, `embedding_covariance` is not a floating-point (D, D)
            matrix, or `live` is not a boolean tensor of shape (K,).

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-2.0, 0.0]])
        >>> logit_correlation(W, embedding_covariance=torch.diag(torch.tensor([1.0, 0.0])))
        tensor([[ 1.,  1., -1.],
                [ 1.,  1., -1.],
                [-1., -1.,  1.]])
    """
    live_K = live_labels(unembedding, live)
    W_KD = centered_rows(unembedding, live) if centered else unembedding.detach().to(working_dtype(unembedding))
    C_KK, S_DD = _logit_covariance(W_KD, embedding_covariance, live_K)
    deviation_K = C_KK.diagonal().clamp(min=0).sqrt()
    noise_K = resolution(unembedding) * torch.where(live_K, W_KD.square().sum(dim=1), 0) * S_DD.diagonal().sum()
    known_K = live_K & (deviation_K.square() > noise_K)
    corr_KK = (C_KK / deviation_K[:, None] / deviation_K).clamp(-1, 1)
    if S_DD.square().sum() >= (1 - resolution(unembedding)) * S_DD.diagonal().sum().square():
        corr_KK = corr_KK.sign()  # embeddings vary in one direction only, so other values than 1 and -1 are rounding
    return corr_KK.masked_fill(~(known_K[:, None] & known_K), torch.nan).to(result_dtype(unembedding))


def log_odds_variance(unembedding: Tensor, *, embedding_covariance: Tensor) -> Tensor:
    r"""Variance over inputs of the log-odds between labels i and j, :math:`(g_i - g_j)^\top \Sigma\, (g_i - g_j)`.

    Under a softmax, :math:`z_i - z_j = \log p_i / p_j`. A small value means alike, so comparisons with the overlap use it
    negated. It does not change under a translation or any invertible linear map, and it does not depend on which other labels
    exist.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        embedding_covariance: (D, D), symmetric, population covariance of the embeddings.

    Returns:
        (K, K), at least 0, in squared nats; diagonal 0. Float64 for a float64 unembedding, float32 otherwise. NaN if a row is not
        finite.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `embedding_covariance` is not a floating-point (D, D)
            matrix.

    Example:
        >>> import torch
        >>> log_odds_variance(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), embedding_covariance=torch.eye(2))
        tensor([[0., 4.],
                [4., 0.]])

    Source: Aitchison's variation array.
    """
    live_K = live_labels(unembedding, None)
    C_KK, _ = _logit_covariance(centered_rows(unembedding, None), embedding_covariance, live_K)
    variance_K = C_KK.diagonal()
    V_KK = (variance_K[:, None] + variance_K - 2 * C_KK).clamp(min=0)
    return V_KK.masked_fill(~(live_K[:, None] & live_K), torch.nan).to(result_dtype(unembedding))


def logit_geometry_of(
    rows: Tensor, others: Tensor, *, along: Tensor, across: Tensor, embedding_covariance: Tensor, resolution: float
) -> tuple[Tensor, Tensor]:
    """`logit_correlation` and `log_odds_variance` of pairs, (P,) each.

    Args:
        rows: (P, D), the rows of the first labels, in the working dtype. They are not centered here.
        others: (P, D), the rows of the second labels.
        along: (P, D), the rows times the covariance.
        across: (P, D), the others times the covariance.
        embedding_covariance: (D, D).
        resolution: the relative size below which a number is rounding.
    """
    along_PD, across_PD, S_DD = along, across, embedding_covariance
    variance_P, other_P = (along_PD * rows).sum(dim=1), (across_PD * others).sum(dim=1)
    correlation_P = ((along_PD * others).sum(dim=1) / variance_P.clamp(min=0).sqrt() / other_P.clamp(min=0).sqrt()).clamp(-1, 1)
    spread = S_DD.diagonal().sum()
    if S_DD.square().sum() >= (1 - resolution) * spread.square():
        correlation_P = correlation_P.sign()  # embeddings vary in one direction only, so other values than 1 and -1 are rounding
    for variance, part in ((variance_P, rows), (other_P, others)):
        noise_P = resolution * part.square().sum(dim=1) * spread
        correlation_P = correlation_P.masked_fill(~(variance > noise_P), torch.nan)
    return correlation_P, ((along_PD - across_PD) * (rows - others)).sum(dim=1).clamp(min=0)


def _logit_covariance(W_KD: Tensor, covariance: Tensor, live_K: Tensor) -> tuple[Tensor, Tensor]:
    """W S Wᵀ over live rows, and S, in the working dtype."""
    check_matrix(covariance, "embedding_covariance", "(D, D)")
    check_width(W_KD, covariance)
    W_KD = torch.where(live_K[:, None], W_KD, 0)
    S_DD = covariance.detach().to(W_KD)
    with full_precision(W_KD):
        return W_KD @ S_DD @ W_KD.T, S_DD
