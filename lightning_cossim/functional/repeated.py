"""Statistics of several vectors over the same pairs at once, for the jackknife. One sort serves all statistics.

NumPy, float64. Shapes: R vectors, P pairs; `weight` (P,) is the number of pairs that each pair represents, None for 1.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import isotonic_regression

__all__ = ["CHOSEN_BY_THE_SAME", "Floats", "SortedRows", "explained_shares", "medians", "rank_agreements"]

CHOSEN_BY_THE_SAME: Final = 1.5
"""Factor of the variance of a level, because the same pairs also choose the levels of an isotonic fit.

Source: Meyer, Woodroofe, On the degrees of freedom in shape-restricted regression (2000).
"""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class SortedRows:
    """The sort order of every row of values (R, P)."""

    num_rows: int
    places: Integers
    """(R·P,), row by row, the indices of the values in the flattened matrix, from the smallest to the largest value."""
    starts: Integers
    """(E,), the positions in that order where a new, larger value begins. Equal values form one level."""

    @classmethod
    def of(cls, values: Floats) -> "SortedRows":
        """The sort order of values (R, P)."""
        num_rows, num_values = values.shape
        places = (values.argsort(axis=1) + num_values * np.arange(num_rows)[:, None]).ravel()
        ascending = values.ravel().take(places)
        is_new = np.ones(values.size, dtype=np.bool_)
        np.not_equal(ascending[1:], ascending[:-1], out=is_new[1:])
        is_new[::num_values] = True
        return cls(num_rows, places, np.flatnonzero(is_new))

    def repeated(self, num_rows: int) -> "SortedRows":
        """The order of one row, repeated for `num_rows` equal rows."""
        offsets = len(self.places) * np.arange(num_rows)[:, None]
        return SortedRows(num_rows, (self.places + offsets).ravel(), (self.starts + offsets).ravel())

    @property
    def num_values(self) -> int:
        """P."""
        return len(self.places) // self.num_rows

    @property
    def sizes(self) -> Integers:
        """(E,), the number of equal values in each level."""
        return np.diff(self.starts, append=len(self.places))

    def weights(self, weight: Floats) -> Floats:
        """Weights (P,) in the order of every row, (R·P,)."""
        return weight.take(self.places % self.num_values)

    def ranks(self, weight: Floats | None) -> Floats:
        """Ranks (R, P) from 1 among all represented pairs. Ties share the mean of their ranks."""
        if weight is None:
            level_E = self.starts % self.num_values + (self.sizes + 1) / 2
        else:
            w_RP = self.weights(weight).reshape(self.num_rows, -1)
            before_RP = w_RP.cumsum(axis=1) - w_RP
            level_E = before_RP.ravel()[self.starts] + (np.add.reduceat(w_RP.ravel(), self.starts) + 1) / 2
        ranks = np.empty(len(self.places))
        ranks[self.places] = np.repeat(level_E, self.sizes)
        return ranks.reshape(self.num_rows, -1)


def rank_agreements(ranks: Floats, others: Floats, weight: Floats | None) -> Floats:
    """`rank_agreement` (R,) of ranks (R, P) or (1, P) and other ranks (R, P)."""
    num_pairs = float(others.shape[1] if weight is None else weight.sum())
    middle = (num_pairs + 1) / 2
    one, other = ranks - middle, others - middle
    sums = np.einsum("rp,rp->r", np.broadcast_to(one, other.shape), other if weight is None else other * weight)
    agreements: Floats = 12 / (num_pairs**3 - num_pairs) * sums
    return agreements


def explained_shares(similarity: SortedRows, overlap: Floats, weight: Floats | None) -> Floats:
    """`explained_overlap` (R,) of similarities and overlaps (R, P).

    For a sample of the pairs, it estimates the value for all pairs. One fit serves all rows: the rows are concatenated, and each
    is raised above the one before, so no level spans two rows.
    """
    num_rows, num_values = overlap.shape
    num_pairs = float(num_values if weight is None else weight.sum())
    above = 2 * float(np.ptp(overlap)) + 1
    raised = overlap.ravel().take(similarity.places) + above * np.arange(num_rows).repeat(num_values)
    starts, sizes = similarity.starts, similarity.sizes
    w = None if weight is None else similarity.weights(weight)
    if w is not None:
        weights = np.add.reduceat(w, starts)
        fit = isotonic_regression(np.add.reduceat(w * raised, starts) / weights, weights=weights)
    elif len(starts) == raised.size:
        fit = isotonic_regression(raised)
    else:
        fit = isotonic_regression(np.add.reduceat(raised, starts) / sizes, weights=sizes.astype(np.float64))
    left = (raised - np.repeat(fit.x, sizes)) ** 2
    spread = (overlap - (overlap.mean(axis=1) if weight is None else overlap @ weight / num_pairs)[:, None]) ** 2
    if w is not None:
        left *= w * (1 + CHOSEN_BY_THE_SAME * (w - 1) / np.repeat(np.repeat(fit.weights, np.diff(fit.blocks)), sizes))
        spread *= weight
    num_levels = np.bincount(starts[fit.blocks[:-1]] // num_values, minlength=num_rows)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal overlaps give NaN; as many levels as pairs explain everything
        unexplained = left.reshape(num_rows, num_values).sum(axis=1) / spread.sum(axis=1)
        shares: Floats = np.where(num_levels == num_pairs, 1.0, 1 - unexplained * (num_pairs - 1) / (num_pairs - num_levels))
    return shares


def medians(values: Floats, weight: Floats | None) -> Floats:
    """(R,), the median of all represented values of each row (R, P): the mean of the two middle values."""
    if weight is None:
        middle: Floats = np.median(values, axis=1)
        return middle
    order = values.argsort(axis=1)
    up_to, ascending = weight[order].cumsum(axis=1), np.take_along_axis(values, order, axis=1)
    half = up_to[:, -1] / 2
    places = [[np.searchsorted(row, one, side=side) for side in ("left", "right")] for row, one in zip(up_to, half, strict=True)]
    both: Floats = np.take_along_axis(ascending, np.array(places), axis=1).mean(axis=1)
    return both
