"""Training reports of real fits whose length changes while they run: one every n steps, and one at the end."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback, EarlyStopping, GradientAccumulationScheduler, Timer
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

from lightning_cossim import LabelSimilarityMonitor, Schedule, Thresholds
from tests.toys import ALWAYS, FEW, EveryThirdBatch, MemoryLogger, Toy, TwoOptimizers, loader, trainer

EVERY, WINDOW = 10, 3
pytestmark = [
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


class Stream(IterableDataset[list[Tensor]]):
    """So many batches in each epoch; nobody can ask how many. The last number holds for all later epochs."""

    def __init__(self, *lengths: int) -> None:
        self.lengths, self.epoch = lengths, 0

    @override
    def __iter__(self) -> Iterator[list[Tensor]]:
        length = self.lengths[min(self.epoch, len(self.lengths) - 1)]
        self.epoch += 1
        yield from (list(batch) for batch in loader(16 * length, seed=self.epoch))


class OverstatedStream(Stream):
    """Says that it has three times as many batches as come."""

    def __len__(self) -> int:
        return 3 * self.lengths[0]


def stream(*lengths: int, kind: type[Stream] = Stream) -> DataLoader[Any]:
    return DataLoader(kind(*lengths), batch_size=None)


class Growing(Toy):
    """Its loader has another number of batches in every epoch."""

    def __init__(self, *lengths: int) -> None:
        super().__init__()
        self.lengths = lengths

    @override
    def train_dataloader(self) -> Any:
        length = self.lengths[self.trainer.current_epoch]
        return loader(16 * length) if length > 0 else stream(-length)


class Counting(Callback):
    """Counts the optimizer steps of a training as `self.log` does: batches after which `global_step` is another."""

    def __init__(self) -> None:
        self.batches = self.steps = self.global_step = 0

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.batches += 1
        self.steps += trainer.global_step != self.global_step
        self.global_step = trainer.global_step


class At(Callback):
    """Does something with the Trainer after a batch, counted over the whole fit, or after an epoch."""

    def __init__(self, act: Callable[[pl.Trainer], None], *, batch: int = -1, epoch: int = -1) -> None:
        self.act, self.batch, self.epoch, self.count = act, batch, epoch, 0

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self.count == self.batch:
            self.act(trainer)
        self.count += 1

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            self.act(trainer)


def stop(trainer: pl.Trainer) -> None:
    trainer.should_stop = True


def set_epochs(number: int) -> Callable[[pl.Trainer], None]:
    return lambda trainer: setattr(trainer.fit_loop, "max_epochs", number)


def set_steps(number: int) -> Callable[[pl.Trainer], None]:
    return lambda trainer: setattr(trainer.fit_loop.epoch_loop, "max_steps", number)


def set_accumulation(number: int) -> Callable[[pl.Trainer], None]:
    return lambda trainer: setattr(trainer, "accumulate_grad_batches", number)


def watched(thresholds: Thresholds = FEW, every: int = EVERY, window: int = WINDOW) -> LabelSimilarityMonitor:
    return LabelSimilarityMonitor(schedule=Schedule(every, window), thresholds=thresholds, display=ALWAYS)


def steps_of(logger: MemoryLogger) -> list[int]:
    return sorted(logger.curve("cossim_train/overlap_mean"))


def fit(
    model: pl.LightningModule, data: Any = None, monitor: LabelSimilarityMonitor | None = None, **settings: Any
) -> tuple[list[int], int]:
    """The steps of the training reports of a fit, and the number of its steps."""
    logger, counter = MemoryLogger(), Counting()
    callbacks = [*settings.pop("callbacks", []), monitor or watched(), counter]
    run = trainer(callbacks=callbacks, logger=logger, **{"limit_val_batches": 0, **settings})
    run.fit(model, data, loader(16) if run.limit_val_batches else None)
    return steps_of(logger), counter.steps if model.automatic_optimization else counter.batches


def longest_pause(reports: Sequence[int], total: int) -> int:
    return max(later - earlier for earlier, later in pairwise([0, *reports, total - 1]))


RELOADED = {"reload_dataloaders_every_n_epochs": 1}
LENGTHS_KNOWN: dict[str, tuple[Callable[[], Toy], Any, dict[str, Any]]] = {
    "a loader that grows": (lambda: Growing(5, 10, 20, 40), None, {"max_epochs": 4, **RELOADED}),
    "one that shrinks": (lambda: Growing(40, 20, 10, 5), None, {"max_epochs": 4, **RELOADED}),
    "one that shrinks to one batch": (lambda: Growing(40, 20, 1), None, {"max_epochs": 3, **RELOADED}),
    "one that shrinks to one batch for many epochs": (lambda: Growing(30, *[1] * 30), None, {"max_epochs": 31, **RELOADED}),
    "one that shrinks to the length of a window": (lambda: Growing(41, 3), None, {"max_epochs": 2, **RELOADED}),
    "one that loses its length and finds it again": (lambda: Growing(20, -25, 30), None, {"max_epochs": 3, **RELOADED}),
    "one that grows, with accumulation": (
        lambda: Growing(7, 30, 90),
        None,
        {"max_epochs": 3, "accumulate_grad_batches": 4, **RELOADED},
    ),
    "a share of the batches": (Toy, loader(16 * 100), {"limit_train_batches": 0.37, "max_epochs": 3}),
    "some batches of a stream": (Toy, stream(100), {"limit_train_batches": 33, "max_epochs": 3}),
    "one batch over and over": (Toy, loader(16 * 9), {"overfit_batches": 1, "max_epochs": 35}),
    "validation in the middle of an epoch": (
        Toy,
        loader(16 * 9),
        {"val_check_interval": 4, "max_epochs": 5, "limit_val_batches": 1},
    ),
    "validation across epochs": (
        Toy,
        loader(16 * 9),
        {"val_check_interval": 14, "check_val_every_n_epoch": None, "max_epochs": 5, "limit_val_batches": 1},
    ),
    "steps of a stream": (Toy, stream(17), {"max_steps": 64, "max_epochs": -1}),
    "steps of a stream, with accumulation": (
        Toy,
        stream(1000),
        {"max_steps": 41, "accumulate_grad_batches": 3, "max_epochs": -1},
    ),
    "accumulation that ends": (
        Toy,
        loader(16 * 24),
        {"callbacks": [GradientAccumulationScheduler({0: 8, 2: 1})], "max_epochs": 5},
    ),
    "accumulation that begins": (
        Toy,
        loader(16 * 24),
        {"callbacks": [GradientAccumulationScheduler({0: 1, 2: 8})], "max_epochs": 8},
    ),
    "accumulation that ends, so many steps": (
        Toy,
        loader(16 * 24),
        {"callbacks": [GradientAccumulationScheduler({0: 8, 2: 1})], "max_steps": 47, "max_epochs": -1},
    ),
    "accumulation changed in the middle of an epoch": (
        Toy,
        loader(16 * 100),
        {"callbacks": [At(set_accumulation(3), batch=31)], "max_steps": 77, "max_epochs": -1},
    ),
    "max_epochs doubled at the end": (Toy, loader(16 * 25), {"callbacks": [At(set_epochs(4), epoch=1)], "max_epochs": 2}),
    "max_epochs doubled, epochs of one batch": (Toy, loader(16), {"callbacks": [At(set_epochs(40), epoch=19)], "max_epochs": 20}),
    "max_epochs doubled within the last window": (
        Toy,
        loader(16 * 25),
        {"callbacks": [At(set_epochs(4), batch=48)], "max_epochs": 2},
    ),
    "max_epochs lowered": (Toy, loader(16 * 25), {"callbacks": [At(set_epochs(2), batch=30)], "max_epochs": 100}),
    "max_steps raised": (Toy, loader(16 * 25), {"callbacks": [At(set_steps(93), batch=40)], "max_steps": 45}),
    "max_steps lowered": (Toy, loader(16 * 25), {"callbacks": [At(set_steps(45), batch=38)], "max_steps": 93}),
    "two optimizers, so many steps": (TwoOptimizers, loader(16 * 25), {"max_steps": 90, "max_epochs": -1}),
    "an optimizer that steps in every third batch": (EveryThirdBatch, loader(16 * 24), {"max_steps": 32, "max_epochs": -1}),
}


@pytest.mark.parametrize("what", LENGTHS_KNOWN)
def test_reports_come_every_so_many_steps_and_the_last_with_the_fit(what: str) -> None:
    """Whatever happens to the number of batches: no pause is longer than a period and a window, the last step has a report."""
    build, data, settings = LENGTHS_KNOWN[what]
    reports, total = fit(build(), data, **settings)
    assert reports[0] <= WINDOW - 1
    assert reports[-1] == total - 1
    assert longest_pause(reports, total) <= EVERY + WINDOW
    assert len(reports) <= total / EVERY + 4


class Critic(TwoOptimizers):
    """Its second optimizer steps in every fifth batch only, as that of a generator."""

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = Toy.training_step(self, batch, batch_idx)
        optimizers: Any = self.optimizers()
        first, second = optimizers
        self.manual_backward(loss)
        first.step()
        if batch_idx % 5 == 4:
            second.step()
        first.zero_grad()
        second.zero_grad()
        return loss


LENGTHS_GUESSED: dict[str, tuple[Callable[[], Toy], Any, dict[str, Any]]] = {
    "a stream": (Toy, stream(35), {"max_epochs": 1}),
    "a stream that ends as the last time": (Toy, stream(35), {"max_epochs": 3}),
    "a stream that ends sooner": (Toy, stream(35, 22), {"max_epochs": 2}),
    "a stream that ends later": (Toy, stream(22, 35), {"max_epochs": 2}),
    "a stream that ends after one batch": (Toy, stream(22, 1), {"max_epochs": 2}),
    "a stream shorter than said": (Toy, stream(22), {"limit_train_batches": 50, "max_epochs": 2}),
    "a loader that says too much": (Toy, stream(22, kind=OverstatedStream), {"max_epochs": 2}),
    "optimizers that step unevenly": (Critic, loader(16 * 30), {"max_steps": 100, "max_epochs": -1}),
}


@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
@pytest.mark.parametrize("what", LENGTHS_GUESSED)
def test_a_process_alone_ends_with_a_report_where_the_length_is_not_known(what: str) -> None:
    build, data, settings = LENGTHS_GUESSED[what]
    reports, total = fit(build(), data, **settings)
    assert reports[0] == WINDOW - 1
    assert reports[-1] == total - 1
    assert longest_pause(reports, total) <= EVERY + WINDOW


def test_a_stream_that_ends_as_the_last_time_ends_with_a_whole_window() -> None:
    monitor = watched()
    fit(Toy(), stream(35), monitor, max_epochs=3)
    assert monitor.last_report["train"].num_inputs == 16 * WINDOW


@pytest.mark.parametrize("batch", [20, 21, 22])
def test_a_window_that_an_early_stop_cuts_short_is_reported(batch: int) -> None:
    """Stopped after each of the three batches of the window that opens at step 20."""
    monitor = watched()
    reports, total = fit(Toy(), loader(16 * 100), monitor, callbacks=[At(stop, batch=batch)])
    assert (reports, total) == ([2, 12, batch], batch + 1)
    assert monitor.last_report["train"].num_inputs == 16 * (batch - 19)


def test_early_stopping_within_a_window_leaves_no_gap() -> None:
    """It stops after the validation of the second epoch, of which three batches are in an open window of eight."""
    stopping = EarlyStopping("val_loss", patience=1, min_delta=100)
    reports, total = fit(
        Toy(), loader(16 * 7), watched(every=11, window=8), callbacks=[stopping], max_epochs=50, limit_val_batches=1
    )
    assert (reports, total) == ([7, 13], 14)


class StepTimer(Timer):
    """Lightning's `max_time`, on a clock that every step moves on by a second."""

    seconds = 0.0

    @override
    def time_elapsed(self, stage: str = RunningStage.TRAINING) -> float:
        self.seconds += stage == RunningStage.TRAINING
        return self.seconds


