"""What fails in the monitor, or below it, does not end the user's run: one warning, the same weights, no file left over."""

import contextlib
import copy
import errno
import json
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from typing_extensions import override

from lightning_cossim import Display, LabelSimilarityMonitor, Schedule
from lightning_cossim.errors import ConfigError, HeadError, InputError
from tests.toys import FEW, Toy, loader, trainer

pytestmark = pytest.mark.usefixtures("few_inputs")
OFTEN = Schedule(train_every_n_steps=1, train_batches=1)
PLAIN = Display(max_overhead=None, heatmaps=False, scatter=False)
"""Pictures take a second."""


class Silent(Toy):
    """A model that logs nothing itself."""

    @override
    def log(self, *args: Any, **kwargs: Any) -> None:
        pass


def fit(*callbacks: Callback, model: pl.LightningModule | None = None, **settings: Any) -> tuple[pl.Trainer, list[str]]:
    """A fit, and the warnings of the monitor."""
    pl.seed_everything(0, verbose=False)
    run = trainer(callbacks=[*callbacks], **settings)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        run.fit(Silent(12) if model is None else model, loader(num_labels=12), loader(60, num_labels=12, seed=2))
    return run, [str(one.message) for one in record if "LabelSimilarityMonitor" in str(one.message)]


def weights_of(run: pl.Trainer) -> list[Any]:
    return [parameter.detach() for parameter in run.lightning_module.parameters()]


# Attaching

MONITOR = "lightning_cossim.callback.monitor"
STARTING = [
    f"{MONITOR}.Session",
    f"{MONITOR}.Processes",
    f"{MONITOR}.why_untrained",
    f"{MONITOR}.idle_alerts",
    "lightning_cossim.capture.head_settings.find_head",
    "lightning_cossim.capture.head_settings.with_response",
    "lightning_cossim.capture.head_settings.Collector",
    "lightning_cossim.callback.report_queue.ReportQueue.start_run",
    "lightning_cossim.callback.other_process.Handover.collect",
    "lightning_cossim.capture.taps.Tap.__init__",
]


@pytest.mark.parametrize("what", STARTING)
@pytest.mark.parametrize("kind", ["fit", "validate"])
def test_a_failure_while_attaching_costs_the_monitor_only(what: str, kind: str) -> None:
    model, monitor = Silent(12), LabelSimilarityMonitor(thresholds=FEW)
    run = trainer(callbacks=[monitor])
    with warnings.catch_warnings(record=True) as record, mock.patch(what, side_effect=MemoryError("planted")):
        warnings.simplefilter("always")
        if kind == "fit":
            run.fit(model, loader(num_labels=12), loader(60, num_labels=12))
        else:
            run.validate(model, loader(60, num_labels=12), verbose=False)
    told = [str(one.message) for one in record if "LabelSimilarityMonitor" in str(one.message)]
    assert len(told) == 1
    assert "MemoryError: planted" in told[0]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("error", [ConfigError("planted"), HeadError("planted"), InputError("planted")])
def test_mistakes_of_the_user_are_raised(error: Exception) -> None:
    with mock.patch("lightning_cossim.capture.head_settings.find_head", side_effect=error), pytest.raises(type(error)):
        fit(LabelSimilarityMonitor())


class Odd(nn.Linear):
    """A layer whose size nobody may ask for."""

    @property  # type: ignore[explicit-override]  # mypy does not see the decorator below, because of the setter
    @override
    def in_features(self) -> int:
        raise RuntimeError("not known yet")

    @in_features.setter
    def in_features(self, value: int) -> None:
        pass


@pytest.mark.parametrize("head", ["head", None])
def test_a_layer_whose_properties_raise_is_no_hindrance(head: str | None) -> None:
    model = Silent(12)
    model.body = nn.Sequential(Odd(6, 5), nn.Tanh())
    monitor = LabelSimilarityMonitor(head=head, thresholds=FEW)
    _, told = fit(monitor, model=model)
    assert told == []
    assert "val" in monitor.last_report


# Hooks and the end


@pytest.mark.parametrize(
    "what",
    [
        "lightning_cossim.capture.taps.num_writes",
        "lightning_cossim.capture.taps.Tap._examined",
        "lightning_cossim.capture.collector.Collector.detach",
        "lightning_cossim.callback.session.Session.end",
        "lightning_cossim.callback.monitor.ReportQueue.draw",
        "lightning_cossim.callback.monitor.WindowClock.state_dict",
    ],
)
def test_a_failure_in_a_hook_costs_the_monitor_only(what: str, tmp_path: Path) -> None:
    """In a hook of a module, in `teardown`, in what a checkpoint gets."""
    alone, _ = fit()
    with mock.patch(what, side_effect=RuntimeError("planted")):
        run, told = fit(LabelSimilarityMonitor(schedule=OFTEN, thresholds=FEW, display=PLAIN))
        run.save_checkpoint(tmp_path / "last.ckpt")
    assert len(told) == (not what.endswith("state_dict"))
    assert all("RuntimeError: planted" in text for text in told)
    assert all(map(torch.equal, weights_of(alone), weights_of(run)))


