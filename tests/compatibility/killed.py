"""A training that can be killed: `python -m tests.compatibility.killed FOLDER --help`.

Every batch is the same, so that a resume in the middle of an epoch goes on with the data that an uninterrupted run has.
"""

import argparse
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import LabelSimilarityMonitor, Schedule
from tests.toys import ALWAYS, FEW, Toy, few_inputs, loader, trainer


class Dies(Callback):
    """Kills its own process without a word after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


@few_inputs()
def main(folder: Path, die_at: int, resume: Path | None, purge: int | None) -> dict[str, Tensor]:
    """The weights after three epochs of six steps, with a checkpoint every four steps."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model = Toy()
    model.body[2] = nn.Identity()  # no dropout: its random numbers are not resumed
    inputs, targets = next(iter(loader(16)))
    data = DataLoader(TensorDataset(inputs.repeat(6, 1), targets.repeat(6)), batch_size=16)
    steps = ModelCheckpoint(folder / "checkpoints", "{step}", every_n_train_steps=4, save_top_k=-1)
    monitor = LabelSimilarityMonitor(schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS)
    run = trainer(
        max_epochs=3,
        callbacks=[monitor, steps, Dies(die_at)],
        enable_checkpointing=True,
        logger=TensorBoardLogger(folder / "logs", name=None, version="", purge_step=purge),
    )
    run.fit(model, data, loader(60, seed=2), ckpt_path=resume)
    return model.state_dict()


def num_events(work: Callable[[], Any], die_at: float = math.inf) -> int:
    """How many calls and returns of Python and C functions there are in some work; at number `die_at` the process is killed."""
    num = 0

    def count(*_: Any) -> None:
        nonlocal num
        num += 1
        if num >= die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    work()
    sys.setprofile(None)
    return num


def _forked(work: Callable[[], Any]) -> int:
    """The signal that ended a child which does some work; 0 if it ended by itself."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the training of a child failed")
    return os.WTERMSIG(status)


def die_anywhere(folder: Path, fractions: Sequence[float]) -> None:
    """Trainings that die at some fraction of their events or, every second one, of their time, in folders 0, 1 and so on.

    Each is a child that this process forks, which has imported everything.
    """

    def fit(name: str) -> Callable[[], object]:
        return lambda: main(folder / name, die_at=-1, resume=None, purge=None)

    def measure() -> None:
        (folder / "events").write_text(str(num_events(fit("measured"))), encoding="utf-8")

    start = time.monotonic()
    _forked(fit("timed"))
    seconds = time.monotonic() - start
    _forked(measure)
    total = int((folder / "events").read_text(encoding="utf-8"))

    def at_event(number: int, fraction: float) -> None:
        num_events(fit(str(number)), die_at=1 + fraction * total)

    def at_time(number: int, fraction: float) -> None:
        threading.Timer(fraction * seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        fit(str(number))()
        time.sleep(seconds)  # it was faster this time

    for number, fraction in enumerate(fractions):
        work = partial(at_time if number % 2 else at_event, number, fraction)
        if _forked(work) != signal.SIGKILL:
            raise RuntimeError(f"training {number} was not killed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--purge", type=int)
    parser.add_argument("--anywhere", type=float, nargs="*", help="die at these fractions of a training, in one folder each")
    arguments = vars(parser.parse_args())
    fractions = arguments.pop("anywhere")
    if fractions is None:
        main(**arguments)
    else:
        torch.set_num_threads(1)  # a fork has no other thread
        die_anywhere(arguments["folder"], fractions)
