"""Statistics of several vectors over the same pairs at once, as a jackknife wants them: each sort serves all of them.

Float64, on the CPU. Shapes: R vectors, P pairs; `w_P` how many pairs each stands for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from lightning_cossim.functional.comparison import CHOSEN_BY_THE_SAME

__all__ = ["SortedRows", "explained_shares", "rank_agreements"]


@dataclass(frozen=True, eq=False)
class SortedRows:
    """The order of every row of values."""

    order: Tensor
    """(R, P), places from the smallest value to the largest."""
    is_new: Tensor
    """Boolean (R, P), whether a value in that order is larger than the one before."""

    @classmethod
    def of(cls, values: Tensor) -> "SortedRows":
        """The order of values (R, P); equal ones are one level."""
        order_RP = torch.from_numpy(values.numpy().argsort(axis=1))
        ascending_RP = values.gather(1, order_RP)
        is_new_RP = torch.ones_like(order_RP, dtype=torch.bool)
        is_new_RP[:, 1:] = ascending_RP[:, 1:] != ascending_RP[:, :-1]
        return cls(order_RP, is_new_RP)

    def expand(self, num_rows: int) -> "SortedRows":
        """One row as so many equal ones, or as many rows as there are."""
        return SortedRows(self.order.expand(num_rows, -1), self.is_new.expand(num_rows, -1))

    def ranks(self, weight: Tensor) -> Tensor:
        """Ranks from 1 among all that the pairs stand for (R, P); ties share the mean of their ranks."""
        w_RP = weight[self.order]
        level_E = self.is_new.flatten().cumsum(dim=0) - 1
        size_E = torch.bincount(level_E, weights=w_RP.flatten())
        before_RP = w_RP.cumsum(dim=1) - w_RP
        first_E = before_RP[self.is_new]
        rank_RP = (first_E + (size_E + 1) / 2)[level_E].view_as(w_RP)
        return torch.empty_like(rank_RP).scatter_(1, self.order, rank_RP)


def rank_agreements(ranks: Tensor, others: Tensor, weight: Tensor) -> Tensor:
    """`rank_agreement` (R,) of ranks (R, P) or (1, P) and others (R, P)."""
    num_pairs = weight.sum()
    middle = (num_pairs + 1) / 2
    return 12 / (num_pairs**3 - num_pairs) * ((ranks - middle) * (others - middle)) @ weight


def explained_shares(similarity: SortedRows, overlap: Tensor, weight: Tensor) -> Tensor:
    """`explained_overlap` (R,) of similarities and overlaps (R, P); of a sample of the pairs, the estimate for all pairs.

    One fit for all of them: rows lie one behind the other, each raised above the one before, and no fit reaches over a border.
    """
    num_rows, num_values = overlap.shape
    num_pairs = float(weight.sum())
    o_RP, w_RP = overlap.gather(1, similarity.order), weight[similarity.order]
    above = 2 * float(o_RP.max() - o_RP.min()) + 1
    raised = (o_RP + above * torch.arange(num_rows)[:, None]).flatten().numpy()
    w, starts = w_RP.flatten().numpy(), np.flatnonzero(similarity.is_new.flatten().numpy())
    weights = np.add.reduceat(w, starts)
    fit = isotonic_regression(np.add.reduceat(w * raised, starts) / weights, weights=weights)
    expected = np.repeat(fit.x, np.diff(np.r_[starts, raised.size]))
    level_weight = np.repeat(np.repeat(fit.weights, np.diff(fit.blocks)), np.diff(np.r_[starts, raised.size]))
    taken_off = 1 + CHOSEN_BY_THE_SAME * (w - 1) / level_weight
    left_R = torch.from_numpy(w * taken_off * (raised - expected) ** 2).view(num_rows, num_values).sum(dim=1)
    mean_R1 = (w_RP * o_RP).sum(dim=1, keepdim=True) / weight.sum()
    unexplained_R = left_R / (w_RP * (o_RP - mean_R1).square()).sum(dim=1)
    row_of_block = starts[fit.blocks[:-1]] // num_values
    num_levels_R = torch.from_numpy(np.bincount(row_of_block, minlength=num_rows))
    freedom_R = (num_pairs - 1) / (num_pairs - num_levels_R)
    return torch.where(num_levels_R == num_pairs, 1.0, 1 - unexplained_R * freedom_R)
