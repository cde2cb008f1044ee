"""What the plugin serves, asked of real TensorBoards with either reader over real event files."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard.errors import NotFoundError
from werkzeug.test import Client

from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import VERSION, pack, unpack
from lightning_cossim.tensorboard_plugin.history import history
from lightning_cossim.tensorboard_plugin.plugin import Plugin
from tests.tensorboard_plugin.conftest import RUN
from tests.tensorboard_plugin.events import CLOTHES, HOSTILE, reports, write
from tests.tensorboard_plugin.served import ROOT, Served, tensorboard

TAG = "cossim_val"
STATIC = ROOT / "lightning_cossim" / "tensorboard_plugin" / "static"


def test_every_run_stage_and_step_is_listed(served: Served) -> None:
    """All 200 steps of a run with TensorBoard's default flags."""
    runs = served.runs()
    assert runs["clothes"] == {TAG: list(range(10, 2010, 10))}
    assert runs[RUN] == {f"cossim_<i>aux</i>_{stage}": [10, 20, 30, 40, 50] for stage in ("train", "val")}
    assert runs["nested/many"] == {TAG: [10, 20, 30]}


def test_every_step_is_served_as_it_was_written(served: Served) -> None:
    written = [step_of(report, index=number + 1, time=0.0) for number, report in enumerate(reports(10, 200, names=CLOTHES))]
    for sent in written[::20]:
        status, content = served.get("step", run="clothes", tag=TAG, step=sent.step)
        got = unpack(content)
        assert status == 200
        assert (got.index, got.step, tuple(got.names)) == (sent.index, sent.step, CLOTHES)
        np.testing.assert_allclose(got.values["overlap"], sent.values["overlap"], atol=1e-4)


def test_hostile_names_are_data(served: Served) -> None:
    status, content = served.get("step", run=RUN, tag="cossim_<i>aux</i>_train", step=50)
    assert status == 200
    assert unpack(content).names[0] == HOSTILE[0]


def test_the_history_of_pairs(served: Served) -> None:
    """Every rung of a pair at every step, in the order of the steps."""
    made = reports(10, 200, names=CLOTHES)
    status, content = served.get("pairs", run="clothes", tag=TAG, pairs="2-6,4-0,3-99")
    found = json.loads(content)
    assert status == 200
    assert found["steps"] == list(range(10, 2010, 10))
    assert [one["labels"] for one in found["pairs"]] == [[2, 6], [4, 0], [3, 99]]
    first, second, unknown = (one["values"] for one in found["pairs"])
    for rung in made[0].rungs:
        np.testing.assert_allclose(first[rung], [float(one.matrix(rung)[2, 6]) for one in made], atol=3e-3, rtol=1e-3)
    np.testing.assert_allclose(second["overlap"], [float(one.matrix("overlap")[0, 4]) for one in made], atol=1e-4)
    assert set(unknown["overlap"]) == {None}


def test_the_course_of_the_steps_themselves(served: Served) -> None:
    """Agreement, numbers of flags and limits at every step, without any pair; and the flags of a pair."""
    made = reports(10, 200, names=CLOTHES)
    found = json.loads(served.get("pairs", run="clothes", tag=TAG, pairs="")[1])
    assert found["pairs"] == []
    assert found["agreement"] == pytest.approx([one.scalars["rank_agreement_centered_cosine"] for one in made], abs=1e-6)
    flags = [[pair.flag for pair in one.pairs()] for one in made]
    assert found["strangers"] == [of.count("stranger") for of in flags]
    assert found["lookalikes"] == [of.count("look-alike") for of in flags]
    steps = [step_of(one, index=1, time=0.0) for one in made[:2]]
    assert [found["limits"][side][:2] for side in ("strangers", "lookalikes")] == [
        pytest.approx([one.limits[side] for one in steps]) for side in ("strangers", "lookalikes")
    ]
    worst = max((pair for pair in made[-1].pairs() if pair.flag), key=lambda pair: abs(pair.gap))
    labels = sorted(CLOTHES.index(name) for name in (worst.label, worst.other))
    (of_pair,) = json.loads(served.get("pairs", run="clothes", tag=TAG, pairs="-".join(map(str, labels)))[1])["pairs"]
    wanted = [
        next(pair.flag or "" for pair in one.pairs() if {pair.label, pair.other} == {worst.label, worst.other}) for one in made
    ]
    assert of_pair["flags"] == wanted
    assert {"", worst.flag} <= set(wanted)


