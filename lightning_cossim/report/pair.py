"""Pair: one line of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["FLAGS", "REACHES", "Flag", "OnTop", "Pair", "Side", "on_top"]

Side = Literal["strangers", "lookalikes"]
Flag = Literal["stranger", "look-alike"]
OnTop = Literal["never together", "possible", "possible, not seen", "undecided"]
FLAGS: Final[Mapping[Side, Flag]] = {"strangers": "stranger", "lookalikes": "look-alike"}
"""Side to what one pair of it is called."""
REACHES: Final = ("", "no", "yes", "undecided")
"""Verdicts on whether some input can bring out both labels on top; the first: it was not asked for."""
_ON_TOP: Final[Mapping[str, OnTop]] = {"no": "never together", "yes": "possible", "undecided": "undecided"}


@dataclass(frozen=True)
class Pair:
    """Two labels, the similarities between them, and how far their overlap is from what pairs with their cosine have."""

    label: str
    other: str
    similarities: Mapping[str, float] = field(hash=False)
    """Key to value, those that mean something under the link: `raw_cosine`, `centered_cosine` and so on."""
    overlap: float
    expected_overlap: float
    gap: float
    """`overlap - expected_overlap`: positive towards strangers, negative towards look-alikes."""
    mass: float
    """Joint mass in units of 1/K_live: a gap between labels that are never predicted is nobody's problem."""
    flag: Flag | None = None
    """Whether its gap lies beyond the thresholds that the report was judged by."""
    on_top: OnTop | None = None
    """Whether any input at all can make the two the most likely labels; None where it was not asked for."""

    @property
    def numbers(self) -> dict[str, float]:
        """Every number of it, in the order of columns: the similarities, overlap, expected overlap, gap and mass."""
        own = {"overlap": self.overlap, "expected_overlap": self.expected_overlap, "gap": self.gap, "mass": self.mass}
        return {**self.similarities, **own}


def on_top(reach: str, flag: Flag | None) -> OnTop | None:
    """What a verdict of `REACHES` says of a pair; a look-alike that is possible was not seen."""
    return "possible, not seen" if reach == "yes" and flag == "look-alike" else _ON_TOP.get(reach)
