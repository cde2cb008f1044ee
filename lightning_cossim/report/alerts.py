"""AlertCounter: how often in a row a threshold was breached, and when that makes an alert act."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from lightning_cossim.config.thresholds import Breach, Thresholds

__all__ = ["AlertCounter", "in_words"]


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
                acting.append(Breach(alert, step, value))
        return acting

    def restart(self) -> None:
        """Nothing has been breached yet."""
        self.counts = [0] * len(self.counts)

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


def in_words(breach: Breach) -> str:
    """What was breached and what comes of it, for people.

    Example:
        >>> from lightning_cossim.config.thresholds import Alert
        >>> in_words(Breach(Alert("gap_behavior", above=0.6, patience=3, action="stop"), step=759, value=0.71))
        'gap_behavior is 0.71, above 0.6, for 3 reports in a row (stop)'
    """
    alert = breach.alert
    beyond = f"above {alert.above:g}" if alert.above is not None and breach.value > alert.above else f"below {alert.below:g}"
    in_a_row = f", for {alert.patience} reports in a row" if alert.patience > 1 else ""
    return f"{alert.scalar} is {breach.value:.4g}, {beyond}{in_a_row} ({alert.action})"
