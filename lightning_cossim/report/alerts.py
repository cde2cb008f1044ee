"""Alerts: which scalars of a report leave their bounds, how often in a row they did, and when that makes an alert act."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.report.context import WindowKey
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.verdicts import Verdict, judge

__all__ = ["AlertBook", "AlertCounter", "Breach", "alert_values", "evaluate", "in_words"]


@dataclass(frozen=True)
class Breach:
    """A report in which an alert was breached."""

    alert: Alert
    step: int
    """The x of the loggers' curves."""
    value: float
    """Of the scalar."""
    in_a_row: int = 1
    """How many reports in a row were seen to breach it, this one among them."""


class AlertCounter:
    """Counts breaches in a row. An alert acts at the breach that its patience ends with, and again after a recovery."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.counts = [0] * len(thresholds.alerts)
        """Breaches in a row of every alert."""

    def observe(self, values: Sequence[float], step: int) -> list[Breach]:
        """The alerts that act at a report, going by what each of them sees of it; NaN leaves a count as it is."""
        acting = []
        for number, (alert, value) in enumerate(zip(self.thresholds.alerts, values, strict=True)):
            if math.isnan(value):
                continue
            self.counts[number] = self.counts[number] + 1 if alert.is_breached_by(value) else 0
            if self.counts[number] == alert.patience:
                acting.append(Breach(alert, step, value, alert.patience))
        return acting

    def state(self) -> list[dict[str, Any]]:
        """The counts as builtins, each with the alert that it belongs to."""
        return [{**asdict(alert), "count": count} for alert, count in zip(self.thresholds.alerts, self.counts, strict=True)]

    def restore(self, state: Iterable[dict[str, Any]]) -> None:
        """Go on with the counts of a run whose alerts were these; one that has changed since begins anew.

        An alert that had stopped the run or raised does so again, unless it recovers.
        """
        saved = list(state)
        for number, now in enumerate(self.state()):
            same = next((then for then in saved if {**then, "count": 0} == {**now, "count": 0}), None)
            if same is not None:
                saved.remove(same)
                alert = self.thresholds.alerts[number]
                self.counts[number] = same["count"] if alert.action == "warn" else min(same["count"], alert.patience - 1)


class AlertBook:
    """Counts the breaches of every window of a fit."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._counters: dict[WindowKey, AlertCounter] = {}

    def start_fit(self) -> None:
        """A fit begins that does not go on where the last one ended."""
        self._counters.clear()

    def observe(self, window: WindowKey, values: Sequence[float], step: int, *, counts: bool) -> list[Breach]:
        """The alerts that act at a report.

        Args:
            window: of the report.
            values: what each alert sees of it.
            step: of the report.
            counts: whether it takes part in what a fit counts; a run of its own makes one report, and does not.
        """
        counter = AlertCounter(self.thresholds)
        counter = self._counters.setdefault(window, counter) if counts else counter
        return counter.observe(values, step)

    def state_dict(self) -> list[dict[str, Any]]:
        """The counts as builtins."""
        return [{**window._asdict(), "counts": counter.state()} for window, counter in self._counters.items()]

    def load_state_dict(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Go on with the counts of a run that was saved."""
        for saved in state:
            counter = AlertCounter(self.thresholds)
            counter.restore(saved["counts"])
            self._counters[WindowKey(saved["stage"], saved["dataloader_idx"])] = counter


def alert_values(scalars: Mapping[str, float], verdict: Verdict, stage: str) -> list[float]:
    """What every alert of the verdict's thresholds sees of a report.

    Args:
        scalars: of the report, the shares of the verdict among them.
        verdict: on its pairs; without one, no alert sees anything.
        stage: of the report; empty where no training made it: every alert counts.

    Returns:
        One value an alert, NaN where it sees nothing: no verdict, another stage, an undefined scalar.
    """
    alerts = () if verdict.thresholds is None else verdict.thresholds.alerts
    if verdict.why_none is not None:
        return [math.nan] * len(alerts)
    return [scalars.get(alert.scalar, math.nan) if stage in ("", alert.stage) else math.nan for alert in alerts]


def evaluate(report: ReportData, thresholds: Thresholds) -> list[Breach]:
    """The alerts that one report breaches, whatever came before; none without a verdict or where the value is undefined.

    A single report is no series, so no alert waits for its `patience`. Alerts of another stage do not count. A report that no
    training made has no stage, and every alert counts.
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
    """What was breached, in how many reports in a row if several were seen, and what comes of it, for people.

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
