"""How far a similarity between labels accounts for the overlap of their probabilities.

Everything here compares two (K, K) matrices over the same labels, pair by pair over the upper triangle; a pair where either
is NaN does not count. Float64, on the CPU where SciPy computes. Shapes: P pairs, `s_P` similarities, `o_P` overlaps, `e_P` the
overlaps expected from the similarities.

A statistic is never computed from rounding noise: with fewer than 10 pairs, or where all pairs are alike in similarity or in
overlap, the results are NaN and `undefined_reason` says why.
"""

from typing import NamedTuple

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from lightning_cossim.functional.inputs import check_same_labels
from lightning_cossim.functional.precision import result_dtype

__all__ = ["MIN_PAIRS", "expected_overlap", "explained_overlap", "rank_agreement", "undefined_reason"]

MIN_PAIRS = 10
_DECIMALS = 6
"""Similarities that agree to 1e-6 are ties: what lies below is rounding."""
_SAME_OVERLAP = 1e-5
"""Overlaps whose spread, relative to the largest, is below this are equal: a float32 sum over inputs is no finer."""


class _Pairs(NamedTuple):
    """The pairs that count: values in float64 on the CPU, and where in the matrix they stand."""

    similarity: Tensor
    overlap: Tensor
    row: Tensor
    column: Tensor


def expected_overlap(similarity: Tensor, overlap: Tensor) -> Tensor:
    r"""What pairs with this similarity usually overlap: the isotonic regression of overlap on similarity.

    The non-decreasing function :math:`e` that minimises :math:`\sum_{i<j} (o_{ij} - e(s_{ij}))^2`; pairs whose similarity
    agrees to 1e-6 share one value. The *gap* of a pair is its overlap minus this. Fitted to the same pairs: gaps sum to zero,
    and a single odd pair at the very highest similarity shows none.

    Args:
        similarity: (K, K), larger means more alike (pass log-odds variances negated).
        overlap: (K, K).

    Returns:
        (K, K), symmetric, in the units of `overlap`; NaN on the diagonal and for pairs that do not count, all NaN where
        `undefined_reason` gives a reason.

    Raises:
        InputError: not two floating (K, K) matrices of one shape.

    Source: isotonic regression by pooling adjacent violators, `scipy.optimize.isotonic_regression`.
    """
    pairs = _pairs(similarity, overlap)
    expected_KK = torch.full(overlap.shape, torch.nan, dtype=torch.float64)
    if _reason(pairs) is None:
        e_P, _ = _isotonic_fit(pairs)
        expected_KK[pairs.row, pairs.column] = e_P
        expected_KK[pairs.column, pairs.row] = e_P
    return expected_KK.to(overlap.device, result_dtype(overlap))


def explained_overlap(similarity: Tensor, overlap: Tensor) -> Tensor:
    r"""The share of the overlap's variance over pairs that a similarity accounts for, adjusted for the fit's freedom.

    :math:`R^2 = 1 - \sum (o - e)^2 / \sum (o - \bar o)^2` of the isotonic fit, adjusted to
    :math:`1 - (1 - R^2) (n - 1) / (n - m)` for n pairs and m levels of the fit. Under independence its mean is within .01 of 0,
    while the plain value would be .21 at 10 pairs and .08 at 45.

    Args:
        similarity: (K, K), larger means more alike (pass log-odds variances negated).
        overlap: (K, K).

    Returns:
        A scalar, at most 1; 1 where overlap is an increasing function of similarity; may be negative; NaN where
        `undefined_reason` gives a reason.

    Raises:
        InputError: not two floating (K, K) matrices of one shape.

    Example:
        >>> import torch
        >>> similarity = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
        >>> explained_overlap(similarity, similarity**3)
        tensor(1.)
    """
    pairs = _pairs(similarity, overlap)
    if _reason(pairs) is not None:
        return overlap.new_full((), torch.nan, dtype=result_dtype(overlap))
    e_P, num_levels = _isotonic_fit(pairs)
    o_P, num_pairs = pairs.overlap, len(pairs.overlap)
    unexplained = (o_P - e_P).square().sum() / (o_P - o_P.mean()).square().sum()
    freedom = num_pairs - num_levels
    adjusted = 1 - unexplained * (num_pairs - 1) / freedom if freedom else torch.ones_like(unexplained)
    return adjusted.to(overlap.device, result_dtype(overlap))


def rank_agreement(similarity: Tensor, overlap: Tensor) -> Tensor:
    r"""Spearman's :math:`\rho_a`: the correlation of ranks expected when ties are broken at random.

    :math:`\frac{12}{n^3 - n} \sum (r - \bar r)(s - \bar s)` over n pairs, with average ranks. Unlike Spearman's rho, ties cost:
    a similarity that cannot tell pairs apart is not credited for it.

    Args:
        similarity: (K, K), larger means more alike (pass log-odds variances negated).
        overlap: (K, K).

    Returns:
        A scalar in [-1, 1]; NaN where `undefined_reason` gives a reason.

    Raises:
        InputError: not two floating (K, K) matrices of one shape.

    Source: Schütt et al., rsatoolbox (rho_a).
    """
    pairs = _pairs(similarity, overlap)
    if _reason(pairs) is not None:
        return overlap.new_full((), torch.nan, dtype=result_dtype(overlap))
    r_P, s_P = _average_ranks(pairs.similarity), _average_ranks(pairs.overlap)
    n = len(r_P)
    rho = 12 / (n**3 - n) * ((r_P - r_P.mean()) * (s_P - s_P.mean())).sum()
    return rho.to(overlap.device, result_dtype(overlap))


def undefined_reason(similarity: Tensor, overlap: Tensor) -> str | None:
    """Why the comparisons of these two matrices are NaN, or None where they are defined."""
    return _reason(_pairs(similarity, overlap))


def _pairs(similarity: Tensor, overlap: Tensor) -> _Pairs:
    check_same_labels(similarity, overlap)
    s_KK, o_KK = similarity.detach().cpu().double(), overlap.detach().cpu().double()
    counts_KK = (~(s_KK.isnan() | o_KK.isnan())).triu_(diagonal=1)
    row, column = counts_KK.nonzero(as_tuple=True)
    return _Pairs(s_KK[row, column].round(decimals=_DECIMALS), o_KK[row, column], row, column)


def _reason(pairs: _Pairs) -> str | None:
    if len(pairs.overlap) < MIN_PAIRS:
        return f"{len(pairs.overlap)} pairs of labels, at least {MIN_PAIRS} are needed"
    if pairs.similarity.max() == pairs.similarity.min():
        return "all pairs have the same similarity"
    if pairs.overlap.max() - pairs.overlap.min() <= _SAME_OVERLAP * pairs.overlap.max():
        return "all pairs overlap alike"
    return None


def _isotonic_fit(pairs: _Pairs) -> tuple[Tensor, int]:
    """The fitted overlap of every pair, and the number of its levels."""
    level_P, size = _levels(pairs.similarity)
    mean = torch.bincount(level_P, weights=pairs.overlap, minlength=len(size)) / size
    fit = isotonic_regression(mean.numpy(), weights=size.double().numpy())
    return torch.from_numpy(fit.x)[level_P], len(fit.blocks) - 1


def _average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, ties sharing the mean of the ranks they take up."""
    level_P, size = _levels(values)
    rank: Tensor = size.cumsum(0) - (size - 1) / 2.0
    return rank[level_P]


def _levels(values: Tensor) -> tuple[Tensor, Tensor]:
    """Which distinct value, in ascending order, each entry has; and how many entries have each."""
    _, level_P, size = torch.unique(values, return_inverse=True, return_counts=True)
    return level_P, size
