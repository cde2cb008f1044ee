"""Wanted pairs: the pairs of a report whose inputs are worth merging across processes. Shapes: P pairs of a report."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.report.data import ReportData
from lightning_cossim.report.verdicts import WHY_UNFLAGGED

__all__ = ["WantedPairs", "wanted_pairs"]

_OF_EACH_SIDE: Final = 12
"""Number of pairs with the largest gaps on each side, as many as a table has by default."""


class WantedPairs(NamedTuple):
    """The pairs of a report whose inputs are wanted, by rows of the head, the smaller one first."""

    pairs: list[tuple[int, int]]
    """All of them, the most important first."""
    flagged: list[tuple[int, int]]
    """The flagged pairs among them."""

    @classmethod
    def of(cls, report: ReportData) -> "WantedPairs":
        """The wanted pairs of a report."""
        pairs = wanted_pairs(report)
        return cls(pairs, pairs[: len(report.flagged())])


def wanted_pairs(report: ReportData, most: int = 200) -> list[tuple[int, int]]:
    """The pairs of a report whose inputs are worth merging, the most important first.

    Flagged pairs come first, the largest |gap| first. Pairs follow that are not flagged only because you know them, then the 12
    largest and the 12 smallest gaps, then the pairs with the largest joint mass. Pairs of labels that are not kept are left out.

    Args:
        report: a report, judged or not.
        most: maximum number of pairs, at least 0.

    Returns:
        Rows of the head, the smaller one first, without duplicates.
    """
    table, why = report.statistics.table, report.verdict.why
    counts_P = report.kept[report.compared.row] & report.kept[report.compared.column]
    is_known_P = torch.zeros_like(counts_P) if why is None else why == WHY_UNFLAGGED.index("known")
    size_P = report.gap.abs()
    chosen = [
        report.flagged(most),
        _largest(size_P, is_known_P),
        _largest(size_P, counts_P & (report.gap > 0))[:_OF_EACH_SIDE],
        _largest(size_P, counts_P & (report.gap < 0))[:_OF_EACH_SIDE],
        _largest(report.mass, counts_P & (report.mass > 0))[:most],
    ]
    places = dict.fromkeys(torch.cat(chosen).tolist())
    return [table.rows_of(place) for place in list(places)[:most]]


def _largest(values: Tensor, which: Tensor) -> Tensor:
    """The indices of the pairs for which `which` (P,) is True, the largest value first."""
    places = which.nonzero().flatten()
    return places[values[places].argsort(descending=True, stable=True)]
