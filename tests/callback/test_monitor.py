"""The monitor in real trainings: what it reports, where it writes, and that it touches nothing."""

import copy
import inspect
import io
import json
import logging
import pydoc
import random
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import cycle, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

import lightning_cossim
from lightning_cossim import Alert, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.callback import deferred
from lightning_cossim.capture import vocabulary_summary
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.taps import Tap
from lightning_cossim.errors import ConfigError, HeadError, InputError
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.neighbors import Neighbors
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.loggers.tags import GAPS, SCALARS
from lightning_cossim.report import WindowKey
from tests import reference
from tests.toys import (
    ALWAYS,
    FEW,
    NUM_LABELS,
    EveryThirdBatch,
    MemoryLogger,
    Toy,
    TwoOptimizers,
    attributed,
    loader,
    small_samples,
    trainer,
)

EVERY_BATCH = Schedule(train_every_n_steps=1, train_batches=1)
LABELS = "Expected `labels` to be a list of names or a LabelSelection"
IN_A_FILE = "To read names from a file, pass LabelSelection(names=path)."
OWNERS = {"steps", "clock", "alerts", "publisher"}
ANEW = "LabelSimilarityMonitor: the checkpoint comes from another version: counts of alerts and the schedule start again"


def fit(model: pl.LightningModule, monitor: LabelSimilarityMonitor | None, **settings: Any) -> pl.Trainer:
    """A fit on toy data, with or without the monitor, from the same random state."""
    pl.seed_everything(3, verbose=False)
    callbacks = [*settings.pop("callbacks", []), *([monitor] if monitor else [])]
    run = trainer(callbacks=callbacks, **settings)
    run.fit(model, loader(shuffle=True), loader(60, seed=2))
    return run


def ours(record: pytest.WarningsRecorder) -> list[str]:
    """The warnings that the monitor gave."""
    return [text for text in (str(warning.message) for warning in record) if text.startswith("LabelSimilarityMonitor")]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test may end with a warning of ours that it did not expect: where warnings are errors, the monitor logs them instead."""
    yield
    assert [record.message for record in caplog.get_records("call") if record.name.startswith("lightning_cossim")] == []


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def random_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index] # noqa: NPY002


class TestTouchesNothing:
    @pytest.mark.parametrize("toy", [Toy, TwoOptimizers])
    @pytest.mark.parametrize("schedule", [EVERY_BATCH, Schedule(max_inputs_per_batch=3), Schedule(train_batches=2)])
    def test_training_is_bit_identical(self, toy: type[Toy], schedule: Schedule) -> None:
        """With and without the monitor: the same weights bit for bit, the same random states, no hook left."""
        results = []
        for monitor in (None, LabelSimilarityMonitor(schedule=schedule, thresholds=FEW, display=ALWAYS)):
            torch.manual_seed(0)
            model = toy()
            fit(model, monitor)
            results.append((model.state_dict(), random_states()))
            assert num_hooks(model) == 0
        (weights, states), (monitored_weights, monitored_states) = results
        assert all(torch.equal(weights[key], monitored_weights[key]) for key in weights)
        assert states == monitored_states

    @pytest.mark.parametrize("stage", ["training", "validation"])
    def test_nothing_is_left_after_an_exception_in_the_users_step(self, stage: str) -> None:
        """It comes through as it is; weights and random states are those without the monitor, and no hook is left."""

        class Failing(Toy):
            @override
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                if stage == "training" and self.batches_seen == 5:
                    raise ZeroDivisionError("the user's own")
                return loss

            @override
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                super().validation_step(batch, batch_idx)
                if stage == "validation" and self.batches_seen:
                    raise ZeroDivisionError("the user's own")

        results = []
        for monitor in (None, LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)):
            torch.manual_seed(0)
            model = Failing()
            with pytest.raises(ZeroDivisionError, match="the user's own"):
                fit(model, monitor)
            assert num_hooks(model) == 0
            results.append(([weight.tolist() for weight in model.parameters()], random_states()))
        assert results[0] == results[1]

    @pytest.mark.parametrize("method", ["open", "begin_batch", "look", "end_batch", "close"])
    def test_a_fault_of_ours_ends_the_monitor_not_the_training(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever fails in us: one warning, no hook left, and the weights of a training without us."""
        unwatched = Toy()
        model = Toy()
        model.load_state_dict(unwatched.state_dict())
        fit(unwatched, None)

        def fail(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("planted")

        monkeypatch.setattr(Collector, method, fail)
        text = "LabelSimilarityMonitor: stopped after an error, and the run continues without it: RuntimeError: planted"
        with pytest.warns(UserWarning) as record:
            fit(model, LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS))
        assert ours(record) == [text]
        assert num_hooks(model) == 0
        assert all(torch.equal(a, b) for a, b in zip(unwatched.parameters(), model.parameters(), strict=True))

    def test_a_broken_logger_costs_its_curves_only(self) -> None:
        """A logger that fails is told once; others, reports and watched keys go on, and the next fit tries it again."""

        class Broken(MemoryLogger):
            @override
            def log_metrics(self, metrics: Any, step: int | None = None) -> None:
                if any(key.startswith("cossim") for key in metrics):
                    raise OSError("disk full")

        monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)
        with pytest.warns(UserWarning) as record:
            run = fit(Toy(), monitor, logger=[Broken(), good := MemoryLogger()])
        gone = "writing scalars to Broken failed and is off for the rest of this run"
        text = f"{gone}. Reports are still in `last_report`. The error: OSError: disk full"
        assert ours(record) == [f"LabelSimilarityMonitor: {text}"]
        assert sorted(good.curve("cossim_val/overlap_mean")) == [5, 11]
        assert monitor.last_report["train"].step == 11
        assert "cossim_val/gap_behavior" in run.callback_metrics

    def test_keys_that_others_watch_stay_when_the_monitor_is_switched_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """EarlyStopping on a key of ours does not end the run for want of it."""
        monkeypatch.setattr(Collector, "look", lambda *args: 1 / 0)
        with pytest.warns(UserWarning):
            run = fit(Toy(), LabelSimilarityMonitor(), callbacks=[EarlyStopping("cossim_val/overlap_mean", patience=9)])
        assert run.global_step == 12
        assert run.callback_metrics["cossim_val/gap_behavior"] == 1

    def test_what_was_told_is_told_again_in_the_next_fit(self) -> None:
        monitor = LabelSimilarityMonitor()
        for _ in range(2):
            with pytest.warns(UserWarning) as record:
                trainer(callbacks=[monitor]).fit(Toy(4), loader(num_labels=4), loader(60, num_labels=4))
            assert len(ours(record)) == 1

    def test_a_copy_of_the_head_can_be_made_in_a_step(self) -> None:
        """A teacher that is copied in the middle of a watched batch: the copy works, sees nothing and holds nothing."""

        class Teaching(Toy):
            @override
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                self.teacher = [copy.deepcopy(self.head)]
                return loss

        model = Teaching()
        fit(model, LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS))
        (hook,) = model.teacher[0]._forward_hooks.values()
        model.teacher[0](torch.zeros(2, 5))
        observer = hook.__self__  # type: ignore[attr-defined]
        assert isinstance(observer, Tap)
        assert observer.call is None

    def test_a_model_can_be_saved_whole_in_a_step(self) -> None:
        """As a checkpoint does whose hyperparameters hold the model: what is loaded works and sees nothing."""

        class Saving(Toy):
            @override
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                self.file = io.BytesIO()
                torch.save(self.head, self.file)
                return loss

        model = Saving()
        fit(model, LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS))
        model.file.seek(0)
        head = torch.load(model.file, weights_only=False)
        head(torch.zeros(2, 5))
        (hook,) = head._forward_hooks.values()
        assert (hook.__self__.armed, hook.__self__.call) == (False, None)

    def test_weights_that_are_normalized_at_the_start_of_a_step_are_no_obstacle(self) -> None:
        """As prototypes often are: the weights are those of the call."""

        class Normalised(Toy):
            @override
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                with torch.no_grad():
                    self.head.weight.copy_(nn.functional.normalize(self.head.weight))
                return super().training_step(batch, batch_idx)

        monitor = LabelSimilarityMonitor(thresholds=FEW)
        fit(Normalised(), monitor)
        assert monitor.last_report["train"].num_inputs == 8 * 16

    @pytest.mark.parametrize("alone", [False, True])
    def test_logits_changed_in_place_are_those_of_the_head(self, alone: bool) -> None:
        """A temperature applied in place behind the head: in a fit and in `validate()`, which runs under inference mode."""

        class Tempered(Toy):
            @override
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                self(batch[0]).mul_(4)

        model, monitor = Tempered(), LabelSimilarityMonitor()
        run = fit(model, monitor)
        if alone:
            run.validate(model, loader(60, seed=2), verbose=False)
        inputs = torch.cat([batch[0] for batch in loader(60, seed=2)])
        with torch.no_grad():
            probs = model.eval()(inputs).softmax(dim=1).double().numpy()
        np.testing.assert_allclose(
            monitor.last_report["val"].matrix("overlap").numpy(), reference.bhattacharyya(probs), atol=1e-4
        )


