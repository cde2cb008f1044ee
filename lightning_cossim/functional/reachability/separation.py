"""Decide whether a direction separates labels from all rivals. Start with some rivals and add those that violate the answer.

Shapes: D embedding dimensions; B questions of T labels each, `own_BT`, with M rivals; R = T + M rows.
"""

from time import perf_counter
from typing import Final, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from lightning_cossim.functional.reachability.certificates import Certificate, certificate_of
from lightning_cossim.functional.reachability.interior_point import InteriorPoint
from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["Outcome", "separate", "solve"]

_MOST_STEPS: Final = 40
_FIRST_PROOF: Final = 4
_NO_MARGIN: Final = 1e-11
_NEAR: Final = 1e-8
"""Duality gap below which the unchanged multipliers may be a certificate; also the tolerance for a violating rival."""
_MOST_ROUNDS: Final = 60
_EXACT: Final = 1e-10


class Outcome(NamedTuple):
    """The outcome of one question: a witness, a certificate, a longer list of rivals to compare with, or nothing."""

    witness: Tensor | None = None
    """(D,), an embedding for the original head; the answer is "yes"."""
    margin: float = 0.0
    """The margin of the witness, in scaled units."""
    certificate: Certificate | None = None
    """The proof that the answer is "no"."""
    rivals: Tensor | None = None
    """Integer, the rivals for the next round: those seen so far and the new ones."""


def separate(head: ScaledHead, own_BT: Tensor, rivals_BM: Tensor, num_new: int) -> list[Outcome]:
    """The outcomes of many questions at once, by an interior-point method.

    Args:
        head: the head, scaled.
        own_BT: integer (B, T), the labels of each question.
        rivals_BM: integer (B, M), the rivals to compare with.
        num_new: how many rivals to add if other rivals score above the labels.
    """
    outcomes = [Outcome()] * len(own_BT)
    program, number_B = InteriorPoint(head, own_BT, rivals_BM), torch.arange(len(own_BT))
    num_new = min(num_new, len(head.rows) - own_BT.shape[1] - rivals_BM.shape[1])
    for step in range(_MOST_STEPS):
        own, rivals = own_BT[number_B], rivals_BM[number_B]
        found = _set_apart(head, program, own, rivals, num_new)
        if step >= _FIRST_PROOF:
            found |= _proofs(head, program, own, rivals)
        for place, outcome in found.items():
            outcomes[number_B[place]] = outcome
        open_B = ~program.spent
        open_B[list(found)] = False
        if not open_B.any():
            break
        program.keep(open_B)
        number_B = number_B[open_B]
        program.step()
    return outcomes


def _set_apart(head: ScaledHead, program: InteriorPoint, own_BT: Tensor, rivals_BM: Tensor, num_new: int) -> dict[int, Outcome]:
    """Outcomes of the questions whose labels are separated from their M rivals, by position."""
    apart = (program.margin > 0).nonzero().flatten()
    if not len(apart):
        return {}
    f_CD, s_C = (x[apart] for x in program.direction)
    trial = head.tried(own_BT[apart], f_CD, s_C)
    near_C = (program.margin[apart] > program.bound[apart] / 2) | (program.bound[apart] < _NO_MARGIN)
    found = {}
    for place, number in enumerate(apart.tolist()):
        if trial.yes[place]:
            found[number] = Outcome(trial.witness[place], float(trial.margin[place]))
        elif near_C[place] and num_new:
            scores_K = head.scores(f_CD[place : place + 1], s_C[place : place + 1])[0]
            scores_K[own_BT[number]] = scores_K[rivals_BM[number]] = -torch.inf
            found[number] = Outcome(rivals=torch.cat([rivals_BM[number], scores_K.topk(num_new).indices]))
    return found


def _proofs(head: ScaledHead, program: InteriorPoint, own_BT: Tensor, rivals_BM: Tensor) -> dict[int, Outcome]:
    """Outcomes of the questions whose multipliers give a certificate, by position."""
    found, num_own = {}, own_BT.shape[1]
    balanced_BR = program.mixtures()
    tries = [(balanced_BR, (balanced_BR >= 0).all(dim=1)), (program.y.rows, program.gap < _NEAR)]
    for y_BR, fit_B in tries:
        for number in fit_B.nonzero().flatten().tolist():
            y_R = y_BR[number]
            certificate = certificate_of(head, own_BT[number], y_R[:num_own], rivals_BM[number], y_R[num_own:])
            if certificate is not None:
                found[number] = Outcome(certificate=certificate)
    return found


