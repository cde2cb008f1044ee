"""Comparison: one similarity against the overlap, pair by pair.

Float64, on the CPU where SciPy computes. Shapes: K labels, P pairs; `s_P` similarities, `o_P` overlaps, `e_P` the overlaps
expected from the similarities.
"""

import math
from functools import cached_property
from typing import NamedTuple

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from lightning_cossim.functional.inputs import check_same_labels
from lightning_cossim.functional.precision import result_dtype

__all__ = ["MIN_PAIRS", "MIN_POSITIVES", "Comparison", "Statistic", "stepped_up_reliability"]

MIN_PAIRS = 10
MIN_POSITIVES = 20
_DECIMALS = 6
"""Similarities that agree to 1e-6 are ties: what lies below is rounding."""
_DIGITS = {torch.float32: 16, torch.float64: 40}
"""Binary digits of an overlap that are not rounding, by the dtype in which it was summed."""
_SAME_OVERLAP = 1e-5
"""Overlaps whose spread, relative to the largest, is below this are equal: a float32 sum over inputs is no finer."""


class Statistic(NamedTuple):
    """A number about the pairs of two matrices, or why there is none."""

    value: Tensor
    """A scalar, NaN where undefined."""
    undefined: str | None = None
    """Why it is NaN."""


class Comparison:
    """One similarity against the overlap: the pairs are drawn once, and each statistic comes from them when asked for.

    Args:
        similarity: (K, K), larger means more alike.
        overlap: (K, K).
        beside: a comparison of another similarity with the same overlap: what it knows of the overlap is not worked out anew.
    """

    def __init__(self, similarity: Tensor, overlap: Tensor, beside: "Comparison | None" = None) -> None:
        check_same_labels(similarity, overlap)
        self._like = overlap.new_empty((), dtype=result_dtype(overlap))
        self._s_KK = similarity.detach().cpu().double().round(decimals=_DECIMALS)
        self._o_KK = overlap.detach().cpu().double()
        self._row, self._column = _pairs_of(self._s_KK, self._o_KK)
        self._s_P = self._s_KK[self._row, self._column]
        self.o_P = self._o_KK[self._row, self._column]
        """(P,), the overlaps that count."""
        same = beside is not None and torch.equal(beside.o_P, self.o_P) and torch.equal(beside._row, self._row)  # noqa: SLF001 - its own
        self._seats_by_k: dict[int, Tensor] = {}
        self._beside = beside if same else None

    @cached_property
    def undefined(self) -> str | None:
        """Why the statistics are NaN, or None where they are defined."""
        s_P, o_P = self._s_P, self.o_P
        if len(o_P) < MIN_PAIRS:
            few_overlaps = len(_pairs_of(self._o_KK, self._o_KK)[0]) <= len(_pairs_of(self._s_KK, self._s_KK)[0])
            return _too_few(self._s_KK, self._o_KK, "an overlap" if few_overlaps else "this similarity")
        if s_P.max() == s_P.min():
            return "all pairs have the same similarity"
        if _is_constant(o_P):
            return "all pairs overlap alike"
        return None

    @property
    def expected(self) -> Tensor:
        """`expected_overlap`, (K, K)."""
        expected_KK = torch.full_like(self._o_KK, torch.nan)
        if self.undefined is None:
            e_P, _ = self._fit
            expected_KK[self._row, self._column] = e_P
            expected_KK[self._column, self._row] = e_P
        return expected_KK.to(self._like)

    @property
    def explained(self) -> Statistic:
        """`explained_overlap`."""
        if self.undefined is not None:
            return self._unknown(self.undefined)
        e_P, num_levels = self._fit
        o_P, num_pairs = self.o_P, len(self.o_P)
        if num_levels == num_pairs:
            return Statistic(self._like.new_ones(()))
        unexplained = (o_P - e_P).square().sum() / (o_P - o_P.mean()).square().sum()
        return Statistic((1 - unexplained * (num_pairs - 1) / (num_pairs - num_levels)).to(self._like))

    @property
    def rank_agreement(self) -> Statistic:
        """`rank_agreement`."""
        if self.undefined is not None:
            return self._unknown(self.undefined)
        return Statistic(_rho_a(_average_ranks(*self._levels), self.overlap_ranks).to(self._like))

    def top_pair_auroc(self, share: float) -> Statistic:
        """`top_pair_auroc`."""
        num_pairs = len(self.o_P)
        wanted = math.ceil(share * num_pairs)
        if self.undefined is not None:
            return self._unknown(self.undefined)
        if wanted < MIN_POSITIVES:
            return self._unknown(f"{share:.3g} of {num_pairs} pairs are {wanted}, at least {MIN_POSITIVES} are needed")
        overlap_P = _rounded(self.o_P, self._like.dtype)
        positive_P = overlap_P >= overlap_P.topk(wanted).values[-1]
        found = int(positive_P.sum())
        if found == num_pairs:
            return self._unknown("no pair overlaps less than those with most overlap")
        if found > 2 * wanted:
            return self._unknown(f"{found} pairs tie for the {wanted} with most overlap")
        ranks = _average_ranks(*self._levels)[positive_P].sum()
        return Statistic(((ranks - found * (found + 1) / 2) / (found * (num_pairs - found))).to(self._like))

    def neighbor_jaccard(self, k: int) -> Statistic:
        """`neighbor_jaccard`."""
        labels = torch.cat([self._row, self._column]).bincount().nonzero().flatten()
        if self.undefined is not None:
            return self._unknown(self.undefined)
        if len(labels) - 1 < 4 * k:
            return self._unknown(f"{len(labels)} labels, at least {4 * k + 1} are needed for {k} neighbours")
        shared = (_seats(self._s_KK[labels][:, labels], k) * self.overlap_seats(labels, k)).sum(dim=1)
        return Statistic((shared / (2 * k - shared)).mean().to(self._like))

    def overlap_seats(self, labels: Tensor, k: int) -> Tensor:
        """The seats by overlap of these labels, those of the pairs."""
        if self._beside:
            return self._beside.overlap_seats(labels, k)
        if k not in self._seats_by_k:
            self._seats_by_k[k] = _seats(_rounded(self._o_KK[labels][:, labels], self._like.dtype), k)
        return self._seats_by_k[k]

    def _unknown(self, why: str) -> Statistic:
        return Statistic(self._like.new_full((), torch.nan), why)

    @cached_property
    def overlap_ranks(self) -> Tensor:
        """(P,), the average ranks of the overlaps."""
        if self._beside:
            return self._beside.overlap_ranks
        return _average_ranks(*_levels(_rounded(self.o_P, self._like.dtype)))

    @cached_property
    def _levels(self) -> tuple[Tensor, Tensor]:
        return _levels(self._s_P)

    @cached_property
    def _fit(self) -> tuple[Tensor, int]:
        """The fitted overlap of every pair, and the number of its levels."""
        level_P, size = self._levels
        mean = torch.bincount(level_P, weights=self.o_P, minlength=len(size)) / size
        fit = isotonic_regression(mean.numpy(), weights=size.double().numpy())
        levels = _rounded(torch.from_numpy(fit.x[fit.blocks[:-1]]), self._like.dtype)
        return torch.from_numpy(fit.x)[level_P], len(torch.unique_consecutive(levels))


