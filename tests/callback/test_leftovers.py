"""Many fits in one process leave nothing over: no hook, thread, file descriptor, unfinished file, or object of the package."""

import gc
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torchmetrics import Metric

from lightning_cossim import LabelSimilarityMonitor, Schedule
from lightning_cossim.callback.session import Session
from lightning_cossim.capture.collector import Collector
from tests.compatibility.injected import Point, failing
from tests.toys import ALWAYS, FEW, Toy, few_inputs, loader, trainer

NUM_FITS: Final = 100
NUM_QUICK: Final = 6
POINTS: Final = (
    Point("capture/collector.py", "Collector.begin_batch", 1),
    Point("callback/session.py", "Session.report", 1),
    Point("loggers/writers.py", "write_step", 1),
    Point("callback/session.py", "Session.end", 1),
    Point("capture/evidence/keeper.py", "EvidenceKeeper.add", 1),
)
"""Faults while a batch is read, a report made or written, hooks removed, and evidence kept."""


def objects() -> Counter[str]:
    """Live objects of the package, by class."""
    gc.collect()
    kinds = Counter(type(one) for one in gc.get_objects())
    ours = {kind: num for kind, num in kinds.items() if str(kind.__module__).startswith("lightning_cossim.")}
    return Counter({f"{kind.__module__}.{kind.__qualname__}": num for kind, num in ours.items()})


def open_files() -> Counter[str]:
    """What the open file descriptors lead to."""
    found: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found[str(descriptor.readlink())] += 1
        except FileNotFoundError:  # of this listing
            continue
    return found


@contextmanager
def remembered() -> Iterator[list[weakref.ref[Any]]]:
    """References to every session, collector and metric of the package that is created meanwhile."""
    found: list[weakref.ref[Any]] = []

    def remembering(create: Any) -> Any:
        def created(self: Any, *args: Any, **kwargs: Any) -> None:
            if type(self).__module__.startswith("lightning_cossim."):
                found.append(weakref.ref(self))
            create(self, *args, **kwargs)

        return created

    with pytest.MonkeyPatch.context() as patch:
        for kind in (Session, Collector, Metric):
            patch.setattr(kind, "__init__", remembering(kind.__init__))
        yield found


def fit(folder: Path, monitor: LabelSimilarityMonitor, point: Point | None) -> list[str]:
    """Train, with a failure or without; what is left over while model, Trainer and monitor still exist."""
    torch.manual_seed(0)
    model = Toy(12)
    loggers = [TensorBoardLogger(folder / "tensorboard", name=None, version=""), CSVLogger(folder / "csv")]
    run = trainer(max_epochs=1, limit_train_batches=4, callbacks=[monitor], logger=loggers)
    threads, files = {*threading.enumerate()}, open_files()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if point is None:
            run.fit(model, loader(num_labels=12), loader(60, num_labels=12))
        else:
            failed: list[Point] = []
            with failing(point, OSError(28, "planted"), failed):
                run.fit(model, loader(num_labels=12), loader(60, num_labels=12))
            assert failed == [point]
    hooks = [
        f"a hook of {type(module).__name__}"
        for module in model.modules()
        for name, kept in vars(module).items()
        if name.endswith("_hooks") and kept
    ]
    threads_left = [f"the thread {thread.name}" for thread in {*threading.enumerate()} - threads]
    files_left = [f"the open file {name}" for name in (open_files() - files)]
    return [*hooks, *threads_left, *files_left, *(str(path) for path in folder.rglob("*.part"))]


def watching() -> LabelSimilarityMonitor:
    return LabelSimilarityMonitor(schedule=Schedule(train_every_n_steps=3, train_batches=1), thresholds=FEW, display=ALWAYS)


def check(num_fits: int, folder: Path, *, fails: bool, one_monitor: bool) -> None:
    with few_inputs(), remembered() as created:
        kept = watching() if one_monitor else None
        fit(folder / "first", kept or watching(), None)  # matplotlib opens its fonts, and `last_report` has a report
        after: list[Counter[str]] = []
        for number in range(num_fits):
            point = POINTS[number % len(POINTS)] if fails else None
            monitor = kept or watching()
            assert fit(folder / str(number), monitor, point) == [], (number, point)
            del monitor
            after.append(objects())
            alive = Counter(type(one()).__name__ for one in created if one() is not None)
            assert set(alive) <= {"SimilarityGap"}, (number, alive)
    assert len(created) >= 3 * num_fits
    period = len(POINTS) if fails else 1
    first, last = after[-1 - (num_fits - 1 - period) // period * period], after[-1]
    assert last - first == Counter(), last - first


@pytest.mark.parametrize("one_monitor", [False, True], ids=["a monitor each", "one monitor"])
@pytest.mark.parametrize("fails", [False, True], ids=["sound", "failing"])
def test_a_few_fits_leave_nothing_over(tmp_path: Path, *, fails: bool, one_monitor: bool) -> None:
    check(2 * len(POINTS) + 1 if fails else NUM_QUICK + 1, tmp_path, fails=fails, one_monitor=one_monitor)


@pytest.mark.full
@pytest.mark.parametrize("one_monitor", [False, True], ids=["a monitor each", "one monitor"])
@pytest.mark.parametrize("fails", [False, True], ids=["sound", "failing"])
def test_a_hundred_fits_leave_nothing_over(tmp_path: Path, *, fails: bool, one_monitor: bool) -> None:
    check(NUM_FITS, tmp_path, fails=fails, one_monitor=one_monitor)
