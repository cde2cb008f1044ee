"""Where a logger's events are: only a folder that is there is one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim import LabelSimilarityMonitor
from lightning_cossim.loggers.writers import log_folder, write_files
from tests.loggers.test_publisher import Desk
from tests.report.test_verdicts import report_of
from tests.toys import FEW, Toy, loader, trainer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test stands: whatever is made by mistake is made here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


MOCKED: dict[str, Any] = {
    "anything": MagicMock(),
    "a TensorBoardLogger": MagicMock(spec=TensorBoardLogger),
    "a writer": MagicMock(experiment=MagicMock(spec=SummaryWriter)),
    "a text": SimpleNamespace(experiment=SimpleNamespace(log_dir=MagicMock(spec=str))),
    "a path": SimpleNamespace(experiment=SimpleNamespace(log_dir=MagicMock(spec=Path))),
    "bytes": SimpleNamespace(experiment=SimpleNamespace(log_dir=b"/tmp")),
    "none": SimpleNamespace(experiment=SimpleNamespace(log_dir=None)),
    "a number": SimpleNamespace(experiment=SimpleNamespace(log_dir=7)),
    "an address": SimpleNamespace(experiment=SimpleNamespace(log_dir="s3://bucket/run")),
    "nowhere": SimpleNamespace(experiment=SimpleNamespace(log_dir="not/there")),
    "no experiment": SimpleNamespace(),
}


@pytest.mark.parametrize("what", MOCKED)
def test_what_is_no_folder_gets_no_files(what: str, folder: Path) -> None:
    assert log_folder(MOCKED[what]) is None
    write_files(MOCKED[what], {"cossim_val.csv": "a"})
    assert [*folder.iterdir()] == []


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_that_is_there_gets_them(kind: type, folder: Path) -> None:
    logger = SimpleNamespace(experiment=SimpleNamespace(log_dir=kind(folder)))
    assert log_folder(logger) == str(folder)
    write_files(logger, {"cossim_val.csv": "a"})
    assert (folder / "cossim_val.csv").read_text(encoding="utf-8") == "a"


def test_the_folder_of_a_real_writer_is_there(folder: Path) -> None:
    logger = TensorBoardLogger(folder, "name", "version")
    assert log_folder(logger) == str(folder / "name" / "version")
    assert log_folder(CSVLogger(folder)) is None or Path(str(log_folder(CSVLogger(folder)))).is_dir()
    logger.experiment.close()


class Closed:
    """Its folder cannot be asked for."""

    def __init__(self) -> None:
        self.experiment = self
        self.entries: list[Any] = []

    @property
    def log_dir(self) -> str:
        raise RuntimeError("closed")

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.entries.append(metrics)


def test_a_logger_that_fails_when_asked_costs_its_files_and_one_warning() -> None:
    desk, logger = Desk(), Closed()
    report = report_of(num_inputs=300)
    desk.publisher.publish_files([report, report], [logger])
    gone = "writing files to Closed failed and is off for the rest of this run"
    assert desk.warned == [f"{gone}. Reports are still in `last_report`. The error: RuntimeError: closed"]


@pytest.mark.parametrize("what", ["anything", "a TensorBoardLogger"])
def test_a_fit_with_a_mocked_logger_leaves_nothing_behind(what: str, folder: Path) -> None:
    monitor = LabelSimilarityMonitor(thresholds=FEW)
    trainer(callbacks=[monitor], logger=MOCKED[what]).fit(Toy(), loader(32), loader(32))
    assert [*folder.iterdir()] == []
    assert "val" in monitor.last_report
