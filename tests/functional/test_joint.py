"""Joint inputs: both labels among the eight most likely, and both with a tenth of the probability of the most likely one."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_cossim.errors import InputError
from lightning_cossim.functional import joint_inputs
from lightning_cossim.functional.joint import add_joint_inputs, likely_labels
from lightning_cossim.functional.links import Link


def slow_joint_inputs(probs: NDArray[np.float64], link: Link) -> NDArray[np.int64]:
    """Input by input, as THEORY §5 says."""
    total = np.zeros((probs.shape[1], probs.shape[1]), dtype=np.int64)
    for row in probs:
        if np.isnan(row).any():
            continue
        bar = 0.1 if link == "sigmoid" else 0.1 * row.max()
        likely = [label for label in np.argsort(-row)[:8] if row[label] >= bar]
        for one in likely:
            for other in likely:
                total[one, other] += 1
    return total


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("num_labels", [3, 8, 9, 40])
def test_is_the_slow_count(link: Link, scale: float, num_labels: int) -> None:
    """At a small scale all labels are likely, of which the eight most likely count."""
    logits = scale * torch.randn(300, num_labels, generator=torch.Generator().manual_seed(num_labels), dtype=torch.float64)
    probs = logits.sigmoid() if link == "sigmoid" else logits.softmax(dim=1)
    probs[7, 1] = torch.nan
    found = joint_inputs(probs, link=link)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), slow_joint_inputs(probs.numpy(), link))


def test_a_share_not_a_probability_is_what_counts() -> None:
    """A hundred labels at about .01 are likely all the same: an absolute bar of .1 would find none."""
    probs = torch.full((1, 100), 0.001)
    probs[0, 3], probs[0, 5] = 0.05, 0.006
    found = joint_inputs(probs)
    assert found[3, 5] == 1
    assert found.sum() == 4


def test_exactly_a_tenth_counts() -> None:
    assert joint_inputs(torch.tensor([[0.5, 0.05, 0.45]]))[0, 1] == 1
    assert joint_inputs(torch.tensor([[0.5, 0.0499, 0.4501]]))[0, 1] == 0


def test_labels_that_are_not_compared_take_seats() -> None:
    """The eight most likely are those of the model, also where only some labels are compared."""
    probs = torch.cat([torch.full((8,), 0.11), torch.full((2,), 0.06)])[None]
    likely = likely_labels(probs.log(), "softmax")
    total = torch.zeros(3, 3, dtype=torch.int64)
    place = torch.full((10,), -1)
    place[torch.tensor([0, 1, 8])] = torch.arange(3)
    add_joint_inputs(total, likely, place)
    assert total.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_nothing_is_likely_where_all_is_0() -> None:
    assert joint_inputs(torch.zeros(3, 4)).sum() == 0


def test_no_inputs_and_no_finite_inputs() -> None:
    assert joint_inputs(torch.empty(0, 4)).sum() == 0
    assert joint_inputs(torch.full((5, 4), torch.nan)).sum() == 0


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"Expected `probs` in \[0, 1\]"):
        joint_inputs(torch.tensor([[1.5, 0.0]]))
    with pytest.raises(InputError, match="`link`"):
        joint_inputs(torch.tensor([[0.5, 0.5]]), link="probit")  # type: ignore[arg-type]
