"""GapReport: what one snapshot of a head says about its labels, in numbers that no longer change."""

from lightning_cossim.report.gap_report import GapReport, Side
from lightning_cossim.report.pair import Pair
from lightning_cossim.report.text import as_page

__all__ = ["GapReport", "Pair", "Side", "as_page"]
