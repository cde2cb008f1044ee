"""Logit correlation and log-odds variance, and the three sums over inputs that give the covariance of the embeddings."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional import label_cosine_similarity, log_odds_variance, logit_correlation
from lightning_cossim.functional.logit_geometry import EmbeddingMoments, embedding_covariance, embedding_moments
from tests import reference, strategies
from tests.strategies import Array, Head

NAN, INF = torch.nan, torch.inf
both_dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])


def covariance_of(f: Array) -> Tensor:
    return embedding_covariance(embedding_moments(torch.from_numpy(f)))


def generic(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_relative(actual: Tensor, wanted: Array, tolerance: float) -> None:
    """Equal to within so much of the largest entry."""
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.nanmax(np.abs(wanted)))


# ---- moments and covariance


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@given(data=st.data())
def test_moments_are_three_sums_and_give_the_population_covariance(dtype: Any, tolerance: float, data: st.DataObject) -> None:
    f = data.draw(strategies.embeddings(data.draw(st.integers(1, 8)), dtype))
    moments = embedding_moments(torch.from_numpy(f))
    exact = f.astype(np.float64)
    assert moments.num_inputs.item() == len(f)
    assert_relative(moments.total, exact.sum(axis=0), tolerance)
    assert_relative(moments.outer, exact.T @ exact, tolerance)
    assert_relative(embedding_covariance(moments), reference.covariance(f), tolerance)
    np.testing.assert_allclose(reference.covariance(f), np.cov(exact.T, bias=True).reshape(f.shape[1], -1), atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_moments_are_kept_in_float64(dtype: torch.dtype) -> None:
    """Their values are those of float64 arithmetic on the embeddings as given."""
    f = generic(50, 3).add(2).to(dtype)
    moments = embedding_moments(f)
    assert {moment.dtype for moment in moments} == {torch.float64}
    assert_relative(embedding_covariance(moments), reference.covariance(f.double().numpy()), 1e-6)


@given(cuts=st.lists(st.integers(1, 99), max_size=3))
def test_moments_add_over_batches(cuts: list[int]) -> None:
    """Batches are centered by their own means, yet it does not matter how the inputs were cut."""
    f = generic(100, 3) + 5
    parts = [embedding_moments(part) for part in f.tensor_split(sorted(cuts))]
    together = EmbeddingMoments(*(torch.stack(sums).sum(dim=0) for sums in zip(*parts, strict=True)))
    torch.testing.assert_close(embedding_covariance(together), embedding_covariance(embedding_moments(f)), rtol=0, atol=1e-12)


def test_a_large_mean_costs_a_float32_covariance_no_digits() -> None:
    """Embeddings of spread 1 around 1000: sums of raw float32 products would be off by a tenth."""
    f = (generic(500, 4) + 1000).float()
    exact = reference.covariance(f.numpy())
    assert_relative(covariance_of(f.numpy()), exact, 1e-6)
    naive = (f.T @ f / 500 - f.mean(dim=0).outer(f.mean(dim=0))).double().numpy()
    assert np.abs(naive - exact).max() > 1e-2


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_embeddings_that_are_not_finite_are_left_out(bad: float) -> None:
    f = generic(20, 3)
    with_bad = torch.cat([f[:7], torch.tensor([[0.0, bad, 1.0]], dtype=torch.float64), f[7:]])
    for actual, wanted in zip(embedding_moments(with_bad), embedding_moments(f), strict=True):
        torch.testing.assert_close(actual, wanted)


def test_embeddings_that_were_not_seen_are_left_out() -> None:
    """Whatever stands there, finite or not."""
    f, seen = generic(20, 3), torch.arange(20) % 3 != 0
    given_f = f.clone()
    given_f[0], given_f[3] = NAN, 1e30
    for actual, wanted in zip(embedding_moments(given_f, seen=seen), embedding_moments(f[seen]), strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("f", [torch.zeros(0, 3), torch.full((4, 3), NAN)], ids=["none", "not finite"])
def test_without_inputs_the_sums_are_zero_and_the_covariance_is_unknown(f: Tensor) -> None:
    moments = embedding_moments(f)
    assert [moment.abs().sum().item() for moment in moments] == [0, 0, 0]
    assert embedding_covariance(moments).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_reach_the_moments(dtype: torch.dtype) -> None:
    """A product in bfloat16 would be off in the third digit."""
    f = generic(64, 3).to(dtype)
    outside = embedding_moments(f)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = embedding_moments(f)
    assert torch.equal(inside.outer, outside.outer)


# ---- logit correlation


@both_dtypes
@pytest.mark.parametrize("centered", [True, False])
@given(data=st.data())
def test_logit_correlation_is_that_of_the_formula(centered: bool, dtype: Any, tolerance: float, data: st.DataObject) -> None:
    W = data.draw(strategies.unembeddings(dtype))
    f = data.draw(strategies.embeddings(W.shape[1], dtype))
    corr = logit_correlation(torch.from_numpy(W), embedding_covariance=covariance_of(f), centered=centered)
    assert not corr.isnan().any()
    assert corr.abs().max() <= 1
    np.testing.assert_allclose(corr, reference.logit_correlation(W, reference.covariance(f), centered), rtol=0, atol=tolerance)


@both_dtypes
@given(data=st.data())
def test_logit_correlation_is_the_correlation_of_the_centered_logits(dtype: Any, tolerance: float, data: st.DataObject) -> None:
    """Over the inputs themselves; a bias cannot matter."""
    W = data.draw(strategies.unembeddings(dtype))
    f, b = data.draw(strategies.embeddings(W.shape[1], dtype)), data.draw(strategies.vectors(len(W)))
    corr = logit_correlation(torch.from_numpy(W), embedding_covariance=covariance_of(f))
    np.testing.assert_allclose(corr, reference.logit_correlation_of_inputs(W, b, f), rtol=0, atol=tolerance)


@given(head=strategies.heads())
def test_without_centering_it_is_the_correlation_of_the_logits(head: Head) -> None:
    z = head.f @ head.W.T + head.b
    corr = logit_correlation(torch.from_numpy(head.W), embedding_covariance=covariance_of(head.f), centered=False)
    np.testing.assert_allclose(corr, np.corrcoef(z.T), rtol=0, atol=1e-9)


@given(W=strategies.unembeddings())
def test_with_isotropic_embeddings_it_is_the_cosine(W: Array) -> None:
    """THEORY §3: rungs 2 and 3 agree; without centering rungs 1 and 3."""
    rows, isotropic = torch.from_numpy(W), 0.3 * torch.eye(W.shape[1])
    for centered in (True, False):
        corr = logit_correlation(rows, embedding_covariance=isotropic, centered=centered)
        torch.testing.assert_close(corr, label_cosine_similarity(rows, centered=centered), rtol=0, atol=1e-12)


def test_isotropy_is_needed_on_the_span_of_the_centered_rows_only() -> None:
    """Rows whose centered part lies in a plane: what embeddings do across that plane does not matter."""
    rows = torch.cat([generic(6, 2), torch.full((6, 1), 5.0)], dim=1)
    corr = logit_correlation(rows, embedding_covariance=torch.diag(torch.tensor([2.0, 2.0, 1e3])))
    torch.testing.assert_close(corr, label_cosine_similarity(rows), rtol=0, atol=1e-12)


@given(data=st.data())
def test_logit_correlation_leaves_out_labels_that_are_not_live(data: st.DataObject) -> None:
    """And rows that are not finite: NaN, and outside the mean."""
    head = data.draw(strategies.heads())
    W, live = head.W.copy(), np.arange(len(head.W)) != 1
    W[3, 0] = np.inf
    S = covariance_of(head.f)
    for centered in (True, False):
        corr = logit_correlation(torch.from_numpy(W), embedding_covariance=S, centered=centered, live=torch.from_numpy(live))
        np.testing.assert_allclose(corr, reference.logit_correlation(W, S.numpy(), centered, live), rtol=0, atol=1e-9)
        assert corr.diagonal().isnan().nonzero().flatten().tolist() == [1, 3]


def test_a_row_at_the_mean_has_no_logit_correlation() -> None:
    rows = generic(5, 3)
    rows = torch.cat([rows, rows.mean(dim=0, keepdim=True)])
    corr = logit_correlation(rows, embedding_covariance=torch.eye(3))
    assert corr.diagonal().isnan().tolist() == [False] * 5 + [True]
    assert corr[5].isnan().all()
    assert not logit_correlation(rows, embedding_covariance=torch.eye(3), centered=False).isnan().any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_rows_have_no_logit_correlation(dtype: torch.dtype) -> None:
    rows = torch.tensor([0.1, 0.7, 1.3], dtype=dtype).expand(7, 3)
    assert logit_correlation(rows, embedding_covariance=torch.eye(3)).isnan().all()


def test_constant_embeddings_leave_nothing_to_correlate() -> None:
    """No variance: the logit correlation is unknown, the log-odds variance zero."""
    rows, S = generic(5, 3), covariance_of(np.full((8, 3), 0.5))
    assert logit_correlation(rows, embedding_covariance=S).isnan().all()
    assert torch.equal(log_odds_variance(rows, embedding_covariance=S), torch.zeros(5, 5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.5, 1.0, 2.0])
def test_a_label_whose_logit_is_constant_is_unknown(angle: float, dtype: torch.dtype) -> None:
    """Inputs vary in one direction only; a row across it has a constant logit, be it exactly or within rounding."""
    along = torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float64)
    across = torch.tensor([-np.sin(angle), np.cos(angle)], dtype=torch.float64)
    rows = torch.stack([along + across, 2 * along - across, 3 * across]).to(dtype)
    corr = logit_correlation(rows, embedding_covariance=along.outer(along), centered=False)
    assert corr.diagonal().isnan().tolist() == [False, False, True]
    assert corr[0, 1].item() == pytest.approx(1, abs=1e-12)


def test_without_a_covariance_nothing_is_known_between_labels() -> None:
    S = torch.full((3, 3), NAN)
    assert logit_correlation(generic(5, 3), embedding_covariance=S).isnan().all()
    off_diagonal = ~torch.eye(5, dtype=torch.bool)
    assert log_odds_variance(generic(5, 3), embedding_covariance=S)[off_diagonal].isnan().all()


# ---- log-odds variance


@both_dtypes
@given(data=st.data())
def test_log_odds_variance_is_that_of_the_formula_and_of_the_inputs(dtype: Any, tolerance: float, data: st.DataObject) -> None:
    W = data.draw(strategies.unembeddings(dtype))
    f, b = data.draw(strategies.embeddings(W.shape[1], dtype)), data.draw(strategies.vectors(len(W)))
    variance = log_odds_variance(torch.from_numpy(W), embedding_covariance=covariance_of(f))
    assert_relative(variance, reference.log_odds_variance(W, reference.covariance(f)), tolerance)
    assert_relative(variance, reference.log_odds_variance_of_inputs(W, b, f), tolerance)


@given(head=strategies.heads(scale=1))
def test_log_odds_variance_is_the_variance_of_log_probability_ratios(head: Head) -> None:
    """Under the softmax, z_i - z_j = log p_i / p_j."""
    log_p = np.log(reference.softmax(head.f @ head.W.T + head.b))
    wanted = np.array([[np.var(i - j) for j in log_p.T] for i in log_p.T])
    assert_relative(log_odds_variance(torch.from_numpy(head.W), embedding_covariance=covariance_of(head.f)), wanted, 1e-9)


def test_log_odds_variance_is_zero_on_the_diagonal_and_never_negative() -> None:
    """Also between rows that differ in their last bit, where rounding would go below."""
    rows = generic(30, 4)
    variance = log_odds_variance(torch.cat([rows, rows * (1 + 2**-52)]), embedding_covariance=reference_spread(4))
    assert torch.equal(variance.diagonal(), torch.zeros(60, dtype=torch.float64))
    assert variance.min() >= 0
    torch.testing.assert_close(variance, variance.T, rtol=0, atol=1e-13)
    torch.testing.assert_close(variance[:30, 30:].diagonal(), variance.diagonal()[:30], rtol=0, atol=1e-13)


def reference_spread(dim: int) -> Tensor:
    return torch.from_numpy(reference.covariance(generic(50, dim, seed=1).numpy()))


def test_log_odds_variance_of_rows_that_are_not_finite_is_unknown() -> None:
    """Their diagonal too; zero rows and rows at the mean are ordinary."""
    rows = torch.cat([generic(4, 3), torch.zeros(1, 3), torch.tensor([[NAN, 0.0, 0.0], [0.0, INF, 0.0]])])
    variance = log_odds_variance(rows, embedding_covariance=reference_spread(3))
    assert_relative(variance, reference.log_odds_variance(rows.numpy(), reference_spread(3).numpy()), 1e-12)
    assert variance.diagonal().isnan().tolist() == [False] * 5 + [True] * 2


# ---- numerics


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", ["logit_correlation", "log_odds_variance"])
def test_a_large_common_mode_in_halves_costs_no_digits(function: str, dtype: torch.dtype) -> None:
    """Values are those of float64 arithmetic on the same halves, with a common mode of a hundred times the rows."""
    common = generic(5, seed=1)
    rows = (generic(8, 5) + 100 * common / common.norm() * 5**0.5).to(dtype)
    S = reference_spread(5)
    actual = {"logit_correlation": logit_correlation, "log_odds_variance": log_odds_variance}[function](
        rows, embedding_covariance=S
    )
    exact = rows.double().numpy()
    wanted = {"logit_correlation": reference.logit_correlation, "log_odds_variance": reference.log_odds_variance}[function](
        exact, S.numpy()
    )
    assert_relative(actual, wanted, 1e-6)


def test_a_large_common_mode_costs_log_odds_variance_no_digits() -> None:
    """A million times the rows: it is taken away before products of rows are, whose differences would keep four digits."""
    rows, S = generic(8, 5) + 1e6, reference_spread(5)
    wanted = reference.log_odds_variance(rows.numpy(), S.numpy())
    assert_relative(log_odds_variance(rows, embedding_covariance=S), wanted, 1e-9)
    C = rows @ S @ rows.T
    assert np.abs((C.diagonal()[:, None] + C.diagonal() - 2 * C).numpy() - wanted).max() > 1e-5


@pytest.mark.parametrize("centered", [True, False])
def test_float32_rows_meet_an_anisotropic_covariance_in_float64(centered: bool) -> None:
    """Rows across a direction of ten thousand times the variance: float32 products would be off in the fourth digit."""
    Q = np.linalg.qr(generic(4, 4, seed=2).numpy())[0]
    S = Q * [1e4, 1.0, 1.0, 1.0] @ Q.T
    W = ((generic(6, 4).numpy() * [0.0, 1.0, 1.0, 1.0]) @ Q.T).astype(np.float32)
    corr = logit_correlation(torch.from_numpy(W), embedding_covariance=torch.from_numpy(S), centered=centered)
    np.testing.assert_allclose(corr, reference.logit_correlation(W, S, centered), rtol=0, atol=1e-6)
    z = torch.from_numpy(W) @ torch.from_numpy(S).float() @ torch.from_numpy(W).T
    naive = (z / z.diagonal().sqrt() / z.diagonal().sqrt()[:, None]).numpy()
    assert centered or np.abs(naive - reference.logit_correlation(W, S, centered)).max() > 1e-5


@pytest.mark.parametrize("function", [logit_correlation, log_odds_variance])
def test_autocast_does_not_reach_logit_geometry(function: Any) -> None:
    rows = generic(8, 5).float()
    outside = function(rows, embedding_covariance=torch.eye(5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = function(rows, embedding_covariance=torch.eye(5))
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("num_batches", [1, 4, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_embeddings_that_are_constant_correlate_with_nothing(num_batches: int, dtype: torch.dtype) -> None:
    """What cancellation leaves of their variance is not taken for one: no correlation is made of rounding."""
    W = torch.tensor([[1, 0.5], [0.5, 1], [-1, 0.4], [-0.8, -0.8], [0.9, -1.2]], dtype=dtype)
    for seed in range(20):
        row = torch.randn(1, 2, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 10
        batch = embedding_moments(row.repeat(3, 1))
        pooled = EmbeddingMoments(*(sum(parts[1:], parts[0]) for parts in zip(*[batch] * num_batches, strict=True)))
        covariance = embedding_covariance(pooled)
        assert not covariance.any()
        assert logit_correlation(W, embedding_covariance=covariance).isnan().all()


def test_a_small_variance_beside_a_large_mean_is_one() -> None:
    """A spread of 1e-4 of the mean is known to three digits: it is no rounding."""
    embedding = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e4
    covariance = embedding_covariance(embedding_moments(embedding))
    torch.testing.assert_close(covariance, embedding.T.cov(correction=0), rtol=1e-3, atol=1e-3)


def test_an_outlying_label_does_not_move_the_log_odds_of_others() -> None:
    """Independent of which other labels exist, in float32 too."""
    W = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    outlier = torch.tensor([[1e6, 0.0, 0.0]])
    alone = log_odds_variance(W, embedding_covariance=torch.eye(3))
    beside = log_odds_variance(torch.cat([W, outlier]), embedding_covariance=torch.eye(3))[:5, :5]
    torch.testing.assert_close(beside, alone, rtol=1e-5, atol=0)
