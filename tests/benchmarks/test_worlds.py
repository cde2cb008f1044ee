"""The simulated worlds are what they claim, their truth is THEORY §5's, and the benchmark of flags counts as it says."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests import reference
from tests.benchmarks.flags import (
    COPIES,
    THRESHOLD,
    CoverageTask,
    FlagTask,
    OrderTask,
    can_be_flagged,
    compared,
    counted,
    covered,
    flags_of,
    in_turn,
    judged,
    ordered,
    report_of,
)
from tests.benchmarks.worlds import WORLDS, World, cross_fitted, generator, make_world, measured

POPULATION = 100_000


def place_of(world: World, row: int, column: int) -> int:
    """Which pair two labels are."""
    low, high = sorted((row, column))
    pairs = np.stack(np.triu_indices(len(world.rows), 1))
    return int(np.flatnonzero((pairs[0] == low) & (pairs[1] == high))[0])


@pytest.mark.parametrize("kind", WORLDS)
def test_overlaps_are_those_of_two_gaussians(kind: str) -> None:
    """What the population gives agrees with the closed form, by its own error; so the head's probabilities are exact."""
    world = make_world(kind, 10, 0)
    truth = measured(world, POPULATION, 0)
    z = (truth.overlap - world.exact_overlap.numpy()) / truth.error(POPULATION)
    assert abs(z).max() < 5
    assert 0.5 < z.std() < 1.5


@pytest.mark.parametrize(("kind", "size"), [("dense", 0.3), ("sparse", 0.2), ("stretched", 0.2)])
def test_planted_pairs_have_gaps_of_the_wanted_size(kind: str, size: float) -> None:
    """A stranger's gap is positive below the top tenth of the cosines, a look-alike's negative, at the largest cosine too."""
    for seed in range(3):
        world = make_world(kind, 10, seed, strangers=[(seed / 2, size)], lookalikes=[(1 - seed / 2, size)])
        truth = measured(world, POPULATION, seed)
        for pair in world.planted:
            place = place_of(world, pair.row, pair.column)
            sign = 1 if pair.kind == "stranger" else -1
            assert truth.side[place] == sign
            assert sign * truth.gap[place] == pytest.approx(size, rel=0.4)
            assert pair.kind == "look-alike" or truth.joint_rate[place] > 0.1 * size
            assert seed or pair.kind == "stranger" or kind == "sparse" or truth.place[place] == 1


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_without_planted_pairs_there_is_no_gap(kind: str) -> None:
    for seed in range(3):
        truth = measured(make_world(kind, 10, seed), POPULATION, seed)
        assert abs(truth.gap[truth.side != 0]).max() < 0.8 * THRESHOLD


def test_stretched_worlds_have_gaps_of_every_size() -> None:
    truth = measured(make_world("stretched", 100, 0), 20_000, 0)
    counts, _ = np.histogram(abs(truth.gap[truth.side != 0]), [0, 0.05, 0.1, 0.2])
    assert all(one > other > 10 for one, other in pairwise(counts))


def test_worlds_and_samples_are_the_same_every_time() -> None:
    one, other = (make_world("dense", 10, 3, strangers=[(0.5, 0.3)]) for _ in range(2))
    assert torch.equal(one.unembedding, other.unembedding)
    assert torch.equal(one.draw(10, generator("a", 1)).logits, other.draw(10, generator("a", 1)).logits)
    assert not torch.equal(one.draw(10, generator("a", 1)).logits, other.draw(10, generator("a", 2)).logits)
    assert not torch.equal(one.unembedding, make_world("dense", 10, 4, strangers=[(0.5, 0.3)]).unembedding)


def test_logits_are_those_of_the_head() -> None:
    """The embedding times the unembedding, planted coordinates included, plus the bias."""
    world = make_world("dense", 10, 0, strangers=[(0.5, 0.3)], lookalikes=[(1.0, 0.3)])
    draw = world.draw(500, generator(0))
    assert (draw.embedding[:, -4:] != 0).any(dim=0).all()
    torch.testing.assert_close(draw.embedding @ world.unembedding.T + world.bias, draw.logits, atol=1e-4, rtol=1e-4)


def test_errors_are_the_spread_of_the_overlaps() -> None:
    """The delta method gives the standard deviation over samples to some percent."""
    world = make_world("dense", 10, 0)
    truth = measured(world, POPULATION, 0)
    roots = [world.draw(1000, generator("spread", repeat)).logits.softmax(dim=1).sqrt() for repeat in range(300)]
    overlaps = [(root.T @ root) / root.square().sum(dim=0).outer(root.square().sum(dim=0)).sqrt() for root in roots]
    row, column = np.triu_indices(10, 1)
    spread = torch.stack(overlaps).std(dim=0).numpy()[row, column]
    np.testing.assert_allclose(np.median(truth.error(1000) / spread), 1, atol=0.05)


