"""Loggers of every make: curves reach all of them, pictures and tables those that can show them."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_cossim import LabelSimilarityMonitor
from lightning_cossim.functional.scalars import scalars
from tests.compatibility.cells import EVERY_BATCH
from tests.toys import ALWAYS, FEW, Toy, loader, trainer

KEY = "cossim_val/gap_behavior"


def fit(logger: Any) -> LabelSimilarityMonitor:
    """Two epochs of six steps, twelve labels; not one warning of ours."""
    torch.manual_seed(0)
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trainer(callbacks=[monitor], logger=logger).fit(Toy(12), loader(num_labels=12), loader(60, num_labels=12))
    assert [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)] == []
    return monitor


def last(monitor: LabelSimilarityMonitor) -> float:
    return monitor.last_report["val"].scalars["gap_behavior"]


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def assert_all_pages(found: EventAccumulator, monitor: LabelSimilarityMonitor, prefix: str = "") -> None:
    (first, second) = found.Scalars(f"{prefix}{KEY}")
    assert (first.step, second.step) == (5, 11)
    assert second.value == pytest.approx(last(monitor))
    assert {f"{prefix}cossim_val_heatmap/{what}" for what in ("centered_cosine", "gap", "overlap")} <= {*found.Tags()["images"]}
    assert f"{prefix}cossim_val_pairs/strangers_and_lookalikes/text_summary" in found.Tags()["tensors"]


@pytest.mark.parametrize("settings", [{}, {"prefix": "mine"}, {"sub_dir": "below"}], ids=str)
def test_tensorboard(settings: dict[str, Any], tmp_path: Path) -> None:
    monitor = fit(TensorBoardLogger(tmp_path, name=None, version="", **settings))
    prefix = f"{settings['prefix']}-" if "prefix" in settings else ""
    assert_all_pages(events(tmp_path / settings.get("sub_dir", "")), monitor, prefix)


def test_two_at_once(tmp_path: Path) -> None:
    """Of one kind or of two: each has all that it can show."""
    boards = [TensorBoardLogger(tmp_path, name=None, version=name) for name in ("a", "b")]
    table = CSVLogger(tmp_path, name=None, version="c")
    monitor = fit([*boards, table])
    for name in ("a", "b"):
        assert_all_pages(events(tmp_path / name), monitor)
    assert_csv(tmp_path / "c" / "metrics.csv", monitor)


def assert_csv(path: Path, monitor: LabelSimilarityMonitor) -> None:
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    assert {f"cossim_val/{name}" for name in set(scalars("softmax")) - {"overhead_fraction"}} <= {*header}
    by_step = {int(row[header.index("step")]): row[header.index(KEY)] for row in rows if row[header.index(KEY)]}
    assert sorted(by_step) == [5, 11]
    assert float(by_step[11]) == pytest.approx(last(monitor))


def test_csv(tmp_path: Path) -> None:
    monitor = fit(CSVLogger(tmp_path, name=None, version=""))
    assert_csv(tmp_path / "metrics.csv", monitor)


def test_none() -> None:
    assert set(fit(logger=False).last_report) == {"train", "val"}


@pytest.fixture
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning then takes tensorboardX."""
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)


@pytest.mark.full
@pytest.mark.usefixtures("without_tensorboard")
def test_tensorboardx_alone(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name=None, version="")
    monitor = fit(logger)
    assert type(logger.experiment).__module__.startswith("tensorboardX")
    logger.experiment.flush()
    assert_all_pages(events(tmp_path), monitor)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No network, and nothing in the user's home."""
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "MLFLOW_TRACKING_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    yield
    import wandb

    wandb.teardown()


@pytest.mark.full
@pytest.mark.usefixtures("offline")
def test_wandb_offline(tmp_path: Path) -> None:
    """Curves, heatmaps as images, pairs as a table."""
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(project="cossim", save_dir=tmp_path, offline=True)
    monitor = fit(logger)
    summary = logger.experiment.summary
    assert summary[KEY] == pytest.approx(last(monitor))
    assert list(tmp_path.rglob("media/images/cossim_val_heatmap/gap_*.png"))
    assert list(tmp_path.rglob("media/table/cossim_val_pairs/*.table.json"))
    logger.experiment.finish()


@pytest.mark.full
@pytest.mark.usefixtures("offline")
def test_mlflow_in_a_folder(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    uri, artifacts = f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2026-11: mlflow 3.17 uses what sqlalchemy would rather not have
        logger = MLFlowLogger("cossim", tracking_uri=uri, artifact_location=artifacts)
        monitor = fit(logger)
        assert logger.run_id is not None
        history = logger.experiment.get_metric_history(logger.run_id, KEY)
    assert [metric.step for metric in history] == [5, 11]
    assert history[-1].value == pytest.approx(last(monitor))
