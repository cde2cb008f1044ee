"""Samples of pairs: a pair that stands for several counts as often as they would."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.comparison import (
    Comparison,
    Statistic,
    mean_over_pairs,
    share_of_pairs,
    stepped_up_reliability,
)
from lightning_cossim.functional.pairs import Pairs


def generic(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sample(num: int = 60, *, weighted: bool = True) -> Pairs:
    """Some of the pairs of twenty labels, standing for one to four each."""
    pairs = Pairs.of_all(20)[torch.arange(num)]
    weight = torch.arange(num).remainder(4).add(1).double() if weighted else None
    return Pairs(pairs.row, pairs.column, weight)


def repeated(values: Tensor, pairs: Pairs) -> Tensor:
    assert pairs.weight is not None
    return values.repeat_interleave(pairs.weight.long())


def every(num: int) -> Pairs:
    """As many pairs, each for itself."""
    return Pairs.of_all(40)[torch.arange(num)]


def test_all_pairs_are_the_upper_triangle() -> None:
    pairs, matrix = Pairs.of_all(4), torch.arange(16.0).view(4, 4)
    assert pairs.values(matrix).tolist() == [1, 2, 3, 6, 7, 11]
    assert len(pairs) == 6
    assert pairs.labels.tolist() == [0, 1, 2, 3]
    back = pairs.matrix(pairs.values(matrix), 4)
    assert torch.equal(back.triu(diagonal=1), matrix.triu(diagonal=1))
    assert torch.equal(back.nan_to_num(9), back.T.nan_to_num(9))
    assert back.diagonal().isnan().all()
    flags = pairs.matrix(pairs.values(matrix) > 5, 4)
    assert flags.dtype == torch.bool
    assert flags.sum() == 6


@pytest.mark.parametrize("ties", [False, True])
def test_statistics_of_a_sample_are_those_of_all_that_it_stands_for(ties: bool) -> None:
    pairs = sample()
    s_P, o_P = generic(60), generic(60, seed=1).sigmoid() + generic(60).sigmoid()
    s_P, o_P = (s_P.round(decimals=1), o_P.round(decimals=1)) if ties else (s_P, o_P)
    one = Comparison(s_P, o_P, pairs)
    all_s, all_o = repeated(s_P, pairs), repeated(o_P, pairs)
    whole = Comparison(all_s, all_o, every(len(all_s)))
    torch.testing.assert_close(one.rank_agreement.value, whole.rank_agreement.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.top_pair_auroc(0.5).value, whole.top_pair_auroc(0.5).value, rtol=1e-12, atol=0)
    torch.testing.assert_close(repeated(one.curve, pairs), whole.curve, rtol=1e-9, atol=1e-12)
    mean = mean_over_pairs(o_P, pairs, "an overlap").value
    torch.testing.assert_close(mean, all_o.mean(), rtol=1e-12, atol=0)
    found = stepped_up_reliability(o_P, o_P + 0.1 * s_P, pairs).value
    wanted = stepped_up_reliability(all_o, all_o + 0.1 * all_s, every(len(all_s))).value
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("ties", [False, True])
def test_the_share_explained_by_a_sample_is_an_estimate_of_that_of_all_pairs(ties: bool) -> None:
    """Squares are weighted, and what the fit to a sample takes off them, level by level, is added; n counts all pairs."""
    pairs, s_P = sample(), generic(60).round(decimals=1 if ties else 9)
    o_P = s_P.sigmoid() + 0.1 * generic(60, seed=1)
    comparison = Comparison(s_P, o_P, pairs)
    assert pairs.weight is not None
    o, e, w = (values.numpy() for values in (o_P, comparison.curve, pairs.weight))
    left, taken_off, levels = 0.0, 0.0, np.unique(e.round(12))
    for level in levels:
        one = e.round(12) == level
        squares = (o[one] - np.average(o[one], weights=w[one])) ** 2
        left += np.sum(w[one] * squares)
        taken_off += 1.5 * np.sum(w[one] * (w[one] - 1) * squares) / np.sum(w[one])
    unexplained = (left + taken_off) / np.sum(w * (o - np.average(o, weights=w)) ** 2)
    assert taken_off > 0.01 * left
    num = np.sum(w)
    assert comparison.explained.value.item() == pytest.approx(1 - unexplained * (num - 1) / (num - len(levels)), abs=1e-9)


def test_certain_pairs_explain_what_all_pairs_do() -> None:
    """Weights of one, as if none were given."""
    pairs, s_P = sample(weighted=False), generic(60)
    o_P = s_P.sigmoid() + 0.1 * generic(60, seed=1)
    certain = Pairs(pairs.row, pairs.column, torch.ones(60, dtype=torch.float64))
    one, other = (Comparison(s_P, o_P, some).explained.value for some in (pairs, certain))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", ["mean", "rank_agreement", "reliability"])
def test_errors_are_those_of_the_change_per_unit_of_weight(name: str, ties: bool) -> None:
    """By finite differences: SE^2 is the sum of w (w - 1) times the square of what one more unit of weight on a pair changes."""
    pairs = sample()
    s_P, o_P = generic(60), generic(60, seed=1).sigmoid() + generic(60).sigmoid()
    s_P, o_P = (s_P.round(decimals=1), o_P.round(decimals=1)) if ties else (s_P, o_P)
    half_P = (o_P + 0.4 * generic(60, seed=2)).round(decimals=1 if ties else 9)
    # So many that n^3 - n is n^3.
    assert pairs.weight is not None
    w_P = 1 + 1e6 * pairs.weight

    def statistic(weight: Tensor) -> Statistic:
        some = Pairs(pairs.row, pairs.column, weight)
        if name == "mean":
            return mean_over_pairs(o_P, some, "an overlap")
        return (
            Comparison(s_P, o_P, some).rank_agreement if name == "rank_agreement" else stepped_up_reliability(o_P, half_P, some)
        )

    changes = []
    for place in range(60):
        step = torch.zeros(60, dtype=torch.float64)
        step[place] = 100.0
        changes.append((statistic(w_P + step).value - statistic(w_P - step).value).item() / 200)
    w = w_P.numpy()
    found = statistic(w_P)
    assert 0 < found.value < 1
    assert found.standard_error == pytest.approx(np.sqrt(np.sum(w * (w - 1) * np.square(changes))), rel=1e-4)


def test_the_error_of_a_share_counts_that_the_expected_overlap_was_fitted() -> None:
    """By hand: ten pairs of weight 3 in two levels, of which the second has two flags, and two pairs near their limit."""
    every = Pairs.of_all(5)
    pairs = Pairs(every.row, every.column, torch.full((10,), 3.0, dtype=torch.float64))
    expected = torch.tensor([0.1] * 4 + [0.3] * 6, dtype=torch.float64)
    overlap = expected + torch.tensor([-0.01, 0.01, 0.02, -0.02, 0.5, 0.11, 0.09, -0.3, -0.2, -0.2], dtype=torch.float64)
    margin = overlap - expected - 0.1
    found = share_of_pairs(margin > 0, pairs, margin=margin, expected=expected, overlap=overlap)
    assert found.value.item() == pytest.approx(0.2)
    # If the second level rises by d, the pairs near the limit fall below it: 2 of 10 within 0.05 make a density of 4.
    change = (margin > 0).double() / 30 - 0.2 / 30
    change[4:] -= 4 * (overlap - expected)[4:] / 18
    assert found.standard_error == pytest.approx(math.sqrt(6 * change.square().sum()))
    far = share_of_pairs(margin > 0, pairs, margin=torch.full_like(margin, torch.nan), expected=expected, overlap=overlap)
    assert far.standard_error == pytest.approx(mean_over_pairs((margin > 0).double(), pairs, "").standard_error)


def test_a_sample_does_not_tell_neighbors() -> None:
    value, why, _ = Comparison(generic(60), generic(60, seed=1), sample()).neighbor_jaccard(1)
    assert value.isnan()
    assert why == "a sample of the pairs does not contain all neighbors of a label"


def test_standard_errors_are_the_spread_over_samples() -> None:
    """Of 4 000 pairs, 300 that are there for certain and some 300 drawn, those that are more alike more likely."""
    s, o = generic(4000), generic(4000).sigmoid() + 0.2 * generic(4000, seed=1)
    probability = 0.02 + 0.15 * s.argsort(descending=True).argsort().add(1).double().div(40).reciprocal().clamp(max=1)
    probability[o.topk(300).indices] = 1
    found: dict[str, list[tuple[float, float]]] = {"mean": [], "explained": [], "rank agreement": []}
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        index = (torch.rand(4000, generator=generator, dtype=torch.float64) < probability).nonzero().flatten()
        pairs = Pairs(torch.zeros_like(index), index, 1 / probability[index])
        comparison = Comparison(s[index], o[index], pairs)
        for name, statistic in {
            "mean": mean_over_pairs(o[index], pairs, "an overlap"),
            "explained": comparison.explained,
            "rank agreement": comparison.rank_agreement,
        }.items():
            assert statistic.standard_error is not None
            found[name].append((statistic.value.item(), statistic.standard_error))
    whole = Comparison(s, o, Pairs(torch.zeros(4000).long(), torch.arange(4000)))
    exact = {"mean": o.mean(), "explained": whole.explained.value, "rank agreement": whole.rank_agreement.value}
    for name, pairs_of_numbers in found.items():
        values, errors = np.array(pairs_of_numbers).T
        assert values.std() == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.15), name
        assert abs(values.mean() - exact[name].item()) < 0.35 * values.std(), name


def test_all_pairs_have_no_standard_error() -> None:
    pairs = sample(weighted=False)
    assert Comparison(generic(60), generic(60, seed=1), pairs).explained.standard_error is None
    assert mean_over_pairs(generic(60), pairs, "an overlap").standard_error is None


def test_a_sample_with_nothing_left_to_chance_has_no_error() -> None:
    pairs = sample()
    certain = Pairs(pairs.row, pairs.column, torch.ones(60, dtype=torch.float64))
    assert mean_over_pairs(generic(60), certain, "an overlap").standard_error == 0


def test_the_residual_scale_of_a_sample_has_an_error_however_far_apart_gaps_are() -> None:
    """Also where no gap is near the median: the nearest tell how dense they are."""
    every = Pairs.of_all(7)[slice(16)]
    pairs = Pairs(every.row, every.column, torch.full((16,), 2.0, dtype=torch.float64))
    overlap = torch.tensor([0.0] * 8 + [0.9, 0.1] * 4, dtype=torch.float64)
    comparison = Comparison(torch.arange(16.0, dtype=torch.float64), overlap, pairs)
    found = comparison.residual_scale
    sizes = (overlap - comparison.expected).abs()
    assert not ((sizes - found.value / 1.4826).abs() <= 0.25 * found.value / 1.4826).any()
    assert found.standard_error is not None
    assert math.isfinite(found.standard_error)
    assert found.standard_error > 0
