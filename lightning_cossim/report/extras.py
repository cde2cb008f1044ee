"""Extras: what a report tells beside its statistics, each asked for or found by an owner of its own."""

import math
from dataclasses import dataclass

__all__ = ["Extras", "ReachabilityVerdicts"]


@dataclass(frozen=True)
class ReachabilityVerdicts:
    """Which labels, and which flagged pairs, some input can make the most likely ones."""

    unreachable: tuple[int, ...]
    """Labels that no input can, by their rows in the head."""
    num_undecided: int
    """Labels that could not be decided, in the time there was or at all."""
    num_labels: int
    """Labels that were asked for."""
    pairs: tuple[tuple[int, int, str], ...]
    """Flagged pairs, the smaller row first, and their verdicts (`REACHES`)."""


@dataclass(frozen=True)
class Extras:
    """The part of a report that comes from elsewhere than its window."""

    ranking_drift: float = math.nan
    """By how much the rankings have changed since the last report of the stage, on average, in [0, 2]; NaN at the first."""
    reachability: ReachabilityVerdicts | None = None
    """None: it was not asked for (`Schedule.reachability`)."""
