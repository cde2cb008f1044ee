"""The most likely labels of every input."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.functional.links import Link
from lightning_cossim.functional.most_likely import most_likely


@given(
    num_labels=st.sampled_from([1, 2, 7, 8, 9, 512, 4095, 4096, 4160, 5003]),
    num_inputs=st.sampled_from([0, 1, 3, 200]),
    link=st.sampled_from(["softmax", "sigmoid"]),
    seed=st.integers(0, 5),
)
def test_they_are_the_largest_of_all_probabilities(num_labels: int, num_inputs: int, link: Link, seed: int) -> None:
    logits = 3 * torch.randn(num_inputs, num_labels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    probs = logits.softmax(dim=1) if link == "softmax" else logits.sigmoid()
    found = most_likely(logits.float(), link, 8)
    wanted = probs.sort(dim=1, descending=True).values[:, :8]
    torch.testing.assert_close(found.probs.double(), wanted, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(probs.gather(1, found.labels), wanted, rtol=1e-5, atol=1e-9)


def test_the_normalizer_gives_the_probability_of_any_label() -> None:
    logits = torch.randn(300, 5003)
    found = most_likely(logits, "softmax", 8)
    torch.testing.assert_close((logits[:, 17] - found.normalizer).exp(), logits.softmax(dim=1)[:, 17], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("num_labels", [10, 5003])
def test_an_input_with_a_nan_has_no_probabilities(link: Link, num_labels: int) -> None:
    logits = torch.randn(4, num_labels)
    logits[2, 3] = math.nan
    found = most_likely(logits, link, 3)
    assert found.probs[2].isnan().all()
    assert found.normalizer[2].isnan()
    assert found.probs[[0, 1, 3]].isfinite().all()


def test_labels_with_logit_minus_infinity_have_probability_0() -> None:
    logits = torch.full((1, 6), -math.inf)
    logits[0, :2] = 0
    assert most_likely(logits, "softmax", 3).probs.tolist() == [[0.5, 0.5, 0.0]]


def test_ties_at_the_border_of_runs_leave_no_label_twice() -> None:
    found = most_likely(torch.zeros(2, 5003), "softmax", 8)
    assert all(len(set(labels)) == 8 for labels in found.labels.tolist())


def test_half_precision_is_read_in_float32() -> None:
    logits = torch.tensor([[10.0, 9.0, 0.0]], dtype=torch.float16)
    torch.testing.assert_close(most_likely(logits, "softmax", 1).probs, logits.float().softmax(1)[:, :1])
