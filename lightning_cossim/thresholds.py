"""Thresholds: from which gap on a pair is flagged, and which scalars of a report raise an alert.

Everything here is pure and looks at one report; how often in a row an alert has been breached is counted by `AlertCounter`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from lightning_cossim.checks import check_number, check_whole, check_word
from lightning_cossim.errors import ConfigError, expected
from lightning_cossim.report import GapReport, Side
from lightning_cossim.strict_yaml import read_dataclass

__all__ = ["ALERTABLE", "Alert", "AlertCounter", "Breach", "Thresholds", "evaluate", "flagged", "judged", "no_verdict"]

Stage = Literal["train", "val", "test"]
Action = Literal["warn", "stop", "raise"]

MIN_PAIRS: Final = 45
"""Of fewer pairs the shares scatter too widely for a verdict (THEORY §5)."""
ALERTABLE: Final = (
    "explained_raw_cosine",
    "explained_centered_cosine",
    "explained_logit_correlation",
    "explained_log_odds_variance",
    "gap_translation",
    "gap_geometry",
    "gap_behaviour",
    "reliability",
    "share_lookalikes",
    "share_strangers",
    "overlap_mean",
    "common_mode_ratio",
)
"""Scalars that an alert may watch."""


@dataclass(frozen=True)
class Alert:
    """A scalar that has to stay between two bounds.

    Raises:
        ConfigError: a value is of the wrong type or out of range, the bounds are crossed, or there is none.
    """

    scalar: str
    """Which scalar, a tag without its group: `gap_behaviour` for example."""
    stage: Stage = "val"
    """Of which stage: train, val or test."""
    above: float | None = None
    """Breached above this value."""
    below: float | None = None
    """Breached below this value."""
    patience: int = 1
    """Reports in a row that breach it before it acts, at least 1."""
    action: Action = "warn"
    """What it does: warn, stop the fit, or raise `AlertRaised`."""

    def __post_init__(self) -> None:
        check_word(self.scalar, "scalar", ALERTABLE)
        check_word(self.stage, "stage", get_args(Stage))
        for bound in ("above", "below"):
            if getattr(self, bound) is not None:
                check_number(getattr(self, bound), bound)
        check_whole(self.patience, "patience", 1)
        check_word(self.action, "action", get_args(Action))
        if self.above is None and self.below is None:
            raise ConfigError(expected("above", "or `below` to be given", "neither", "An alert needs a bound."), "above")
        if self.above is not None and self.below is not None and self.below > self.above:
            got = f"below {self.below} and above {self.above}"
            raise ConfigError(expected("below", "to be at most `above`", got, "Between them nothing is breached."), "below")

    def is_breached_by(self, value: float) -> bool:
        """Whether a defined value lies outside the bounds."""
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)


@dataclass(frozen=True)
class Thresholds:
    """When a pair of labels is flagged, when there is no verdict at all, and which alerts there are.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    stranger: float = 0.10
    """Flag a pair that overlaps this much more than pairs with its cosine, from 0 to 1."""
    lookalike: float = 0.10
    """Flag a pair that overlaps this much less than pairs with its cosine, from 0 to 1."""
    min_mass: float = 0.1
    """Both labels of a flagged pair need a mean probability of this share of 1/K_live, at least 0."""
    min_inputs: int = 256
    """With fewer inputs there are no verdicts, at least 0."""
    min_reliability: float = 0.5
    """With a lower reliability there are no verdicts, from 0 to 1."""
    alerts: Sequence[Alert] = ()
    """Scalars to be watched; default none."""

    def __post_init__(self) -> None:
        for field in ("stranger", "lookalike", "min_reliability"):
            check_number(getattr(self, field), field, 0, 1)
        check_number(self.min_mass, "min_mass", 0)
        check_whole(self.min_inputs, "min_inputs", 0)
        alerts: Any = self.alerts
        if isinstance(alerts, str) or not isinstance(alerts, Sequence) or not all(isinstance(one, Alert) for one in alerts):
            raise ConfigError(expected("alerts", "to be a list of alerts", repr(alerts)), "alerts")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> "Thresholds":
        """The thresholds in a YAML file whose keys are the fields.

        Raises:
            ConfigError: one line with the file, the line, the key, what was expected and what came.
        """
        return read_dataclass(cls, path)


