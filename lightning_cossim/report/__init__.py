"""GapReport: what one snapshot of a head says about its labels, in numbers that no longer change."""

from lightning_cossim.report.gap_report import GapReport, Pair, Side

__all__ = ["GapReport", "Pair", "Side"]
