"""A process that is killed, and a run that goes on from its last checkpoint."""

import logging
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.compatibility.killed import main as train

PROJECT = Path(__file__).parent.parent.parent
Curves = dict[str, dict[int, float]]


def run(folder: Path, resume: Path | None = None, purge: int | None = None) -> None:
    """A run in this process: who is not killed needs none of its own, whose imports would take most of the time."""
    level = logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings():
        train(folder, die_at=-1, resume=resume, purge=purge)
    logging.getLogger("lightning.pytorch").setLevel(level)


def curves(folder: Path) -> Curves:
    """Our own, as TensorBoard shows them: what a later run repeats is purged."""
    events = EventAccumulator(str(folder / "logs"), {"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("cossim") and "overhead" not in tag]
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """Of a run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return curves(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one that dies after ten steps, of which the eighth is saved: in the middle of an epoch and of a window."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.compatibility.killed", str(folder), "--die-at", "10"]
    assert subprocess.run(command, cwd=PROJECT, check=False, timeout=120).returncode == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("same_folder", [False, True])
def test_a_run_that_goes_on_writes_the_curves_of_an_uninterrupted_one(
    whole: Curves, killed: Path, tmp_path: Path, same_folder: bool
) -> None:
    """From the first window that begins after the resume; in the same folder as one series, if the logger purges."""
    checkpoint = killed / "checkpoints" / "step=8.ckpt"
    if same_folder:
        shutil.copytree(killed / "logs", tmp_path / "logs")
        run(tmp_path, resume=checkpoint, purge=8)
    else:
        run(tmp_path, resume=checkpoint)
    found = curves(tmp_path)
    assert found.keys() == whole.keys()
    window_ends = min(step for step in whole["cossim_train/overlap_mean"] if step >= 8 + 1)
    for tag, values in whole.items():
        # A window that was open at the resume is dropped: its report is missing, and no other.
        dropped = {step for step in values if tag.startswith("cossim_train") and 8 <= step < 8 + 2} - found[tag].keys()
        after = {step: value for step, value in values.items() if step >= 8 and step not in dropped}
        assert {step: value for step, value in found[tag].items() if step >= 8} == after, (tag, window_ends)
        if same_folder:
            before = {step: value for step, value in values.items() if step < 8}
            assert {step: value for step, value in found[tag].items() if step < 8} == before, tag
