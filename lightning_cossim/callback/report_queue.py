"""ReportQueue: keeps the last reports, passes new ones to the publisher, and draws or records them when the budget allows it.

The Trainer is Lightning's, but this module does not import Lightning.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from lightning_cossim.callback.budget import Budget
from lightning_cossim.errors import did_you_mean, expected
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import GapReport, WindowKey

__all__ = ["LastReports", "ReportQueue"]

_REMEDIES: Final = {
    "train": "Call `fit`.",
    "val": "Pass validation data to `fit` or call `validate`, with `Schedule(validation=True)`.",
    "test": "Call `test`, with `Schedule(test=True)`.",
}


class LastReports(dict[str, GapReport]):
    """Stage to its last report. For a missing stage, the `KeyError` names the stages with a report, in one line."""

    def __missing__(self, stage: object) -> NoReturn:
        known = ", ".join(map(repr, self)) or "there are none yet"
        by_loader = [key for key in self if key.startswith(f"{stage}/")]
        if by_loader:
            remedy = f"Use {by_loader[0]!r}, or set `Display(per_dataloader=False)`."
        else:
            remedy = _REMEDIES.get(str(stage)) or did_you_mean(stage, self) or "The stages are 'train', 'val' and 'test'."
        raise KeyError(expected("stage", f"to be one with a report ({known})", repr(stage), remedy))


class ReportQueue:
    """Keeps reports from the time when they are made until they are drawn.

    Args:
        publisher: writes the reports.
        has_tab: whether TensorBoard's tab gets the reports.
        is_due_at_end: whether the end of a run adds an analysis to a report if it is the last one, so that the tab must wait for
            it.
    """

    def __init__(self, publisher: Publisher, *, has_tab: bool, is_due_at_end: Callable[[GapReport], bool]) -> None:
        self._publisher, self._has_tab, self._is_due_at_end = publisher, has_tab, is_due_at_end
        self.last: dict[WindowKey, GapReport] = {}
        """The last report of every window."""
        self._of_run: set[WindowKey] = set()
        self._undrawn: list[GapReport] = []
        """The last reports whose pictures are not drawn yet."""
        self._unrecorded: list[GapReport] = []
        """Reports that are not written for the tab yet."""

    def start_run(self) -> None:
        """A run of any kind starts."""
        self._undrawn, self._unrecorded = [], []
        self._of_run.clear()

    def of_run(self) -> dict[WindowKey, GapReport]:
        """The last report of every window with a report in this run."""
        return {key: self.last[key] for key in sorted(self._of_run, key=str)}

    def add(self, trainer: Any, report: GapReport) -> None:
        """Keep a report, and write its scalars immediately."""
        self.last[report.window] = report
        self._of_run.add(report.window)
        if report.stage != "train" or not trainer.enable_validation:
            same = (report.stage, report.step)
            self._undrawn = [*(other for other in self._undrawn if (other.stage, other.step) == same), report]
        self._unrecorded.append(report)
        self._publisher.publish(report, trainer.loggers if trainer.is_global_zero else (), trainer.callback_metrics)

    def refine(self, reports: Iterable[GapReport]) -> None:
        """Replace the last reports of their windows by reports with more details. Pictures and records that are done are not
        repeated.
        """
        for report in reports:
            last, self.last[report.window] = self.last[report.window], report
            self._undrawn, self._unrecorded = (
                [report if other is last else other for other in kept] for kept in (self._undrawn, self._unrecorded)
            )

    def replace(self, reports: Iterable[GapReport]) -> None:
        """Replace the last reports of their windows by completed reports, which are then drawn and recorded again."""
        for report in reports:
            last, self.last[report.window] = self.last[report.window], report
            self._undrawn, self._unrecorded = (
                [*(other for other in kept if other is not last), report] for kept in (self._undrawn, self._unrecorded)
            )

    def draw(self, trainer: Any, budget: Budget, *, at_the_end: bool = False) -> None:
        """Draw the last reports, if they are not drawn yet and the budget allows it. Only the first process draws, and no other
        process waits for it.
        """
        self.record(trainer, budget, at_the_end=at_the_end)
        if at_the_end and trainer.is_global_zero:
            self._publisher.publish_files([*self.of_run().values()], trainer.loggers)
        if not self._undrawn or not trainer.is_global_zero or not (at_the_end or budget.allows("pictures")):
            return
        budget.begin("pictures")
        reports, self._undrawn = self._undrawn, []
        for report in reports:
            self._publisher.publish_pictures(report, trainer.loggers)
        budget.finish("pictures")

    def record(self, trainer: Any, budget: Budget, *, at_the_end: bool = False) -> None:
        """Write the reports that the tab lacks. If the budget does not allow it, keep the last one of every window for later."""
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
        """Write the rows of the labels in the last report for TensorBoard's projector, from the unembedding (K, D)."""
        last = {key.stage: report for key, report in self.last.items() if key.dataloader_idx is None}
        report = last.get("val", last.get("train"))
        if report is not None and trainer.is_global_zero:
            self._publisher.publish_projection(unembedding[list(report.labels)], report, trainer.loggers)
