"""Where Lightning starts the processes of a run, the caller's monitor gets the reports and the head that they leave."""

import copy
import multiprocessing
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException
from typing_extensions import override

from lightning_cossim import Alert, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.callback import other_process
from lightning_cossim.callback.other_process import Handover
from tests.toys import ALWAYS, FEW, Batch, Toy, loader, trainer

TWO: Final = {"accelerator": "cpu", "devices": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where temporary files go; the processes of other tests put theirs elsewhere."""
    with mock.patch.object(tempfile, "tempdir", str(tmp_path)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, on processes and samplers
        yield tmp_path


def left_in(folder: Path) -> list[str]:
    """Files that are neither torch's (of errors) nor Lightning's (of the weights)."""
    return [path.name for path in folder.rglob("*") if path.is_file() and "errorfile" not in path.name]


def monitored(**settings: Any) -> LabelSimilarityMonitor:
    thresholds = settings.pop("thresholds", FEW)
    return LabelSimilarityMonitor(display=ALWAYS, thresholds=thresholds, schedule=Schedule(train_every_n_steps=2, **settings))


def elsewhere(monitor: LabelSimilarityMonitor, strategy: str = "ddp_fork", **settings: Any) -> Trainer:
    return trainer(callbacks=[monitor], strategy=strategy, **TWO, **settings)


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp_fork",
        "ddp_notebook",
        pytest.param("ddp_spawn", marks=pytest.mark.full),  # each process imports everything anew
    ],
)
def test_reports_and_head_come_back_to_the_caller(strategy: str, folder: Path) -> None:
    """The report is that of `callback_metrics`, the head audited that of the model, and the next run goes on from there."""
    monitor, model = monitored(), Toy()
    runs = elsewhere(monitor, strategy)
    runs.fit(model, loader(64), loader(32))
    report = monitor.last_report["val"]
    assert set(monitor.last_report) == {"train", "val"}
    assert report.num_inputs == 32
    assert runs.callback_metrics["cossim_val/overlap_mean"].item() == pytest.approx(report.scalars["overlap_mean"])
    audit = monitor.audit(0, 1)
    one, other = model.head.weight.detach().double()[:2]
    assert audit.as_trained == pytest.approx(torch.cosine_similarity(one, other, dim=0).item(), abs=1e-6)
    assert audit.holds
    assert audit.num_inputs > 0
    runs.test(model, loader(32), verbose=False)
    assert set(monitor.last_report) == {"train", "val", "test"}
    assert monitor.last_report["test"].step == 4  # of the fit of four steps, which only other processes counted
    assert left_in(folder) == []


def test_what_came_back_is_there_for_runs_in_this_process() -> None:
    monitor, model = monitored(), Toy()
    elsewhere(monitor).fit(model, loader(64), loader(32))
    trainer(callbacks=[monitor]).validate(model, loader(16), verbose=False)
    assert monitor.last_report["val"].num_inputs == 16
    assert monitor.last_report["val"].step == 4
    assert "train" in monitor.last_report
    assert monitor.audit(0, 1).holds


class Failing(Toy):
    """Its third step fails."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if batch_idx == 3:
            raise ValueError("mine")
        return super().training_step(batch, batch_idx)


def test_a_run_that_fails_leaves_its_reports_and_no_file(folder: Path) -> None:
    monitor = monitored(train_batches=1)
    with pytest.raises(ProcessRaisedException, match="mine"):
        elsewhere(monitor).fit(Failing(), loader(128))
    assert monitor.last_report["train"].step < 3
    assert left_in(folder) == []


def test_the_report_of_an_alert_that_raises_is_there() -> None:
    alerts = (Alert("overlap_mean", above=0.0, action="raise"),)
    monitor = monitored(thresholds=Thresholds(min_inputs=0, min_reliability=0.0, alerts=alerts))
    with pytest.raises(ProcessRaisedException, match="AlertError"):
        elsewhere(monitor).fit(Toy(12), loader(64), loader(32))
    assert len(monitor.last_report["val"].alerts) == 1


def test_a_full_disk_costs_the_reports_here_and_not_the_run() -> None:
    monitor, model = monitored(), Toy()
    before = copy.deepcopy(model.head.weight)
    with mock.patch.object(other_process._SharedFile, "write", side_effect=OSError("no space left")):
        elsewhere(monitor).fit(model, loader(64), loader(32))
    assert not torch.equal(model.head.weight, before)
    assert monitor.last_report == {}


# The place that both have in common


def told(handover: Handover, what: Any) -> None:
    assert handover.is_away
    handover.leave(what)


def in_another_process(handover: Handover, what: Any, method: str) -> None:
    process = multiprocessing.get_context(method).Process(target=told, args=(handover, what))  # type: ignore[attr-defined]
    process.start()
    process.join(300)
    assert process.exitcode == 0


SLOW: Final = [pytest.param(method, marks=pytest.mark.full) for method in ("spawn", "forkserver")]
"""Each process imports everything anew."""


@pytest.mark.parametrize("method", ["fork", *SLOW])
def test_the_last_that_was_left_is_collected_once(method: str, folder: Path) -> None:
    handover = Handover()
    assert not handover.is_away
    assert handover.collect() is None
    in_another_process(handover, "a" * 100_000, method)
    in_another_process(handover, {"b": torch.arange(3)}, method)
    assert torch.equal(handover.collect()["b"], torch.arange(3))
    assert handover.collect() is None
    in_another_process(handover, "c", method)
    assert handover.collect() == "c"
    assert left_in(folder) == []


def test_a_copy_is_one_by_itself() -> None:
    """With what was left and not collected; the first one still has it as well."""
    handover = Handover()
    in_another_process(handover, "left", "fork")
    copies = [copy.deepcopy(handover), pickle.loads(pickle.dumps(handover))]  # noqa: S301 - our own bytes
    for one in copies:
        assert not one.is_away
        assert one.collect() == "left"
    assert handover.collect() == "left"
    in_another_process(handover, "more", "fork")
    assert [one.collect() for one in copies] == [None, None]


def test_what_was_written_in_part_is_not_collected() -> None:
    """Its process was ended in the middle."""
    handover = Handover()
    with mock.patch.object(os, "ftruncate", side_effect=OSError("ended")), pytest.raises(OSError, match="ended"):
        handover.leave("whole")
    handover._seen = 0
    assert handover.collect() is None


@pytest.mark.parametrize("why", [OSError("read-only"), AttributeError("pwrite")])
def test_without_a_file_nothing_is_handed_over(why: Exception) -> None:
    with mock.patch.object(tempfile, "TemporaryFile", side_effect=why):
        handover = Handover()
    handover.leave("nothing")
    assert handover.collect() is None
    assert pickle.loads(pickle.dumps(handover)).collect() is None  # noqa: S301 - our own bytes


def test_the_file_is_closed_with_its_object() -> None:
    handover = Handover()
    assert handover._file is not None
    descriptor = handover._file._descriptor
    os.fstat(descriptor)
    del handover
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_copied_head_needs_no_model() -> None:
    """It is as large as the weights, and stays as it was."""
    monitor, model = monitored(), Toy()
    trainer(callbacks=[monitor]).validate(model, loader(16), verbose=False)
    copied = monitor._observed.copied()  # type: ignore[union-attr]
    assert copied is not None
    before = model.head.weight.detach().clone()
    nn.init.zeros_(model.head.weight)
    again = pickle.loads(pickle.dumps(copied))  # noqa: S301 - our own bytes
    assert torch.equal(again.weights.unembedding, before)
    assert len(pickle.dumps(copied)) < 10_000
