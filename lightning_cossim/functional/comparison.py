"""Comparison of one similarity with the overlap, pair by pair.

If the pairs are a sample, the statistics are Hájek estimates: each sum is weighted by 1 over the probability that a pair is in
the sample, and divided by the sum of these weights. Standard errors come from linearization (`Pairs.sampling_error`).

Float64, on the CPU because SciPy computes there. Shapes: L labels, P pairs; `s_P` similarities, `o_P` overlaps, `e_P` overlaps
expected from the similarities, `w_P` how many pairs each pair represents, `u_P` influences.
"""

import math
from functools import cached_property
from typing import NamedTuple

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from lightning_cossim.functional.cross_fit import cross_fitted, folds
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import result_dtype
from lightning_cossim.functional.repeated import CHOSEN_BY_THE_SAME, medians

__all__ = [
    "MIN_PAIRS",
    "MIN_POSITIVES",
    "SIGMA",
    "Comparison",
    "Statistic",
    "mean_over_pairs",
    "share_of_pairs",
    "stepped_up_reliability",
]

MIN_PAIRS = 10
MIN_POSITIVES = 20
_DECIMALS = 6
"""Similarities that agree to 1e-6 are ties: smaller differences are rounding."""
_DIGITS = {torch.float32: 16, torch.float64: 40}
"""Binary digits of an overlap that are not rounding, by the dtype of the sums."""
_LEAST_OTHERS = 0.1
"""Smallest assumed share of a level's weight in other pairs: a level of a single pair gives no estimate of its error."""
_BANDWIDTH = 0.025
"""Gaps this close to their limit show how many flags change if the expected overlap changes."""
_AROUND = 0.25
"""Gaps within this share of their median size give the density of gaps there."""
_SAME_OVERLAP = 1e-5
"""Overlaps are equal if their range, relative to the largest, is at most this: the resolution of a float32 sum over inputs."""
SIGMA = 1.4826
"""The standard deviation of a normal distribution, in units of its median absolute deviation."""


class Statistic(NamedTuple):
    """A number about the pairs of labels, or the reason why it is undefined."""

    value: Tensor
    """A scalar, NaN if undefined."""
    undefined: str | None = None
    """Why the value is NaN."""
    standard_error: float | None = None
    """Standard error from sampling the pairs. None if all pairs were compared, or if the error is not computed."""


class _Fit(NamedTuple):
    """The isotonic fit to the pairs that count."""

    expected: Tensor
    """(P,), the fitted overlaps."""
    level: Tensor
    """(M,), the index of the distinct fitted overlap of each distinct similarity."""
    num_levels: int


