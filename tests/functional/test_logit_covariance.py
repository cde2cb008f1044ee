"""The covariance of a head's own logits: sums over inputs, and the similarities that follow from them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional.centering import center_labels
from lightning_cossim.functional.logit_covariance import LogitCovariance, LogitMoments, logit_moments, split_rows
from tests import reference, strategies
from tests.strategies import Array

NAN, INF = torch.nan, torch.inf


def generic(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(W: Tensor, f: Tensor, live: Tensor | None = None, seen: Tensor | None = None) -> LogitMoments:
    return logit_moments(f, rows=split_rows(W, live), seen=seen)


def covariance_of(W: Tensor, f: Tensor, live: Tensor | None = None) -> LogitCovariance:
    return LogitCovariance.of(moments_of(W, f, live))


def added(*parts: LogitMoments) -> LogitMoments:
    return LogitMoments(*(torch.stack(sums).sum(dim=0) for sums in zip(*parts, strict=True)))


def correlation(
    found: LogitCovariance, W: Tensor, *, live: Tensor | None = None, centered: bool = True, labels: Tensor | None = None
) -> Tensor:
    """Of some labels of the head, default all."""
    every = torch.arange(len(W)) if labels is None else labels
    live_K = W.isfinite().all(dim=1) if live is None else live
    rows = center_labels(W, live=live_K) if centered else W
    return found.logit_correlation(rows[every], labels=every, live=live_K, centered=centered)


def variance(found: LogitCovariance, W: Tensor) -> Tensor:
    return found.log_odds_variance(W, labels=torch.arange(len(W)))


def array(tensor: Tensor) -> Array:
    values: Array = tensor.double().numpy()
    return values


def assert_relative(actual: Tensor, wanted: Array, tolerance: float) -> None:
    """Equal to within so much of the largest entry."""
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.nanmax(np.abs(wanted)))


# ---- sums


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@given(data=st.data())
def test_moments_are_sums_over_the_logits_and_over_the_embeddings(dtype: Any, tolerance: float, data: st.DataObject) -> None:
    """Logits are those of the centered rows and, last, of the mean row."""
    W = data.draw(strategies.unembeddings(dtype))
    f = data.draw(strategies.embeddings(W.shape[1], dtype))
    moments = moments_of(torch.from_numpy(W), torch.from_numpy(f))
    rows, inputs = W.astype(np.float64), f.astype(np.float64)
    z = inputs @ np.vstack([reference.center_labels(rows), rows.mean(axis=0)]).T
    assert {moment.dtype for moment in moments} == {torch.float64}
    assert moments.num_inputs.item() == len(f)
    assert_relative(moments.total, z.sum(axis=0), tolerance)
    assert_relative(moments.outer.triu(), np.triu(z.T @ z), tolerance)
    assert_relative(moments.embedding_total, inputs.sum(axis=0), tolerance)
    assert moments.embedding_square.item() == pytest.approx(float(np.sum(inputs**2)), rel=tolerance)


@given(cuts=st.lists(st.integers(1, 99), max_size=3))
def test_moments_add_over_batches(cuts: list[int]) -> None:
    """Batches are centered by their own means, yet it does not matter how the inputs were cut."""
    W, f = generic(4, 6) + 1, generic(100, 6, seed=1) + 5
    together = added(*(moments_of(W, part) for part in f.tensor_split(sorted(cuts))))
    for sums, whole in zip(together, moments_of(W, f), strict=True):
        torch.testing.assert_close(sums, whole, rtol=1e-12, atol=1e-12)


def test_inputs_that_were_not_seen_are_left_out() -> None:
    """Whatever stands there; without a mask, those that are not finite."""
    W, f, seen = generic(4, 6), generic(20, 6, seed=1), torch.arange(20) % 3 != 0
    given_f = f.clone()
    given_f[0], given_f[3] = NAN, 1e30
    for actual, wanted in zip(moments_of(W, given_f, seen=seen), moments_of(W, f[seen]), strict=True):
        torch.testing.assert_close(actual, wanted)
    given_f[3] = INF
    finite = [n for n in range(20) if n not in {0, 3}]
    for actual, wanted in zip(moments_of(W, given_f), moments_of(W, f[finite]), strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("f", [torch.zeros(0, 6), torch.full((4, 6), NAN)], ids=["none", "not finite"])
def test_without_inputs_the_sums_are_zero_and_nothing_is_known(f: Tensor) -> None:
    W = generic(4, 6)
    assert [moment.abs().sum().item() for moment in moments_of(W, f)] == [0] * 5
    assert correlation(covariance_of(W, f), W).isnan().all()
    assert variance(covariance_of(W, f), W).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_reach_the_moments(dtype: torch.dtype) -> None:
    """A product in bfloat16 would be off in the third digit."""
    W, f = generic(4, 6).to(dtype), generic(64, 6, seed=1).to(dtype)
    outside = moments_of(W, f)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = moments_of(W, f)
    for one, other in zip(inside, outside, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_split_rows_are_the_centered_rows_and_the_mean_row(dtype: torch.dtype, tolerance: float) -> None:
    """Over labels that are live. A row that is not finite has no size, one at the mean has the size 0."""
    W = generic(6, 3).add(7).to(dtype)
    W[2, 1] = INF
    W[4] = (W[0] + W[1] + W[5]) / 3 + 1e-8 * (dtype == torch.float32)
    live = torch.tensor([True, True, True, False, True, True])
    units, wide, sizes = split_rows(W, live)
    mean = W[[0, 1, 4, 5]].double().mean(dim=0)
    finite = torch.tensor([0, 1, 3, 5, 6])
    rows = units.double() * sizes[:, None]
    wanted = torch.cat([W[[0, 1, 3, 5]].double() - mean, mean[None]])
    torch.testing.assert_close(rows[finite], wanted, rtol=0, atol=tolerance)
    assert (units[finite].abs().amax(dim=1) == 1).all()
    assert sizes[4] == 0
    assert sizes.isnan().tolist() == [False, False, True, False, False, False, False]
    torch.testing.assert_close(wide, units.double(), rtol=0, atol=tolerance)
    assert wide.dtype == torch.float64
    assert not units[sizes.isfinite()].isnan().any()


# ---- similarities


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
@pytest.mark.parametrize("centered", [True, False])
@given(data=st.data())
def test_similarities_are_those_of_the_formulas(centered: bool, dtype: Any, tolerance: float, data: st.DataObject) -> None:
    W = data.draw(strategies.unembeddings(dtype))
    f = data.draw(strategies.embeddings(W.shape[1], dtype))
    rows, S = torch.from_numpy(W), reference.covariance(f)
    found = covariance_of(rows, torch.from_numpy(f))
    corr = correlation(found, rows, centered=centered)
    assert corr.dtype == rows.dtype
    np.testing.assert_allclose(corr, reference.logit_correlation(W, S, centered), rtol=0, atol=tolerance)
    assert_relative(variance(found, rows), reference.log_odds_variance(W, S), tolerance)


@pytest.mark.parametrize("centered", [True, False])
def test_logits_are_centered_over_the_labels_that_are_live_in_the_end(centered: bool) -> None:
    """Whichever were live when the rows were split: other ones in either batch, and labels that were in neither mean."""
    W, f = generic(7, 9) + 2, generic(60, 9, seed=1)
    first, second, last = (torch.tensor(live) for live in ([1, 1, 0, 0, 1, 1, 0], [0, 1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 1]))
    parts = added(moments_of(W, f[:20], first.bool()), moments_of(W, f[20:], second.bool()))
    labels = [5, 1, 3, 0]
    corr = correlation(LogitCovariance.of(parts), W, live=last.bool(), centered=centered, labels=torch.tensor(labels))
    wanted = reference.logit_correlation(array(W), reference.covariance(array(f)), centered, array(last).astype(bool))
    np.testing.assert_allclose(corr, wanted[np.ix_(labels, labels)], rtol=0, atol=1e-12)
    assert corr.diagonal().isnan().tolist() == [False, True, False, False]


def test_a_row_that_is_not_finite_in_one_batch_is_unknown_and_no_other() -> None:
    """The others are centered over those that are known."""
    W, f = generic(5, 6), generic(60, 6, seed=1)
    broken = W.clone()
    broken[3, 0] = NAN
    found = LogitCovariance.of(added(moments_of(broken, f[:20]), moments_of(W, f[20:])))
    S, known = reference.covariance(array(f)), np.arange(5) != 3
    for centered in (True, False):
        wanted = reference.logit_correlation(array(W), S, centered, known)
        np.testing.assert_allclose(correlation(found, W, centered=centered), wanted, rtol=0, atol=1e-12)
    wanted = reference.log_odds_variance(array(W), S)
    wanted[3] = wanted[:, 3] = np.nan
    np.testing.assert_allclose(variance(found, W), wanted, rtol=0, atol=1e-12)


def test_without_a_live_row_nothing_is_known() -> None:
    W, f = torch.full((3, 4), NAN), generic(20, 4)
    assert correlation(covariance_of(W, f), W).isnan().all()
    assert variance(covariance_of(W, f), W).isnan().all()


@pytest.mark.parametrize("times", [10, 100, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("centered", [True, False])
def test_a_translation_of_all_rows_costs_no_digits(centered: bool, dtype: torch.dtype, times: int) -> None:
    """Values are those of float64 arithmetic on the same rows, also where what they have in common is left in."""
    rows = generic(6, 16)
    common = generic(16, seed=2)
    W = (rows + times * rows.norm(dim=1).mean() * common / common.norm()).to(dtype)
    f = generic(200, 16, seed=1).to(dtype)
    S = reference.covariance(array(f))
    found = covariance_of(W, f)
    wanted = reference.logit_correlation(array(W), S, centered)
    np.testing.assert_allclose(correlation(found, W, centered=centered), wanted, rtol=0, atol=1e-5)
    # In units of the variance itself: the differences between logits are small beside the logits here.
    assert_relative(variance(found, W), reference.log_odds_variance(array(W), S), 1e-6)


@pytest.mark.parametrize("offset", [10, 1e3, 1e4])
def test_embeddings_far_from_the_origin_cost_no_digits(offset: float) -> None:
    """In batches of which each is centered by its own mean."""
    W, f = generic(5, 8).float(), (generic(400, 8, seed=1) + offset).float()
    found = LogitCovariance.of(added(*(moments_of(W, part) for part in torch.split(f, 7))))
    S = reference.covariance(array(f))
    np.testing.assert_allclose(correlation(found, W), reference.logit_correlation(array(W), S), rtol=0, atol=1e-5)
    assert_relative(variance(found, W), reference.log_odds_variance(array(W), S), 1e-5)


@pytest.mark.parametrize(("of_rows", "of_inputs"), [(1e25, 1), (1e-25, 1), (1, 1e25), (1, 1e-25), (1e25, 1e25), (1e-25, 1e-25)])
def test_squares_may_be_too_large_or_too_small_for_float32(of_rows: float, of_inputs: float) -> None:
    W, f = generic(5, 8).mul(of_rows).float(), generic(80, 8, seed=1).mul(of_inputs).float()
    wanted = reference.logit_correlation(array(W), reference.covariance(array(f)))
    np.testing.assert_allclose(correlation(covariance_of(W, f), W), wanted, rtol=0, atol=1e-5)


def test_one_long_row_leaves_the_others_their_digits() -> None:
    """Every row is brought to a size of its own before the products."""
    W, f = generic(5, 8).float(), generic(80, 8, seed=1).float()
    W[4] *= 1e30
    wanted = reference.logit_correlation(array(W), reference.covariance(array(f)), centered=False)
    live = torch.tensor([True, True, True, True, False])
    corr = correlation(covariance_of(W, f, live), W, live=live, centered=False)
    np.testing.assert_allclose(corr[:4, :4], wanted[:4, :4], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.5, 1.0, 2.0])
def test_a_label_whose_logit_is_constant_is_unknown(angle: float, dtype: torch.dtype) -> None:
    """Inputs vary in one direction only; a row across it has a constant logit, be it exactly or within rounding."""
    along, across = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=torch.float64)
    W = torch.stack([along + across, 2 * along - across, 3 * across]).to(dtype)
    f = (generic(50, 1) * along + across).to(dtype)
    found = LogitCovariance.of(added(*(moments_of(W, part) for part in torch.split(f, 9))))
    corr = correlation(found, W, centered=False)
    assert corr.diagonal().isnan().tolist() == [False, False, True]
    assert corr[0, 1].item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_embeddings_that_differ_in_one_direction_correlate_wholly(dtype: torch.dtype) -> None:
    """What rounding leaves beside 1 and -1 would be ranked otherwise; also where a label has little of the direction."""
    W, f = generic(6, 9).to(dtype), (generic(50, 1, seed=1) * generic(9, seed=2)).to(dtype)
    W[5] = W[:5].mean(dim=0) + 0.01 * W[5]
    assert {*correlation(covariance_of(W, f), W).flatten().tolist()} == {-1.0, 1.0}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_constant_embeddings_leave_nothing_to_correlate(dtype: torch.dtype) -> None:
    """In batches of their own: the logit correlation is unknown, the log-odds variance zero."""
    W = generic(4, 6).to(dtype)
    f = torch.tensor([0.1, 0.7, 1.3, 2.9, 3.7, 1e3], dtype=dtype).repeat(30, 1)
    found = LogitCovariance.of(added(*(moments_of(W, part) for part in torch.split(f, 7))))
    assert correlation(found, W).isnan().all()
    assert torch.equal(variance(found, W), torch.zeros(4, 4, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_rows_have_no_logit_correlation(dtype: torch.dtype) -> None:
    W, f = torch.tensor([0.1, 0.7, 1.3], dtype=dtype).expand(3, 3), generic(20, 3).to(dtype)
    assert correlation(covariance_of(W, f), W).isnan().all()
    assert torch.equal(variance(covariance_of(W, f), W), torch.zeros(3, 3, dtype=dtype))


def test_the_rows_of_now_decide_which_labels_have_a_direction() -> None:
    """A label whose row has come to the mean has no centered logit, however its logit varied before."""
    W, f = generic(4, 6), generic(40, 6, seed=1)
    found = covariance_of(W, f)
    W[0] = W[1:].mean(dim=0)
    assert correlation(found, W).diagonal().isnan().tolist() == [True, False, False, False]


def test_log_odds_variance_is_zero_on_the_diagonal_and_never_negative() -> None:
    """Also between rows that differ in their last bit, where rounding would go below."""
    W, f = generic(30, 40), generic(50, 40, seed=1)
    both = torch.cat([W, W * (1 + 2**-52)])
    found = variance(covariance_of(both, f), both)
    assert torch.equal(found.diagonal(), torch.zeros(60, dtype=torch.float64))
    assert found.min() >= 0


@pytest.mark.parametrize(("of_rows", "of_inputs"), [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_rows_and_inputs_may_differ_in_dtype(of_rows: torch.dtype, of_inputs: torch.dtype) -> None:
    W, f = generic(4, 6).to(of_rows), generic(40, 6, seed=1).to(of_inputs)
    corr = correlation(covariance_of(W, f), W)
    assert corr.dtype == of_rows
    wanted = reference.logit_correlation(array(W), reference.covariance(array(f)))
    np.testing.assert_allclose(corr, wanted, rtol=0, atol=1e-6)
