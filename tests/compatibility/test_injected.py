"""A fault at any call of the package: one warning, the same weights and random numbers, nothing left over."""

import threading
import warnings
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from lightning_cossim import Alert, LabelSimilarityMonitor, Schedule
from tests.compatibility.injected import Point, counting, failing
from tests.toys import ALWAYS, FEW, Toy, few_inputs, loader, trainer

ERRORS: Final = (RuntimeError("planted"), OSError(28, "No space left on device"), MemoryError("planted"), KeyError("planted"))
NUM_POINTS: Final = 330
NUM_PARTS: Final = 11
NUM_QUICK: Final = 4
GUARDS: Final = frozenset(
    {
        ("callback/monitor.py", "LabelSimilarityMonitor._attach"),
        ("callback/monitor.py", "LabelSimilarityMonitor._detach"),
        ("callback/monitor.py", "LabelSimilarityMonitor._fail"),
        ("callback/monitor.py", "LabelSimilarityMonitor._guarded"),
        ("callback/monitor.py", "_harmless.<locals>.guarded"),
        ("callback/monitor.py", "LabelSimilarityMonitor._begin_run"),
        ("callback/monitor.py", "LabelSimilarityMonitor._reports_on"),
    }
)
"""They catch what fails in the others, and warn, or they decide whether a hook has work: no guard is around their own call."""
QUIET: Final = {
    ("capture/evidence/dataset_order.py", "_batch_sampler"): "the order of a loader is unknown: references name batch and row",
    ("capture/evidence/dataset_order.py", "_indices_of"): "the same",
    ("capture/model_outputs.py", "tensors_in"): "asks an output of the user's modules, which can be anything",
    ("capture/observer.py", "HeadObserver.explains"): "asked after the run, for `audit`, which then says that it has no inputs",
}
"""Questions that may have no answer, and what happens then without a warning."""


@dataclass
class Run:
    """What a training with the monitor, or without, leaves behind."""

    weights: list[Tensor]
    random_state: Tensor
    told: list[str]
    num_hooks: int
    num_threads: int
    parts: list[str]


def train(folder: Path, *, watched: bool, around: AbstractContextManager[Any] | None = None) -> Run:
    """A training and a test run with everything on: evidence, pictures, the tab, an alert, two loggers, checkpoints.

    `around` is open while they run, not while the monitor is made: its arguments may raise.
    """
    torch.manual_seed(0)
    model = Toy(12)
    schedule = Schedule(train_every_n_steps=3, train_batches=1, reachability="fit_end", neighbors="fit_end")
    alert = Alert("overlap_mean", above=2.0)
    monitor = LabelSimilarityMonitor(schedule=schedule, thresholds=replace(FEW, alerts=(alert,)), display=ALWAYS)
    loggers = [TensorBoardLogger(folder / "tensorboard", name=None, version=""), CSVLogger(folder / "csv")]
    checkpoint = ModelCheckpoint(folder / "checkpoints", every_n_train_steps=2)
    callbacks = [monitor, checkpoint] if watched else [checkpoint]
    run = trainer(max_epochs=1, limit_train_batches=4, callbacks=callbacks, logger=loggers, enable_checkpointing=True)
    before = threading.active_count()
    with warnings.catch_warnings(record=True) as record, around or nullcontext():
        warnings.simplefilter("always")
        run.fit(model, loader(num_labels=12), loader(60, num_labels=12))
        run.test(model, loader(60, num_labels=12, seed=5), verbose=False)
    return Run(
        weights=[value.clone() for value in model.state_dict().values()],
        random_state=torch.get_rng_state(),
        told=[str(warning.message) for warning in record if str(warning.message).startswith("LabelSimilarityMonitor")],
        num_hooks=sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
        num_threads=threading.active_count() - before,
        parts=[str(path) for path in folder.rglob("*.part")],
    )


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("unwatched"), watched=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Counter[tuple[str, str]]]:
    """A run without a fault, and the calls of the package in it."""
    with few_inputs():
        calls: Counter[tuple[str, str]] = Counter()
        run = train(tmp_path_factory.mktemp("whole"), watched=True)
        train(tmp_path_factory.mktemp("calls"), watched=True, around=counting(calls))
        return run, calls


def points_of(calls: Counter[tuple[str, str]], seed: int) -> list[Point]:
    """The first call of every function, and a later one, in random order; of every module one comes first."""
    chance = np.random.default_rng(seed)
    found = []
    for module, function in sorted(calls.keys() - GUARDS):
        num = calls[module, function]
        found.append(Point(module, function, 1))
        if num > 1:
            found.append(Point(module, function, int(chance.integers(2, num + 1))))
    found = [found[place] for place in chance.permutation(len(found))]
    seen: set[str] = set()
    escaped = Point("callback/budget.py", "Overhead.spent", 48)  # it once reached the run: the clock was outside of the guard
    first = [escaped] + [point for point in found if point.module not in seen and not seen.add(point.module)]  # type: ignore[func-returns-value]
    return [*first, *(point for point in found if point not in {*first})]


def wrong_with(run: Run, unwatched: Run, whole: Run, *, may_be_quiet: bool) -> list[str]:
    """What a fault has done besides one warning."""
    extra = [text for text in run.told if text not in whole.told]
    found = [] if len(extra) == 1 or (may_be_quiet and not extra) else [f"{len(extra)} warnings: {extra}"]
    if not all(map(torch.equal, run.weights, unwatched.weights)):
        found.append("other weights")
    if not torch.equal(run.random_state, unwatched.random_state):
        found.append("another random state")
    if run.num_hooks:
        found.append(f"{run.num_hooks} hooks")
    if run.num_threads > whole.num_threads:
        found.append("a thread")
    return found + run.parts


def outcome(point: Point, error: Exception, folder: Path, unwatched: Run, whole: Run) -> list[str]:
    failed: list[Point] = []
    try:
        run = train(folder, watched=True, around=failing(point, error, failed))
    except Exception as raised:  # noqa: BLE001 - no error may come out
        return [f"raised {raised!r}"]
    return (
        wrong_with(run, unwatched, whole, may_be_quiet=(point.module, point.function) in QUIET)
        if failed
        else ["the call never came"]
    )


def tried(some: list[Point], folder: Path, unwatched: Run, whole: Run) -> dict[str, list[str]]:
    """Point to what went wrong."""
    chance = np.random.default_rng(1)
    found = {}
    for number, point in enumerate(some):
        error = ERRORS[int(chance.integers(len(ERRORS)))]
        found[f"{point} {type(error).__name__}"] = outcome(point, error, folder / str(number), unwatched, whole)
    return {point: wrong for point, wrong in found.items() if wrong}


def test_a_fault_at_some_calls_costs_one_warning(
    unwatched: Run, whole: tuple[Run, Counter[tuple[str, str]]], tmp_path: Path
) -> None:
    run, calls = whole
    assert len(calls) > 700
    assert tried(points_of(calls, 0)[:NUM_QUICK], tmp_path, unwatched, run) == {}


@pytest.mark.full
@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_a_fault_at_any_call_costs_one_warning(
    part: int, unwatched: Run, whole: tuple[Run, Counter[tuple[str, str]]], tmp_path: Path
) -> None:
    run, calls = whole
    some = points_of(calls, 1)[part:NUM_POINTS:NUM_PARTS]
    assert len(some) == NUM_POINTS // NUM_PARTS
    assert tried(some, tmp_path, unwatched, run) == {}
