r"""Solve many small linear programs at once by an interior-point method. Each one looks for a direction that separates labels.

A question separates its own labels c from some rivals k. Its program has the variables f, s, u and t:

    maximize t with z_c - u >= t for the labels, u - z_k >= t for the rivals, z = rows f + bias s, |f_d| <= 1, 0 <= s <= 1

A direction with t > 0 separates them. If no such direction exists, the multipliers of the rows give two equal mixtures: a
certificate. The primal and the dual side both start feasible. Every step takes one product and one factorization for each
question (Mehrotra's predictor and corrector). `mixtures` makes the smallest change that turns multipliers into a certificate.

Shapes: B questions; R = T + M rows each, the question's labels first; n = D + 3 variables, E = D + 1 of them with bounds.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

__all__ = ["InteriorPoint"]

_TO_THE_WALL: Final = 0.99
_RIDGE: Final = 1e-13
_SPENT: Final = 1e-13
"""Duality gap at which further steps do not help."""


class _Multipliers(NamedTuple):
    """Multipliers, or slacks, of the rows (B, R) and of the upper and lower bounds (B, E)."""

    rows: Tensor
    upper: Tensor
    lower: Tensor

    def after(self, share_B1: Tensor, step: "_Multipliers") -> "_Multipliers":
        return _Multipliers(*(one + share_B1 * change for one, change in zip(self, step, strict=True)))

    def dot(self, other: "_Multipliers") -> Tensor:
        return sum(((one * same).sum(dim=1) for one, same in zip(self, other, strict=True)), torch.zeros(()))

    def longest(self, step: "_Multipliers") -> Tensor:
        """(B, 1), the largest share of a step, at most 1, for which all values stay positive."""
        shares = [torch.where(change < 0, -one / change, torch.inf).amin(dim=1) for one, change in zip(self, step, strict=True)]
        return torch.stack(shares).amin(dim=0).clamp(max=1)[:, None]


class InteriorPoint:
    """The state of B programs. `step` advances all of them; `keep` drops the others.

    Args:
        points_BRE: (B, R, E), the T own rows of each question and its M rivals.
        num_own: T.
    """

    slack: _Multipliers
    gap: Tensor
    normal: Tensor
    """(B, n, n), the normal matrix of the rows, without the bounds."""
    factor: Tensor
    """(B, n, n), the Cholesky factor of the normal matrix of rows and bounds."""
    failed: Tensor

    def __init__(self, points_BRE: Tensor, num_own: int) -> None:
        num_rivals = points_BRE.shape[1] - num_own
        side_R = points_BRE.new_ones(num_own + num_rivals)
        side_R[num_own:] = -1
        ends = [(-side_R)[None, :, None].expand(len(points_BRE), -1, 1), points_BRE.new_full((*points_BRE.shape[:2], 1), -1)]
        self.num_own, self.num_bounds = num_own, points_BRE.shape[2]
        self.matrix = torch.cat([points_BRE * side_R[:, None], *ends], dim=2)
        self.lowest = points_BRE.new_full((self.num_bounds,), -1)
        self.lowest[-1] = 0  # the lower bound of s
        self.values = self.matrix.new_zeros(len(points_BRE), self.matrix.shape[2])
        self.values[:, self.num_bounds - 1] = 0.5
        self.values[:, -1] = self._rows(self.values).amin(dim=1) - 1
        rows_R = side_R.new_tensor([0.5 / num_own] * num_own + [0.5 / num_rivals] * num_rivals)
        pull_BE = (rows_R @ self.matrix)[:, : self.num_bounds]
        self.y = _Multipliers(rows_R.repeat(len(points_BRE), 1), pull_BE.clamp(min=0) + 0.1, (-pull_BE).clamp(min=0) + 0.1)
        self._begin_step()

    @property
    def direction(self) -> tuple[Tensor, Tensor]:
        """The directions f (B, D) and their shares s of the bias (B,)."""
        return self.values[:, : self.num_bounds - 1], self.values[:, self.num_bounds - 1]

    @property
    def margin(self) -> Tensor:
        """(B,), the margin t that each direction reaches."""
        return self.values[:, -1]

    @property
    def bound(self) -> Tensor:
        """(B,), an upper bound of t, from the multipliers."""
        bound_B: Tensor = self.y.upper.sum(dim=1) - self.y.lower @ self.lowest
        return bound_B

    @property
    def spent(self) -> Tensor:
        """Boolean (B,), whether further steps do not help: the gap is closed, or a factorization failed."""
        return (self.gap <= _SPENT) | (self.failed != 0) | ~self.gap.isfinite()

    def keep(self, kept_B: Tensor) -> None:
        """Keep the programs of the mask `kept_B` (B,) and drop all others."""
        self.matrix, self.values, self.normal, self.gap = (x[kept_B] for x in (self.matrix, self.values, self.normal, self.gap))
        self.factor, self.failed = self.factor[kept_B], self.failed[kept_B]
        self.y, self.slack = (_Multipliers(*(x[kept_B] for x in one)) for one in (self.y, self.slack))

    def step(self) -> None:
        """Take one step of every program."""
        zero = self.y.rows.new_zeros(())
        target = _Multipliers(*(-one * same for one, same in zip(self.slack, self.y, strict=True)))
        dv_Bn, d_slack, d_y = self._newton(target)
        after = self.slack.after(self.slack.longest(d_slack), d_slack).dot(self.y.after(self.y.longest(d_y), d_y))
        num = self.y.rows.shape[1] + 2 * self.num_bounds
        center_B1 = ((after / self.gap).clamp(min=zero) ** 3 * self.gap / num)[:, None]
        target = _Multipliers(*(center_B1 + one - other * same for one, other, same in zip(target, d_slack, d_y, strict=True)))
        dv_Bn, d_slack, d_y = self._newton(target)
        self.values = self.values + _TO_THE_WALL * self.slack.longest(d_slack) * dv_Bn
        self.y = self.y.after(_TO_THE_WALL * self.y.longest(d_y), d_y)
        self._begin_step()

    def mixtures(self) -> Tensor:
        """(B, R), the nearest multipliers that form two equal mixtures. If one of them is negative, they prove nothing.

        The distance weights the squared change of each multiplier by slack / multiplier.
        """
        H_Bnn = self.normal.clone()
        H_Bnn.diagonal(dim1=1, dim2=2).mul_(1 + _RIDGE).add_(torch.finfo(H_Bnn.dtype).tiny)
        L_Bnn, _ = torch.linalg.cholesky_ex(H_Bnn)
        y_BR, theta_BR = self.y.rows, self.y.rows / self.slack.rows
        for _ in range(2):
            sum_Bn = self._columns(y_BR)
            wanted_Bn = torch.zeros_like(sum_Bn)
            wanted_Bn[:, -1] = -1
            wanted_Bn[:, self.num_bounds - 1] = sum_Bn[:, self.num_bounds - 1].clamp(max=0)  # less bias is allowed
            change_Bn1 = torch.cholesky_solve((wanted_Bn - sum_Bn)[:, :, None], L_Bnn)
            y_BR = y_BR + theta_BR * (self.matrix @ change_Bn1)[:, :, 0]
        return y_BR

    def _begin_step(self) -> None:
        bounded_BE = self.values[:, : self.num_bounds]
        self.slack = _Multipliers(self._rows(self.values), 1 - bounded_BE, bounded_BE - self.lowest)
        self.gap = self.slack.dot(self.y)
        self.normal = self.matrix.mT @ ((self.y.rows / self.slack.rows)[:, :, None] * self.matrix)
        H_Bnn = self.normal.clone()
        bounds_BE = self.y.upper / self.slack.upper + self.y.lower / self.slack.lower
        H_Bnn.diagonal(dim1=1, dim2=2)[:, : self.num_bounds] += bounds_BE
        self.factor, self.failed = torch.linalg.cholesky_ex(H_Bnn)

    def _newton(self, target: _Multipliers) -> tuple[Tensor, _Multipliers, _Multipliers]:
        """The Newton step that changes each product slack * multiplier by `target`, to first order."""
        right_Bn = self._columns(self.y.rows + target.rows / self.slack.rows)
        right_Bn[:, -1] += 1
        right_Bn[:, : self.num_bounds] += self.y.lower - self.y.upper
        right_Bn[:, : self.num_bounds] += target.lower / self.slack.lower - target.upper / self.slack.upper
        dv_Bn = torch.cholesky_solve(right_Bn[:, :, None], self.factor)[:, :, 0]
        bounded_BE = dv_Bn[:, : self.num_bounds]
        d_slack = _Multipliers(self._rows(dv_Bn), -bounded_BE, bounded_BE)
        d_y = _Multipliers(
            *((one - same * change) / slack for one, same, change, slack in zip(target, self.y, d_slack, self.slack, strict=True))
        )
        return dv_Bn, d_slack, d_y

    def _rows(self, v_Bn: Tensor) -> Tensor:
        return (self.matrix @ v_Bn[:, :, None])[:, :, 0]

    def _columns(self, y_BR: Tensor) -> Tensor:
        return (y_BR[:, None] @ self.matrix)[:, 0]