@pytest.mark.parametrize("ends", [At(stop, batch=28), StepTimer(dt.timedelta(seconds=30))], ids=["stop", "time"])
def test_between_two_windows_the_last_report_is_less_than_a_period_old(ends: Callback) -> None:
    """Where nobody knows that a batch is the last, there is nothing left to look at."""
    reports, total = fit(Toy(), loader(16 * 100), watched(), max_epochs=-1, callbacks=[ends])
    assert (reports, total) == ([2, 12, 22], 29)


class Skipping(Toy):
    """Ends each epoch before its eighth batch."""

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 7 else None


def test_epochs_that_the_user_ends_early() -> None:
    """A window goes on over their ends; the last one is over when the fit is."""
    reports, total = fit(Skipping(), loader(16 * 20), max_epochs=5)
    assert total == 35
    assert longest_pause(reports, total) <= EVERY + WINDOW
    assert reports[-1] >= total - 2


def test_a_window_that_has_seen_nothing_is_no_report() -> None:
    """It opened with a batch that the user skipped, the last of the fit."""
    reports, total = fit(Skipping(), loader(16 * 20), watched(every=7), max_epochs=1, callbacks=[At(stop, batch=6)])
    assert (reports, total) == ([2], 7)


@pytest.mark.parametrize("lengths", [(30, 55), (55, 30), (30, -40), (-40, 30), (30, 1)])
def test_two_fits_of_one_trainer_with_other_loaders(lengths: tuple[int, int]) -> None:
    logger, monitor, counter = MemoryLogger(), watched(), Counting()
    run = trainer(callbacks=[monitor, counter], logger=logger, max_epochs=1, limit_val_batches=0)
    model = Toy()
    for epochs, length in enumerate(lengths, 1):
        run.fit_loop.max_epochs = epochs
        run.fit(model, loader(16 * length) if length > 0 else stream(-length))
        assert steps_of(logger)[-1] == counter.steps - 1
    assert counter.steps == sum(map(abs, lengths))
    assert longest_pause(steps_of(logger), counter.steps) <= EVERY + WINDOW