class Comparison:
    """Compares one similarity with the overlap, pair by pair. Each statistic is computed on demand.

    If the pairs are a sample, each pair counts as many times as the number of pairs that it represents. The statistics then
    estimate the statistics of all pairs.

    Args:
        similarity: (P,), larger means more alike; NaN if unknown.
        overlap: (P,), NaN if unknown.
        pairs: the pairs, (P,). Their labels decide which pairs are left out of a fit together, so pass rows of the head.
        beside: a comparison of another similarity with the same overlap. Its results about the overlap are reused.
    """

    def __init__(self, similarity: Tensor, overlap: Tensor, pairs: Pairs, beside: "Comparison | None" = None) -> None:
        self._like = overlap.new_empty((), dtype=result_dtype(overlap))
        self._all, self._s_is_known, self._o_is_known = pairs, similarity.isfinite().cpu(), overlap.isfinite().cpu()
        self.counts_P = self._s_is_known & self._o_is_known
        """Whether a pair counts: similarity and overlap are both known."""
        which = slice(None) if self.counts_P.all() else self.counts_P  # a slice copies nothing
        self.pairs = pairs[which]
        """The pairs that count."""
        self._s_P = similarity.detach().cpu()[which].double().round(decimals=_DECIMALS)
        self.o_P = overlap.detach().cpu()[which].double()
        """The overlaps of the pairs that count."""
        self._w_P = torch.ones_like(self.o_P) if self.pairs.weight is None else self.pairs.weight
        same = beside is not None and torch.equal(beside.counts_P, self.counts_P) and torch.equal(beside.o_P, self.o_P)
        self._seats_by_k: dict[int, Tensor] = {}
        self._beside = beside if same else None

    @cached_property
    def undefined(self) -> str | None:
        """Why the statistics are NaN, or None if they are defined."""
        s_P, o_P = self._s_P, self.o_P
        if len(o_P) < MIN_PAIRS:
            few_overlaps = self._o_is_known.sum() <= self._s_is_known.sum()
            lacking = "an overlap" if few_overlaps else "this similarity"
            return _too_few(self._all, self._s_is_known, self._o_is_known, lacking)
        if s_P.max() == s_P.min():
            return "all pairs have the same similarity"
        if _is_constant(o_P):
            return "all pairs have the same overlap"
        return None

    @property
    def expected(self) -> Tensor:
        """`expected_overlap` for all pairs, (P,). NaN for pairs that do not count."""
        return self._of_all(self._cross_fit if self.undefined is None else None)

    @property
    def curve(self) -> Tensor:
        """The isotonic fit to all pairs that count, (P,), for plots. It never decreases. NaN for pairs that do not count."""
        return self._of_all(self._fit.expected if self.undefined is None else None)

    @property
    def residual_scale(self) -> Statistic:
        """1.4826 times the median of |overlap - expected overlap|.

        This is the standard deviation of the gaps if they are normally distributed.
        """
        if self.undefined is not None:
            return self._unknown(self.undefined)
        size_P, weight = (self.o_P - self._cross_fit).abs(), self.pairs.weight
        middle = torch.from_numpy(medians(size_P[None].numpy(), None if weight is None else weight.numpy())).squeeze()
        error = None if weight is None else self.pairs.sampling_error(SIGMA * self._influence_on_median(middle))
        return Statistic((SIGMA * middle).to(self._like), standard_error=error)

    @property
    def percentile(self) -> Tensor:
        """(P,), in (0, 1]: the average rank of the similarity over the number of pairs. NaN for pairs that do not count."""
        percentile_P = self._like.new_full(self.counts_P.shape, torch.nan, device="cpu")
        percentile_P[self.counts_P] = (self._ranks / self._w_P.sum()).to(percentile_P)
        return percentile_P

    @property
    def explained(self) -> Statistic:
        """`explained_overlap`; for a sample of the pairs, an estimate of its value for all pairs."""
        if self.undefined is not None:
            return self._unknown(self.undefined)
        (e_P, _, num_levels), o_P, w_P = self._fit, self.o_P, self._w_P
        num_pairs = float(w_P.sum())
        if num_levels == num_pairs:
            return Statistic(self._like.new_ones(()))
        left_P, spread_P = (o_P - e_P).square(), (o_P - (w_P * o_P).sum() / num_pairs).square()
        total, freedom = (w_P * spread_P).sum(), (num_pairs - 1) / (num_pairs - num_levels)
        unexplained, error = (w_P * left_P).sum() / total, None
        if self.pairs.weight is not None:
            weight_P = self._level_weight
            # Without the pair, the sum of squared residuals is smaller by this: its level is then the mean of the others.
            without_P = left_P / (1 - w_P / weight_P).clamp(min=_LEAST_OTHERS)
            error = self.pairs.sampling_error(freedom * (without_P - unexplained * spread_P) / total)
            # A fit to a sample leaves smaller squares than the fit to all pairs, by the variance of its levels, which are means.
            unexplained += CHOSEN_BY_THE_SAME * (w_P * (w_P - 1) * left_P / weight_P).sum() / total
        return Statistic((1 - unexplained * freedom).to(self._like), standard_error=error)

    @property
    def rank_agreement(self) -> Statistic:
        """`rank_agreement` of the pairs that count."""
        if self.undefined is not None:
            return self._unknown(self.undefined)
        value = _rho_a(self._ranks, self.overlap_ranks, self._w_P)
        error = None
        if self.pairs.weight is not None:
            error = self.pairs.sampling_error(_influence_on_rho_a(self._levels, self.overlap_levels, self._w_P))
        return Statistic(value.to(self._like), standard_error=error)

    def top_pair_auroc(self, share: float) -> Statistic:
        """`top_pair_auroc` of the pairs that count."""
        if self.undefined is not None:
            return self._unknown(self.undefined)
        size = torch.bincount(self.overlap_levels, weights=self._w_P)
        num_pairs = int(size.sum().round())
        wanted = math.ceil(share * num_pairs)
        more = size.sum() - size.cumsum(0)  # number of pairs with a larger overlap, by level
        positive_P = more[self.overlap_levels] < wanted
        num_positives = min(int(positive_P.sum()), wanted)
        if num_positives < MIN_POSITIVES:
            return self._unknown(f"{share:.3g} of {num_pairs} pairs are {num_positives}, at least {MIN_POSITIVES} are needed")
        found = float(self._w_P[positive_P].sum())
        if positive_P.all():
            return self._unknown(f"no pair has a smaller overlap than the {wanted} pairs with the largest overlap")
        if found > 2 * wanted:
            return self._unknown(f"{found:.0f} pairs tie for the {wanted} largest overlaps")
        ranks = (self._w_P * self._ranks)[positive_P].sum()
        return Statistic(((ranks - found * (found + 1) / 2) / (found * (num_pairs - found))).to(self._like))

    def neighbor_jaccard(self, k: int) -> Statistic:
        """`neighbor_jaccard` of the pairs that count."""
        if self.undefined is not None:
            return self._unknown(self.undefined)
        if self.pairs.weight is not None:
            return self._unknown("a sample of the pairs does not contain all neighbors of a label")
        labels, row, column = self._labels
        if len(labels) - 1 < 4 * k:
            return self._unknown(f"{len(labels)} labels, at least {4 * k + 1} are needed for {k} neighbors")
        similarity = Pairs(row, column).matrix(self._s_P, len(labels))
        shared = (_seats(similarity, k) * self.overlap_seats(k)).sum(dim=1)
        return Statistic((shared / (2 * k - shared)).mean().to(self._like))

    def overlap_seats(self, k: int) -> Tensor:
        """The weights of each label's k nearest neighbors by overlap, see `_seats`, over the labels of all pairs that count."""
        if self._beside:
            return self._beside.overlap_seats(k)
        if k not in self._seats_by_k:
            labels, row, column = self._labels
            overlap = Pairs(row, column).matrix(_rounded(self.o_P, self._like.dtype), len(labels))
            self._seats_by_k[k] = _seats(overlap, k)
        return self._seats_by_k[k]

    def _of_all(self, values: Tensor | None) -> Tensor:
        """Values of the pairs that count, extended to all pairs (P,) with NaN. None: all values are NaN."""
        values_P = self._like.new_full(self.counts_P.shape, torch.nan, device="cpu")
        if values is not None:
            values_P[self.counts_P] = values.to(values_P)
        return values_P.to(self._like)

    def _unknown(self, why: str) -> Statistic:
        return Statistic(self._like.new_full((), torch.nan), why)

    @cached_property
    def _labels(self) -> tuple[Tensor, Tensor, Tensor]:
        """The labels of the pairs that count, and the positions of the two labels of each pair among them."""
        labels = self.pairs.labels
        among = self.pairs.among(labels)
        return labels, among.row, among.column

    @cached_property
    def overlap_ranks(self) -> Tensor:
        """(P,), the average ranks of the overlaps."""
        if self._beside:
            return self._beside.overlap_ranks
        return _average_ranks(self.overlap_levels, self._w_P)

    @cached_property
    def overlap_levels(self) -> Tensor:
        """(P,), the index of each overlap among the distinct overlaps, in ascending order."""
        return self._beside.overlap_levels if self._beside else _levels(_rounded(self.o_P, self._like.dtype))

    @cached_property
    def _ranks(self) -> Tensor:
        return _average_ranks(self._levels, self._w_P)

    @cached_property
    def _levels(self) -> Tensor:
        return _levels(self._s_P)

    @cached_property
    def _fit(self) -> _Fit:
        weight = torch.bincount(self._levels, weights=self._w_P)
        mean = torch.bincount(self._levels, weights=self._w_P * self.o_P) / weight
        fit = isotonic_regression(mean.numpy(), weights=weight.numpy())
        blocks = torch.from_numpy(fit.blocks).long()
        fitted = _rounded(torch.from_numpy(fit.x)[blocks[:-1]], self._like.dtype)
        different, level = torch.unique_consecutive(fitted, return_inverse=True)
        return _Fit(torch.from_numpy(fit.x)[self._levels], level.repeat_interleave(blocks.diff()), len(different))

    @property
    def _level_weight(self) -> Tensor:
        """(P,), the weight of all pairs in the same level of the fit."""
        level_P = self._fit.level[self._levels]
        return torch.bincount(level_P, weights=self._w_P)[level_P]

    def _influence_on_median(self, middle: Tensor) -> Tensor:
        """(P,), the change of the median of |gap| per unit of weight on a pair, from its own gap and from its effect on the fit.

        If the fit rises, gaps above it become smaller and gaps below it become larger. The median follows the gaps of about its
        size.
        """
        gap_P, level_P = self.o_P - self._cross_fit, self._fit.level[self._levels]
        reach = (_AROUND * middle).clamp(min=(gap_P.abs() - middle).abs().min())  # at least one pair is within reach
        near_P = self._w_P * ((gap_P.abs() - middle).abs() <= reach)
        own_P = (0.5 - (gap_P.abs() <= middle).double()) * 2 * reach / near_P.sum()
        follows_P = -(torch.bincount(level_P, weights=near_P * gap_P.sign()) / near_P.sum())[level_P]
        influence_P: Tensor = own_P + follows_P * (self.o_P - self._fit.expected) / self._level_weight
        return influence_P

    @cached_property
    def _cross_fit(self) -> Tensor:
        """(P,), the expected overlap of every pair that counts."""
        fold_P = folds(self.pairs)
        if fold_P is None:
            return self._fit.expected
        s_M = self._s_P.new_empty(int(self._levels.max()) + 1)
        s_M[self._levels] = self._s_P
        expected = cross_fitted(s_M.numpy(), self._levels.numpy(), self.o_P.numpy(), self._w_P.numpy(), fold_P)
        return torch.from_numpy(expected)


