"""Thresholds: from which gap on a pair is flagged, and which scalars of a report raise an alert."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lightning_cossim.config.reader import read_dataclass
from lightning_cossim.config.types import NonNegative, Number, UnitInterval, WholeFrom0, WholeFrom1, check_fields, file_type
from lightning_cossim.errors import ConfigError, expected
from lightning_cossim.functional.scalars import alert_scalars

__all__ = ["Action", "Alert", "Scalar", "Stage", "Thresholds", "ThresholdsFile"]

if TYPE_CHECKING:
    Scalar: TypeAlias = str
else:
    Scalar = Literal[alert_scalars()]
"""What an alert may watch: every tag but the monitor's own cost."""
Stage = Literal["train", "val", "test"]
Action = Literal["warn", "stop", "raise"]


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
        action: warn, stop the fit, or raise `AlertError`.

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
