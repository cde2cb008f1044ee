"""Alerts: what they see of one report, counting breaches in a row, of every window by itself, and saying what acts."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.report import GapReport, Statistics, Verdict, WindowKey
from lightning_cossim.report.alerts import AlertBook, AlertCounter, Breach, alert_values, evaluate, in_words
from lightning_cossim.report.verdicts import judge
from tests.report.test_verdicts import OPEN, report_of, with_value
from tests.toys import altered

NAN = math.nan


def acts(values: Sequence[float], alert: Alert) -> list[int]:
    """The steps at which an alert acts, in a series of values."""
    counter = AlertCounter(Thresholds(alerts=[alert]))
    return [breach.step for step, value in enumerate(values) for breach in counter.observe([value], step)]


# One report


@pytest.mark.parametrize(
    ("alert", "value", "breached"),
    [
        (Alert("gap_behavior", above=0.6), 0.61, True),
        (Alert("gap_behavior", above=0.6), 0.6, False),
        (Alert("gap_behavior", below=0.2), 0.19, True),
        (Alert("gap_behavior", below=0.2), 0.2, False),
        (Alert("gap_behavior", below=0.2, above=0.6), 0.4, False),
        (Alert("gap_behavior", below=0.2, above=0.6), 0.7, True),
        (Alert("gap_behavior", below=0.2, above=0.6), 0.1, True),
        (Alert("gap_behavior", above=0.6), math.nan, False),
    ],
)
def test_a_breach_is_outside_the_bounds(alert: Alert, value: float, *, breached: bool) -> None:
    report = with_value(report_of(), value, step=3)
    wanted = [Breach(alert, 3, value)] if breached else []
    assert evaluate(report, replace(OPEN, alerts=[alert])) == wanted


def test_one_report_is_no_series() -> None:
    """Whatever the patience of an alert, a check of one report speaks of that report alone."""
    alert = Alert("gap_behavior", above=0.6, patience=3)
    (breach,) = evaluate(with_value(report_of(), 0.7), replace(OPEN, alerts=[alert]))
    assert breach.in_a_row == 1
    assert in_words(breach) == "gap_behavior is 0.7, above 0.6 (warn)"


def test_an_alert_looks_at_its_own_stage() -> None:
    alerts = [Alert("gap_behavior", stage, above=-9) for stage in ("train", "val", "test")]
    thresholds = replace(OPEN, alerts=alerts)
    for stage in ("train", "val", "test"):
        (breach,) = evaluate(altered(report_of(), stage=stage), thresholds)
        assert breach.alert.stage == stage
    assert len(evaluate(altered(report_of(), stage=""), thresholds)) == 3


def test_shares_can_be_watched() -> None:
    thresholds = replace(OPEN, alerts=[Alert("share_strangers", above=0)])
    (breach,) = evaluate(report_of(), thresholds)
    assert breach.value == report_of().judged(OPEN).scalars["share_strangers"]


def seen(report: GapReport) -> list[float]:
    """What each alert of the thresholds that a report was judged by sees of it."""
    return alert_values(report.scalars, report.verdict, report.stage)


def test_an_alert_sees_its_scalar_at_its_stage() -> None:
    """NaN at another one, and where the scalar is undefined or not there; without a stage, every alert sees its own."""
    alerts = [
        Alert("gap_behavior", above=1),
        Alert("gap_behavior", "train", above=1),
        Alert("share_strangers", above=1),
        Alert("overlap_mean", above=1),
    ]
    report = with_value(report_of(), 0.25).judged(replace(OPEN, alerts=alerts))
    share, mean = report.verdict.shares["share_strangers"], report.scalars["overlap_mean"]
    np.testing.assert_equal(seen(report), [0.25, NAN, share, mean])
    np.testing.assert_equal(seen(altered(report, stage="train")), [NAN, 0.25, NAN, NAN])
    np.testing.assert_equal(seen(altered(report, stage="")), [0.25, 0.25, share, mean])
    np.testing.assert_equal(seen(with_value(report, NAN)), [NAN, NAN, share, mean])
    np.testing.assert_equal(alert_values({}, report.verdict, "val"), [NAN] * 4)


@pytest.mark.parametrize("thresholds", [Thresholds(min_inputs=401), replace(OPEN, min_reliability=1)])
def test_without_a_verdict_no_alert_sees_anything(thresholds: Thresholds) -> None:
    """For want of inputs, or of reliability."""
    alerts = [Alert("gap_behavior", above=-9), Alert("overlap_mean", above=-9)]
    report = report_of().judged(replace(thresholds, alerts=alerts))
    assert report.verdict.why_none is not None
    np.testing.assert_equal(seen(report), [NAN, NAN])


def test_a_report_that_was_not_judged_has_no_alerts() -> None:
    assert seen(report_of()) == alert_values({"gap_behavior": 1.0}, Verdict(), "val") == []


def test_a_report_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged by equal thresholds is not judged again; by others it is, and gives what a report judged by them does."""
    judged_by: list[Thresholds] = []

    def counted(statistics: Statistics, thresholds: Thresholds, name_of: Callable[[int], str]) -> Verdict:
        judged_by.append(thresholds)
        return judge(statistics, thresholds, name_of)

    thresholds = replace(OPEN, alerts=[Alert("share_strangers", above=0), Alert("gap_behavior", above=-9)])
    judged, otherwise = report_of().judged(thresholds), report_of().judged(replace(thresholds, stranger=0.2))
    monkeypatch.setattr("lightning_cossim.report.alerts.judge", counted)
    breaches = evaluate(judged, replace(thresholds, alerts=list(thresholds.alerts)))
    assert [breach.value for breach in breaches] == [judged.scalars["share_strangers"], judged.scalars["gap_behavior"]]
    assert judged_by == []
    assert evaluate(otherwise, thresholds) == evaluate(report_of(), thresholds) == breaches
    assert judged_by == [thresholds, thresholds]


