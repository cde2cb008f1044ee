"""What a training writes for the tab: every report once, in order, within its budget, and as files beside the events."""

import csv
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_BLOB_SEQUENCE
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim import Alert, AlertError, Display, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import Step, unpack
from lightning_cossim.loggers.writers import log_folder
from tests.tensorboard_plugin.events import reports
from tests.toys import ALWAYS, FEW, LanguageToy, Loader, Sentences, Toy, altered, loader, trainer

pytestmark = pytest.mark.usefixtures("few_inputs")
EVERY_STEP = Schedule(train_every_n_steps=2, train_batches=1)
ENOUGH = 256
"""Inputs of a batch that give a verdict on their own: eight runs of 32 of them, and five for each of twelve labels."""


def loaders() -> tuple[Loader, Loader]:
    """Six batches to train on, one to validate on."""
    return loader(6 * ENOUGH, ENOUGH, num_labels=12), loader(ENOUGH, ENOUGH, num_labels=12)


def fit(folder: Path, display: Display = ALWAYS, prefix: str = "", **settings: Any) -> LabelSimilarityMonitor:
    torch.manual_seed(0)
    monitor = LabelSimilarityMonitor(schedule=EVERY_STEP, thresholds=FEW, display=display, **settings)
    logger = TensorBoardLogger(folder, name=None, version="", prefix=prefix)
    trainer(callbacks=[monitor], logger=logger).fit(Toy(12), *loaders())
    return monitor


def events(folder: Path, tag: str) -> list[tuple[int, Step]]:
    """Step and content of everything under a tag."""
    found = EventAccumulator(str(folder), {"tensors": 0})
    found.Reload()
    if tag not in found.Tags()["tensors"]:
        return []
    metadata = found.SummaryMetadata(tag)
    assert metadata.plugin_data.plugin_name == "lightning_cossim"
    assert metadata.data_class == DATA_CLASS_BLOB_SEQUENCE
    read = []
    for event in found.Tensors(tag):
        blobs: Any = tensor_util.make_ndarray(event.tensor_proto)
        assert blobs.shape in {(1,), (2,)}, "other ranks vanish without a word"
        read.append((event.step, unpack(blobs[0])))
    return read


def test_every_report_is_a_step(tmp_path: Path) -> None:
    """Training and validation each under a tag of its own, counted from 1; the last is the last report."""
    monitor = fit(tmp_path)
    validation, training = events(tmp_path, "cossim_val"), events(tmp_path, "cossim_train")
    assert [step for step, _ in validation] == [5, 11]
    assert [one.index for _, one in validation] == [1, 2]
    assert [step for step, _ in training] == [0, 2, 4, 6, 8, 10, 11]
    assert [one.index for _, one in training] == list(range(1, 8))
    last, report = validation[-1][1], monitor.last_report["val"]
    assert (last.stage, last.step, last.num_inputs) == ("val", report.step, report.num_inputs)
    gap = last.values["overlap"] - last.values["expected_overlap"]
    torch.testing.assert_close(torch.from_numpy(gap), report.gap.double(), atol=1e-4, rtol=0, equal_nan=True)
    assert last.scalars["gap_behavior"] == pytest.approx(report.scalars["gap_behavior"])


def test_a_prefix_and_a_name_are_in_the_tag(tmp_path: Path) -> None:
    """What goes around the logger has to bring its prefix along."""
    fit(tmp_path, prefix="mine", name="aux")
    assert [step for step, _ in events(tmp_path, "mine-cossim_aux_val")] == [5, 11]


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    fit(tmp_path, Display(max_overhead=None, tab=False, evidence=False))
    assert events(tmp_path, "cossim_val") == []
    assert not [*tmp_path.glob("*.csv"), *tmp_path.glob("*.json")]


def test_what_does_not_fit_the_budget_waits(tmp_path: Path) -> None:
    """The first step comes, and at the end of the fit the last of every stage."""
    fit(tmp_path, Display(max_overhead=0.0))
    validation = events(tmp_path, "cossim_val")
    assert [(step, one.index) for step, one in validation] == [(11, 1)]
    assert [step for step, _ in events(tmp_path, "cossim_train")] == [0, 11]


