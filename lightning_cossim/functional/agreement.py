"""How well a similarity of labels agrees with the overlap of their probabilities.

Every function compares two (K, K) matrices over the same labels. It uses the pairs of the upper triangle and skips a pair if
either value is NaN. `Comparison` computes the results, in float64 on the CPU.

No statistic is computed from rounding noise. With fewer than 10 pairs, or if all pairs have the same similarity or the same
overlap, the result is NaN and `undefined_reason` gives the reason.
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
    r"""The overlap of other pairs with the same similarity: the isotonic regression of overlap on similarity without the pair.

    For the pair (i, j), :math:`e` is the non-decreasing function that minimizes :math:`\sum (o_{kl} - e(s_{kl}))^2` over the
    other pairs k < l. The result is :math:`e(s_{ij})`. Pairs whose similarities agree to 1e-6 share one value. Between two
    similarities of the fit, :math:`e` is linear. Beyond the last one on either side, it is constant. The *gap* of a pair is its
    overlap minus its expected overlap.

    A pair that takes part in a fit pulls the fit towards itself: a pair with the highest similarity and a large overlap would
    have no gap. Therefore the function leaves pairs out of their own fit:

    - up to 200 pairs: each pair alone;
    - up to 20 000 pairs: ten folds, one fold at a time; a hash of the labels i and j chooses the fold;
    - more pairs: no pair is left out, so a pair with an extreme similarity can still determine the fit.

    Args:
        similarity: (K, K), any range, larger means more alike (pass log-odds variances negated).
        overlap: (K, K), probability overlaps, in [0, 1].

    Returns:
        (K, K), symmetric, in the units of `overlap`. NaN on the diagonal and for pairs with a NaN. All NaN if `undefined_reason`
        gives a reason.

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape.

    Source: isotonic regression by pooling adjacent violators, `scipy.optimize.isotonic_regression`.
    """
    comparison, pairs = _compared(similarity, overlap)
    return pairs.matrix(comparison.expected, len(overlap))


def explained_overlap(similarity: Tensor, overlap: Tensor) -> Tensor:
    r"""The share of the overlap's variance over pairs that a similarity explains, adjusted for the levels of the fit.

    For the isotonic fit e, :math:`R^2 = 1 - \sum (o - e)^2 / \sum (o - \bar o)^2`. The result is the adjusted value
    :math:`1 - (1 - R^2) (n - 1) / (n - m)` for n pairs and m levels of the fit. If similarity and overlap are independent, its
    mean is within .01 of 0. The mean of the plain :math:`R^2` is then .21 at 10 pairs and .08 at 45.

    Args:
        similarity: (K, K), any range, larger means more alike (pass log-odds variances negated).
        overlap: (K, K), probability overlaps, in [0, 1].

    Returns:
        A scalar, at most 1. It is 1 if the overlap is an increasing function of the similarity, and it can be negative. NaN if
        `undefined_reason` gives a reason.

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape.

    Example:
        >>> import torch
        >>> similarity = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
        >>> explained_overlap(similarity, similarity**3)
        tensor(1.)
    """
    return _compared(similarity, overlap)[0].explained.value


def rank_agreement(similarity: Tensor, overlap: Tensor) -> Tensor:
    r"""Spearman's :math:`\rho_a`: the expected rank correlation if ties are broken at random.

    :math:`\frac{12}{n^3 - n} \sum (r - \bar r)(s - \bar s)` over n pairs, with average ranks. Unlike Spearman's rho, this value
    is lower if there are ties: a similarity gets no credit for pairs that it cannot distinguish.

    Args:
        similarity: (K, K), any range, larger means more alike (pass log-odds variances negated).
        overlap: (K, K), probability overlaps, in [0, 1].

    Returns:
        A scalar in [-1, 1]. NaN if `undefined_reason` gives a reason.

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape.

    Source: Schütt et al., rsatoolbox (rho_a).
    """
    return _compared(similarity, overlap)[0].rank_agreement.value


def top_pair_auroc(similarity: Tensor, overlap: Tensor, *, share: float = 0.05) -> Tensor:
    r"""How well a similarity finds the pairs with the largest overlaps: the area under the ROC curve.

    The positives are the pairs whose overlap is at least the m-th largest, with :math:`m = \lceil share \cdot n \rceil` of n
    pairs. The result is the probability that a positive has a larger similarity than a negative; a tie counts as one half. A
    value of .5 is chance, 1 is perfect retrieval.

    Args:
        similarity: (K, K), any range, larger means more alike (pass log-odds variances negated).
        overlap: (K, K), probability overlaps, in [0, 1].
        share: share of the pairs to find, in (0, 1).

    Returns:
        A scalar in [0, 1]. NaN if `undefined_reason` gives a reason, if m is below 20, if ties at the m-th largest overlap give
        more than 2 m positives, or if there are no negatives.

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape, or `share` is out of range.

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
    """How far the k nearest neighbors of a label by similarity are also its k nearest neighbors by overlap.

    The mean over labels of the Jaccard index :math:`E / (2k - E)`. E is the expected size of the intersection if ties for the
    last places are broken at random. `neighbor_jaccard_chance` gives the value at chance level, where :math:`E = k^2 / (K - 1)`.

    Args:
        similarity: (K, K), symmetric, any range, larger means more alike (pass log-odds variances negated).
        overlap: (K, K), symmetric, probability overlaps, in [0, 1].
        k: neighbors per label, at least 1.

    Returns:
        A scalar in [0, 1]. NaN if `undefined_reason` gives a reason, or if fewer than 4 k + 1 labels have neighbors.

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape, or `k` is below 1.

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
    """The chance level of `neighbor_jaccard`: its value for neighbors that are drawn at random.

    Args:
        num_labels: K, at least 2.
        k: neighbors per label, from 1 to K - 1.

    Returns:
        A number in (0, 1].

    Example:
        >>> round(neighbor_jaccard_chance(21), 4)
        0.1429
    """
    shared = k * k / (num_labels - 1)
    return shared / (2 * k - shared)


def reliability(overlap_a: Tensor, overlap_b: Tensor) -> Tensor:
    r"""How well the overlaps of all inputs would agree with the overlaps of as many other inputs, estimated from two halves.

    With :math:`r = \rho_a(A, B)` and :math:`\rho = r / \sqrt{\rho_a(A, A)\, \rho_a(B, B)}`, the result is the Spearman-Brown
    step-up :math:`2\rho / (1 + \rho)`, or 0 if :math:`\rho \le 0`. A similarity that does not use the inputs can agree with the
    overlap at most as well as the square root of this value. If the value is low, use more inputs.

    Args:
        overlap_a: (K, K), the overlaps of one half of the inputs, in [0, 1].
        overlap_b: (K, K), the overlaps of the other half.

    Returns:
        A scalar in [0, 1]. NaN with fewer than 10 pairs, or if all pairs of one half have the same overlap.

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape.

    Source: Spearman (1910), Brown (1910); rho_a as in `rank_agreement`.
    """
    check_same_labels(overlap_a, overlap_b)
    pairs = Pairs.of_all(len(overlap_a))
    return stepped_up_reliability(pairs.values(overlap_a), pairs.values(overlap_b), pairs).value


def undefined_reason(similarity: Tensor, overlap: Tensor) -> str | None:
    """The reason why the statistics of these two matrices are NaN, or None if they are defined.

    Args:
        similarity: (K, K), any range.
        overlap: (K, K), in [0, 1].

    Raises:
        InputError: the arguments are not two floating-point (K, K) matrices of the same shape.
    """
    return _compared(similarity, overlap)[0].undefined


def _compared(similarity: Tensor, overlap: Tensor) -> tuple[Comparison, Pairs]:
    """The comparison of two (K, K) matrices, and the pairs of their upper triangle."""
    check_same_labels(similarity, overlap)
    pairs = Pairs.of_all(len(overlap))
    return Comparison(pairs.values(similarity), pairs.values(overlap), pairs), pairs
