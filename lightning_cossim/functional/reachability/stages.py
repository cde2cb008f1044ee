"""Answer reachability questions in stages: cheap checks first, then many questions at once by matrix products, the solver last.

Shapes: K labels, D embedding dimensions, N inputs, M rivals; P questions of T labels each, `own_PT`, B of them at a time, C of
these.
"""

from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.answers import Answers
from lightning_cossim.functional.reachability.ascent import climb, guesses, whitenings
from lightning_cossim.functional.reachability.certificates import certificate_of, certificates_from, equal_rivals
from lightning_cossim.functional.reachability.scaled_head import Trial
from lightning_cossim.functional.reachability.separation import separate, solve

__all__ = ["decide"]

_CHUNK: Final = 128
_FEW: Final = 64
_MOST_ROUNDS: Final = 12
_PROGRAM: Final = 1 << 23
"""Matrix entries of the linear programs that are solved at a time."""
_MISSES: Final = 3
"""After this many certificates in a row that prove nothing for other labels, the rest of the batch is not tried."""


def decide(answers: Answers, embeddings: Tensor | None) -> None:
    """Run all stages until every question is decided or the time limit has passed.

    Args:
        answers: the questions; receives the verdicts.
        embeddings: (N, D), float64, finite inputs of the head; None skips the stage that uses them.
    """
    if answers.own_PT.shape[1] == len(answers.head.rows):  # no rivals exist
        beyond_all, anywhere = torch.full_like(answers.margins, torch.inf), torch.zeros_like(answers.witnesses)
        answers.say_yes(answers.open, Trial(answers.open_P, beyond_all, anywhere), "rank")
    _take_equal_rows(answers)
    _take_rank(answers)
    if embeddings is not None:
        _take_inputs(answers, embeddings)
    _take_directions(answers)
    _take_programs(answers)
    answers.tell_the_end()


def _take_equal_rows(answers: Answers) -> None:
    """Answer "no" where a rival has the same row and at least the same bias."""
    open_B = answers.open
    if answers.late or not len(open_B):
        return
    one = torch.ones(1, dtype=torch.float64)
    for number, rival in zip(open_B.tolist(), equal_rivals(answers.head, answers.own_PT[open_B]).tolist(), strict=True):
        if rival >= 0:
            own_T = answers.own_PT[number]
            equal_T = (answers.head.given_rows[own_T] == answers.head.given_rows[rival]).all(dim=1).double()
            equal_T *= answers.head.given_bias[own_T] <= answers.head.given_bias[rival]
            answers.say_no(number, certificate_of(answers.head, own_T, equal_T, torch.tensor([rival]), one), "mixture")


def _take_rank(answers: Answers) -> None:
    """Answer "yes" by a pseudo-inverse. If the centered rows have rank K - 1, this answers every question."""
    K, D = answers.head.rows.shape
    if answers.late or K > D + 1 or not answers.open_P.any():
        return
    inverse_DK = torch.linalg.pinv(answers.head.rows, rtol=1e-9)
    for number_B in torch.split(answers.open, answers.head.chunk):
        own_BT = answers.own_PT[number_B]
        f_BD = inverse_DK.T[own_BT].sum(dim=1)
        answers.say_yes(number_B, answers.head.tried(own_BT, f_BD, f_BD.new_zeros(len(f_BD))), "rank")


def _take_inputs(answers: Answers, embeddings: Tensor) -> None:
    """Answer "yes" for the labels that the head ranks first on some input (for pairs: first and second).

    If several inputs do, the one with the largest margin is the witness.
    """
    num_own, seen = answers.own_PT.shape[1], dict[tuple[int, ...], tuple[float, Tensor]]()
    if num_own == len(answers.head.rows):
        return
    for f_BD in torch.split(embeddings, answers.head.chunk):
        if answers.late:
            break
        top = (f_BD @ answers.head.given_rows.T + answers.head.given_bias).topk(num_own + 1, dim=1)
        gap_B = top.values[:, -2] - top.values[:, -1]
        for own, gap, f_D in zip(top.indices[:, :-1].sort(dim=1).values.tolist(), gap_B.tolist(), f_BD, strict=True):
            if gap > seen.get(tuple(own), (0.0, f_D))[0]:
                seen[tuple(own)] = gap, f_D
    for number in answers.open.tolist():
        own_T = answers.own_PT[number]
        found = seen.get(tuple(own_T.sort().values.tolist()))
        if found is not None:
            answers.say_yes(torch.tensor([number]), answers.head.seen(own_T[None], found[1][None]), "inputs")


