"""The quickstart's training from a YAML file, with thresholds in a file of their own.

Needs `pip install 'lightning-cossim[demo]'`, no download, a quarter of a minute on a CPU:

    python examples/cli.py fit --config examples/config.yaml

Settings can be overridden on the command line, of callbacks those of the last one in the file; each is shown with its help:

    python examples/cli.py fit --config examples/config.yaml --trainer.callbacks.schedule.train_every_n_steps 50
    python examples/cli.py fit --config examples/config.yaml --print_config=comments
    python examples/cli.py fit --trainer.callbacks.help=lightning_cossim.LabelSimilarityMonitor
"""

from collections.abc import Sequence

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningCLI
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_cossim import LabelSimilarityMonitor
from lightning_cossim.analysis.demo import Classifier, digits

Loader = DataLoader[tuple[Tensor, ...]]


class Digits(pl.LightningDataModule):
    """Handwritten digits of 8x8 pixels, from scikit-learn."""

    def setup(self, stage: str) -> None:
        self.training, self.validation = digits()

    def train_dataloader(self) -> Loader:
        return self.training

    def val_dataloader(self) -> Loader:
        return self.validation


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, then print what each monitor found last."""
    cli = LightningCLI(Classifier, Digits, args=None if arguments is None else list(arguments))
    for callback in cli.trainer.callbacks:
        if isinstance(callback, LabelSimilarityMonitor):
            print(callback.last_report["val"])


if __name__ == "__main__":
    main()
