"""Answer questions about patterns in stages: inputs seen, rays, then many questions at once by matrix products, the solver last.

Shapes: K labels, D embedding dimensions, N inputs; P patterns, B of them at a time by their numbers `number_B`.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.answers import Answers
from lightning_cossim.functional.reachability.ascent import whitenings
from lightning_cossim.functional.reachability.patterns import Patterns, SignCertificate
from lightning_cossim.functional.reachability.programs import take_programs
from lightning_cossim.functional.reachability.questions import Trial

__all__ = ["decide_combinations"]

_INPUTS: Final = 2048
"""Inputs that are compared with patterns at a time."""


def decide_combinations(answers: Answers[SignCertificate], patterns: Patterns, embeddings: Tensor | None) -> None:
    """Run all stages until every pattern is decided or the time limit has passed.

    Args:
        answers: receives the verdicts.
        patterns: the questions.
        embeddings: (N, D), float64, finite inputs of the head; None skips the stage that uses them.
    """
    asks_nothing = (patterns.signs_PK == 0).all(dim=1).nonzero().flatten()
    beyond_all, anywhere = answers.margins.new_full((len(asks_nothing),), torch.inf), torch.zeros_like(answers.witnesses)
    answers.say_yes(asks_nothing, Trial(beyond_all > 0, beyond_all, anywhere[asks_nothing]), "direction")
    if not answers.open_P.any():
        answers.tell_the_end()
        return
    if embeddings is not None:
        _take_inputs(answers, patterns, embeddings)
    _take_rays(answers, patterns)
    take_programs(answers)
    answers.tell_the_end()


def _take_inputs(answers: Answers[SignCertificate], patterns: Patterns, embeddings: Tensor) -> None:
    """Answer "yes" for the patterns that some input shows."""
    for f_ND in torch.split(embeddings, _INPUTS):
        signs_KN = patterns.head.logits(f_ND).sign().float().T
        for number_B in torch.split(answers.open, patterns.head.chunk):
            if answers.late:
                return
            signs_BK = patterns.signs_PK[number_B].float()
            shows_BN = signs_BK @ signs_KN == signs_BK.abs().sum(dim=1, keepdim=True)
            found_B = shows_BN.any(dim=1)
            if found_B.any():
                f_BD = f_ND[shows_BN[found_B].int().argmax(dim=1)]
                answers.say_yes(number_B[found_B], patterns.seen(number_B[found_B], f_BD), "inputs")


def _take_rays(answers: Answers[SignCertificate], patterns: Patterns) -> None:
    """Answer "yes" where a point on a guessed ray is enough."""
    maps = whitenings(patterns.head) if answers.open_P.any() else []
    for number_B in torch.split(answers.open, patterns.head.chunk):
        for f_BD in _guesses(patterns, number_B, maps):
            if answers.late:
                return
            open_B = answers.open_P[number_B]
            answers.say_yes(number_B[open_B], _on_the_ray(patterns, number_B[open_B], f_BD[open_B]), "direction")
        answers.tell()


def _guesses(patterns: Patterns, number_B: Tensor, maps: list[Tensor]) -> Iterator[Tensor]:
    """Directions (B, D): zero, then the rows of the labels that are to be on, alone and minus the others, plain and whitened."""
    signs_BK, rows_KD = patterns.signs_PK[number_B].double(), patterns.head.rows
    yield rows_KD.new_zeros(len(number_B), rows_KD.shape[1])
    for weight_BK in (signs_BK.clamp(min=0), signs_BK):
        f_BD = weight_BK @ rows_KD
        yield f_BD
        for map_DD in maps:
            yield f_BD @ map_DD


def _on_the_ray(patterns: Patterns, number_B: Tensor, f_BD: Tensor) -> Trial:
    """The trial of the middle of the part of each ray on which all logits have the signs that the pattern asks for.

    On the ray, the embedding is `length * f`. A logit that rises sets a lower end of the part, one that falls sets an upper end.
    """
    signs_BK = patterns.signs_PK[number_B]
    rise_BK = (f_BD @ patterns.head.rows.T).mul_(signs_BK)
    crossing_BK = -patterns.head.bias * signs_BK / rise_BK
    first_B = crossing_BK.masked_fill(~(rise_BK > 0), 0).amax(dim=1).clamp(min=0)
    last_B = crossing_BK.masked_fill(~(rise_BK < 0), torch.inf).amin(dim=1)
    length_B = torch.where(last_B.isinf(), 2 * first_B + 1, (first_B + last_B) / 2)
    share_B = torch.where(length_B > 0, 1 / length_B, 1.0)
    return patterns.tried(number_B, f_BD, share_B)
