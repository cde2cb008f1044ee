"""Samples of pairs: what is wanted is in them once, the rest is drawn evenly, and weights add up to all pairs."""

import math

import pytest
import torch

from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.sampled.stratified import stratified_pairs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LABELS = torch.tensor([2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377])
WANTED = Pairs(torch.tensor([2, 34, 144]), torch.tensor([3, 5, 377]))


def test_what_is_wanted_is_there_once_and_weights_add_up_to_all_pairs() -> None:
    pairs = stratified_pairs([WANTED, WANTED], labels=LABELS, num_random=20, generator=generator())
    keys = list(zip(pairs.row.tolist(), pairs.column.tolist(), strict=True))
    assert len(set(keys)) == len(keys) == 23
    assert keys == sorted(keys)
    assert all(i < j for i, j in keys)
    assert {i for key in keys for i in key} <= {*LABELS.tolist()}
    assert pairs.weight is not None
    certain = {key for key, weight in zip(keys, pairs.weight.tolist(), strict=True) if weight == 1}
    assert certain == {(2, 3), (5, 34), (144, 377)}
    assert pairs.weight.sum().item() == pytest.approx(math.comb(12, 2))


def test_the_rest_is_drawn_evenly() -> None:
    """Every pair that is not wanted equally often, over many draws."""
    counts = torch.zeros(400, 400)
    for seed in range(600):
        pairs = stratified_pairs([WANTED], labels=LABELS, num_random=21, generator=generator(seed))
        counts[pairs.row, pairs.column] += 1
    drawn = counts[(counts > 0) & (counts < 600)]
    assert len(drawn) == 63
    assert drawn.mean().item() == pytest.approx(200)
    assert drawn.std().item() == pytest.approx(math.sqrt(600 / 3 * 2 / 3), rel=0.3)


@pytest.mark.parametrize("labels", [LABELS[:0], LABELS[:1], LABELS[:5], LABELS])
def test_of_few_labels_all_pairs_are_taken(labels: torch.Tensor) -> None:
    pairs = stratified_pairs([], labels=labels, num_random=66, generator=generator())
    assert len(pairs) == math.comb(len(labels), 2)
    assert pairs.weight is None


def test_the_same_generator_draws_the_same() -> None:
    one, other = (stratified_pairs([WANTED], labels=LABELS, num_random=9, generator=generator(3)) for _ in range(2))
    assert torch.equal(one.row, other.row)
    assert torch.equal(one.column, other.column)
