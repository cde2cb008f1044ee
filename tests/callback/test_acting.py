"""Alerts in real fits: at which step each acts, what it does, and what other callbacks make of the keys they watch."""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from typing_extensions import override

from lightning_cossim import Alert, AlertError, GapReport, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.config.thresholds import Scalar, Stage
from lightning_cossim.errors import LabelSimilarityError
from lightning_cossim.functional.scalars import scalars
from lightning_cossim.report import Extras, Statistics, WindowKey
from tests.report.test_verdicts import report_of
from tests.toys import ALWAYS, MemoryLogger, Toy, altered, loader, trainer

NAN = math.nan
EVERY_BATCH = Schedule(train_every_n_steps=1, train_batches=1)
NUM_LABELS = 12
Value = float | Literal["no verdict"]


def thresholds(*alerts: Alert, min_inputs: int = 0) -> Thresholds:
    """Verdicts from the first input on, and strangers whatever their joint inputs, and from small gaps on."""
    flags: dict[str, Any] = {"stranger": 0.01, "outlier": 0, "min_joint_inputs": 0}
    return Thresholds(**flags, min_inputs=min_inputs, min_reliability=0, alerts=alerts)


def fit(monitor: LabelSimilarityMonitor, **settings: Any) -> tuple[pl.Trainer, Toy]:
    """Six batches an epoch, each after a validation."""
    pl.seed_everything(3, verbose=False)
    model = Toy(NUM_LABELS)
    callbacks = [monitor, *settings.pop("callbacks", [])]
    run = trainer(callbacks=callbacks, **settings)
    run.fit(model, loader(num_labels=NUM_LABELS, shuffle=True), loader(60, num_labels=NUM_LABELS, seed=2))
    return run, model


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the monitor says in here, filled in at the end."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        yield texts
    told = [str(warning.message) for warning in record]
    texts += [text.removeprefix("LabelSimilarityMonitor: ") for text in told if text.startswith("LabelSimilarityMonitor: ")]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage, Sequence[Value]], None]:
    """Replaces what the head shows of a stage by a series of `gap_behavior`, and of `overlap_mean`, which is one minus it."""

    def replaced(stage: Stage, values: Sequence[Value]) -> None:
        real = Collector.close
        reports: Iterator[GapReport] = map(report_with, values)

        def close(self: Collector, key: WindowKey, processes: Processes) -> tuple[Statistics, Extras]:
            statistics, extras = real(self, key, processes)
            return next(reports).statistics if key.stage == stage else statistics, extras

        monkeypatch.setattr(Collector, "close", close)

    return replaced


def report_with(value: Value) -> GapReport:
    """A report with this `gap_behavior`, or one that sees too little for a verdict."""
    report = report_of(NUM_LABELS)
    seen, number = ({}, value) if isinstance(value, float) else ({"num_inputs": 0}, 0.9)
    return altered(report, **seen, scalars={**report.scalars, "gap_behavior": number, "overlap_mean": 1 - number})


# A series that is given


@pytest.mark.parametrize(
    ("values", "patience", "wanted"),
    [
        pytest.param([0.7] * 6, 1, [0], id="once per breach"),
        pytest.param([0.5, 0.7, 0.7, 0.5, 0.7, 0.7], 1, [1, 4], id="again after recovery"),
        pytest.param([0.7, 0.7, 0.7, 0.7, 0.5, 0.7], 3, [2], id="patience"),
        pytest.param([0.7, 0.7, 0.5, 0.7, 0.7, 0.7], 3, [5], id="in a row"),
        pytest.param([0.7, NAN, 0.7, NAN, 0.7, 0.7], 3, [4], id="undefined values keep the count"),
        pytest.param([0.7, "no verdict", "no verdict", 0.7, 0.5, 0.7], 2, [3], id="no verdict keeps the count"),
        pytest.param([NAN, "no verdict", 0.7, 0.7, 0.7, 0.7], 1, [2], id="nothing at first"),
        pytest.param([0.5] * 6, 1, [], id="never"),
    ],
)
def test_a_warning_comes_at_the_step_that_the_series_says(
    values: list[Value], patience: int, wanted: list[int], feed: Callable[[Stage, Sequence[Value]], None]
) -> None:
    """Told the user, kept in the report, and training goes on to its end."""
    feed("train", values)
    reports: list[GapReport] = []

    class Recorder(pl.Callback):
        @override
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            reports.append(monitor.last_report["train"])

    alert = Alert("gap_behavior", "train", above=0.6, patience=patience)
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(alert, min_inputs=1), display=ALWAYS)
    with heard() as said:
        run, _ = fit(monitor, max_epochs=1, callbacks=[Recorder()])
    assert run.global_step == 6
    in_a_row = f", for {patience} reports in a row" if patience > 1 else ""
    text = f"gap_behavior is 0.7, above 0.6{in_a_row} (warn)"
    assert said == [f"alert of cossim_train at step {step}: {text}" for step in wanted]
    assert [report.step for report in reports if report.alerts] == wanted
    assert all(report.alerts in ((), (text,)) for report in reports)


