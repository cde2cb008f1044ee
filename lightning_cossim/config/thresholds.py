"""Thresholds: from which gap on a pair is flagged, and which scalars of a report raise an alert."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from lightning_cossim.config.reader import read_dataclass
from lightning_cossim.config.types import NonNegative, Number, UnitInterval, WholeFrom0, WholeFrom1, check_fields, file_type
from lightning_cossim.errors import ConfigError, did_you_mean, expected
from lightning_cossim.functional.scalars import alert_scalars

__all__ = ["INPUTS_PER_LABEL", "Action", "Alert", "Scalar", "Stage", "Thresholds", "ThresholdsFile"]

if TYPE_CHECKING:
    Scalar: TypeAlias = str
else:
    Scalar = Literal[alert_scalars()]
"""What an alert may watch: every tag but the monitor's own cost."""
INPUTS_PER_LABEL: Final = 5
"""Inputs that a verdict needs for each kept label."""
Stage = Literal["train", "val", "test"]
Action = Literal["warn", "stop", "raise"]


@dataclass(frozen=True)
class Alert:
    """A scalar that has to stay between two bounds.

    An undefined value counts neither as a breach nor as a recovery, and no more does a report without a verdict.

    Args:
        scalar: which scalar, a tag without its group: "rank_agreement_centered_cosine" is the headline.
        stage: of which reports.
        above: breached above this value.
        below: breached below this value.
        patience: reports in a row that breach it before it acts, at least 1; it acts again after a recovery. A command that
            sees one report does not wait.
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

    The gap of a pair is its overlap minus its expected overlap. A pair is flagged if its gap is beyond the threshold by more
    than its error: |gap| - 1.895 standard errors > max(threshold, `outlier` · residual scale).

    Args:
        stranger: flag a pair that overlaps this much more than pairs with its cosine, from 0 to 1.
        lookalike: flag a pair that overlaps this much less than pairs with its cosine, from 0 to 1.
        outlier: and by this many times the scalar `residual_scale`, the spread of all gaps, at least 0; 0 switches it off.
        min_joint_inputs: a stranger needs this many inputs on which both labels are likely, at least 0.
        known: pairs of names that you know of: they are listed and never flagged.
        min_inputs: with fewer inputs, or fewer than 5 for each label, there are no verdicts, at least 0; training windows get as
            long as that takes.
        min_reliability: with a lower reliability there are no verdicts, from 0 to 1.
        alerts: scalars to be watched, default none: each with `scalar`, a tag without its group, `stage`, a bound `above` or
            `below` or both, `patience`, the reports in a row that breach it before it acts, and `action`: warn, stop or raise.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    stranger: UnitInterval = 0.10
    lookalike: UnitInterval = 0.10
    outlier: NonNegative = 3.0
    min_joint_inputs: WholeFrom0 = 5
    known: Sequence[Sequence[str]] = ()
    min_inputs: WholeFrom0 = 256
    min_reliability: UnitInterval = 0.5
    alerts: Sequence[Alert] = ()

    RENAMED: ClassVar[Mapping[str, str]] = {
        "min_mass": "`min_probability` of `labels` says which labels are probable enough for their pairs to count"
    }
    """Former keys, and what takes their place."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "known", _pairs_of_names(self.known))
        alerts: Any = self.alerts
        if isinstance(alerts, str) or not isinstance(alerts, Sequence) or not all(isinstance(one, Alert) for one in alerts):
            raise ConfigError(expected("alerts", "to be a list of alerts", repr(alerts)), "alerts")
        object.__setattr__(self, "alerts", tuple(alerts))  # equal and hashable, whatever kind of list came

    def inputs_needed(self, num_labels: int) -> int:
        """How many inputs verdicts on the pairs of so many labels need."""
        return max(self.min_inputs, INPUTS_PER_LABEL * num_labels)

    def check_known(self, names: Sequence[str]) -> None:
        """Raise `ConfigError` unless `names` (K,) has every name of the known pairs."""
        for name in (name for pair in self.known for name in pair):
            if name not in names:
                remedy = did_you_mean(name, [*names]) or "Use the names of the labels, or their numbers if they have none."
                raise ConfigError(expected("known", "to hold names of labels", repr(name), remedy), "known")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> "Thresholds":
        """The thresholds in a YAML file whose keys are the fields.

        Raises:
            ConfigError: one line with the file, the line, the key, what was expected and what came.
        """
        return read_dataclass(cls, path)


def _pairs_of_names(known: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of names as tuples of texts; a number in YAML is the name of a label without one."""
    pairs = []
    for pair in [known] if isinstance(known, str) or not isinstance(known, Iterable) else known:
        names = [] if isinstance(pair, str | bytes | Mapping) or not isinstance(pair, Iterable) else [*pair]
        texts = [str(name) for name in names if isinstance(name, str | int) and not isinstance(name, bool)]
        if len(names) != 2 or len(texts) != 2 or texts[0] == texts[1]:
            remedy = 'For example [[cat, lynx], ["no", "off"]]: without quotes YAML reads no and off as false.'
            raise ConfigError(expected("known", "to be a list of pairs of two names", repr(pair), remedy), "known")
        pairs.append((texts[0], texts[1]))
    return tuple(pairs)


if TYPE_CHECKING:
    ThresholdsFile: TypeAlias = str | os.PathLike[str]
else:
    ThresholdsFile = file_type("YAML file of thresholds", Thresholds.from_yaml)
