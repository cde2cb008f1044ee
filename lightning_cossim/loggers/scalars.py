"""Scalars of a report: to every logger, and as keys that other callbacks can watch."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from lightning_cossim.loggers.tags import GAPS

__all__ = ["ScalarLogger", "log_scalars", "watchable"]


class ScalarLogger(Protocol):
    """Any logger of Lightning's: what it has, not what it is."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write values at a step."""


def log_scalars(loggers: Iterable[ScalarLogger], group: str, scalars: Mapping[str, float], step: int, suffix: str = "") -> None:
    """Write the defined scalars of a group at one step; an undefined value leaves a hole in the curve, never an old value."""
    defined = {f"{group}/{name}{suffix}": value for name, value in scalars.items() if not math.isnan(value)}
    for logger in loggers:
        logger.log_metrics(defined, step)


def watchable(scalars: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """The scalars without a NaN, which would stop EarlyStopping.

    What is undefined keeps its last value; before there is one, 1 for gaps and 0 for the others.
    """
    return {
        name: before.get(name, 1.0 if name in GAPS else 0.0) if math.isnan(value) else value for name, value in scalars.items()
    }