def test_what_is_expected_is_fitted_without_the_pair() -> None:
    """Against the reference's fit of the other pairs, interpolated by hand."""
    similarity, overlap = np.random.default_rng(0).random((2, 15))
    row, column = np.triu_indices(6, 1)
    expected = cross_fitted(similarity, overlap)
    for left_out in range(15):
        s, o = np.full((2, 6, 6), np.nan)
        s[row, column], o[row, column] = similarity, overlap
        o[row[left_out], column[left_out]] = np.nan
        fit = reference.expected_curve(s, o)[row, column]
        others = sorted((similarity[place], fit[place]) for place in range(15) if place != left_out)
        below = [one for one in others if one[0] <= similarity[left_out]]
        above = [one for one in others if one[0] > similarity[left_out]]
        if below and above:
            (x0, y0), (x1, y1) = below[-1], above[0]
            wanted = y0 + (y1 - y0) * (similarity[left_out] - x0) / (x1 - x0)
        else:
            wanted = (below[-1:] or above[:1])[0][1]
        assert expected[left_out] == pytest.approx(wanted, abs=1e-12)


def test_joint_and_effective_inputs_and_agreement_of_the_population() -> None:
    """Of the first inputs of the population, one input and one label at a time."""
    world = make_world("sparse", 10, 0)
    truth = measured(world, 500, 0)
    p = reference.softmax(world.draw(500, generator("population", 0)).logits.numpy())
    row, column = np.triu_indices(10, 1)
    likely = [[(x >= x.max() / 10) & (x >= np.sort(x)[-8])][0] for x in p]
    joint = [sum(one[i] and one[j] for one in likely) / 500 for i, j in zip(row, column, strict=True)]
    np.testing.assert_allclose(truth.joint_rate, joint, atol=1e-12)
    effective = [p[:, i].sum() ** 2 / (p[:, i] ** 2).sum() / 500 for i in range(10)]
    np.testing.assert_allclose(truth.effective_rate, np.minimum(*np.take(effective, (row, column))), rtol=1e-5)
    cosine = reference.cosine(world.unembedding.numpy(), centered=True)
    overlap = reference.bhattacharyya(p)
    np.testing.assert_allclose(truth.overlap, overlap[row, column], rtol=1e-5)
    assert truth.rank_agreement == pytest.approx(reference.rank_agreement(cosine, overlap), abs=1e-9)


def test_classes_in_turn() -> None:
    classes = torch.tensor([2, 0, 0, 2, 2, 1])
    assert classes[in_turn(classes)].tolist() == [0, 1, 2, 0, 2, 2]
    assert sorted(in_turn(classes).tolist()) == [*range(6)]


def test_orders_of_a_sample() -> None:
    world = make_world("dense", 10, 0)
    draws = {order: ordered(world, 64, order, generator(0)) for order in ("independent", "sorted", "alternating")}
    for draw in draws.values():
        assert torch.equal(draw.logits.sort(dim=0).values, draws["independent"].logits.sort(dim=0).values)
    assert torch.equal(draws["sorted"].classes, draws["sorted"].classes.sort().values)
    copies = ordered(world, 64, "copies", generator(0)).logits
    assert len(copies) == 64
    assert torch.equal(copies, copies[::COPIES].repeat_interleave(COPIES, dim=0))
    assert len(torch.unique(copies, dim=0)) == 8


def test_flags_are_false_by_the_sign_and_the_size_of_the_true_gap() -> None:
    world = make_world("dense", 10, 0, strangers=[(0.5, 0.45)])
    truth = measured(world, POPULATION, 0)
    report = report_of(world, world.draw(5000, generator(0)))
    flagged = flags_of(report)[1] | flags_of(report)[-1]
    num_flags = int(flagged.sum())
    assert num_flags
    assert counted(report, truth, 5000, 0.0)["false"] == 0
    turned = replace(truth, expected=2 * truth.overlap - truth.expected)
    assert counted(report, turned, 5000, 0.0)["false"] == num_flags
    shrunk = replace(truth, expected=truth.overlap - np.sign(truth.gap) * 0.49 * THRESHOLD)
    assert counted(report, shrunk, 5000, 0.0)["false"] == num_flags
    enough = replace(truth, expected=truth.overlap - np.sign(truth.gap) * 0.51 * THRESHOLD)
    assert counted(report, enough, 5000, 0.0)["false"] == 0


def test_strong_gaps_are_those_well_beyond_the_threshold() -> None:
    world = make_world("dense", 10, 0, strangers=[(0.5, 0.45)])
    truth = measured(world, POPULATION, 0)
    (stranger,) = world.planted
    place = place_of(world, stranger.row, stranger.column)
    report = report_of(world, world.draw(5000, generator(0)))
    sure = counted(report, truth, 5000, 0.0)
    assert 1 <= sure["strong found"] <= sure["strong"]
    assert truth.gap[place] < 3 * 0.2 + 3.5 * truth.error(5000)[place]
    assert counted(report, truth, 5000, 0.2)["strong"] < sure["strong"]
    assert can_be_flagged(truth, 5000)[place] == 1
    assert can_be_flagged(truth, 2)[place] == 0


def test_every_part_runs() -> None:
    cells = judged(FlagTask("dense", 10, 0, planted=True, sizes=(256, 512), repeats=2, population=20_000))
    assert {size: counts["reports"] for (_, _, size), counts in cells.items()} == {256: 2, 512: 2}
    coverage = covered(CoverageTask("dense", 10, 256, "copies", repeats=3, population=20_000))
    assert 0.3 < coverage.delta_ratio < 3
    assert coverage.spread > 0
    order = compared(OrderTask("sparse", 10, 256, repeats=2))
    assert len(order.twice) == len(order.alternating) == 2
    assert 0 < order.reliability <= 1
