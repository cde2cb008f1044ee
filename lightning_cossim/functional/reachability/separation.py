"""Decide whether a direction separates own rows from all rivals. Start with some rivals and add those that violate the answer.

Shapes: D embedding dimensions, E = D + 1; B questions by their numbers `number_B`, with M rivals; R = T + M rows.
"""

from time import perf_counter
from typing import Final, Generic, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from lightning_cossim.functional.reachability.interior_point import InteriorPoint
from lightning_cossim.functional.reachability.questions import ProofT, Questions

__all__ = ["Outcome", "separate", "solve"]

_MOST_STEPS: Final = 40
_FIRST_PROOF: Final = 4
_NO_MARGIN: Final = 1e-11
_NEAR: Final = 1e-8
"""Duality gap below which the unchanged multipliers may be a certificate; also the tolerance for a violating rival."""
_MOST_ROUNDS: Final = 60
_EXACT: Final = 1e-10


class Outcome(NamedTuple, Generic[ProofT]):
    """The outcome of one question: a witness, a certificate, a longer list of rivals to compare with, or nothing."""

    witness: Tensor | None = None
    """(D,), an embedding for the original head; the answer is "yes"."""
    margin: float = 0.0
    """The margin of the witness, in scaled units."""
    certificate: ProofT | None = None
    """The proof that the answer is "no"."""
    rivals: Tensor | None = None
    """Integer, the rivals for the next round: those seen so far and the new ones."""


def separate(questions: Questions[ProofT], every_B: Tensor, rivals_BM: Tensor, num_new: int) -> list[Outcome[ProofT]]:
    """The outcomes of many questions at once, by an interior-point method.

    Args:
        questions: the questions.
        every_B: integer (B,), the numbers of those to decide.
        rivals_BM: integer (B, M), the rivals to compare with.
        num_new: how many rivals to add if other rivals violate the answer.
    """
    outcomes: list[Outcome[ProofT]] = [Outcome()] * len(every_B)
    program = InteriorPoint(questions.points(every_B, rivals_BM), questions.num_own)
    place_B = torch.arange(len(every_B))
    for step in range(_MOST_STEPS):
        number_B, rivals = every_B[place_B], rivals_BM[place_B]
        found = _set_apart(questions, program, number_B, rivals, num_new)
        if step >= _FIRST_PROOF:
            found |= _proofs(questions, program, number_B, rivals)
        for place, outcome in found.items():
            outcomes[place_B[place]] = outcome
        open_B = ~program.spent
        open_B[list(found)] = False
        if not open_B.any():
            break
        program.keep(open_B)
        place_B = place_B[open_B]
        program.step()
    return outcomes


def _set_apart(
    questions: Questions[ProofT], program: InteriorPoint, number_B: Tensor, rivals_BM: Tensor, num_new: int
) -> dict[int, Outcome[ProofT]]:
    """Outcomes of the questions whose own rows are separated from their M rivals, by position."""
    apart = (program.margin > 0).nonzero().flatten()
    if not len(apart):
        return {}
    f_CD, s_C = (x[apart] for x in program.direction)
    trial = questions.tried(number_B[apart], f_CD, s_C)
    near_C = (program.margin[apart] > program.bound[apart] / 2) | (program.bound[apart] < _NO_MARGIN)
    found: dict[int, Outcome[ProofT]] = {}
    for place, number in enumerate(apart.tolist()):
        if trial.yes[place]:
            found[number] = Outcome(trial.witness[place], float(trial.margin[place]))
        elif near_C[place]:
            scores_K = questions.head.scores(f_CD[place : place + 1], s_C[place : place + 1])[0]
            new = questions.violated(int(number_B[number]), rivals_BM[number], scores_K, num_new, torch.inf)
            if new is not None:
                found[number] = Outcome(rivals=torch.cat([rivals_BM[number], new]))
    return found


def _proofs(
    questions: Questions[ProofT], program: InteriorPoint, number_B: Tensor, rivals_BM: Tensor
) -> dict[int, Outcome[ProofT]]:
    """Outcomes of the questions whose multipliers give a certificate, by position."""
    found: dict[int, Outcome[ProofT]] = {}
    balanced_BR = program.mixtures()
    tries = [(balanced_BR, (balanced_BR >= 0).all(dim=1)), (program.y.rows, program.gap < _NEAR)]
    for y_BR, fit_B in tries:
        for place in fit_B.nonzero().flatten().tolist():
            certificate = questions.proof(int(number_B[place]), rivals_BM[place], y_BR[place])
            if certificate is not None:
                found[place] = Outcome(certificate=certificate)
    return found


def solve(questions: Questions[ProofT], number: int, rivals_M: Tensor, num_new: int, until: float) -> Outcome[ProofT]:
    """The outcome of one question, by the HiGHS solver. If the time runs out, the outcome is empty.

    Args:
        questions: the questions.
        number: the question.
        rivals_M: integer (M,), the rivals to start with.
        num_new: how many rivals to add at a time.
        until: the `perf_counter` time to stop at, in seconds.
    """
    number_1 = torch.tensor([number])
    for _ in range(_MOST_ROUNDS):
        left = until - perf_counter()
        if left <= 0:
            break
        points_RE = questions.points(number_1, rivals_M[None])[0]
        solved = _solution(points_RE, questions.num_own, left)
        if solved is None:
            break
        f_1D, s_1, y_R = solved
        trial = questions.tried(number_1, f_1D, s_1)
        if trial.yes[0]:
            return Outcome(trial.witness[0], float(trial.margin[0]))
        certificate = _polished(questions, number, points_RE, rivals_M, y_R)
        if certificate is not None:
            return Outcome(certificate=certificate)
        new = questions.violated(number, rivals_M, questions.head.scores(f_1D, s_1)[0], num_new, _NEAR)
        if new is None:
            break
        rivals_M = torch.cat([rivals_M, new])
    return Outcome()


def _solution(points_RE: Tensor, num_own: int, seconds: float) -> tuple[Tensor, Tensor, Tensor] | None:
    """A direction (1, D), its share of the bias (1,) and the multipliers of the rows (R,). None if the solver fails."""
    side_R = torch.ones(len(points_RE), dtype=torch.float64)
    side_R[:num_own] = -1
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


def _polished(questions: Questions[ProofT], number: int, points_RE: Tensor, rivals_M: Tensor, y_R: Tensor) -> ProofT | None:
    """The certificate that the multipliers give, unchanged or after a least-squares correction of the positive ones."""
    certificate = questions.proof(number, rivals_M, y_R)
    if certificate is not None:
        return certificate
    counts = (y_R > 1e-12).nonzero().flatten()
    is_own_S = counts < questions.num_own
    points_SE = torch.where(is_own_S[:, None], 1.0, -1.0) * points_RE[counts]
    A = torch.cat([points_SE, is_own_S[:, None], ~is_own_S[:, None]], dim=1).numpy().T
    change = np.linalg.lstsq(A, np.array([*[0.0] * points_SE.shape[1], 1, 1]) - A @ (2 * y_R[counts].numpy()), rcond=None)[0]
    y_R = y_R.new_zeros(len(y_R)).index_copy(0, counts, 2 * y_R[counts] + torch.from_numpy(change))
    return questions.proof(number, rivals_M, y_R)
