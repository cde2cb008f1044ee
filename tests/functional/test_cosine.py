"""Cosines between label representations, raw and label-centered, and what is NaN in them."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import causal_cosine_similarity, difference_cosine_similarity, label_cosine_similarity
from tests import reference, strategies
from tests.functional.test_centering import W1, W2, W3

both = pytest.mark.parametrize("centered", [False, True])
every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])


def unknown(cosines: Tensor) -> list[int]:
    """The labels whose row and column are NaN; no other entry may be."""
    nan_K = cosines.diagonal().isnan()
    assert torch.equal(cosines.isnan(), nan_K[:, None] | nan_K)
    return nan_K.nonzero().flatten().tolist()


# ---- values


@both
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@given(data=st.data())
def test_cosines_are_those_of_the_formula(centered: bool, dtype: Any, tolerance: float, data: st.DataObject) -> None:
    W = data.draw(strategies.unembeddings(dtype))
    cosines = label_cosine_similarity(torch.from_numpy(W), centered=centered)
    np.testing.assert_allclose(cosines, reference.cosine(W, centered), rtol=0, atol=tolerance)
    assert not cosines.isnan().any()


@pytest.mark.parametrize(
    ("unembedding", "i", "j", "raw", "centered"),
    [
        (W1, 0, 1, 0.8, 0.777278358974),
        (W2, 0, 1, 0.324324, 0.324324),
        (W2, 1, 2, -0.588172, -0.588172),
        (W2, 2, 4, 0.8, 0.8),
        (W3, 0, 1, -0.805, -0.805),
        (W3, 1, 3, 0.805, 0.805),
    ],
)
def test_the_papers_cosines(unembedding: Tensor, i: int, j: int, raw: float, centered: float) -> None:
    """THEORY §8, from the authors' scripts."""
    assert label_cosine_similarity(unembedding, centered=False)[i, j].item() == pytest.approx(raw, abs=6e-7)
    assert label_cosine_similarity(unembedding)[i, j].item() == pytest.approx(centered, abs=6e-7)


def test_the_papers_centered_cosine_to_twelve_digits() -> None:
    assert label_cosine_similarity(W1)[0, 1].item() == pytest.approx(0.777278358974, abs=6e-13)


def test_centered_is_what_one_gets_without_asking() -> None:
    assert torch.equal(label_cosine_similarity(W1), label_cosine_similarity(W1, centered=True))


@both
@every_dtype
def test_cosines_are_symmetric_one_with_themselves_and_never_beyond_one(centered: bool, dtype: torch.dtype) -> None:
    """Also for parallel rows, where rounding would go beyond."""
    rows = torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cosines = label_cosine_similarity(torch.cat([rows, rows * 3]).to(dtype), centered=centered)
    torch.testing.assert_close(cosines, cosines.T, rtol=0, atol=1e-15)
    assert cosines.abs().max() <= 1
    torch.testing.assert_close(cosines.diagonal(), torch.ones(80, dtype=cosines.dtype), rtol=0, atol=1e-6)


# ---- labels that do not count


@every_dtype
def test_with_two_labels_the_centered_cosine_is_minus_one(dtype: torch.dtype) -> None:
    rows = torch.tensor([[3.0, 1.0, 0.25], [2.0, 5.0, -1.0]]).to(dtype)
    wanted = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=label_cosine_similarity(rows).dtype)
    torch.testing.assert_close(label_cosine_similarity(rows), wanted, rtol=0, atol=1e-7)


def test_with_two_live_labels_too() -> None:
    live = torch.tensor([True, False, False, True, False])
    cosines = label_cosine_similarity(W1, live=live)
    assert unknown(cosines) == [1, 2, 4]
    assert cosines[0, 3].item() == pytest.approx(-1, abs=1e-12)


def test_one_live_label_has_no_centered_cosine() -> None:
    """It is the mean."""
    live = torch.tensor([True, False, False, False, False])
    assert label_cosine_similarity(W1, live=live).isnan().all()
    assert unknown(label_cosine_similarity(W1, centered=False, live=live)) == [1, 2, 3, 4]