# Reports in a row


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
    unseen, other = altered(high, num_inputs=0), altered(with_value(high, 0.1), stage="train")
    counter, acting = AlertCounter(thresholds), []
    for step, report in enumerate([high, unseen, with_value(high, NAN), other, high, high]):
        acting += counter.observe(seen(report.judged(thresholds)), step)
    assert acting == [Breach(alert, 4, 0.7, in_a_row=2)]


def test_every_alert_has_its_own_count() -> None:
    """Also two that are equal."""
    alerts = [Alert("gap_behavior", above=0.6), Alert("gap_behavior", above=0.6, patience=2), Alert("gap_behavior", above=0.6)]
    counter = AlertCounter(Thresholds(alerts=alerts))
    assert [breach.alert for breach in counter.observe([0.7] * 3, 0)] == [alerts[0], alerts[2]]
    assert [breach.alert for breach in counter.observe([0.7] * 3, 1)] == [alerts[1]]
    assert counter.counts == [2, 2, 2]


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


# The windows of a fit

VAL, TRAIN, SECOND = WindowKey("val"), WindowKey("train"), WindowKey("val", 1)


def test_every_window_is_counted_by_itself() -> None:
    """What one breaches is neither a breach nor a recovery of another."""
    alert = Alert("gap_behavior", above=0.6, patience=2)
    book = AlertBook(Thresholds(alerts=[alert]))
    series = [(VAL, 0.7), (SECOND, 0.7), (TRAIN, 0.5), (VAL, 0.8), (SECOND, 0.5), (SECOND, 0.7), (SECOND, 0.9)]
    acting = [
        (window, breach)
        for step, (window, value) in enumerate(series)
        for breach in book.observe(window, [value], step, counts=True)
    ]
    assert acting == [(VAL, Breach(alert, 3, 0.8, in_a_row=2)), (SECOND, Breach(alert, 6, 0.9, in_a_row=2))]


def test_a_run_of_its_own_is_no_part_of_what_a_fit_counts() -> None:
    """It acts on what it breaches itself, whatever came before, and leaves no trace."""
    hasty, patient = Alert("gap_behavior", above=0.6), Alert("gap_behavior", above=0.6, patience=2)
    book = AlertBook(Thresholds(alerts=[hasty, patient]))
    book.observe(VAL, [0.7, 0.7], 0, counts=True)
    assert book.observe(VAL, [0.8, 0.8], 1, counts=False) == [Breach(hasty, 1, 0.8)]
    assert book.observe(VAL, [0.9, 0.9], 2, counts=True) == [Breach(patient, 2, 0.9, in_a_row=2)]


def test_another_fit_counts_anew() -> None:
    book = AlertBook(Thresholds(alerts=[Alert("gap_behavior", above=0.6, patience=2)]))
    book.observe(VAL, [0.7], 0, counts=True)
    book.start_fit()
    assert book.state_dict() == []
    assert book.observe(VAL, [0.7], 0, counts=True) == []


def test_a_book_goes_on_where_a_run_left_it() -> None:
    """In builtins, every window with its own counts."""
    thresholds = Thresholds(alerts=[Alert("gap_behavior", above=0.6, patience=3)])
    before, after = AlertBook(thresholds), AlertBook(thresholds)
    for window, times in ((VAL, 2), (SECOND, 1)):
        for step in range(times):
            before.observe(window, [0.7], step, counts=True)
    state = before.state_dict()
    assert [(one["stage"], one["dataloader_idx"], one["counts"][0]["count"]) for one in state] == [
        ("val", None, 2),
        ("val", 1, 1),
    ]
    assert json.loads(json.dumps(state)) == state
    after.load_state_dict(state)
    assert after.state_dict() == state
    assert len(after.observe(VAL, [0.7], 9, counts=True)) == 1
    assert after.observe(SECOND, [0.7], 9, counts=True) == []


# In words


@pytest.mark.parametrize(
    ("alert", "value", "in_a_row", "text"),
    [
        (Alert("gap_behavior", above=0.6), 0.71234, 1, "gap_behavior is 0.7123, above 0.6 (warn)"),
        (Alert("reliability", below=0.5, action="raise"), 0.25, 1, "reliability is 0.25, below 0.5 (raise)"),
        (
            Alert("overlap_mean", above=0.5, below=1e-4, patience=3, action="stop"),
            3.21e-5,
            3,
            "overlap_mean is 3.21e-05, below 0.0001, for 3 reports in a row (stop)",
        ),
        (
            Alert("rank_agreement_centered_cosine", below=0.2, patience=3),
            0.12,
            1,
            "rank_agreement_centered_cosine is 0.12, below 0.2 (warn)",
        ),
        (Alert("overlap_mean", above=0.5, below=0.1), 0.9, 1, "overlap_mean is 0.9, above 0.5 (warn)"),
    ],
)
def test_a_breach_in_words(alert: Alert, value: float, in_a_row: int, text: str) -> None:
    """As many reports in a row as were seen, not as many as the alert waits for."""
    assert in_words(Breach(alert, 3, value, in_a_row)) == text
