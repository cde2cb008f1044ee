"""Comparing a similarity with the overlap, pair by pair: against slow formulas, scikit-learn, SciPy, and chance."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from lightning_cossim.functional import expected_overlap, explained_overlap, rank_agreement
from lightning_cossim.functional.agreement import undefined_reason
from lightning_cossim.functional.comparison import MIN_PAIRS, Comparison
from lightning_cossim.functional.pairs import Pairs
from tests import reference, strategies
from tests.strategies import Array

STATISTICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "expected_overlap": expected_overlap,
    "explained_overlap": explained_overlap,
    "rank_agreement": rank_agreement,
}


def num_labels(num_pairs: int) -> int:
    """The K whose K (K - 1) / 2 pairs these are."""
    return (1 + math.isqrt(1 + 8 * num_pairs)) // 2


def matrix(pairs: Any) -> Tensor:
    """The symmetric (K, K) matrix with these values over its upper triangle, row by row; its diagonal is NaN."""
    values = torch.as_tensor(pairs, dtype=torch.float64)
    K = num_labels(len(values))
    row, column = torch.triu_indices(K, K, offset=1)
    result = torch.full((K, K), torch.nan, dtype=torch.float64)
    result[row, column] = result[column, row] = values
    return result


def pairs_of(values: Tensor) -> Array:
    row, column = torch.triu_indices(len(values), len(values), offset=1)
    return values[row, column].numpy()


def curve(s: Tensor, o: Tensor) -> Tensor:
    """The fit of all pairs, (K, K)."""
    pairs = Pairs.of_all(len(o))
    return pairs.matrix(Comparison(pairs.values(s), pairs.values(o), pairs).curve, len(o))


def drawn(rng: np.random.Generator, num_pairs: int, levels: int | None, noise: float) -> tuple[Array, Array]:
    """Similarities, rounded to so many levels where given, and overlaps in [0, 1] that rise with them but for noise."""
    s = rng.uniform(-1, 1, size=num_pairs)
    if levels is not None:
        s = np.round(s * levels / 2) * 2 / levels
    return s, 1 / (1 + np.exp(-3 * s - noise * rng.normal(size=num_pairs)))


@st.composite
def comparisons(draw: st.DrawFn, *, ties: bool = True) -> tuple[Array, Array]:
    """Vectors over the pairs of 5 to 12 labels."""
    K = draw(st.integers(5, 12))
    levels = draw(st.sampled_from([None, 4, 20] if ties else [None]))
    return drawn(draw(strategies.generators()), K * (K - 1) // 2, levels, draw(st.sampled_from([0.1, 1.0, 5.0])))


# ---- values


@given(given_pairs=comparisons())
def test_all_three_are_those_of_the_formulas(given_pairs: tuple[Array, Array]) -> None:
    s, o = (matrix(values) for values in given_pairs)
    np.testing.assert_allclose(curve(s, o), reference.expected_curve(s.numpy(), o.numpy()), rtol=0, atol=1e-12)
    assert explained_overlap(s, o).item() == pytest.approx(reference.explained_overlap(s.numpy(), o.numpy()), abs=1e-10)
    assert rank_agreement(s, o).item() == pytest.approx(reference.rank_agreement(s.numpy(), o.numpy()), abs=1e-12)


@given(rng=strategies.generators())
def test_with_unknown_pairs_too(rng: np.random.Generator) -> None:
    """A pair where either is NaN does not count, and has no expected overlap."""
    s_P, o_P = drawn(rng, 66, None, 1.0)
    s_P[rng.permutation(66)[:20]] = np.nan
    o_P[rng.permutation(66)[:20]] = np.nan
    counts = ~np.isnan(s_P + o_P)
    s, o = matrix(s_P), matrix(o_P)
    for found, wanted in ((curve, reference.expected_curve), (expected_overlap, reference.expected_overlap)):
        np.testing.assert_allclose(found(s, o), wanted(s.numpy(), o.numpy()), rtol=0, atol=1e-12)
        assert np.array_equal(np.isnan(pairs_of(found(s, o))), ~counts)
    assert explained_overlap(s, o).item() == pytest.approx(reference.explained_overlap(s.numpy(), o.numpy()), abs=1e-10)
    assert rank_agreement(s, o).item() == pytest.approx(spearmanr(s_P[counts], o_P[counts]).statistic, abs=1e-12)


@given(given_pairs=comparisons())
def test_the_curve_is_scikit_learns_isotonic_regression(given_pairs: tuple[Array, Array]) -> None:
    s, o = given_pairs
    peer = IsotonicRegression().fit_transform(np.round(s, 6), o)
    np.testing.assert_allclose(pairs_of(curve(matrix(s), matrix(o))), peer, rtol=0, atol=1e-12)


@given(given_pairs=comparisons())
def test_the_curve_rises_with_similarity_and_what_it_leaves_sums_to_zero(given_pairs: tuple[Array, Array]) -> None:
    s, o = given_pairs
    for found in (curve(matrix(s), matrix(o)), expected_overlap(matrix(s), matrix(o))):
        assert torch.equal(found.nan_to_num(-1), found.T.nan_to_num(-1))
        assert found.diagonal().isnan().all()
    e = pairs_of(curve(matrix(s), matrix(o)))
    assert np.diff(e[np.argsort(s, kind="stable")]).min() >= -1e-15
    assert np.sum(o - e) == pytest.approx(0, abs=1e-12)


def test_one_stranger_and_one_look_alike_keep_their_gaps() -> None:
    """A pair far above its neighbors in similarity has a positive gap, one far below a negative one, the rest hardly any."""
    s = np.linspace(-0.9, 0.9, 45)
    o = np.linspace(0.0, 0.4, 45)
    o[10], o[35] = 0.9, 0.01
    gap = o - pairs_of(expected_overlap(matrix(s), matrix(o)))
    assert gap[10] == gap.max() > 0.4
    assert gap[35] == gap.min() < -0.2


def test_similarities_that_agree_to_a_millionth_are_ties() -> None:
    """They share one point of the curve, however their overlaps differ; a hundred-thousandth apart they need not."""
    s = np.linspace(-1, 1, 15)
    o = np.linspace(0, 1, 15)
    for apart, tied in ((2e-7, True), (1e-5, False)):
        s[7] = s[8] = 0.25
        s[8] += apart
        e = pairs_of(curve(matrix(s), matrix(o)))
        assert (e[7] == e[8]) is np.bool_(tied)
    s[8] = 0.25
    assert pairs_of(curve(matrix(s), matrix(o)))[7] == pytest.approx((o[7] + o[8]) / 2, abs=1e-15)


def test_only_the_upper_triangle_is_compared() -> None:
    rng = np.random.default_rng(0)
    s, o = (matrix(values) for values in drawn(rng, 45, None, 1))
    below = torch.tril(torch.ones(10, 10, dtype=torch.bool))
    other_s, other_o = (values.masked_fill(below, 0.5) for values in (s, o))
    for statistic in (explained_overlap, rank_agreement):
        assert torch.equal(statistic(other_s, other_o), statistic(s, o))


# ---- the share explained


def test_a_perfect_monotone_fit_is_explained_wholly() -> None:
    """As many levels as pairs: 1 by definition, since nothing is left to adjust with."""
    s = np.random.default_rng(0).uniform(-1, 1, size=45)
    for o in (np.exp(s) / 3, (s + 1) / 2):
        assert explained_overlap(matrix(s), matrix(o)).item() == 1
        assert reference.explained_overlap(matrix(s).numpy(), matrix(o).numpy()) == 1


def test_a_monotone_step_is_explained_wholly_too() -> None:
    """Fewer levels than pairs, all met exactly: 0 of the variance is left, adjusted or not."""
    s = np.linspace(-1, 1, 45)
    o = np.floor(np.arange(45) / 15) / 4
    assert explained_overlap(matrix(s), matrix(o)).item() == pytest.approx(1, abs=1e-15)


def test_levels_of_the_fit_that_are_equal_count_once() -> None:
    """Neighboring blocks with one mean are one level: here 0, 1/2 and 1, so m = 3 of n = 15."""
    s = np.arange(15) / 16
    o = np.repeat([0.0, 0.25, 0.75, 0.25, 0.75, 1.0], [4, 2, 2, 2, 2, 3])
    o[4:12] = [0.75, 0.25, 0.75, 0.25, 0.5, 0.5, 0.75, 0.25]
    plain = 1 - 6 * 0.25**2 / np.sum((o - o.mean()) ** 2)
    assert explained_overlap(matrix(s), matrix(o)).item() == pytest.approx(1 - (1 - plain) * 14 / 12, abs=1e-12)


def test_what_falls_instead_of_rising_is_not_explained() -> None:
    """One level for everything: the plain and the adjusted value are 0."""
    s = np.linspace(-1, 1, 45)
    assert explained_overlap(matrix(s), matrix(1 - s**3)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("num_pairs", [45, 190])
def test_chance_explains_nothing(num_pairs: int) -> None:
    """THEORY §5: under independence the adjusted share averages 0; the plain one (H_n - 1)/(n - 1), .08 at 45 pairs."""
    rng = np.random.default_rng(num_pairs)
    draws = [rng.uniform(size=(2, num_pairs)) for _ in range(1_500)]
    adjusted = [explained_overlap(matrix(s), matrix(o)).item() for s, o in draws]
    assert abs(np.mean(adjusted)) < 0.02
    plain = [reference.plain_explained_overlap(matrix(s).numpy(), matrix(o).numpy()) for s, o in draws[: 9_000 // num_pairs]]
    wanted = (np.sum(1 / np.arange(1, num_pairs + 1)) - 1) / (num_pairs - 1)
    assert np.mean(plain) == pytest.approx(wanted, abs=0.01)
    assert num_pairs > 45 or np.mean(plain) > 0.05


# ---- agreement of ranks


@given(given_pairs=comparisons(ties=False))
def test_without_ties_rank_agreement_is_spearmans(given_pairs: tuple[Array, Array]) -> None:
    s, o = given_pairs
    assert rank_agreement(matrix(s), matrix(o)).item() == pytest.approx(spearmanr(s, o).statistic, abs=1e-12)


@pytest.mark.parametrize("levels", [3, 8])
def test_with_ties_it_is_spearmans_expectation_under_random_breaking(levels: int) -> None:
    """Ties in both; 4 000 random breakings. Spearman's own treatment of ties gives them more credit."""
    rng = np.random.default_rng(levels)
    s, o = drawn(rng, 45, levels, 1.0)
    o = np.round(o * levels) / levels
    broken = [spearman_without_ties(break_ties(s, rng), break_ties(o, rng)) for _ in range(4_000)]
    agreement = rank_agreement(matrix(s), matrix(o)).item()
    assert agreement == pytest.approx(np.mean(broken), abs=0.005)
    assert spearmanr(s, o).statistic > agreement + 0.02


