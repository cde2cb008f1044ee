"""GapReport: what one snapshot of a head says about its labels, printed and exported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from lightning_cossim.report.data import ReportData
from lightning_cossim.report.export import as_dict, as_frame
from lightning_cossim.report.text import as_markdown, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GapReport"]


@dataclass(frozen=True, eq=False)
class GapReport(ReportData):
    """The similarities of one window, how far each agrees with the overlap, and the gaps. Printing one gives its tables."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as builtins fit for JSON; what is undefined is None, and a similarity that the link lacks is absent."""
        return as_dict(self)

    def to_pandas(self) -> "pd.DataFrame":
        """All pairs that count, one row a pair, from the most positive gap down.

        Raises:
            LabelSimilarityError: pandas is not installed.
        """
        return as_frame(self)

    def to_markdown(self, *, top: int = 12) -> str:
        """The pairs furthest from expectation as Markdown tables, `top` rows each way; names show as text."""
        return as_markdown(self, top)

    @override
    def __str__(self) -> str:
        return as_text(self, 5)