@pytest.mark.parametrize("action", ["stop", "raise"])
def test_the_fit_ends_at_the_step_that_the_series_says(
    action: Literal["stop", "raise"], feed: Callable[[Stage, Sequence[Value]], None]
) -> None:
    """With the third breach in a row, whose value counts; the step itself is whole."""
    feed("train", [0.7, NAN, 0.7, 0.5, 0.7, 0.7, "no verdict", 0.8, 0.7, 0.7, 0.7, 0.7])
    alert = Alert("gap_behavior", "train", above=0.6, patience=3, action=action)
    logger = MemoryLogger()
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(alert, min_inputs=1), name="aux", display=ALWAYS)
    text = f"gap_behavior is 0.8, above 0.6, for 3 reports in a row ({action})"
    with heard() as said:
        if action == "stop":
            run, model = fit(monitor, logger=logger)
            assert run.global_step == model.batches_seen == 8
            assert run.should_stop
            assert max(logger.curve("val_loss")) == 7  # Lightning validates once more before it ends
        else:
            with pytest.raises(AlertError) as caught:
                fit(monitor, logger=logger)
            assert str(caught.value) == f"alert of cossim_aux_train at step 7: {text}"
            assert isinstance(caught.value, LabelSimilarityError)
    assert said == [f"alert of cossim_aux_train at step 7: {text}"]
    assert monitor.last_report["train"].step == max(logger.curve("cossim_aux_train/gap_behavior")) == 7
    assert monitor.last_report["train"].alerts == (text,)


def test_several_alerts_act_together(feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """Each is told, and the first that raises does so once all are."""
    feed("val", [0.7, 0.7])
    alerts = [
        Alert("gap_behavior", above=0.6, patience=2, action="raise"),
        Alert("gap_behavior", above=0.5, patience=2, action="stop"),
        Alert("gap_behavior", above=0.4, patience=2),
        Alert("gap_behavior", above=0.3, patience=2, action="raise"),
    ]
    monitor = LabelSimilarityMonitor(thresholds=thresholds(*alerts))
    with heard() as said, pytest.raises(AlertError, match=re.escape("above 0.6, for 2")):
        fit(monitor, max_epochs=3)
    texts = [f"gap_behavior is 0.7, above {alert.above}, for 2 reports in a row ({alert.action})" for alert in alerts]
    assert said == [f"alert of cossim_val at step 11: {text}" for text in texts]
    assert monitor.last_report["val"].alerts == tuple(texts)


# A series that a training makes


def recorded(stage: Stage, scalar: Scalar) -> dict[int, float]:
    """The curve of a fit without alerts."""
    logger = MemoryLogger()
    fit(LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(), display=ALWAYS), logger=logger, max_epochs=4)
    return logger.curve(f"cossim_{stage}/{scalar}")