def break_ties(values: Array, rng: np.random.Generator) -> Array:
    """Ranks from 0, ties in a random order."""
    return np.lexsort((rng.uniform(size=len(values)), values)).argsort().astype(np.float64)


def spearman_without_ties(r: Array, q: Array) -> float:
    n = len(r)
    return float(1 - 6 * np.sum((r - q) ** 2) / (n**3 - n))


@pytest.mark.parametrize(("sign", "wanted"), [(1, 1), (-1, -1)])
def test_rank_agreement_reaches_both_ends(sign: int, wanted: int) -> None:
    """It looks at ranks only: any increasing function gives 1."""
    s = np.random.default_rng(0).uniform(-1, 1, size=45)
    assert rank_agreement(matrix(s), matrix(np.exp(sign * 4 * s) / 60)).item() == pytest.approx(wanted, abs=1e-12)


# ---- where nothing can be said


def rising(num_pairs: int) -> Tensor:
    return matrix(np.linspace(0.1, 0.9, num_pairs))


def with_unknown(values: Tensor, num_known: int) -> Tensor:
    """Only the first so many pairs stay."""
    row, column = torch.triu_indices(len(values), len(values), offset=1)[:, num_known:]
    values = values.clone()
    values[row, column] = torch.nan
    return values


SAME_SIMILARITY = "all pairs have the same similarity"
SAME_OVERLAP = "all pairs have the same overlap"
UNDEFINED = {
    "four labels": (rising(6), rising(6), "6 pairs of labels, at least 10 are needed"),
    "no labels": (torch.zeros(0, 0), torch.zeros(0, 0), "0 pairs of labels, at least 10 are needed"),
    "similarity unknown": (
        rising(15) * torch.nan,
        rising(15),
        "0 of 15 pairs of labels have this similarity, at least 10 are needed",
    ),
    "similarity known for 9": (
        with_unknown(rising(15), 9),
        rising(15),
        "9 of 15 pairs of labels have this similarity, at least 10 are needed",
    ),
    "overlap known for 9": (
        rising(15),
        with_unknown(rising(15), 9),
        "9 of 15 pairs of labels have an overlap, at least 10 are needed",
    ),
    "few come before alike": (matrix(np.ones(6)), matrix(np.ones(6)), "6 pairs of labels, at least 10 are needed"),
    "one similarity": (matrix(np.full(15, 0.3)), rising(15), SAME_SIMILARITY),
    "similarity but for rounding": (matrix(np.linspace(0.3, 0.3000003, 15)), rising(15), SAME_SIMILARITY),
    "both alike": (matrix(np.full(15, 0.3)), matrix(np.full(15, 0.3)), SAME_SIMILARITY),
    "one overlap": (rising(15), matrix(np.full(15, 0.3)), SAME_OVERLAP),
    "overlap but for rounding": (rising(15), matrix(0.3 * np.linspace(1 - 0.9e-5, 1, 15)), SAME_OVERLAP),
    "no overlap": (rising(15), matrix(np.zeros(15)), SAME_OVERLAP),
}
DEFINED = {
    "ten pairs": (rising(10), rising(10)),
    "ten known pairs": (with_unknown(rising(15), 10), rising(15)),
    "similarity beyond rounding": (matrix(np.linspace(0.3, 0.300003, 15)), rising(15)),
    "overlap beyond rounding": (rising(15), matrix(0.3 * np.linspace(1 - 1.1e-5, 1, 15))),
    "small overlaps": (rising(15), rising(15) * 1e-9),
    "two levels": (matrix([0.0] * 7 + [1.0] * 8), matrix([0.0] * 8 + [1.0] * 7)),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_a_statistic_is_never_computed_from_nothing(case: str) -> None:
    """NaN throughout, in the overlap's dtype, and one reason in words."""
    similarity, overlap, reason = UNDEFINED[case]
    assert undefined_reason(similarity, overlap) == reason
    assert expected_overlap(similarity, overlap).isnan().all()
    assert expected_overlap(similarity, overlap).shape == overlap.shape
    for name, statistic in STATISTICS.items():
        assert statistic(similarity, overlap).isnan().all(), name
        assert statistic(similarity, overlap).dtype == overlap.dtype


@pytest.mark.parametrize("case", DEFINED)
def test_and_is_computed_from_little(case: str) -> None:
    similarity, overlap = DEFINED[case]
    assert undefined_reason(similarity, overlap) is None
    known = ~np.isnan(pairs_of(similarity + overlap))
    assert np.array_equal(~np.isnan(pairs_of(expected_overlap(similarity, overlap))), known)
    assert rank_agreement(similarity, overlap).item() == pytest.approx(
        reference.rank_agreement(similarity.numpy(), overlap.numpy()), abs=1e-12
    )
    assert explained_overlap(similarity, overlap).item() == pytest.approx(
        reference.explained_overlap(similarity.numpy(), overlap.numpy()), abs=1e-9
    )


@pytest.mark.parametrize("case", [*UNDEFINED, *DEFINED])
def test_one_comparison_gives_all_statistics_in_any_order(case: str) -> None:
    """They share pairs and fit, and asking for one leaves the others as they are."""
    similarity, overlap = {**UNDEFINED, **{name: (*pair, None) for name, pair in DEFINED.items()}}[case][:2]
    wanted = {
        "expected": expected_overlap(similarity, overlap),
        "curve": curve(similarity, overlap),
        "explained": explained_overlap(similarity, overlap),
        "rank_agreement": rank_agreement(similarity, overlap),
    }
    for names in permutations(wanted):
        pairs = Pairs.of_all(len(overlap))
        comparison = Comparison(pairs.values(similarity), pairs.values(overlap), pairs)
        for name in names:
            found = getattr(comparison, name)
            value = found.value if name in {"explained", "rank_agreement"} else pairs.matrix(found, len(overlap))
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=0, equal_nan=True)
        assert comparison.undefined == undefined_reason(similarity, overlap)


