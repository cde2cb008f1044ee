"""Run the training of the quickstart from a YAML file with LightningCLI. The thresholds are in a second YAML file.

    pip install 'lightning-cossim[demo]'
    python examples/cli.py fit --config examples/config.yaml

The training takes 15 seconds on a CPU and downloads nothing.

To override a setting, pass it on the command line. For callbacks, this changes the last callback in the file. The last two
commands print the help of all settings:

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
    """Images of handwritten digits, 8x8 pixels each, from scikit-learn."""

    def setup(self, stage: str) -> None:
        self.training, self.validation = digits()

    def train_dataloader(self) -> Loader:
        return self.training

    def val_dataloader(self) -> Loader:
        return self.validation


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, then print the last validation report of each monitor."""
    cli = LightningCLI(Classifier, Digits, args=None if arguments is None else list(arguments))
    for callback in cli.trainer.callbacks:
        if isinstance(callback, LabelSimilarityMonitor):
            print(callback.last_report["val"])


if __name__ == "__main__":
    main()
