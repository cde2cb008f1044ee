"""Samples of pairs: every pair has a chance, which is known, and estimates and their errors follow from it."""

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison, Statistic, mean_over_pairs, share_of_pairs, stepped_up_reliability
from lightning_cossim.functional.ladder import weight_rungs
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.sampled.stratified import Sizes, stratified_pairs

SMALL = Sizes(candidates=10_000, even=40, by_overlap=3, by_similarity={"one": 5, "other": 2})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class World:
    """Labels that are not numbered one after the other, two similarities and an overlap of their pairs."""

    def __init__(self, num_labels: int = 30) -> None:
        self.labels = torch.arange(num_labels) * 3 + 2
        every = Pairs.of_all(num_labels)
        self.pairs = Pairs(self.labels[every.row], self.labels[every.column])
        self.values = torch.randn(3, len(every), generator=generator(1), dtype=torch.float64)
        self.overlapping = self.pairs[self.values[2].argsort(descending=True)[:50]]
        self.certain = self.pairs[torch.tensor([0, 7, 100])]

    def places(self, pairs: Pairs) -> Tensor:
        """Where among all pairs some are."""
        key = self.pairs.row * 1000 + self.pairs.column
        return torch.searchsorted(key, torch.minimum(pairs.row, pairs.column) * 1000 + torch.maximum(pairs.row, pairs.column))

    def similarities(self, pairs: Pairs) -> Mapping[str, Tensor]:
        places = self.places(pairs)
        return {"one": self.values[0][places], "other": self.values[1][places]}

    def sample(self, seed: int, sizes: Sizes = SMALL) -> Pairs:
        return stratified_pairs(
            [self.certain, Pairs(self.certain.column, self.certain.row)],
            overlapping=self.overlapping,
            labels=self.labels,
            similarities=self.similarities,
            sizes=sizes,
            generator=generator(seed),
        )


def test_pairs_are_there_once_in_order_and_those_wanted_with_weight_one() -> None:
    world = World()
    pairs = world.sample(0)
    places = world.places(pairs)
    assert pairs.weight is not None
    assert (places.diff() > 0).all()
    assert torch.equal(pairs.row, world.pairs.row[places])
    assert torch.equal(pairs.column, world.pairs.column[places])
    certain = torch.isin(places, world.places(world.certain))
    assert certain.sum() == 3
    assert (pairs.weight[certain] == 1).all()
    assert (pairs.weight >= 1).all()


def wanted_probabilities(world: World) -> Tensor:
    """By the formula, where all pairs are candidates: the evenly drawn ones, and c / rank of every kind."""
    num = len(world.pairs)
    size = torch.full((num,), SMALL.even / (num - 3), dtype=torch.float64)
    for c, values in ((5, world.values[0]), (2, world.values[1])):
        size += c / (values[:, None] <= values).sum(dim=1, dtype=torch.float64)
    rank = (world.values[2][:, None] <= world.values[2]).sum(dim=1, dtype=torch.float64)
    size += torch.where(rank <= 50, SMALL.by_overlap / rank, 0)
    size[world.places(world.certain)] = 1
    return size.clamp(max=1)


def test_every_pair_is_drawn_as_often_as_its_weight_says() -> None:
    world, num_draws = World(), 800
    wanted, counts = wanted_probabilities(world), torch.zeros(len(world.pairs))
    for seed in range(num_draws):
        pairs = world.sample(seed)
        places = world.places(pairs)
        counts[places] += 1
        assert pairs.weight is not None
        torch.testing.assert_close(1 / pairs.weight, wanted[places], rtol=1e-12, atol=0)
    sure = wanted == 1
    assert (counts[sure] == num_draws).all()
    z = (counts - num_draws * wanted)[~sure] / (num_draws * wanted * (1 - wanted))[~sure].sqrt()
    assert z.abs().max() < 4.5
    assert z.square().mean().item() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("num_candidates", [30, 150])