def stepped_up_reliability(overlap_a: Tensor, overlap_b: Tensor) -> Statistic:
    """`reliability` of two halves."""
    check_same_labels(overlap_a, overlap_b)
    a_KK, b_KK = overlap_a.detach().cpu().double(), overlap_b.detach().cpu().double()
    row, column = _pairs_of(a_KK, b_KK)
    a_P, b_P = a_KK[row, column], b_KK[row, column]
    unknown = overlap_a.new_full((), torch.nan, dtype=result_dtype(overlap_a))
    if len(a_P) < MIN_PAIRS:
        return Statistic(unknown, _too_few(a_KK, b_KK, "an overlap in both halves of the inputs"))
    if _is_constant(a_P) or _is_constant(b_P):
        return Statistic(unknown, "in one half of the inputs all pairs overlap alike")
    r_P, s_P = (_average_ranks(*_levels(_rounded(half_P, unknown.dtype))) for half_P in (a_P, b_P))
    rho = _rho_a(r_P, s_P) / (_rho_a(r_P, r_P) * _rho_a(s_P, s_P)).sqrt()
    return Statistic((2 * rho / (1 + rho) if rho > 0 else torch.zeros_like(rho)).to(unknown))


def _pairs_of(one_KK: Tensor, other_KK: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pairs that both matrices know, of the upper triangle."""
    known_KK = one_KK.isfinite() & other_KK.isfinite()
    row, column = known_KK.triu_(diagonal=1).nonzero(as_tuple=True)
    return row, column


def _too_few(one_KK: Tensor, other_KK: Tensor, lacking: str) -> str:
    """Why there are too few pairs: there are no more of them, or many lack something."""
    num_pairs = len(_pairs_of(one_KK, other_KK)[0])
    num_labels = len(torch.cat([*_pairs_of(one_KK, one_KK), *_pairs_of(other_KK, other_KK)]).bincount().nonzero())
    total = math.comb(num_labels, 2)
    if num_pairs == total:
        return f"{num_pairs} pair{'s' * (num_pairs != 1)} of labels, at least {MIN_PAIRS} are needed"
    return f"{num_pairs} of {total} pairs of labels have {lacking}, at least {MIN_PAIRS} are needed"


def _rounded(overlap: Tensor, dtype: torch.dtype) -> Tensor:
    """Overlaps without the digits that are rounding of sums in this dtype: what is equal ties, however small it is."""
    mantissa, exponent = torch.frexp(overlap)
    return torch.ldexp(torch.ldexp(mantissa, torch.tensor(_DIGITS[dtype])).round(), exponent - _DIGITS[dtype])


def _is_constant(overlap_P: Tensor) -> bool:
    return bool(overlap_P.max() - overlap_P.min() <= _SAME_OVERLAP * overlap_P.max())


def _rho_a(r_P: Tensor, s_P: Tensor) -> Tensor:
    num_pairs = len(r_P)
    return 12 / (num_pairs**3 - num_pairs) * ((r_P - r_P.mean()) * (s_P - s_P.mean())).sum()


def _seats(similarity: Tensor, k: int) -> Tensor:
    """Each label's k nearest neighbours, as weights in [0, 1] that sum to k: ties for the last seats share them."""
    others = similarity.nan_to_num(-torch.inf).fill_diagonal_(-torch.inf)
    last = others.topk(k, dim=1).values[:, -1:]
    above, tied = (others > last).double(), (others == last).double()
    return above + tied * (k - above.sum(dim=1, keepdim=True)) / tied.sum(dim=1, keepdim=True)


def _average_ranks(level_P: Tensor, size: Tensor) -> Tensor:
    """Ranks from 1, ties sharing the mean of the ranks they take up."""
    rank: Tensor = size.cumsum(0) - (size.double() - 1) / 2
    return rank[level_P]


def _levels(values: Tensor) -> tuple[Tensor, Tensor]:
    """Which distinct value, in ascending order, each entry has; and how many entries have each.

    What `torch.unique` finds, by NumPy's sort, which is several times as fast.
    """
    order = torch.from_numpy(values.numpy().argsort())
    ascending = values[order]
    is_new = torch.ones_like(order, dtype=torch.bool)
    is_new[1:] = ascending[1:] != ascending[:-1]
    level_P = torch.empty_like(order)
    level_P[order] = is_new.cumsum(0) - 1
    return level_P, level_P.bincount()
