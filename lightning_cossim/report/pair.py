"""Pair: one line of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["FLAGS", "OF_TARGETS", "REACHES", "Flag", "OnTop", "Pair", "Side", "on_top"]

Side = Literal["strangers", "lookalikes"]
Flag = Literal["stranger", "look-alike"]
OnTop = Literal["never together", "possible", "possible, not seen", "undecided"]
FLAGS: Final[Mapping[Side, Flag]] = {"strangers": "stranger", "lookalikes": "look-alike"}
"""Side to what one pair of it is called."""
REACHES: Final = ("", "no", "yes", "undecided")
"""Verdicts on whether some input can bring out both labels on top; the first: it was not asked for."""
_ON_TOP: Final[Mapping[str, OnTop]] = {"no": "never together", "yes": "possible", "undecided": "undecided"}
OF_TARGETS: Final = ("errors", "errors_back", "mass_label", "mass_other", "mass_neither")
"""Columns that a report has where the targets of inputs are known."""


@dataclass(frozen=True)
class Pair:
    """Two labels, the similarities between them, and how far their overlap is from what pairs with their cosine have."""

    label: str
    other: str
    similarities: Mapping[str, float] = field(hash=False)
    """Key to value, those that mean something under the link: `raw_cosine`, `centered_cosine` and so on."""
    overlap: float
    overlap_error: float
    """Standard error of the overlap, and of the gap; NaN with fewer than eight groups of inputs."""
    expected_overlap: float
    """The overlap of other pairs with this cosine."""
    gap: float
    """`overlap - expected_overlap`: positive towards strangers, negative towards look-alikes."""
    mass: float
    """Joint mass in units of 1/K_live: a gap between labels that are never predicted is nobody's problem."""
    joint_inputs: int = 0
    """Inputs on which both labels are likely: among the eight most likely, with a tenth of the probability of the most likely."""
    errors: tuple[int, int] | None = None
    """Inputs of `label` that were predicted as `other`, and the reverse; None where targets are not known.

    (12, 3) reads "12 inputs of Coat were predicted as Shirt, 3 the reverse".
    """
    joint_shares: tuple[float, float, float] | None = None
    """Where the joint mass lies: its shares on inputs of `label`, of `other` and of neither. Their sum is 1; NaN without mass."""
    flag: Flag | None = None
    """What the report calls it; None: it is not flagged, or nothing was judged."""
    why_unflagged: str | None = None
    """Why it is not flagged, one of `lightning_cossim.report.verdicts.WHY_UNFLAGGED`, or "no verdict" where thresholds give none.

    None if it is flagged, or no thresholds were applied.
    """
    on_top: OnTop | None = None
    """Whether any input at all can make the two the most likely labels; None where it was not asked for."""

    @property
    def numbers(self) -> dict[str, float]:
        """Every number of it, in the order of columns; those of targets only where these are known."""
        of_targets = () if self.errors is None or self.joint_shares is None else (*self.errors, *self.joint_shares)
        return {
            **self.similarities,
            "overlap": self.overlap,
            "overlap_error": self.overlap_error,
            "expected_overlap": self.expected_overlap,
            "gap": self.gap,
            "mass": self.mass,
            "joint_inputs": self.joint_inputs,
            **dict(zip(OF_TARGETS, of_targets, strict=False)),
        }


def on_top(reach: str, flag: Flag | None) -> OnTop | None:
    """What a verdict of `REACHES` says of a pair; a look-alike that is possible was not seen."""
    return "possible, not seen" if reach == "yes" and flag == "look-alike" else _ON_TOP.get(reach)