def stepped_up_reliability(overlap_a: Tensor, overlap_b: Tensor, pairs: Pairs) -> Statistic:
    """`reliability` of the overlaps of two halves of the inputs, (P,) each."""
    unknown = overlap_a.new_full((), torch.nan, dtype=result_dtype(overlap_a))
    a_is_known, b_is_known = overlap_a.isfinite().cpu(), overlap_b.isfinite().cpu()
    counts_P = a_is_known & b_is_known
    a_P, b_P = (half.detach().cpu()[counts_P].double() for half in (overlap_a, overlap_b))
    if len(a_P) < MIN_PAIRS:
        return Statistic(unknown, _too_few(pairs, a_is_known, b_is_known, "an overlap in both halves of the inputs"))
    if _is_constant(a_P) or _is_constant(b_P):
        return Statistic(unknown, "all pairs have the same overlap in one half of the inputs")
    w_P = torch.ones_like(a_P) if pairs.weight is None else pairs.weight[counts_P]
    a_levels, b_levels = (_levels(_rounded(half_P, unknown.dtype)) for half_P in (a_P, b_P))
    r_P, s_P = (_average_ranks(levels, w_P) for levels in (a_levels, b_levels))
    both, of_a, of_b = _rho_a(r_P, s_P, w_P), _rho_a(r_P, r_P, w_P), _rho_a(s_P, s_P, w_P)
    rho = both / (of_a * of_b).sqrt()
    if not rho > 0:
        return Statistic(torch.zeros_like(rho).to(unknown))
    error = None
    if pairs.weight is not None:
        u_P = _influence_on_rho_a(a_levels, b_levels, w_P) / both
        for levels, of_itself in ((a_levels, of_a), (b_levels, of_b)):
            u_P -= _influence_on_rho_a(levels, levels, w_P) / of_itself / 2
        error = pairs[counts_P].sampling_error(2 / (1 + rho) ** 2 * rho * u_P)
    return Statistic((2 * rho / (1 + rho)).to(unknown), standard_error=error)


