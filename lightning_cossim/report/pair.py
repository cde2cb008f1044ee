"""Pair: two labels and all numbers of a report about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["FLAGS", "OF_TARGETS", "REACHES", "Flag", "OnAlone", "OnTop", "Pair", "Side", "on_alone", "on_top"]

Side = Literal["strangers", "lookalikes"]
Flag = Literal["stranger", "look-alike"]
OnTop = Literal["never together", "possible", "possible, not seen", "undecided"]
OnAlone = Literal["impossible", "possible", "undecided"]
FLAGS: Final[Mapping[Side, Flag]] = {"strangers": "stranger", "lookalikes": "look-alike"}
"""The flag of one pair on each side."""
REACHES: Final = ("", "no", "yes", "undecided")
"""Verdicts on whether some input can make both labels the two most likely ones. The first means: not requested."""
_ON_TOP: Final[Mapping[str, OnTop]] = {"no": "never together", "yes": "possible", "undecided": "undecided"}
_ON_ALONE: Final[Mapping[str, OnAlone]] = {"no": "impossible", "yes": "possible", "undecided": "undecided"}
OF_TARGETS: Final = ("errors", "errors_back", "mass_label", "mass_other", "mass_neither")
"""Columns that a report has only if targets are known."""


@dataclass(frozen=True)
class Pair:
    """Two labels, the similarities between them, their overlap, and its gap to the expected overlap."""

    label: str
    """Name of the first label."""
    other: str
    """Name of the second label."""
    similarities: Mapping[str, float] = field(hash=False)
    """The similarities that are meaningful under the link, by key: `raw_cosine`, `centered_cosine` and so on."""
    overlap: float
    """Probability overlap, in [0, 1]."""
    overlap_error: float
    """Standard error of the overlap and of the gap; NaN if fewer than eight blocks have inputs."""
    expected_overlap: float
    """The overlap of other pairs with this cosine, in [0, 1]."""
    gap: float
    """`overlap - expected_overlap`, in [-1, 1]. Positive: more overlap than expected; negative: less."""
    mass: float
    """Joint mass in units of 1/K_live, at least 0. If it is near 0, the pair is rarely predicted and its gap matters little."""
    joint_inputs: int = 0
    """Number of inputs on which both labels are likely (`functional.joint_inputs`)."""
    errors: tuple[int, int] | None = None
    """Number of inputs of `label` predicted as `other`, and the reverse; None if targets are not known.

    For Coat and Shirt, (12, 3) means: 12 inputs of Coat were predicted as Shirt, and 3 inputs of Shirt as Coat.
    """
    joint_shares: tuple[float, float, float] | None = None
    """Shares of the joint mass on inputs of `label`, `other` and neither. Their sum is 1; NaN if there is no mass."""
    flag: Flag | None = None
    """The flag, "stranger" or "look-alike"; None if the pair is not flagged or the report is not judged."""
    why_unflagged: str | None = None
    """Why the pair is not flagged: one of `lightning_cossim.report.verdicts.WHY_UNFLAGGED`, or "no verdict".

    None if the pair is flagged or no thresholds were applied.
    """
    on_top: OnTop | None = None
    """Whether any input can make the pair the two most likely labels; None if reachability was not requested."""
    on_alone: OnAlone | None = None
    """Whether any input can switch both labels on and all other kept labels off, under a sigmoid.

    None if reachability was not requested, under other links, or if the pair was not examined: flagged pairs are, and the 1,000
    pairs with the largest joint mass.
    """

    @property
    def numbers(self) -> dict[str, float]:
        """All numbers of the pair, in the order of columns; numbers about targets only if targets are known."""
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
    """The value of `Pair.on_top` for a verdict from `REACHES`. If a look-alike is possible, the inputs have not shown it."""
    return "possible, not seen" if reach == "yes" and flag == "look-alike" else _ON_TOP.get(reach)


def on_alone(verdict: str) -> OnAlone | None:
    """The value of `Pair.on_alone` for a verdict from `REACHES`."""
    return _ON_ALONE.get(verdict)
