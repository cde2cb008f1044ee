"""Train a small language model on Python's own documentation, and see which words it cannot tell apart.

Every word of the vocabulary is a label: the rows of the final layer are what people compare with cosine similarity. Needs nothing
but the package, no download, a minute on a CPU:

    python examples/language_model.py
"""

import argparse
import itertools
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from pydoc_data.topics import topics

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_cossim import GapReport, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.report import Pair

NUM_WORDS, LENGTH, IGNORED = 2400, 64, -100
UNKNOWN = "<unk>"


class LanguageModel(pl.LightningModule):
    """A recurrent network from the words so far to the next one: (B, T) to logits (B, T, K)."""

    def __init__(self, num_words: int, width: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_words, width)
        self.body = nn.GRU(width, width, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(width, num_words)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.drop(self.body(self.drop(self.embed(words)))[0]))

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch["words"]).flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.05)


class Sequences(Dataset[dict[str, Tensor]]):
    """Texts in sequences of `LENGTH` words, each word with the next one as its target.

    What follows the end of a text, and words that are not in the vocabulary, are no targets.
    """

    def __init__(self, texts: Iterable[list[str]], vocabulary: list[str]) -> None:
        index = {word: number for number, word in enumerate(vocabulary)}
        self.sequences = [
            torch.tensor([index.get(word, 0) for word in text[start : start + LENGTH + 1]])
            for text in texts
            for start in range(0, len(text) - 1, LENGTH)
        ]

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        words = nn.functional.pad(self.sequences[number], (0, LENGTH + 1 - len(self.sequences[number])))
        return {"words": words[:-1], "targets": words[1:].masked_fill(words[1:] == 0, IGNORED)}


def words_of(text: str) -> list[str]:
    """Words, numbers and signs; a ruler of many equal signs is one."""
    return [match[0] for match in re.finditer(r"[a-z_]+|\d+|([^\w\s])\1*", text.lower())]


def documentation() -> tuple[DataLoader[dict[str, Tensor]], DataLoader[dict[str, Tensor]], list[str]]:
    """Loaders of training and validation text, every sixth topic to validate, and the vocabulary."""
    texts = [words_of(text) for _, text in sorted(topics.items())]
    validation = texts[::6]
    training = [text for number, text in enumerate(texts) if number % 6]
    counts = Counter(word for text in training for word in text)
    vocabulary = [UNKNOWN, *(word for word, _ in counts.most_common(NUM_WORDS - 1))]
    loaders = [
        DataLoader(Sequences(some, vocabulary), batch_size=16, shuffle=some is training) for some in (training, validation)
    ]
    return loaders[0], loaders[1], vocabulary


def tensorboard() -> str:
    """The command that starts TensorBoard, also from an environment that is not activated."""
    here = Path(sys.executable).with_name("tensorboard")
    return "tensorboard" if shutil.which("tensorboard") == str(here) else os.path.relpath(here)


def print_pairs(title: str, pairs: Iterable[Pair], top: int = 8) -> None:
    """A short table of pairs of words; signs and numbers stand in the report."""
    print(f"\n{title}\n{'':4}{'':16}{'':16}{'cosine':>8}{'overlap':>9}{'expected':>10}")
    plain = (pair for pair in pairs if pair.label.isalpha() and pair.other.isalpha())
    for pair in itertools.islice(plain, top):
        cosine = pair.similarities["centered_cosine"]
        numbers = f"{cosine:+8.2f}{pair.overlap:9.2f}{pair.expected_overlap:10.2f}"
        print(f"{'':4}{pair.label:16}{pair.other:16}{numbers}")


def main(epochs: int = 7, batches: int | None = None, folder: str = "lightning_logs") -> GapReport:
    """Train, print what the monitor found, and return its last validation report."""
    pl.seed_everything(0, verbose=False)
    training, validation, vocabulary = documentation()
    # Words that come up at least as often as the average: about the rest there is little to say.
    labels = LabelSelection(names=vocabulary, ignore=[0], min_probability=1, targets_key="targets", ignore_index=IGNORED)
    # Words overlap more than classes of images do, and more widely: at the default of 0.1 a third of all pairs would be flagged.
    thresholds = Thresholds(stranger=0.25, lookalike=0.25)
    monitor = LabelSimilarityMonitor(labels=labels, schedule=Schedule(train_every_n_steps=500), thresholds=thresholds)
    logger = TensorBoardLogger(folder, name="language_model")
    trainer = pl.Trainer(
        max_epochs=epochs,
        limit_train_batches=batches,
        accelerator="cpu",
        callbacks=[monitor],
        logger=logger,
        gradient_clip_val=1.0,
        enable_progress_bar=False,
    )
    trainer.fit(LanguageModel(len(vocabulary)), training, validation)

    report = monitor.last_report["val"]
    perplexity = math.exp(trainer.callback_metrics["val_loss"])
    print(f"\nPerplexity {perplexity:.0f} over {len(vocabulary)} words, {report.num_inputs} places of text it has not seen.\n")
    print(report)
    by_overlap = sorted(report.pairs(), key=lambda pair: -pair.overlap)
    print_pairs("Agreed: words that may stand in the same places, and whose rows are alike", by_overlap)
    print_pairs("More overlap than pairs with their cosine have, flagged or not", report.pairs("strangers"))
    print_pairs("Less overlap than pairs with their cosine have, flagged or not", report.pairs("lookalikes"))
    print(f"\nThe event file lies in {logger.log_dir}. See its curves with\n\n    {tensorboard()} --logdir {folder}\n")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batches", type=int, help="of an epoch; default all")
    parser.add_argument("--folder", default="lightning_logs")
    main(**vars(parser.parse_args()))
