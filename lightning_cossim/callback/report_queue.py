"""ReportQueue: keeps the last reports, hands new ones to the publisher, and draws or records them when that fits into the budget.

The Trainer comes from Lightning; nothing of Lightning is imported here.
"""

from collections.abc import Callable, Iterable
from typing import Any

from lightning_cossim.callback.budget import Budget
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import GapReport, WindowKey

__all__ = ["ReportQueue"]


class ReportQueue:
    """Holds reports between the moment they are made and the moment they are drawn.

    Args:
        publisher: writes them.
        has_tab: whether TensorBoard's tab gets them.
        is_due_at_end: whether a report, if it is the last of a run, gets something more at its end, and so waits for that.
    """

    def __init__(self, publisher: Publisher, *, has_tab: bool, is_due_at_end: Callable[[GapReport], bool]) -> None:
        self._publisher, self._has_tab, self._is_due_at_end = publisher, has_tab, is_due_at_end
        self.last: dict[WindowKey, GapReport] = {}
        """The last report of every window."""
        self._of_run: set[WindowKey] = set()
        self._undrawn: list[GapReport] = []
        """The last reports, if their pictures have not been drawn."""
        self._unrecorded: list[GapReport] = []
        """Reports that the tab does not have."""

    def start_run(self) -> None:
        """A run begins, of whatever kind."""
        self._undrawn, self._unrecorded = [], []
        self._of_run.clear()

    def of_run(self) -> dict[WindowKey, GapReport]:
        """The last report of every window reported on in this run."""
        return {key: self.last[key] for key in sorted(self._of_run, key=str)}

    def add(self, trainer: Any, report: GapReport) -> None:
        """Keep a report, and write its scalars at once."""
        self.last[report.window] = report
        self._of_run.add(report.window)
        if report.stage != "train" or not trainer.enable_validation:
            same = (report.stage, report.step)
            self._undrawn = [*(other for other in self._undrawn if (other.stage, other.step) == same), report]
        self._unrecorded.append(report)
        self._publisher.publish(report, trainer.loggers if trainer.is_global_zero else (), trainer.callback_metrics)

    def refine(self, reports: Iterable[GapReport]) -> None:
        """Keep reports that say more of the same in place of the last of their windows; what is drawn and recorded stays so."""
        for report in reports:
            last, self.last[report.window] = self.last[report.window], report
            self._undrawn, self._unrecorded = (
                [report if other is last else other for other in kept] for kept in (self._undrawn, self._unrecorded)
            )

    def replace(self, reports: Iterable[GapReport]) -> None:
        """Keep completed reports in place of the last of their windows; they are still to be drawn."""
        for report in reports:
            last, self.last[report.window] = self.last[report.window], report
            self._undrawn, self._unrecorded = (
                [*(other for other in kept if other is not last), report] for kept in (self._undrawn, self._unrecorded)
            )

    def draw(self, trainer: Any, budget: Budget, *, at_the_end: bool = False) -> None:
        """Draw the last reports, unless that is done, or costs more than it may; on one process, which nobody waits for."""
        self.record(trainer, budget, at_the_end=at_the_end)
        if at_the_end and trainer.is_global_zero and self._has_tab:
            self._publisher.publish_files([*self.of_run().values()], trainer.loggers)
        if not self._undrawn or not trainer.is_global_zero or not (at_the_end or budget.allows("pictures")):
            return
        budget.begin("pictures")
        reports, self._undrawn = self._undrawn, []
        for report in reports:
            self._publisher.publish_pictures(report, trainer.loggers)
        budget.finish("pictures")

    def record(self, trainer: Any, budget: Budget, *, at_the_end: bool = False) -> None:
        """Write the reports that the tab lacks, unless that costs more than it may: then only the last are kept for it."""
        last = {report.window: report for report in self._unrecorded}.values()
        waiting = [] if at_the_end else [report for report in last if self._is_due_at_end(report)]
        due = [report for report in self._unrecorded if report not in waiting]
        if not trainer.is_global_zero or not self._has_tab:
            self._unrecorded = []
        elif due and not (at_the_end or budget.allows("tab")):
            self._unrecorded = list(last)
        elif due:
            budget.begin("tab")
            self._unrecorded = waiting
            self._publisher.publish_steps(due, trainer.loggers)
            budget.finish("tab")

    def project(self, trainer: Any, unembedding: Any) -> None:
        """Write the rows of the labels of the last report for a projector, from the unembedding (K, D)."""
        last = {key.stage: report for key, report in self.last.items() if key.dataloader_idx is None}
        report = last.get("val", last.get("train"))
        if report is not None and trainer.is_global_zero:
            self._publisher.publish_projection(unembedding[list(report.labels)], report, trainer.loggers)
