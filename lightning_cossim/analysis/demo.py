"""The quickstart: a small classifier of handwritten digits, trained in half a minute, and what the monitor says of it."""

import os
import shutil
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from typing_extensions import override

from lightning_cossim.callback.monitor import LabelSimilarityMonitor
from lightning_cossim.config.settings import Display
from lightning_cossim.errors import LabelSimilarityError
from lightning_cossim.report import GapReport

__all__ = ["DIGITS", "Classifier", "digits", "main"]

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Classifier(pl.LightningModule):
    """Two hidden layers and a softmax head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, 10) of images (N, 64)."""
        logits: Tensor = self.head(self.body(images))
        return logits

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    @override
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log how many of a batch are right."""
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(dim=1) == labels).float().mean())

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def digits() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 1 197 training and 600 validation images, 8x8 pixels each.

    Raises:
        LabelSimilarityError: scikit-learn, which brings them along, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise LabelSimilarityError("The demo needs scikit-learn: pip install 'lightning-cossim[demo]'.") from None
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
    monitor = LabelSimilarityMonitor(labels=DIGITS, display=Display(max_overhead=None))
    logger = TensorBoardLogger(folder, name="quickstart")
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[monitor], logger=logger, enable_progress_bar=False)
    trainer.fit(Classifier(), training, validation)

    report = monitor.last_report["val"]
    print(f"\nAccuracy {trainer.callback_metrics['val_accuracy']:.1%} on {report.num_inputs} digits it has not seen.\n")
    print(report)
    print(f"\nThe event file lies in {logger.log_dir}. See its pages with\n\n    {tensorboard()} --logdir {folder}\n")
    print("and open the tab Label similarity.\n")
    return report
