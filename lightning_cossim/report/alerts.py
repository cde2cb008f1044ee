"""Alerts: find the scalars of a report that leave their bounds, count breaches in a row, and decide when an alert acts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightning_cossim.config.checks import check_word, saved_count
from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.report.context import WindowKey
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.verdicts import Verdict, judge

__all__ = ["AlertBook", "AlertCounter", "Breach", "alert_values", "evaluate", "in_words"]


@dataclass(frozen=True)
class Breach:
    """One breach: a report whose scalar is outside the bounds of an alert."""

    alert: Alert
    step: int
    """The step at which loggers plot the report."""
    value: float
    """Value of the scalar."""
    in_a_row: int = 1
    """Observed reports in a row that breach the alert, this one included; at least 1."""


class AlertCounter:
    """Counts breaches in a row for one window.

    An alert acts when the count reaches its `patience`. It can act again after the scalar has been inside the bounds.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.counts = [0] * len(thresholds.alerts)
        """Breaches in a row, one count for each alert."""

    def observe(self, values: Sequence[float], step: int) -> list[Breach]:
        """Count the breaches of one report and return those whose alert acts now.

        Args:
            values: one for each alert, from `alert_values`. NaN leaves the count of the alert unchanged.
            step: the step of the report.
        """
        acting = []
        for number, (alert, value) in enumerate(zip(self.thresholds.alerts, values, strict=True)):
            if math.isnan(value):
                continue
            self.counts[number] = self.counts[number] + 1 if alert.is_breached_by(value) else 0
            if self.counts[number] == alert.patience:
                acting.append(Breach(alert, step, value, alert.patience))
        return acting

    def state(self) -> list[dict[str, Any]]:
        """The counts as builtins, each with the fields of its alert."""
        return [{**asdict(alert), "count": count} for alert, count in zip(self.thresholds.alerts, self.counts, strict=True)]

    def restore(self, state: Iterable[dict[str, Any]]) -> None:
        """Continue the counts of a saved run. An alert whose settings have changed since then starts at 0.

        The count of an alert that stopped the run or raised is reduced to `patience - 1`. So the next breach makes it act again.

        Args:
            state: what `state` returned in the saved run.
        """
        saved = list(state)
        for number, now in enumerate(self.state()):
            same = next((then for then in saved if {**then, "count": 0} == {**now, "count": 0}), None)
            if same is not None:
                saved.remove(same)
                alert = self.thresholds.alerts[number]
                count = saved_count(same["count"], "count")
                self.counts[number] = count if alert.action == "warn" else min(count, alert.patience - 1)


class AlertBook:
    """Counts breaches in a row for every window of a fit."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._counters: dict[WindowKey, AlertCounter] = {}

    def start_fit(self) -> None:
        """Reset all counts: a new fit starts that does not continue the last one."""
        self._counters.clear()

    def observe(self, window: WindowKey, values: Sequence[float], step: int, *, counts: bool) -> list[Breach]:
        """Count the breaches of one report and return those whose alert acts now.

        Args:
            window: the window of the report.
            values: one for each alert, from `alert_values`.
            step: the step of the report.
            counts: whether the report belongs to the fit and so changes its counts. A separate validation or test run makes
                one report, which is counted alone.
        """
        counter = AlertCounter(self.thresholds)
        counter = self._counters.setdefault(window, counter) if counts else counter
        return counter.observe(values, step)

    def state_dict(self) -> list[dict[str, Any]]:
        """The counts of all windows as builtins."""
        return [{**window._asdict(), "counts": counter.state()} for window, counter in self._counters.items()]

    def load_state_dict(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Continue the counts of a saved run from the result of `state_dict`. A wrong entry raises, and changes nothing."""
        counters = {}
        for saved in state:
            counter = AlertCounter(self.thresholds)
            counter.restore(saved["counts"])
            check_word(saved["stage"], "stage", ("train", "val", "test"))
            index = saved["dataloader_idx"]
            counters[WindowKey(saved["stage"], None if index is None else saved_count(index, "dataloader_idx"))] = counter
        self._counters = counters


def alert_values(scalars: Mapping[str, float], verdict: Verdict, stage: str) -> list[float]:
    """The value that each alert of the verdict's thresholds compares with its bounds.

    Args:
        scalars: scalars of the report, including the shares of the verdict.
        verdict: the verdict on the pairs of the report.
        stage: stage of the report; empty if the report comes from no training, and then alerts of all stages apply.

    Returns:
        One value for each alert. It is NaN if the thresholds give no verdict, if the alert is for another stage, or if the
        scalar is undefined.
    """
    alerts = () if verdict.thresholds is None else verdict.thresholds.alerts
    if verdict.why_none is not None:
        return [math.nan] * len(alerts)
    return [scalars.get(alert.scalar, math.nan) if stage in ("", alert.stage) else math.nan for alert in alerts]


def evaluate(report: ReportData, thresholds: Thresholds) -> list[Breach]:
    """The breaches of a single report, without regard to earlier reports.

    A single report is no series, so `patience` does not apply. An alert is skipped if it is for another stage or if its scalar
    is undefined. A report that comes from no training has no stage, and then alerts of all stages apply.

    Args:
        report: the report to check.
        thresholds: the alerts, and the thresholds of the verdict. If they differ from those of the report's verdict, the pairs
            are judged again for this check.

    Returns:
        One breach for each alert outside its bounds; empty if the thresholds give no verdict.
    """
    is_judged = report.verdict.thresholds == thresholds
    verdict = report.verdict if is_judged else judge(report.statistics, thresholds, report.context.name_of)
    values = alert_values({**report.scalars, **verdict.shares}, verdict, report.stage)
    return [
        Breach(alert, report.step, value)
        for alert, value in zip(thresholds.alerts, values, strict=True)
        if alert.is_breached_by(value)
    ]


def in_words(breach: Breach) -> str:
    """A breach as text: the scalar, its value, the bound, the number of reports in a row if above 1, and the action.

    Example:
        >>> alert = Alert("rank_agreement_centered_cosine", below=0.2, patience=3, action="stop")
        >>> in_words(Breach(alert, step=759, value=0.12))
        'rank_agreement_centered_cosine is 0.12, below 0.2 (stop)'
        >>> in_words(Breach(alert, step=759, value=0.12, in_a_row=3))
        'rank_agreement_centered_cosine is 0.12, below 0.2, for 3 reports in a row (stop)'
    """
    alert = breach.alert
    beyond = f"above {alert.above:g}" if alert.above is not None and breach.value > alert.above else f"below {alert.below:g}"
    in_a_row = f", for {breach.in_a_row} reports in a row" if breach.in_a_row > 1 else ""
    return f"{alert.scalar} is {breach.value:.4g}, {beyond}{in_a_row} ({alert.action})"
