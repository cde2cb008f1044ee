"""Verdict: which pairs of a report are flagged, or why none is. Pure functions of one report's statistics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.functional.comparison import share_of_pairs
from lightning_cossim.report.pair import Side
from lightning_cossim.report.statistics import Statistics

__all__ = ["MIN_PAIRS", "Verdict", "judge", "no_verdict"]

MIN_PAIRS: Final = 45
"""Of fewer pairs the shares scatter too widely for a verdict (THEORY §5)."""
_SHARES: Final = ("share_strangers", "share_lookalikes")


@dataclass(frozen=True, eq=False)
class Verdict:
    """The part of a report that thresholds decide."""

    thresholds: Thresholds | None = None
    """Those that it was judged by; None: it was not judged."""
    flags: Mapping[Side, Tensor] = field(default_factory=dict)
    """Side to boolean (P,), the pairs beyond the thresholds; empty if it was not judged."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """`share_strangers` and `share_lookalikes`: flagged pairs as a share of the eligible ones, NaN without a verdict."""
    share_errors: Mapping[str, float] = field(default_factory=dict)
    """The same to the standard errors that drawing a sample of the pairs leaves; empty where all were compared."""
    why_none: str | None = None
    """Why no pair is flagged, if thresholds give no verdict."""
    alerts: tuple[str, ...] = ()
    """The alerts that act at this report, in words."""

    def with_alerts(self, alerts: tuple[str, ...]) -> "Verdict":
        """The same verdict, and the alerts that act."""
        return replace(self, alerts=alerts)


def judge(statistics: Statistics, thresholds: Thresholds) -> Verdict:
    """The verdict on the pairs of a report.

    A pair is eligible if it has a gap and both of its labels a mean probability of at least `min_mass` / K_live. Without a
    verdict nothing is flagged, and shares are NaN.
    """
    eligible_P, why = _eligible(statistics, thresholds), no_verdict(statistics, thresholds)
    if why is None and not eligible_P.any():
        why = "no pair has the mass"
    # An overlap that may be larger than what was seen of it is no sign that there is little.
    error = statistics.table.overlap_error
    margins: dict[Side, Tensor] = {
        "strangers": statistics.gap - thresholds.stranger,
        "lookalikes": -thresholds.lookalike - (statistics.gap + (0.0 if error is None else error)),
    }
    flags = {side: torch.zeros_like(eligible_P) if why else (margin_P > 0) & eligible_P for side, margin_P in margins.items()}
    if why:
        return Verdict(thresholds, flags, dict.fromkeys(_SHARES, math.nan), why_none=why)
    pairs, expected_P = statistics.table.compared[eligible_P], statistics.expected_overlap[eligible_P]
    overlap_P = statistics.table.rungs["overlap"][eligible_P]
    shares = {
        f"share_{side}": share_of_pairs(
            flags_P[eligible_P], pairs, margin=margins[side][eligible_P], expected=expected_P, overlap=overlap_P
        )
        for side, flags_P in flags.items()
    }
    errors = {name: share.standard_error for name, share in shares.items() if share.standard_error is not None}
    return Verdict(thresholds, flags, {name: share.value.item() for name, share in shares.items()}, errors)


def no_verdict(statistics: Statistics, thresholds: Thresholds) -> str | None:
    """Why these statistics do not allow a verdict on pairs, or None if they do."""
    table = statistics.table
    if table.num_inputs < thresholds.min_inputs:
        return f"{table.num_inputs} inputs, verdicts need {thresholds.min_inputs}"
    if table.num_pairs < MIN_PAIRS:
        return f"{table.num_pairs} pair{'s' * (table.num_pairs != 1)} of labels, verdicts need {MIN_PAIRS}"
    if not statistics.reliability >= thresholds.min_reliability:
        return f"reliability {statistics.reliability:.2f}, verdicts need {thresholds.min_reliability:g}"
    return None


def _eligible(statistics: Statistics, thresholds: Thresholds) -> Tensor:
    """Boolean (P,)."""
    table = statistics.table
    massive_L = table.mean_probs >= thresholds.min_mass / max(table.num_live, 1)
    return statistics.gap.isfinite() & massive_L[table.compared.row] & massive_L[table.compared.column]
