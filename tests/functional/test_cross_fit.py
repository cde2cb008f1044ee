"""What a pair is held against is fitted without it: against scikit-learn on the pairs that are left, one loop at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from lightning_cossim.functional import expected_overlap
from lightning_cossim.functional.comparison import Comparison
from lightning_cossim.functional.cross_fit import folds
from lightning_cossim.functional.pairs import Pairs
from tests import reference, strategies
from tests.functional.test_agreement import UNDEFINED, drawn, matrix
from tests.strategies import Array


def pairs_of(num: int, *, weight: Array | None = None) -> Pairs:
    """So many pairs of labels, each for itself or for several."""
    pairs = Pairs.of_all(1 + int(np.ceil(np.sqrt(2 * num))))[torch.arange(num)]
    return Pairs(pairs.row, pairs.column, None if weight is None else torch.from_numpy(weight))


def compared(s: Array, o: Array, pairs: Pairs) -> Comparison:
    return Comparison(torch.from_numpy(s), torch.from_numpy(o), pairs)


def left_out(s: Array, o: Array, pairs: Pairs) -> Array:
    """Scikit-learn's fit to the pairs that stay, at those that are left out of it."""
    w = np.ones(len(s)) if pairs.weight is None else pairs.weight.numpy()
    number = np.arange(len(s)) if len(s) <= 200 else of_folds(pairs)
    expected = np.full(len(s), np.nan)
    for fold in np.unique(number):
        out, stays = number == fold, number != fold
        regression = IsotonicRegression(out_of_bounds="clip").fit(np.round(s[stays], 6), o[stays], sample_weight=w[stays])
        expected[out] = regression.predict(np.round(s[out], 6))
    return expected


def of_folds(pairs: Pairs) -> Any:
    return np.array([reference.fold(i, j) for i, j in zip(pairs.row.tolist(), pairs.column.tolist(), strict=True)])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Array, Array, Pairs]:
    """Similarities with and without ties, overlaps that rise with them more or less, pairs that stand for one or several."""
    rng, num = draw(strategies.generators()), draw(st.sampled_from([10, 15, 21]))
    s, o = drawn(rng, num, draw(st.sampled_from([None, 3, 20])), draw(st.sampled_from([0.1, 1.0, 5.0])))
    return s, o, pairs_of(num, weight=draw(st.sampled_from([None, rng.uniform(1, 40, num)])))


