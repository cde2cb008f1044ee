"""Requests to the tab's server that are wrong or made to harm, over steps of which some are damaged."""

import json
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

import pytest
from tensorboard.errors import NotFoundError
from werkzeug.test import Client

from lightning_cossim.tensorboard_plugin.plugin import Plugin
from tests.fuzz.blobs import good_blobs
from tests.fuzz.mutations import bad_bytes, bad_name, bad_number

RUN, TAG = "run", "cossim_val"
METHODS: Final = ("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW")


class Damaged:
    """A data provider with readable and damaged steps, odd numbers, and steps that are gone."""

    def __init__(self, draw: Random) -> None:
        good = good_blobs()
        self.blobs = {f"{at}": good[0] if at % 3 else bad_bytes(draw, draw.choice(good)) for at in range(12)}
        times = (1.0, float("nan"), float("inf"), -1.0)
        numbers = (*range(0, 100, 10), -1, 2**62)
        self.steps = [
            SimpleNamespace(step=number, wall_time=times[at % 4], values=[SimpleNamespace(blob_key=f"{at}")])
            for at, number in enumerate(numbers)
        ]
        self.steps += [
            SimpleNamespace(step=500, wall_time=1.0, values=[]),
            SimpleNamespace(step=510, wall_time=1.0, values=[_GONE]),
        ]

    def read_blob_sequences(self, context: Any, *, run_tag_filter: Any, **_: Any) -> Any:
        runs, tags = run_tag_filter.runs, run_tag_filter.tags
        return {RUN: {TAG: self.steps}} if RUN in (runs or [RUN]) and TAG in (tags or [TAG]) else {}

    def read_blob(self, context: Any, blob_key: str) -> bytes:
        if blob_key not in self.blobs:
            raise NotFoundError(blob_key)
        return self.blobs[blob_key]


_GONE: Final = SimpleNamespace(blob_key="gone")


def value(draw: Random, right: str) -> str:
    """A parameter: the right one, or another."""
    return draw.choice((right, right, right, bad_name(draw, long=5_000), bad_number(draw)))


def query(draw: Random) -> str:
    """The query of an address."""
    numbers = ",".join(f"{draw.choice((0, 1, 2, 10**9 - 1))}-{draw.choice((1, 3, 9))}" for _ in range(draw.choice((0, 1, 33))))
    right = {"run": RUN, "tag": TAG, "step": draw.choice(("0", "10", "30", "500", "510")), "pairs": numbers}
    parts = [f"{name}={quote(value(draw, one), errors='replace')}" for name, one in right.items() if draw.random() < 0.9]
    if draw.random() < 0.1:
        parts.append(draw.choice(("%", "%ff=%ff", "run=%ed%a0%80", "=", "&&", "step=%00", "a" * 50_000, "run=" * 1_000)))
    return "&".join(parts)


def try_requests(first: int, number: int) -> None:
    """Every answer has one of four statuses, and an answer that refuses is one line."""
    draw = Random(f"requests {first}")  # noqa: S311 - repeatable
    for at in range(number):
        if at % 100 == 0:
            apps = Plugin(SimpleNamespace(data_provider=Damaged(draw))).get_plugin_apps()
        route, method, text = draw.choice(["/runs", "/step", "/evidence", "/pairs", "/pairs"]), draw.choice(METHODS), query(draw)
        answer = Client(apps[route]).open(f"/?{text}", method=method)
        said = f"{method} {route}?{text[:300]}: {answer.status_code} {answer.data[:200]!r}"
        assert answer.status_code in {200, 400, 404, 405}, said
        assert (answer.status_code == 405) == (method not in {"GET", "HEAD"}), said
        if answer.status_code != 200:
            assert b"\n" not in answer.data, said
            assert len(answer.data) < 30_000, said
        elif route in {"/runs", "/pairs"} and method == "GET":
            found = json.loads(answer.data, parse_constant=pytest.fail)
            assert route != "/pairs" or len(found["steps"]) + found["unreadable"] == 14, said


def test_wrong_requests() -> None:
    try_requests(0, 400)


@pytest.mark.full
def test_many_wrong_requests() -> None:
    try_requests(1, 3_000)


def test_steps_that_no_run_can_have_are_left_out_and_counted() -> None:
    apps = Plugin(SimpleNamespace(data_provider=Damaged(Random(0)))).get_plugin_apps()  # noqa: S311
    (run,) = json.loads(Client(apps["/runs"]).get("/").text)["runs"]
    (tag,) = run["tags"]
    assert [step for step, _ in tag["steps"]] == [0, 30, 40, 70, 80, 510]
    assert tag["odd"] == 8
