"""Samples of pairs: a pair that stands for several counts as often as they would."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison, mean_over_pairs, stepped_up_reliability
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


def test_the_share_explained_counts_pairs_by_what_they_stand_for() -> None:
    """Adjusted for as many pairs as were looked at, which the freedom of the fit is held against."""
    pairs, s_P = sample(), generic(60)
    o_P = s_P.sigmoid() + 0.1 * generic(60, seed=1)
    comparison = Comparison(s_P, o_P, pairs)
    o, e, w = o_P.numpy(), comparison.curve.numpy(), pairs.weight.numpy() if pairs.weight is not None else np.ones(60)
    unexplained = np.average((o - e) ** 2, weights=w) / np.average((o - np.average(o, weights=w)) ** 2, weights=w)
    levels = len(np.unique(e.round(12)))
    assert comparison.explained.value.item() == pytest.approx(1 - unexplained * 59 / (60 - levels), abs=1e-9)


def test_a_sample_does_not_tell_neighbors() -> None:
    value, why, _ = Comparison(generic(60), generic(60, seed=1), sample()).neighbor_jaccard(1)
    assert value.isnan()
    assert why == "a sample of the pairs does not tell a label's neighbors"


def test_standard_errors_are_the_spread_over_samples() -> None:
    """Of 4 000 pairs, 300 that are there for certain and 200 drawn: errors tell by how much estimates differ, within a tenth."""
    s, o = generic(4000), generic(4000).sigmoid() + 0.2 * generic(4000, seed=1)
    certain = o.topk(300).indices
    rest = torch.ones(4000, dtype=torch.bool)
    rest[certain] = False
    rest = rest.nonzero().flatten()
    found: dict[str, list[tuple[float, float]]] = {"mean": [], "explained": []}
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        drawn = rest[torch.randperm(len(rest), generator=generator)[:200]]
        index = torch.cat([certain, drawn])
        weight = torch.ones(500, dtype=torch.float64)
        weight[300:] = len(rest) / 200
        pairs = Pairs(torch.zeros_like(index), index, weight)
        for name, statistic in {
            "mean": mean_over_pairs(o[index], pairs, "an overlap"),
            "explained": Comparison(s[index], o[index], pairs).explained,
        }.items():
            assert statistic.standard_error is not None
            found[name].append((statistic.value.item(), statistic.standard_error))
    for name, tolerance in (("mean", 0.1), ("explained", 0.25)):  # the fit's own freedom is not in the second
        values, errors = np.array(found[name]).T
        assert values.std() == pytest.approx(np.median(errors), rel=tolerance), name
    assert np.mean([value for value, _ in found["mean"]]) == pytest.approx(o.mean().item(), abs=0.002)


def test_all_pairs_have_no_standard_error() -> None:
    pairs = sample(weighted=False)
    assert Comparison(generic(60), generic(60, seed=1), pairs).explained.standard_error is None
    assert mean_over_pairs(generic(60), pairs, "an overlap").standard_error is None


def test_a_sample_with_nothing_left_to_chance_has_no_error() -> None:
    pairs = sample()
    certain = Pairs(pairs.row, pairs.column, torch.ones(60, dtype=torch.float64))
    assert mean_over_pairs(generic(60), certain, "an overlap").standard_error == 0
