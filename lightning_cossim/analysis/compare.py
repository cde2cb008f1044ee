"""Compare: what has moved between two reports on the same labels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from typing_extensions import override

from lightning_cossim.errors import CheckpointError, InputError, expected
from lightning_cossim.functional.rankings import ranking_drift
from lightning_cossim.report import GapReport
from lightning_cossim.report.tables import text_table

__all__ = ["MovedPair", "ReportDifference", "compare"]


@dataclass(frozen=True)
class MovedPair:
    """A pair of labels in two reports."""

    label: str
    other: str
    before: Mapping[str, float] = field(hash=False)
    """Similarity, "overlap", "expected_overlap" or "gap" to its value."""
    after: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class ReportDifference:
    """What has moved between two reports. Printing one gives its tables."""

    scalars: Mapping[str, tuple[float, float]] = field(hash=False)
    """Scalar to its value before and after, those that both reports have."""
    ranking_drift: float
    """By how much the cosines between differences of the most probable labels have changed, on average, in [0, 2]."""
    pairs: tuple[MovedPair, ...]
    """Those whose gap, or else whose cosine, moved most, the furthest first."""
    cosine: str
    """The similarity that gaps refer to."""

    @override
    def __str__(self) -> str:
        scalars = [[name, "", *(_signed(value).lstrip("+") for value in values)] for name, values in self.scalars.items()]
        drift = f"Rankings: cosines between differences of the most probable labels have changed by {_signed(self.ranking_drift)}"
        columns = {self.cosine: "cosine", "overlap": "overlap", "gap": "gap"}
        rows = [
            [pair.label, pair.other, *(_signed(values[key]) for key in columns for values in (pair.before, pair.after))]
            for pair in self.pairs
        ]
        heads = [f"{name} {when}" for name in columns.values() for when in ("before", "after")]
        return "\n\n".join(
            [
                text_table(["scalar", "", "before", "after"], scalars),
                f"{drift} on average.",
                "The pairs that moved most\n" + text_table(["label", "other", *heads], rows),
            ]
        )


def compare(before: GapReport, after: GapReport, *, top: int = 10) -> ReportDifference:
    """How far two reports differ, and the pairs whose gap, or else whose cosine, moved most.

    Args:
        before: of one checkpoint.
        after: of another one, on the same labels.
        top: pairs, at the most.

    Raises:
        CheckpointError: they are about different labels, or of different links.
        InputError: one of them is no report, or `top` is negative.
    """
    for argument, report in (("before", before), ("after", after)):
        if not isinstance(report, GapReport):
            remedy = "Make one of a checkpoint: `analyze(path)`."
            raise InputError(expected(argument, "to be a GapReport", type(report).__name__, remedy))
    if top < 0:
        raise InputError(expected("top", "to be at least 0", top))
    if before.link != after.link:
        got = f"{before.link!r} and {after.link!r}"
        raise CheckpointError(f"Expected two heads of one link, got {got}. Their similarities mean different things.")
    names = dict(zip(before.labels, before.names, strict=True))
    others = zip(after.labels, after.names, strict=True)
    if before.num_live != after.num_live or any(names.get(label, name) != name for label, name in others):
        got = f"{before.num_live} and {after.num_live} labels, or labels of other names"
        raise CheckpointError(f"Expected two heads of the same labels, got {got}. Compare checkpoints of one model.")
    drift = math.nan
    if before.rankings is not None and after.rankings is not None:
        drift = ranking_drift(before.rankings, after.rankings)
    what = "gap" if before.gap.isfinite().any() and after.gap.isfinite().any() else before.ladder.cosine
    ours, theirs = (_by_pair(report) for report in (before, after))
    common = [pair for pair in ours if pair in theirs and not math.isnan(theirs[pair][what] - ours[pair][what])]
    common.sort(key=lambda pair: -abs(theirs[pair][what] - ours[pair][what]))
    pairs = tuple(MovedPair(names[pair[0]], names[pair[1]], ours[pair], theirs[pair]) for pair in common[:top])
    scalars = {name: (value, after.scalars[name]) for name, value in before.scalars.items() if name in after.scalars}
    return ReportDifference(scalars, drift, pairs, before.ladder.cosine)


def _by_pair(report: GapReport) -> dict[tuple[int, int], dict[str, float]]:
    """Rows of two labels in the head to what there is between them."""
    values = {**report.rungs, "expected_overlap": report.expected_overlap, "gap": report.gap}
    columns = {name: of.tolist() for name, of in values.items()}
    rows, others = report.compared.row.tolist(), report.compared.column.tolist()
    return {
        (report.labels[row], report.labels[other]): {name: column[place] for name, column in columns.items()}
        for place, (row, other) in enumerate(zip(rows, others, strict=True))
    }


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"