def mean_over_pairs(values: Tensor, pairs: Pairs, lacking: str) -> Statistic:
    """The mean of values (P,) over the pairs with a finite value.

    Args:
        values: (P,).
        pairs: (P,).
        lacking: the name of the value, for the reason why the mean is undefined.
    """
    known_P = values.isfinite()
    v_P, some = values[known_P].double(), pairs[known_P]
    if not len(v_P):
        return Statistic(values.new_full((), torch.nan), f"no pair of kept labels has {lacking}")
    if some.weight is None:
        return Statistic(v_P.mean().to(values))
    mean = (some.weight * v_P).sum() / some.weight.sum()
    return Statistic(mean.to(values), standard_error=some.sampling_error((v_P - mean) / some.weight.sum()))


def share_of_pairs(flags: Tensor, pairs: Pairs, *, margin: Tensor, expected: Tensor, overlap: Tensor) -> Statistic:
    """The share of the pairs that are flagged.

    Its standard error accounts for the sampling of the pairs and for the fit of the expected overlap to the sample. If the fit
    moves by d at some similarities, the pairs there within d of their limit cross it. The density of pairs within .025 of the
    limit gives their number.

    Args:
        flags: boolean (P,), whether a pair is flagged.
        pairs: (P,).
        margin: (P,), how far a gap is beyond its limit, negative if it is not. NaN for pairs that are never flagged.
        expected: (P,), the isotonic fit of the overlap, equal within a level.
        overlap: (P,), in [0, 1].
    """
    share = mean_over_pairs(flags.double(), pairs, "a gap")
    if pairs.weight is None:
        return share
    w_P, total = pairs.weight, pairs.weight.sum()
    _, level_P = torch.unique(expected, return_inverse=True)
    is_more_P = torch.where(overlap > expected, 1, -1)
    near_P = (margin.abs() < _BANDWIDTH).double() / (2 * _BANDWIDTH)
    crossing = torch.bincount(level_P, weights=-is_more_P * w_P * near_P) / total
    moved_P = (overlap - expected).double() / torch.bincount(level_P, weights=w_P)[level_P]
    u_P = (flags.double() - share.value) / total + crossing[level_P] * moved_P
    return share._replace(standard_error=pairs.sampling_error(u_P))


