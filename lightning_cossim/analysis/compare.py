"""Compare: show the changes between two reports on the same labels."""

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
    """The values of one pair of labels in two reports."""

    label: str
    other: str
    before: Mapping[str, float] = field(hash=False)
    """Values in the first report, by key: a similarity, "overlap", "expected_overlap" or "gap"."""
    after: Mapping[str, float] = field(hash=False)
    """Values in the second report, by the same keys."""


@dataclass(frozen=True)
class ReportDifference:
    """The changes between two reports. `print` shows them as tables."""

    scalars: Mapping[str, tuple[float, float]] = field(hash=False)
    """The values before and after, by scalar, of all scalars that both reports have."""
    ranking_drift: float
    """Mean absolute change of the cosines between differences of the rows of the most probable labels, in [0, 2], or NaN."""
    pairs: tuple[MovedPair, ...]
    """The pairs with the largest change of gap (of cosine, if a report has no gaps), the largest first."""
    cosine: str
    """The key of the cosine that gives expected overlaps and gaps."""

    @override
    def __str__(self) -> str:
        scalars = [[name, "", *(_signed(value).lstrip("+") for value in values)] for name, values in self.scalars.items()]
        drift = "Ranking drift (mean change of the cosines between differences of the most probable labels)"
        columns = {self.cosine: "cosine", "overlap": "overlap", "gap": "gap"}
        rows = [
            [pair.label, pair.other, *(_signed(values[key]) for key in columns for values in (pair.before, pair.after))]
            for pair in self.pairs
        ]
        heads = [f"{name} {when}" for name in columns.values() for when in ("before", "after")]
        return "\n\n".join(
            [
                text_table(["scalar", "", "before", "after"], scalars),
                f"{drift}: {_signed(self.ranking_drift)}",
                "The pairs with the largest change\n" + text_table(["label", "other", *heads], rows),
            ]
        )


def compare(before: GapReport, after: GapReport, *, top: int = 10) -> ReportDifference:
    """The changes between two reports: scalars, ranking drift, and the pairs with the largest change.

    Pairs are sorted by the change of their gap. If a report has no gaps, they are sorted by the change of their cosine.

    Args:
        before: the report of one checkpoint.
        after: the report of another checkpoint with the same labels and the same link.
        top: the largest number of pairs to return; at least 0.

    Returns:
        The changes. Only scalars and pairs that both reports have are compared.

    Raises:
        CheckpointError: the reports have different labels or different links.
        InputError: one of them is no `GapReport`, or `top` is negative.

    Example:
        >>> import torch
        >>> from lightning_cossim.metrics import SimilarityGap
        >>> metric = SimilarityGap(num_labels=12, embedding_dim=12)
        >>> embedding = torch.eye(12)
        >>> metric.update(embedding, embedding @ embedding.T, embedding)
        >>> compare(metric.report(), metric.report()).ranking_drift
        0.0
    """
    for argument, report in (("before", before), ("after", after)):
        if not isinstance(report, GapReport):
            remedy = "Pass the result of `analyze(path)`, for example."
            raise InputError(expected(argument, "to be a GapReport", type(report).__name__, remedy))
    if top < 0:
        raise InputError(expected("top", "to be at least 0", top))
    if before.link != after.link:
        got = f"{before.link!r} and {after.link!r}"
        raise CheckpointError(f"Expected two heads with the same link, got {got}. Pass reports with the same `link`.")
    names = dict(zip(before.labels, before.names, strict=True))
    others = zip(after.labels, after.names, strict=True)
    if before.num_live != after.num_live or any(names.get(label, name) != name for label, name in others):
        got = f"{before.num_live} and {after.num_live} labels, or other names"
        raise CheckpointError(f"Expected two heads with the same labels, got {got}. Compare checkpoints of one model.")
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
    """The values of each pair, by the rows of its two labels in the head."""
    values = {**report.rungs, "expected_overlap": report.expected_overlap, "gap": report.gap}
    columns = {name: of.tolist() for name, of in values.items()}
    rows, others = report.compared.row.tolist(), report.compared.column.tolist()
    return {
        (report.labels[row], report.labels[other]): {name: column[place] for name, column in columns.items()}
        for place, (row, other) in enumerate(zip(rows, others, strict=True))
    }


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"