# Damaged state


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    monitor = LabelSimilarityMonitor(thresholds=FEW)
    fit(monitor)
    saved: dict[str, Any] = json.loads(json.dumps(monitor.state_dict()))
    saved["alerts"] = [{"stage": "val", "dataloader_idx": None, "counts": []}]
    return saved


ODD: list[Any] = [None, True, -1, 2**70, float("nan"), float("inf"), "x", b"x", [], {}, [1], {"a": 1}, torch.ones(2), object()]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of nested dictionaries and lists."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def with_value(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the state with another value at a path."""
    if not path:
        return value
    changed = copy.deepcopy(state)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def test_a_damaged_state_is_told_and_nothing_of_it_is_kept(state: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in any place: the state is taken, or the monitor is as before with one message. A later fit goes well."""
    told: list[str] = []
    monkeypatch.setattr(f"{MONITOR}.rank_zero_warn", told.append)
    monkeypatch.setattr(f"{MONITOR}.rank_zero_info", told.append)
    damaged = [with_value(state, path, odd) for path in places(state) for odd in ODD]
    assert len(damaged) > 400
    for one in damaged:
        monitor = LabelSimilarityMonitor(thresholds=FEW)
        new = monitor.state_dict()
        told.clear()
        monitor.load_state_dict(one)
        assert len(told) <= 1
        if told:
            assert monitor.state_dict() == new
            assert told[0].isprintable()
            assert len(told[0]) <= 400
        else:
            json.dumps(monitor.state_dict(), allow_nan=False)
    for one in damaged[:: len(damaged) // 12]:
        monitor = LabelSimilarityMonitor(thresholds=FEW, display=PLAIN)
        monitor.load_state_dict(one)
        _, later = fit(monitor, max_epochs=1)
        assert later == []


# Log folders


class At(Callback):
    """Does something at a step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.act()


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[Callable[[], None]]:
    """A function after whose call no file may grow beyond `limit` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def replaced(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize("step", [0, 3, 11])
@pytest.mark.parametrize("fault", ["full", "deleted", "replaced by a file"])
@pytest.mark.parametrize("kind", [TensorBoardLogger, CSVLogger])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_folder_that_fails_costs_its_reports_only(kind: Any, fault: str, step: int, tmp_path: Path) -> None:
    """The fit ends as it does without the monitor, with one warning; TensorBoard's thread does not fail."""

    def ended(folder: Path, *monitors: Callback) -> tuple[str, list[str], pl.Trainer | None]:
        with small_files(4_500 if kind is TensorBoardLogger else 150) as limit:
            act = {
                "full": limit,
                "deleted": lambda: shutil.rmtree(folder),
                "replaced by a file": lambda: replaced(folder),
            }[fault]
            logger = kind(folder.parent, name=folder.name, version="")
            try:
                run, told = fit(At(step, act), *monitors, logger=logger, log_every_n_steps=1)
            except OSError as error:
                return errno.errorcode[error.errno or 0], [], None
            return "", told, run

    (tmp_path / "alone").mkdir()
    (tmp_path / "watched").mkdir()
    alone, _, unwatched = ended(tmp_path / "alone")
    monitor = LabelSimilarityMonitor(schedule=OFTEN, thresholds=FEW, display=PLAIN)
    watched, told, run = ended(tmp_path / "watched", monitor)
    assert watched == alone
    if run is not None and unwatched is not None:
        assert all(map(torch.equal, weights_of(unwatched), weights_of(run)))
        assert len(told) <= 1
        if kind is TensorBoardLogger and not (fault == "full" and step == 11):
            assert len(told) == 1
            assert "failed and is off for the rest of this run" in told[0]
        assert "val" in monitor.last_report
    assert not [*tmp_path.rglob("*.part")]


def test_what_the_user_logs_after_a_full_disk_is_readable(tmp_path: Path) -> None:
    """A record of ours that did not fit is cut off."""

    logger = TensorBoardLogger(tmp_path, name=None, version="")
    with small_files(3_000) as limit:
        fit(LabelSimilarityMonitor(schedule=OFTEN, thresholds=FEW, display=PLAIN), At(0, limit), logger=logger)
    with TensorBoardLogger(tmp_path, name=None, version="").experiment as curves:
        curves.add_scalar("later", 1.0, 0)
    for path in tmp_path.glob("events*"):
        events = EventAccumulator(str(path))
        events.Reload()
        assert events.Tags()["scalars"]
