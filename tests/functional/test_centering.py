"""Centering over labels, the common mode it takes away, and the paper's witnesses (arXiv 2603.29488, Lemmas 2.2 and 2.3)."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import center_labels, common_mode_ratio, label_cosine_similarity, witness_translation
from tests import reference, strategies
from tests.strategies import Array

W1 = torch.tensor([[1, 0.5], [0.5, 1], [-1, 0.4], [-0.8, -0.8], [0.9, -1.2]], dtype=torch.float64)
W2 = torch.tensor([[1.4, -1], [1.4, 1], [-0.9, 0.3], [-1, 0], [-0.9, -0.3]], dtype=torch.float64)
H = (1 - 0.95**2) ** 0.5
W3 = torch.tensor([[0.95, H], [-0.95, H], [-1, 0], [-0.95, -H], [0.95, -H], [1, 0]], dtype=torch.float64)

dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])


def raw(unembedding: Tensor, i: int, j: int) -> float:
    return label_cosine_similarity(unembedding, centered=False)[i, j].item()


def probabilities(unembedding: Tensor) -> Tensor:
    """Of forty fixed inputs, without a bias."""
    f_ND = torch.randn(40, unembedding.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (f_ND @ unembedding.T).softmax(dim=1)


# ---- centering


@dtypes
@given(data=st.data())
def test_center_labels_subtracts_the_mean_row(dtype: Any, tolerance: float, data: st.DataObject) -> None:
    W = data.draw(strategies.unembeddings(dtype))
    wanted = reference.center_labels(W)
    np.testing.assert_allclose(center_labels(torch.from_numpy(W)), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@dtypes
@given(data=st.data())
def test_common_mode_ratio_is_mean_row_over_spread(dtype: Any, tolerance: float, data: st.DataObject) -> None:
    W = data.draw(strategies.unembeddings(dtype))
    W = (W + np.abs(W).max() * data.draw(strategies.vectors(W.shape[1]))).astype(dtype)
    np.testing.assert_allclose(common_mode_ratio(torch.from_numpy(W)), reference.common_mode_ratio(W), rtol=tolerance)


@given(data=st.data())
def test_centering_undoes_every_translation_and_keeps_every_probability(data: st.DataObject) -> None:
    W = data.draw(strategies.heads(scale=1)).W
    moved = torch.from_numpy(W + 100 * data.draw(strategies.vectors(W.shape[1])))
    centered = center_labels(torch.from_numpy(W))
    torch.testing.assert_close(center_labels(moved), centered, rtol=0, atol=1e-11)
    torch.testing.assert_close(probabilities(centered), probabilities(moved), rtol=0, atol=1e-11)


@given(data=st.data())
def test_the_mean_is_over_live_finite_rows_and_every_row_is_translated(data: st.DataObject) -> None:
    W = data.draw(strategies.heads(scale=1)).W.copy()
    live = np.arange(len(W)) != 1
    W[2, 0] = np.nan
    wanted = reference.center_labels(W, live)
    centered, mask = center_labels(torch.from_numpy(W), live=torch.from_numpy(live)), torch.from_numpy(live)
    np.testing.assert_allclose(centered, wanted, atol=1e-12)
    assert np.isfinite(wanted[1]).all()
    np.testing.assert_allclose(centered[1], W[1] - W[[0, *range(3, len(W))]].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        common_mode_ratio(torch.from_numpy(W), live=mask), reference.common_mode_ratio(W, live), rtol=1e-12
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_stay_so_and_move_nothing_else(bad: float) -> None:
    with_bad = torch.cat([W1, torch.tensor([[1.0, bad]])])
    torch.testing.assert_close(center_labels(with_bad)[:5], center_labels(W1))
    assert not center_labels(with_bad)[5].isfinite().all()
    torch.testing.assert_close(common_mode_ratio(with_bad), common_mode_ratio(W1))


@pytest.mark.parametrize("unembedding", [W2, W3], ids=["W2", "W3"])
def test_what_is_centered_already_stays(unembedding: Tensor) -> None:
    """THEORY §8: W2 and W3 are centered; their common mode is rounding."""
    torch.testing.assert_close(center_labels(unembedding), unembedding, rtol=0, atol=1e-15)
    assert common_mode_ratio(unembedding).item() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_equal_rows_center_to_exactly_zero(dtype: torch.dtype) -> None:
    """Whatever the mean's rounding; and the ratio of their common mode to no spread is NaN, not infinity."""
    rows = torch.tensor([0.1, 0.7, 1.3]).to(dtype).expand(7, 3)
    assert torch.equal(center_labels(rows), torch.zeros(7, 3, dtype=center_labels(rows).dtype))
    assert common_mode_ratio(rows).isnan()


