"""Demo: train a small classifier of handwritten digits for half a minute, and print the report of the monitor."""

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
from lightning_cossim.config.settings import Display, LabelSelection
from lightning_cossim.errors import LabelSimilarityError
from lightning_cossim.report import GapReport

__all__ = ["DIGITS", "Classifier", "digits", "main"]

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Classifier(pl.LightningModule):
    """A classifier with two hidden layers and a softmax head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, 10) of images (N, 8, 8) with values from 0 to 1."""
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
        """Log the accuracy of a batch."""
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(dim=1) == labels).float().mean())

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with a learning rate of 0.002."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def digits() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 1,197 training and 600 validation images of 8x8 pixels.

    Returns:
        The loaders of training and of validation. Their batches are images (N, 8, 8) from 0 to 1, and labels (N,) from 0 to 9.

    Raises:
        LabelSimilarityError: scikit-learn, which contains the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise LabelSimilarityError("The demo needs scikit-learn: pip install 'lightning-cossim[demo]'.") from None
    found = load_digits()
    dataset = TensorDataset(torch.tensor(found.images, dtype=torch.float32) / 16, torch.tensor(found.target))
    training, validation = random_split(dataset, [1197, 600], torch.Generator().manual_seed(0))
    return DataLoader(training, batch_size=32, shuffle=True), DataLoader(validation, batch_size=200)


def tensorboard() -> str:
    """The command that starts TensorBoard. It includes the path if the environment is not activated."""
    here = Path(sys.executable).with_name("tensorboard")
    return "tensorboard" if shutil.which("tensorboard") == str(here) else os.path.relpath(here)


def main(epochs: int = 20, folder: str = "lightning_logs") -> GapReport:
    """Train, print the last validation report of the monitor, and return it.

    Args:
        epochs: number of training epochs, at least 1.
        folder: the folder of the logs.

    Raises:
        LabelSimilarityError: scikit-learn is not installed.
    """
    pl.seed_everything(0, verbose=False)
    training, validation = digits()
    # The targets are the second part of a batch. `max_overhead=None` draws all pictures after every epoch of this short training.
    labels, display = LabelSelection(names=DIGITS, targets_key=1), Display(max_overhead=None)
    monitor = LabelSimilarityMonitor(labels=labels, display=display)
    logger = TensorBoardLogger(folder, name="quickstart")
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[monitor], logger=logger, enable_progress_bar=False)
    trainer.fit(Classifier(), training, validation)

    report = monitor.last_report["val"]
    print(f"\nAccuracy {trainer.callback_metrics['val_accuracy']:.1%} on {report.num_inputs} digits of the validation set.\n")
    print(report)
    print(f"\nThe event file is in {logger.log_dir}. To see its pages, run\n\n    {tensorboard()} --logdir {folder}\n")
    print("and open the tab Label similarity.\n")
    return report
