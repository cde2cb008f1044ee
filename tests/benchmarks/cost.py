"""What the monitor costs: `python -m tests.benchmarks.cost`, on an idle machine, a quarter of an hour.

Each ratio is the median over rounds of the same training without the monitor, with it and without it again, in one process and
on one thread: the two without it tell the noise. Where other machines share the processor, its time says more than the clock's,
and the time that the monitor itself stops more than either. Everything is on by default, TensorBoard's pictures too.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import Display, LabelSimilarityMonitor
from lightning_cossim.callback.session import Session
from lightning_cossim.capture.head import Head
from lightning_cossim.capture.observer import HeadObserver

INPUT_DIM = 64


class Model(pl.LightningModule):
    """An MLP whose width decides how long a step takes."""

    def __init__(self, width: int, num_labels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(INPUT_DIM, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)
        )
        self.head = nn.Linear(64, num_labels)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs))
        return logits

    @override
    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    @override
    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def data(num_batches: int, batch_size: int, num_labels: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_batches * batch_size, INPUT_DIM, generator=generator)
    rule = torch.randn(INPUT_DIM, num_labels, generator=generator)
    return DataLoader(TensorDataset(inputs, (inputs @ rule).argmax(dim=1)), batch_size=batch_size)


class Timed(LabelSimilarityMonitor):
    """Keeps its last session, and with it what that has cost."""

    session: Session | None = None

    @override
    def _detach(self) -> None:
        self.session = self._session or self.session
        super()._detach()


def seconds_of_training(width: int, num_labels: int, steps: int, every: int, callbacks: list[Callback]) -> tuple[float, float]:
    """The clock's and the processor's seconds for so many steps, with a validation of four batches every so many of them."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=steps,
            val_check_interval=every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            logger=TensorBoardLogger(folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        pl.seed_everything(0, verbose=False)
        model = Model(width, num_labels)
        training, validation = data(100, 64, num_labels), data(4, 64, num_labels)
        began = time.perf_counter(), time.process_time()
        trainer.fit(model, training, validation)
        return time.perf_counter() - began[0], time.process_time() - began[1]


def ratios(rounds: int, **settings: Any) -> None:
    """Print what a training with the monitor takes of one without, and what another one without takes."""
    seconds_of_training(**{**settings, "steps": 50}, callbacks=[LabelSimilarityMonitor()])  # whatever is done once in a process
    clock: list[tuple[float, float, float]] = []
    processor: list[tuple[float, float, float]] = []
    own: list[float] = []
    for _ in range(rounds):
        monitor = Timed()
        first = seconds_of_training(**settings, callbacks=[])
        watched = seconds_of_training(**settings, callbacks=[monitor])
        second = seconds_of_training(**settings, callbacks=[])
        for kind, times in enumerate((clock, processor)):
            alone = (first[kind] + second[kind]) / 2
            times.append((watched[kind] / alone, second[kind] / first[kind], alone))
        assert monitor.session is not None
        own.append(monitor.session.overhead.spent / watched[0])
    seconds = statistics.median(alone for *_, alone in clock)
    print(f"steps of {1e3 * seconds / settings['steps']:.1f} ms, {seconds:.0f} s", end="")
    for name, times in (("clock", clock), ("processor", processor)):
        ratio, noise, _ = (statistics.median(column) for column in zip(*times, strict=True))
        spread = ", ".join(f"{one:.3f}" for one in sorted(one for one, *_ in times))
        print(f"; {name}: with/without {ratio:.3f} ({spread}), without/without {noise:.3f}", end="")
    print(f"; stopped by the monitor itself {statistics.median(own):.1%}", flush=True)


class Bench:
    """A monitor and the little of a Trainer that its hooks look at."""

    def __init__(self, num_labels: int) -> None:
        self.monitor = LabelSimilarityMonitor(display=Display(max_overhead=None))
        self.model = Model(8, num_labels)
        self.model.head.weight.data.mul_(8)
        strategy = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor, broadcast=lambda given: given, root_device="cpu")
        self.trainer: Any = SimpleNamespace(
            accumulate_grad_batches=1,
            callback_metrics={},
            callbacks=[self.monitor],
            current_epoch=0,
            enable_validation=True,
            fit_loop=SimpleNamespace(batch_idx=-1, restarting=False),
            global_step=0,
            is_global_zero=True,
            is_last_batch=False,
            loggers=[],
            max_epochs=10,
            max_steps=-1,
            num_training_batches=500,
            num_val_batches=[1],
            optimizers=[SimpleNamespace(param_groups=[])],
            local_rank=0,
            sanity_checking=False,
            state=SimpleNamespace(fn="fit"),
            strategy=strategy,
            world_size=1,
            global_rank=0,
        )
        given: Any = (self.trainer, self.model)
        self.monitor.on_fit_start(*given)
        self.monitor.on_train_start(*given)

    def report(self) -> float:
        """Seconds that the end of a validation of 600 inputs takes."""
        given: Any = (self.trainer, self.model)
        self.monitor.on_validation_start(*given)
        self.monitor.on_validation_batch_start(self.trainer, self.model, None, 0)
        self.model.head(torch.randn(600, 64, generator=torch.Generator().manual_seed(0)))
        self.monitor.on_validation_batch_end(self.trainer, self.model, None, None, 0)
        began = time.perf_counter()
        self.monitor.on_validation_epoch_end(*given)
        return time.perf_counter() - began

    def step(self, callback: Callback, batch: int) -> None:
        """The hooks of a training step."""
        self.trainer.global_step = batch
        callback.on_train_batch_start(self.trainer, self.model, None, batch)
        callback.on_before_backward(self.trainer, self.model, torch.zeros(()))
        callback.on_train_batch_end(self.trainer, self.model, None, None, batch)

    def idle_step(self) -> float:
        """Seconds that a step which is not due takes more than with an empty Callback."""
        for batch in range(20):
            self.step(self.monitor, batch)
        self.monitor._clock.next_due = 10**9

        def seconds(callback: Callback) -> float:
            began = time.perf_counter()
            for batch in range(20, 190):
                self.step(callback, batch)
            return (time.perf_counter() - began) / 170

        empty = Callback()
        return statistics.median(seconds(self.monitor) - seconds(empty) for _ in range(100))


