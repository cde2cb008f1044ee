"""The page's own modules under Node, on fixtures that Python writes, and what the type checker says of them."""

import json
import math
import re
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from lightning_cossim.loggers.evidence_packing import pack_evidence
from lightning_cossim.loggers.evidence_wire import unpack_evidence
from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import FLAGS, Step, pack, unpack
from lightning_cossim.report.evidence import PairEvidence
from tests.loggers.evidence import example, pair, smooth
from tests.tensorboard_plugin.events import CLOTHES, HOSTILE, reports
from tests.tensorboard_plugin.served import ROOT
from tests.tensorboard_plugin.steps import as_version_1, as_version_2, with_added, with_targets

pytestmark = [pytest.mark.full, pytest.mark.browser]

FIXTURES = {
    "ten labels": (10, CLOTHES),
    "hostile names": (10, HOSTILE),
    "three labels": (3, ()),
    "one label": (1, ()),
    "chosen pairs": (300, ()),
}


def made(num_labels: int, names: tuple[str, ...]) -> Step:
    (report,) = reports(num_labels, 1, names=names)
    return step_of(report, index=1, time=0.0)


def write_fixtures(folder: Path) -> None:
    """Blobs, and what Python reads in each as JSON."""
    folder.mkdir()
    blobs = {name: pack(made(*of)) for name, of in FIXTURES.items()}
    blobs["known targets"] = pack(with_targets(made(10, CLOTHES)))
    blobs["an added similarity"] = pack(with_added(made(10, CLOTHES)))
    blobs["version 1"] = as_version_1(blobs["ten labels"])
    blobs["version 2"] = as_version_2(blobs["ten labels"])
    blobs["version 2 without a verdict"] = as_version_2(blobs["three labels"])
    for name, blob in blobs.items():
        (folder / f"{name}.bin").write_bytes(blob)
        (folder / f"{name}.json").write_text(json.dumps(as_read(unpack(blob))), encoding="utf-8")
    evidence = pack_evidence(behind(), lambda row: CLOTHES[row])
    (folder / "evidence.blob").write_bytes(evidence)
    kept = [{"kind": one.kind, "content": b64encode(one.content).decode()} for one in unpack_evidence(evidence).pictures]
    (folder / "evidence.json").write_text(json.dumps(kept), encoding="utf-8")


def behind() -> list[PairEvidence]:
    """A stranger with a picture, a text and neither, and a look-alike that may lack inputs."""
    most = (
        example(0, smooth(1), predicted=2, target=6),
        example(1, text="<b>text</b>", probabilities=(math.nan, 0.5), predicted=2, target=None),
        example(2, predicted=6, target=6),
    )
    one = pair(2, 6, flag="stranger", examples={"overlap": most, "suspect_label": most[:1], "confident": ()})
    return [one, pair(0, 1, flag="look-alike", is_complete=False, examples={"overlap": most[2:], "confident": most[2:]})]


def as_read(step: Step) -> dict[str, object]:
    values = {**step.values, "gap": step.values["overlap"] - step.values["expected_overlap"]}
    return {
        "names": list(step.names),
        "quantities": list(step.quantities),
        "row": step.row.tolist(),
        "column": step.column.tolist(),
        "flag": [FLAGS[flag] for flag in step.flag],
        "why": step.why.tolist(),
        "reasons": list(step.reasons),
        "limits": dict(step.limits),
        "truncation": step.truncation,
        "standard_errors": dict(step.standard_errors),
        "similarities": list(step.similarities),
        "values": {key: _without_nan(of) for key, of in values.items()},
        "targets": {key: _without_nan(of) for key, of in step.targets.items()},
    }


def _without_nan(values: Any) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """A copy of the modules as they are served, and of their tests: `package.json` tells Node that they are modules."""
    here = Path(__file__).parent
    shutil.copytree(ROOT / "lightning_cossim" / "tensorboard_plugin" / "static", tmp_path / "static")
    shutil.copytree(here / "javascript", tmp_path / "javascript")
    shutil.copy(here / "javascript" / "package.json", tmp_path)
    return tmp_path


def test_the_modules_of_the_page(laid_out: Path) -> None:
    write_fixtures(laid_out / "fixtures")
    tests = sorted(str(path) for path in (laid_out / "javascript").glob("*.test.js"))
    ran = subprocess.run(["node", "--test", *tests], cwd=laid_out, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "# fail 0" in ran.stdout


def checked(folder: Path) -> list[str]:
    """What TypeScript finds, one line an error: it reads plain JavaScript with the types that comments name."""
    command = ["node_modules/.bin/tsc", "--project", "javascript/tsconfig.json", "--pretty", "false"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    errors = [line for line in ran.stdout.splitlines() if not line.startswith(" ")]
    assert bool(errors) == bool(ran.returncode), ran.stdout + ran.stderr
    return errors


def test_the_types_of_the_page_hold(laid_out: Path) -> None:
    """Those of the modules, and of their tests; and errors that are planted into either are found."""
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(laid_out)]
    installed = subprocess.run(install, cwd=laid_out, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert checked(laid_out) == []
    planted = {
        laid_out / "static" / "tip.js": "\nexport const planted = (/** @type {Step} */ step) => step.quantity(1).column;\n",
        laid_out
        / "static"
        / "inspector.js": "\nexport const planted = (/** @type {App} */ app) => app.sides[0].no_such_thing;\n",
        laid_out / "javascript" / "wire.test.js": "\ndecode('no buffer');\n",
    }
    for path, text in planted.items():
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    found = [re.match(r"(\S+?)\(", error) for error in checked(laid_out)]
    assert sorted(one[1] for one in found if one) == sorted(path.relative_to(laid_out).as_posix() for path in planted)
    unchecked = [
        path.name for path in laid_out.glob("*/*.js") if re.search(r"@ts-(ignore|nocheck|expect-error)", path.read_text("utf-8"))
    ]
    assert unchecked == []
