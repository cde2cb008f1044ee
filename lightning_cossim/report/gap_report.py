"""GapReport: the report on one snapshot of a head, with its text and its export formats."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from lightning_cossim.report.data import ReportData
from lightning_cossim.report.evidence_text import ShownPair, shown_pair
from lightning_cossim.report.export import as_dict, as_frame
from lightning_cossim.report.text import as_markdown, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GapReport"]


@dataclass(frozen=True, eq=False)
class GapReport(ReportData):
    """The report of one window: similarities, their agreement with the overlap, gaps, flags and alerts.

    Print a report to see its tables.
    """

    def to_dict(self) -> dict[str, Any]:
        """All values as builtins for JSON.

        Undefined values are None. Similarities that are meaningless under the link are absent.
        """
        return as_dict(self)

    def to_pandas(self) -> "pd.DataFrame":
        """All pairs of kept labels, one row for each, from the most positive gap down.

        Raises:
            LabelSimilarityError: pandas is not installed.
        """
        return as_frame(self)

    def to_markdown(self, *, top: int = 12) -> str:
        """The pairs with the largest gaps as two Markdown tables, one for each sign of the gap. Names are escaped.

        Args:
            top: rows of each table, at least 0.

        Raises:
            InputError: `top` is negative.
        """
        return as_markdown(self, top)

    def show(self, label: Any, other: Any = None) -> ShownPair:
        """One pair of labels: its numbers in words, and the inputs behind them.

        Print what it returns, or let a notebook show it with pictures.

        Args:
            label: name of the first label, or its row of the head; or a tuple of both labels.
            other: the second label; leave it out if `label` is a tuple.

        Raises:
            InputError: a label is unknown, the two are equal, or the report did not compare them.
        """
        return shown_pair(self, label, other)

    @override
    def __str__(self) -> str:
        """The report as text, with five pairs for each sign of the gap."""
        return as_text(self, 5)
