"""Thresholds: how large the gap of a flagged pair is, and which scalars of a report trigger an alert."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from lightning_cossim.config.reader import read_dataclass
from lightning_cossim.config.types import NonNegative, Number, UnitInterval, WholeFrom0, WholeFrom1, check_fields, file_type
from lightning_cossim.errors import ConfigError, as_value, did_you_mean, expected
from lightning_cossim.functional.scalars import alert_scalars

__all__ = ["INPUTS_PER_LABEL", "Action", "Alert", "Scalar", "Stage", "Thresholds", "ThresholdsFile"]

if TYPE_CHECKING:
    Scalar: TypeAlias = str
else:
    Scalar = Literal[alert_scalars()]
"""Names of the scalars that an alert can watch: all except `overhead_fraction`, the monitor's own cost."""
INPUTS_PER_LABEL: Final = 5
"""Inputs that a verdict needs for each kept label."""
Stage = Literal["train", "val", "test"]
Action = Literal["warn", "stop", "raise"]


@dataclass(frozen=True)
class Alert:
    """Bounds for one scalar, and what happens when the scalar breaches them.

    A report with an undefined value, or without a verdict, changes nothing: it is neither a breach nor a recovery.

    Args:
        scalar: name of the scalar, a tag without its group. The headline is "rank_agreement_centered_cosine".
        stage: stage of the reports.
        above: a value above this bound is a breach; a finite number. Default: no upper bound.
        below: a value below this bound is a breach; a finite number. Default: no lower bound.
        patience: number of breaches in a row after which the alert acts, at least 1. After a recovery it can act again. For a
            command that reads one report, the first breach is enough.
        action: warn, stop the fit, or raise `AlertError`.

    Raises:
        ConfigError: a value has the wrong type or is out of range, `below` is larger than `above`, or both bounds are missing.

    Example:
        >>> alert = Alert("rank_agreement_centered_cosine", below=0.2, patience=3)
        >>> alert.is_breached_by(0.1)
        True
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
            raise ConfigError(expected("below", "to be at most `above`", got, "Otherwise every value is a breach."), "below")

    def is_breached_by(self, value: float) -> bool:
        """Whether a value lies outside the bounds. NaN never does."""
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)


@dataclass(frozen=True)
class Thresholds:
    """When the monitor flags a pair of labels, when it gives no verdict, and which alerts it checks.

    The gap of a pair is its overlap minus its expected overlap, the overlap of pairs with the same cosine. The monitor flags a
    pair if its gap exceeds the threshold by more than its error: |gap| - 1.895 standard errors > max(threshold, `outlier` ·
    residual scale). A stranger is a pair that overlaps more than expected; a look-alike is a pair that overlaps less.

    Args:
        stranger: flag a pair that overlaps this much more than pairs with its cosine, from 0 to 1.
        lookalike: flag a pair that overlaps this much less than pairs with its cosine, from 0 to 1.
        outlier: the gap must also exceed this many times the scalar `residual_scale`, the spread of all gaps; at least 0. With 0
            there is no such condition.
        min_joint_inputs: a stranger needs this many joint inputs, on which both labels are likely; at least 0.
        known: pairs of names that you know about. Reports list these pairs and never flag them.
        min_inputs: verdicts need this many inputs, and 5 for each label; at least 0. Training windows become long enough for
            that, up to 64 batches.
        min_reliability: verdicts need this reliability, from 0 to 1.
        alerts: scalars that must stay within bounds; default: none. Each alert has `scalar`, a tag without its group, `stage`, a
            bound `above` or `below` or both, `patience`, the number of breaches in a row after which it acts, and `action`, which
            is warn, stop or raise.

    Raises:
        ConfigError: a value has the wrong type or is out of range.

    Example:
        >>> Thresholds(stranger=0.2, known=[["cat", "lynx"]]).known
        (('cat', 'lynx'),)

    Source: `docs/numbers.md`, "When a pair is flagged".
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
        "min_mass": "Use `min_probability` of `labels`, the smallest mean probability of a label whose pairs count."
    }
    """Former keys, and a sentence that names the replacement."""

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "known", _pairs_of_names(self.known))
        alerts: Any = self.alerts
        if isinstance(alerts, str) or not isinstance(alerts, Sequence) or not all(isinstance(one, Alert) for one in alerts):
            raise ConfigError(expected("alerts", "to be a list of alerts", as_value(alerts)), "alerts")
        object.__setattr__(self, "alerts", tuple(alerts))  # a tuple makes any sequence comparable and hashable

    def inputs_needed(self, num_labels: int) -> int:
        """The number of inputs that verdicts on the pairs of `num_labels` labels need."""
        return max(self.min_inputs, INPUTS_PER_LABEL * num_labels)

    def check_known(self, names: Sequence[str]) -> None:
        """Raise `ConfigError` unless `names` (K,) contains every name of the known pairs."""
        for name in (name for pair in self.known for name in pair):
            if name not in names:
                remedy = did_you_mean(name, [*names]) or "Use the names of the labels, or their numbers if they have none."
                raise ConfigError(expected("known", "to hold names of labels", as_value(name), remedy), "known")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> "Thresholds":
        """The thresholds in a YAML file whose keys are the fields.

        Args:
            path: the file, in UTF-8.

        Raises:
            ConfigError: the file is not readable or not valid. The message is one line with the file, the line, the key, what was
                expected and what was got.
        """
        return read_dataclass(cls, path)


def _pairs_of_names(known: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of names as tuples of strings. A number in YAML is the name of a label without a name."""
    pairs = []
    for pair in [known] if isinstance(known, str) or not isinstance(known, Iterable) else known:
        names = [] if isinstance(pair, str | bytes | Mapping) or not isinstance(pair, Iterable) else [*pair]
        texts = [str(name) for name in names if isinstance(name, str | int) and not isinstance(name, bool)]
        if len(names) != 2 or len(texts) != 2 or texts[0] == texts[1]:
            remedy = 'For example [[cat, lynx], ["no", "off"]]: without quotes YAML reads no and off as false.'
            raise ConfigError(expected("known", "to be a list of pairs of two names", as_value(pair), remedy), "known")
        pairs.append((texts[0], texts[1]))
    return tuple(pairs)


if TYPE_CHECKING:
    ThresholdsFile: TypeAlias = str | os.PathLike[str]
else:
    ThresholdsFile = file_type("YAML file of thresholds", Thresholds.from_yaml)
