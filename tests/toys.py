"""Small models, data and loggers that the tests of the monitor share."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

NUM_LABELS, EMBEDDING_DIM, INPUT_DIM = 8, 5, 6

Batch = list[Tensor]
Loader = DataLoader[tuple[Tensor, ...]]


class Toy(pl.LightningModule):
    """An MLP with dropout, which makes its training depend on the random numbers; it logs how many batches it has seen."""

    def __init__(self, num_labels: int = NUM_LABELS) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(INPUT_DIM, EMBEDDING_DIM), nn.Tanh(), nn.Dropout(0.2))
        self.head = nn.Linear(EMBEDDING_DIM, num_labels)
        self.batches_seen = 0

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs))
        return logits

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.log("batches_seen", float(self.batches_seen), on_step=True)
        self.batches_seen += 1
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("test_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class TwoOptimizers(Toy):
    """Manual optimization that steps two optimizers in every batch, so `trainer.global_step` jumps by two."""

    every = 1

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        optimizers: Any = self.optimizers()
        self.manual_backward(loss)
        for optimizer in optimizers if (batch_idx + 1) % self.every == 0 else ():
            optimizer.step()
            optimizer.zero_grad()
        return loss

    @override
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.5) for part in (self.body, self.head)]


class EveryThirdBatch(TwoOptimizers):
    """Manual optimization that steps in every third batch only: Lightning's steps count every batch all the same."""

    every = 3


class MemoryLogger(Logger):
    """Keeps what it is given: a list of (step, metrics)."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[int | None, dict[str, float]]] = []

    @property
    @override
    def name(self) -> str:
        return "memory"

    @property
    @override
    def version(self) -> str:
        return "0"

    @override
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.entries.append((step, dict(metrics)))

    def curve(self, tag: str) -> dict[int, float]:
        """Step to value of one tag."""
        return {step: metrics[tag] for step, metrics in self.entries if tag in metrics and step is not None}


def loader(
    num_inputs: int = 96, batch_size: int = 16, num_labels: int = NUM_LABELS, *, seed: int = 0, shuffle: bool = False
) -> Loader:
    """Inputs whose label is where one of their random projections is largest."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_inputs, INPUT_DIM, generator=generator)
    rule = torch.randn(INPUT_DIM, num_labels, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, (inputs @ rule).argmax(dim=1)), batch_size=batch_size, shuffle=shuffle)


def trainer(**settings: Any) -> pl.Trainer:
    """A quiet Trainer on the CPU that writes nothing to disk; `settings` win."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**{**quiet, **settings})
