"""A signal inside a hook of the monitor ends a run as the same signal does in any other callback."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.signaled import HOOKS, OUTCOMES, SIGNALS

PROJECT = Path(__file__).parent.parent.parent
NUM_PARTS = 4


def outcomes(folder: Path, hooks: list[str]) -> dict[str, list[dict[str, Any]]]:
    """In a process of its own, which gets the signals: with the monitor, and with a plain callback in its place."""
    command = [sys.executable, "-m", "tests.compatibility.signaled", str(folder), *hooks]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=300)
    found: dict[str, list[dict[str, Any]]] = json.loads((folder / OUTCOMES).read_text())
    assert found.keys() == {f"{hook} {number.name}" for hook in hooks for number in SIGNALS}
    return found


def check(folder: Path, hooks: list[str]) -> None:
    found = outcomes(folder, hooks)
    assert {where: watched for where, (watched, _) in found.items()} == {where: plain for where, (_, plain) in found.items()}
    for where, (watched, _) in found.items():
        assert watched["was sent"], where
        assert watched["forward hooks"] == 0
        if where.endswith("SIGINT"):
            assert watched["came"] in {"SystemExit(1)", "KeyboardInterrupt()"}, where
        else:
            assert watched["the user's handler"], where


def test_a_signal_in_a_hook_ends_a_run_as_it_does_elsewhere(tmp_path: Path) -> None:
    check(tmp_path, ["on_exception", "on_validation_epoch_end"])


@pytest.mark.full
@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_a_signal_in_any_hook_ends_a_run_as_it_does_elsewhere(part: int, tmp_path: Path) -> None:
    assert len(HOOKS) > 15
    check(tmp_path, HOOKS[part::NUM_PARTS])
