"""Thresholds: from which gap on a pair is flagged, and which scalars of a report raise an alert.

Everything here is pure and looks at one report; how often in a row an alert has been breached is counted in `alerts`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_cossim.config.reader import read_dataclass
from lightning_cossim.config.types import NonNegative, Number, UnitInterval, WholeFrom0, WholeFrom1, check_fields, file_type
from lightning_cossim.errors import ConfigError, expected
from lightning_cossim.report import GapReport, Side

__all__ = [
    "MIN_PAIRS",
    "Alert",
    "Breach",
    "Scalar",
    "Thresholds",
    "ThresholdsFile",
    "alert_values",
    "evaluate",
    "judged",
    "no_verdict",
]

Scalar = Literal[
    "explained_raw_cosine",
    "explained_centered_cosine",
    "explained_logit_correlation",
    "explained_log_odds_variance",
    "gap_translation",
    "gap_geometry",
    "gap_behavior",
    "reliability",
    "share_lookalikes",
    "share_strangers",
    "overlap_mean",
    "common_mode_ratio",
]
"""What an alert may watch: every tag but the monitor's own cost."""
Stage = Literal["train", "val", "test"]
Action = Literal["warn", "stop", "raise"]

MIN_PAIRS: Final = 45
"""Of fewer pairs the shares scatter too widely for a verdict (THEORY §5)."""


@dataclass(frozen=True)
class Alert:
    """A scalar that has to stay between two bounds.

    An undefined value counts neither as a breach nor as a recovery, and no more does a report without a verdict.

    Args:
        scalar: which scalar, a tag without its group.
        stage: of which reports.
        above: breached above this value.
        below: breached below this value.
        patience: reports in a row that breach it before it acts, at least 1; it acts again after a recovery.
        action: warn, stop the fit, or raise `AlertRaised`.

    Raises:
        ConfigError: a value is of the wrong type or out of range, the bounds are crossed, or there is none.
    """

    scalar: Scalar
    stage: Stage = "val"
    above: Number | None = None
    below: Number | None = None
    patience: WholeFrom1 = 1
    action: Action = "warn"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.above is None and self.below is None:
            raise ConfigError(expected("above", "or `below` to be given", "neither", "An alert needs a bound."), "above")
        if self.above is not None and self.below is not None and self.below > self.above:
            got = f"below {self.below} and above {self.above}"
            raise ConfigError(expected("below", "to be at most `above`", got, "Between them nothing is breached."), "below")

    def is_breached_by(self, value: float) -> bool:
        """Whether a value lies outside the bounds; NaN does not."""
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)


@dataclass(frozen=True)
class Thresholds:
    """When a pair of labels is flagged, when there is no verdict at all, and which alerts there are.

    Args:
        stranger: flag a pair that overlaps this much more than pairs with its cosine, from 0 to 1.
        lookalike: flag a pair that overlaps this much less than pairs with its cosine, from 0 to 1.
        min_mass: both labels of a flagged pair need a mean probability of this share of 1/K_live, at least 0.
        min_inputs: with fewer inputs there are no verdicts, at least 0; training windows get as long as that takes.
        min_reliability: with a lower reliability there are no verdicts, from 0 to 1.
        alerts: scalars to be watched, default none: each with `scalar`, a tag without its group, `stage`, a bound `above` or
            `below` or both, `patience`, the reports in a row that breach it before it acts, and `action`: warn, stop or raise.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    stranger: UnitInterval = 0.10
    lookalike: UnitInterval = 0.10
    min_mass: NonNegative = 0.1
    min_inputs: WholeFrom0 = 256
    min_reliability: UnitInterval = 0.5
    alerts: Sequence[Alert] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        alerts: Any = self.alerts
        if isinstance(alerts, str) or not isinstance(alerts, Sequence) or not all(isinstance(one, Alert) for one in alerts):
            raise ConfigError(expected("alerts", "to be a list of alerts", repr(alerts)), "alerts")
        object.__setattr__(self, "alerts", tuple(alerts))  # equal and hashable, whatever kind of list came

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> "Thresholds":
        """The thresholds in a YAML file whose keys are the fields.

        Raises:
            ConfigError: one line with the file, the line, the key, what was expected and what came.
        """
        return read_dataclass(cls, path)


if TYPE_CHECKING:
    ThresholdsFile: TypeAlias = str | os.PathLike[str]
else:
    ThresholdsFile = file_type("YAML file of thresholds", Thresholds.from_yaml)


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


def judged(report: GapReport, thresholds: Thresholds) -> GapReport:
    """The report with its flags, and with `share_strangers` and `share_lookalikes` of the eligible pairs.

    Where there is no verdict nothing is flagged, and the shares are NaN with the reason in `undefined`.
    """
    eligible_P, why = _eligible(report, thresholds), no_verdict(report, thresholds)
    weight_P = torch.ones(eligible_P.shape) if report.compared.weight is None else report.compared.weight
    num_eligible = float(weight_P[eligible_P].sum())
    if why is None and not num_eligible:
        why = "no pair has the mass"
    # An overlap that may be larger than what was seen of it is no sign that there is little.
    may_be_P = 0.0 if report.overlap_error is None else report.overlap_error
    beyond: dict[Side, Tensor] = {
        "strangers": report.gap > thresholds.stranger,
        "lookalikes": report.gap + may_be_P < -thresholds.lookalike,
    }
    flags = {side: torch.zeros_like(eligible_P) if why else beyond_P & eligible_P for side, beyond_P in beyond.items()}
    shares = {
        f"share_{side}": math.nan if why else float(weight_P[flags_P].sum()) / num_eligible for side, flags_P in flags.items()
    }
    undefined = dict.fromkeys(shares, why) if why else {}
    return replace(report, flags=flags, scalars={**report.scalars, **shares}, undefined={**report.undefined, **undefined})


def evaluate(report: GapReport, thresholds: Thresholds) -> list[Breach]:
    """The alerts that one report breaches, whatever came before; none where there is no verdict or the value is undefined.

    Alerts of another stage do not count; a report that no training made has no stage, and every alert counts.
    """
    values = alert_values(judged(report, thresholds), thresholds)
    return [
        Breach(alert, report.step, value)
        for alert, value in zip(thresholds.alerts, values, strict=True)
        if alert.is_breached_by(value)
    ]


def alert_values(report: GapReport, thresholds: Thresholds) -> list[float]:
    """What every alert sees of a report: the value of its scalar, NaN where that or a verdict is missing, or at another stage."""
    if not thresholds.alerts or no_verdict(report, thresholds) is not None:
        return [math.nan] * len(thresholds.alerts)
    values = judged(report, thresholds).scalars
    return [values.get(alert.scalar, math.nan) if report.stage in ("", alert.stage) else math.nan for alert in thresholds.alerts]


def _eligible(report: GapReport, thresholds: Thresholds) -> Tensor:
    """Boolean (P,): pairs with a gap and with mass on both sides."""
    massive_L = report.mean_probs >= thresholds.min_mass / max(report.num_live, 1)
    return report.gap.isfinite() & massive_L[report.compared.row] & massive_L[report.compared.column]