class TestReports:
    def test_validation_report_is_that_of_all_validation_inputs(self) -> None:
        """The report of a validation run equals a float64 reference on the whole set, all batches pooled."""
        model, monitor = Toy(), LabelSimilarityMonitor()
        fit(model, monitor)
        report = monitor.last_report["val"]
        inputs = torch.cat([batch[0] for batch in loader(60, seed=2)])
        model.eval()
        with torch.no_grad():
            f, z = model.body(inputs).double().numpy(), model(inputs).double().numpy()
        W = model.head.weight.detach().double().numpy()
        assert report.num_inputs == 60
        wanted = {
            "raw_cosine": reference.cosine(W, centered=False),
            "centered_cosine": reference.cosine(W, centered=True),
            "logit_correlation": reference.logit_correlation(W, reference.covariance(f)),
            "log_odds_variance": reference.log_odds_variance(W, reference.covariance(f)),
            "overlap": reference.bhattacharyya(reference.softmax(z)),
        }
        for rung, matrix in wanted.items():
            np.testing.assert_allclose(report.matrix(rung).numpy(), matrix, rtol=1e-4, atol=1e-5, err_msg=rung)
        explained = reference.explained_overlap(wanted["centered_cosine"], wanted["overlap"])
        assert report.scalars["explained_centered_cosine"] == pytest.approx(explained, abs=1e-4)
        agreement = reference.rank_agreement(wanted["centered_cosine"], wanted["overlap"])
        assert report.scalars["rank_agreement_centered_cosine"] == pytest.approx(agreement, abs=1e-4)
        assert report.scalars["gap_behavior"] == pytest.approx(1 - max(0, agreement), abs=1e-4)

    def test_training_report_pools_its_window_under_the_weights_of_its_last_batch(self) -> None:
        """Four batches of 16 make 64 inputs; the cosines are those of the weights that the last of them ran with."""
        seen: list[Tensor] = []

        class Recorder(Callback):
            @override
            def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
                assert isinstance(pl_module, Toy)
                seen.append(pl_module.head.weight.detach().clone())

        monitor = LabelSimilarityMonitor(schedule=Schedule(train_batches=4), thresholds=FEW, display=ALWAYS)
        fit(Toy(), monitor, callbacks=[Recorder()])
        report = monitor.last_report["train"]
        assert (report.step, report.num_inputs) == (11, 64)
        wanted = reference.cosine(seen[11].double().numpy(), centered=True)
        np.testing.assert_allclose(report.matrix("centered_cosine").numpy(), wanted, atol=1e-6)

    @pytest.mark.parametrize(
        ("settings", "thresholds", "reports"),
        [
            ({}, Thresholds(min_inputs=0), {1: 32, 11: 32}),
            ({}, Thresholds(min_inputs=64), {3: 64, 11: 80}),  # the last of an epoch might have been a small one
            ({}, Thresholds(), {11: 192}),  # all there are
            ({"max_epochs": 8}, Thresholds(), {18: 304, 47: 320}),
            ({"accumulate_grad_batches": 3}, Thresholds(min_inputs=64), {1: 64, 3: 80}),
            ({"max_steps": 9, "max_epochs": -1}, Thresholds(min_inputs=64), {3: 64, 8: 80}),
        ],
    )
    def test_a_window_has_the_inputs_that_a_verdict_needs(
        self, settings: dict[str, Any], thresholds: Thresholds, reports: dict[int, int]
    ) -> None:
        """Two batches of 16 by the schedule, and as many more as it takes; step to inputs of all training reports."""
        seen: dict[int, int] = {}

        class Recorder(Callback):
            @override
            def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
                seen.update(
                    {report.step: report.num_inputs for report in monitor.last_report.values() if report.stage == "train"}
                )

            on_train_end = on_train_batch_start

        monitor = LabelSimilarityMonitor(schedule=Schedule(100, 2), thresholds=thresholds, display=ALWAYS)
        fit(Toy(), monitor, callbacks=[Recorder()], **settings)
        assert seen == reports

    @pytest.mark.parametrize("kind", ["product", "coactivation", "topk"])
    def test_every_kind_of_overlap_is_reported(self, kind: OverlapKind) -> None:
        monitor = LabelSimilarityMonitor(overlap=kind)
        fit(Toy(), monitor)
        report = monitor.last_report["val"]
        assert report.matrix("overlap").nan_to_num(0).max() > 0
        pair = report.pairs()[0]
        i, j = report.names.index(pair.label), report.names.index(pair.other)
        assert pair.mass == pytest.approx(report.matrix("mass")[i, j].item() * NUM_LABELS)

    def test_an_overlap_that_cannot_be_is_told_before_any_training(self) -> None:
        for monitor, text in (
            (
                LabelSimilarityMonitor(overlap="coactivation", overlap_threshold=0.5),
                "Expected `overlap_threshold` to be above 0 and below 0.5, got 0.5",
            ),
            (LabelSimilarityMonitor(overlap="topk", overlap_k=8), "Expected `overlap_k` to be from 2 to 7, got 8"),
        ):
            model = Toy()
            with pytest.raises(InputError, match=re.escape(text)):
                fit(model, monitor)
            assert model.batches_seen == 0

    def test_at_most_the_asked_for_inputs_of_a_batch_are_looked_at(self) -> None:
        monitor = LabelSimilarityMonitor(
            schedule=Schedule(train_batches=4, max_inputs_per_batch=5), thresholds=FEW, display=ALWAYS
        )
        fit(Toy(), monitor)
        assert monitor.last_report["train"].num_inputs == 20
        assert monitor.last_report["val"].num_inputs == 4 * 5

    @pytest.mark.parametrize("given", [list, tuple, lambda names: LabelSelection(names=names)])
    def test_label_names_reach_the_report(self, given: Callable[[list[str]], Any]) -> None:
        """Names alone stand for a selection of all labels."""
        names = [f"label {i}" for i in range(NUM_LABELS)]
        monitor = LabelSimilarityMonitor(labels=given(names))
        assert monitor.labels == LabelSelection(names=monitor.labels.names)
        fit(Toy(), monitor)
        assert monitor.last_report["val"].names == tuple(names)
        assert "label " in str(monitor.last_report["val"])

    @pytest.mark.parametrize(("neighbors", "searches"), [("never", 0), ("fit_end", 1), ("validation", 2)])
    def test_a_vocabulary_is_reported_on_and_its_neighbors_are_looked_for_when_that_is_wanted(
        self, neighbors: Literal["never", "fit_end", "validation"], searches: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Curves come as for a few labels; the last report has the pairs whose rows are most alike, and is judged again."""
        for name, value in small_samples(5, 4).items():
            monkeypatch.setattr(vocabulary_summary, name, value)
        found: list[Neighbors] = []
        real = deferred.search_neighbors

        def search(*args: Any, **kwargs: Any) -> Neighbors:
            found.append(real(*args, **kwargs))
            return found[-1]

        monkeypatch.setattr(deferred, "search_neighbors", search)
        monitor = LabelSimilarityMonitor(
            labels=LabelSelection(max_tracked=5, names=[f"label {i}" for i in range(NUM_LABELS)]),
            schedule=Schedule(2, 2, neighbors=neighbors),
            thresholds=FEW,
            display=ALWAYS,
        )
        logger = MemoryLogger()
        fit(Toy(), monitor, logger=logger)
        report = monitor.last_report["val"]
        assert len(found) == searches
        assert ("whose rows are most alike" in report.sampling) == (searches > 0)
        assert "at random" in report.sampling
        assert report.flags.keys() == {"strangers", "lookalikes"}
        assert (report.stage, report.step) == ("val", 11)
        assert "overhead_fraction" in report.scalars
        assert all(name.startswith("label ") for name in report.names)
        assert monitor.last_report["train"].sampling == report.sampling.replace("the 5 whose rows are most alike, ", "")
        assert sorted(logger.curve("cossim_train/overlap_mean")) == [1, 3, 5, 7, 9, 11]
        assert len(logger.curve("cossim_val/overlap_mean")) == 2

    @pytest.mark.parametrize(("num_labels", "at_once"), [(200, True), (201, False)])
    def test_scalars_of_many_labels_have_errors_in_the_last_report_of_a_run(self, *, num_labels: int, at_once: bool) -> None:
        """THEORY §5: of up to 200 labels in every report; of more they take a second."""
        monitor, had_errors = LabelSimilarityMonitor(thresholds=FEW, display=ALWAYS), []

        class Reader(pl.Callback):
            """Comes after the monitor."""

            @override
            def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                had_errors.append(bool(monitor.last_report["val"].standard_errors))

        run = trainer(callbacks=[monitor, Reader()], num_sanity_val_steps=0, max_epochs=1)
        run.fit(Toy(num_labels), loader(num_labels=num_labels), loader(num_labels=num_labels))
        assert had_errors == [at_once]
        report = monitor.last_report["val"]
        assert {"rank_agreement_centered_cosine", "gap_geometry", "residual_scale"} <= {*report.standard_errors}
        assert report.intervals["rank_agreement_centered_cosine"]
        run.validate(Toy(num_labels), loader(num_labels=num_labels), verbose=False)
        assert monitor.last_report["val"].standard_errors

    def test_without_validation_neighbors_are_looked_for_among_what_training_showed(self) -> None:
        monitor = LabelSimilarityMonitor(labels=LabelSelection(max_tracked=5), schedule=Schedule(2, 2), thresholds=FEW)
        run = trainer(callbacks=[monitor], limit_val_batches=0)
        run.fit(Toy(), loader())
        assert monitor.last_report.keys() == {"train"}
        assert monitor.last_report["train"].flags

    def test_a_validation_by_itself_has_neighbors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in small_samples(5, 4).items():
            monkeypatch.setattr(vocabulary_summary, name, value)
        monitor = LabelSimilarityMonitor(labels=LabelSelection(max_tracked=5))
        trainer(callbacks=[monitor]).validate(Toy(), loader(60), verbose=False)
        assert "whose rows are most alike" in monitor.last_report["val"].sampling

    def test_flagged_pairs_that_neighbors_bring_are_decided_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reachability was decided for the sample of the validation; the last report has another."""
        for name, value in small_samples(25, 4).items():
            monkeypatch.setattr(vocabulary_summary, name, value)
        reports = []
        for reachability in get_args(Literal["validation", "fit_end"]):
            monitor = LabelSimilarityMonitor(
                labels=LabelSelection(max_tracked=8),
                schedule=Schedule(neighbors="fit_end", reachability=reachability),
                thresholds=replace(FEW, stranger=0, lookalike=0, outlier=0, min_joint_inputs=0),
            )
            pl.seed_everything(3, verbose=False)
            trainer(callbacks=[monitor]).fit(Toy(14), loader(num_labels=14), loader(60, num_labels=14, seed=2))
            reports.append(monitor.last_report["val"])
        early, late = ([(pair.label, pair.other, pair.on_top) for pair in report.pairs()] for report in reports)
        assert early == late
        assert reports[0].unreachable == reports[1].unreachable
        assert all(pair.on_top is not None for pair in reports[0].pairs() if pair.flag)
        assert any(pair.flag for pair in reports[0].pairs())

    @pytest.mark.parametrize(("seconds", "on_first"), [(240.0, True), (241.0, False)])
    def test_no_process_waits_for_minutes_while_another_searches(
        self, seconds: float, on_first: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A search that takes longer is done by every process, since one that waits gives up and ends the run."""
        monkeypatch.setattr(deferred, "seconds_of_search", lambda *args: seconds)
        working: list[Any] = []
        searched: list[bool] = []
        real_first, real_search = Processes.on_first, deferred.search_neighbors

        def first(self: Processes, work: Callable[[], Any]) -> Any:
            working.append(work)
            result = real_first(self, work)
            working.pop()
            return result

        def search(*args: Any, **kwargs: Any) -> Neighbors:
            searched.append(bool(working))
            return real_search(*args, **kwargs)

        monkeypatch.setattr(Processes, "on_first", first)
        monkeypatch.setattr(deferred, "search_neighbors", search)
        fit(Toy(), LabelSimilarityMonitor(labels=LabelSelection(max_tracked=5), thresholds=FEW))
        assert searched == [on_first]

    def test_a_long_search_is_announced(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """With what it will take, and how to go without."""
        monkeypatch.setattr(deferred, "seconds_of_search", lambda *args: 42.4)
        with caplog.at_level(logging.INFO):
            fit(Toy(), LabelSimilarityMonitor(labels=LabelSelection(max_tracked=5), thresholds=FEW))
        text = 'searching the nearest neighbors of 8 labels, about 42 s; `Schedule(neighbors="never")` turns this off'
        assert sum(text in message for message in caplog.messages) == 1

    def test_head_that_is_never_called_leaves_the_rungs_of_the_weights(self) -> None:
        """A functional head is told of once; its cosines still come, what needs inputs does not."""

        class Functional(Toy):
            @override
            def forward(self, inputs: Tensor) -> Tensor:
                return nn.functional.linear(self.body(inputs), self.head.weight, self.head.bias)

        logger = MemoryLogger()
        text = "watching head: the head was not called during a whole window, so only its weights are compared."
        with pytest.warns(UserWarning) as record:
            fit(Functional(), LabelSimilarityMonitor(head="head"), logger=logger)
        assert sum(text in message for message in ours(record)) == 1
        assert logger.curve("cossim_val/gap_translation")
        assert not logger.curve("cossim_val/overlap_mean")

    @pytest.mark.filterwarnings("error::UserWarning")
    def test_not_even_where_warnings_are_errors_does_the_run_end(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the monitor has to say is then logged: training goes on."""
        monkeypatch.setattr(Collector, "look", lambda *args: 1 / 0)
        with caplog.at_level(logging.WARNING, "lightning_cossim"):
            run = fit(Toy(), LabelSimilarityMonitor())
        assert run.global_step == 12
        said = [record.message for record in caplog.records if record.name == "lightning_cossim.callback.messages"]
        text = "stopped after an error, and the run continues without it: ZeroDivisionError: division by zero"
        assert said == [f"LabelSimilarityMonitor: {text}"]
        caplog.clear()

    def test_nothing_comes_from_the_sanity_check(self) -> None:
        logger = MemoryLogger()
        monitor = LabelSimilarityMonitor()
        run = trainer(callbacks=[monitor], logger=logger, num_sanity_val_steps=2, limit_train_batches=0)
        run.fit(Toy(), loader(), loader(60))
        assert monitor.last_report == {}
        assert not any(key.startswith("cossim") for _, metrics in logger.entries for key in metrics)

    def test_validate_and_test_work_without_a_fit(self) -> None:
        """`trainer.validate()` and `trainer.test()` alone report too, and leave no hook."""
        model, monitor = Toy(), LabelSimilarityMonitor()
        run = trainer(callbacks=[monitor])
        run.validate(model, loader(60), verbose=False)
        run.test(model, loader(40), verbose=False)
        assert monitor.last_report["val"].num_inputs == 60
        assert monitor.last_report["test"].num_inputs == 40
        assert num_hooks(model) == 0

    def test_validation_and_test_can_be_left_out(self) -> None:
        monitor = LabelSimilarityMonitor(schedule=Schedule(validation=False, test=False), thresholds=FEW, display=ALWAYS)
        run = fit(Toy(), monitor)
        run.test(run.lightning_module, loader(40), verbose=False)
        assert set(monitor.last_report) == {"train"}
        assert not any(key.startswith("cossim") for key in run.callback_metrics)


class TestScalars:
    @pytest.mark.parametrize(
        ("toy", "settings", "steps", "val_steps"),
        [
            (Toy, {}, [1, 4, 7, 11], [5, 11]),
            (Toy, {"accumulate_grad_batches": 3}, [0, 3], [1, 3]),
            (Toy, {"accumulate_grad_batches": 4}, [0, 3], [1, 3]),
            (Toy, {"val_check_interval": 0.5}, [1, 4, 7, 11], [2, 5, 8, 11]),
            (Toy, {"max_steps": 7, "max_epochs": -1}, [1, 4, 6], [5]),
            (TwoOptimizers, {}, [1, 4, 7, 11], [5, 11]),
            (EveryThirdBatch, {}, [1, 4, 7, 11], [5, 11]),
        ],
    )
    def test_steps_are_those_of_the_users_own_curves(
        self, toy: type[Toy], settings: dict[str, Any], steps: list[int], val_steps: list[int]
    ) -> None:
        """Under accumulation, mid-epoch validation and several optimizers, values stand at the x that `self.log` gives."""
        logger = MemoryLogger()
        fit(toy(), LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS), logger=logger, **settings)
        assert sorted(logger.curve("cossim_train/overlap_mean")) == steps
        assert set(steps) <= set(logger.curve("batches_seen"))
        assert sorted(logger.curve("cossim_val/overlap_mean")) == val_steps == sorted(logger.curve("val_loss"))

    def test_last_window_closes_with_the_fit_of_two_optimizers(self) -> None:
        """`max_steps` counts the steps of both: 20 of them are 10 batches."""
        logger, model = MemoryLogger(), TwoOptimizers()
        fit(
            model,
            LabelSimilarityMonitor(schedule=Schedule(100, 2), thresholds=FEW, display=ALWAYS),
            logger=logger,
            max_steps=20,
            max_epochs=-1,
        )
        assert model.batches_seen == 10
        assert sorted(logger.curve("cossim_train/overlap_mean")) == [1, 9]

    def test_a_loader_of_unknown_length_has_a_last_window_too(self) -> None:
        """An iterable data set with `max_steps`, as language models are trained: two batches a step, 14 batches."""

        class Endless(IterableDataset[tuple[Tensor, ...]]):
            @override
            def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
                return cycle(loader().dataset)  # type: ignore[arg-type]

        logger = MemoryLogger()
        monitor = LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS)
        run = trainer(callbacks=[monitor], logger=logger, max_epochs=-1, max_steps=7, accumulate_grad_batches=2)
        run.fit(Toy(), DataLoader(Endless(), batch_size=16))
        assert sorted(logger.curve("cossim_train/overlap_mean")) == [0, 3, 6]

    @pytest.mark.parametrize("accumulate", [2, 3, 5])
    def test_a_last_window_may_begin_within_a_step(self, accumulate: int) -> None:
        """Windows of four batches, of a loader of unknown length, where a step has fewer or more."""

        class Endless(IterableDataset[tuple[Tensor, ...]]):
            @override
            def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
                return cycle(loader().dataset)  # type: ignore[arg-type]

        logger = MemoryLogger()
        monitor = LabelSimilarityMonitor(schedule=Schedule(100, 4), thresholds=FEW, display=ALWAYS)
        run = trainer(callbacks=[monitor], logger=logger, max_epochs=-1, max_steps=10, accumulate_grad_batches=accumulate)
        run.fit(Toy(), DataLoader(Endless(), batch_size=16))
        assert sorted(logger.curve("cossim_train/overlap_mean")) == [3 // accumulate, 9]

    def test_a_single_batch_an_epoch_is_no_reason_to_look_longer(self) -> None:
        """As with `overfit_batches=1`, or when all data is one batch."""
        logger = MemoryLogger()
        run = trainer(callbacks=[LabelSimilarityMonitor()], logger=logger, max_epochs=30)
        run.fit(Toy(), loader(batch_size=96))
        assert sorted(logger.curve("cossim_train/overlap_mean")) == [7, 29]

    def test_a_monitor_can_be_used_again_with_a_new_trainer(self) -> None:
        """Its steps and its windows begin anew with the new Trainer's."""
        monitor, first, second = (
            LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS),
            MemoryLogger(),
            MemoryLogger(),
        )
        fit(Toy(), monitor, logger=first)
        fit(Toy(), monitor, logger=second)
        tag = "cossim_train/overlap_mean"
        assert sorted(first.curve(tag)) == sorted(second.curve(tag)) == [1, 4, 7, 11]

    def test_validation_after_a_fit_stands_where_lightning_puts_it(self) -> None:
        """`validate()` after `fit()`, and a second fit that goes on, keep to Lightning's steps."""
        logger = MemoryLogger()
        run = fit(Toy(), LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS), logger=logger)
        run.validate(run.lightning_module, loader(60), verbose=False)
        run.fit_loop.max_epochs = 3
        run.fit(run.lightning_module, loader(), loader(60))
        assert sorted(logger.curve("cossim_val/overlap_mean")) == sorted(logger.curve("val_loss")) == [5, 11, 12, 17]

    def test_every_tag_of_both_stages_comes_finite(self) -> None:
        """Ten labels have pairs enough for a verdict."""
        logger, thresholds = MemoryLogger(), Thresholds(min_inputs=0, min_reliability=0)
        run = trainer(
            callbacks=[LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=thresholds, display=ALWAYS)], logger=logger
        )
        run.fit(Toy(10), loader(num_labels=10), loader(60, num_labels=10))
        for stage in ("train", "val"):
            for name in SCALARS:
                curve = logger.curve(f"cossim_{stage}/{name}")
                assert curve, name
                assert all(np.isfinite(value) for value in curve.values()), name
        shares = logger.curve("cossim_train/overhead_fraction").values()
        assert all(0 < share < 1 for share in shares)

    def test_every_logger_gets_them_and_none_is_no_error(self, tmp_path: Path) -> None:
        first, second = MemoryLogger(), CSVLogger(tmp_path)
        fit(Toy(), LabelSimilarityMonitor(), logger=[first, second])
        assert "cossim_val/gap_behavior" in Path(second.log_dir, "metrics.csv").read_text(encoding="utf-8")
        assert first.curve("cossim_val/gap_behavior")
        fit(Toy(), LabelSimilarityMonitor(), logger=False)
        fit(Toy(), LabelSimilarityMonitor(), fast_dev_run=True)

    def test_name_goes_into_the_tags(self) -> None:
        logger = MemoryLogger()
        fit(Toy(), LabelSimilarityMonitor(name="aux"), logger=logger)
        assert logger.curve("cossim_aux_val/gap_behavior")

    def test_other_callbacks_can_watch_validation_scalars(self, tmp_path: Path) -> None:
        """EarlyStopping and ModelCheckpoint act on a key of ours, from the first validation on."""
        stop = EarlyStopping("cossim_val/overlap_mean", mode="max", patience=1)
        save = ModelCheckpoint(tmp_path, monitor="cossim_val/overlap_mean", mode="max")
        logger = MemoryLogger()
        run = fit(
            Toy(), LabelSimilarityMonitor(), callbacks=[stop, save], logger=logger, max_epochs=30, enable_checkpointing=True
        )
        curve = list(logger.curve("cossim_val/overlap_mean").values())
        falls = next(i for i, (before, after) in enumerate(pairwise(curve), 1) if after <= before)
        assert run.current_epoch == falls + 1
        assert save.best_model_score is not None
        assert save.best_model_score.item() == pytest.approx(max(curve))

    def test_what_is_undefined_is_neutral_for_callbacks_and_absent_from_loggers(self) -> None:
        """Four labels have six pairs, too few: no curve, said once, and a key that EarlyStopping survives."""
        logger = MemoryLogger()
        monitor = LabelSimilarityMonitor()
        run = trainer(callbacks=[monitor, EarlyStopping("cossim_val/rank_agreement_raw_cosine", patience=9)], logger=logger)
        with pytest.warns(UserWarning) as record:
            run.fit(Toy(4), loader(num_labels=4), loader(60, num_labels=4))
        text = (
            "LabelSimilarityMonitor: cossim_val: undefined scalars: rank_agreement_raw_cosine, rank_agreement_centered_cosine, "
            "rank_agreement_logit_correlation, rank_agreement_log_odds_variance, explained_raw_cosine, "
            "explained_centered_cosine, explained_logit_correlation, explained_log_odds_variance, gap_behavior, reliability, "
            "residual_scale (6 pairs of labels, at least 10 are needed). Loggers get no value for them. Callbacks that watch "
            "them get the last defined value or, if there is none, 1 for gaps and 0 for others."
        )
        assert ours(record) == [text]
        assert not logger.curve("cossim_val/gap_behavior")
        watched = {key.removeprefix("cossim_val/"): value for key, value in run.callback_metrics.items() if "cossim" in key}
        assert set(watched) == set(SCALARS)
        assert watched["gap_behavior"] == 1
        assert watched["rank_agreement_raw_cosine"] == watched["explained_raw_cosine"] == watched["residual_scale"] == 0
        assert all(torch.isfinite(value) for value in watched.values())
        assert "gap_behavior" in GAPS