def test_weights_add_up_to_one_for_every_pair_over_draws_of_two_phases(num_candidates: int) -> None:
    """Few candidates, of which some stay: over many draws every pair counts as once, whatever its ranks."""
    world, num_draws = World(), 1500
    sizes = Sizes(num_candidates, SMALL.even, SMALL.by_overlap, SMALL.by_similarity)
    sums, squares = torch.zeros(2, len(world.pairs), dtype=torch.float64)
    for seed in range(num_draws):
        pairs = world.sample(seed, sizes)
        assert pairs.weight is not None
        places = world.places(pairs)
        sums[places] += pairs.weight
        squares[places] += pairs.weight.square()
    mean = sums / num_draws
    error = ((squares / num_draws - mean.square()) / num_draws).sqrt()
    z = ((mean - 1) / error)[error > 0]
    assert (mean[error == 0] == 1).all()
    assert z.abs().max() < 5  # some pairs are rare, and their sums skewed
    assert z.square().mean().item() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("num_labels", [0, 1, 2, 5, 10])
def test_of_few_labels_all_pairs_are_taken(num_labels: int) -> None:
    """As many as would be drawn of more."""
    labels, nothing = torch.arange(num_labels) * 2, Pairs(torch.empty(0).long(), torch.empty(0).long())
    pairs = stratified_pairs(
        [], overlapping=nothing, labels=labels, similarities=lambda _: {}, sizes=SMALL, generator=generator()
    )
    assert len(pairs) == math.comb(num_labels, 2)
    assert pairs.weight is None
    assert {*pairs.labels.tolist()} == ({*labels.tolist()} if num_labels > 1 else set())


def test_similarities_that_are_not_known_are_the_least_alike() -> None:
    world = World()
    world.values[0] = torch.nan
    world.values[1][::2] = torch.nan
    pairs = world.sample(0)
    assert pairs.weight is not None
    assert pairs.weight.isfinite().all()


def test_the_same_generator_draws_the_same() -> None:
    world = World()
    one, other, another = world.sample(3), world.sample(3), world.sample(4)
    assert one.weight is not None
    assert other.weight is not None
    assert torch.equal(torch.stack([one.row, one.column]), torch.stack([other.row, other.column]))
    assert torch.equal(one.weight, other.weight)
    assert one.row.tolist() != another.row.tolist()


# ---- a head of 1 500 labels, all of whose 1 124 250 pairs are known


