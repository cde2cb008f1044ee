"""How far a similarity between labels accounts for the overlap of their probabilities.

Everything here compares two (K, K) matrices over the same labels, pair by pair over the upper triangle; a pair where either
is NaN does not count. `Comparison` does the work, in float64 on the CPU.

A statistic is never computed from rounding noise: with fewer than 10 pairs, or where all pairs are alike in similarity or in
overlap, the results are NaN and `undefined_reason` says why.
"""

from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.comparison import Comparison, stepped_up_reliability
from lightning_cossim.functional.inputs import check_same_labels
from lightning_cossim.functional.pairs import Pairs

__all__ = [
    "expected_overlap",
    "explained_overlap",
    "neighbor_jaccard",
    "neighbor_jaccard_chance",
    "rank_agreement",
    "reliability",
    "top_pair_auroc",
    "undefined_reason",
]


def expected_overlap(similarity: Tensor, overlap: Tensor) -> Tensor:
    r"""What other pairs with this similarity overlap: the isotonic regression of overlap on similarity, fitted without the pair.

    The non-decreasing function :math:`e` that minimizes :math:`\sum (o_{kl} - e(s_{kl}))^2` over other pairs k < l, at
    :math:`s_{ij}`; pairs whose similarity agrees to 1e-6 share one value. Between two similarities of the fit it is the straight
    line, beyond them the value at the end. The *gap* of a pair is its overlap minus this. A pair pulls a fit that it
    is part of towards itself: one that overlaps much at the highest similarity would be the fit there, and have no gap. Hence

    - of up to 200 pairs that count, each is left out alone;
    - of up to 20 000, a tenth is left out together; a hash of the labels i and j decides which tenth;
    - of more, none is left out: at either end of the similarities a pair can still be the fit.

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
    comparison, pairs = _compared(similarity, overlap)
    return pairs.matrix(comparison.expected, len(overlap))


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
    return _compared(similarity, overlap)[0].explained.value


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
    return _compared(similarity, overlap)[0].rank_agreement.value


def top_pair_auroc(similarity: Tensor, overlap: Tensor, *, share: float = 0.05) -> Tensor:
    r"""How well a similarity finds the pairs that overlap most: area under the ROC curve.

    Positives are the pairs whose overlap is at or above the m-th largest, :math:`m = \lceil share \cdot n \rceil` of n pairs. The
    chance that a positive has a larger similarity than a negative, ties counting half: .5 is chance, 1 perfect retrieval.

    Args:
        similarity: (K, K), larger means more alike (pass log-odds variances negated).
        overlap: (K, K).
        share: of the pairs, in (0, 1).

    Returns:
        A scalar in [0, 1]; NaN where `undefined_reason` gives a reason, where m is below 20, where ties at the m-th largest
        make more than 2 m positives, or where there are no negatives.

    Raises:
        InputError: not two floating (K, K) matrices of one shape, or `share` out of range.

    Example:
        >>> import torch
        >>> similarity = torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
        >>> top_pair_auroc(similarity, similarity)
        tensor(1.)
    """
    if not 0 < share < 1:
        raise InputError(expected("share", "to be above 0 and below 1", share, "It is the share of pairs to find."))
    return _compared(similarity, overlap)[0].top_pair_auroc(share).value


def neighbor_jaccard(similarity: Tensor, overlap: Tensor, *, k: int = 5) -> Tensor:
    r"""How far a label's k nearest neighbors by similarity are its k nearest by overlap.

    Mean over labels of :math:`E / (2k - E)`, E the expected size of the intersection when ties for the last seats are broken at
    random. By chance it is that of :math:`E = k^2 / (K - 1)` (`neighbor_jaccard_chance`).

    Args:
        similarity: (K, K), symmetric, larger means more alike (pass log-odds variances negated).
        overlap: (K, K), symmetric.
        k: neighbors of each label, at least 1.

    Returns:
        A scalar in [0, 1]; NaN where `undefined_reason` gives a reason, or with fewer than 4 k + 1 labels that have neighbors.

    Raises:
        InputError: not two floating (K, K) matrices of one shape, or `k` below 1.

    Example:
        >>> import torch
        >>> similarity = torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
        >>> neighbor_jaccard(similarity + similarity.T, similarity + similarity.T)
        tensor(1.)
    """
    if k < 1:
        raise InputError(expected("k", "to be at least 1", k, "It counts the neighbors of a label."))
    return _compared(similarity, overlap)[0].neighbor_jaccard(k).value


def neighbor_jaccard_chance(num_labels: int, *, k: int = 5) -> float:
    """The `neighbor_jaccard` of neighbors drawn at random among `num_labels` labels.

    Example:
        >>> round(neighbor_jaccard_chance(21), 4)
        0.1429
    """
    shared = k * k / (num_labels - 1)
    return shared / (2 * k - shared)


def reliability(overlap_a: Tensor, overlap_b: Tensor) -> Tensor:
    r"""How far the overlaps of all inputs would come out the same with other inputs, from two halves of them.

    With :math:`r = \rho_a(A, B)` and :math:`\rho = r / \sqrt{\rho_a(A, A)\, \rho_a(B, B)}`, the Spearman-Brown step-up
    :math:`2\rho / (1 + \rho)`, 0 where :math:`\rho \le 0`. No similarity can agree with the overlap better than the square root
    of this; low values call for more inputs.

    Args:
        overlap_a: (K, K), the overlap of one half of the inputs.
        overlap_b: (K, K), the overlap of the other.

    Returns:
        A scalar in [0, 1]; NaN with fewer than 10 pairs, or where all pairs of a half overlap alike.

    Raises:
        InputError: not two floating (K, K) matrices of one shape.

    Source: Spearman (1910), Brown (1910); rho_a as in `rank_agreement`.
    """
    check_same_labels(overlap_a, overlap_b)
    pairs = Pairs.of_all(len(overlap_a))
    return stepped_up_reliability(pairs.values(overlap_a), pairs.values(overlap_b), pairs).value


def undefined_reason(similarity: Tensor, overlap: Tensor) -> str | None:
    """Why the comparisons of these two matrices are NaN, or None where they are defined."""
    return _compared(similarity, overlap)[0].undefined


def _compared(similarity: Tensor, overlap: Tensor) -> tuple[Comparison, Pairs]:
    """The comparison of two (K, K) matrices, and the pairs of their upper triangle."""
    check_same_labels(similarity, overlap)
    pairs = Pairs.of_all(len(overlap))
    return Comparison(pairs.values(similarity), pairs.values(overlap), pairs), pairs
