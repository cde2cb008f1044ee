"""Questions about a head, and the test of an answer: does a direction give what a question asks for?

There are two kinds of questions: `Rankings` ask for labels above all others, `Patterns` for logits of given signs. Each has a
margin, which is positive if and only if the scores are as asked.

Shapes: K labels, D embedding dimensions; P questions, B of them at a time by their numbers `number_B`, C of these. A question
has R rows: T of its own, and M rivals. E = D + 1: a row and its bias.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.ascent import Ascent
from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["MARGIN", "ProofT", "Questions", "Trial"]

MARGIN: Final = 1e-6
"""Smallest margin that counts as "yes", in scaled units; a smaller one may be rounding error."""

ProofT = TypeVar("ProofT")
"""The certificate of a "no"."""


class Trial(NamedTuple):
    """The result of one direction for each question."""

    yes: Tensor
    """Boolean (B,), whether the scores are as asked: in the scaled head and in the original one."""
    margin: Tensor
    """(B,), the margin, in scaled units. If s = 0, the direction is scaled to a largest entry of 1."""
    witness: Tensor
    """(B, D), an embedding for the original head; meaningless where `yes` is False."""


class Questions(ABC, Generic[ProofT]):
    """Questions about one head.

    Args:
        head: the head, scaled.
    """

    num_own: int
    """T, the number of own rows of a question."""

    def __init__(self, head: ScaledHead) -> None:
        self.head = head

    @abstractmethod
    def __len__(self) -> int:
        """P."""

    @property
    @abstractmethod
    def most_rivals(self) -> int:
        """The largest number of rivals that a question can have."""

    @abstractmethod
    def margins(self, number_B: Tensor, scores_BK: Tensor) -> Tensor:
        """(B,), the margins of scores (B, K). Overwrites the scores."""

    @abstractmethod
    def against(self, number_B: Tensor) -> Tensor:
        """(B,), at least 0, the most that the scaled biases can take away from a margin."""

    @abstractmethod
    def points(self, number_B: Tensor, rivals_BM: Tensor) -> Tensor:
        """(B, R, E), the own rows and the rivals of each question, so that the own rows must score above all rivals."""

    @abstractmethod
    def ascent(self, number_B: Tensor, num_rivals: int) -> Ascent:
        """The ascent of these questions."""

    @abstractmethod
    def proof(self, number: int, rivals_M: Tensor, y_R: Tensor) -> ProofT | None:
        """The certificate that multipliers (R,) of the rows give; None if they prove nothing."""

    @abstractmethod
    def violated(self, number: int, rivals_M: Tensor, scores_K: Tensor, num_new: int, tolerance: float) -> Tensor | None:
        """At most `num_new` more rivals that scores (K,) violate most; None if none is violated by less than `-tolerance`."""

    @abstractmethod
    def shared(self, number: int, proof: ProofT, number_B: Tensor) -> Iterator[tuple[int, ProofT]]:
        """Other questions among `number_B` that follow from the certificate of one, each with its certificate."""

    def tried(self, number_B: Tensor, f_BD: Tensor, s_B: Tensor) -> Trial:
        """Test directions (f, s): first scaled up until no bias matters, then with their share s of the bias.

        Args:
            number_B: integer (B,), the questions.
            f_BD: (B, D), the directions.
            s_B: (B,), at least 0, their shares of the bias.
        """
        head, largest_B = self.head, f_BD.abs().amax(dim=1)
        f_BD = f_BD / torch.where(largest_B > 0, largest_B, 1)[:, None]
        s_B = s_B / torch.where(largest_B > 0, largest_B, 1)
        margin_B = self.margins(number_B, f_BD @ head.rows.T)
        beyond_B = (2 * head.spread * self.against(number_B) / margin_B.clamp(min=MARGIN)).clamp(min=1)
        witness_BD = f_BD * beyond_B[:, None] / (head.length or 1)  # twice what the biases can take away
        yes_B = margin_B > MARGIN
        some_B = ~yes_B & (s_B > 0)
        if head.spread and some_B.any():
            f_CD, s_C = f_BD[some_B], s_B[some_B]
            margin_B[some_B] = self.margins(number_B[some_B], head.scores(f_CD / s_C[:, None], torch.ones_like(s_C)))
            witness_BD[some_B] = f_CD / s_C[:, None] * head.spread / (head.length or 1)
            yes_B = margin_B > MARGIN
        found = yes_B.nonzero().flatten()
        yes_B[found] = self.hold(number_B[found], witness_BD[found])
        return Trial(yes_B, margin_B, witness_BD)

    def seen(self, number_B: Tensor, f_BD: Tensor) -> Trial:
        """Test embeddings (B, D) that the head received. Each witness is the embedding itself."""
        head = self.head
        if head.spread:
            scores_BK = head.scores(f_BD * (head.length / head.spread), f_BD.new_ones(len(f_BD)))
            margin_B = self.margins(number_B, scores_BK)
        else:
            margin_B = self.margins(number_B, f_BD @ head.rows.T) / f_BD.abs().amax(dim=1)
        return Trial((margin_B > MARGIN) & self.hold(number_B, f_BD), margin_B, f_BD)

    def hold(self, number_B: Tensor, witness_BD: Tensor) -> Tensor:
        """Boolean (B,), whether the logits of the original head are as asked for these embeddings."""
        return self.margins(number_B, self.head.logits(witness_BD)) > 0