def falls(curve: dict[int, float], bound: float, patience: int, side: str) -> list[int]:
    """By hand: the steps at which a curve has been beyond a bound so many times in a row, once for each time that it was."""
    found, row = [], 0
    for step, value in curve.items():
        row = row + 1 if (value > bound if side == "above" else value < bound) else 0
        found += [step] if row == patience else []
    return found


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize(
    "scalar", ["rank_agreement_raw_cosine", "explained_raw_cosine", "gap_behavior", "reliability", "share_strangers"]
)
@pytest.mark.parametrize("action", ["warn", "stop", "raise"])
def test_an_alert_acts_where_the_curve_of_the_same_training_says(
    action: Literal["warn", "stop", "raise"], scalar: Scalar, side: str
) -> None:
    """Trainings are bit for bit the same with and without alerts, so that a recorded curve tells the step."""
    curve = recorded("train", scalar)
    bound = sorted(curve.values())[len(curve) // 2]
    wanted = falls(curve, bound, 2, side)
    assert wanted
    assert len(curve) == 24
    alert = Alert(scalar, "train", **{side: bound}, patience=2, action=action)
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(alert), display=ALWAYS)
    with heard() as said:
        if action == "raise":
            with pytest.raises(AlertError):
                fit(monitor, max_epochs=4)
        else:
            run, _ = fit(monitor, max_epochs=4)
            assert run.global_step == (24 if action == "warn" else wanted[0] + 1)
    steps = [int(step) for step in re.findall(r"at step (\d+):", "\n".join(said))]
    assert steps == (wanted if action == "warn" else wanted[:1])
    assert monitor.last_report["train"].step == (23 if action == "warn" else wanted[0])


