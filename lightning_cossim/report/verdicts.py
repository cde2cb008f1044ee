"""Verdict: which pairs of a report are flagged, and why other pairs are not. Pure functions of the statistics of one report.

Shapes: K labels of the head, L of them compared, P pairs of these.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.config.thresholds import INPUTS_PER_LABEL, Thresholds
from lightning_cossim.functional.comparison import Statistic, share_of_pairs
from lightning_cossim.report.pair import Side
from lightning_cossim.report.pair_table import PairTable
from lightning_cossim.report.statistics import Statistics

__all__ = ["MIN_EFFECTIVE", "MIN_PAIRS", "WHY_UNFLAGGED", "Verdict", "judge", "no_verdict"]

MIN_PAIRS: Final = 45
"""Least number of pairs for a verdict: with fewer pairs the shares scatter too much."""
MIN_EFFECTIVE: Final = 10
"""Least number of effective inputs of both labels of a look-alike.

With 5, an overlap and its error can both be far too small: with 100 labels, 500 inputs and no true gap, 60 reports had twelve
look-alikes. With 10 they had none.
"""
_ONE_SIDED: Final = 1.895
"""Number of standard errors that are subtracted from |gap|: Student's t with seven degrees of freedom at 95 %, one-sided."""
_TOP_COSINES, _UPPER_COSINES = 0.9, 0.5
"""Cosine percentiles: a pair above the first cannot be a stranger, a pair up to the second cannot be a look-alike."""

WHY_UNFLAGGED: Final = (
    "",
    "no gap",
    "below threshold",
    "within the spread of gaps",
    "error unknown",
    "within error",
    "overlap may be larger",
    "too few joint inputs",
    "cosine too high for a stranger",
    "cosine too low for a look-alike",
    "too few inputs",
    "known",
)
"""Reasons why a pair is not flagged. The first one means that it is flagged, or not judged."""
_CODES: Final = {reason: code for code, reason in enumerate(WHY_UNFLAGGED)}


