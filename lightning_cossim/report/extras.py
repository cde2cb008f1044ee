"""Extras: results of a report that do not come from its window: ranking drift, reachability and evidence."""

import math
from dataclasses import dataclass

from lightning_cossim.report.evidence import PairsWithEvidence

__all__ = ["Extras", "ReachabilityVerdicts"]


@dataclass(frozen=True)
class ReachabilityVerdicts:
    """Which labels, and which flagged pairs, some input can make the most likely ones, decided from the weights."""

    unreachable: tuple[int, ...]
    """Labels that no input can make the most likely one, as rows of the head."""
    num_undecided: int
    """Number of labels that stayed undecided, for lack of time or of numerical precision."""
    num_labels: int
    """Number of labels examined."""
    pairs: tuple[tuple[int, int, str], ...]
    """Flagged pairs, the smaller row first, each with its verdict from `REACHES`."""


@dataclass(frozen=True)
class Extras:
    """The part of a report that does not come from its window."""

    ranking_drift: float = math.nan
    """Mean change of the ranking cosines since the previous report of the stage, in [0, 2]; NaN in the first report."""
    reachability: ReachabilityVerdicts | None = None
    """None if reachability was not requested (`Schedule.reachability`)."""
    evidence: PairsWithEvidence | None = None
    """The inputs behind pairs; None if no inputs were kept."""
