"""Answer questions about rankings in stages: cheap checks first, then many questions at once by matrix products, the solver last.

Shapes: K labels, D embedding dimensions, N inputs; P questions of T labels each, `own_PT`, B of them at a time, C of
these.
"""

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.answers import Answers
from lightning_cossim.functional.reachability.ascent import guesses, whitenings
from lightning_cossim.functional.reachability.certificates import Certificate, certificate_of, equal_rivals
from lightning_cossim.functional.reachability.programs import take_programs
from lightning_cossim.functional.reachability.questions import Trial
from lightning_cossim.functional.reachability.rankings import Rankings

__all__ = ["decide"]


def decide(answers: Answers[Certificate], rankings: Rankings, embeddings: Tensor | None) -> None:
    """Run all stages until every question is decided or the time limit has passed.

    Args:
        answers: receives the verdicts.
        rankings: the questions.
        embeddings: (N, D), float64, finite inputs of the head; None skips the stage that uses them.
    """
    if rankings.num_own == len(rankings.head.rows):  # no rivals exist
        beyond_all, anywhere = torch.full_like(answers.margins, torch.inf), torch.zeros_like(answers.witnesses)
        answers.say_yes(answers.open, Trial(answers.open_P, beyond_all, anywhere), "rank")
    _take_equal_rows(answers, rankings)
    _take_rank(answers, rankings)
    if embeddings is not None:
        _take_inputs(answers, rankings, embeddings)
    _take_directions(answers, rankings)
    take_programs(answers)
    answers.tell_the_end()


def _take_equal_rows(answers: Answers[Certificate], rankings: Rankings) -> None:
    """Answer "no" where a rival has the same row and at least the same bias."""
    open_B = answers.open
    if answers.late or not len(open_B):
        return
    one = torch.ones(1, dtype=torch.float64)
    for number, rival in zip(open_B.tolist(), equal_rivals(rankings.head, rankings.own_PT[open_B]).tolist(), strict=True):
        if rival >= 0:
            own_T = rankings.own_PT[number]
            equal_T = (rankings.head.given_rows[own_T] == rankings.head.given_rows[rival]).all(dim=1).double()
            equal_T *= rankings.head.given_bias[own_T] <= rankings.head.given_bias[rival]
            answers.say_no(number, certificate_of(rankings.head, own_T, equal_T, torch.tensor([rival]), one), "mixture")


def _take_rank(answers: Answers[Certificate], rankings: Rankings) -> None:
    """Answer "yes" by a pseudo-inverse. If the centered rows have rank K - 1, this answers every question."""
    K, D = rankings.head.rows.shape
    if answers.late or K > D + 1 or not answers.open_P.any():
        return
    inverse_DK = torch.linalg.pinv(rankings.head.rows, rtol=1e-9)
    for number_B in torch.split(answers.open, rankings.head.chunk):
        own_BT = rankings.own_PT[number_B]
        f_BD = inverse_DK.T[own_BT].sum(dim=1)
        answers.say_yes(number_B, rankings.tried(number_B, f_BD, f_BD.new_zeros(len(f_BD))), "rank")


def _take_inputs(answers: Answers[Certificate], rankings: Rankings, embeddings: Tensor) -> None:
    """Answer "yes" for the labels that the head ranks first on some input (for pairs: first and second).

    If several inputs do, the one with the largest margin is the witness.
    """
    num_own, seen = rankings.num_own, dict[tuple[int, ...], tuple[float, Tensor]]()
    if num_own == len(rankings.head.rows):
        return
    for f_BD in torch.split(embeddings, rankings.head.chunk):
        if answers.late:
            break
        top = (f_BD @ rankings.head.given_rows.T + rankings.head.given_bias).topk(num_own + 1, dim=1)
        gap_B = top.values[:, -2] - top.values[:, -1]
        for own, gap, f_D in zip(top.indices[:, :-1].sort(dim=1).values.tolist(), gap_B.tolist(), f_BD, strict=True):
            if gap > seen.get(tuple(own), (0.0, f_D))[0]:
                seen[tuple(own)] = gap, f_D
    for number in answers.open.tolist():
        own_T = rankings.own_PT[number]
        found = seen.get(tuple(own_T.sort().values.tolist()))
        if found is not None:
            answers.say_yes(torch.tensor([number]), rankings.seen(torch.tensor([number]), found[1][None]), "inputs")


def _take_directions(answers: Answers[Certificate], rankings: Rankings) -> None:
    """Answer "yes" where a guessed direction is enough."""
    maps = whitenings(rankings.head) if answers.open_P.any() else []
    for number_B in torch.split(answers.open, rankings.head.chunk):
        if answers.late:
            break
        own_BT = rankings.own_PT[number_B]
        for f_BD, s_B in guesses(rankings.head, own_BT, maps):
            open_B = answers.open_P[number_B]
            answers.say_yes(number_B[open_B], rankings.tried(number_B[open_B], f_BD[open_B], s_B[open_B]), "direction")
        answers.tell()