@dataclass(frozen=True, eq=False)
class Verdict:
    """The part of a report that depends on thresholds."""

    thresholds: Thresholds | None = None
    """The thresholds of the verdict; None if the report is not judged."""
    flags: Mapping[Side, Tensor] = field(default_factory=dict)
    """Boolean (P,) for each side, whether a pair is flagged; empty if the report is not judged."""
    limits: Mapping[Side, float] = field(default_factory=dict)
    """For each side, the limit of |gap|: the threshold, or `outlier` times the residual scale if that is larger."""
    why: Tensor | None = None
    """uint8 (P,), the index in `WHY_UNFLAGGED` of the reason for each pair; None if there is no verdict."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """`share_strangers` and `share_lookalikes`: the flagged share of the pairs that count, in [0, 1]; NaN without a verdict."""
    share_errors: Mapping[str, float] = field(default_factory=dict)
    """The standard errors of `shares` from the sample of pairs; empty if all pairs are compared."""
    why_none: str | None = None
    """Why the thresholds give no verdict; None if they do."""
    alerts: tuple[str, ...] = ()
    """The alerts that act at this report, as texts."""

    def why_unflagged(self, place: int) -> str | None:
        """Why the pair at index `place` is not flagged, "no verdict" if there is none; None if it is flagged or not judged."""
        if self.why_none is not None:
            return "no verdict"
        return None if self.why is None else WHY_UNFLAGGED[int(self.why[place])] or None

    def with_alerts(self, alerts: tuple[str, ...]) -> "Verdict":
        """A copy of the verdict with these alerts."""
        return replace(self, alerts=alerts)


def judge(statistics: Statistics, thresholds: Thresholds, name_of: Callable[[int], str] = str) -> Verdict:
    """The verdict on the pairs of a report.

    A pair is flagged if |gap| - 1.895 standard errors exceeds the limit, max(threshold, `outlier` · residual scale), and if all
    conditions of one flag hold:

    - Stranger: the gap is positive, at least `min_joint_inputs` inputs have both labels likely, and the cosine is not in the
      highest tenth.
    - Look-alike: the gap is negative, the cosine is in the upper half, and both labels have at least 10 effective inputs.

    The gap of a look-alike must exceed the limit also with the largest overlap that truncation allows. Pairs in
    `thresholds.known` are never flagged. If there is no verdict, no pair is flagged and shares are NaN.

    Args:
        statistics: the statistics of the report.
        thresholds: the thresholds to apply.
        name_of: returns the name of a row of the head, to find the pairs in `thresholds.known`.

    Returns:
        The verdict, without alerts.

    Source: `docs/numbers.md`, "When a pair is flagged".
    """
    table, why = statistics.table, no_verdict(statistics, thresholds)
    counts_P = statistics.gap.isfinite()
    if why is None and not counts_P.any():
        why = "no pair has a gap"
    if why is not None:
        nothing = torch.zeros_like(counts_P)
        return Verdict(
            thresholds,
            {"strangers": nothing, "lookalikes": nothing},
            shares=dict.fromkeys(_SHARES, math.nan),
            why_none=why,
        )
    spread = thresholds.outlier * statistics.residual_scale
    limits: dict[Side, float] = {
        "strangers": max(thresholds.stranger, spread),
        "lookalikes": max(thresholds.lookalike, spread),
    }
    is_more_P = statistics.gap > 0
    margin_P = _margin(statistics, torch.where(is_more_P, limits["strangers"], limits["lookalikes"]))
    small = _why_too_small(statistics, thresholds, limits, margin_P)
    barred = _why_barred(statistics, thresholds, name_of)
    code_P = _first_of({**small, **barred})
    flagged_P, is_barred_P = code_P == 0, torch.stack([*barred.values()]).any(dim=0)
    which = slice(None) if counts_P.all() else counts_P
    flags: dict[Side, Tensor] = {}
    shares: dict[str, Statistic] = {}
    sides: dict[Side, Tensor] = {"strangers": is_more_P, "lookalikes": ~is_more_P}
    for side, of_side_P in sides.items():
        flags[side] = flagged_P & of_side_P
        shares[f"share_{side}"] = share_of_pairs(
            flags[side][which],
            table.compared[which],
            margin=margin_P.where(of_side_P & ~is_barred_P, torch.nan)[which],
            expected=statistics.expected_curve[which],
            overlap=table.rungs["overlap"][which],
        )
    errors = {name: share.standard_error for name, share in shares.items() if share.standard_error is not None}
    return Verdict(thresholds, flags, limits, code_P, {name: share.value.item() for name, share in shares.items()}, errors)


def _margin(statistics: Statistics, limit: Tensor) -> Tensor:
    """(P,), by how much |gap| exceeds its limit (P,), after subtracting its error and the truncation of its overlap."""
    gap_P, truncation = statistics.gap, statistics.table.truncation
    may_be_larger_P = 0.0 if truncation is None else truncation.where(gap_P <= 0, 0)
    return _sure_size(statistics) - may_be_larger_P - limit


def _sure_size(statistics: Statistics) -> Tensor:
    """(P,), |gap| minus 1.895 standard errors."""
    return statistics.gap.abs() - _ONE_SIDED * statistics.overlap_error


def no_verdict(statistics: Statistics, thresholds: Thresholds) -> str | None:
    """Why these statistics do not allow a verdict on pairs; None if they do."""
    table = statistics.table
    wanted = thresholds.inputs_needed(table.num_kept)
    if table.num_inputs < wanted:
        of_labels = f", {INPUTS_PER_LABEL} for each of {table.num_kept} labels" if wanted > thresholds.min_inputs else ""
        return f"{table.num_inputs} inputs, verdicts need {wanted}{of_labels}"
    if table.num_pairs < MIN_PAIRS:
        num_rare = 0 if table.sampling else table.num_live - table.num_kept
        verb = "is" if num_rare == 1 else "are"
        rare = f"; {num_rare} of {table.num_live} labels {verb} too rare to count (`min_probability`)" if num_rare else ""
        return f"{table.num_pairs} pair{'s' * (table.num_pairs != 1)} of labels, verdicts need {MIN_PAIRS}{rare}"
    too_few = statistics.replicates.too_few
    if too_few is not None:
        return too_few
    if math.isnan(statistics.reliability):
        return f"reliability is unknown: {statistics.numbers.undefined['reliability']}"
    if statistics.reliability < thresholds.min_reliability:
        return f"reliability {statistics.reliability:.2f}, verdicts need {thresholds.min_reliability:g}"
    return None


def _why_too_small(
    statistics: Statistics, thresholds: Thresholds, limits: Mapping[Side, float], margin: Tensor
) -> dict[str, Tensor]:
    """Boolean (P,) for each reason that concerns the gap: it does not exceed its limit by enough."""
    gap_P = statistics.gap
    is_more_P, size_P = gap_P > 0, gap_P.abs()
    limit_P = torch.where(is_more_P, limits["strangers"], limits["lookalikes"])
    return {
        "no gap": gap_P.isnan(),
        "below threshold": ~(size_P > torch.where(is_more_P, thresholds.stranger, thresholds.lookalike)),
        "within the spread of gaps": ~(size_P > limit_P),
        "error unknown": statistics.overlap_error.isnan(),
        "within error": ~(_sure_size(statistics) > limit_P),
        "overlap may be larger": ~(margin > 0),
    }


def _why_barred(statistics: Statistics, thresholds: Thresholds, name_of: Callable[[int], str]) -> dict[str, Tensor]:
    """Boolean (P,) for each reason that excludes a flag regardless of the gap."""
    table, rank_P, is_more_P = statistics.table, statistics.cosine_percentile, statistics.gap > 0
    few_L = ~(table.effective_inputs >= MIN_EFFECTIVE)
    return {
        "too few joint inputs": is_more_P & (table.joint_inputs < thresholds.min_joint_inputs),
        "cosine too high for a stranger": is_more_P & (rank_P > _TOP_COSINES),
        "cosine too low for a look-alike": ~is_more_P & ~(rank_P > _UPPER_COSINES),
        "too few inputs": ~is_more_P & (few_L[table.compared.row] | few_L[table.compared.column]),
        "known": _is_known(table, thresholds, name_of),
    }


def _first_of(reasons: Mapping[str, Tensor]) -> Tensor:
    """uint8 (P,), the index in `WHY_UNFLAGGED` of the first reason that holds; 0 if none does."""
    code_P = torch.zeros_like(next(iter(reasons.values())), dtype=torch.uint8)
    for reason, holds_P in reversed([*reasons.items()]):
        code_P[holds_P] = _CODES[reason]
    return code_P


def _is_known(table: PairTable, thresholds: Thresholds, name_of: Callable[[int], str]) -> Tensor:
    """Boolean (P,), whether a pair is in `thresholds.known`."""
    known_P = torch.zeros(len(table.compared), dtype=torch.bool)
    names = [name_of(label) for label in table.labels] if thresholds.known else []
    for one, other in thresholds.known:
        of_one, of_other = (torch.tensor([called == name for called in names]) for name in (one, other))
        row, column = table.compared.row, table.compared.column
        known_P |= (of_one[row] & of_other[column]) | (of_other[row] & of_one[column])
    return known_P


_SHARES: Final = ("share_strangers", "share_lookalikes")
