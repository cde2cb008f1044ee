"""A training that can be killed: `python -m tests.compatibility.killed FOLDER --help`.

Every batch is the same, so that a resume in the middle of an epoch goes on with the data that an uninterrupted run has.
"""

import argparse
import logging
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
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
def main(folder: Path, die_at: int, resume: Path | None, purge: int | None) -> None:
    """Train three epochs of six steps, with a checkpoint every four steps and at the end of every epoch."""
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--purge", type=int)
    main(**vars(parser.parse_args()))
