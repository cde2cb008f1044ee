"""How far a similarity between labels accounts for the overlap of their probabilities.

Everything here compares two (K, K) matrices over the same labels, pair by pair over the upper triangle; a pair where either
is NaN does not count. Float64, on the CPU where SciPy computes. Shapes: P pairs, `s_P` similarities, `o_P` overlaps, `e_P` the
overlaps expected from the similarities.

A statistic is never computed from rounding noise: with fewer than 10 pairs, or where all pairs are alike in similarity or in
overlap, the results are NaN and `undefined_reason` says why.
"""

from functools import cached_property

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from lightning_cossim.functional.inputs import check_same_labels
from lightning_cossim.functional.precision import result_dtype

__all__ = ["MIN_PAIRS", "Comparison", "expected_overlap", "explained_overlap", "rank_agreement", "undefined_reason"]

MIN_PAIRS = 10
_DECIMALS = 6
"""Similarities that agree to 1e-6 are ties: what lies below is rounding."""
_SAME_OVERLAP = 1e-5
"""Overlaps whose spread, relative to the largest, is below this are equal: a float32 sum over inputs is no finer."""


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
    return Comparison(similarity, overlap).expected


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
    return Comparison(similarity, overlap).explained


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
    return Comparison(similarity, overlap).rank_agreement


def undefined_reason(similarity: Tensor, overlap: Tensor) -> str | None:
    """Why the comparisons of these two matrices are NaN, or None where they are defined."""
    return Comparison(similarity, overlap).undefined


class Comparison:
    """One similarity against the overlap: the pairs are drawn once, and each statistic comes from them when asked for."""

    def __init__(self, similarity: Tensor, overlap: Tensor) -> None:
        check_same_labels(similarity, overlap)
        self._like = overlap.new_empty((), dtype=result_dtype(overlap))
        s_KK, o_KK = similarity.detach().cpu().double(), overlap.detach().cpu().double()
        self._row, self._column = (~(s_KK.isnan() | o_KK.isnan())).triu_(diagonal=1).nonzero(as_tuple=True)
        self._s_P = s_KK[self._row, self._column].round(decimals=_DECIMALS)
        self._o_P = o_KK[self._row, self._column]
        self._num_labels = len(overlap)

    @cached_property
    def undefined(self) -> str | None:
        """Why the statistics are NaN, or None where they are defined."""
        s_P, o_P = self._s_P, self._o_P
        if len(o_P) < MIN_PAIRS:
            return f"{len(o_P)} pairs of labels, at least {MIN_PAIRS} are needed"
        if s_P.max() == s_P.min():
            return "all pairs have the same similarity"
        if o_P.max() - o_P.min() <= _SAME_OVERLAP * o_P.max():
            return "all pairs overlap alike"
        return None

    @property
    def expected(self) -> Tensor:
        """`expected_overlap`, (K, K)."""
        expected_KK = torch.full((self._num_labels, self._num_labels), torch.nan, dtype=torch.float64)
        if self.undefined is None:
            e_P, _ = self._fit
            expected_KK[self._row, self._column] = e_P
            expected_KK[self._column, self._row] = e_P
        return expected_KK.to(self._like)

    @property
    def explained(self) -> Tensor:
        """`explained_overlap`, a scalar."""
        if self.undefined is not None:
            return self._like.new_full((), torch.nan)
        e_P, num_levels = self._fit
        o_P, num_pairs = self._o_P, len(self._o_P)
        if num_levels == num_pairs:
            return self._like.new_ones(())
        unexplained = (o_P - e_P).square().sum() / (o_P - o_P.mean()).square().sum()
        return (1 - unexplained * (num_pairs - 1) / (num_pairs - num_levels)).to(self._like)

    @property
    def rank_agreement(self) -> Tensor:
        """`rank_agreement`, a scalar."""
        if self.undefined is not None:
            return self._like.new_full((), torch.nan)
        r_P, s_P = _average_ranks(*self._levels), _average_ranks(*_levels(self._o_P))
        num_pairs = len(r_P)
        return (12 / (num_pairs**3 - num_pairs) * ((r_P - r_P.mean()) * (s_P - s_P.mean())).sum()).to(self._like)

    @cached_property
    def _levels(self) -> tuple[Tensor, Tensor]:
        return _levels(self._s_P)

    @cached_property
    def _fit(self) -> tuple[Tensor, int]:
        """The fitted overlap of every pair, and the number of its levels."""
        level_P, size = self._levels
        mean = torch.bincount(level_P, weights=self._o_P, minlength=len(size)) / size
        fit = isotonic_regression(mean.numpy(), weights=size.double().numpy())
        return torch.from_numpy(fit.x)[level_P], len(fit.blocks) - 1


def _average_ranks(level_P: Tensor, size: Tensor) -> Tensor:
    """Ranks from 1, ties sharing the mean of the ranks they take up."""
    rank: Tensor = size.cumsum(0) - (size.double() - 1) / 2
    return rank[level_P]


def _levels(values: Tensor) -> tuple[Tensor, Tensor]:
    """Which distinct value, in ascending order, each entry has; and how many entries have each."""
    _, level_P, size = torch.unique(values, return_inverse=True, return_counts=True)
    return level_P, size
