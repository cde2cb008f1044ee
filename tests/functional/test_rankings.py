"""Rankings: cosines between differences of rows, their symmetries, and how they drift from snapshot to snapshot."""

import math
from itertools import combinations

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from typing_extensions import override

from lightning_cossim import LabelSimilarityMonitor
from lightning_cossim.functional.rankings import Rankings, ranking_drift, rankings_of
from tests import strategies
from tests.strategies import Array
from tests.toys import FEW, Toy, loader, trainer


def of(rows: Tensor, mean_probs: Tensor | None = None) -> Rankings:
    probs = torch.full((len(rows),), 1 / len(rows)) if mean_probs is None else mean_probs
    return rankings_of(rows, probs, torch.ones(len(rows), dtype=torch.bool))


def reference_drift(before: Array, after: Array) -> float:
    """Pair by pair of differences, in NumPy."""
    pairs = list(combinations(range(len(before)), 2))
    changes = []
    for at, one in enumerate(pairs):
        for other in pairs[at + 1 :]:
            was, now = (cosine(W[one[0]] - W[one[1]], W[other[0]] - W[other[1]]) for W in (before, after))
            changes.append(abs(now - was))
    return float(np.mean(changes))


def cosine(one: Array, other: Array) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@given(head=strategies.unembeddings(), other=strategies.generators())
def test_drift_is_what_the_reference_says(head: Array, other: np.random.Generator) -> None:
    moved = head + 0.3 * np.abs(head).max() * other.normal(size=head.shape)
    drift = ranking_drift(of(torch.from_numpy(head)), of(torch.from_numpy(moved)))
    assert drift == pytest.approx(reference_drift(head, moved), abs=1e-9)


@given(data=st.data())
def test_what_no_difference_sees_is_no_drift(data: st.DataObject) -> None:
    """A translation, one scale for all rows, a rotation."""
    head = data.draw(strategies.unembeddings())
    rotation, vector = (data.draw(of_size(head.shape[1])) for of_size in (strategies.orthogonal_matrices, strategies.vectors))
    turned = 3 * head @ rotation + np.abs(head).max() * vector
    assert ranking_drift(of(torch.from_numpy(head)), of(torch.from_numpy(turned))) < 1e-9


def test_the_most_probable_labels_are_looked_at() -> None:
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    probs = torch.linspace(1, 2, 40) / 60
    found = of(rows, probs)
    assert found.labels == tuple(range(24, 40))
    assert found.cosines.shape == (120, 120)


def test_labels_that_both_have_are_compared() -> None:
    """As if the others had never been there; of fewer than three there is nothing to compare."""
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = rows + torch.randn(20, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first, second = torch.ones(20), torch.ones(20)
    first[16:], second[:4] = 0, 0
    common = list(range(4, 16))
    drift = ranking_drift(of(rows, first / 16), of(after, second / 16))
    assert drift == pytest.approx(reference_drift(rows[common].numpy(), after[common].numpy()), abs=1e-9)
    assert math.isnan(ranking_drift(of(rows[:2]), of(after[:2])))


def test_reports_say_how_far_rankings_have_moved() -> None:
    """From the second of a stage on; in words, and in JSON."""
    pl.seed_everything(0, verbose=False)
    monitor, snapshots, model = LabelSimilarityMonitor(thresholds=FEW), [], Toy()

    class Keep(pl.Callback):
        @override
        def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if not trainer.sanity_checking:
                snapshots.append((model.head.weight.detach().double().numpy().copy(), monitor.last_report["val"]))

    trainer(callbacks=[monitor, Keep()], max_epochs=2).fit(model, loader(256), loader(128))
    (first, one), (second, other) = snapshots
    assert math.isnan(one.ranking_drift)
    assert one.to_dict()["ranking_drift"] is None
    assert other.ranking_drift == pytest.approx(reference_drift(first, second), abs=1e-5)
    assert other.to_dict()["ranking_drift"] == other.ranking_drift
    assert "Ranking drift: the cosines between row differences of the 8 most probable labels changed by" in str(other)
    assert "Rankings" not in str(one)
