"""Verdict: which pairs of a report are flagged, and why the others are not. Pure functions of one report's statistics.

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
"""Of fewer pairs the shares scatter too widely for a verdict (THEORY §5)."""
MIN_EFFECTIVE: Final = 10
"""Effective inputs that either label of a look-alike needs. THEORY §5 says 5; of so few, an overlap and its error may both come
out far too small: of 100 labels without any gap, every second report of 500 inputs had a look-alike, with 10 one of thirty."""
_ONE_SIDED: Final = 1.895
"""Standard errors below a gap: Student's t of seven degrees of freedom at 95 %, one-sided."""
_TOP_COSINES, _UPPER_COSINES = 0.9, 0.5
"""Shares of the pairs whose cosine is smaller: above the first a pair is no stranger, up to the second no look-alike."""

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
"""Why a pair is not flagged; the first: it is, or nothing was judged."""
_CODES: Final = {reason: code for code, reason in enumerate(WHY_UNFLAGGED)}


@dataclass(frozen=True, eq=False)
class Verdict:
    """The part of a report that thresholds decide."""

    thresholds: Thresholds | None = None
    """Those that it was judged by; None: it was not judged."""
    flags: Mapping[Side, Tensor] = field(default_factory=dict)
    """Side to boolean (P,), the pairs beyond the thresholds; empty if it was not judged."""
    limits: Mapping[Side, float] = field(default_factory=dict)
    """Side to the size of a gap from which on pairs are flagged: the threshold, or `outlier` residual scales if that is more."""
    why: Tensor | None = None
    """uint8 (P,), place in `WHY_UNFLAGGED` of why a pair is not flagged; None without a verdict."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """`share_strangers` and `share_lookalikes`: flagged pairs as a share of those that count, NaN without a verdict."""
    share_errors: Mapping[str, float] = field(default_factory=dict)
    """The same to the standard errors that drawing a sample of the pairs leaves; empty where all were compared."""
    why_none: str | None = None
    """Why no pair is flagged, if thresholds give no verdict."""
    alerts: tuple[str, ...] = ()
    """The alerts that act at this report, in words."""

    def why_unflagged(self, place: int) -> str | None:
        """Why the pair at a place is not flagged; None if it is, or if nothing was judged."""
        if self.why_none is not None:
            return "no verdict"
        return None if self.why is None else WHY_UNFLAGGED[int(self.why[place])] or None

    def with_alerts(self, alerts: tuple[str, ...]) -> "Verdict":
        """The same verdict, and the alerts that act."""
        return replace(self, alerts=alerts)


def judge(statistics: Statistics, thresholds: Thresholds, name_of: Callable[[int], str] = str) -> Verdict:
    """The verdict on the pairs of a report.

    A pair is flagged if its gap is beyond the threshold by more than its error, and if the words are true. A stranger has inputs
    on which both labels are likely, and its cosine is not among the highest tenth. A look-alike has a cosine in the upper half,
    and either label has enough inputs to overlap on. Without a verdict nothing is flagged, and shares are NaN.

    Args:
        statistics: of the report.
        thresholds: to judge by.
        name_of: what a row of the head is called, for the pairs that are known.

    Source: THEORY §5, "Flags".
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
    """(P,), by how much a gap is beyond its limit (P,) whatever its error and what an overlap of a vocabulary lacks."""
    gap_P, truncation = statistics.gap, statistics.table.truncation
    may_be_larger_P = 0.0 if truncation is None else truncation.where(gap_P <= 0, 0)
    return _sure_size(statistics) - may_be_larger_P - limit


def _sure_size(statistics: Statistics) -> Tensor:
    """(P,), what is left of the size of a gap without its error."""
    return statistics.gap.abs() - _ONE_SIDED * statistics.overlap_error


def no_verdict(statistics: Statistics, thresholds: Thresholds) -> str | None:
    """Why these statistics do not allow a verdict on pairs, or None if they do."""
    table = statistics.table
    wanted = thresholds.inputs_needed(table.num_kept)
    if table.num_inputs < wanted:
        of_labels = f", {INPUTS_PER_LABEL} for each of {table.num_kept} labels" if wanted > thresholds.min_inputs else ""
        return f"{table.num_inputs} inputs, verdicts need {wanted}{of_labels}"
    if table.num_pairs < MIN_PAIRS:
        return f"{table.num_pairs} pair{'s' * (table.num_pairs != 1)} of labels, verdicts need {MIN_PAIRS}"
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
    """Reason to boolean (P,): the gap is not beyond its limit."""
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
    """Reason to boolean (P,): the pair is not flagged, however large its gap is."""
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
    """uint8 (P,), place in `WHY_UNFLAGGED` of the first reason that holds, 0 where none does."""
    code_P = torch.zeros_like(next(iter(reasons.values())), dtype=torch.uint8)
    for reason, holds_P in reversed([*reasons.items()]):
        code_P[holds_P] = _CODES[reason]
    return code_P


def _is_known(table: PairTable, thresholds: Thresholds, name_of: Callable[[int], str]) -> Tensor:
    """Boolean (P,): the pairs that the thresholds name."""
    known_P = torch.zeros(len(table.compared), dtype=torch.bool)
    names = [name_of(label) for label in table.labels] if thresholds.known else []
    for one, other in thresholds.known:
        of_one, of_other = (torch.tensor([called == name for called in names]) for name in (one, other))
        row, column = table.compared.row, table.compared.column
        known_P |= (of_one[row] & of_other[column]) | (of_other[row] & of_one[column])
    return known_P


_SHARES: Final = ("share_strangers", "share_lookalikes")
