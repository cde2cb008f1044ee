"""Train a small classifier on handwritten digits, and see where cosine similarity and probabilities part.

Needs `pip install 'lightning-cossim[demo]'`, no download, half a minute on a CPU:

    python examples/quickstart.py
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_cossim import Display, GapReport, LabelSelection, LabelSimilarityMonitor

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Classifier(pl.LightningModule):
    """Two hidden layers and a softmax head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def digits() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 1 197 training and 600 validation images, 8x8 pixels each."""
    pixels, labels = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels))
    training, validation = random_split(dataset, [1197, 600], torch.Generator().manual_seed(0))
    return DataLoader(training, batch_size=32, shuffle=True), DataLoader(validation, batch_size=200)


def tensorboard() -> str:
    """The command that starts TensorBoard, also from an environment that is not activated."""
    here = Path(sys.executable).with_name("tensorboard")
    return "tensorboard" if shutil.which("tensorboard") == str(here) else os.path.relpath(here)


def main(epochs: int = 20, folder: str = "lightning_logs") -> GapReport:
    """Train, print what the monitor found, and return its last validation report."""
    pl.seed_everything(0, verbose=False)
    training, validation = digits()
    # Of so short a training nothing has to be saved: all pictures come, after every epoch.
    monitor = LabelSimilarityMonitor(labels=LabelSelection(names=DIGITS), display=Display(max_overhead=None))
    logger = TensorBoardLogger(folder, name="quickstart")
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[monitor], logger=logger, enable_progress_bar=False)
    trainer.fit(Classifier(), training, validation)

    report = monitor.last_report["val"]
    print(f"\nAccuracy {trainer.callback_metrics['val_accuracy']:.1%} on {report.num_inputs} digits it has not seen.\n")
    print(report)
    print(f"\nThe event file lies in {logger.log_dir}. See its curves with\n\n    {tensorboard()} --logdir {folder}\n")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", default="lightning_logs")
    main(**vars(parser.parse_args()))
