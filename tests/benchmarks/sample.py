"""How good a sample of the pairs is: `python -m tests.benchmarks.sample [--head FILE.npz ...] [--seeds 100] [--labels 6000]`.

The report on a vocabulary, once on all pairs of its kept labels and then on a sample for every seed, from the same inputs. A row
of the table is one number of the report: what it is on all pairs, its mean over the seeds, its scatter, the standard error that a
report gives (root mean square), how far the mean is off in standard errors, and how many seeds are within two standard errors.
The overlaps of all pairs are worked out once, since samples of the same inputs share them.

A head is a file with `W` (K, D), `b` (K,) and `f` (N, D), what went into it. Without one, a head is made up.
"""

import argparse
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from lightning_cossim import GapReport, LabelSelection, Thresholds
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.head import Observation, Weights
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.sampled.pair_overlap import sums_of_pairs

BATCH = 500
THRESHOLDS = Thresholds()


def made_up(num_labels: int, *, embedding_dim: int = 64, num_inputs: int = 10_000, num_topics: int = 100) -> list[Tensor]:
    """Rows in topics, off their origin, of unequal frequency; inputs near the row of a label, wider in some directions."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    topic = torch.randint(num_topics, (num_labels,), generator=generator)
    W = normal(num_topics, embedding_dim)[topic] + normal(num_labels, embedding_dim)
    W = 0.7 * W * (0.8 + 0.4 * torch.rand(num_labels, 1, generator=generator)) + 0.6 * normal(embedding_dim)
    frequency = (torch.randperm(num_labels, generator=generator) + 5.0) ** -0.6
    likely = torch.multinomial(frequency, num_inputs, replacement=True, generator=generator)
    scale = torch.linspace(1.6, 0.4, embedding_dim) * 3.5 / embedding_dim**0.5
    f = scale * ((W - W.mean(dim=0))[likely] + 0.9 * normal(num_inputs, embedding_dim))
    return [W, 0.5 * frequency.log(), f]


def read(head: Path) -> list[Tensor]:
    file = np.load(head)
    return [torch.from_numpy(file[name]).float() for name in ("W", "b", "f")]


def summary_of(W: Tensor, b: Tensor, f: Tensor) -> VocabularySummary:
    """What a window has seen of all inputs."""
    weights = Weights(W, b)
    window = VocabularyWindow(weights.spec, LabelSelection(min_probability=0.1), Overlap.of(len(W)))
    for embedding in torch.split(f, BATCH):
        window.add(Observation(W, embedding @ W.T + b, embedding, bias=b))
    summary = window.close(ALONE, lambda: weights).vocabulary
    assert summary is not None
    return summary


class Remembered:
    """`sums_of_pairs`, worked out at the first call, for all pairs, and looked up from then on."""

    def __init__(self) -> None:
        self.labels = torch.empty(0, dtype=torch.int64)
        self.sums_GLL = self.own_GL = torch.empty(0)

    def __call__(self, overlap: Overlap, pairs: Pairs, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not len(self.labels):
            self.labels = pairs.labels
            sums_GP, self.own_GL = sums_of_pairs(overlap, pairs, **kwargs)
            self.sums_GLL = torch.stack([pairs.among(self.labels).matrix(sums_P, len(self.labels)) for sums_P in sums_GP])
        among = pairs.among(self.labels)
        return self.sums_GLL[:, among.row, among.column], self.own_GL[:, among.labels]


def all_of(labels: Tensor) -> Pairs:
    every = Pairs.of_all(len(labels))
    return Pairs(labels[every.row], labels[every.column])


def numbers_of(summary: VocabularySummary) -> tuple[GapReport, dict[str, float]]:
    report = GapReport(summary.statistics()).judged(THRESHOLDS)
    agreements = {f"rank_agreement_{key}": value for key, value in report.rank_agreement.items()}
    return report, {**report.scalars, **agreements}


@patch("lightning_cossim.report.statistics.MAX_PAIRS", 0)  # errors from the pairs alone, not from the inputs
@patch("lightning_cossim.capture.vocabulary_summary.sums_of_pairs", new_callable=Remembered)
def table(summary: VocabularySummary, seeds: int, _: Remembered) -> list[str]:
    with patch.object(VocabularySummary, "_sample", lambda _, labels, *__: (all_of(labels), "")):
        report, exact = numbers_of(summary)
    lines = [f"{len(report.labels)} kept labels, {report.num_pairs} pairs, {report.num_inputs} inputs"]
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    num_compared = []
    for seed in range(seeds):
        report, numbers = numbers_of(replace(summary, seed=seed))
        num_compared.append(len(report.compared))
        for name, error in report.standard_errors.items():
            found[name].append((numbers[name], error))
    lines.append(f"{seeds} samples of {np.mean(num_compared):.0f} pairs")
    lines.append(f"{'':34}{'exact':>9}{'mean':>9}{'scatter':>9}{'SE':>9}{'off, SE':>9}{'in 2 SE':>9}")
    for name, pairs in found.items():
        values, errors = np.array(pairs).T
        error, off = math.sqrt(np.mean(errors**2)), values.mean() - exact[name]
        within = np.mean(np.abs(values - exact[name]) <= 2 * errors)
        numbers_in_row = "".join(f"{one:9.5f}" for one in (exact[name], values.mean(), values.std(ddof=1), error))
        lines.append(f"{name:34}{numbers_in_row}{off / error if error else math.nan:+9.2f}{within:9.2f}")
    return lines


def main(head: list[Path], seeds: int, labels: int) -> None:
    heads = {path.stem: read(path) for path in head} or {"made up": made_up(labels)}
    for name, (W, b, f) in heads.items():
        print(f"{name}: {len(W)} labels, {W.shape[1]} dimensions", flush=True)
        for line in table(summary_of(W, b, f), seeds):
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", type=Path, nargs="*", default=[], help="files with `W`, `b` and `f`")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--labels", type=int, default=6000, help="of the head that is made up")
    main(**vars(parser.parse_args()))
