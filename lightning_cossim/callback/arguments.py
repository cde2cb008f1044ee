"""Checks of the monitor's arguments. They raise or warn before any training starts."""

import math
from collections.abc import Sequence
from os import PathLike
from typing import Any, get_args

from lightning_cossim.config.checks import Restriction, check_number
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.config.settings import Display, LabelSelection, Schedule
from lightning_cossim.config.thresholds import Alert, Thresholds, ThresholdsFile
from lightning_cossim.errors import ConfigError, expected
from lightning_cossim.functional.inputs import check_one_of
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.functional.scalars import scalars
from lightning_cossim.report.verdicts import MIN_PAIRS

__all__ = ["check_arguments", "chosen_thresholds", "idle_alerts"]


def check_arguments(arguments: dict[str, Any]) -> None:
    """Check the type and range of every argument of the monitor.

    Args:
        arguments: name to value, for every argument.

    Raises:
        InputError: an unknown link or overlap, or a cap or scale that is not positive or does not belong to the link.
        ConfigError: any other argument with a wrong type or value.
    """
    check_one_of(arguments["overlap"], "overlap", get_args(OverlapKind))
    check_one_of(arguments["link"], "link", get_args(Link))
    texts = {"head": "a dotted path", "name": "a string"}
    for argument, wanted in texts.items():
        value = arguments[argument]
        if value == "" or not isinstance(value, str | None):
            got = repr(value) if value == "" else type(value).__name__
            raise ConfigError(expected(argument, f"to be {wanted} or None", got), argument)
    for argument in ("embeddings_from", "logits_from"):
        value = arguments[argument]
        if value == "" or not (value is None or isinstance(value, str) or callable(value)):
            got = repr(value) if value == "" else type(value).__name__
            raise ConfigError(expected(argument, "to be a dotted path, a function or None", got), argument)
    labels = arguments["labels"]
    if not isinstance(labels, LabelSelection) and (isinstance(labels, str) or not isinstance(labels, Sequence)):
        got = repr(labels) if isinstance(labels, str) else type(labels).__name__
        wanted = "to be a list of names or a LabelSelection"
        raise ConfigError(
            expected("labels", wanted, got, "To read names from a file, pass LabelSelection(names=path)."), "labels"
        )
    kinds = {"schedule": Schedule, "thresholds": Thresholds, "display": Display, "evidence": Evidence}
    for argument, kind in kinds.items():
        if not isinstance(arguments[argument], kind):
            article = {Thresholds: "", Evidence: ""}.get(kind, "a ")
            got = type(arguments[argument]).__name__
            raise ConfigError(expected(argument, f"to be {article}{kind.__name__}", got), argument)
    number = Restriction(float)
    numbers = {"overlap_threshold": number, "overlap_k": Restriction(int, 2), "link_cap": number, "link_scale": number}
    for argument, restriction in numbers.items():
        if arguments[argument] is not None:
            check_number(arguments[argument], argument, restriction)
    Response.of(arguments["link"], link_cap=arguments["link_cap"], link_scale=arguments["link_scale"])


def chosen_thresholds(thresholds: Thresholds, path: ThresholdsFile | None) -> Thresholds:
    """The given thresholds, or those in a file.

    Args:
        thresholds: the value of `thresholds=`.
        path: the value of `thresholds_file=`.

    Raises:
        ConfigError: both are given, or the file is not readable or not valid.
    """
    if path is None:
        return thresholds
    if not isinstance(path, str | PathLike):
        raise ConfigError(expected("thresholds_file", "to be the path of a YAML file or None", type(path).__name__))
    if thresholds != Thresholds():
        raise ConfigError(expected("thresholds", "or `thresholds_file`", "both", "Leave one of them out."))
    return Thresholds.from_yaml(path)


def idle_alerts(thresholds: Thresholds, link: Link, schedule: Schedule, num_labels: int) -> list[str]:
    """Warnings about alerts that can never act, one line per alert."""
    reasons = [(alert, _idle(alert, thresholds, link, schedule, num_labels)) for alert in thresholds.alerts]
    return [f"the alert on {alert.scalar} of {alert.stage} can never act: {why}" for alert, why in reasons if why]


def _idle(alert: Alert, thresholds: Thresholds, link: Link, schedule: Schedule, num_labels: int) -> str | None:
    """Why an alert can never act; None if it can."""
    looked_at = {"train": True, "val": schedule.validation, "test": schedule.test}
    num_pairs = math.comb(num_labels, 2)
    if alert.scalar not in scalars(link):
        return f"a {link} head has no such scalar"
    if not looked_at[alert.stage]:
        return "the schedule turns off reports on such runs"
    if alert.stage == "test" and alert.patience > 1:
        return f"a test run makes one report, and the patience of the alert is {alert.patience}"
    if alert.scalar == "reliability" and alert.above is None and (alert.below or 0) <= thresholds.min_reliability:
        return f"if the reliability is below min_reliability, {thresholds.min_reliability:g}, there are no verdicts"
    if num_pairs < MIN_PAIRS:
        return f"{num_labels} labels have {num_pairs} pair{'s' * (num_pairs != 1)}, and verdicts need {MIN_PAIRS}"
    return None
