"""Similarities of labels in the space of logits: the weights seen through the covariance of the embeddings.

Embeddings have a shape of their own: a direction in which no input varies adds to a cosine and to no probability. With the
covariance of the embeddings between them, the rows say how the *logits* of two labels move together over the inputs.
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
"""Share of its mean square below which the variance of a coordinate is what cancellation in float64 leaves."""


class EmbeddingMoments(NamedTuple):
    """Three sums over inputs, float64, from which a covariance follows: they add over batches and processes."""

    num_inputs: Tensor
    """(), how many inputs."""
    total: Tensor
    """(D,), the sum of the embeddings."""
    outer: Tensor
    """(D, D), the sum of their outer products."""


def embedding_moments(embedding: Tensor, *, seen: Tensor | None = None) -> EmbeddingMoments:
    r"""The sums :math:`n`, :math:`\sum_x f(x)` and :math:`\sum_x f(x) f(x)^\top` of one batch.

    The batch is centered by its own mean, so that the product may run in float32; :math:`n\, m m^\top` is added in float64.

    Args:
        embedding: (N, D), any floating dtype.
        seen: boolean (N,), the inputs that count; default those that are finite.

    Returns:
        `EmbeddingMoments`, on the embedding's device.

    Raises:
        InputError: `embedding` is not a floating (N, D) matrix.
    """
    spread = spread_of(embedding, seen)
    with full_precision(embedding):
        outer_DD = (spread.unit.T @ spread.unit).to(spread.mean).mul_(spread.size**2)
    total_D = spread.mean * spread.num_inputs
    return EmbeddingMoments(spread.num_inputs, total_D, outer_DD.addr_(total_D, spread.mean))


class Spread(NamedTuple):
    """A batch of inputs, centered by its own mean."""

    num_inputs: Tensor
    """(), how many inputs count, in the working dtype."""
    mean: Tensor
    """(D,), the mean of the embeddings, in the working dtype."""
    unit: Tensor
    """(N, D), the embeddings minus their mean, divided by `size`, for products; zero where an input does not count."""
    size: Tensor
    """(), the largest number of the centered embeddings: at a size of 1 no square is too large or too small for float32. In the
    working dtype."""


def spread_of(embedding: Tensor, seen: Tensor | None) -> Spread:
    """Embeddings (N, D) around their mean; those that count are `seen` (N,), by default those that are finite."""
    check_matrix(embedding, "embedding", "(N, D)", "Pass what goes into the head, one row an input.")
    seen_N = embedding.isfinite().all(dim=1) if seen is None else seen
    count = seen_N.sum(dtype=working_dtype(embedding))
    f_ND = torch.where(seen_N[:, None], embedding.detach(), 0).to(count.dtype)
    mean_D = f_ND.sum(dim=0) / count.clamp(min=1)
    f_ND.sub_(mean_D).mul_(seen_N[:, None])
    size = largest(f_ND.flatten()) if len(f_ND) else f_ND.new_zeros(())
    unit_ND = f_ND.div_(size.clamp(min=torch.finfo(size.dtype).tiny)).to(result_dtype(embedding))
    return Spread(count, mean_D, unit_ND, size)


def largest(numbers: Tensor) -> Tensor:
    """The largest absolute value in the last dimension; NaN or infinite where a number is. Nothing is laid out for it."""
    return torch.maximum(numbers.amax(dim=-1), -numbers.amin(dim=-1))


def embedding_covariance(moments: EmbeddingMoments) -> Tensor:
    r"""The population covariance :math:`\frac1n \sum_x f f^\top - \bar f \bar f^\top` (D, D), NaN without inputs.

    A coordinate whose variance is within rounding of zero (1e-12 of its mean square) is constant: its row and column are 0.
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
    with :math:`\Sigma` the covariance of the embeddings. Unchanged by a translation of all rows and by every invertible linear
    map of the embeddings (with its inverse on the rows): what the model computes, not how it is written down. Equal to the
    centered cosine where :math:`\Sigma` is isotropic on the span of the centered rows.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        embedding_covariance: (D, D), symmetric, population covariance of the embeddings.
        centered: whether to subtract the mean row first (sigmoid heads: False).
        live: boolean (K,), the labels that count; default all. Rows that are not finite never count.

    Returns:
        (K, K) in [-1, 1], float32 or, for a float64 unembedding, float64; NaN where a label is not live or its centered logit
        is constant (within rounding).

    Raises:
        InputError: wrong shapes or dtypes.

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
        corr_KK = corr_KK.sign()  # embeddings differ in one direction: what is left beside 1 and -1 is rounding
    return corr_KK.masked_fill(~(known_K[:, None] & known_K), torch.nan).to(result_dtype(unembedding))


def log_odds_variance(unembedding: Tensor, *, embedding_covariance: Tensor) -> Tensor:
    r"""Variance over inputs of the log-odds between labels i and j, :math:`(g_i - g_j)^\top \Sigma\, (g_i - g_j)`.

    Under a softmax, :math:`z_i - z_j = \log p_i / p_j`. Small means alike: in comparisons with the overlap it enters negated.
    Unchanged by translation and every invertible linear map, and independent of which other labels exist.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        embedding_covariance: (D, D), symmetric, population covariance of the embeddings.

    Returns:
        (K, K), at least 0, in squared nats; diagonal 0. Float32 or, for a float64 unembedding, float64; NaN where a row is not
        finite.

    Raises:
        InputError: wrong shapes or dtypes.

    Example:
        >>> import torch
        >>> log_odds_variance(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), embedding_covariance=torch.eye(2))
        tensor([[0., 4.],
                [4., 0.]])

    Source: Aitchison's variation array; THEORY rung 3'.
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
        rows: (P, D), of the first labels, in the working dtype; they are not centered here.
        others: (P, D), of the second labels.
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
        correlation_P = correlation_P.sign()  # embeddings differ in one direction: what is left beside 1 and -1 is rounding
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