def _take_directions(answers: Answers) -> None:
    """Answer "yes" where a guessed direction is enough."""
    maps = whitenings(answers.head) if answers.open_P.any() else []
    for number_B in torch.split(answers.open, answers.head.chunk):
        if answers.late:
            break
        own_BT = answers.own_PT[number_B]
        for f_BD, s_B in guesses(answers.head, own_BT, maps):
            open_B = answers.open_P[number_B]
            answers.say_yes(number_B[open_B], answers.head.tried(own_BT[open_B], f_BD[open_B], s_B[open_B]), "direction")
        answers.tell()


def _take_programs(answers: Answers) -> None:
    """Run the ascent, then the interior-point method, then the solver on the questions that are still open."""
    rows32_KD = answers.head.rows.float()
    num_rivals = min(len(rows32_KD) - answers.own_PT.shape[1], max(2 * rows32_KD.shape[1] + 6, _FEW))
    left: dict[int, Tensor] = {}
    tried_P = ~answers.open_P
    while not (answers.late or tried_P.all()):
        number_B = (~tried_P).nonzero().flatten()[:_CHUNK]
        left |= _take_chunk(answers, number_B, rows32_KD, num_rivals)
        tried_P[number_B] = True
        tried_P |= ~answers.open_P
        answers.tell()
    for number in [number for number in left if answers.open_P[number]]:  # a later certificate may have decided it
        if answers.late:
            break
        outcome = solve(answers.head, answers.own_PT[number], left[number], _FEW, answers.until)
        answers.take(number, outcome, "solver", "solver")
        answers.tell()


def _take_chunk(answers: Answers, number_B: Tensor, rows32_KD: Tensor, num_rivals: int) -> dict[int, Tensor]:
    """Ascent and programs for one chunk. Returns the rivals of each question that is still open."""
    rivals: dict[int, Tensor] = {}
    for state in climb(rows32_KD, answers.own_PT[number_B], num_rivals):
        rising_B = state.rising & answers.open_P[number_B]
        f_CD = state.direction[rising_B]
        trial = answers.head.tried(answers.own_PT[number_B[rising_B]], f_CD, f_CD.new_zeros(len(f_CD)))
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


def _take_round(answers: Answers, rivals: dict[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Run one round of programs. Returns the rivals of the questions to continue with, and of those left to the solver."""
    more: dict[int, Tensor] = {}
    given_up: dict[int, Tensor] = {}
    dim = answers.head.rows.shape[1] + 3
    size = max(1, _PROGRAM // (dim * len(next(iter(rivals.values())))))
    for every_B in torch.split(torch.tensor(list(rivals)), size):
        number_B = every_B[answers.open_P[every_B]]  # an earlier batch may have decided some
        if answers.late or not len(number_B):
            continue
        rivals_BM = torch.stack([rivals[number] for number in number_B.tolist()])
        outcomes = separate(answers.head, answers.own_PT[number_B], rivals_BM, max(dim, _FEW))
        for number, outcome in zip(number_B.tolist(), outcomes, strict=True):
            answers.take(number, outcome, "ascent", "mixture")
            if outcome.rivals is not None:
                more[number] = outcome.rivals
            elif answers.open_P[number]:
                given_up[number] = rivals[number]
        if answers.own_PT.shape[1] == 1:
            _share(answers, number_B)
    return {number: own for number, own in more.items() if answers.open_P[number]}, given_up


def _share(answers: Answers, number_B: Tensor) -> None:
    """Derive certificates for all open labels from the certificates of some labels."""
    misses = 0
    for number in number_B.tolist():
        certificate, open_B = answers.certificates[number], answers.open
        if certificate is None or misses == _MISSES or not len(open_B):
            continue
        found = certificates_from(answers.head, certificate, answers.own_PT[open_B, 0])
        for place, other in found.items():
            answers.say_no(int(open_B[place]), other, "mixture")
        misses = 0 if found else misses + 1