@dataclass(frozen=True)
class Breach:
    """A report in which an alert was breached."""

    alert: Alert
    step: int
    """The x of the loggers' curves."""
    value: float
    """Of the scalar."""


def no_verdict(report: GapReport, thresholds: Thresholds) -> str | None:
    """Why this report does not allow a verdict on its pairs, or None if it does."""
    if report.num_inputs < thresholds.min_inputs:
        return f"{report.num_inputs} inputs, verdicts need {thresholds.min_inputs}"
    if report.num_pairs < MIN_PAIRS:
        return f"{report.num_pairs} pair{'s' * (report.num_pairs != 1)} of labels, verdicts need {MIN_PAIRS}"
    if not report.reliability >= thresholds.min_reliability:
        return f"reliability {report.reliability:.2f}, verdicts need {thresholds.min_reliability:g}"
    return None


def flagged(report: GapReport, thresholds: Thresholds, side: Side) -> Tensor:
    """Boolean (L, L), symmetric: the pairs that are strangers, or look-alikes. All false where there is no verdict."""
    if no_verdict(report, thresholds) is not None:
        return torch.zeros_like(report.gap, dtype=torch.bool)
    beyond = report.gap > thresholds.stranger if side == "strangers" else report.gap < -thresholds.lookalike
    above_LL = (beyond & _eligible(report, thresholds)).triu(diagonal=1)
    return above_LL | above_LL.T  # a pair is one pair, whatever the last digit of its two entries


def judged(report: GapReport, thresholds: Thresholds) -> GapReport:
    """The report with `share_strangers` and `share_lookalikes`, of the eligible pairs; NaN where there is no verdict."""
    why = no_verdict(report, thresholds)
    num_eligible = int(_eligible(report, thresholds).sum())
    if why is None and not num_eligible:
        why = "no pair has the mass"
    shares = {
        f"share_{side}": math.nan if why else flagged(report, thresholds, side).sum().item() / num_eligible
        for side in get_args(Side)
    }
    undefined = dict.fromkeys(shares, why) if why else {}
    return replace(report, scalars={**report.scalars, **shares}, undefined={**report.undefined, **undefined})


def evaluate(report: GapReport, thresholds: Thresholds) -> list[Breach]:
    """The alerts that one report breaches, whatever came before; none where there is no verdict or the value is undefined.

    Alerts of another stage do not count; a report that no training made has no stage, and every alert counts.
    """
    values = judged(report, thresholds).scalars
    if no_verdict(report, thresholds) is not None:
        return []
    return [
        Breach(alert, report.step, values[alert.scalar])
        for alert in thresholds.alerts
        if report.stage in ("", alert.stage) and alert.is_breached_by(values.get(alert.scalar, math.nan))
    ]


class AlertCounter:
    """Counts breaches in a row, and says when an alert acts: at the breach that its patience ends with, again after recovery."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.counts = [0] * len(thresholds.alerts)
        """Breaches in a row of every alert."""

    def observe(self, report: GapReport) -> list[Breach]:
        """The alerts that act at this report. An undefined value, or no verdict, leaves a count as it is."""
        if no_verdict(report, self.thresholds) is not None:
            return []
        breaches = {breach.alert: breach for breach in evaluate(report, self.thresholds)}
        acting = []
        values = judged(report, self.thresholds).scalars
        for number, alert in enumerate(self.thresholds.alerts):
            if alert.stage != report.stage or math.isnan(values.get(alert.scalar, math.nan)):
                continue
            self.counts[number] = self.counts[number] + 1 if alert in breaches else 0
            if self.counts[number] == alert.patience:
                acting.append(breaches[alert])
        return acting


def _eligible(report: GapReport, thresholds: Thresholds) -> Tensor:
    """Boolean (L, L), symmetric and false on the diagonal: pairs with a gap and with mass on both sides."""
    massive_L = report.mean_probs >= thresholds.min_mass / max(report.num_live, 1)
    eligible_LL = report.gap.isfinite() & massive_L[:, None] & massive_L
    return eligible_LL.fill_diagonal_(False)  # noqa: FBT003 - torch has no keyword