def test_the_last_report_is_in_files_beside_the_events(tmp_path: Path) -> None:
    """For people without TensorBoard."""
    monitor = fit(tmp_path)
    rows = list(csv.DictReader((tmp_path / "cossim_val.csv").read_text(encoding="utf-8").splitlines()))
    whole = json.loads((tmp_path / "cossim_val.json").read_text(encoding="utf-8"))
    first = monitor.last_report["val"].pairs()[0]
    assert len(rows) == len(whole["pairs"]) == 66
    assert (
        (rows[0]["label"], rows[0]["other"])
        == (whole["pairs"][0]["label"], whole["pairs"][0]["other"])
        == (first.label, first.other)
    )
    assert float(rows[0]["gap"]) == pytest.approx(first.gap, abs=1e-6)
    assert whole["step"] == 11
    assert not [*tmp_path.glob("*.part")]


def test_files_are_named_by_nothing_that_leads_elsewhere(tmp_path: Path) -> None:
    """A monitor's name is in its files' names."""
    fit(tmp_path / "logs", name="../../up")
    names = [f"cossim_.._.._up_{stage}{kind}" for stage in ("train", "val") for kind in (".csv", ".json", "_evidence.csv")]
    assert sorted(path for path in tmp_path.rglob("*up*") if path.is_file()) == sorted(tmp_path / "logs" / name for name in names)


def test_a_logger_without_events_gets_files(tmp_path: Path) -> None:
    """They are for people without TensorBoard."""
    logger = CSVLogger(tmp_path, name=None, version="")
    monitor = LabelSimilarityMonitor(schedule=EVERY_STEP, thresholds=FEW, display=ALWAYS)
    trainer(callbacks=[monitor], logger=logger).fit(Toy(12), *loaders())
    assert monitor.last_report["val"].step == 11
    assert sorted(path.name for path in tmp_path.glob("cossim*.json")) == ["cossim_train.json", "cossim_val.json"]


def test_another_writer_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """tensorboardX has everything but sequences of blobs: its built-in pages are all there, and one line says what is not."""
    logger = TensorBoardLogger(tmp_path, name=None, version="")
    monitor = LabelSimilarityMonitor(schedule=EVERY_STEP, thresholds=FEW, display=ALWAYS)
    with (
        caplog.at_level(logging.INFO),
        mock.patch("lightning_cossim.loggers.publisher.shows_steps", return_value=False),
    ):
        trainer(callbacks=[monitor], logger=logger).fit(Toy(12), *loaders())
    said = [record.getMessage() for record in caplog.records if "tab stays empty" in record.getMessage()]
    assert len(said) == 1
    assert "cannot write its data. Use a logger that writes with torch.utils.tensorboard." in said[0]
    assert events(tmp_path, "cossim_val") == []


@pytest.mark.parametrize("broken", ["write_step", "step_of"])
def test_a_failure_costs_the_tab_alone(tmp_path: Path, broken: str) -> None:
    """One warning, and everything else goes on."""
    with (
        warnings.catch_warnings(record=True) as caught,
        mock.patch(f"lightning_cossim.loggers.recorder.{broken}", side_effect=OSError("disk full")),
    ):
        warnings.simplefilter("always")
        monitor = fit(tmp_path)
    said = [str(one.message) for one in caught if "LabelSimilarityMonitor" in str(one.message)]
    gone = "writing steps to TensorBoardLogger failed and is off for the rest of this run"
    error = "Reports are still in `last_report`. The error: OSError: disk full"
    assert said == [f"LabelSimilarityMonitor: {gone}. {error}"]
    assert monitor.last_report["val"].step == 11
    assert (tmp_path / "cossim_val.csv").exists()


@pytest.mark.usefixtures("rare_labels_count")
def test_the_last_step_of_a_vocabulary_has_its_look_alikes(tmp_path: Path) -> None:
    """Neighbors are looked for at the end of the fit; a step is written once, so the last one waits for them."""
    torch.manual_seed(0)
    monitor = LabelSimilarityMonitor(
        labels=LabelSelection(max_tracked=12, targets_key="labels"),
        schedule=Schedule(train_every_n_steps=4, train_batches=2),
        thresholds=FEW,
        display=ALWAYS,
    )
    logger = TensorBoardLogger(tmp_path, name=None, version="")
    data = torch.utils.data.DataLoader(Sentences(num_words=700), batch_size=8)
    trainer(callbacks=[monitor], logger=logger, max_epochs=3).fit(LanguageToy(700), data, data)
    steps = events(tmp_path, "cossim_val")
    assert [step for step, _ in steps] == [5, 11, 17]
    report = monitor.last_report["val"]
    assert report.sampling
    last, labels = steps[-1][1], torch.tensor(report.labels)
    assert ["whose rows are most alike" in one.chosen for _, one in steps] == [False, False, True]
    alike = report.rungs["centered_cosine"].nan_to_num(-2).topk(500).indices
    wanted = zip(labels[report.compared.row[alike]].tolist(), labels[report.compared.column[alike]].tolist(), strict=True)
    rows, columns = (np.array(last.labels)[places].tolist() for places in (last.row, last.column))
    assert {*wanted} <= {*zip(rows, columns, strict=True)}