def test_alerts_change_nothing_of_a_training() -> None:
    """Without one that acts, nor with one that warns all the time."""
    weights = []
    for alerts in ([], [Alert("overlap_mean", stage, above=-1) for stage in ("train", "val")]):
        with heard() as said:
            _, model = fit(LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(*alerts), display=ALWAYS))
        assert len(said) == len(alerts)
        weights.append([weight.detach().clone() for weight in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


# Other runs than a fit


def test_an_alert_of_a_test_run_raises_there(feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """As a last check in CI; what is to stop a fit only warns."""
    feed("test", [0.7])
    alerts = [Alert("gap_behavior", "test", above=0.6, action=action) for action in ("stop", "raise")]
    monitor = LabelSimilarityMonitor(thresholds=thresholds(*alerts))
    run = trainer(callbacks=[monitor])
    text = "alert of cossim_test at step 0: gap_behavior is 0.7, above 0.6 (raise)"
    with heard() as said, pytest.raises(AlertError, match=re.escape(text)):
        run.test(Toy(NUM_LABELS), loader(60, num_labels=NUM_LABELS), verbose=False)
    assert len(said) == 2
    assert not any(module._forward_hooks for module in run.lightning_module.modules())


def test_runs_of_their_own_take_no_part_in_what_a_fit_counts(feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """A validation before the fit, as a baseline: it tells of its own breach, and the fit stops as it would without it."""
    feed("val", [0.7] * 9)
    alerts = [Alert("gap_behavior", above=0.6, patience=2, action="stop"), Alert("gap_behavior", above=0.65)]
    monitor = LabelSimilarityMonitor(thresholds=thresholds(*alerts))
    run = trainer(callbacks=[monitor], max_epochs=5)
    model, validation = Toy(NUM_LABELS), loader(60, num_labels=NUM_LABELS)
    with heard() as said:
        run.validate(model, validation, verbose=False)
        run.fit(model, loader(num_labels=NUM_LABELS), validation)
        run.validate(model, validation, verbose=False)
    assert run.global_step == 12
    alone, patient = "gap_behavior is 0.7, above 0.65 (warn)", "gap_behavior is 0.7, above 0.6, for 2 reports in a row (stop)"
    wanted = [(0, alone), (5, alone), (11, patient), (12, alone)]
    assert said == [f"alert of cossim_val at step {step}: {text}" for step, text in wanted]


def test_every_test_run_raises(feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """However often one monitor is used."""
    feed("test", [0.7] * 3)
    monitor = LabelSimilarityMonitor(thresholds=thresholds(Alert("gap_behavior", "test", above=0.6, action="raise")))
    for _ in range(3):
        with heard(), pytest.raises(AlertError):
            trainer(callbacks=[monitor]).test(Toy(NUM_LABELS), loader(60, num_labels=NUM_LABELS), verbose=False)


@pytest.mark.parametrize("action", ["stop", "warn"])
def test_a_fit_that_was_stopped_stops_again_after_a_resume(
    action: Literal["stop", "warn"], tmp_path: Path, feed: Callable[[Stage, Sequence[Value]], None]
) -> None:
    """As EarlyStopping would; what was only told is not told again while it lasts."""
    feed("val", [0.7] * 9)
    alert = Alert("gap_behavior", above=0.6, patience=2, action=action)
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    with heard():
        fit(LabelSimilarityMonitor(thresholds=thresholds(alert)), callbacks=[save], enable_checkpointing=True)
    resumed = LabelSimilarityMonitor(thresholds=thresholds(alert))
    run = trainer(callbacks=[resumed], max_epochs=6)
    data = loader(num_labels=NUM_LABELS), loader(60, num_labels=NUM_LABELS)
    with heard() as said:
        run.fit(Toy(NUM_LABELS), *data, ckpt_path=str(tmp_path / "epoch=1.ckpt"))
    assert run.global_step == (18 if action == "stop" else 36)
    text = "alert of cossim_val at step 17: gap_behavior is 0.7, above 0.6, for 2 reports in a row (stop)"
    assert said == ([text] if action == "stop" else [])


def counts(monitor: LabelSimilarityMonitor) -> dict[tuple[str, int | None], list[int]]:
    """Window to the breaches in a row of each alert, as a checkpoint holds them."""
    return {
        (saved["stage"], saved["dataloader_idx"]): [alert["count"] for alert in saved["counts"]]
        for saved in monitor.state_dict()["alerts"]
    }


def test_counts_begin_anew_with_another_fit_and_go_on_after_a_resume(
    tmp_path: Path, feed: Callable[[Stage, Sequence[Value]], None]
) -> None:
    """Two breaches before a checkpoint and one after it are three in a row; before another fit they are not."""
    alert = Alert("gap_behavior", above=0.6, patience=3)
    feed("val", [0.7] * 8)
    save = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    monitor = LabelSimilarityMonitor(thresholds=thresholds(alert))
    fit(monitor, callbacks=[save], enable_checkpointing=True)
    assert counts(monitor)["val", None] == [2]
    fit(monitor)
    assert counts(monitor)["val", None] == [2]

    torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    resumed = LabelSimilarityMonitor(thresholds=thresholds(alert))
    run = trainer(callbacks=[resumed], max_epochs=3)
    with heard() as said:
        run.fit(
            Toy(NUM_LABELS),
            loader(num_labels=NUM_LABELS),
            loader(60, num_labels=NUM_LABELS),
            ckpt_path=str(tmp_path / "epoch=1.ckpt"),
        )
    assert said == ["alert of cossim_val at step 17: gap_behavior is 0.7, above 0.6, for 3 reports in a row (warn)"]


# Where it can be seen


def test_an_alert_stands_among_the_texts_of_tensorboard(tmp_path: Path, feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """At its step, behind the logger's prefix as the curves are; a logger without texts is no error."""
    feed("train", [0.5, 0.7, 0.7, 0.5, 0.7, 0.5])
    alert = Alert("gap_behavior", "train", above=0.6, action="warn")
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(alert, min_inputs=1), display=ALWAYS)
    loggers = [TensorBoardLogger(tmp_path, name=None, version="", prefix="mine"), MemoryLogger()]
    with heard():
        fit(monitor, max_epochs=1, logger=loggers)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (tag,) = (tag for tag in events.Tags()["tensors"] if "alerts" in tag)
    assert tag == "mine-cossim_train/alerts/text_summary"
    assert "mine-cossim_train/gap_behavior" in events.Tags()["scalars"]
    texts = {event.step: event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)}
    assert texts == dict.fromkeys([1, 4], r"* gap\_behavior is 0.7, above 0.6 \(warn\)")


def test_a_logger_that_takes_no_more_texts_costs_them_only(feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """A full disk, a closed writer: told once; curves, other loggers and the alert itself go on."""

    class Writer:
        def add_text(self, *args: Any) -> None:
            raise OSError("disk full")

    class Full(MemoryLogger):
        experiment = Writer()

    feed("train", [0.5, 0.7, 0.5, 0.7, 0.5, 0.5])
    alert = Alert("gap_behavior", "train", above=0.6)
    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=thresholds(alert, min_inputs=1), display=ALWAYS)
    logger = Full()
    with heard() as said:
        fit(monitor, max_epochs=1, logger=logger)
    failed = "writing texts to Full failed and is off for the rest of this run"
    gone = f"{failed}. Reports are still in `last_report`. The error: OSError: disk full"
    texts = [f"alert of cossim_train at step {step}: gap_behavior is 0.7, above 0.6 (warn)" for step in (1, 3)]
    assert said == [gone, *texts]
    assert sorted(logger.curve("cossim_train/gap_behavior")) == [0, 1, 2, 3, 4, 5]


# What other callbacks watch


@pytest.mark.parametrize("undefined", [NAN, "no verdict"])
def test_early_stopping_and_checkpoints_act_at_the_epoch_that_the_series_says(
    undefined: Value, tmp_path: Path, feed: Callable[[Stage, Sequence[Value]], None]
) -> None:
    """Also when the first two reports have no value, or no verdict: best in epoch 3, two worse ones, the end after epoch 5."""
    feed("val", [undefined, undefined, 0.7, 0.6, 0.65, 0.66, 0.1, 0.1])
    stop = EarlyStopping("cossim_val/overlap_mean", mode="max", patience=2)
    save = ModelCheckpoint(tmp_path, monitor="cossim_val/overlap_mean", mode="max", filename="{epoch}")
    seen: list[dict[str, float]] = []

    class Watcher(pl.Callback):
        @override
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append({key: value.item() for key, value in trainer.callback_metrics.items() if key.startswith("cossim_val")})

    monitor = LabelSimilarityMonitor(thresholds=thresholds(min_inputs=1))
    callbacks = [stop, save, Watcher()]
    run, _ = fit(monitor, callbacks=callbacks, enable_checkpointing=True, max_epochs=8, num_sanity_val_steps=0)
    assert run.current_epoch == 6
    assert Path(save.best_model_path).name == "epoch=3.ckpt"
    before = 1.0 if undefined != "no verdict" else 0.9
    assert [keys["cossim_val/gap_behavior"] for keys in seen] == pytest.approx([before, before, 0.7, 0.6, 0.65, 0.66])
    assert all(set(keys) == {f"cossim_val/{name}" for name in scalars("softmax")} for keys in seen)
    assert not any(math.isnan(value) for keys in seen for value in keys.values())


def test_values_of_another_fit_are_not_watched(feed: Callable[[Stage, Sequence[Value]], None]) -> None:
    """A new model has no last value: what is undefined is neutral again."""
    feed("val", [0.2, 0.2, NAN, NAN])
    monitor = LabelSimilarityMonitor(thresholds=thresholds())
    fit(monitor)
    run, _ = fit(monitor)
    assert run.callback_metrics["cossim_val/gap_behavior"] == 1


def test_the_same_with_a_head_that_has_nothing_to_say_at_first(tmp_path: Path) -> None:
    """For two epochs all rows are zero: no similarity, no agreement; EarlyStopping goes by the curve from the third epoch on."""

    class Late(Toy):
        @override
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            if self.current_epoch == 2 and batch_idx == 0:
                torch.nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(0))
            loss = super().training_step(batch, batch_idx)
            return loss if self.current_epoch >= 2 else 0 * loss

        @override
        def configure_optimizers(self) -> Any:
            torch.nn.init.zeros_(self.head.weight)
            return torch.optim.SGD(self.parameters(), lr=0.3)

    logger = MemoryLogger()
    key = "cossim_val/rank_agreement_centered_cosine"
    stop = EarlyStopping(key, mode="max", patience=2)
    save = ModelCheckpoint(tmp_path, monitor=key, mode="max", filename="{epoch}")
    run = trainer(callbacks=[LabelSimilarityMonitor(), stop, save], logger=logger, max_epochs=40, enable_checkpointing=True)
    pl.seed_everything(0, verbose=False)
    with pytest.warns(UserWarning, match="undefined scalars: rank_agreement_raw_cosine"):
        run.fit(Late(NUM_LABELS), loader(num_labels=NUM_LABELS), loader(60, num_labels=NUM_LABELS, seed=2))
    curve = logger.curve(key)
    values = [curve.get(step, 0.0) for step in sorted(logger.curve("val_loss"))]
    assert [step for step in sorted(logger.curve("val_loss")) if step not in curve] == [5, 11]
    best, worse = -math.inf, 0
    for value in values:
        assert worse < 2
        best, worse = (value, 0) if value > best else (best, worse + 1)
    assert worse == 2
    assert run.current_epoch == len(values) < 40
    assert Path(save.best_model_path).name == f"epoch={values.index(max(values))}.ckpt"
