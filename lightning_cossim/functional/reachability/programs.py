"""Decide many open questions by an ascent, then by linear programs with a few rivals each, and the hardest ones by the solver.

Shapes: D embedding dimensions, M rivals; B questions at a time by their numbers `number_B`, C of these.
"""

from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.answers import Answers
from lightning_cossim.functional.reachability.ascent import climb
from lightning_cossim.functional.reachability.questions import ProofT
from lightning_cossim.functional.reachability.separation import separate, solve

__all__ = ["take_programs"]

_CHUNK: Final = 128
_FEW: Final = 64
_MOST_ROUNDS: Final = 12
_PROGRAM: Final = 1 << 23
"""Matrix entries of the linear programs that are solved at a time."""
_MISSES: Final = 3
"""After this many certificates in a row that prove nothing for other questions, the rest of the batch is not tried."""


def take_programs(answers: Answers[ProofT]) -> None:
    """Run the ascent, then the interior-point method, then the solver on the questions that are still open."""
    dim = answers.questions.head.rows.shape[1]
    num_rivals = min(answers.questions.most_rivals, max(2 * dim + 6, _FEW))
    left: dict[int, Tensor] = {}
    tried_P = ~answers.open_P
    while not (answers.late or tried_P.all()):
        number_B = (~tried_P).nonzero().flatten()[:_CHUNK]
        left |= _take_chunk(answers, number_B, num_rivals)
        tried_P[number_B] = True
        tried_P |= ~answers.open_P
        answers.tell()
    for number in [number for number in left if answers.open_P[number]]:  # a later certificate may have decided it
        if answers.late:
            break
        answers.take(number, solve(answers.questions, number, left[number], _FEW, answers.until), "solver", "solver")
        answers.tell()


def _take_chunk(answers: Answers[ProofT], number_B: Tensor, num_rivals: int) -> dict[int, Tensor]:
    """Ascent and programs for one chunk. Returns the rivals of each question that is still open."""
    rivals: dict[int, Tensor] = {}
    questions = answers.questions
    for state in climb(questions.ascent(number_B, num_rivals), questions.head.rows.shape[1]):
        rising_B = state.rising & answers.open_P[number_B]
        trial = questions.tried(number_B[rising_B], state.direction[rising_B], state.share[rising_B])
        answers.say_yes(number_B[rising_B], trial, "ascent")
        rivals = dict(zip(number_B.tolist(), state.rivals, strict=True))
        if not answers.open_P[number_B].any():
            break
    rivals = {number: rivals_M for number, rivals_M in rivals.items() if answers.open_P[number]}
    left: dict[int, Tensor] = {}
    for _ in range(_MOST_ROUNDS):
        if answers.late or not rivals:
            break
        rivals, given_up = _take_round(answers, rivals)
        left |= given_up
    return left | rivals


def _take_round(answers: Answers[ProofT], rivals: dict[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Run one round of programs. Returns the rivals of the questions to continue with, and of those left to the solver."""
    more: dict[int, Tensor] = {}
    given_up: dict[int, Tensor] = {}
    dim = answers.questions.head.rows.shape[1] + 3
    size = max(1, _PROGRAM // (dim * len(next(iter(rivals.values())))))
    for every_B in torch.split(torch.tensor(list(rivals)), size):
        number_B = every_B[answers.open_P[every_B]]  # an earlier batch may have decided some
        if answers.late or not len(number_B):
            continue
        rivals_BM = torch.stack([rivals[number] for number in number_B.tolist()])
        outcomes = separate(answers.questions, number_B, rivals_BM, max(dim, _FEW))
        for number, outcome in zip(number_B.tolist(), outcomes, strict=True):
            answers.take(number, outcome, "ascent", "mixture")
            if outcome.rivals is not None:
                more[number] = outcome.rivals
            elif answers.open_P[number]:
                given_up[number] = rivals[number]
        _share(answers, number_B)
    return {number: own for number, own in more.items() if answers.open_P[number]}, given_up


def _share(answers: Answers[ProofT], number_B: Tensor) -> None:
    """Derive certificates for all open questions from the certificates of some."""
    misses = 0
    for number in number_B.tolist():
        certificate, open_B = answers.certificates[number], answers.open
        if certificate is None or misses == _MISSES or not len(open_B):
            continue
        found = dict(answers.questions.shared(number, certificate, open_B))
        for other, its_certificate in found.items():
            answers.say_no(other, its_certificate, "mixture")
        misses = 0 if found else misses + 1
