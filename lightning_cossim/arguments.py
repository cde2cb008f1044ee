"""What the monitor's arguments have to be: slips are told when it is made, before any training."""

from os import PathLike
from typing import Any, get_args

from lightning_cossim.checks import Restriction, check_number
from lightning_cossim.config import LabelSelection, Schedule
from lightning_cossim.errors import ConfigError, expected
from lightning_cossim.functional.inputs import check_one_of
from lightning_cossim.functional.overlap import Link, OverlapKind
from lightning_cossim.reporting.tags import scalars
from lightning_cossim.thresholds import Thresholds, ThresholdsFile

__all__ = ["check_alerts", "check_arguments", "chosen_thresholds"]


def check_arguments(arguments: dict[str, Any]) -> None:
    """Raise unless every argument is of its kind: `InputError` for an unknown link or overlap, `ConfigError` for the others."""
    check_one_of(arguments["overlap"], "overlap", get_args(OverlapKind))
    check_one_of(arguments["link"], "link", get_args(Link))
    texts = {"head": "a dotted path", "name": "a text"}
    for argument, wanted in texts.items():
        value = arguments[argument]
        if value == "" or not isinstance(value, str | None):
            got = repr(value) if value == "" else type(value).__name__
            raise ConfigError(expected(argument, f"to be {wanted} or None", got), argument)
    kinds = {"labels": LabelSelection, "schedule": Schedule, "thresholds": Thresholds}
    for argument, kind in kinds.items():
        if not isinstance(arguments[argument], kind):
            article = "" if kind is Thresholds else "a "
            got = type(arguments[argument]).__name__
            raise ConfigError(expected(argument, f"to be {article}{kind.__name__}", got), argument)
    numbers = {"overlap_threshold": Restriction(float), "overlap_k": Restriction(int, 2)}
    for argument, restriction in numbers.items():
        if arguments[argument] is not None:
            check_number(arguments[argument], argument, restriction)


def chosen_thresholds(thresholds: Thresholds, path: ThresholdsFile | None) -> Thresholds:
    """The thresholds written out, or those of a file; raises `ConfigError` where both are given or the file is wrong."""
    if path is None:
        return thresholds
    if not isinstance(path, str | PathLike):
        raise ConfigError(expected("thresholds_file", "to be the path of a YAML file or None", type(path).__name__))
    if thresholds != Thresholds():
        raise ConfigError(expected("thresholds", "or `thresholds_file`", "both", "Leave one of them out."))
    return Thresholds.from_yaml(path)


def check_alerts(thresholds: Thresholds, link: Link, schedule: Schedule) -> None:
    """Raise `ConfigError` for an alert that could never act."""
    known = scalars(link)
    looked_at = {"train": True, "val": schedule.validation, "test": schedule.test}
    for alert in thresholds.alerts:
        if alert.scalar not in known:
            wanted = f"of every alert to be one that a {link} head has"
            raise ConfigError(expected("scalar", wanted, repr(alert.scalar), f"It has {', '.join(known)}."), "alerts")
        if not looked_at[alert.stage]:
            switch = {"val": "validation", "test": "test"}[alert.stage]
            got = f"{alert.stage!r} with Schedule({switch}=False)"
            raise ConfigError(expected("stage", "of every alert to be one that is looked at", got), "alerts")
