"""What the cells of the matrix share: a model around any head, the outcomes there are, a training with the monitor and without.

Shapes: K labels, D embedding dimensions, N inputs.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from lightning_cossim import GapReport, LabelSelection, LabelSimilarityMonitor, Schedule
from tests import reference
from tests.toys import ALWAYS, FEW, trainer

__all__ = ["NUM_LABELS", "Cell", "Outcome", "Watched", "assert_harmless", "assert_outcome", "watched"]

Outcome = Literal["every rung", "every rung but the centered", "overlap and weights", "weights only", "refused"]
"""What a user gets: all rungs; all that there are where nothing is centered; all but those that need embeddings which explain the
logits; those of the weights; an error.
"""
NUM_LABELS: Final = 11
EVERY_BATCH: Final = Schedule(train_every_n_steps=1, train_batches=1)
EVERY_LABEL: Final = LabelSelection(min_probability=0)
"""Of toys that have hardly learned a label, too."""


@dataclass(frozen=True)
class Cell:
    """A way to run, and what comes of it."""

    what: str
    """As the table of docs/where_it_runs.md says it."""
    build: Callable[[], Any]
    """The model."""
    outcome: Outcome = "every rung"
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the monitor."""
    run: dict[str, Any] = field(default_factory=dict)
    """Of the Trainer."""
    says: str = ""
    """A part of what the monitor warns of, or of the error; empty: no warning."""
    inputs: Literal["rows", "words", "images"] = "rows"
    logits: Callable[[Any], Tensor] = lambda output: output
    """The final logits (N, K), in what the model gives."""
    head: str | None = None
    """Where the head has to be found."""
    module: "Callable[[Cell], Watched] | None" = None
    """The LightningModule; default `Watched`."""
    callbacks: Callable[[], list[Callback]] = list
    """Others that take part."""


class Watched(pl.LightningModule):
    """A model in a LightningModule; it keeps the logits of its validation runs."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.model = cell, cell.build()
        self.seen: list[Tensor] = []
        self.rows = torch.empty(0)
        """Of the last layer, as of the last validation step."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return self.cell.logits(self.model(inputs))

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self(batch[0])
        rows = logits.movedim(1, -1) if self.cell.inputs == "images" else logits
        rows = rows.reshape(-1, rows.shape[-1])
        return nn.functional.cross_entropy(rows.float(), batch[1].flatten()), rows

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)[0]

    @override
    def on_validation_epoch_start(self) -> None:
        self.seen = []

    @override
    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen.append(self.loss(batch)[1].detach().clone())
        layers = [part for part in self.modules() if isinstance(part, nn.Linear)]
        self.rows = layers[-1].weight.detach().clone() if layers else self.rows

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([weight for weight in self.parameters() if weight.requires_grad], lr=0.1)


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Rows of eight numbers, sentences of six words or images of four by four, with a label for each input."""

    def __init__(self, kind: str, num: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = {"rows": (num, 8), "words": (num, 6), "images": (num, 3, 4, 4)}[kind]
        words = torch.randint(1, NUM_LABELS, shape, generator=generator)
        self.inputs = words if kind == "words" else torch.randn(shape, generator=generator)
        of_each = {"rows": (num,), "words": (num, 6), "images": (num, 4, 4)}[kind]
        self.targets = torch.randint(NUM_LABELS, of_each, generator=generator)

    def __len__(self) -> int:
        return len(self.inputs)

    @override
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]


@dataclass(frozen=True)
class Result:
    """What came of a training."""

    model: Watched
    monitor: LabelSimilarityMonitor | None
    told: list[str]
    random_state: Tensor
    """Of torch's generator, after the training."""

    @property
    def report(self) -> GapReport:
        assert self.monitor is not None
        return self.monitor.last_report["val"]


def watched(cell: Cell, *, watch: bool = True) -> Result:
    """Train in the way of a cell, with the monitor or without."""
    settings = {"schedule": EVERY_BATCH, "thresholds": FEW, "display": ALWAYS, "labels": EVERY_LABEL, **cell.settings}
    monitor = LabelSimilarityMonitor(**settings)
    callbacks = [*cell.callbacks(), *([monitor] if watch else [])]
    run = trainer(**{"max_epochs": 2, "num_sanity_val_steps": 0, "callbacks": callbacks, **cell.run})
    model = (cell.module or Watched)(cell)
    torch.manual_seed(1)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        training, validation = (DataLoader(Examples(cell.inputs, num, seed), batch_size=8) for num, seed in ((24, 0), (40, 1)))
        run.fit(model, training, validation)
    told = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    told = [text for text in told if "undefined" not in text]
    return Result(model, monitor if watch else None, told, torch.get_rng_state())


def assert_harmless(result: Result, unwatched: Result) -> None:
    """The weights are those of a training without the monitor, bit for bit, and so are the random numbers that come next."""
    assert torch.equal(result.random_state, unwatched.random_state)
    for (name, weight), other in zip(result.model.state_dict().items(), unwatched.model.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name


def assert_outcome(result: Result, cell: Cell) -> None:
    """What the report has is what the cell promises; overlaps are those of the model's final logits, in float64."""
    report = result.report
    pairs = ~torch.eye(NUM_LABELS, dtype=torch.bool)
    known = {rung: bool(report.matrix(rung)[pairs].isfinite().all()) for rung in report.rungs}
    geometry = cell.outcome.startswith("every rung")
    centered = {} if cell.outcome == "every rung but the centered" else {"centered_cosine": True}
    assert known == {
        "raw_cosine": True,
        **centered,
        "logit_correlation": geometry,
        "log_odds_variance": geometry,
        "overlap": cell.outcome != "weights only",
    }
    if cell.outcome != "weights only":
        logits = torch.cat(result.model.seen).double().numpy()
        wanted = reference.bhattacharyya(reference.softmax(logits))
        np.testing.assert_allclose(report.matrix("overlap")[pairs], wanted[pairs.numpy()], atol=1e-5)
