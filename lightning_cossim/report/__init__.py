"""Reports: an immutable `GapReport` holds the results of one snapshot of a head."""

from lightning_cossim.report.context import Context, WindowKey
from lightning_cossim.report.extras import Extras
from lightning_cossim.report.gap_report import GapReport
from lightning_cossim.report.pair import Pair, Side
from lightning_cossim.report.statistics import Statistics
from lightning_cossim.report.verdicts import Verdict

__all__ = ["Context", "Extras", "GapReport", "Pair", "Side", "Statistics", "Verdict", "WindowKey"]