@pytest.mark.parametrize("case", [*UNDEFINED, *DEFINED])
def test_a_comparison_beside_another_gives_what_it_gives_alone(case: str) -> None:
    """Whether both know the same pairs or not."""
    similarity, overlap = {**UNDEFINED, **{name: (*pair, None) for name, pair in DEFINED.items()}}[case][:2]
    holes = similarity.clone()
    holes[:1] = holes[:, :1] = torch.nan
    pairs = Pairs.of_all(len(overlap))
    s_P, o_P = pairs.values(similarity), pairs.values(overlap)
    for first in (similarity.flip(0).mT, holes):
        beside = Comparison(pairs.values(first), o_P, pairs)
        _ = beside.rank_agreement
        value = Comparison(s_P, o_P, pairs, beside).rank_agreement.value
        torch.testing.assert_close(value, rank_agreement(similarity, overlap), rtol=0, atol=0, equal_nan=True)


def test_ten_pairs_are_enough() -> None:
    assert MIN_PAIRS == 10


def test_float32_matrices_are_compared_in_float64() -> None:
    """The result is float32, and that of float64 arithmetic on the same values."""
    s, o = (matrix(values).float() for values in drawn(np.random.default_rng(0), 66, None, 1.0))
    for name, statistic in STATISTICS.items():
        wanted = getattr(reference, name)(s.double().numpy(), o.double().numpy())
        np.testing.assert_allclose(statistic(s, o), wanted, rtol=0, atol=1e-7, err_msg=name)
