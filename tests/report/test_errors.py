"""Standard errors of a report's scalars: the jackknife over blocks, computed once more from the inputs."""

import dataclasses
import math
import pickle
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim import GapReport
from lightning_cossim.functional.blocks import NUM_BLOCKS, BlockAssignment
from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.replicates import Replicates
from lightning_cossim.metrics import SimilarityGap, similarity_gap
from lightning_cossim.report.errors import intervals_of
from tests import reference
from tests.benchmarks.flags import report_of
from tests.benchmarks.worlds import generator, make_world, measured

K, D, N = 12, 6, 900


def world(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(K, D, generator=generator) + 0.5
    f = torch.randn(N, D, generator=generator) * torch.linspace(0.5, 1.5, D)
    return W, f


def slow(W: Tensor, f: Tensor, *, sizes: list[int]) -> dict[str, tuple[float, float, float]]:
    """Scalar to its value, standard error and corrected value: everything again without each block, in float64."""
    assignment, start, blocks = BlockAssignment(0), 0, []
    for size in sizes:
        block_N, num = assignment.assign(size, start=start)
        blocks.append(block_N)
        start += num
    block = torch.cat(blocks).numpy()

    def scalars(rows: Any) -> dict[str, float]:
        w, e = W.double().numpy(), f.double().numpy()[rows]
        overlap = reference.bhattacharyya(reference.softmax(e @ w.T))
        covariance = reference.covariance(e)
        rungs = {
            "raw_cosine": reference.cosine(w, centered=False),
            "centered_cosine": reference.cosine(w, centered=True),
            "logit_correlation": reference.logit_correlation(w, covariance, centered=True),
            "log_odds_variance": -reference.log_odds_variance(w, covariance),
        }
        pair = np.triu_indices(len(W), 1)
        found = {f"explained_{key}": reference.explained_overlap(rung, overlap) for key, rung in rungs.items()}
        found |= {f"rank_agreement_{key}": reference.rank_agreement(rung, overlap) for key, rung in rungs.items()}
        found["gap_behavior"] = 1 - max(0.0, found["rank_agreement_centered_cosine"])
        found["gap_geometry"] = float(np.abs(rungs["centered_cosine"] - rungs["logit_correlation"])[pair].mean())
        found["overlap_mean"] = float(overlap[pair].mean())
        found["residual_scale"] = 1.4826 * float(np.median(np.abs(overlap - expected)[pair]))
        return found

    w = W.double().numpy()
    overlap = reference.bhattacharyya(reference.softmax(f.double().numpy() @ w.T))
    expected = reference.expected_overlap(reference.cosine(w, centered=True), overlap)  # held fixed
    whole = scalars(np.arange(len(f)))
    without = [scalars(block != left) for left in range(NUM_BLOCKS)]
    h = len(f) / np.bincount(block, minlength=NUM_BLOCKS)
    found = {}
    for name, value in whole.items():
        left_out = np.array([one[name] for one in without])
        corrected = NUM_BLOCKS * value - ((1 - 1 / h) * left_out).sum()
        pseudo = h * value - (h - 1) * left_out
        found[name] = value, math.sqrt(((pseudo - corrected) ** 2 / (h - 1)).mean()), corrected
    return found


def interval(value: float, error: float, corrected: float) -> tuple[float, float]:
    """Half of the correction counts as one more standard error."""
    distance = 2.365 * math.hypot(error, (corrected - value) / 2)
    return corrected - distance, corrected + distance


@pytest.mark.parametrize("sizes", [[900], [100] * 9, [32, 868], [300, 5, 595]])
def test_errors_are_those_of_leaving_out_each_block(sizes: list[int]) -> None:
    W, f = world()
    metric = SimilarityGap(K, D, min_probability=0)
    for rows in torch.split(f, sizes):
        metric.update(W, rows @ W.T, rows)
    report = metric.report()
    wanted = slow(W, f, sizes=sizes)
    for name, (value, error, corrected) in wanted.items():
        assert report.standard_errors[name] == pytest.approx(error, rel=2e-3, abs=1e-6), name
        if name == "gap_behavior" or name in {f"rank_agreement_{key}" for key in ("raw_cosine", "centered_cosine")}:
            continue  # corrected for noise instead
        assert report.intervals[name] == pytest.approx(interval(value, error, corrected), rel=1e-3, abs=2e-4), name
    assert set(report.standard_errors) == set(wanted)
    assert not {"gap_translation", "common_mode_ratio", "reliability"} & set(report.standard_errors)


def test_the_interval_of_a_rank_agreement_by_hand() -> None:
    """.8 at a reliability of .64 is 1 without noise, .36 at .81 is .4; a quarter of what that adds is one more standard error."""
    softmax = LADDERS["softmax"]
    names = [f"rank_agreement_{key}" for key in ("raw_cosine", "centered_cosine", "logit_correlation")]
    errors = dict.fromkeys([*names, "gap_behavior"], 0.02)
    scalars = {**dict.fromkeys(names, 0.36), "gap_behavior": 0.64, "reliability": 0.81}
    corrected = {**dict.fromkeys(names, 0.37), "gap_behavior": 0.63}
    found = intervals_of(scalars, errors, corrected, softmax)
    distance = 2.365 * math.hypot(0.02 / 0.9, 0.01)
    assert found["rank_agreement_centered_cosine"] == pytest.approx((0.4 - distance, 0.4 + distance))
    assert found["gap_behavior"] == pytest.approx((0.6 - distance, 0.6 + distance))
    assert found["rank_agreement_logit_correlation"] == pytest.approx(interval(0.36, 0.02, 0.37)), "sees the same noise"
    most = intervals_of({**scalars, names[2]: 0.98}, errors, {**corrected, names[2]: 0.99}, softmax)[names[2]]
    assert most == pytest.approx((interval(0.98, 0.02, 0.99)[0], 1.0))
    opposite = intervals_of({**scalars, names[1]: -0.9}, errors, {**corrected, names[1]: -0.9}, softmax)
    assert opposite[names[1]] == pytest.approx((-1.0, -1 + 2.365 * math.hypot(0.02 / 0.9, 0.025)))
    assert opposite["gap_behavior"] == (1.0, 1.0)
    scale = intervals_of({**scalars, "residual_scale": 0.01}, {"residual_scale": 0.02}, {"residual_scale": 0.01}, softmax)
    assert scale["residual_scale"] == pytest.approx((0.0, 0.0573)), "never below 0"
    full = intervals_of({**scalars, names[0]: 0.8, "reliability": 0.64}, errors, corrected, softmax)[names[0]]
    assert full == pytest.approx((1 - 2.365 * math.hypot(0.025, 0.05), 1.0))
    noise = intervals_of({**scalars, "reliability": 0.0}, errors, corrected, softmax)
    assert set(noise) == {"rank_agreement_logit_correlation"}
    unknown = intervals_of({**scalars, "reliability": math.nan}, errors, corrected, softmax)
    assert set(unknown) == {"rank_agreement_logit_correlation"}


def test_intervals_of_the_rank_agreement_cover_what_many_inputs_say() -> None:
    """THEORY §5 centers them on the jackknife's value, which is too restless with 45 pairs: this is the proof."""
    num_labels, num_inputs, repeats = 10, 1000, 60
    generator = torch.Generator().manual_seed(3)
    W = 1.2 * torch.randn(num_labels, 6, generator=generator)
    stretch = torch.linspace(0.6, 1.4, 6)

    def inputs(num: int) -> Tensor:
        return (W[torch.randint(num_labels, (num,), generator=generator)] + torch.randn(num, 6, generator=generator)) * stretch

    p = reference.softmax((inputs(400_000).double() @ W.double().T).numpy())
    truth = reference.rank_agreement(reference.cosine(W.double().numpy(), centered=True), reference.bhattacharyya(p))
    name, covered, by_jackknife = "rank_agreement_centered_cosine", 0, 0
    for _ in range(repeats):
        metric, seen = SimilarityGap(num_labels, 6, min_probability=0), inputs(num_inputs)
        for f in torch.split(seen, 100):
            metric.update(W, f @ W.T, f)
        low, high = metric.report().intervals[name]
        covered += low <= truth <= high
        _, error, middle = slow(W, seen, sizes=[100] * (num_inputs // 100))[name]
        by_jackknife += abs(middle - truth) <= 2.365 * error
    assert 0.9 <= covered / repeats <= 1
    assert by_jackknife / repeats < 0.88


def test_intervals_hold_their_scalars_where_a_label_is_known_in_one_block_alone() -> None:
    """Its overlaps are not known without that block: no row of the jackknife is about its pairs, that of all inputs no more."""
    W, f = world()
    z = f @ W.T
    z[:, :2] -= 1e4
    z[64:96, :2] += 1.0003e4
    metric = SimilarityGap(K, D, min_probability=0)
    metric.update(W, z, f)
    report = metric.report()
    unknown = report.overlap_error.isnan() & report.rungs["overlap"].isfinite()
    assert int(unknown.sum()) == 21, "of pairs with one of the two labels"
    assert {"overlap_mean", "residual_scale", "gap_geometry", "explained_centered_cosine"} <= set(report.intervals)
    for name, (low, high) in report.intervals.items():
        assert low <= report.scalars[name] <= high, name


def test_a_report_can_be_pickled() -> None:
    """Before and after its errors are computed."""
    W, f = world()
    metric = SimilarityGap(K, D, min_probability=0)
    metric.update(W, f @ W.T, f)
    metric.compute()
    for again in (pickle.loads(pickle.dumps(one)) for one in (metric.report(), metric)):  # noqa: S301 - our own bytes
        report = again.report() if isinstance(again, SimilarityGap) else again
        assert report.standard_errors == metric.report().standard_errors


def test_few_inputs_have_no_errors() -> None:
    W, f = world()
    metric = SimilarityGap(K, D)
    metric.update(W, f[:224] @ W.T, f[:224])
    report = metric.report()
    assert report.standard_errors == {}
    assert report.overlap_error.isnan().all()
    assert report.undefined["reliability"] == "7 groups of inputs, 8 are needed"


def test_errors_of_overlaps_are_those_of_the_delta_method() -> None:
    """THEORY §5's check: both estimate one number, the jackknife from seven degrees of freedom; their ratio is about 1."""
    W, f = world()
    metric = SimilarityGap(K, D, min_probability=0)
    metric.update(W, f @ W.T, f)
    p = reference.softmax((f @ W.T).double().numpy())
    M, A = p.sum(axis=0), p.T @ p
    B = (p**1.5).T @ p**0.5
    o = reference.bhattacharyya(p)
    root = np.sqrt(np.outer(M, M))
    square = A / np.outer(M, M) + o**2 / 4 * (np.diag(A)[:, None] / M[:, None] ** 2 + np.diag(A) / M**2)
    square += -o / root * (B / M[:, None] + B.T / M) + o**2 * A / (2 * np.outer(M, M))
    delta = np.sqrt(square[np.triu_indices(K, 1)])
    report = metric.report()
    ratio = report.statistics.replicates.overlap_error(report.rungs["overlap"]).numpy() / delta
    assert 0.85 < np.median(ratio) < 1.15
    assert 0.85 < np.sqrt(np.mean(ratio**2)) < 1.15


def test_an_overlap_below_the_expected_one_has_the_error_of_the_expected_one() -> None:
    """The proof that THEORY §5's error, the jackknife's own, is too small where few inputs bring most of an overlap."""
    world = make_world("sparse", 100, 0)
    truth = torch.from_numpy(measured(world, 200_000, 0).overlap)
    covered, by_jackknife, repeats = 0.0, 0.0, 8
    for repeat in range(repeats):
        report = report_of(world, world.draw(1024, generator("errors of overlaps", repeat)))
        o, e, plain = (one.double() for one in (report.rungs["overlap"], report.expected_overlap, _jackknife_of_overlaps(report)))
        raised = torch.maximum(e, o) / o
        wanted = (raised * plain.square() + _contribution(report).square() / raised).sqrt()
        torch.testing.assert_close(report.overlap_error.double(), wanted, rtol=1e-4, atol=1e-6)
        covered += ((o - truth).abs() <= 2.365 * report.overlap_error).double().mean().item()
        by_jackknife += ((o - truth).abs() <= 2.365 * plain).double().mean().item()
    assert by_jackknife / repeats < 0.86
    assert 0.88 < covered / repeats < 0.97


def test_a_sum_of_few_contributions_has_the_error_of_one_more() -> None:
    """32 inputs that come eight times each: most overlaps of a confident model come from one or two of them."""
    world = make_world("sparse", 10, 0)
    truth = torch.from_numpy(measured(world, 200_000, 0).overlap)
    covered, without, repeats = 0.0, 0.0, 60
    for repeat in range(repeats):
        draw = world.draw(32, generator("one more contribution", repeat))
        report = report_of(world, draw[torch.arange(32).repeat_interleave(8)])
        o, e, error = (one.double() for one in (report.rungs["overlap"], report.expected_overlap, report.overlap_error))
        by_expected = _jackknife_of_overlaps(report) * (torch.maximum(e, o) / o).sqrt()
        known = error.isfinite()
        covered += ((o - truth).abs() <= 2.365 * error)[known].double().mean().item()
        without += ((o - truth).abs() <= 2.365 * by_expected)[known].double().mean().item()
    assert without / repeats < 0.80
    assert covered / repeats > 0.85


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_one_contribution_more_is_that_of_the_median_pair(scale: float) -> None:
    """By hand: jackknife errors of √7 · .01 · (1, 2, 3), overlaps of .1, units of (1, 2, 4), in any scale."""
    overlap, unit = torch.full((3,), 0.1, dtype=torch.float64), torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    away = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)[:, None] * torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)
    replicates = Replicates(torch.ones(NUM_BLOCKS), overlap + away, (overlap, overlap), unit=scale * unit)
    square = 7e-4 * torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    middle = 14e-3  # of 7e-4 / .1 · (1 / 1, 4 / 2, 9 / 4), that is 7e-3 · (1, 2, 2.25)
    torch.testing.assert_close(replicates.overlap_error(overlap, overlap), (square + (middle * unit).square()).sqrt())
    four_times_below = (4 * square + (middle * unit).square() / 4).sqrt()
    torch.testing.assert_close(replicates.overlap_error(overlap, 4 * overlap), four_times_below)
    weighted = dataclasses.replace(replicates, weight=torch.tensor([9.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(weighted.overlap_error(overlap, overlap), (square + (7e-3 * unit).square()).sqrt())


def test_overlaps_without_a_size_of_contributions_have_the_median_all_the_same() -> None:
    """Overlaps of 0 and NaN say nothing about contributions; that of 0 is not certain."""
    overlap = torch.tensor([0.1, 0.0, math.nan], dtype=torch.float64)
    without_GP = torch.tensor([[0.11, 0.0, math.nan], [0.09, 0.0, math.nan]] * 4, dtype=torch.float64)
    replicates = Replicates(torch.ones(NUM_BLOCKS), without_GP, (overlap, overlap), unit=torch.ones(3, dtype=torch.float64))
    error = replicates.overlap_error(overlap, torch.tensor([math.nan, 0.2, math.nan]))
    assert error[:2].tolist() == pytest.approx([math.sqrt(7e-4 + 7e-3**2), 7e-3])
    assert error[2].isnan()
    nothing = Replicates(torch.ones(NUM_BLOCKS), 0 * without_GP, (overlap, overlap), unit=replicates.unit)
    assert nothing.overlap_error(0 * overlap, 0 * overlap)[:2].tolist() == [0, 0]


def test_an_overlap_of_0_or_without_an_expected_one_keeps_the_error_of_the_jackknife() -> None:
    """There is no factor by which the error could grow."""
    overlap = torch.tensor([0.0, 0.2, 0.2, 0.2])
    without_GP = overlap + 0.01 * torch.randn(NUM_BLOCKS, 4, generator=torch.Generator().manual_seed(0))
    replicates = Replicates(torch.ones(NUM_BLOCKS), without_GP.double(), (overlap, overlap))
    plain = ((NUM_BLOCKS - 1) * without_GP.double().var(dim=0, correction=0)).sqrt()
    factor = replicates.overlap_error(overlap, torch.tensor([0.5, math.nan, 0.1, 0.8])) / plain
    torch.testing.assert_close(factor, torch.tensor([1.0, 1.0, 1.0, 2.0], dtype=torch.float64))


def _contribution(report: GapReport) -> Tensor:
    """(P,): the overlap that a contribution of the median size brings, from the masses of the labels."""
    mass, pairs = report.mean_probs.double() * report.num_inputs, report.compared
    unit, o = 1 / (mass[pairs.row] * mass[pairs.column]).sqrt(), report.rungs["overlap"].double()
    size = (_jackknife_of_overlaps(report).square() / o / unit)[o > 0]
    return float(np.median(size.numpy())) * unit


def _jackknife_of_overlaps(report: GapReport) -> Tensor:
    """(P,), by THEORY §5 from the overlaps without each block; the blocks have equal sizes."""
    without_GP = report.statistics.replicates.overlap
    return ((NUM_BLOCKS - 1) * without_GP.var(dim=0, correction=0)).sqrt()


def test_an_overlap_of_counts_is_never_certain() -> None:
    """Of inputs that all agree a jackknife finds no error: the error of a share of so many inputs takes its place."""
    W, f = world()
    metric = SimilarityGap(K, D, overlap="coactivation", overlap_threshold=0.1, min_probability=0)
    metric.update(W, f @ W.T * 8, f)
    report = metric.report()
    p = reference.softmax((f @ W.T * 8).double().numpy()) > 0.1
    both = (p.T.astype(float) @ p)[np.triu_indices(K, 1)]
    either = (p[:, :, None] | p[:, None, :]).sum(axis=0)[np.triu_indices(K, 1)]
    share = (both + 0.5) / (either + 1)
    least = np.sqrt(share * (1 - share) / either)
    error = report.overlap_error.numpy()
    assert (error >= least * (1 - 1e-5)).all()
    never = both == 0
    assert never.any()
    np.testing.assert_allclose(error[never], least[never], rtol=1e-4)


@pytest.mark.parametrize("embedding_dim", [4, 220])
def test_of_more_than_200_labels_errors_are_computed_when_asked_for(embedding_dim: int) -> None:
    """They are those of the inputs that the report has seen, whatever the metric sees afterwards; sums of logits or not."""
    num_labels, generator = 210, torch.Generator().manual_seed(1)
    W = torch.randn(num_labels, embedding_dim, generator=generator) / embedding_dim**0.5
    f = torch.randn(600, embedding_dim, generator=generator)

    def seen(*parts: Tensor) -> SimilarityGap:
        metric = SimilarityGap(num_labels, embedding_dim, min_probability=0)
        for part in parts:
            metric.update(W, part @ W.T, part)
        return metric

    metric = seen(f[:300])
    before = metric.report().statistics
    assert before.numbers.standard_errors == {}
    assert not before.has_errors
    metric.update(W, f[300:] @ W.T, f[300:])
    errors = pickle.loads(pickle.dumps(before)).with_errors().numbers.standard_errors  # noqa: S301 - our own bytes
    assert {"rank_agreement_centered_cosine", "explained_log_odds_variance", "gap_geometry", "residual_scale"} <= {*errors}
    assert errors == seen(f[:300]).report().statistics.with_errors().numbers.standard_errors
    assert errors != metric.report().statistics.with_errors().numbers.standard_errors


@pytest.mark.parametrize("holds", [True, False])
def test_errors_that_hold_the_covariance_fixed_are_told(holds: bool) -> None:
    """THEORY §5: of vocabularies and of very large heads no moments are kept for each block."""
    W, f = world()
    with mock.patch.object(similarity_gap, "_MAX_BLOCK_SIZE", 1 if holds else 1024):
        metric = SimilarityGap(K, D, min_probability=0)
        metric.update(W, f @ W.T, f)
        report = metric.report()
    told = "Standard errors of logit correlation and log-odds variance treat the covariance of the embeddings as exact."
    assert (told in str(report)) == holds
    assert ("gap_geometry" in report.standard_errors) != holds


def test_a_report_with_errors_keeps_nothing_of_what_they_were_computed_from() -> None:
    """The moments of every block may be the largest thing there is, and reports are kept."""
    W, f = world()
    metric = SimilarityGap(K, D, min_probability=0)
    metric.update(W, f @ W.T, f)
    assert metric.report().statistics.replicates.similarities is dict
