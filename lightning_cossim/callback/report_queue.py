"""Reporter: what is done with a report, from the alerts that look at it to the pictures that are drawn of it.

The Trainer comes from Lightning; nothing of Lightning is imported here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lightning_cossim.callback.budget import Budget
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.config.settings import Display
from lightning_cossim.config.thresholds import Action, Thresholds, alert_values
from lightning_cossim.errors import AlertRaised
from lightning_cossim.functional.links import Link
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.loggers.tags import group, suffix
from lightning_cossim.report import GapReport
from lightning_cossim.report.alerts import AlertCounter, in_words

__all__ = ["Reporter"]


def _never(_report: GapReport) -> bool:
    return False


class Reporter:
    """Keeps the last report of every stage, counts alerts, and shows reports to loggers and to callbacks that watch a key.

    Args:
        link: of the head.
        thresholds: reports are judged by them already; their alerts are counted here.
        display: what is shown beside curves.
        name: goes into the tags.
        warn: says to the user that something is wrong; what it is given again was said before.
        inform: says something else, in the same way.
    """

    def __init__(
        self,
        link: Link,
        thresholds: Thresholds,
        display: Display,
        name: str | None,
        *,
        warn: Callable[[str], None],
        inform: Callable[[str], None],
    ) -> None:
        self.thresholds, self.display, self.name, self._warn = thresholds, display, name, warn
        self.last_report: dict[str, GapReport] = {}
        self._counters: dict[str, AlertCounter] = {}
        self._pages = Pages(display, thresholds, name, self._tell_of_glyphs)
        self._publisher = Publisher(link, name, self._pages, warn=warn, inform=inform)
        self.reported: set[str] = set()
        """The windows reported on in this run."""
        self.waits: Callable[[GapReport], bool] = _never
        """Whether a report, if it is the last of a run, gets something more at its end."""
        self._undrawn: list[GapReport] = []
        """The last reports, if their pictures have not been drawn."""
        self._unrecorded: list[GapReport] = []
        """Reports that the tab does not have."""

    def start_run(self) -> None:
        """A run begins, of whatever kind."""
        self._undrawn, self._unrecorded = [], []
        self.reported.clear()
        self._publisher.start()

    def start_fit(self) -> None:
        """A fit begins that does not go on where the last one ended."""
        self._counters.clear()
        self._publisher.watched.clear()
        self._pages.order = None
        self._publisher.recorder.start_fit()

    def publish(self, trainer: Any, processes: Processes, report: GapReport) -> None:
        """Keep a report, show it to all who read it, and let alerts act. Every process has to call it, at the same time."""
        # What others act on is the same on all processes, to the last digit.
        scalars, values = processes.from_first((report.scalars, alert_values(report, self.thresholds)))
        window = f"{report.stage}{suffix(report.dataloader_idx)}"
        # A run of its own makes one report, and takes no part in what a fit counts.
        counter = AlertCounter(self.thresholds)
        counter = self._counters.setdefault(window, counter) if trainer.state.fn == "fit" else counter
        acting = counter.observe(values, report.step)
        report = replace(report, scalars=scalars, alerts=tuple(map(in_words, acting)))
        self.last_report[window] = report
        self.reported.add(window)
        if report.stage != "train" or not trainer.enable_validation:
            same = (report.stage, report.step)
            self._undrawn = [*(other for other in self._undrawn if (other.stage, other.step) == same), report]
        self._unrecorded.append(report)
        self._publisher.publish(report, trainer.loggers if trainer.is_global_zero else (), trainer.callback_metrics)
        self._act(trainer, report, [breach.alert.action for breach in acting])

    def renew(self, report: GapReport) -> None:
        """Keep a report in place of the last of its window, which is on other pairs; its pictures are still to be drawn."""
        window = f"{report.stage}{suffix(report.dataloader_idx)}"
        last, self.last_report[window] = self.last_report[window], report
        self._undrawn, self._unrecorded = (
            [*(other for other in kept if other is not last), report] for kept in (self._undrawn, self._unrecorded)
        )

    def publish_nothing(self, trainer: Any, loaders: Sequence[int | None]) -> None:
        """For a validation run without a report: other callbacks find their keys all the same."""
        self._publisher.publish_nothing(trainer.callback_metrics, loaders)

    def draw(self, trainer: Any, budget: Budget, *, at_the_end: bool = False) -> None:
        """Draw the last reports, unless that is done, or costs more than it may; on one process, which nobody waits for."""
        self.record(trainer, budget, at_the_end=at_the_end)
        if at_the_end and trainer.is_global_zero and self.display.tab:
            self._publisher.publish_files([self.last_report[window] for window in sorted(self.reported)], trainer.loggers)
        if not self._undrawn or not trainer.is_global_zero or not (at_the_end or budget.allows("pictures")):
            return
        budget.begin("pictures")
        reports, self._undrawn = self._undrawn, []
        for report in reports:
            self._publisher.publish_pictures(report, trainer.loggers)
        budget.finish("pictures")

    def record(self, trainer: Any, budget: Budget, *, at_the_end: bool = False) -> None:
        """Write the reports that the tab lacks, unless that costs more than it may: then only the last are kept for it."""
        last = {(report.stage, report.dataloader_idx): report for report in self._unrecorded}.values()
        waiting = [] if at_the_end else [report for report in last if self.waits(report)]
        due = [report for report in self._unrecorded if report not in waiting]
        if not trainer.is_global_zero or not self.display.tab:
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
        report = next((self.last_report[stage] for stage in ("val", "train") if stage in self.last_report), None)
        if report is not None and trainer.is_global_zero:
            self._publisher.publish_projection(unembedding[list(report.labels)], report, trainer.loggers)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs, in builtins."""
        return {
            "alerts": {window: counter.state() for window, counter in self._counters.items()},
            "order": self._pages.order,
            "watched": {tags: dict(values) for tags, values in self._publisher.watched.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for window, counts in state["alerts"].items():
            self._counters[window] = AlertCounter(self.thresholds)
            self._counters[window].restore(counts)
        self._pages.order = state["order"]
        self._publisher.watched = {tags: dict(values) for tags, values in state["watched"].items()}

    def _act(self, trainer: Any, report: GapReport, actions: Sequence[Action]) -> None:
        """Do what the alerts of a report are there for."""
        where = f"{group(report.stage, self.name)}{suffix(report.dataloader_idx)}"
        texts = [f"alert of {where} at step {report.step}: {alert}" for alert in report.alerts]
        for text in texts:
            self._warn(text)
        if "stop" in actions:
            trainer.should_stop = True
        if "raise" in actions:
            raise AlertRaised(texts[actions.index("raise")])

    def _tell_of_glyphs(self) -> None:
        self._warn("some names have characters that the font of pictures lacks: boxes stand in their place")
