"""Train a small language model on the documentation of Python, and see which words it does not distinguish.

    python examples/language_model.py

The training takes a minute on a CPU and downloads nothing. Every word of the vocabulary is a label. The rows of the final layer
are the label representations that people compare with cosine similarity.
"""

import argparse
import itertools
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
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
    """A recurrent network that predicts the next word: from words (B, T) to logits (B, T, K)."""

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
    """Texts as sequences of `LENGTH` words. The target of each word is the next word.

    Padding after the end of a text, and words outside the vocabulary, are not targets.
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
    """Words, numbers and signs of a text. A run of one repeated sign counts as one sign."""
    return [match[0] for match in re.finditer(r"[a-z_]+|\d+|([^\w\s])\1*", text.lower())]


def documentation() -> tuple[DataLoader[dict[str, Tensor]], DataLoader[dict[str, Tensor]], list[str]]:
    """Loaders of training and validation texts, and the vocabulary. Every sixth topic is for validation."""
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
    """The command that starts TensorBoard. It includes the path if the environment is not activated."""
    here = Path(sys.executable).with_name("tensorboard")
    return "tensorboard" if shutil.which("tensorboard") == str(here) else os.path.relpath(here)


def of_words(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs of words. Pairs with signs or numbers are only in the report."""
    return (pair for pair in pairs if pair.label.isalpha() and pair.other.isalpha())


def print_pairs(title: str, pairs: Iterable[Pair], top: int = 8) -> None:
    """Print a short table of pairs of words."""
    print(f"\n{title}\n{'':4}{'':16}{'':16}{'cosine':>8}{'overlap':>9}{'expected':>10}")
    for pair in itertools.islice(of_words(pairs), top):
        cosine = pair.similarities["centered_cosine"]
        numbers = f"{cosine:+8.2f}{pair.overlap:9.2f}{pair.expected_overlap:10.2f}"
        print(f"{'':4}{pair.label:16}{pair.other:16}{numbers}")


def main(epochs: int = 7, batches: int | None = None, folder: str = "lightning_logs") -> GapReport:
    """Train, print the last validation report of the monitor, and return it."""
    pl.seed_everything(0, verbose=False)
    training, validation, vocabulary = documentation()
    # min_probability=1 keeps words that are at least as probable as the average word: rare words have too few inputs.
    labels = LabelSelection(names=vocabulary, ignore=[0], min_probability=1, targets_key="targets", ignore_index=IGNORED)
    # Overlaps of words are larger and vary more than those of images: the default of 0.1 would flag a third of all pairs.
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
    print(f"\nPerplexity {perplexity:.0f} over {len(vocabulary)} words, {report.num_inputs} places of text for validation.\n")
    print(report)
    by_overlap = sorted(report.pairs(), key=lambda pair: -pair.overlap)
    print_pairs("Agreed: pairs with the largest overlap, whose rows are similar too", by_overlap)
    print_pairs("More overlap than expected for their cosine, flagged or not", report.pairs("strangers"))
    print_pairs("Less overlap than expected for their cosine, flagged or not", report.pairs("lookalikes"))
    for pair in itertools.islice(of_words(report.pairs("strangers")), 1):
        print(f"\nWhere the first of these pairs shares most probability\n\n{report.show(pair.label, pair.other)}")
    print(f"\nThe event file is in {logger.log_dir}. To see its curves, run\n\n    {tensorboard()} --logdir {folder}\n")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=7, help="number of training epochs; default: 7")
    parser.add_argument("--batches", type=int, help="number of training batches in each epoch; default: all")
    parser.add_argument("--folder", default="lightning_logs", help="folder of the logs; default: lightning_logs")
    main(**vars(parser.parse_args()))