def test_a_pair_that_was_not_chosen_is_a_gap_in_its_line(served: Served) -> None:
    steps = [unpack(served.get("step", run="nested/many", tag=TAG, step=step)[1]) for step in (10, 20, 30)]
    seen = [{(one, other) for one, other in zip(step.row.tolist(), step.column.tolist(), strict=True)} for step in steps]
    places = next(pair for pair in seen[0] if pair not in seen[1])
    pair = "-".join(str(steps[0].labels[place]) for place in places)
    values = json.loads(served.get("pairs", run="nested/many", tag=TAG, pairs=pair)[1])["pairs"][0]["values"]["overlap"]
    assert not math.isnan(values[0])
    assert values[1] is None
    flags = json.loads(served.get("pairs", run="nested/many", tag=TAG, pairs=pair)[1])["pairs"][0]["flags"]
    assert [flag is None for flag in flags] == [value is None for value in values]


@pytest.mark.parametrize(
    ("route", "parameters", "status", "said"),
    [
        ("step", {}, 400, "Expected the parameter `run` in the address, got none."),
        ("step", {"run": "clothes"}, 400, "Expected the parameter `tag`"),
        ("step", {"run": "clothes", "tag": TAG}, 400, "Expected the parameter `step`"),
        ("step", {"run": "clothes", "tag": TAG, "step": "ten"}, 400, "Expected `step` to be a whole number, got 'ten'."),
        ("step", {"run": "clothes", "tag": TAG, "step": "-1"}, 400, "whole number"),
        ("step", {"run": "clothes", "tag": TAG, "step": "٣"}, 400, "whole number"),
        ("step", {"run": "clothes", "tag": TAG, "step": "9" * 400}, 400, "whole number"),
        (
            "step",
            {"run": "clothes", "tag": TAG, "step": "11"},
            404,
            "Step 11 of cossim_val does not exist in the run clothes.",
        ),
        (
            "step",
            {"run": "../../etc", "tag": TAG, "step": "10"},
            404,
            "Step 10 of cossim_val does not exist in the run ../../etc.",
        ),
        (
            "step",
            {"run": "clothes", "tag": "<script>", "step": "10"},
            404,
            "Step 10 of <script> does not exist in the run clothes.",
        ),
        ("pairs", {"run": "clothes", "tag": TAG}, 400, "Expected the parameter `pairs`"),
        ("pairs", {"run": "clothes", "tag": TAG, "pairs": ","}, 400, "pairs of labels such as 3-8,0-12"),
        ("pairs", {"run": "clothes", "tag": TAG, "pairs": "1-2-3"}, 400, "pairs of labels"),
        ("pairs", {"run": "clothes", "tag": TAG, "pairs": "1-x"}, 400, "pairs of labels"),
        ("pairs", {"run": "clothes", "tag": TAG, "pairs": ",".join(["1-2"] * 33)}, 400, "at most 32 pairs, got 33"),
        ("pairs", {"run": "none", "tag": TAG, "pairs": "1-2"}, 404, "The run none has no steps of cossim_val."),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    served: Served, route: str, parameters: dict[str, str], status: int, said: str
) -> None:
    """In one line of plain text, and never as an error of the server."""
    got, content = served.get(route, **parameters)
    assert got == status
    assert said in content.decode()
    assert "\n" not in content.decode()


def test_only_files_of_the_page_are_served(served: Served) -> None:
    for path in sorted(STATIC.iterdir()):
        assert served.get(path.name) == (200, path.read_bytes())
    for name in ("plugin.py", "../plugin.py", "..%2fplugin.py", "static/index.js", "nothing.js", ""):
        assert served.fetch(f"/data/plugin/lightning_cossim/{name}")[0] == 404
    assert served.fetch("/data/plugin/lightning_cossim/runs", method="POST")[0] == 405


def test_tensorboard_lists_the_tab(served: Served) -> None:
    listing = json.loads(served.fetch("/data/plugins_listing")[1])["lightning_cossim"]
    assert listing["enabled"]
    assert listing["tab_name"] == "Label similarity"


@pytest.mark.parametrize("reader", ["true", "false"])
def test_what_tensorboard_cannot_read_is_said(tmp_path: Path, reader: str) -> None:
    """Its fast reader makes keys of names that it cannot read again, if there are quotes in them."""
    write(tmp_path / 'a "quoted" run', reports(4, 2))
    with tensorboard(tmp_path, f"--load_fast={reader}") as found:
        found.wait_for(1, 2)
        status, content = found.get("step", run='a "quoted" run', tag=TAG, step=10)
    if reader == "true":
        assert (status, content[:26]) == (400, b"TensorBoard's fast reader ")
    else:
        assert (status, unpack(content).step) == (200, 10)


def test_a_step_that_cannot_be_read_is_left_out_of_histories() -> None:
    good = [pack(step_of(report, index=1, time=0.0)) for report in reports(4, 3)]
    later = good[1].replace(b'"version":%d' % VERSION, b'"version":9')
    found = history([10, 20, 30], [good[0], later, good[2]], [(0, 1)])
    assert found["steps"] == [10, 30]
    assert found["unreadable"] == 1
    assert len(found["pairs"][0]["values"]["overlap"]) == 2
    nothing = history([10, 20], [b"", good[0][:-1]], [(0, 1)])
    assert (nothing["steps"], nothing["unreadable"]) == ([], 2)


def test_a_rung_that_a_step_lacks_is_a_gap_in_its_line() -> None:
    """After a run went on with another link, say: later values stay at their steps."""
    steps = [step_of(report, index=1, time=0.0) for report in reports(4, 3)]
    others = [name for name in steps[1].similarities if name != "raw_cosine"]
    without = replace(
        steps[1], similarities=others, values={name: of for name, of in steps[1].values.items() if name != "raw_cosine"}
    )
    (found,) = history([10, 20, 30], [pack(one) for one in (steps[0], without, steps[2])], [(0, 1)])["pairs"]
    first, second, third = found["values"]["raw_cosine"]
    assert second is None
    assert [first, third] == pytest.approx([steps[at].values["raw_cosine"][0] for at in (0, 2)], abs=1e-3)


class Forgetful:
    """A data provider that lists steps, and then cannot read them: as the slow reader when a run has been deleted."""

    def __init__(self, error: Exception) -> None:
        self.error, self.num_listed = error, 0

    def read_blob_sequences(self, context: Any, **_: Any) -> Any:
        self.num_listed += 1
        datum = SimpleNamespace(step=10, wall_time=1.0, values=[SimpleNamespace(blob_key="key")])
        return {"gone": {TAG: [datum]}} if self.num_listed == 1 else {}

    def read_blob(self, context: Any, blob_key: str) -> bytes:
        raise self.error


@pytest.mark.parametrize("error", [KeyError("gone"), NotFoundError("no such step")])
def test_a_run_that_has_gone_is_not_found(error: Exception) -> None:
    """Though it was listed; and once a list lacks it, nobody asks for its blobs."""
    provider = Forgetful(error)
    apps = Plugin(SimpleNamespace(data_provider=provider)).get_plugin_apps()
    answer = Client(apps["/step"]).get(f"?run=gone&tag={TAG}&step=10")
    assert (answer.status_code, answer.text) == (404, f"Step 10 of {TAG} does not exist in the run gone.")
    assert Client(apps["/runs"]).get("").json == {"runs": []}
    assert Client(apps["/step"]).get(f"?run=gone&tag={TAG}&step=10").status_code == 404
    assert provider.num_listed == 3


def test_a_step_that_has_gone_is_left_out_of_histories() -> None:
    found = Client(Plugin(SimpleNamespace(data_provider=Forgetful(KeyError("gone")))).get_plugin_apps()["/pairs"])
    answer = found.get(f"?run=gone&tag={TAG}&pairs=0-1")
    assert (answer.status_code, json.loads(answer.text)["steps"]) == (200, [])


def test_a_folder_without_steps_has_no_runs(tmp_path: Path) -> None:
    with tensorboard(tmp_path) as found:
        assert found.runs() == {}
        assert not json.loads(found.fetch("/data/plugins_listing")[1])["lightning_cossim"]["enabled"]
