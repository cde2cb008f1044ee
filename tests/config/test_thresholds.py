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
        ({"scalar": "overhead_fraction", "above": 1}, "Expected `scalar` to be 'rank_agreement_raw_cosine', "),
        ({"scalar": 3, "above": 1}, "Expected `scalar` to be 'rank_agreement_raw_cosine', "),
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
        ({"outlier": None}, "Expected `outlier` to be a number of at least 0, got None."),
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


# Known pairs


@pytest.mark.parametrize("known", [[["cat", "lynx"], ("one", "seven")], (("cat", "lynx"), ["one", "seven"])])
def test_known_pairs_are_pairs_of_names(known: Any) -> None:
    thresholds = Thresholds(known=known)
    assert thresholds.known == (("cat", "lynx"), ("one", "seven"))
    assert hash(thresholds) == hash(Thresholds(known=known))


def test_numbers_are_the_names_of_labels_without_one() -> None:
    assert Thresholds(known=[[3, 5]]).known == (("3", "5"),)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "known", ["cat", [["cat"]], ["ab"], [["a", "a"]], [["a", "b", "c"]], 3, [["a", None]], [[True, "a"]], [{"a": 1, "b": 2}]]
)
def test_known_pairs_that_are_none(known: Any) -> None:
    with pytest.raises(ConfigError, match=r"Expected `known` to be a list of pairs of two names, got .* For example \[\[cat, "):
        Thresholds(known=known)


def test_a_known_pair_that_the_head_does_not_have() -> None:
    """A misspelled name would silently hold back nothing."""
    names = ("cat", "lynx", "dog")
    Thresholds(known=[["lynx", "cat"]]).check_known(names)
    with pytest.raises(ConfigError, match=r"Expected `known` to hold names of labels, got 'linx'. Did you mean `lynx`\?"):
        Thresholds(known=[["cat", "linx"]]).check_known(names)
    with pytest.raises(ConfigError, match=r"got 'zebra'. Use the names of the labels"):
        Thresholds(known=[["cat", "zebra"]]).check_known(names)


def test_verdicts_need_five_inputs_a_label() -> None:
    assert Thresholds().inputs_needed(10) == 256
    assert Thresholds().inputs_needed(100) == 500
    assert Thresholds(min_inputs=0).inputs_needed(8) == 40