def test_max_steps_changed_between_two_fits() -> None:
    logger, counter = MemoryLogger(), Counting()
    run = trainer(callbacks=[watched(), counter], logger=logger, max_steps=33, max_epochs=-1, limit_val_batches=0)
    model = Toy()
    for max_steps in (33, 51):
        set_steps(max_steps)(run)
        run.fit(model, loader(16 * 20))
        assert counter.steps == max_steps
        assert steps_of(logger)[-1] == max_steps - 1
    assert longest_pause(steps_of(logger), 51) <= EVERY + WINDOW


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("save_at", [13, 24, 38, 46, 47])
def test_a_fit_resumed_in_the_middle_of_an_epoch_has_the_reports_of_one_that_was_not(
    save_at: int, accumulate: int, tmp_path: Path
) -> None:
    """Epochs of 16 batches; in the last window too, where the report is on what is left of it."""
    path = tmp_path / "middle.ckpt"
    save = At(lambda trainer: trainer.save_checkpoint(path), batch=save_at)
    settings: dict[str, Any] = {"limit_val_batches": 0, "max_epochs": 3, "accumulate_grad_batches": accumulate}
    curves = []
    for resumes in (False, True):
        logger = MemoryLogger()
        run = trainer(callbacks=[watched(every=5), *([] if resumes else [save])], logger=logger, **settings)
        run.fit(Toy(), loader(16 * 16), ckpt_path=path if resumes else None)
        curves.append(steps_of(logger))
    whole, resumed = curves
    began = (save_at + 1) // accumulate
    assert whole[-1] == 48 // accumulate - 1
    if save_at < 47:  # else there is nothing left to train
        assert resumed[-1] == whole[-1]
        assert {step for step in whole if step > began + WINDOW} <= set(resumed)
    else:
        assert resumed == []


def test_windows_of_small_batches_end_with_a_fit_that_changes() -> None:
    """Two batches by the schedule, seventeen for 256 inputs where one may have but one; the last window has them too."""
    monitor = watched(Thresholds(), every=40, window=2)
    reports, total = fit(Growing(20, 45, 90), monitor=monitor, max_epochs=3, **RELOADED)
    assert (reports[-1], total) == (154, 155)
    assert longest_pause(reports, total) <= 40 + 17
    assert monitor.last_report["train"].num_inputs >= 256
