"""The page's own modules under Node, on fixtures that Python writes: `pytest -m browser`."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import FLAGS, pack, unpack
from tests.tensorboard_plugin.events import CLOTHES, HOSTILE, LOW, reports
from tests.tensorboard_plugin.served import ROOT

pytestmark = [pytest.mark.full, pytest.mark.browser]

FIXTURES = {
    "ten labels": (10, CLOTHES),
    "hostile names": (10, HOSTILE),
    "three labels": (3, ()),
    "one label": (1, ()),
    "chosen pairs": (300, ()),
}


def write_fixture(folder: Path, name: str) -> None:
    """A blob, and what Python reads in it as JSON."""
    num_labels, names = FIXTURES[name]
    (report,) = reports(num_labels, 1, names=names)
    blob = pack(step_of(report, LOW, index=1, time=0.0))
    step = unpack(blob)
    values = {**step.values, "gap": step.values["overlap"] - step.values["expected_overlap"]}
    wanted = {
        "names": list(step.names),
        "row": step.row.tolist(),
        "column": step.column.tolist(),
        "flag": [FLAGS[flag] for flag in step.flag],
        "values": {rung: [None if math.isnan(value) else value for value in of.tolist()] for rung, of in values.items()},
    }
    (folder / f"{name}.bin").write_bytes(blob)
    (folder / f"{name}.json").write_text(json.dumps(wanted), encoding="utf-8")


def test_the_modules_of_the_page(tmp_path: Path) -> None:
    """Each as it is served; the copy tells Node that they are modules."""
    static, here = ROOT / "lightning_cossim" / "tensorboard_plugin" / "static", Path(__file__).parent
    shutil.copytree(static, tmp_path / "static")
    shutil.copytree(here / "javascript", tmp_path / "javascript")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "fixtures").mkdir()
    for name in FIXTURES:
        write_fixture(tmp_path / "fixtures", name)
    tests = sorted(str(path) for path in (tmp_path / "javascript").glob("*.test.js"))
    ran = subprocess.run(["node", "--test", *tests], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "# fail 0" in ran.stdout
