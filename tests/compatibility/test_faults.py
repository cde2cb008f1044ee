"""Whatever goes wrong in the monitor: one warning that names what is gone, and the weights of a training without it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from typing_extensions import override

from lightning_cossim import LabelSimilarityMonitor
from lightning_cossim.callback import session
from lightning_cossim.callback.report_queue import ReportQueue
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.capture.taps import Tap
from lightning_cossim.loggers import figures, pages, publisher
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import Statistics
from lightning_cossim.report.alerts import AlertBook
from tests.compatibility.cells import EVERY_BATCH
from tests.toys import ALWAYS, FEW, Toy, loader, trainer

GONE = "stopped after an error, and the run continues without it:"
FAULTS: dict[str, tuple[Any, str, str]] = {
    "capture: arming": (HeadObserver, "arm", GONE),
    "capture: reading": (HeadObserver, "take", GONE),
    "window": (Collector, "open", GONE),
    "update": (SimilarityGap, "update", GONE),
    "compute": (SimilarityGap, "compute", GONE),
    "gather": (Processes, "sums", GONE),
    "report": (Statistics, "of", GONE),
    "window's end": (Collector, "close", GONE),
    "thresholds": (session, "judge", GONE),
    "alerts": (AlertBook, "observe", GONE),
    "queue": (ReportQueue, "add", GONE),
    "render: heatmaps": (pages, "heatmaps", "drawing heatmaps failed and is off for the rest of this run. Reports are still in"),
    "render: scatter": (pages, "scatter", "drawing scatter failed and is off for the rest of this run. Reports are still in"),
    "render: tables": (pages, "as_page", "drawing tables failed and is off for the rest of this run. Reports are still in"),
    "write: scalars": (publisher, "log_scalars", "writing scalars to TensorBoardLogger failed and is off"),
    "write: layout": (publisher, "write_layout", "writing layout to TensorBoardLogger failed and is off"),
}
"""A step of our own work: where it is done, and what the warning says."""
ERRORS: list[Exception] = [
    RuntimeError("planted"),
    MemoryError("out of memory"),
    torch.OutOfMemoryError("CUDA out of memory"),
    OSError(28, "No space left on device"),
    PermissionError(13, "Permission denied"),
]


def trained(folder: Path, monitor: LabelSimilarityMonitor | None) -> tuple[Toy, list[str]]:
    """A training with everything on, and what was told."""
    torch.manual_seed(0)
    model = Toy(12)
    run = trainer(callbacks=[monitor] if monitor else [], logger=TensorBoardLogger(folder, name=None, version=""))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        run.fit(model, loader(num_labels=12), loader(60, num_labels=12))
    told = [str(warning.message) for warning in record]
    return model, [text for text in told if text.startswith("LabelSimilarityMonitor")]


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return trained(tmp_path_factory.mktemp("unwatched"), None)[0]


def assert_same_weights(model: Toy, other: Toy) -> None:
    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_fault_costs_a_view_and_no_more(fault: str, error: Exception, unwatched: Toy, tmp_path: Path) -> None:
    where, name, says = FAULTS[fault]
    with mock.patch.object(where, name, side_effect=error):
        model, told = trained(tmp_path, LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS))
    assert_same_weights(model, unwatched)
    (text,) = told
    if isinstance(error, OSError) and fault.startswith("write"):  # a full or read-only disk: nothing else is tried
        says = "writing to TensorBoardLogger failed and is off for the rest of this run."
    assert says in text
    assert type(error).__name__ in text
    assert not model.head._forward_hooks


def test_a_fault_in_the_hook_itself_is_the_only_one_that_could_reach_the_model() -> None:
    """So it does nothing that can fail: it tests a flag and fills a slot. Of what it calls, nothing is asked that could raise."""
    tap = Tap(torch.nn.Linear(2, 3))
    tap.armed = True
    strange: list[Callable[[], Any]] = [lambda: None, lambda: "text", lambda: {"logits": 1}, lambda: torch.zeros(0)]
    for output in strange:
        tap._hook(torch.nn.Linear(2, 3), (), {}, output())
        assert tap.call is not None


class ReadOnly(TensorBoardLogger):
    """Its folder cannot be written to any more, once training has begun."""

    is_read_only = False

    @property
    @override
    def experiment(self) -> Any:
        if self.is_read_only:
            raise PermissionError(13, "Permission denied", "events.out.tfevents")
        return super().experiment

    @override
    def save(self) -> None:
        pass

    @override
    def finalize(self, status: str) -> None:
        pass


class Silent(Toy):
    """Logs nothing itself: what Lightning could not write would end the run."""

    @override
    def log(self, *args: Any, **kwargs: Any) -> None:
        pass


def test_a_read_only_folder_costs_what_would_be_written_there(unwatched: Toy, tmp_path: Path) -> None:
    logger = ReadOnly(tmp_path, name=None, version="")

    class Closes(Callback):
        @override
        def on_train_start(self, *args: Any) -> None:
            logger.is_read_only = True

    torch.manual_seed(0)
    model = Silent(12)
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trainer(callbacks=[Closes(), monitor], logger=logger).fit(model, loader(num_labels=12), loader(60, num_labels=12))
    told = [str(warning.message) for warning in record if str(warning.message).startswith("LabelSimilarityMonitor")]
    (text,) = told
    assert text.startswith("LabelSimilarityMonitor: writing to ReadOnly failed and is off for the rest of this run.")
    assert "PermissionError: [Errno 13] Permission denied" in text
    assert_same_weights(model, unwatched)
    assert set(monitor.last_report) == {"train", "val"}


def test_figures_without_a_font_or_matplotlib_are_gone_and_no_more(unwatched: Toy, tmp_path: Path) -> None:
    with mock.patch.object(figures, "_pixels", side_effect=ModuleNotFoundError("No module named 'matplotlib'")):
        model, told = trained(tmp_path, LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS))
    assert_same_weights(model, unwatched)
    assert len(told) == 2  # of heatmaps and of the scatter
    assert all("drawing " in text and " failed and is off" in text for text in told)
