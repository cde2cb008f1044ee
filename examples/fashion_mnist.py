"""Train a small classifier on Fashion-MNIST, and see for which clothes the label-centered cosine is misleading.

    python examples/fashion_mnist.py /usr/share/datasets/fashion-mnist

The training takes half a minute on a CPU. The data are four `idx` files, gzipped or not. On Debian and Ubuntu,
`apt install dataset-fashion-mnist` installs them. torchvision downloads the same files to `FashionMNIST/raw`.
"""

import argparse
import gzip
import os
import shutil
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cossim import GapReport, LabelSelection, LabelSimilarityMonitor

CLOTHES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]
DEBIAN = "/usr/share/datasets/fashion-mnist"


class Classifier(pl.LightningModule):
    """A classifier with two hidden layers and a softmax head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

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
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def read_idx(folder: Path, name: str) -> Tensor:
    """The bytes of an idx file, in the shape that the header of the file gives."""
    path = next((path for path in (folder / f"{name}.gz", folder / name) if path.exists()), None)
    if path is None:
        raise SystemExit(f"{folder} has no {name}[.gz]. On Debian, run `apt install dataset-fashion-mnist` and pass {DEBIAN}.")
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    num_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", num_dimensions, offset=4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * num_dimensions).reshape(shape).copy())


def clothes(folder: Path, batch_size: int) -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 60,000 training and 10,000 validation images of 28x28 pixels, with values from 0 to 1."""
    datasets = [
        TensorDataset(read_idx(folder, f"{part}-images-idx3-ubyte") / 255, read_idx(folder, f"{part}-labels-idx1-ubyte").long())
        for part in ("train", "t10k")
    ]
    return DataLoader(datasets[0], batch_size=batch_size, shuffle=True), DataLoader(datasets[1], batch_size=500)


def tensorboard() -> str:
    """The command that starts TensorBoard. It includes the path if the environment is not activated."""
    here = Path(sys.executable).with_name("tensorboard")
    return "tensorboard" if shutil.which("tensorboard") == str(here) else os.path.relpath(here)


def main(data: Path, epochs: int = 5, seed: int = 0, folder: str = "lightning_logs") -> GapReport:
    """Train, print the last validation report of the monitor, and return it."""
    pl.seed_everything(seed, verbose=False)
    training, validation = clothes(data, batch_size=128)
    # The targets are the second part of a batch.
    monitor = LabelSimilarityMonitor(labels=LabelSelection(names=CLOTHES, targets_key=1))
    logger = TensorBoardLogger(folder, name="fashion_mnist")
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[monitor], logger=logger, enable_progress_bar=False)
    trainer.fit(Classifier(), training, validation)

    report = monitor.last_report["val"]
    print(f"\nAccuracy {trainer.callback_metrics['val_accuracy']:.1%} on {report.num_inputs} images of the validation set.\n")
    print(report)
    print(f"\nThe event file is in {logger.log_dir}. To see its pages, run\n\n    {tensorboard()} --logdir {folder}\n")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path(DEBIAN), help=f"folder of the idx files; default: {DEBIAN}")
    parser.add_argument("--epochs", type=int, default=5, help="number of training epochs; default: 5")
    parser.add_argument("--seed", type=int, default=0, help="random seed; default: 0")
    parser.add_argument("--folder", default="lightning_logs", help="folder of the logs; default: lightning_logs")
    main(**vars(parser.parse_args()))
