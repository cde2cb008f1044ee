"""Scalars of a report: to every logger, and as keys that other callbacks can watch."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from typing_extensions import override

from lightning_cossim.loggers.publisher import log_scalars, watchable
from lightning_cossim.loggers.tags import SCALARS


class Notebook:
    """A logger that writes down what it is given."""

    def __init__(self) -> None:
        self.entries: list[tuple[int | None, Any]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.entries.append((step, metrics))


def test_every_logger_gets_the_defined_scalars_of_the_group_at_the_step() -> None:
    """One call each; an undefined value is not there at all."""
    loggers = [Notebook(), Notebook()]
    log_scalars(loggers, "cossim_val", {"gap_behavior": math.nan, "overlap_mean": 0.25, "common_mode_ratio": 0.0}, 7)
    assert [logger.entries for logger in loggers] == [
        [(7, {"cossim_val/overlap_mean": 0.25, "cossim_val/common_mode_ratio": 0.0})]
    ] * 2


def test_no_logger_is_no_error() -> None:
    log_scalars([], "cossim_val", {"overlap_mean": 0.25}, 7)


def test_an_old_value_is_not_logged_in_the_place_of_an_undefined_one() -> None:
    logger = Notebook()
    for step, value in enumerate([0.5, math.nan, 0.75]):
        log_scalars([logger], "cossim_train", {"overlap_mean": value}, step)
    tag = "cossim_train/overlap_mean"
    assert logger.entries == [(0, {tag: 0.5}), (1, {}), (2, {tag: 0.75})]


def test_scalars_that_never_were_defined_are_1_for_gaps_and_0_for_the_others() -> None:
    """A gap of 1 and a share of 0 are the worst: nothing that watches them takes them for a success."""
    seen = watchable(dict.fromkeys(SCALARS, math.nan), {})
    assert {name for name, value in seen.items() if value == 1} == {"gap_translation", "gap_geometry", "gap_behavior"}
    assert {name for name, value in seen.items() if value == 0} == set(SCALARS) - {
        "gap_translation",
        "gap_geometry",
        "gap_behavior",
    }


@pytest.mark.parametrize(
    ("history", "last"),
    [
        ([0.5, math.nan], 0.5),
        ([0.5, math.nan, math.nan], 0.5),
        ([0.5, math.nan, 0.25], 0.25),
        ([math.nan, 0.25, math.nan], 0.25),
        ([0.0, math.nan], 0.0),
    ],
)
@pytest.mark.parametrize("name", ["gap_behavior", "overlap_mean"])
def test_an_undefined_scalar_keeps_its_last_value(name: str, history: list[float], last: float) -> None:
    before: Mapping[str, float] = {}
    for value in history:
        before = watchable({name: value}, before)
    assert before == {name: last}


def test_keys_stay_the_same_whatever_came_before() -> None:
    assert list(watchable({"overlap_mean": math.nan}, {"gap_behavior": 0.5})) == ["overlap_mean"]


class ByKeyword(Notebook):
    """Its values have to be named, as Lightning names them."""

    @override
    def log_metrics(self, *, metrics: Any, step: int | None = None) -> None:  # type: ignore[override]
        super().log_metrics(metrics, step)


class Anything(Notebook):
    """It takes whatever it is called with."""

    @override
    def log_metrics(self, **given: Any) -> None:  # type: ignore[override]
        super().log_metrics(**given)


class StepFirst(Notebook):
    """In another order."""

    @override
    def log_metrics(self, step: int | None, metrics: Any) -> None:  # type: ignore[override]
        super().log_metrics(metrics, step)


@pytest.mark.parametrize("kind", [Notebook, ByKeyword, Anything, StepFirst])
def test_loggers_are_called_by_keyword_as_lightning_calls_them(kind: type[Notebook]) -> None:
    logger = kind()
    log_scalars([logger], "cossim_val", {"overlap_mean": 0.25}, 7)
    assert logger.entries == [(7, {"cossim_val/overlap_mean": 0.25})]
