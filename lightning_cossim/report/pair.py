"""Pair: one line of a report."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["REACHES", "Flag", "OnTop", "Pair"]

Flag = Literal["stranger", "look-alike"]
OnTop = Literal["never together", "possible", "possible, not seen", "undecided"]
REACHES: Final = ("", "no", "yes", "undecided")
"""Verdicts on whether some input can bring out both labels on top; the first: it was not asked for."""


@dataclass(frozen=True)
class Pair:
    """Two labels, the rungs between them, and how far their overlap is from what pairs with their cosine have."""

    label: str
    other: str
    raw_cosine: float
    centered_cosine: float
    """NaN under links that have none."""
    logit_correlation: float
    log_odds_variance: float
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
