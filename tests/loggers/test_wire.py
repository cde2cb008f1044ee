"""The wire format: what is packed is unpacked, to the last level of a uint16, and what is broken is said to be."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import MAX_BYTES, UNKNOWN, VERSION, Step, pack, unpack
from tests.tensorboard_plugin.events import HOSTILE, reports
from tests.tensorboard_plugin.steps import NEW, as_version_2

FINITE = st.floats(-1e6, 1e6, width=32)


def step(num_labels: int = 12, **settings: Any) -> Step:
    (report,) = reports(num_labels, 1, **settings)
    return step_of(report, index=3, time=1.5)


def same_header(one: Step, other: Step) -> bool:
    others = {"row", "column", "values", "flag", "why", "reach", "targets", "scalars", "quantities"}
    return all(_plain(getattr(one, name)) == _plain(getattr(other, name)) for name in {*Step.__dataclass_fields__} - others)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("num_labels", [1, 2, 12, 140, 141, 300])
def test_a_step_comes_back(num_labels: int) -> None:
    """Also without a pair, and with pairs that were chosen."""
    sent = step(num_labels)
    got = unpack(pack(sent))
    assert same_header(sent, got)
    assert got.quantities == sent.quantities
    np.testing.assert_equal(dict(got.scalars), dict(sent.scalars))
    for name in ("row", "column", "flag", "why"):
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
    for name, values in sent.values.items():
        known = values[np.isfinite(values)]
        level = (known.max() - known.min()) / (UNKNOWN - 1) if len(known) else 0
        np.testing.assert_allclose(got.values[name], values, rtol=1e-6, atol=0.51 * level + 1e-9)


@given(st.lists(st.one_of(FINITE, st.just(float("nan"))), min_size=3, max_size=3))
def test_values_come_back_to_half_a_level(values: list[float]) -> None:
    """Whatever they are: equal ones, one alone, none at all."""
    sent = step(3)
    array = np.array(values)
    got = unpack(pack(_with(sent, overlap=array))).values["overlap"]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(array))
    known = array[~np.isnan(array)]
    if len(known):
        spread = known.max() - known.min()
        assert np.abs(got[~np.isnan(array)] - known).max() <= 0.5 * spread / (UNKNOWN - 1) + 1e-6 * np.abs(known).max()


def _with(sent: Step, **values: Any) -> Step:
    return Step(**{**{name: getattr(sent, name) for name in Step.__dataclass_fields__}, "values": {**sent.values, **values}})


@pytest.mark.parametrize("num_labels", [10, 140, 141, 512])
def test_a_step_is_small(num_labels: int) -> None:
    names = [f"a name that is as long as names of labels are, number {label}" for label in range(num_labels)]
    assert len(pack(step(num_labels, names=names))) < MAX_BYTES


def test_reach_goes_along_if_it_was_asked_for() -> None:
    sent = step(12)
    asked = dataclasses.replace(sent, reach=np.arange(66, dtype=np.uint8) % 4)
    np.testing.assert_array_equal(unpack(pack(asked)).reach, asked.reach)
    np.testing.assert_array_equal(unpack(pack(asked)).flag, sent.flag)
    assert not unpack(pack(sent)).reach.any()
    assert len(pack(asked)) < len(pack(sent)) + 66 + 40


@given(st.lists(st.integers(0, UNKNOWN - 1), min_size=3, max_size=3))
def test_counts_come_back_exactly(counts: list[int]) -> None:
    """Up to the largest uint16 that stands for a number."""
    sent = step(3)
    got = unpack(pack(_with(sent, joint_inputs=np.array(counts)))).values["joint_inputs"]
    assert got.tolist() == counts


def test_large_counts_come_back_as_whole_numbers() -> None:
    """200 000 is more than three times 65 534, so every level is four inputs."""
    got = unpack(pack(_with(step(3), joint_inputs=np.array([0, 101, 200_000])))).values["joint_inputs"]
    assert got.tolist() == [0, 100, 200_000]


def test_every_pair_that_is_not_flagged_has_its_reason() -> None:
    """One byte a pair for both: flags and reasons go along in one column."""
    (report,) = reports(12, 1)
    sent = step_of(report, index=1, time=0.0)
    got = unpack(pack(sent))
    assert got.flag.any()
    assert len({*got.why.tolist()}) > 1
    for place in range(66):
        assert (got.reasons[got.why[place]] or None) == report.verdict.why_unflagged(place)
        assert (got.why[place] == 0) == (got.flag[place] > 0)
    nothing = dataclasses.replace(sent, flag=np.zeros_like(sent.flag), why=np.zeros_like(sent.why))
    assert len(pack(sent)) == len(pack(nothing))


TARGETS = {
    "errors": np.array([12, 0, 3]),
    "errors_back": np.array([3, 0, 60_000]),
    "mass_label": np.array([0.5, np.nan, 1]),
    "mass_other": np.array([0.25, np.nan, 0]),
    "mass_neither": np.array([0.25, np.nan, 0]),
}


def test_what_targets_tell_goes_along() -> None:
    """Beside the other numbers of a pair, among which it is not counted."""
    sent = dataclasses.replace(step(3), targets=TARGETS)
    got = unpack(pack(sent))
    assert [*got.targets] == [*TARGETS]
    for name, wanted in TARGETS.items():
        np.testing.assert_allclose(got.targets[name], wanted, rtol=0, atol=1e-5)
    assert [*got.values] == [*sent.values]
    assert list(got.similarities) == ["raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance"]


@pytest.mark.parametrize(("num_labels", "has_room"), [(100, True), (140, False)])
def test_targets_go_along_where_there_is_room(num_labels: int, has_room: bool) -> None:
    """Ten bytes a pair: 140 labels would have 97 kB more."""
    sent = step(num_labels)
    targets = dict.fromkeys(TARGETS, np.zeros(len(sent.row)))
    blob = pack(dataclasses.replace(sent, targets=targets))
    assert len(blob) < MAX_BYTES
    assert (unpack(blob).targets != {}) is has_room
    assert has_room or blob == pack(sent)


def test_names_go_as_they_are() -> None:
    """On one line, without what would steer a terminal, and no longer than they can be shown."""
    got = unpack(pack(step(10, names=HOSTILE)))
    assert got.names[0] == HOSTILE[0]
    assert got.names[4] == "a,b;\"c' d"
    assert got.names[8] == "[31mred"
    assert all(len(name) <= 48 for name in unpack(pack(step(3, names=["x" * 500] * 3))).names)


def test_the_header_is_json_without_nan() -> None:
    header, _ = apart(pack(step(3)))  # too few pairs for any statistic
    read = json.loads(header, parse_constant=pytest.fail)
    assert read["version"] == VERSION == 3
    assert read["scalars"]["gap_behavior"] is None
    bounds = {one["key"]: (one["low"], one["high"]) for one in read["quantities"]}
    assert bounds["raw_cosine"] == (-1, 1)
    assert bounds["log_odds_variance"] == (0, None)


def apart(blob: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(blob[:4], "little")
    return blob[4 : 4 + length], blob[4 + length :]


FIRST_HEADER = (
    '{"version":1,"stage":"val","step":10,"index":1,"time":1.5,"link":"softmax","cosine":"centered_cosine","num_labels":3,'
    '"num_inputs":400,"num_pairs":3,"chosen":"","overlap_error":0.125,"verdict":"","thresholds":{"stranger":0.1},'
    '"scalars":{"gap_translation":null,"overlap_mean":0.5},"undefined":{"gap_translation":"too few"},"remarks":["tied"],'
    '"names":["cat","dög","eel"],"labels":[4,0,2],"mean_probs":[0.5,0.25,0.25],"order":[0,2,1],'
    '"blocks":[{"name":"centered_cosine","type":"uint16","low":-0.5,"high":1.0},'
    '{"name":"overlap","type":"uint16","low":0.5,"high":0.5},{"name":"expected_overlap","type":"uint16","low":0.25,"high":0.75},'
    '{"name":"flag","type":"uint8"},{"name":"reach","type":"uint8"}]}'
)
FIRST_BODY = bytes.fromhex("0000ff7ffeff000000000000ffff0000feff010002020001")
"""A step as version 1 wrote it: the columns are called blocks, and nothing says what the numbers are called."""


def test_a_step_of_the_first_version_is_still_read() -> None:
    """It has no table of its numbers, its expected overlaps are the curve, its limits the thresholds; all else is there."""
    header = FIRST_HEADER.encode()
    got = unpack(len(header).to_bytes(4, "little") + header + FIRST_BODY)
    assert list(got.quantities) == []
    assert list(got.curve) == []
    assert (got.stage, got.step, got.index, got.time, got.link) == ("val", 10, 1, 1.5, "softmax")
    assert (got.num_labels, got.num_inputs, got.num_pairs) == (3, 400, 3)
    assert (got.names[1], list(got.labels), list(got.order), list(got.remarks)) == ("dög", [4, 0, 2], [0, 2, 1], ["tied"])
    assert (got.truncation, got.limits) == (0.125, {"strangers": 0.1})
    assert (list(got.reasons), dict(got.standard_errors), dict(got.targets)) == ([], {}, {})
    assert list(got.similarities) == ["centered_cosine"]
    assert got.why.tolist() == [0, 0, 0]
    assert (got.thresholds, got.undefined) == ({"stranger": 0.1}, {"gap_translation": "too few"})
    np.testing.assert_equal(dict(got.scalars), {"gap_translation": math.nan, "overlap_mean": 0.5})
    assert (got.row.tolist(), got.column.tolist()) == ([0, 0, 1], [1, 2, 2])
    assert (got.flag.tolist(), got.reach.tolist()) == ([1, 0, 2], [2, 0, 1])
    np.testing.assert_allclose(got.values["centered_cosine"], [-0.5, 0.25, 1], atol=1e-5)
    np.testing.assert_allclose(got.values["overlap"], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(got.values["expected_overlap"], [math.nan, 0.25, 0.75])


def test_a_step_of_the_second_version_is_still_read() -> None:
    """It lacks what came with the third, and its limits are the thresholds; everything else is there."""
    sent = dataclasses.replace(step(12), truncation=0.25)
    blob = as_version_2(pack(sent))
    old = json.loads(apart(blob)[0])
    assert old["overlap_error"] == 0.25
    assert not {"truncation", "limits", "reasons", "similarities", "targets"} & {*old}
    got = unpack(blob)
    lacks: dict[str, Any] = {"curve": [], "reasons": [], "standard_errors": {}, "limits": {"strangers": 0.03, "lookalikes": 0.03}}
    assert same_header(dataclasses.replace(sent, **lacks), got)
    assert [one["key"] for one in got.quantities] == [one["key"] for one in sent.quantities if one["key"] not in NEW]
    assert [*got.values] == [name for name in sent.values if name not in NEW]
    np.testing.assert_array_equal(got.flag, sent.flag)
    assert not got.why.any()


def test_a_step_of_the_second_version_without_a_verdict_has_no_limits() -> None:
    """As one of now."""
    (report,) = reports(3, 1)
    assert unpack(as_version_2(pack(step_of(report, index=1, time=0.0)))).limits == {}


def test_a_step_of_the_first_version_is_written_as_one_of_now() -> None:
    """What was read can be packed again, and says the same then."""
    header = FIRST_HEADER.encode()
    first = unpack(len(header).to_bytes(4, "little") + header + FIRST_BODY)
    blob = pack(first)
    again = json.loads(apart(blob)[0])
    assert again["version"] == VERSION
    assert [one["name"] for one in again["columns"]] == ["centered_cosine", "overlap", "expected_overlap", "flag", "reach"]
    assert "blocks" not in again
    assert same_header(first, unpack(blob))
    np.testing.assert_equal(dict(unpack(blob).values), dict(first.values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda blob: b"", "to start with the length of its header, got 0 bytes"),
        (lambda blob: blob.replace(b'"version":3', b'"version":4'), "at most 3, got 4. Upgrade lightning-cossim"),
        (lambda blob: blob[:-1], "bytes for each pair"),
        (lambda blob: blob[:-17], "to hold all pairs of 12 labels, got 65 pairs"),
        (lambda blob: blob[:-1264], "to start with the length of its header"),
    ],
    ids=["empty", "later version", "cut off", "a pair less", "cut off in the header"],
)
def test_what_is_broken_is_a_value_error(change: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpack(change(pack(step(12))))


def test_names_are_counted_before_pairs_are_made() -> None:
    """A header of 20 000 labels would need 200 million pairs; the body has those of 12."""
    num = 20_000
    blob = pack(step(12))
    start = 4 + int.from_bytes(blob[:4], "little")
    header = {**json.loads(blob[4:start]), "names": [""] * num, "labels": [*range(num)], "mean_probs": [0.0] * num}
    text = json.dumps(header).encode()
    with pytest.raises(ValueError, match="to hold all pairs of 20000 labels, got 66 pairs"):
        unpack(len(text).to_bytes(4, "little") + text + blob[start:])