def _too_few(pairs: Pairs, one_is_known: Tensor, other_is_known: Tensor, lacking: str) -> str:
    """The reason why there are too few pairs: there are no more pairs, or many pairs lack a value."""
    num_pairs = int((one_is_known & other_is_known).sum())
    either = pairs[one_is_known | other_is_known]
    total = len(either) if pairs.weight is not None else math.comb(len(either.labels), 2)
    if num_pairs == total:
        return f"{num_pairs} pair{'s' * (num_pairs != 1)} of labels, at least {MIN_PAIRS} are needed"
    return f"{num_pairs} of {total} pairs of labels have {lacking}, at least {MIN_PAIRS} are needed"


def _rounded(overlap: Tensor, dtype: torch.dtype) -> Tensor:
    """Overlaps without the digits that are rounding of sums in this dtype. Equal overlaps are then ties, even tiny ones."""
    mantissa, exponent = torch.frexp(overlap)
    return torch.ldexp(torch.ldexp(mantissa, torch.tensor(_DIGITS[dtype])).round(), exponent - _DIGITS[dtype])


def _is_constant(overlap_P: Tensor) -> bool:
    return bool(overlap_P.max() - overlap_P.min() <= _SAME_OVERLAP * overlap_P.max())


def _rho_a(r_P: Tensor, s_P: Tensor, w_P: Tensor) -> Tensor:
    num_pairs = w_P.sum()
    middle = (num_pairs + 1) / 2
    return 12 / (num_pairs**3 - num_pairs) * (w_P * (r_P - middle) * (s_P - middle)).sum()


def _influence_on_rho_a(r_level_P: Tensor, s_level_P: Tensor, w_P: Tensor) -> Tensor:
    """(P,), the change of `_rho_a` per unit of weight on a pair.

    Let a and b be the shares of the pairs below a pair in the two rankings, with ties counted half. Then rho_a is 12 E[a b] - 3.
    A pair adds its own a b, and it raises the a and the b of all pairs above it.
    """
    total = w_P.sum()
    a_P, b_P = ((_average_ranks(level_P, w_P) - 0.5) / total for level_P in (r_level_P, s_level_P))
    u_P = a_P * b_P + (_sum_above(r_level_P, w_P * b_P) + _sum_above(s_level_P, w_P * a_P)) / total
    return 12 * (u_P - (w_P * u_P).sum() / total) / total


def _sum_above(level_P: Tensor, values: Tensor) -> Tensor:
    """(P,), the sum of values (P,) over the pairs of higher levels, plus half of the sum over the pairs of the same level."""
    sums = torch.bincount(level_P, weights=values)
    above: Tensor = sums.flip(0).cumsum(0).flip(0) - sums / 2
    return above[level_P]


def _seats(similarity: Tensor, k: int) -> Tensor:
    """Weights in [0, 1] of each label's k nearest neighbors, with sum k. Ties for the last places share them equally."""
    others = similarity.nan_to_num(-torch.inf).fill_diagonal_(-torch.inf)
    last = others.topk(k, dim=1).values[:, -1:]
    above, tied = (others > last).double(), (others == last).double()
    return above + tied * (k - above.sum(dim=1, keepdim=True)) / tied.sum(dim=1, keepdim=True)


def _average_ranks(level_P: Tensor, w_P: Tensor) -> Tensor:
    """Ranks from 1 among all represented pairs. Ties share the mean of their ranks."""
    size = torch.bincount(level_P, weights=w_P)
    rank: Tensor = size.cumsum(0) - (size - 1) / 2
    return rank[level_P]


def _levels(values: Tensor) -> Tensor:
    """The index of each value among the distinct values, in ascending order.

    The result equals that of `torch.unique`. NumPy's sort makes it several times as fast.
    """
    order = torch.from_numpy(values.numpy().argsort())
    ascending = values[order]
    is_new = torch.ones_like(order, dtype=torch.bool)
    is_new[1:] = ascending[1:] != ascending[:-1]
    level_P = torch.empty_like(order)
    level_P[order] = is_new.cumsum(0) - 1
    return level_P
