"""Small models, data and loggers that the tests of the monitor share."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers.logger import Logger
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from typing_extensions import override

from lightning_cossim import Display, GapReport, Thresholds
from lightning_cossim.capture import vocabulary_summary
from lightning_cossim.config import thresholds
from lightning_cossim.functional import blocks
from lightning_cossim.functional.blocks import NUM_BLOCKS, BlockAssignment
from lightning_cossim.report import Context, Extras, Verdict, WindowKey, verdicts
from lightning_cossim.report.pair_table import PairTable
from lightning_cossim.report.statistics import Numbers

NUM_LABELS, EMBEDDING_DIM, INPUT_DIM = 8, 5, 6
FEW = Thresholds(min_inputs=0)
"""Of toys there are few inputs: windows are as long as the schedule says."""
ALWAYS = Display(max_overhead=None)
"""Steps of toys take no time: windows come when they are due, whatever they cost."""

Batch = list[Tensor]
Loader = DataLoader[tuple[Tensor, ...]]


def small_samples(num_pairs: int, num_common: int) -> dict[str, float]:
    """Constants of `vocabulary_summary`: so many pairs of every kind in a report, and labels count however few inputs."""
    drawn = {"_NUM_EVEN": num_pairs, "_BY_OVERLAP": 0.25, "_BY_COSINE": 0.25, "_BY_ANOTHER": 0.25}
    return {"_NUM_PAIRS": num_pairs, "_NUM_COMMON": num_common, "MIN_TOTAL": 0, **drawn}


@contextlib.contextmanager
def few_inputs() -> Iterator[None]:
    """Eight inputs fill eight blocks, and verdicts and vocabularies need no more of them: toys have a few inputs, and train fast.

    What holds of real runs, of 32 inputs and of 5 for each label, is for the tests of blocks, of verdicts, and of one training.
    """
    with (
        mock.patch.object(blocks, "MAX_RUN", 1),
        mock.patch.object(thresholds, "INPUTS_PER_LABEL", 0),
        mock.patch.object(verdicts, "INPUTS_PER_LABEL", 0),
        mock.patch.object(verdicts, "MIN_EFFECTIVE", 0),
        mock.patch.object(vocabulary_summary, "MIN_TOTAL", 0.0),
    ):
        yield


def altered(report: GapReport, **changes: Any) -> GapReport:
    """A report that never was: some fields of its parts have other values, `stage` and `dataloader_idx` those of its window.

    `names` may be those of the labels compared, (L,), instead of those of the whole head. Changes of `scalars` go to the part
    that has the scalar.
    """
    window = {key: changes.pop(key) for key in WindowKey._fields if key in changes}
    if window:
        changes["window"] = report.window._replace(**window)
    if "names" in changes:
        of_rows = dict(zip(report.labels, changes["names"], strict=False))
        num_rows = max(len(changes["names"]), max(report.labels, default=-1) + 1)
        changes["names"] = tuple(of_rows.get(row, str(row)) for row in range(num_rows))
    scalars = changes.pop("scalars", None)
    if scalars is not None:
        changes["shares"] = {key: scalars[key] for key in report.verdict.shares}
        changes["overhead_fraction"] = scalars.get("overhead_fraction")
        changes["numbers"] = replace(
            report.statistics.numbers,
            scalars={key: value for key, value in scalars.items() if key not in {*report.verdict.shares, "overhead_fraction"}},
        )

    def part(kind: Any, old: Any) -> Any:
        mine = {field.name: changes.pop(field.name) for field in fields(kind) if field.name in changes}
        return replace(old, **mine) if mine else old

    statistics = part(type(report.statistics), report.statistics)
    statistics = replace(statistics, table=part(PairTable, statistics.table), numbers=part(Numbers, statistics.numbers))
    made = GapReport(statistics, part(Context, report.context), part(Verdict, report.verdict), part(Extras, report.extras))
    assert not changes, f"no part has {', '.join(changes)}"
    return made


def attributed(module: nn.Module, **attributes: Any) -> nn.Module:
    """A module with other parts, numbers or functions than its class gives it."""
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


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


class ArcFace(nn.Module):
    """Cosines times a scale; with targets, their angles get a margin (additive angular margin loss, Deng et al. 2019)."""

    def __init__(self, num_labels: int, dim: int, s: float, m: float = 0.2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_labels, dim))
        self.s, self.m = s, m

    @override
    def forward(self, embedding: Tensor, targets: Tensor | None = None) -> Tensor:
        cosine = nn.functional.linear(nn.functional.normalize(embedding), nn.functional.normalize(self.weight))
        if targets is None:
            return self.s * cosine
        angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        return self.s * torch.where(nn.functional.one_hot(targets, len(self.weight)).bool(), torch.cos(angle + self.m), cosine)


class Capped(Toy):
    """Logits that a soft cap bends."""

    cap = 2.0

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return self.cap * torch.tanh(super().forward(inputs) / self.cap)


class Faces(Toy):
    """A cosine head, trained with margins and validated without."""

    def __init__(self, num_labels: int = NUM_LABELS) -> None:
        super().__init__(num_labels)
        attributed(self, head=ArcFace(num_labels, EMBEDDING_DIM, s=8.0))

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.body(batch[0]), batch[1]), batch[1])


class LanguageToy(pl.LightningModule):
    """A recurrent network with dropout over sequences of words: (B, T) to (B, T, K); batches are dicts of inputs and targets."""

    def __init__(self, num_words: int = 20, *, tied: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_words, EMBEDDING_DIM)
        self.body = nn.GRU(EMBEDDING_DIM, EMBEDDING_DIM, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.lm_head = nn.Linear(EMBEDDING_DIM, num_words, bias=not tied)
        if tied:
            self.lm_head.weight = self.embed.weight

    @override
    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.lm_head(self.drop(self.body(self.embed(words))[0]))
        return logits

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch["words"]).flatten(0, 1), batch["labels"].flatten())

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True)
        return loss

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(batch))

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Sentences(Dataset[dict[str, Tensor]]):
    """Sequences of twelve words, each likely to be followed by its neighbors; the last ones are padding."""

    def __init__(self, num_sentences: int = 48, num_words: int = 20, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        steps = torch.randint(1, 4, (num_sentences, 13), generator=generator)
        words = (steps.cumsum(dim=1) + torch.randint(num_words, (num_sentences, 1), generator=generator)) % num_words
        lengths = torch.randint(6, 13, (num_sentences, 1), generator=generator)
        self.words, self.targets = words[:, :-1], words[:, 1:].masked_fill(torch.arange(12) >= lengths, -100)

    def __len__(self) -> int:
        return len(self.words)

    @override
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"words": self.words[index], "labels": self.targets[index]}


class SegmentationToy(Toy):
    """A convolutional network with dropout over images: (B, 3, H, W) to (B, K, H, W)."""

    def __init__(self, num_labels: int = NUM_LABELS) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, EMBEDDING_DIM, 3, padding=1), nn.Tanh(), nn.Dropout2d(0.2))
        attributed(self, head=nn.Conv2d(EMBEDDING_DIM, num_labels, 1))


def images(num_images: int = 24, batch_size: int = 4, num_labels: int = NUM_LABELS, seed: int = 0) -> Loader:
    """Images of 6x5 pixels, each labeled by where one of its random projections is largest."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(num_images, 3, 6, 5, generator=generator)
    rule = torch.randn(3, num_labels, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(pixels, torch.einsum("bchw,ck->bkhw", pixels, rule).argmax(dim=1)), batch_size=batch_size)


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


def matrices(report: GapReport) -> dict[str, Tensor]:
    """Rung to (L, L)."""
    return {rung: report.matrix(rung) for rung in report.rungs}


def alone(num_inputs: int) -> Tensor:
    """Groups of one input each: few inputs then fill eight blocks."""
    return torch.arange(num_inputs)


def in_first_half(groups: Iterable[Tensor], *, seed: int = 0, rank: int = 0, world: int = 1) -> NDArray[np.bool_]:
    """Whether each input is in the first four of the eight blocks; of the batches of one process, with the groups of each."""
    assignment, start, found = BlockAssignment(seed), 0, [torch.zeros(0, dtype=torch.bool)]
    for ids in groups:
        block_N, num_units = assignment.assign(len(ids), start=start, groups=ids, rank=rank, world=world)
        start += num_units
        found.append(block_N < NUM_BLOCKS // 2)
    return np.asarray(torch.cat(found))


def padded(rows: Tensor, dim: int) -> Tensor:
    """Rows or embeddings with zeros up to so many dimensions: the same head, which then has no more labels than dimensions."""
    return nn.functional.pad(rows, (0, dim - rows.shape[-1]))
