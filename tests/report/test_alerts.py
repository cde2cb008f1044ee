"""Alerts: counting breaches in a row, in series of values and of reports, and saying what acts."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lightning_cossim.config.thresholds import Alert, Breach, Thresholds, alert_values, judged
from lightning_cossim.report.alerts import AlertCounter, in_words
from tests.report.test_verdicts import OPEN, report_of, with_value

NAN = math.nan


def acts(values: Sequence[float], alert: Alert) -> list[int]:
    """The steps at which an alert acts, in a series of values."""
    counter = AlertCounter(Thresholds(alerts=[alert]))
    return [breach.step for step, value in enumerate(values) for breach in counter.observe([value], step)]


@pytest.mark.parametrize(
    ("values", "patience", "wanted"),
    [
        ([0.7, 0.7, 0.7], 1, [0]),  # once per breach
        ([0.7, 0.5, 0.7, 0.7], 1, [0, 2]),  # again after recovery
        ([0.7, 0.7, 0.7, 0.7], 3, [2]),
        ([0.7, 0.7, 0.5, 0.7, 0.7, 0.7], 3, [5]),  # in a row
        ([0.7, NAN, 0.7, 0.7], 3, [3]),  # what is undefined keeps the count
        ([NAN, NAN, 0.7], 1, [2]),
        ([0.5, 0.6, 0.5], 1, []),  # a bound itself is no breach
        ([NAN, 0.7, 0.7, NAN, 0.7, 0.5, 0.7, 0.7], 2, [2, 7]),
        ([0.7, NAN, 0.5, NAN, 0.7, 0.7], 2, [5]),
        ([0.1, 0.7, 0.1], 3, [2]),  # from one side to the other is no recovery
    ],
)
def test_an_alert_acts_when_its_patience_ends(values: list[float], patience: int, wanted: list[int]) -> None:
    assert acts(values, Alert("gap_behavior", above=0.6, below=0.2, patience=patience)) == wanted


def test_a_report_without_a_verdict_keeps_the_count() -> None:
    """As one in which the scalar is undefined, or one of another stage."""
    alert = Alert("gap_behavior", above=0.6, patience=2)
    thresholds = replace(OPEN, min_inputs=1, alerts=[alert])
    high = with_value(report_of(), 0.7)
    unseen, other = replace(high, num_inputs=0), replace(with_value(high, 0.1), stage="train")
    counter, acting = AlertCounter(thresholds), []
    for step, report in enumerate([high, unseen, with_value(high, NAN), other, high, high]):
        acting += counter.observe(alert_values(judged(report, thresholds), thresholds), step)
    assert acting == [Breach(alert, 4, 0.7)]


def test_every_alert_has_its_own_count() -> None:
    """Also two that are equal."""
    alerts = [Alert("gap_behavior", above=0.6), Alert("gap_behavior", above=0.6, patience=2), Alert("gap_behavior", above=0.6)]
    counter = AlertCounter(Thresholds(alerts=alerts))
    assert [breach.alert for breach in counter.observe([0.7] * 3, 0)] == [alerts[0], alerts[2]]
    assert [breach.alert for breach in counter.observe([0.7] * 3, 1)] == [alerts[1]]
    assert counter.counts == [2, 2, 2]
    counter.restart()
    assert counter.counts == [0, 0, 0]


def test_counts_go_on_where_a_run_left_them() -> None:
    """Each with its alert: one that is new or has changed begins anew, wherever it stands."""
    patient, other = Alert("gap_behavior", above=0.6, patience=3), Alert("reliability", below=np.float32(0.25))  # type: ignore[arg-type]
    before = AlertCounter(Thresholds(alerts=[patient, other, patient]))
    before.counts = [2, 5, 1]
    state = before.state()
    after = AlertCounter(Thresholds(alerts=[replace(patient, patience=2), patient, patient, patient, other]))
    after.restore(state)
    assert after.counts == [0, 2, 1, 0, 5]
    assert AlertCounter(Thresholds()).state() == []


def test_counts_are_builtins() -> None:
    """Whatever numbers the bounds were given as: a checkpoint is loaded with `weights_only`."""
    alert = Alert("reliability", below=np.float32(0.25), patience=np.int64(2))  # type: ignore[arg-type]
    (state,) = AlertCounter(Thresholds(alerts=[alert])).state()
    assert state == {
        "scalar": "reliability",
        "stage": "val",
        "above": None,
        "below": 0.25,
        "patience": 2,
        "action": "warn",
        "count": 0,
    }
    assert {type(value) for value in state.values()} == {str, type(None), float, int}


@pytest.mark.parametrize(
    ("alert", "value", "text"),
    [
        (Alert("gap_behavior", above=0.6), 0.71234, "gap_behavior is 0.7123, above 0.6 (warn)"),
        (Alert("reliability", below=0.5, action="raise"), 0.25, "reliability is 0.25, below 0.5 (raise)"),
        (
            Alert("overlap_mean", above=0.5, below=1e-4, patience=3, action="stop"),
            3.21e-5,
            "overlap_mean is 3.21e-05, below 0.0001, for 3 reports in a row (stop)",
        ),
        (Alert("overlap_mean", above=0.5, below=0.1), 0.9, "overlap_mean is 0.9, above 0.5 (warn)"),
    ],
)
def test_a_breach_in_words(alert: Alert, value: float, text: str) -> None:
    assert in_words(Breach(alert, 3, value)) == text
