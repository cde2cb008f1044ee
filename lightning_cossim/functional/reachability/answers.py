"""The verdicts found so far, each with its proof.

Shapes: D embedding dimensions; P questions, B of them at a time, C of these answered.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Generic, Literal

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.questions import ProofT, Questions, Trial
from lightning_cossim.functional.reachability.separation import Outcome

__all__ = ["Answers", "Means", "Verdict"]

Verdict = Literal["yes", "no", "undecided"]
Means = Literal["rank", "inputs", "direction", "ascent", "mixture", "solver"]


class Answers(Generic[ProofT]):
    """The verdict and the proof of each question that is decided, and the list of questions that are still open.

    Args:
        questions: the questions.
        time_limit: the time budget in seconds, at least 0; None means no limit.
        progress: a function that receives the share of questions that are decided, in [0, 1]; None means no reports.
    """

    def __init__(
        self, questions: Questions[ProofT], *, time_limit: float | None, progress: Callable[[float], None] | None
    ) -> None:
        self.questions = questions
        self.verdicts: list[Verdict] = ["undecided"] * len(questions)
        self.means: list[Means | None] = [None] * len(questions)
        self.margins = torch.full((len(questions),), torch.nan, dtype=torch.float64)
        self.witnesses = torch.full((len(questions), questions.head.rows.shape[1]), torch.nan, dtype=torch.float64)
        self.certificates: list[ProofT | None] = [None] * len(questions)
        self.open_P = torch.ones(len(questions), dtype=torch.bool)
        self.until = perf_counter() + time_limit if time_limit is not None else torch.inf
        self._progress = progress

    @property
    def open(self) -> Tensor:
        """The numbers of the questions that are still open."""
        return self.open_P.nonzero().flatten()

    @property
    def late(self) -> bool:
        """Whether the time limit has passed."""
        return perf_counter() >= self.until

    def say_yes(self, number_B: Tensor, trial: Trial, means: Means) -> None:
        """Record "yes" for each question (B,) whose trial succeeded, with its margin and witness."""
        number_C = number_B[trial.yes]
        for number in number_C.tolist():
            self.verdicts[number], self.means[number] = "yes", means
        self.margins[number_C], self.witnesses[number_C] = trial.margin[trial.yes], trial.witness[trial.yes]
        self.open_P[number_C] = False

    def say_no(self, number: int, certificate: ProofT | None, means: Means) -> None:
        """Record "no" for one question. Without a certificate, do nothing."""
        if certificate is not None:
            self.verdicts[number], self.means[number], self.certificates[number] = "no", means, certificate
            self.open_P[number] = False

    def take(self, number: int, outcome: Outcome[ProofT], yes: Means, no: Means) -> None:
        """Record the outcome of one question: its certificate or its witness. If it has neither, the question stays open."""
        self.say_no(number, outcome.certificate, no)
        if outcome.witness is not None:
            trial = Trial(torch.tensor([True]), torch.tensor([outcome.margin], dtype=torch.float64), outcome.witness[None])
            self.say_yes(torch.tensor([number]), trial, yes)

    def tell(self) -> None:
        """Report the share of questions that are decided."""
        if self._progress is not None:
            self._progress(1 - float(self.open_P.double().mean()))

    def tell_the_end(self) -> None:
        """Report 1.0: the work has ended, even if some questions stay undecided."""
        if self._progress is not None:
            self._progress(1.0)