def solve(head: ScaledHead, own_T: Tensor, rivals_M: Tensor, num_new: int, until: float) -> Outcome:
    """The outcome of one question, by the HiGHS solver. If the time runs out, the outcome is empty.

    Args:
        head: the head, scaled.
        own_T: integer (T,), the labels of the question.
        rivals_M: integer (M,), the rivals to start with.
        num_new: how many rivals to add at a time.
        until: the `perf_counter` time to stop at, in seconds.
    """
    for _ in range(_MOST_ROUNDS):
        left = until - perf_counter()
        if left <= 0:
            break
        solved = _solution(head, own_T, rivals_M, left)
        if solved is None:
            break
        f_1D, s_1, y_R = solved
        trial = head.tried(own_T[None], f_1D, s_1)
        if trial.yes[0]:
            return Outcome(trial.witness[0], float(trial.margin[0]))
        certificate = _polished(head, own_T, rivals_M, y_R)
        if certificate is not None:
            return Outcome(certificate=certificate)
        scores_K = head.scores(f_1D, s_1)[0]
        least = float(scores_K[own_T].min())
        scores_K[own_T] = scores_K[rivals_M] = -torch.inf
        new = scores_K.topk(min(num_new, len(scores_K) - len(own_T) - len(rivals_M))).indices
        if not len(new) or float(scores_K[new[0]]) < least - _NEAR:
            break
        rivals_M = torch.cat([rivals_M, new])
    return Outcome()


def _solution(head: ScaledHead, own_T: Tensor, rivals_M: Tensor, seconds: float) -> tuple[Tensor, Tensor, Tensor] | None:
    """A direction (1, D), its share of the bias (1,) and the multipliers of the rows (R,). None if the solver fails."""
    points_RE = torch.cat([head.points[own_T], head.points[rivals_M]]) - head.points[own_T].mean(dim=0)
    side_R = torch.ones(len(points_RE), dtype=torch.float64)
    side_R[: len(own_T)] = -1
    rows_Rn = torch.cat([points_RE * side_R[:, None], -side_R[:, None], torch.ones(len(side_R), 1)], dim=1).numpy()
    dim = points_RE.shape[1] - 1
    objective = np.zeros(dim + 3)
    objective[-1] = -1
    bounds: list[tuple[float | None, float | None]] = [*[(-1.0, 1.0)] * dim, (0.0, 1.0), (None, None), (None, None)]
    solution = linprog(
        objective,
        rows_Rn,
        np.zeros(len(rows_Rn)),
        bounds=bounds,
        options={"primal_feasibility_tolerance": _EXACT, "dual_feasibility_tolerance": _EXACT, "time_limit": seconds},
    )
    if solution.status != 0:
        return None
    x = torch.from_numpy(solution.x)
    return x[None, :dim], x[dim : dim + 1], torch.from_numpy(-solution.ineqlin.marginals)


def _polished(head: ScaledHead, own_T: Tensor, rivals_M: Tensor, y_R: Tensor) -> Certificate | None:
    """The certificate that the multipliers give, unchanged or after a least-squares correction of the positive ones."""
    labels_R, num_own = torch.cat([own_T, rivals_M]), len(own_T)
    certificate = certificate_of(head, own_T, y_R[:num_own], rivals_M, y_R[num_own:])
    if certificate is not None:
        return certificate
    counts = (y_R > 1e-12).nonzero().flatten()
    is_own_S = counts < num_own
    points_SE = head.points[labels_R[counts]] - head.points[own_T].mean(dim=0)
    A = torch.cat([torch.where(is_own_S[:, None], 1.0, -1.0) * points_SE, is_own_S[:, None], ~is_own_S[:, None]], dim=1).numpy().T
    change = np.linalg.lstsq(A, np.array([*[0.0] * points_SE.shape[1], 1, 1]) - A @ (2 * y_R[counts].numpy()), rcond=None)[0]
    y_R = y_R.new_zeros(len(y_R)).index_copy(0, counts, 2 * y_R[counts] + torch.from_numpy(change))
    return certificate_of(head, own_T, y_R[:num_own], rivals_M, y_R[num_own:])