def final_check(width: int, num_labels: int, batch_size: int) -> tuple[float, float]:
    """Seconds that the comparison with the model's final output takes in the first batch of a run, and those of that batch."""
    model = Model(width, num_labels).eval()
    inputs = torch.randn(batch_size, INPUT_DIM)
    generator = torch.Generator().manual_seed(0)

    def seconds(observer: HeadObserver) -> float:
        began = time.perf_counter()
        observer.check_again()
        observer.arm()
        with torch.inference_mode():
            model(inputs)
        observer.take(1024, generator)
        return time.perf_counter() - began

    def bare() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            model(inputs)
        return time.perf_counter() - began

    head = Head("head", model.head, "its path")
    with_check, without = HeadObserver(head, model), HeadObserver(head)
    extra = statistics.median(seconds(with_check) - seconds(without) for _ in range(200))
    batch = statistics.median(bare() for _ in range(200))
    with_check.detach()
    without.detach()
    return extra, batch


def median_of(measure: Callable[[], float], times: int) -> float:
    """The median, after two that do not count."""
    return statistics.median([measure() for _ in range(times + 2)][2:])


def bytes_of_report(num_labels: int) -> int:
    """What one validation adds to an event file, pictures and curves together."""

    def size(validations: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            monitor = LabelSimilarityMonitor(display=Display(max_overhead=None))
            logger = TensorBoardLogger(folder, name=None, version="")
            trainer = pl.Trainer(
                accelerator="cpu",
                callbacks=[monitor],
                logger=logger,
                limit_train_batches=0.01,
                max_epochs=validations,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            pl.seed_everything(0, verbose=False)
            trainer.fit(Model(64, num_labels), data(100, 64, num_labels), data(8, 512, num_labels))
            logger.experiment.flush()
            return sum(path.stat().st_size for path in Path(folder).rglob("events*"))

    return (size(4) - size(2)) // 2


def main(rounds: int, seconds: float) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    for num_labels in (10, 100, 512):
        print(f"report without pictures, {num_labels:3} labels: {1e3 * median_of(Bench(num_labels).report, 15):6.1f} ms")
    print(f"a step that is not due, beside an empty Callback: {1e6 * Bench(10).idle_step():.1f} µs")
    for sizes in ((400, 10, 64), (2200, 10, 64), (2200, 512, 256), (2200, 32_000, 256)):
        extra, batch = final_check(*sizes)
        what = "width {}, {} labels, batches of {}".format(*sizes)
        print(f"comparison with the final output, once a run, {what}: {1e3 * extra:.2f} ms, {extra / batch:.2f} of a batch")
    for num_labels in (10, 100, 512):
        print(f"event file, per validation, {num_labels:3} labels: {bytes_of_report(num_labels) / 1e3:6.0f} kB", flush=True)
    for width, milliseconds in ((2200, 20), (400, 1.5)):
        steps = int(seconds * 1e3 / milliseconds)
        ratios(rounds, width=width, num_labels=10, steps=steps, every=max(1, steps // 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each training; default 3")
    parser.add_argument("--seconds", type=float, default=65, help="that a training takes, about; default 65")
    main(**vars(parser.parse_args()))
