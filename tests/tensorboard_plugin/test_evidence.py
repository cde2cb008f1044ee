"""The evidence of a step is its second blob: written beside the first, served by a route of its own, missing in other steps."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.errors import NotFoundError
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter
from werkzeug.test import Client

from lightning_cossim.loggers.evidence_wire import unpack_evidence
from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.loggers.tab import evidence_blob
from lightning_cossim.loggers.wire import MAX_BYTES, unpack
from lightning_cossim.report import GapReport
from lightning_cossim.report.evidence import PairEvidence, PairsWithEvidence
from lightning_cossim.tensorboard_plugin import steps
from lightning_cossim.tensorboard_plugin.plugin import Plugin
from tests.loggers.evidence import example, noise, pair, smooth
from tests.tensorboard_plugin.conftest import RUN
from tests.tensorboard_plugin.events import CLOTHES, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard
from tests.toys import altered

TAG = "cossim_val"
HOSTILE = "<script>alert(1)</script>\n\x1b[31m \ud800"


def of_step(number: int) -> list[PairEvidence]:
    """As many pairs as there is room for, other ones in each step."""
    inputs = [example(row, noise(100 * number + row), text=None) for row in range(8)]
    texts = [example(row, text=HOSTILE, probabilities=(float("nan"), 0.5)) for row in range(3)]
    return [pair(0, other, examples={"overlap": (*inputs, *texts), "suspect_label": ()}) for other in range(1, 9)]


def illustrated(num_steps: int = 3) -> list[GapReport]:
    """Reports of which every second one has evidence, the first one too."""
    made = reports(10, num_steps, names=CLOTHES)
    return [altered(one, evidence=PairsWithEvidence(of_step(at))) if at % 2 == 0 else one for at, one in enumerate(made)]


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast reader", "slow reader"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run with evidence in some steps, and one as it was written before there was evidence."""
    folder = tmp_path_factory.mktemp("illustrated")
    write(folder / RUN, illustrated())
    write(folder / "old", reports(10, 3, names=CLOTHES))
    with tensorboard(folder, f"--load_fast={request.param}") as found:
        found.wait_for(2, 3)
        yield found


def test_the_evidence_of_a_step_is_served_as_it_was_packed(shown: Served) -> None:
    for report in illustrated()[::2]:
        status, content = shown.get("evidence", run=RUN, tag=TAG, step=report.step)
        assert (status, content) == (200, evidence_blob(report))
        got = unpack_evidence(content)
        assert got.num_pairs == 8
        assert got.pictures
        assert got.pairs[0].examples["overlap"][8].text == HOSTILE.replace("\ud800", "?")


def test_the_step_itself_stays_the_first_blob(shown: Served) -> None:
    """With evidence and without; the history of a pair has all steps."""
    for run in (RUN, "old"):
        for step in (10, 20, 30):
            status, content = shown.get("step", run=run, tag=TAG, step=step)
            assert (status, unpack(content).step) == (200, step)
        status, content = shown.get("pairs", run=run, tag=TAG, pairs="0-1")
        assert (status, b'"steps":[10,20,30]' in content.replace(b" ", b"")) == (200, True)


def test_the_list_of_runs_names_the_steps_with_evidence(shown: Served) -> None:
    runs = {one["run"]: one["tags"][0]["evidence"] for one in json.loads(shown.get("runs")[1])["runs"]}
    assert runs == {RUN: [10, 30], "old": []}


@pytest.mark.parametrize(
    ("parameters", "status", "said"),
    [
        ({"run": RUN, "tag": TAG, "step": 20}, 404, f"Step 20 of cossim_val in the run {RUN} has no evidence."),
        ({"run": "old", "tag": TAG, "step": 10}, 404, "Step 10 of cossim_val in the run old has no evidence."),
        ({"run": "old", "tag": TAG, "step": 11}, 404, "Step 11 of cossim_val does not exist in the run old."),
        ({"run": "../x", "tag": "<i>", "step": 10}, 404, "Step 10 of <i> does not exist in the run ../x."),
        ({"tag": TAG, "step": 10}, 400, "Expected the parameter `run` in the address, got none."),
        ({"run": RUN, "step": 10}, 400, "Expected the parameter `tag`"),
        ({"run": RUN, "tag": TAG}, 400, "Expected the parameter `step`"),
        ({"run": RUN, "tag": TAG, "step": "1e1"}, 400, "Expected `step` to be a whole number, got '1e1'."),
    ],
)
def test_a_step_without_evidence_is_not_found(shown: Served, parameters: dict[str, Any], status: int, said: str) -> None:
    """In one line of plain text."""
    got, content = shown.get("evidence", **parameters)
    assert got == status
    assert said in content.decode()
    assert "\n" not in content.decode()


class Provider:
    """A data provider with one run of some steps, which counts how often a blob is read."""

    def __init__(self, *blobs: tuple[bytes, ...], error: Exception | None = None) -> None:
        self.error, self.read = error, list[str]()
        self.blobs = {f"{step}/{place}": blob for step, some in enumerate(blobs) for place, blob in enumerate(some)}
        self.data = [
            SimpleNamespace(
                step=step, wall_time=1.0, values=[SimpleNamespace(blob_key=f"{step}/{place}") for place in range(len(some))]
            )
            for step, some in enumerate(blobs)
        ]

    def read_blob_sequences(self, context: Any, **_: Any) -> Any:
        return {"run": {TAG: self.data}}

    def read_blob(self, context: Any, blob_key: str) -> bytes:
        self.read.append(blob_key)
        if self.error is not None:
            raise self.error
        return self.blobs[blob_key]

    def client(self, route: str) -> Client:
        return Client(Plugin(SimpleNamespace(data_provider=self)).get_plugin_apps()[route])


