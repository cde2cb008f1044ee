"""The rooms of the package: imports point one way, data too, and no object reaches into another (docs/how_it_is_built.md)."""

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lightning_cossim"
FILES = sorted(PACKAGE.rglob("*.py"))

PRIVATE_BUT_NEEDED: Final = {
    "capture/head.py: value._version": "2026-11: torch tells in no other way how often a tensor was written in place",
    "loggers/writers.py: logger.experiment._get_file_writer": "2026-11: the only way to the event file of a SummaryWriter",
    "loggers/event_files.py: experiment._get_file_writer": "2026-11: the same",
    "loggers/event_files.py: events._async_writer": "2026-11: the only way to write an event without TensorBoard's thread",
    "loggers/event_files.py: events._file_name": "2026-11: the only way to the path of an event file",
    "loggers/event_files.py: self._thread._writer": "2026-11: the only way to the open event file",
}
"""Private attributes of other packages, each with the reason why there is no public one."""
WRITTEN_ON_PURPOSE: Final = {
    "callback/monitor.py: trainer.should_stop": "Lightning's way to end a fit",
    "capture/layers.py: part.training": "torch's way to read a parametrization in evaluation, set back at once",
    "analysis/cli.py: warnings.showwarning": "Python's way to print warnings otherwise, set back by `catch_warnings`",
    "loggers/event_files.py: direct.event_writer": "torch's attribute, of a copy of its writer",
    "loggers/event_files.py: experiment.file_writer": "torch's attribute, set back at once",
    "loggers/event_files.py: self._of_file.event_writer": "torch's attribute, of an own writer",
    "loggers/publisher.py: error.__cause__": "Python's attribute of a caught error, which holds frames and with them the model",
    "loggers/publisher.py: error.__context__": "the same",
    "functional/precision.py: backend.fp32_precision": "torch's setting, set back at once",
}
"""Attributes of others that are written since that is their interface."""


def below_package(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def contracts(folder: Path) -> tuple[int, str]:
    """What import-linter says of the package in a folder: its exit status and what it prints."""
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))",
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_rooms_import_from_rooms_below_them_only() -> None:
    """The contracts in pyproject.toml, imports for type checkers included."""
    status, printed = contracts(ROOT)
    assert status == 0, printed
    assert "0 broken" in printed


PLANTED = [
    ("functional/pairs.py", "from lightning_cossim.metrics import SimilarityGap", "functional.pairs -> lightning_cossim.metrics"),
    (
        "metrics/state.py",
        "def late():\n    from lightning_cossim.callback.monitor import LabelSimilarityMonitor",
        "metrics.state -> lightning_cossim.callback.monitor",
    ),
    (
        "report/pair.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lightning_cossim.report.gap_report import GapReport",
        ".pair -> .gap_report",
    ),
    ("config/checks.py", "from lightning_cossim.report import GapReport", "config.checks -> lightning_cossim.report"),
    ("capture/layers.py", "from lightning_cossim.loggers import wire", "capture.layers -> lightning_cossim.loggers.wire"),
    ("callback/session.py", "import lightning.pytorch as pl", "callback.session -> lightning"),
    ("errors.py", "from lightning_cossim.functional import pairs", "errors -> lightning_cossim.functional"),
]
"""File, bad import, and how it is named."""


def test_planted_bad_imports_are_found(tmp_path: Path) -> None:
    """At the top of a file, within a function, for type checkers only, in a circle, and of Lightning: none escapes."""
    shutil.copytree(PACKAGE, tmp_path / "lightning_cossim", ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, planted, _ in PLANTED:
        path = tmp_path / "lightning_cossim" / file
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{planted}\n", encoding="utf-8")
    status, printed = contracts(tmp_path)
    assert status == 1
    for _, _, named in PLANTED:
        assert named in printed


def test_a_room_that_no_contract_knows_is_found(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "lightning_cossim", ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "lightning_cossim" / "utils.py").write_text('"""Anything."""\n', encoding="utf-8")
    status, printed = contracts(tmp_path)
    assert status == 1
    assert "utils" in printed


def test_the_package_has_few_rooms() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__init__.py", "__pycache__"}
    assert len(entries) <= 11, sorted(entries)


# The tab, which no contract sees: its folder has no `__init__` that could break


def imported(source: str) -> Iterator[str]:
    """Full dotted names of everything a module imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_by(*files: Path) -> set[str]:
    return {name for path in files for name in imported(path.read_text(encoding="utf-8"))}


def test_the_tab_knows_nothing_but_the_wire_format() -> None:
    """It is imported wherever TensorBoard starts, so what it imports must not import torch either."""
    own = "lightning_cossim.tensorboard_plugin."
    names = imported_by(*(PACKAGE / "tensorboard_plugin").glob("*.py"))
    assert {name.rpartition(".")[0] for name in names if name.startswith("lightning_cossim.") and not name.startswith(own)} == {
        "lightning_cossim.errors",
        "lightning_cossim.loggers.fields",
        "lightning_cossim.loggers.wire",
    }
    outside = {name.partition(".")[0] for name in names} - {"lightning_cossim"} - sys.stdlib_module_names
    assert outside == {"numpy", "tensorboard", "typing_extensions", "werkzeug"}
    wire = [PACKAGE / "errors.py", *(PACKAGE / "loggers" / f"{name}.py" for name in ("wire", "fields", "step_header"))]
    assert {name.rpartition(".")[0] for name in imported_by(*wire) if name.startswith("lightning_cossim")} == {
        "lightning_cossim.errors",
        "lightning_cossim.loggers.fields",
        "lightning_cossim.loggers.step_header",
    }
    assert not [name for name in imported_by(*wire) if name.startswith("torch")]


def test_nobody_needs_the_tab() -> None:
    others = [path for path in FILES if path.parent.name != "tensorboard_plugin"]
    assert not [name for name in imported_by(*others) if name.startswith("lightning_cossim.tensorboard_plugin")]


@pytest.mark.parametrize("room", ["callback", "loggers"])
def test_rooms_that_others_take_parts_from_import_nothing_by_themselves(room: str) -> None:
    """The tab must not load torch with `loggers`, nor a plain loop Lightning with `callback`."""
    assert not imported_by(PACKAGE / room / "__init__.py")


# Objects


def reaches(source: str) -> Iterator[str]:
    """Private attributes of other objects that a module reads, and attributes of other objects that it writes."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
        is_super = isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()"
        is_private = (
            node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in {"_replace", "_asdict", "_fields"}
        )
        if not is_own and ((is_private and not is_super) or isinstance(node.ctx, ast.Store | ast.Del)):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=below_package)