def test_an_alert_that_ends_the_run_is_in_the_tab(tmp_path: Path) -> None:
    """The report that raised it is what people look for."""
    thresholds = replace(FEW, alerts=[Alert("gap_behavior", above=-10.0, action="raise")], min_reliability=0.0)
    monitor = LabelSimilarityMonitor(schedule=EVERY_STEP, thresholds=thresholds, display=ALWAYS)
    logger = TensorBoardLogger(tmp_path, name=None, version="")
    torch.manual_seed(0)
    with pytest.raises(AlertError):
        trainer(callbacks=[monitor], logger=logger).fit(Toy(12), *loaders())
    logger.finalize("failed")
    assert [step for step, _ in events(tmp_path, "cossim_val")] == [monitor.last_report["val"].step] == [5]


def test_a_second_validation_at_a_step_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A step is written once, so what comes after it at the same step is not there."""
    monitor = LabelSimilarityMonitor(thresholds=FEW, display=ALWAYS)
    logger, model = TensorBoardLogger(tmp_path, name=None, version=""), Toy(12)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            trainer(callbacks=[monitor], logger=logger).validate(model, loader(60, num_labels=12), verbose=False)
    said = [record.getMessage() for record in caplog.records if "TensorBoard's tab does not get" in record.getMessage()]
    assert len(said) == 1
    assert "TensorBoard's tab does not get step 0 of cossim_val: it has this step or a later one already." in said[0]
    assert [step for step, _ in events(tmp_path, "cossim_val")] == [0]


def test_why_nothing_is_judged_is_in_the_step() -> None:
    """Few inputs are no clean bill of health."""
    (report,) = reports(12, 1)
    strict = Thresholds(min_inputs=10**6)
    wanted = f"{report.num_inputs} inputs, verdicts need 1000000"
    assert step_of(report.judged(strict), index=1, time=0.0).verdict == wanted


def test_no_files_beside_events_that_are_elsewhere() -> None:
    logger = SimpleNamespace(experiment=SimpleNamespace(log_dir="s3://bucket/logs"))
    assert log_folder(logger) is None


# Once each, and never back


@pytest.fixture
def two_loggers(tmp_path: Path) -> Sequence[Any]:
    return [SimpleNamespace(experiment=SummaryWriter(str(tmp_path / name))) for name in ("a", "b")]


def test_a_step_is_written_once_and_none_before_it(tmp_path: Path, two_loggers: Sequence[Any]) -> None:
    """TensorBoard's readers disagree on what comes twice, and the fast one drops steps that go back."""
    one, other = two_loggers
    (report,) = reports(5, 1)
    recorder = Recorder(None, LabelOrder())
    for step in (10, 10, 20, 15, 30):
        recorder.record(altered(report, step=step), one)
    recorder.record(altered(report, step=15), other)
    for logger in two_loggers:
        logger.experiment.close()
    assert [(step, found.index) for step, found in events(tmp_path / "a", "cossim_val")] == [(10, 1), (20, 2), (30, 3)]
    assert [(step, found.index) for step, found in events(tmp_path / "b", "cossim_val")] == [(15, 1)]


def test_another_fit_begins_anew(tmp_path: Path, two_loggers: Sequence[Any]) -> None:
    (report,) = reports(5, 1)
    recorder = Recorder(None, LabelOrder())
    recorder.record(report, two_loggers[0])
    recorder.start_fit()
    recorder.record(altered(report, step=3), two_loggers[0])
    two_loggers[0].experiment.close()
    assert [step for step, _ in events(tmp_path / "a", "cossim_val")] == [10, 3]


def test_every_loader_has_a_tag(tmp_path: Path, two_loggers: Sequence[Any]) -> None:
    (report,) = reports(5, 1)
    recorder = Recorder(None, LabelOrder())
    for dataloader_idx in (0, 1):
        recorder.record(altered(report, dataloader_idx=dataloader_idx), two_loggers[0])
    two_loggers[0].experiment.close()
    for dataloader_idx in (0, 1):
        assert len(events(tmp_path / "a", f"cossim_val/dataloader_idx_{dataloader_idx}")) == 1