class Head:
    """Rows in topics, inputs near rows: the pairs that are alike are few, and overlap."""

    def __init__(self, num_labels: int = 1500, embedding_dim: int = 24, num_inputs: int = 3000) -> None:
        of = generator(2)
        topic = torch.randint(80, (num_labels,), generator=of)
        W = torch.randn(80, embedding_dim, generator=of)[topic] + torch.randn(num_labels, embedding_dim, generator=of)
        W += torch.randn(embedding_dim, generator=of)
        near = W[torch.randint(num_labels, (num_inputs,), generator=of)] - W.mean(dim=0)
        f = (near + torch.randn(num_inputs, embedding_dim, generator=of)) * torch.linspace(0.8, 0.2, embedding_dim)
        roots = (f @ W.T).softmax(dim=1).sqrt()
        self.labels = torch.arange(num_labels)
        self.every = Pairs.of_all(num_labels)
        covariance = torch.cov(f.T, correction=0)
        live = torch.ones(num_labels, dtype=torch.bool)
        rungs = weight_rungs(W, label_subset=self.labels, covariance=covariance, live=live)
        self.rungs = {key: self.every.values(rung) for key, rung in rungs.items()}
        sums = [roots[half::2].T @ roots[half::2] for half in (0, 1)]
        self.overlap, *self.halves = (
            self.every.values(S / S.diagonal().sqrt() / S.diagonal().sqrt()[:, None]) for S in (sums[0] + sums[1], *sums)
        )
        self.overlapping = self.every[self.overlap.argsort(descending=True)[: 2**15]]

    def places(self, pairs: Pairs) -> Tensor:
        num_labels = len(self.labels)
        return pairs.row * (2 * num_labels - pairs.row - 1) // 2 + pairs.column - pairs.row - 1

    def similarities(self, pairs: Pairs) -> dict[str, Tensor]:
        places = self.places(pairs)
        return {key: (-1 if key == "log_odds_variance" else 1) * rung[places] for key, rung in self.rungs.items()}

    def numbers(self, pairs: Pairs) -> dict[str, Statistic]:
        """Of each kind of number one and more, with its error."""
        places = self.places(pairs)
        overlap = self.overlap[places]
        cosine, correlation = (self.rungs[key][places] for key in ("centered_cosine", "logit_correlation"))
        found = {
            "overlap_mean": mean_over_pairs(overlap, pairs, "an overlap"),
            "gap_geometry": mean_over_pairs((cosine - correlation).abs(), pairs, "both"),
            "reliability": stepped_up_reliability(self.halves[0][places], self.halves[1][places], pairs),
        }
        for key, similarity in self.similarities(pairs).items():
            comparison = Comparison(similarity, overlap, pairs)
            found[f"explained_{key}"] = comparison.explained
            found[f"rank_agreement_{key}"] = comparison.rank_agreement
            if key == "centered_cosine":
                found["residual_scale"] = comparison.residual_scale
                margin = overlap - comparison.curve - 0.1
                found["share_strangers"] = share_of_pairs(
                    margin > 0, pairs, margin=margin, expected=comparison.curve, overlap=overlap
                )
        return found

    def sample(self, seed: int) -> Pairs:
        by_similarity = {key: 250 if key == "centered_cosine" else 30 for key in self.rungs}
        return stratified_pairs(
            [self.overlapping[torch.arange(1000)]],
            overlapping=self.overlapping,
            labels=self.labels,
            similarities=self.similarities,
            sizes=Sizes(2**14, 1000, 200, by_similarity),
            generator=generator(seed),
        )


NUM_DRAWS = 40


@cache
def drawn() -> dict[str, tuple[float, np.ndarray, np.ndarray]]:
    """Of every number: what it is on all pairs; what samples say, and their errors."""
    head = Head()
    exact = head.numbers(head.every)
    samples = [head.numbers(head.sample(seed)) for seed in range(NUM_DRAWS)]
    return {
        name: (
            statistic.value.item(),
            np.array([sample[name].value.item() for sample in samples]),
            np.array([sample[name].standard_error for sample in samples], dtype=float),
        )
        for name, statistic in exact.items()
    }


@pytest.mark.parametrize("check", ["unbiased", "scatter", "coverage"])
def test_samples_of_a_large_head_tell_the_numbers_of_all_its_pairs(check: str) -> None:
    """Means over draws are within half an error of what all pairs give, plus what 40 draws leave; errors are the scatter."""
    fails: dict[str, float] = {}
    checks: dict[str, Callable[[float, np.ndarray, np.ndarray], tuple[float, bool]]] = {
        "unbiased": lambda exact, values, errors: _within(
            (values.mean() - exact) / np.sqrt(np.mean(errors**2)), -0.5 - 2 / NUM_DRAWS**0.5, 0.5 + 2 / NUM_DRAWS**0.5
        ),
        "scatter": lambda _, values, errors: _within(values.std(ddof=1) / np.sqrt(np.mean(errors**2)), 0.7, 1.4),
        "coverage": lambda exact, values, errors: _within(float(np.mean(np.abs(values - exact) <= 2 * errors)), 0.85, 1),
    }
    for name, (exact, values, errors) in drawn().items():
        number, holds = checks[check](exact, values, errors)
        if not holds:
            fails[name] = number
    assert not fails


def _within(number: float, low: float, high: float) -> tuple[float, bool]:
    return number, low <= number <= high