@every_dtype
def test_exactly_zero_rows_are_unknown_in_raw_and_live_in_the_mean(dtype: torch.dtype) -> None:
    """A translation would revive them, so centered cosines see them as any other row."""
    rows = torch.cat([W1, torch.zeros(1, 2, dtype=torch.float64)]).to(dtype)
    assert unknown(label_cosine_similarity(rows, centered=False)) == [5]
    centered = label_cosine_similarity(rows)
    assert unknown(centered) == []
    np.testing.assert_allclose(centered, reference.cosine(rows.double().numpy(), centered=True), atol=1e-6)
    translated = label_cosine_similarity(rows.double() + 1)
    torch.testing.assert_close(centered, translated, rtol=0, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_row_at_the_mean_is_unknown_in_centered_and_known_in_raw(dtype: torch.dtype) -> None:
    """The mean of W1's rows is (.12, -.02); added as a sixth row, it is zero but for rounding after centering."""
    rows = torch.cat([W1, torch.tensor([[0.12, -0.02]], dtype=torch.float64)]).to(dtype)
    assert unknown(label_cosine_similarity(rows)) == [5]
    assert unknown(label_cosine_similarity(rows, centered=False)) == []


@every_dtype
def test_equal_rows_have_raw_cosine_one_and_no_centered_cosine(dtype: torch.dtype) -> None:
    rows = torch.tensor([0.1, 0.7, 1.3]).to(dtype).expand(7, 3)
    raw = label_cosine_similarity(rows, centered=False)
    torch.testing.assert_close(raw, torch.ones_like(raw), rtol=0, atol=1e-7)
    assert label_cosine_similarity(rows).isnan().all()


@both
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_are_unknown_and_left_out_of_the_mean(bad: float, centered: bool) -> None:
    rows = torch.cat([W1, torch.tensor([[1.0, bad]])])
    cosines = label_cosine_similarity(rows, centered=centered)
    assert unknown(cosines) == [5]
    torch.testing.assert_close(cosines[:5, :5], label_cosine_similarity(W1, centered=centered), rtol=0, atol=1e-15)


@both
@given(data=st.data())
def test_labels_that_are_not_live_are_unknown_and_left_out_of_the_mean(centered: bool, data: st.DataObject) -> None:
    """The rest is what one would get without them."""
    W = data.draw(strategies.unembeddings())
    live = data.draw(strategies.permutations(len(W))) >= 2
    cosines = label_cosine_similarity(torch.from_numpy(W), centered=centered, live=torch.from_numpy(live))
    np.testing.assert_allclose(cosines, reference.cosine(W, centered, live), rtol=0, atol=1e-12)
    assert unknown(cosines) == np.flatnonzero(~live).tolist()
    alone = label_cosine_similarity(torch.from_numpy(W[live]), centered=centered)
    torch.testing.assert_close(cosines[live][:, live], alone, rtol=0, atol=1e-12)


def test_padding_moves_live_cosines_unless_it_is_ruled_out() -> None:
    """Twelve padded rows move a live centered cosine by more than a half; with the mask they move none."""
    padded = torch.cat([W1 + 2, torch.zeros(12, 2, dtype=torch.float64)])
    live = torch.arange(17) < 5
    moved = (label_cosine_similarity(padded)[:5, :5] - label_cosine_similarity(W1)).abs().max()
    assert moved > 0.5
    kept = label_cosine_similarity(padded, live=live)[:5, :5]
    torch.testing.assert_close(kept, label_cosine_similarity(W1), rtol=0, atol=1e-12)


# ---- numerics


def common_mode(dtype: torch.dtype, times: float) -> Tensor:
    """Eight generic rows on top of a common one that is so many times their length, in this dtype."""
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    common = torch.randn(5, generator=torch.Generator().manual_seed(1))
    together: Tensor = rows + times * common / common.norm() * rows.norm(dim=1).mean()
    return together.to(dtype)


@pytest.mark.parametrize(
    ("dtype", "times"), [(torch.bfloat16, 10.0), (torch.bfloat16, 100.0), (torch.float16, 100.0), (torch.float32, 1e4)]
)
def test_a_large_common_mode_costs_no_digits(dtype: torch.dtype, times: float) -> None:
    """Cosines are those of float64 arithmetic on the same values; centering in the given dtype would miss them."""
    rows = common_mode(dtype, times)
    exact = reference.cosine(rows.double().numpy(), centered=True)
    np.testing.assert_allclose(label_cosine_similarity(rows), exact, rtol=0, atol=1e-6)
    naive = rows - rows.mean(dim=0)
    naive = naive / naive.norm(dim=1, keepdim=True)
    assert np.abs((naive @ naive.T).double().numpy() - exact).max() > 1e-4


@both
@every_dtype
def test_autocast_does_not_reach_cosines(centered: bool, dtype: torch.dtype) -> None:
    rows = common_mode(dtype, 10)
    outside = label_cosine_similarity(rows, centered=centered)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = label_cosine_similarity(rows, centered=centered)
    assert inside.dtype == outside.dtype
    assert torch.equal(inside, outside)


@both
@given(data=st.data())
def test_float32_cosines_do_not_depend_on_the_scale(centered: bool, data: st.DataObject) -> None:
    """Powers of two are exact, so not one bit moves."""
    W = torch.from_numpy(data.draw(strategies.unembeddings(np.float32)))
    power = 2.0 ** data.draw(st.integers(-40, 40))
    assert torch.equal(label_cosine_similarity(W * power, centered=centered), label_cosine_similarity(W, centered=centered))


class TestCausalCosine:
    @given(rng=strategies.generators())
    def test_is_the_cosine_of_whitened_rows(self, rng: np.random.Generator) -> None:
        """And unchanged by translation and every invertible linear map."""
        W = rng.normal(size=(20, 4))
        value = causal_cosine_similarity(torch.from_numpy(W))
        np.testing.assert_allclose(value.numpy(), reference.causal_cosine(W), atol=1e-9)
        mapped = torch.from_numpy((W + rng.normal(size=4)) @ rng.normal(size=(4, 4)))
        np.testing.assert_allclose(causal_cosine_similarity(mapped).numpy(), value.numpy(), atol=1e-6)

    def test_directions_without_labels_do_not_count(self) -> None:
        """A pseudo-inverse: rows that lie in a plane are whitened in that plane."""
        W = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        in_space = torch.cat([W, torch.zeros(20, 3, dtype=torch.float64)], dim=1)
        torch.testing.assert_close(causal_cosine_similarity(in_space), causal_cosine_similarity(W))

    @pytest.mark.parametrize(("num_labels", "dim"), [(5, 4), (5, 9), (3, 2)])
    def test_as_many_dimensions_as_labels_leave_one_value_and_are_refused(self, num_labels: int, dim: int) -> None:
        W = torch.randn(num_labels, dim, generator=torch.Generator().manual_seed(0))
        with pytest.raises(InputError) as caught:
            causal_cosine_similarity(W)
        assert str(caught.value) == (
            "Expected `unembedding` with more live labels than the rank of its centered rows + 1, got "
            f"{num_labels} live labels with centered rows of rank {num_labels - 1}. "
            "Every pair would get the same value; use `label_cosine_similarity`."
        )

    def test_few_labels_for_the_dimensions_are_warned_of(self) -> None:
        W = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
        text = "`causal_cosine_similarity` of 11 labels in 3 dimensions is mostly noise: at least 12 labels are needed."
        with pytest.warns(UserWarning, match=re.escape(text)):
            causal_cosine_similarity(W)
        causal_cosine_similarity(torch.cat([W, torch.randn(1, 3)]))

    def test_labels_that_are_not_live_are_left_out(self) -> None:
        W = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        live = torch.ones(22, dtype=torch.bool)
        live[5] = False
        whole = torch.cat([W[:5], torch.full((1, 3), 99.0, dtype=torch.float64), W[5:], torch.full((1, 3), torch.inf)])
        value = causal_cosine_similarity(whole, live=live)
        good = [*range(5), *range(6, 21)]
        torch.testing.assert_close(value[good][:, good], causal_cosine_similarity(W))
        assert value[5].isnan().all()
        assert value[21].isnan().all()


class TestDifferenceCosine:
    @given(rng=strategies.generators())
    def test_is_the_cosine_of_differences_whatever_the_translation(self, rng: np.random.Generator) -> None:
        W, pairs = rng.normal(size=(6, 3)), [(0, 1), (2, 3), (5, 0), (1, 0)]
        value = difference_cosine_similarity(torch.from_numpy(W), pairs=torch.tensor(pairs))
        np.testing.assert_allclose(value.numpy(), reference.difference_cosine(W, pairs), atol=1e-12)
        moved = difference_cosine_similarity(torch.from_numpy(W + 100 * rng.normal(size=3)), pairs=torch.tensor(pairs))
        np.testing.assert_allclose(moved.numpy(), value.numpy(), atol=1e-9)
        assert value[0, 3].item() == pytest.approx(-1)

    def test_equal_and_unknown_rows_have_none(self) -> None:
        W = torch.tensor([[1.0, 0], [1.0, 0], [0, 1], [torch.nan, 0]])
        value = difference_cosine_similarity(W, pairs=torch.tensor([[0, 1], [0, 2], [2, 3]]))
        assert value.isnan().tolist() == [[True, True, True], [True, False, True], [True, True, True]]

    def test_no_pairs_give_an_empty_matrix(self) -> None:
        assert difference_cosine_similarity(torch.eye(3), pairs=torch.empty(0, 2, dtype=torch.int64)).shape == (0, 0)

    @pytest.mark.parametrize(
        ("pairs", "text"),
        [
            (torch.tensor([0, 1]), "to be an integer tensor of shape (P, 2), got torch.int64 of shape (2,)."),
            (torch.rand(2, 2), "to be an integer tensor of shape (P, 2), got torch.float32 of shape (2, 2)."),
            (torch.tensor([[0, 3]]), "to hold labels from 0 to 2, got 0 to 3."),
            (torch.tensor([[-1, 0]]), "to hold labels from 0 to 2, got -1 to 0."),
        ],
    )
    def test_bad_pairs_are_told(self, pairs: Tensor, text: str) -> None:
        with pytest.raises(InputError, match=re.escape(f"Expected `pairs` {text}")):
            difference_cosine_similarity(torch.eye(3), pairs=pairs)
