"""The entry point: what TensorBoard pays for the tab when it starts, and what is left when the tab is broken."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import lightning_cossim
from lightning_cossim.tensorboard_plugin.loader import Loader

PACKAGE = Path(lightning_cossim.__file__).parent
PLUGIN = PACKAGE / "tensorboard_plugin"
FILES = sorted(
    str(path.relative_to(PACKAGE))
    for path in [*PLUGIN.glob("*.py"), PLUGIN / "static" / "index.js", PLUGIN / "static" / "style.css"]
    if path.name != "loader.py"
)
START = """
import json, sys
from types import SimpleNamespace
from tensorboard import default, program
from tensorboard.backend.application import TensorBoardWSGI
from tensorboard.plugins.base_plugin import TBContext
from lightning_cossim.tensorboard_plugin.loader import Loader
import lightning_cossim
plugin = Loader().load(TBContext(data_provider=SimpleNamespace()))
app = TensorBoardWSGI([plugin] if plugin else [])
print(json.dumps([lightning_cossim.__file__, plugin is not None, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def started(folder: Path) -> tuple[bool, set[str], str]:
    """Whether TensorBoard's application has the plugin of a copy of the package, what it loaded, and what it said."""
    ran = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True, cwd=folder)
    file, there, modules = json.loads(ran.stdout)
    assert Path(file).parent.parent == folder, "the copy is what was imported"
    return there, set(modules), ran.stderr


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "lightning_cossim", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_tensorboard_finds_the_loader() -> None:
    (entry,) = (entry for entry in entry_points(group="tensorboard_plugins") if entry.name == "lightning_cossim")
    assert entry.load() is Loader


def test_a_start_of_tensorboard_imports_no_torch(copied: Path) -> None:
    """Nor anything else that is slow: every TensorBoard in the environment would pay for it."""
    there, modules, _ = started(copied)
    assert there
    assert not modules & {
        "torch",
        "lightning",
        "lightning_fabric",
        "pytorch_lightning",
        "matplotlib",
        "scipy",
        "torchmetrics",
        "pandas",
    }


@pytest.mark.parametrize("file", ["loggers/wire.py", "loggers/__init__.py", *FILES])
@pytest.mark.parametrize("damage", ["garbage", "empty", "missing"])
def test_tensorboard_starts_whatever_is_damaged(copied: Path, file: str, damage: str) -> None:
    path = copied / "lightning_cossim" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else "}{ this is no code")
    there, _, said = started(copied)
    if not there:
        assert "TensorBoard cannot load the tab of lightning-cossim. Reinstall lightning-cossim." in said


def test_steps_are_kept_unless_the_user_says_otherwise() -> None:
    flags = Namespace(samples_per_plugin={"images": 3})
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin == {"images": 3, "lightning_cossim": 200}
    said = Namespace(samples_per_plugin={"lightning_cossim": 1000})
    Loader().fix_flags(said)
    assert said.samples_per_plugin == {"lightning_cossim": 1000}
