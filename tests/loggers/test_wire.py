"""The wire format: what is packed is unpacked, to the last level of a uint16, and what is broken is said to be."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import MAX_BYTES, UNKNOWN, Step, pack, unpack
from tests.tensorboard_plugin.events import HOSTILE, LOW, reports

FINITE = st.floats(-1e6, 1e6, width=32)


def step(num_labels: int = 12, **settings: Any) -> Step:
    (report,) = reports(num_labels, 1, **settings)
    return step_of(report, LOW, index=3, time=1.5)


def same_header(one: Step, other: Step) -> bool:
    arrays = {"row", "column", "values", "flag", "reach", "scalars"}
    return all(_plain(getattr(one, name)) == _plain(getattr(other, name)) for name in {*Step.__dataclass_fields__} - arrays)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("num_labels", [1, 2, 12, 160, 161, 300])
def test_a_step_comes_back(num_labels: int) -> None:
    """Also without a pair, and with pairs that were chosen."""
    sent = step(num_labels)
    got = unpack(pack(sent))
    assert same_header(sent, got)
    np.testing.assert_equal(dict(got.scalars), dict(sent.scalars))
    np.testing.assert_array_equal(np.stack([got.row, got.column, got.flag]), np.stack([sent.row, sent.column, sent.flag]))
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


@pytest.mark.parametrize("num_labels", [10, 160, 161, 512])
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
    assert read["version"] == 1
    assert read["scalars"]["gap_behavior"] is None


def apart(blob: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(blob[:4], "little")
    return blob[4 : 4 + length], blob[4 + length :]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda blob: b"", "Expecting value"),
        (lambda blob: blob.replace(b'"version":1', b'"version":2'), "at most 1, got 2. Upgrade lightning-cossim"),
        (lambda blob: blob[:-1], "bytes for each pair"),
        (lambda blob: blob[:-13], "to hold 66 pairs of 12 labels, got 65"),
        (lambda blob: blob[:-1000], "Expecting ',' delimiter"),
    ],
    ids=["empty", "later version", "cut off", "a pair less", "cut off in the header"],
)
def test_what_is_broken_is_a_value_error(change: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpack(change(pack(step(12))))
