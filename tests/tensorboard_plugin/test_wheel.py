"""The wheel, in an environment without torch: TensorBoard is often started where nothing is trained."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from lightning_cossim.loggers.wire import unpack
from tests.tensorboard_plugin.events import CLOTHES, reports, write
from tests.tensorboard_plugin.served import ROOT, tensorboard

pytestmark = pytest.mark.full

STATIC = ROOT / "lightning_cossim" / "tensorboard_plugin" / "static"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_every_file_and_the_entry_point(wheel: Path) -> None:
    """And no tests, no bytecode, nothing from anywhere else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lightning_cossim").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {f"lightning_cossim/tensorboard_plugin/static/{path.name}" for path in STATIC.iterdir()} <= names
    assert "[tensorboard_plugins]\nlightning_cossim = lightning_cossim.tensorboard_plugin.loader:Loader" in points


def test_the_tab_works_without_torch(wheel: Path, tmp_path: Path) -> None:
    """With TensorBoard and the wheel alone, none of its other dependencies."""
    write(tmp_path / "logs" / "clothes", reports(10, 3, names=CLOTHES))
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run(
        [*install, "-c", str(ROOT / "constraints.txt"), "tensorboard", "typing_extensions"], check=True, capture_output=True
    )
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, capture_output=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode != 0
    with tensorboard(tmp_path / "logs", python=(python,), cwd=tmp_path) as served:
        served.wait_for(1, 3)
        status, content = served.get("step", run="clothes", tag="cossim_val", step=30)
        assert (status, tuple(unpack(content).names)) == (200, CLOTHES)
        for path in STATIC.iterdir():
            assert served.get(path.name) == (200, path.read_bytes())
        assert json.loads(served.fetch("/data/plugins_listing")[1])["lightning_cossim"]["enabled"]
