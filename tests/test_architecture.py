"""The rooms of the package and the arrows between them: imports point one way (README, "How it is built")."""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lightning_cossim"

FLOORS = [
    {"errors"},
    {"functional"},
    {
        "tables",
        "checks",
        "schedule",
        "overhead",
        "processes",
        "progress",
        "rows",
        "targets",
        "cosine_heads",
        "observation",
        "voice",
    },
    {"report", "strict_types", "heatmap", "layers"},
    {"head", "config", "strict_yaml"},
    {"sources", "thresholds", "reach", "checkpoints", "model_settings", "logit_check"},
    {"explanation"},
    {"observer"},
    {"metrics", "reporting", "alerts"},
    {"tensorboard_plugin"},
    {"window", "vocabulary", "arguments"},
    {"watch"},
    {"session", "reporter", "audit"},
    {"afterthoughts"},
    {"monitor", "analysis"},
    {"demo"},
    {"cli"},
]
"""From the ground up: a room may import from floors below its own and from itself."""

OUTSIDE = {
    "errors": set[str](),
    "functional": {"torch", "numpy", "scipy"},
    "tables": {"tabulate"},
    "config": set[str](),
    "checks": set[str](),
    "strict_types": {"jsonargparse"},
    "strict_yaml": {"yaml"},
    "thresholds": {"torch"},
    "alerts": set[str](),
    "audit": {"torch"},
    "reach": {"torch"},
    "checkpoints": {"torch", "numpy", "safetensors"},
    "analysis": {"torch"},
    "demo": {"torch", "lightning", "sklearn"},
    "arguments": set[str](),
    "voice": set[str](),
    "afterthoughts": {"torch"},
    "schedule": set[str](),
    "overhead": set[str](),
    "processes": {"torch"},
    "progress": {"tqdm"},
    "rows": {"torch"},
    "targets": {"torch"},
    "report": {"torch", "pandas"},
    "layers": {"torch"},
    "head": {"torch"},
    "logit_check": {"torch"},
    "cosine_heads": {"torch"},
    "observation": {"torch"},
    "explanation": {"torch"},
    "model_settings": {"torch"},
    "sources": {"torch"},
    "observer": {"torch"},
    "metrics": {"torch", "torchmetrics", "matplotlib"},
    "reporting": {"torch", "numpy", "scipy", "matplotlib", "tensorboard"},
    "tensorboard_plugin": {"numpy", "tensorboard", "werkzeug"},
    "heatmap": {"torch", "numpy", "matplotlib"},
    "window": {"torch"},
    "vocabulary": {"torch"},
    "watch": {"torch"},
    "session": set[str](),
    "reporter": set[str](),
    "monitor": {"torch", "lightning"},
    "cli": {"docstring_parser"},
}
"""What a room may import from other distributions, besides the standard library."""

STANDARD = frozenset(sys.stdlib_module_names)
EVERYWHERE = {"typing_extensions"}


def rooms() -> dict[str, list[Path]]:
    """Room to its files; the package's own `__init__` is the front door, not a room."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room != "__init__":
            found.setdefault(room, []).append(path)
    return found


def imported(source: str) -> Iterator[str]:
    """Full dotted names of everything a module imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def faults(room: str, names: Iterable[str]) -> list[str]:
    """The imports that a room may not have."""
    below = set().union(*FLOORS[: next(index for index, floor in enumerate(FLOORS) if room in floor)])
    bad = []
    for name in names:
        top, _, rest = name.partition(".")
        if top == "lightning_cossim":
            allowed = rest.partition(".")[0] in below | {room}
        else:
            allowed = top in STANDARD | OUTSIDE[room] | EVERYWHERE
        bad += [] if allowed else [f"{room} imports {name}"]
    return bad


def test_every_room_has_a_floor() -> None:
    assert set(rooms()) == set().union(*FLOORS) == set(OUTSIDE)


@pytest.mark.parametrize("room", sorted(OUTSIDE))
def test_arrows_point_down(room: str) -> None:
    """A room imports from floors below, from itself, and from the distributions it is allowed."""
    names = [name for path in rooms()[room] for name in imported(path.read_text(encoding="utf-8"))]
    assert faults(room, names) == []


@pytest.mark.parametrize(
    ("room", "planted"),
    [
        ("functional", "from lightning_cossim.metrics import SimilarityGap"),
        ("functional", "import pandas as pd"),
        ("metrics", "def late():\n    from lightning_cossim.callback.monitor import LabelSimilarityMonitor"),
        ("report", "import lightning.pytorch as pl"),
        ("config", "import torch"),
        ("head", "from lightning_cossim import metrics"),
    ],
)
def test_a_planted_bad_import_is_found(room: str, planted: str) -> None:
    assert len(faults(room, imported(planted))) == 1


def test_the_tab_knows_nothing_but_the_wire_format() -> None:
    """It is imported wherever TensorBoard starts, so what it imports must not import torch either."""
    own = "lightning_cossim.tensorboard_plugin."
    names = {name for path in rooms()["tensorboard_plugin"] for name in imported(path.read_text(encoding="utf-8"))}
    ours = {name.rpartition(".")[0] for name in names if name.startswith("lightning_cossim.") and not name.startswith(own)}
    assert ours == {"lightning_cossim.loggers.wire"}
    assert not [name for name in imported((PACKAGE / "reporting" / "wire.py").read_text()) if name.startswith("lightning_cossim")]


def test_only_the_monitor_and_its_demo_import_lightning() -> None:
    """Nothing below the monitor needs a Trainer."""
    assert {room for room, outside in OUTSIDE.items() if "lightning" in outside} == {"monitor", "demo"}
