"""Local log-odds: a distance of input profiles, and the overlap that it proves."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import local_log_odds, probability_overlap
from lightning_cossim.functional.local_log_odds import log_odds_sums
from lightning_cossim.metrics import LocalLogOdds
from tests import reference, strategies
from tests.functional.test_invariances import heat, map_linearly, stretch_rows, translate
from tests.strategies import Array, Head

NAN, INF = torch.nan, torch.inf


def logits(head: Head) -> Array:
    z: Array = head.f @ head.W.T + head.b
    return z


def sigmoid(z: Array) -> Array:
    probs: Array = 1 / (1 + np.exp(-z))
    return probs


def of(head: Head, link: str = "softmax") -> Tensor:
    probs = reference.softmax(logits(head)) if link == "softmax" else sigmoid(logits(head))
    return local_log_odds(torch.from_numpy(probs))


# ---- values


@given(head=strategies.heads(scale=2))
def test_it_is_the_mean_squared_log_odds_of_the_mixture(head: Head) -> None:
    for probs in (reference.softmax(logits(head)), sigmoid(logits(head))):
        np.testing.assert_allclose(
            local_log_odds(torch.from_numpy(probs)), reference.local_log_odds(probs), rtol=1e-9, atol=1e-11
        )


def test_by_hand() -> None:
    """Profiles (1/4, 3/4) and (3/4, 1/4): the mixture is (1/2, 1/2), and each log-odds is log 3."""
    probs = torch.tensor([[0.1, 0.6], [0.3, 0.2]], dtype=torch.float64)
    assert local_log_odds(probs)[0, 1].item() == pytest.approx(np.log(3) ** 2, rel=1e-14)


def test_for_a_softmax_head_it_is_a_quadratic_form_of_the_row_difference() -> None:
    """(g_i - g_j)^T S (g_i - g_j) + (mean)^2, with S the covariance of the embeddings under the mixture of the pair."""
    rng = np.random.default_rng(0)
    W, b, f = rng.normal(size=(6, 3)), rng.normal(size=6), rng.normal(size=(80, 3)) + 0.4
    p = reference.softmax(f @ W.T + b)
    found = local_log_odds(torch.from_numpy(p))
    for i in range(6):
        for j in range(i):
            m = (p[:, i] / p[:, i].sum() + p[:, j] / p[:, j].sum()) / 2
            mean = m @ f
            S = (f - mean).T @ (m[:, None] * (f - mean))
            shift = (W[i] - W[j]) @ mean + b[i] - b[j] - np.log(p[:, i].sum() / p[:, j].sum())
            assert found[i, j].item() == pytest.approx((W[i] - W[j]) @ S @ (W[i] - W[j]) + shift**2, rel=1e-10)


def test_a_probability_of_zero_proves_nothing_unless_both_are_zero() -> None:
    probs = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    found = local_log_odds(probs)
    np.testing.assert_allclose(found, reference.local_log_odds(probs.numpy()), rtol=1e-12, atol=1e-15)
    assert found[0, 2] == found[1, 2] == INF
    assert 0 < found[0, 1] < 1
    assert found[3].isnan().all()


def test_inputs_with_a_nan_are_skipped() -> None:
    probs = torch.rand(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(local_log_odds(torch.cat([probs, torch.full((2, 4), NAN)])), local_log_odds(probs))
    assert local_log_odds(probs[:0]).isnan().all()


@given(head=strategies.heads(scale=2))
def test_it_is_symmetric_at_least_0_and_0_between_proportional_labels(head: Head) -> None:
    probs = torch.from_numpy(reference.softmax(logits(head)))
    found = local_log_odds(torch.cat([probs / 2, probs / 8], dim=1))
    assert torch.equal(found, found.T)
    assert (found >= 0).all()
    assert (found.diagonal() == 0).all()
    num = probs.shape[1]
    torch.testing.assert_close(found[:num, num:].diagonal(), torch.zeros(num, dtype=torch.float64), rtol=0, atol=1e-11)


def test_logits_of_a_saturated_model_do_not_make_it_infinite() -> None:
    """float32 probabilities below 1e-45 are 0; their logarithms are not."""
    z = torch.tensor([[0.0, -200.0, -201.0], [0.0, -150.0, -150.5], [0.0, -60.0, -200.0]])
    metric = LocalLogOdds(3)
    metric.update(z)
    wanted = reference.local_log_odds(reference.softmax(z.double().numpy()))
    np.testing.assert_allclose(metric.compute(), wanted, rtol=1e-5, atol=1e-6)
    assert metric.compute().isfinite().all()
    assert local_log_odds(z.softmax(dim=1))[0, 1] == INF


def test_sums_of_parts_add() -> None:
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(3000, 5, generator=generator, dtype=torch.float64).log_softmax(dim=1)  # more than a chunk
    parts = [log_odds_sums(part) for part in torch.split(log_probs, [1, 2000, 999])]
    whole = log_odds_sums(log_probs)
    for name in whole._fields:
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), getattr(whole, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whole.finish(), reference.local_log_odds(log_probs.exp().numpy()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("probs", "text"),
    [
        (torch.rand(4), "Expected `probs` of shape (N, K), got (4,). Pass probabilities, one row per input."),
        (torch.full((2, 2), 2.0), "Expected `probs` in [0, 1], got values from 2 to 2. Pass probabilities"),
    ],
)
def test_errors_say_what_to_pass(probs: Tensor, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        local_log_odds(probs)


# ---- what changes it


@given(head=strategies.heads(scale=1), data=st.data())
def test_what_a_softmax_cannot_see_does_not_change_it(head: Head, data: st.DataObject) -> None:
    dim = head.W.shape[1]
    before = of(head)
    for moved in (
        translate(head, data.draw(strategies.vectors(dim))),
        map_linearly(head, data.draw(strategies.invertible_matrices(dim))),
    ):
        torch.testing.assert_close(of(moved), before, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        of(map_linearly(head, data.draw(strategies.invertible_matrices(dim))), "sigmoid"),
        of(head, "sigmoid"),
        rtol=1e-7,
        atol=1e-9,
    )


@given(head=strategies.heads(scale=1))
def test_what_changes_the_probabilities_changes_it(head: Head) -> None:
    lengths = np.linspace(0.4, 2.5, len(head.W))[:, None]
    for moved in (stretch_rows(head, lengths), heat(head, 2.0)):
        assert not torch.allclose(of(moved), of(head), rtol=1e-3)
    assert not torch.allclose(of(translate(head, np.full(head.W.shape[1], 2.0)), "sigmoid"), of(head, "sigmoid"), rtol=1e-3)


# ---- the proof


def test_no_pair_of_100_000_overlaps_less_than_is_proven() -> None:
    """Five heads of 202 labels, 101 505 pairs: weak, ordinary and saturated, one with a common bias and one a sigmoid."""
    generator, pairs, smallest, proves = torch.Generator().manual_seed(0), 0, INF, []
    num_labels, num_inputs, dim = 202, 1500, 16
    for link, scale, spread in (
        ("softmax", 0.1, 0.0),
        ("softmax", 1.0, 0.0),
        ("softmax", 6.0, 0.0),
        ("softmax", 1.0, 4.0),
        ("sigmoid", 1.0, 3.0),
    ):
        W_KD = torch.randn(num_labels, dim, generator=generator, dtype=torch.float64) * scale / dim**0.5
        f_ND = torch.randn(num_inputs, dim, generator=generator, dtype=torch.float64) * torch.linspace(0.3, 3, dim)
        z_NK = f_ND @ W_KD.T + spread * torch.randn(num_labels, generator=generator, dtype=torch.float64)
        row, column = torch.triu_indices(num_labels, num_labels, offset=1)
        for dtype, rounding in ((torch.float64, 1e-13), (torch.float32, 2e-6)):
            z = z_NK.to(dtype)
            probs = z.softmax(dim=1) if link == "softmax" else z.sigmoid()
            overlap = probability_overlap(probs)[row, column].double()
            proven = (-local_log_odds(probs)[row, column].double() / 8).exp()
            assert float((overlap - proven).min()) >= -rounding, (link, scale, dtype)
            if dtype == torch.float64:
                pairs, smallest = pairs + len(row), min(smallest, float((overlap - proven).min()))
                proves.append(float((proven > 0.5).double().mean()))
    assert pairs == 101_505
    assert smallest < 0.01, "the bound is nearly reached, so a smaller constant than 8 would break it"
    assert max(proves) > 0.5, "and it says something"


def test_a_smaller_constant_than_8_would_be_wrong() -> None:
    """Log-odds of a small e or -e: the overlap is 1 / cosh(e / 2), which is 1 - e^2 / 8 to second order."""
    for e in (1e-2, 1e-3):
        p = np.array([[1 / (1 + np.exp(e)), 1 / (1 + np.exp(-e))], [1 / (1 + np.exp(-e)), 1 / (1 + np.exp(e))]])
        distance = local_log_odds(torch.from_numpy(p))[0, 1].item()
        overlap = probability_overlap(torch.from_numpy(p))[0, 1].item()
        assert overlap >= np.exp(-distance / 8)
        assert overlap < np.exp(-distance / 8.01)
