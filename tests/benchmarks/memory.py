"""Whether memory grows over a training: `python -m tests.benchmarks.memory [--epochs 50] [--case labels vocabulary]`.

Every row of the table is a training in a process of its own: a linear body and a head, a validation after every epoch,
TensorBoard as the logger, and everything else by default. "labels" validates 20 000 inputs of 1 000 labels, "vocabulary" 1 000
inputs of 50 000 labels. The slope is the least-squares line of the resident size over the epochs from the third on. "no monitor"
is the same training without it, "trimmed" the monitor with free memory given back (`malloc_trim`) before every measurement, and
"all reports" the monitor without a limit on its time, which then writes the pictures and the tab of every report. `--seconds`
ends a training earlier. The sizes of every epoch go to stderr.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import Display, LabelSimilarityMonitor
from tests.toys import trainer

FIRST: Final = 3
"""Epoch from which on the slope counts: what is made once is made by then."""
MIB: Final = 2**20


class Case(NamedTuple):
    """How much data a training has."""

    num_labels: int
    num_inputs: int
    """Of a validation."""
    embedding_dim: int
    batch_size: int


CASES: Final = {"labels": Case(1000, 20_000, 16, 1000), "vocabulary": Case(50_000, 1000, 16, 100)}
KINDS: Final = ("monitor", "no monitor", "trimmed", "all reports")


class Classifier(pl.LightningModule):
    """A linear body and a head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.body = nn.Linear(case.embedding_dim, case.embedding_dim)
        self.head = nn.Linear(case.embedding_dim, case.num_labels)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs))
        return logits

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    @override
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Resident(Callback):
    """The resident size of the process at the end of every epoch, in bytes. Stops the training after so many seconds."""

    def __init__(self, seconds: float, *, trims: bool) -> None:
        self.sizes: list[int] = []
        self._trims = trims
        self._until = time.monotonic() + seconds

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop = time.monotonic() > self._until
        if self._trims:
            gc.collect()
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        self.sizes.append(pages * os.sysconf("SC_PAGE_SIZE"))
        print(f"{self.sizes[-1] / MIB:.1f}", file=sys.stderr, flush=True)


def data(case: Case, num_inputs: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = 3 * torch.randn(num_inputs, case.embedding_dim, generator=generator)
    rule = torch.randn(case.embedding_dim, case.num_labels, generator=torch.Generator().manual_seed(0))
    targets = torch.cat([(some @ rule).argmax(dim=1) for some in torch.split(inputs, case.batch_size)])
    return DataLoader(TensorDataset(inputs, targets), batch_size=case.batch_size)


def train(case: Case, kind: str, epochs: int, seconds: float, folder: Path) -> tuple[list[int], int]:
    """Sizes by epoch, and how many inputs the last report compares."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    display = Display(max_overhead=None) if kind == "all reports" else Display()
    monitor, resident = LabelSimilarityMonitor(display=display), Resident(seconds, trims=kind == "trimmed")
    run = trainer(
        max_epochs=epochs,
        callbacks=[resident] if kind == "no monitor" else [monitor, resident],
        logger=TensorBoardLogger(folder, name=None, version=""),
        log_every_n_steps=50,
    )
    run.fit(Classifier(case), data(case, 4 * case.batch_size, 1), data(case, case.num_inputs, 2))
    return resident.sizes, 0 if kind == "no monitor" else monitor.last_report["val"].num_inputs


def slope_of(sizes: list[int]) -> float:
    """MiB an epoch, from the third epoch on."""
    later = np.array(sizes[FIRST - 1 :]) / MIB
    return float(np.polyfit(np.arange(len(later)), later, 1)[0])


def row(name: str, kind: str, epochs: int, seconds: float) -> str:
    """Of the table; the training runs in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.memory",
        "--child",
        name,
        kind,
        "--epochs",
        str(epochs),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    sizes, num_inputs = json.loads(done.stdout.splitlines()[-1])
    half = max(FIRST, len(sizes) // 2)
    numbers = (sizes[FIRST - 1] / MIB, sizes[half - 1] / MIB, sizes[-1] / MIB, max(sizes) / MIB)
    slopes = (slope_of(sizes), slope_of(sizes[half - FIRST :]))
    return (
        f"{name:12}{kind:14}{num_inputs:9}{len(sizes):9}"
        + "".join(f"{one:9.1f}" for one in numbers)
        + "".join(f"{one:+9.3f}" for one in slopes)
    )


def main(case: list[str], kind: list[str], epochs: int, seconds: float, child: list[str] | None) -> None:
    if child is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(train(CASES[child[0]], child[1], epochs, seconds, Path(folder))))
        return
    print(f"Resident size in MiB, slope in MiB an epoch, {epochs} epochs")
    numbers = ("inputs", "epochs", "third", "middle", "last", "largest", "slope", "2nd half")
    print(f"{'case':12}{'training':14}" + "".join(f"{name:>9}" for name in numbers))
    for one in case:
        for another in kind:
            print(row(one, another, epochs, seconds), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--kind", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    main(**vars(parser.parse_args()))
