"""The package from outside: its names, its version, what importing it costs."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_cossim
import lightning_cossim.functional
import lightning_cossim.metrics

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("module", [lightning_cossim, lightning_cossim.functional, lightning_cossim.metrics])
def test_all_is_sorted_and_there(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert list(names) == sorted(names)
    assert all(hasattr(module, name) for name in names)
    assert set(names) <= set(dir(module))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lightning_cossim' has no attribute 'Monitor'"):
        lightning_cossim.__getattr__("Monitor")


def test_every_public_name_has_a_docstring() -> None:
    for name in set(lightning_cossim.__all__) - {"__version__"}:
        assert getattr(lightning_cossim, name).__doc__


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}; import json, sys; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(ran.stdout))


def test_importing_the_package_does_not_import_torch() -> None:
    assert not loaded_by("import lightning_cossim") & {"torch", "lightning", "torchmetrics", "scipy", "numpy"}


def test_importing_the_metrics_does_not_import_lightning() -> None:
    assert "lightning" not in loaded_by("import lightning_cossim.metrics")


def test_the_hygiene_test_can_fail() -> None:
    """Using a name of the package does import torch, and the test would see it."""
    assert "torch" in loaded_by("import lightning_cossim; lightning_cossim.GapReport")


def test_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)
    assert versions[0] == lightning_cossim.__version__


def test_package_is_marked_as_typed() -> None:
    assert (Path(lightning_cossim.__file__).parent / "py.typed").exists()


def test_every_module_says_what_it_is_for() -> None:
    for path in sorted((ROOT / "lightning_cossim").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        assert importlib.import_module(name).__doc__, name
