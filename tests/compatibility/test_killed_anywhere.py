"""Trainings that are killed at random moments: what they leave is readable, and a resume gives the weights of a whole run."""

import json
import logging
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim import LabelSimilarityMonitor, Schedule
from tests.compatibility.killed import main as train
from tests.compatibility.test_killed import PROJECT, Curves, curves
from tests.tensorboard_plugin.served import DEADLINE, tensorboard
from tests.toys import ALWAYS, FEW

NUM_POINTS: Final = 40
NUM_QUICK: Final = 1
TAB: Final = "cossim_val"


class Whole(NamedTuple):
    """A run that nobody interrupts."""

    weights: dict[str, Tensor]
    curves: Curves
    texts: dict[str, int]
    """The files of its reports to their number of lines."""


def go_on(folder: Path, checkpoint: Path | None, step: int | None) -> dict[str, Tensor]:
    level = logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings():
        weights = train(folder, die_at=-1, resume=checkpoint, purge=step)
    logging.getLogger("lightning.pytorch").setLevel(level)
    return weights


def texts_in(folder: Path) -> dict[str, int]:
    """The complete files of reports; a JSON file must be one."""
    found = {}
    for path in [*folder.rglob("*.csv"), *folder.rglob("*.json")]:
        text = path.read_text(encoding="utf-8")
        found[path.name] = len(text.splitlines())
        if path.suffix == ".json":
            json.loads(text)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    weights = go_on(folder, None, None)
    return Whole(weights, curves(folder), texts_in(folder / "logs"))


def last_checkpoint(folder: Path) -> tuple[Path | None, int | None]:
    """The last one that the user finds, and its step."""
    steps = {int(path.stem.removeprefix("step=")): path for path in (folder / "checkpoints").glob("step=*.ckpt")}
    return (steps[max(steps)], max(steps)) if steps else (None, None)


def assert_readable(folder: Path, whole: Whole, checkpoint: Path | None) -> None:
    """What a killed run leaves: events of a whole run, complete files, and a state that a monitor takes."""
    for tag, values in curves(folder).items() if (folder / "logs").exists() else ():
        assert values.items() <= whole.curves[tag].items(), tag
    assert texts_in(folder).items() <= whole.texts.items()
    if checkpoint is not None:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)["callbacks"]
        monitor = LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS)
        monitor.load_state_dict(state[monitor.state_key])
        assert monitor.state_dict() == state[monitor.state_key]


def check(folder: Path, fractions: list[float], whole: Whole) -> None:
    command = [sys.executable, "-m", "tests.compatibility.killed", str(folder), "--anywhere", *map(str, fractions)]
    done = subprocess.run(command, cwd=PROJECT, check=False, timeout=500, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    runs = folder / "runs"
    for number, fraction in enumerate(fractions):
        killed = folder / str(number)
        checkpoint, step = last_checkpoint(killed)
        assert_readable(killed, whole, checkpoint)
        weights = go_on(killed, checkpoint, step or 0)
        assert all(map(torch.equal, weights.values(), whole.weights.values())), (number, fraction)
        assert texts_in(killed) == whole.texts, (number, fraction)
        assert not [*killed.rglob("*.part")], (number, fraction)
        last = {tag: values[max(values)] for tag, values in whole.curves.items()}
        found = {tag: values[max(values)] for tag, values in curves(killed).items()}
        assert found.items() == last.items(), (number, fraction)
        runs.mkdir(exist_ok=True)
        (killed / "logs").rename(runs / str(number))
    last_steps = {max(values) for tag, values in whole.curves.items() if tag.endswith("/overlap_mean")}
    for reader in ("true", "false"):
        with tensorboard(runs, f"--load_fast={reader}") as served:
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:  # the readers load one event after another
                steps = served.wait_for(len(fractions))
                late = {run: tags for run, tags in steps.items() if {max(of_tag) for of_tag in tags.values()} != last_steps}
                if not late:
                    break
                time.sleep(0.5)
        assert late == {}, reader
        assert all(of_tag == sorted(set(of_tag)) for tags in steps.values() for of_tag in tags.values())


def fractions_of(num: int, seed: int) -> list[float]:
    """One in every part of a training, in random order."""
    chance = np.random.default_rng(seed)
    return [round(float(one), 6) for one in chance.permutation((np.arange(num) + chance.random(num)) / num)]


def test_a_run_that_is_killed_anywhere_goes_on(tmp_path: Path, whole: Whole) -> None:
    check(tmp_path, fractions_of(NUM_QUICK, 0), whole)


@pytest.mark.full
@pytest.mark.parametrize("part", range(4))
def test_runs_that_are_killed_at_forty_points_go_on(part: int, tmp_path: Path, whole: Whole) -> None:
    check(tmp_path, fractions_of(NUM_POINTS, 1)[part::4], whole)