def test_a_row_within_rounding_of_the_mean_is_zero_and_one_beyond_is_not() -> None:
    """16 eps of float32 is 1.9e-6 of the longest row: 1e-6 lies below, 4e-6 above."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    rows[2, 1], rows[3, 1] = 1e-6, -1e-6
    assert torch.equal(center_labels(rows), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    rows *= torch.tensor([1.0, 4.0])
    torch.testing.assert_close(center_labels(rows), rows, rtol=0, atol=0)
    doubled = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1e-6], [0.0, -1e-6]], dtype=torch.float64)
    assert torch.equal(center_labels(doubled), doubled)


def test_the_longest_row_that_rounding_is_measured_by_is_a_live_one() -> None:
    """An ignored row of padding, however long, does not make live rows look like zero."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1e8]])
    centered = center_labels(rows, live=torch.tensor([True, True, False]))
    torch.testing.assert_close(centered, rows)


def test_no_label_and_no_live_label() -> None:
    """Nothing in, nothing out; where no row is live there is no mean."""
    assert center_labels(torch.empty(0, 3)).shape == (0, 3)
    assert common_mode_ratio(torch.empty(0, 3)).isnan()
    none = torch.zeros(5, dtype=torch.bool)
    assert center_labels(W1, live=none).isnan().all()
    assert common_mode_ratio(W1, live=none).isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_large_common_mode_costs_no_digits(dtype: torch.dtype) -> None:
    """Centering is done in float64: 100 times the rows' own length is subtracted without a trace."""
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    common = torch.randn(5, generator=torch.Generator().manual_seed(1))
    given_rows = (rows + 100 * common / common.norm() * rows.norm(dim=1).mean()).to(dtype)
    exact = given_rows.double() - given_rows.double().mean(dim=0)
    error = (center_labels(given_rows) - exact).abs().max() / exact.abs().max()
    naive = ((given_rows - given_rows.mean(dim=0)).double() - exact).abs().max() / exact.abs().max()
    assert error < 1e-7
    assert naive > 1e-6


# ---- witnesses


@pytest.mark.parametrize("cosine", [-1, 1])
def test_the_papers_example_reaches_both_ends(cosine: int) -> None:
    """THEORY §8: W1's raw cosine of labels 0 and 1 is 0.8; translated, -1 or +1, and no probability moves."""
    assert raw(W1, 0, 1) == pytest.approx(0.8, abs=1e-12)
    moved = W1 + witness_translation(W1, 0, 1, cosine=cosine)
    assert raw(moved, 0, 1) == pytest.approx(cosine, abs=1e-12)
    torch.testing.assert_close(probabilities(moved), probabilities(W1), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("cosine", "v"), [(-1, [-0.75, -0.75]), (1, [-1.25, -0.25])])
def test_the_witness_is_the_lemmas_vector(cosine: int, v: list[float]) -> None:
    """-a - (b - a)/2 for -1 and -a + (b - a)/2 for +1, with a = (1, .5) and b = (.5, 1)."""
    wanted = torch.tensor(v, dtype=torch.float64)
    torch.testing.assert_close(witness_translation(W1, 0, 1, cosine=cosine), wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("cosine", [-1, 1])
@given(data=st.data())
def test_every_pair_of_different_rows_has_witnesses(cosine: int, data: st.DataObject) -> None:
    W = torch.from_numpy(data.draw(strategies.heads(scale=1)).W)
    i, j = data.draw(strategies.permutations(len(W)))[:2].tolist()
    v = witness_translation(W, i, j, cosine=cosine)
    assert raw(W + v, i, j) == pytest.approx(cosine, abs=1e-12)
    torch.testing.assert_close(probabilities(W + v), probabilities(W), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cosine", [-1, 1])
def test_a_witness_for_halves_is_not_rounded_to_halves(cosine: int, dtype: torch.dtype) -> None:
    """It is that of float64 arithmetic on the same values."""
    rows = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = witness_translation(rows.double(), 0, 1, cosine=cosine).float()
    assert torch.equal(witness_translation(rows, 0, 1, cosine=cosine), wanted)
    assert not torch.equal(wanted.to(dtype).float(), wanted)


def test_a_witness_ignores_rows_it_is_not_about() -> None:
    """Another label that is not finite changes nothing."""
    with_bad = torch.cat([W1, torch.full((1, 2), torch.nan)])
    assert torch.equal(witness_translation(with_bad, 0, 1, cosine=1), witness_translation(W1, 0, 1, cosine=1))


@given(W=strategies.unembeddings(np.float32))
def test_a_float32_witness_is_as_good_as_its_rounding(W: Array) -> None:
    rows = torch.from_numpy(W)
    assert raw(rows + witness_translation(rows, 0, 1, cosine=-1), 0, 1) == pytest.approx(-1, abs=1e-5)
    assert raw(rows + witness_translation(rows, 0, 1, cosine=1), 0, 1) == pytest.approx(1, abs=1e-5)


def test_a_row_that_is_not_finite_has_no_witness() -> None:
    W = torch.tensor([[1.0, 2.0], [torch.inf, 0.0]])
    with pytest.raises(InputError, match=re.escape("Expected `unembedding` to have a finite row 1, got [inf, 0.0].")):
        witness_translation(W, 0, 1, cosine=1)