def test_evidence_is_read_once_and_only_if_asked_for() -> None:
    """Histories read the steps alone, and every blob is cached under its own key."""
    provider = Provider((b"step 0", b"evidence 0"), (b"step 1",), (b"step 2", b""))
    apps = Plugin(SimpleNamespace(data_provider=provider)).get_plugin_apps()
    Client(apps["/pairs"]).get(f"?run=run&tag={TAG}&pairs=0-1")
    assert sorted(provider.read) == ["0/0", "1/0", "2/0"]
    for _ in range(3):
        assert Client(apps["/evidence"]).get(f"?run=run&tag={TAG}&step=0").data == b"evidence 0"
        assert Client(apps["/step"]).get(f"?run=run&tag={TAG}&step=0").data == b"step 0"
        assert [Client(apps["/evidence"]).get(f"?run=run&tag={TAG}&step={step}").status_code for step in (1, 2)] == [404, 404]
    assert sorted(provider.read) == ["0/0", "0/1", "1/0", "2/0", "2/1"]


def test_the_cache_is_bounded_with_evidence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 25 bytes there is room for two blobs of 10 bytes: the two that were asked for last."""
    monkeypatch.setattr(steps, "_MAX_BYTES", 25)
    provider = Provider((b"0" * 10, b"1" * 10), (b"2" * 10, b"3" * 10))
    apps = Plugin(SimpleNamespace(data_provider=provider)).get_plugin_apps()
    for route, step in (("step", 0), ("evidence", 0), ("evidence", 1), ("evidence", 0), ("step", 0)):
        Client(apps[f"/{route}"]).get(f"?run=run&tag={TAG}&step={step}")
    assert provider.read == ["0/0", "0/1", "1/1", "0/0"]


@pytest.mark.parametrize("error", [KeyError("gone"), NotFoundError("no such step")])
def test_evidence_of_a_step_that_has_gone_is_not_found(error: Exception) -> None:
    answer = Provider((b"step", b"evidence"), error=error).client("/evidence").get(f"?run=run&tag={TAG}&step=0")
    assert (answer.status_code, answer.text) == (404, f"Step 0 of {TAG} does not exist in the run run.")


def test_evidence_is_bytes_and_nothing_that_a_browser_would_run() -> None:
    """Whatever is in it."""
    answer = Provider((b"step", b"<script>alert(1)</script>")).client("/evidence").get(f"?run=run&tag={TAG}&step=0")
    assert answer.headers["Content-Type"].startswith("application/octet-stream")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Writing


def written(folder: Path, report: GapReport, **settings: Any) -> list[bytes]:
    """The blobs that a recorder writes for a report."""
    writer = SummaryWriter(str(folder))
    logger: Any = SimpleNamespace(experiment=writer)
    assert Recorder(None, LabelOrder(), **settings).record(report, logger)
    writer.close()
    found = EventAccumulator(str(folder), {"tensors": 0})
    found.Reload()
    (event,) = found.Tensors(TAG)
    blobs: Any = tensor_util.make_ndarray(event.tensor_proto)
    assert blobs.ndim == 1, "other ranks vanish without a word"
    return [bytes(blob) for blob in blobs]


@pytest.mark.parametrize(("evidence", "num_blobs", "has_views"), [(True, 2, True), ("references", 2, False), (False, 1, False)])
def test_the_setting_decides_what_is_written(
    tmp_path: Path, evidence: Literal["references"] | bool, num_blobs: int, *, has_views: bool
) -> None:
    report = altered(reports(10, 1)[0], evidence=PairsWithEvidence([pair(examples={"overlap": (example(0, smooth(0)),)})]))
    blobs = written(tmp_path, report, evidence=evidence)
    assert len(blobs) == num_blobs
    assert unpack(blobs[0]).step == 10
    for blob in blobs[1:]:
        assert len(unpack_evidence(blob).pairs) == 1
        assert bool(unpack_evidence(blob).pictures) is has_views


@pytest.mark.parametrize("evidence", [None, PairsWithEvidence([])], ids=["none was kept", "no pair has any"])
def test_a_report_without_evidence_is_a_step_of_one_blob(tmp_path: Path, evidence: Any) -> None:
    """As before there was evidence."""
    assert len(written(tmp_path, altered(reports(10, 1)[0], evidence=evidence))) == 1


def test_both_blobs_stay_small(tmp_path: Path) -> None:
    """Each has its own bound, so that evidence takes nothing away from the step."""
    step, evidence = written(tmp_path, altered(reports(140, 1)[0], evidence=PairsWithEvidence(of_step(0))))
    assert max(len(step), len(evidence)) <= MAX_BYTES
    (bare,) = written(tmp_path / "bare", reports(140, 1)[0])
    assert unpack(step).values.keys() == unpack(bare).values.keys()
    assert len(step) == pytest.approx(len(bare), abs=20), "the time of writing has more or fewer digits"
