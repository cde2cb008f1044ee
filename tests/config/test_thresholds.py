"""Thresholds and alerts: which values they take, and what is said of others."""

from typing import Any, get_args

import numpy as np
import pytest

from lightning_cossim.config.thresholds import Alert, Scalar, Thresholds
from lightning_cossim.errors import ConfigError
from lightning_cossim.loggers.tags import SCALARS


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"scalar": "overhead_fraction", "above": 1}, "Expected `scalar` to be 'explained_raw_cosine', "),
        ({"scalar": 3, "above": 1}, "Expected `scalar` to be 'explained_raw_cosine', "),
        ({"scalar": "reliability", "above": True}, "Expected `above` to be a number, got True."),
        ({"scalar": "reliability", "below": "low"}, "Expected `below` to be a number, got 'low'."),
        ({"scalar": "reliability"}, "Expected `above` or `below` to be given, got neither. An alert needs a bound."),
        ({"scalar": "reliability", "above": 1, "patience": 0}, "Expected `patience` to be a whole number of at least 1, got 0."),
        (
            {"scalar": "reliability", "above": 1, "action": "exit"},
            "Expected `action` to be 'warn', 'stop' or 'raise', got 'exit'.",
        ),
        ({"scalar": "reliability", "above": 1, "stage": "fit"}, "Expected `stage` to be 'train', 'val' or 'test', got 'fit'."),
    ],
)
def test_an_alert_that_makes_no_sense_is_told(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Alert(**settings)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"stranger": -0.1}, "Expected `stranger` to be a number from 0 to 1, got -0.1."),
        ({"min_inputs": 1.0}, "Expected `min_inputs` to be a whole number of at least 0, got 1.0."),
        ({"min_mass": None}, "Expected `min_mass` to be a number of at least 0, got None."),
        ({"alerts": "all"}, "Expected `alerts` to be a list of alerts, got 'all'."),
        ({"alerts": [{"scalar": "reliability"}]}, "Expected `alerts` to be a list of alerts, got [{'scalar': 'reliability'}]."),
    ],
)
def test_thresholds_that_make_no_sense_are_told(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Thresholds(**settings)
    assert str(caught.value) == text
    assert caught.value.field == next(iter(settings))


@pytest.mark.parametrize("value", [np.float64(0.3), np.float32(0.25), 1])
def test_numbers_of_any_kind_are_numbers(value: Any) -> None:
    assert Thresholds(stranger=value).stranger == value


def test_alerts_can_watch_what_is_logged_but_the_monitor_s_own_cost() -> None:
    assert set(get_args(Scalar)) == {*SCALARS} - {"overhead_fraction"}