@given(case=cases())
def test_up_to_200_pairs_are_left_out_one_at_a_time(case: tuple[Array, Array, Pairs]) -> None:
    s, o, pairs = case
    np.testing.assert_allclose(compared(s, o, pairs).expected, left_out(s, o, pairs), rtol=0, atol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("levels", [None, 30])
@pytest.mark.parametrize("num", [200, 201, 400])
def test_more_are_left_out_by_tenths(num: int, levels: int | None, weighted: bool) -> None:
    """The 201st pair decides; a hash of the labels says which pairs leave together."""
    rng = np.random.default_rng(num)
    s, o = drawn(rng, num, levels, 1.0)
    pairs = pairs_of(num, weight=rng.uniform(1, 40, num) if weighted else None)
    np.testing.assert_allclose(compared(s, o, pairs).expected, left_out(s, o, pairs), rtol=0, atol=1e-10)


def test_beyond_20_000_pairs_all_stay() -> None:
    """One pair fewer, and each is left out."""
    s, o = drawn(np.random.default_rng(0), 20_001, None, 1.0)
    all_stay, out = compared(s, o, pairs_of(20_001)), compared(s[:-1], o[:-1], pairs_of(20_000))
    assert torch.equal(all_stay.expected, all_stay.curve)
    assert (out.expected != out.curve).float().mean() > 0.9


@pytest.mark.parametrize("num", [190, 4_950])
def test_several_regressions_at_once_are_those_one_by_one(num: int) -> None:
    """Nothing goes from one into the next: overlaps may fall, be of two values, or hardly differ."""
    s, o = drawn(np.random.default_rng(0), num, None, 1.0)
    pairs = pairs_of(num)
    for overlap in (1 - o, np.round(o), 1e-4 * o + 0.5):
        found = compared(s, overlap, pairs).expected
        np.testing.assert_allclose(found, left_out(s, overlap, pairs), rtol=0, atol=1e-10)


def test_an_odd_pair_keeps_its_gap_whatever_its_rank() -> None:
    """THEORY §5: of 45 pairs whose overlaps rise evenly, one stands out. At the highest similarity it would be its own fit."""
    s, o = np.arange(-15, 30) / 50, np.linspace(0, 0.4, 45)
    for rank in range(45):
        neighbors = [at for at in (rank - 1, rank + 1) if 0 <= at < 45]
        for planted in (0.9, -0.5):
            changed = np.where(np.arange(45) == rank, planted, o)
            comparison = compared(s, changed, pairs_of(45))
            assert comparison.expected[rank].item() == pytest.approx(o[neighbors].mean(), abs=1e-12)
    top = compared(s, np.where(np.arange(45) == 44, 0.9, o), pairs_of(45))
    assert top.curve[44].item() == pytest.approx(0.9)


@pytest.mark.parametrize(("rank", "planted"), [(44, 0.3), (43, -0.3), (44, -0.3), (0, 0.3)])
def test_planted_pairs_are_found_among_noise(rank: int, planted: float) -> None:
    """Of 45 pairs with a noise of .03, one that is .3 off has a gap of at least .2 in all of 200 runs."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        s = np.sort(rng.uniform(-1, 1, 45))
        o = 0.4 + 0.1 * s + 0.03 * rng.normal(size=45)
        o[rank] += planted
        gap = o[rank] - compared(s, o, pairs_of(45)).expected[rank].item()
        assert gap * np.sign(planted) > 0.2


def test_a_tie_stays_when_its_like_is_left_out() -> None:
    """Two pairs of one similarity are held against one another, not against their mean."""
    s, o = np.linspace(-1, 1, 15), np.linspace(0, 1, 15)
    s[8] = s[7]
    expected = compared(s, o, pairs_of(15)).expected
    np.testing.assert_allclose(expected[[7, 8]], o[[8, 7]], rtol=0, atol=1e-12)


# What does not matter


@pytest.mark.parametrize("num", [45, 300])
def test_neither_the_order_of_pairs_nor_that_of_their_labels_matters(num: int) -> None:
    rng = np.random.default_rng(0)
    s, o = drawn(rng, num, 20, 1.0)
    pairs = pairs_of(num)
    expected = compared(s, o, pairs).expected.numpy()
    order = rng.permutation(num)
    shuffled = compared(s[order], o[order], pairs[torch.from_numpy(order)]).expected
    np.testing.assert_allclose(shuffled, expected[order], rtol=0, atol=1e-12)
    turned = compared(s, o, Pairs(pairs.column, pairs.row)).expected
    np.testing.assert_array_equal(turned, expected)


def test_names_of_labels_do_not_matter_where_each_pair_is_left_out_alone() -> None:
    rng = np.random.default_rng(0)
    s, o = (matrix(values) for values in drawn(rng, 190, None, 1.0))
    order = torch.from_numpy(rng.permutation(20))
    renamed = expected_overlap(s[order][:, order], o[order][:, order])
    torch.testing.assert_close(renamed, expected_overlap(s, o)[order][:, order], rtol=0, atol=1e-12, equal_nan=True)


def test_a_fold_is_that_of_the_labels_whichever_other_pairs_there_are() -> None:
    """About a tenth of the pairs in each, those of one label in many of them; in a head of a million rows too."""
    pairs = Pairs.of_all(60)
    fold = folds(pairs)
    assert fold is not None
    np.testing.assert_array_equal(fold, of_folds(pairs))
    some = torch.arange(0, len(pairs), 3)
    np.testing.assert_array_equal(folds(pairs[some]), fold[::3])
    assert np.bincount(fold).min() > 0.8 * len(pairs) / 10
    assert all(len(set(fold[pairs.row.numpy() == label].tolist())) > 5 for label in range(40))
    far = Pairs(pairs.row + 999_000, pairs.column + 999_000)
    np.testing.assert_array_equal(folds(far), of_folds(far))


# Little, and much alike


def test_all_overlaps_but_one_alike() -> None:
    """Without it there is one level: it is expected everywhere else."""
    s, o = np.linspace(-1, 1, 15), np.full(15, 0.25)
    o[14] = 0.75
    expected = compared(s, o, pairs_of(15)).expected
    assert expected[14].item() == pytest.approx(0.25, abs=1e-12)
    np.testing.assert_allclose(expected[:13], 0.25, rtol=0, atol=1e-12)
    assert expected[13].item() == pytest.approx(0.5, abs=1e-12)  # between its neighbors


def test_all_similarities_but_one_alike() -> None:
    """Without it the fit is one point, the mean of the others."""
    s, o = np.full(15, 0.3), np.linspace(0, 1, 15)
    s[3] = 0.9
    others = np.delete(o, 3)
    assert compared(s, o, pairs_of(15)).expected[3].item() == pytest.approx(others.mean(), abs=1e-12)


def test_unknown_pairs_are_in_no_fit() -> None:
    """Of 231 pairs 40 have no overlap: the others are few enough to be left out alone."""
    s, o = drawn(np.random.default_rng(0), 231, None, 1.0)
    o[::6] = np.nan
    known, pairs = ~np.isnan(o), pairs_of(231)
    found = compared(s, o, pairs).expected
    assert np.array_equal(found.isnan().numpy(), ~known)
    np.testing.assert_allclose(found[known], left_out(s[known], o[known], pairs[torch.from_numpy(known)]), rtol=0, atol=1e-10)


# The scale of the residuals


@pytest.mark.parametrize(("num", "weighted"), [(45, False), (66, False), (66, True), (231, True)])
def test_the_residual_scale_is_1_4826_times_the_median_gap(num: int, weighted: bool) -> None:
    """In a sample, of as many gaps as the pairs stand for."""
    rng = np.random.default_rng(num)
    s, o = drawn(rng, num, None, 1.0)
    copies = rng.integers(1, 5, num) if weighted else np.ones(num, dtype=int)
    pairs = pairs_of(num, weight=copies.astype(float) if weighted else None)
    gaps = np.abs(o - left_out(s, o, pairs))
    found = compared(s, o, pairs).residual_scale
    assert found.undefined is None
    assert found.value.item() == pytest.approx(1.4826 * np.median(np.repeat(gaps, copies)), abs=1e-10)


def test_of_normal_noise_it_is_the_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    s = rng.uniform(-1, 1, 4_950)
    o = 0.5 + 0.3 * s + 0.05 * rng.normal(size=4_950)
    assert compared(s, o, pairs_of(4_950)).residual_scale.value.item() == pytest.approx(0.05, rel=0.05)


def test_a_few_odd_pairs_leave_it_where_it_is() -> None:
    rng = np.random.default_rng(0)
    s = rng.uniform(-1, 1, 190)
    o = 0.5 + 0.3 * s + 0.02 * rng.normal(size=190)
    before = compared(s, o, pairs_of(190)).residual_scale.value.item()
    o[:6] += np.array([0.4, -0.4, 0.4, -0.4, 0.4, -0.4])
    assert compared(s, o, pairs_of(190)).residual_scale.value.item() == pytest.approx(before, rel=0.25)


@pytest.mark.parametrize("case", UNDEFINED)
def test_where_nothing_is_expected_there_is_no_curve_and_no_scale(case: str) -> None:
    """And the reason is that of all statistics."""
    similarity, overlap, reason = UNDEFINED[case]
    pairs = Pairs.of_all(len(overlap))
    comparison = Comparison(pairs.values(similarity), pairs.values(overlap), pairs)
    assert comparison.curve.isnan().all()
    assert comparison.curve.shape == comparison.expected.shape == (len(pairs),)
    scale: Any = comparison.residual_scale
    assert scale.value.isnan()
    assert scale.undefined == reason