class TestSetup:
    def test_says_what_it_watches(self, caplog: pytest.LogCaptureFixture) -> None:
        """One INFO line at the start, and nobody's logging level is changed."""
        levels = {name: logging.getLogger(name).level for name in ("", "lightning", "lightning.pytorch")}
        with caplog.at_level(logging.INFO):
            logging.getLogger("lightning.pytorch").addHandler(caplog.handler)
            fit(Toy(), LabelSimilarityMonitor())
            logging.getLogger("lightning.pytorch").removeHandler(caplog.handler)
        lines = [record.message for record in caplog.records if record.message.startswith("LabelSimilarityMonitor")]
        assert len(lines) >= 1
        assert lines[0] == (
            "LabelSimilarityMonitor: watching head, Linear 5→8, found by its position as the only final linear layer; "
            "probabilities: softmax of its own output; next report at step 11, later if 8 batches have fewer than 256 inputs; "
            "tags cossim_*; documentation: docs/ of the repository, help(lightning_cossim)"
        )
        assert {name: logging.getLogger(name).level for name in levels} == levels

    def test_the_documentation_that_it_names_is_there(self) -> None:
        """Until the package's metadata has the address of its documentation, which the line should then name."""
        root = Path(__file__).parents[2]
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert "Documentation" not in project.get("urls", {})
        assert (root / "docs" / "index.md").is_file()
        assert "LabelSimilarityMonitor" in pydoc.render_doc(lightning_cossim)

    @pytest.mark.parametrize(
        ("sources", "output"),
        [
            ({"logits_from": "head"}, "the output of head"),
            ({"embeddings_from": "body"}, "its logits, computed from body"),
            ({"embeddings_from": lambda module: module.seen}, "its logits, computed from <lambda>()"),
            ({"embeddings_from": "body", "logits_from": "head"}, "the output of head"),
        ],
    )
    def test_says_where_it_looks_instead(self, sources: dict[str, Any], output: str, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []
        monkeypatch.setattr("lightning_cossim.callback.monitor.rank_zero_info", told.append)
        model = Toy()
        model.body.register_forward_hook(lambda module, args, given: setattr(model, "seen", given))
        monitor = LabelSimilarityMonitor(**sources)
        fit(model, monitor)
        assert f"; probabilities: softmax of {output}; next report at step 11" in told[0]
        assert monitor.last_report["val"].matrix("overlap").isfinite().any()

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({"logit_scale": 0.0625}, "logit_scale=0.0625"),
            ({"logits_scaling": 8}, "logits_scaling=8"),
            ({"final_logit_softcapping": 30.0, "lm_head_multiplier": 2}, "lm_head_multiplier=2 and final_logit_softcapping=30"),
            ({"text_config": {"logits_soft_cap": 20}}, "logits_soft_cap=20"),
            ({"final_logit_softcapping": None, "logit_scale": 1.0}, None),
            ({"model_type": "mpt", "logit_scale": 2.0}, None),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("is_seen", [False, True])
    def test_a_configuration_that_changes_logits_is_told_of(
        self, config: dict[str, Any], said: str | None, is_seen: bool
    ) -> None:
        """Unless the model's output shows that its code does not use it, or the user says where the final logits are."""

        class Unseen(Toy):
            @override
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])

            @override
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                self.head(self.body(batch[0]))

        cases: list[dict[str, Any]] = [{}, {"logits_from": "head"}]
        for sources in cases:
            model = Toy() if is_seen else Unseen()
            attributed(model, config=SimpleNamespace(**config))
            with warnings.catch_warnings(record=True) as record:
                warnings.simplefilter("always")
                fit(model, LabelSimilarityMonitor(**sources))
            text = (
                f"LabelSimilarityMonitor: watching head: the model's config has {said}, which changes the logits after the "
                "head, but no module's output has the final logits, so the overlaps may be wrong. Pass `logits_from=`."
            )
            told = [str(warning.message) for warning in record if "model's config has" in str(warning.message)]
            assert told == ([text] if said and not sources and not is_seen else [])

    @pytest.mark.parametrize("sources", [{}, {"logits_from": "forward"}], ids=str)
    @pytest.mark.parametrize("link", ["softmax", "sigmoid", "softcap"])
    def test_a_configuration_that_caps_logits_is_told_of(self, link: Link, sources: dict[str, Any]) -> None:
        """Wherever the final ones are seen: what is centered would be false all the same. Unless the link says it."""

        class Capping(Toy):
            @override
            def forward(self, inputs: Tensor) -> Tensor:
                return 30 * torch.tanh(super().forward(inputs) / 30)

        model = Capping()
        attributed(model, config=SimpleNamespace(final_logit_softcapping=30.0))
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            monitor = LabelSimilarityMonitor(link=link, **sources)
            fit(model, monitor)
        told = [str(warning.message) for warning in record if "soft-caps" in str(warning.message)]
        assert len(told) == (link != "softcap")
        assert all(
            "soft-caps the logits (`final_logit_softcapping=30` in the model's config), so centering" in text for text in told
        )
        assert all(text.endswith("Pass `link='softcap'`.") for text in told)
        assert ("logits" in monitor.last_report["val"].remarks) is (link != "softcap")

    def test_final_logits_that_are_others_are_told_once_and_stand_in_the_report(self) -> None:
        class Scaled(Toy):
            @override
            def forward(self, inputs: Tensor) -> Tensor:
                return 0.25 * super().forward(inputs)

        monitor = LabelSimilarityMonitor()
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            fit(Scaled(), monitor, max_epochs=3)
        told = [str(warning.message) for warning in record if "final logits" in str(warning.message)]
        note = (
            "the overlaps are those of the head's output, but the model's final logits differ: the LightningModule's `forward` "
            "multiplies the logits by 0.25. Pass `logits_from='forward'`"
        )
        assert told == [f"LabelSimilarityMonitor: watching head: {note}."]
        for stage in ("train", "val"):
            assert monitor.last_report[stage].remarks["logits"] == note
        assert note in str(monitor.last_report["val"])

    def test_a_source_that_is_not_there_is_told_before_any_training(self) -> None:
        for name in ("embeddings_from", "logits_from"):
            model = Toy()
            with pytest.raises(HeadError, match=f"Expected `{name}` to be the dotted path of a module, got 'bdy', which does"):
                fit(model, LabelSimilarityMonitor(**{name: "bdy"}))  # type: ignore[arg-type]
            assert (model.batches_seen, num_hooks(model)) == (0, 0)

    def test_a_wrong_head_is_told_before_any_training(self) -> None:
        model = Toy()
        with pytest.raises(HeadError, match=re.escape("got 'model.fc', which does not exist")):
            fit(model, LabelSimilarityMonitor(head="model.fc"))
        assert model.batches_seen == 0

    @pytest.mark.parametrize(
        ("labels", "text"),
        [
            (LabelSelection(names=["a", "b"]), "Expected `names` to name the 8 rows of the head, got 2 names."),
            (["a", "b"], "Expected `names` to name the 8 rows of the head, got 2 names."),
            ([], "Expected `names` to name the 8 rows of the head, got 0 names."),
            (LabelSelection(ignore=[8]), "Expected `ignore` to hold labels from 0 to 7, got 8."),
        ],
    )
    def test_labels_that_do_not_fit_are_told_before_any_training(self, labels: LabelSelection | list[str], text: str) -> None:
        model = Toy()
        with pytest.raises(ConfigError, match=re.escape(text)):
            fit(model, LabelSimilarityMonitor(labels=labels))
        assert model.batches_seen == 0

    def test_two_monitors_need_two_names(self) -> None:
        text = "Expected `name` to be different for every monitor of a Trainer, got None. Give each monitor a `name=`"
        with pytest.raises(ConfigError, match=re.escape(text)):
            fit(Toy(), LabelSimilarityMonitor("head"), callbacks=[LabelSimilarityMonitor("body.0")])

    def test_two_named_monitors_watch_two_heads(self) -> None:
        class TwoHeads(Toy):
            def __init__(self) -> None:
                super().__init__()
                self.other = nn.Linear(5, 6)

            @override
            def forward(self, inputs: Tensor) -> Tensor:
                embedding = self.body(inputs)
                logits: Tensor = self.head(embedding) + 0 * self.other(embedding).sum()
                return logits

        logger = MemoryLogger()
        other = LabelSimilarityMonitor("other", name="other")
        with pytest.warns(UserWarning, match="watching other: .* final logits differ: .* but the head has 6 labels"):
            fit(TwoHeads(), LabelSimilarityMonitor("head"), callbacks=[other], logger=logger)
        assert logger.curve("cossim_val/overlap_mean")
        assert logger.curve("cossim_other_val/overlap_mean")
        assert len(other.last_report["val"].names) == 6

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"head": nn.Linear(2, 2)}, "Expected `head` to be a dotted path or None, got Linear."),
            ({"labels": None}, f"{LABELS}, got NoneType. {IN_A_FILE}"),
            ({"labels": 8}, f"{LABELS}, got int. {IN_A_FILE}"),
            ({"labels": "names.txt"}, f"{LABELS}, got 'names.txt'. {IN_A_FILE}"),
            ({"labels": Path("names.txt")}, f"{LABELS}, got {type(Path()).__name__}. {IN_A_FILE}"),
            ({"labels": {"names": ["cat"]}}, f"{LABELS}, got dict. {IN_A_FILE}"),
            ({"labels": {"cat", "dog"}}, f"{LABELS}, got set. {IN_A_FILE}"),
            ({"labels": ["cat", 2]}, "Expected `names` to be a list of strings or the path of a file, got ['cat', 2]."),
            ({"schedule": {}}, "Expected `schedule` to be a Schedule, got dict."),
            ({"name": ""}, "Expected `name` to be a string or None, got ''."),
        ],
    )
    def test_arguments_of_the_wrong_type_are_told(self, arguments: dict[str, Any], text: str) -> None:
        with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
            LabelSimilarityMonitor(**arguments)

    def test_every_argument_but_the_head_is_given_by_its_name(self) -> None:
        """So that another one can come between two of them."""
        first, *others = inspect.signature(LabelSimilarityMonitor).parameters.values()
        assert (first.name, first.kind) == ("head", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        assert {other.kind for other in others} == {inspect.Parameter.KEYWORD_ONLY}
        assert LabelSimilarityMonitor("model.fc").head == "model.fc"
        with pytest.raises(TypeError, match="positional"):
            LabelSimilarityMonitor("model.fc", "sigmoid")  # type: ignore[call-arg]


class TestState:
    @pytest.mark.filterwarnings("ignore:Checkpoint directory")  # both trainings save into one folder, on purpose
    @pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")  # on purpose
    def test_checkpoint_holds_builtins_and_a_resume_goes_on(self, tmp_path: Path) -> None:
        """A checkpoint loads with `weights_only`; after a resume, windows and steps go on where they were."""
        schedule = Schedule(train_every_n_steps=4, train_batches=2)
        whole = MemoryLogger()
        save = ModelCheckpoint(tmp_path, every_n_train_steps=5, save_top_k=-1)
        fit(
            Toy(),
            LabelSimilarityMonitor(schedule=schedule, thresholds=FEW, display=ALWAYS),
            logger=whole,
            callbacks=[save],
            enable_checkpointing=True,
        )
        path = next(tmp_path.glob("*step=5.ckpt"))
        state = torch.load(path, weights_only=True)["callbacks"]["LabelSimilarityMonitor{'head': None, 'name': None}"]
        assert state.keys() == OWNERS
        assert state["clock"]["next_due"] == 8

        resumed = MemoryLogger()
        again = ModelCheckpoint(tmp_path, every_n_train_steps=5, save_top_k=-1)
        monitor = LabelSimilarityMonitor(schedule=schedule, thresholds=FEW, display=ALWAYS)
        run = trainer(callbacks=[monitor, again], logger=resumed, enable_checkpointing=True)
        run.fit(Toy(), loader(), loader(60), ckpt_path=path)
        assert sorted(whole.curve("cossim_train/overlap_mean")) == [1, 5, 9, 11]
        assert sorted(resumed.curve("cossim_train/overlap_mean")) == [9, 11]
        assert set(resumed.curve("cossim_val/overlap_mean")) == set(resumed.curve("val_loss")) == {5, 11}

    def test_a_state_has_an_entry_for_every_owner_in_builtins(self) -> None:
        """After a fit in which each had something to keep; what each saves is what it goes on with."""
        alerts = [Alert("overlap_mean", above=0, patience=9)]
        monitor = LabelSimilarityMonitor(thresholds=Thresholds(min_inputs=0, min_reliability=0, alerts=alerts))
        trainer(callbacks=[monitor]).fit(Toy(10), loader(num_labels=10), loader(60, num_labels=10))
        state = monitor.state_dict()
        assert state.keys() == OWNERS
        assert json.loads(json.dumps(state)) == state
        assert state["steps"]["step"] == 12
        counts = {(one["stage"], one["dataloader_idx"]): [alert["count"] for alert in one["counts"]] for one in state["alerts"]}
        assert counts == {("val", None): [2], ("train", None): [0]}
        assert state["publisher"]["watched"].keys() == {"cossim_val"}
        other = LabelSimilarityMonitor(thresholds=monitor.thresholds)
        other.load_state_dict(state)
        assert other.state_dict() == state

    def test_what_a_state_has_beside_its_owners_is_ignored(self) -> None:
        trained = LabelSimilarityMonitor()
        fit(Toy(), trained)
        monitor, state = LabelSimilarityMonitor(), trained.state_dict()
        monitor.load_state_dict({**state, "weather": {"rain": 1}})
        assert monitor.state_dict() == state

    @pytest.mark.parametrize("owner", sorted(OWNERS))
    def test_a_state_that_lacks_an_owner_is_ignored_and_that_is_told(self, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half of a state fits the other half no more."""
        told: list[str] = []
        monkeypatch.setattr("lightning_cossim.callback.monitor.rank_zero_info", told.append)
        trained = LabelSimilarityMonitor()
        fit(Toy(), trained)
        told.clear()
        monitor, state = LabelSimilarityMonitor(), trained.state_dict()
        del state[owner]
        new = monitor.state_dict()
        monitor.load_state_dict(state)
        assert monitor.state_dict() == new
        assert told == [ANEW]

    def test_a_state_of_the_older_flat_layout_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It had its entries side by side, the counts of alerts by stage among them."""
        told: list[str] = []
        monkeypatch.setattr("lightning_cossim.callback.monitor.rank_zero_info", told.append)
        counts = {**asdict(Alert("overlap_mean", above=0.6, patience=3)), "count": 2}
        steps = {"step": 7, "global_step": 7, "in_batch": True, "next_due": 9, "inputs_per_batch": 16, "inputs_of_last": 1}
        others = {"alerts": {"train": [], "val": [counts]}, "order": [2, 0, 1], "watched": {"cossim_val": {"gap_behavior": 0.5}}}
        monitor = LabelSimilarityMonitor(thresholds=Thresholds(alerts=[Alert("overlap_mean", above=0.6, patience=3)]))
        new = monitor.state_dict()
        monitor.load_state_dict({**steps, **others})
        assert monitor.state_dict() == new
        assert told == [ANEW]

    def test_a_run_goes_on_from_a_checkpoint_of_the_older_layout(self, tmp_path: Path) -> None:
        """Its curves stand at Lightning's own steps, which a new monitor works out; a window is due at once."""
        schedule = Schedule(train_every_n_steps=4, train_batches=2)
        path = tmp_path / "old.ckpt"
        fit(Toy(), LabelSimilarityMonitor(thresholds=FEW), max_epochs=1).save_checkpoint(path)
        checkpoint = torch.load(path, weights_only=True)
        ((key, state),) = checkpoint["callbacks"].items()
        flat = {**state["steps"], **state["clock"], **state["publisher"], "alerts": {"val": []}}
        torch.save({**checkpoint, "callbacks": {key: flat}}, path)
        logger = MemoryLogger()
        monitor = LabelSimilarityMonitor(schedule=schedule, thresholds=FEW, display=ALWAYS)
        run = trainer(callbacks=[monitor], logger=logger)
        run.fit(Toy(), loader(), loader(60), ckpt_path=path)
        assert sorted(logger.curve("cossim_train/overlap_mean")) == [7, 11]
        assert sorted(logger.curve("cossim_val/overlap_mean")) == sorted(logger.curve("val_loss")) == [11]

    def test_a_state_does_not_change_with_the_monitor(self) -> None:
        """It may be written while training goes on, and read by two."""
        monitor = LabelSimilarityMonitor()
        fit(monitor=monitor, model=Toy())
        state = monitor.state_dict()
        before = copy.deepcopy(state)
        other = LabelSimilarityMonitor()
        other.load_state_dict(state)
        for one in (monitor, other):
            one._publisher._watched["cossim_val"]["gap_behavior"] = 7.0
            one._alerts._counters[WindowKey("val")].counts = [7]
            one._clock.next_due = one._steps.step = 7
        assert state == before


def test_a_compiled_lightning_module_is_held_against_its_final_logits() -> None:
    """Its steps are graphs, in which hooks that come later see nothing."""

    class Tempered(Toy):
        @override
        def forward(self, inputs: Tensor) -> Tensor:
            return 4 * super().forward(inputs)

        @override
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # `log` does not go into a graph
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        @override
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

    torch.compiler.reset()
    module: Any = torch.compile(Tempered(), backend="eager")
    with pytest.warns(UserWarning, match=r"`forward` multiplies the logits by 4\. Pass `logits_from='forward'`"):
        trainer(callbacks=[LabelSimilarityMonitor()]).fit(module, loader(), loader(60))


def test_a_head_that_no_optimizer_trains_is_told_where_another_one_is_trained(recwarn: pytest.WarningsRecorder) -> None:
    """As a teacher that is left out of the optimizer, and not frozen."""

    class Student(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.student = nn.Linear(4, NUM_LABELS)

        @override
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.student.parameters(), lr=0.1)

    told = (
        "LabelSimilarityMonitor: watching head: no optimizer trains it, so it may belong to a teacher. If another layer is "
        "the head, pass head='student'."
    )
    for settings, expected in (({}, [told]), ({"head": "head"}, [])):
        recwarn.clear()
        fit(Student(), LabelSimilarityMonitor(**settings))  # type: ignore[arg-type]
        assert [text for text in ours(recwarn) if "optimizer" in text] == expected
    recwarn.clear()
    fit(Toy(), LabelSimilarityMonitor())
    assert not [text for text in ours(recwarn) if "optimizer" in text]
