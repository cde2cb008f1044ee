"""Extras: results that are added to a report after its statistics: ranking drift, reachability and evidence."""

import math
from dataclasses import dataclass

from lightning_cossim.report.evidence import PairsWithEvidence

__all__ = ["CombinationVerdicts", "Extras", "ReachabilityVerdicts"]


@dataclass(frozen=True)
class CombinationVerdicts:
    """Which kept labels and pairs of a sigmoid head can be on with all other kept labels off, decided from the weights."""

    never_alone: tuple[int, ...]
    """Labels that cannot be on alone, as rows of the head."""
    num_undecided: int
    """Number of labels that stayed undecided, for lack of time or of numerical precision."""
    num_labels: int
    """Number of labels examined."""
    pairs: tuple[tuple[int, int, str], ...]
    """Pairs, the smaller row first, each with its verdict from `REACHES`."""
    num_observed: int
    """Number of combinations that inputs showed and that were checked."""
    num_contradicted: int
    """Number of these that the weights seem to rule out. It must be 0: an input showed each of them."""


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
    combinations: CombinationVerdicts | None = None
    """None unless the link is "sigmoid"."""


@dataclass(frozen=True)
class Extras:
    """The results that are added to a report after its statistics, each by its owner."""

    ranking_drift: float = math.nan
    """Mean change of the ranking cosines since the previous report of the stage, in [0, 2]; NaN in the first report."""
    reachability: ReachabilityVerdicts | None = None
    """None if reachability was not requested (`Schedule.reachability`)."""
    evidence: PairsWithEvidence | None = None
    """The inputs behind pairs of labels; None if none were kept."""