def test_no_object_reaches_into_another(path: Path) -> None:
    """No attribute with a leading underscore of another object is read or written; nor is any other written."""
    allowed = {*PRIVATE_BUT_NEEDED, *WRITTEN_ON_PURPOSE}
    found = {f"{below_package(path)}: {reach}" for reach in reaches(path.read_text(encoding="utf-8"))}
    assert found <= allowed


def test_what_is_allowed_is_still_needed() -> None:
    found = {f"{below_package(path)}: {reach}" for path in FILES for reach in reaches(path.read_text(encoding="utf-8"))}
    assert found == {*PRIVATE_BUT_NEEDED, *WRITTEN_ON_PURPOSE}


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("self._reporter.waits = waits", ["self._reporter.waits"]),
        ("order = self._publisher._pages.order", ["self._publisher._pages"]),
        ("self._pages.order = None", ["self._pages.order"]),
        ("metric.response, self.step = response, 0", ["metric.response"]),
        ("other._counts += 1", ["other._counts"]),
        ("del other.call", ["other.call"]),
        ("self._order = self.pages.order", []),
        ("super()._apply(fn)", []),
        ("key._replace(stage='val')", []),
    ],
)
def test_planted_reaches_are_found(planted: str, found: list[str]) -> None:
    assert list(reaches(planted)) == found


def test_nothing_outside_its_room_rewrites_a_report() -> None:
    """A report is made once; `replace` on it, or on a part of it, stands in `report` only."""
    for path in FILES:
        if path.parent.name != "report":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"replace\((\w+\.)*(report|statistics|verdict|context|extras|table|numbers)\b", text), path


# Dependencies


def test_every_direct_import_is_a_declared_dependency() -> None:
    """Of the package itself or, where it is imported only when somebody wants it, of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (
        requirement for extra in ("demo", "pandas", "safetensors") for requirement in project["optional-dependencies"][extra]
    )
    declared = {normalized(re.split(r"[\s\[<>=!~;]", requirement)[0]) for requirement in (*project["dependencies"], *extras)}
    homes = packages_distributions()
    for top in sorted({name.partition(".")[0] for name in imported_by(*FILES)} - sys.stdlib_module_names - {"lightning_cossim"}):
        assert {normalized(home) for home in homes[top]} & declared, f"{top} is imported and not declared"


def test_what_the_tests_import_comes_with_them_or_may_be_absent() -> None:
    """What `[dev]` does not install is known to mypy as such: a machine that has no extra passes the same checks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    absent = {
        module.partition(".")[0]
        for rules in project["tool"]["mypy"]["overrides"]
        if rules.get("ignore_missing_imports")
        for module in rules["module"]
    }
    installed = distributions_of("lightning-cossim[dev]")
    homes = packages_distributions()
    names = {name for file in (ROOT / "tests").rglob("*.py") for name in imports_in(file)}
    for top in sorted(names - sys.stdlib_module_names - {"lightning_cossim", "tests"} - absent):
        assert {normalized(home) for home in homes.get(top, [])} & installed, f"{top} is imported and not installed by [dev]"


def imports_in(path: Path) -> Iterator[str]:
    """The top-level names of what a file imports, relative imports left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def distributions_of(wanted: str) -> set[str]:
    """All distributions that pip installs for one requirement, its own included."""
    found: set[str] = set()
    queue = [Requirement(wanted)]
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement = queue.pop()
        found.add(normalized(requirement.name))
        for extra in ("", *requirement.extras):
            if (key := (normalized(requirement.name), extra)) not in seen:
                seen.add(key)
                with contextlib.suppress(PackageNotFoundError):  # the oldest set has no type stubs
                    inner = [Requirement(text) for text in requires(requirement.name) or ()]
                    queue += [each for each in inner if each.marker is None or each.marker.evaluate({"extra": extra})]
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
