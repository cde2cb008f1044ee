"""Errors and shares of the joint mass, against one loop over the inputs."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional.confusion import Confusion, add_confusion, add_products_by_target, known_targets, labels_at
from lightning_cossim.functional.pairs import Pairs, inverse_index
from lightning_cossim.functional.sampled.sparse_confusion import sparse_confusion
from lightning_cossim.functional.sampled.sparse_overlap import sparse_profiles
from tests import reference

K = 6


def probs_and_targets(num_inputs: int = 80, num_labels: int = K, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K), and targets of which two in three are the most likely label and some are none."""
    generator = torch.Generator().manual_seed(seed)
    probs = (2 * torch.randn(num_inputs, num_labels, generator=generator)).softmax(dim=1)
    other = torch.randint(-1, num_labels, (num_inputs,), generator=generator)
    return probs, probs.argmax(dim=1).where(torch.arange(num_inputs) % 3 > 0, other)


def confusion_of(probs: Tensor, target: Tensor) -> Confusion:
    """Of all pairs, added up in two batches."""
    num_labels = probs.shape[1]
    counts, by_target = torch.zeros(num_labels, num_labels, dtype=torch.int64), torch.zeros(num_labels, num_labels)
    for rows in torch.arange(len(probs)).tensor_split(2):
        add_confusion(counts, target[rows], probs[rows].argmax(dim=1))
        add_products_by_target(by_target, probs[rows].sqrt(), target[rows])
    pairs = Pairs.of_all(num_labels)
    return Confusion.of_all(pairs, counts, by_target, joint=pairs.values(probs.sqrt().T @ probs.sqrt()))


def assert_as_in_one_loop(found: Confusion, probs: Tensor, target: Tensor, pairs: list[tuple[int, int]]) -> None:
    p, t = probs.double().numpy(), target.tolist()
    assert found.errors.T.tolist() == [reference.errors(p, t, i, j) for i, j in pairs]
    wanted = np.array([reference.joint_shares(np.sqrt(p), t, i, j) for i, j in pairs])
    np.testing.assert_allclose(found.joint_shares.T.numpy(), wanted, atol=1e-5)


@given(seed=st.integers(0, 1000))
def test_a_pair_has_its_errors_either_way_and_the_shares_of_its_mass(seed: int) -> None:
    probs, target = probs_and_targets(seed=seed)
    found = confusion_of(probs, target)
    assert_as_in_one_loop(found, probs, target, list(combinations(range(K), 2)))
    assert found.errors.dtype == torch.int64
    torch.testing.assert_close(found.joint_shares.sum(dim=0), torch.ones(15))


def test_three_inputs_by_hand() -> None:
    """Two inputs of label 0, one of which is given to label 1, and one of label 2."""
    probs = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    found = confusion_of(probs, torch.tensor([0, 0, 2]))
    assert found.errors.tolist() == [[1, 0, 0], [0, 0, 0]]
    # sqrt(p_0 p_1) is .433 on the first input, of label 0, and .25 on the third, of neither.
    torch.testing.assert_close(found.joint_shares[:, 0], torch.tensor([0.4330127, 0.0, 0.25]) / 0.6830127)
    torch.testing.assert_close(found.joint_shares[:, 1], torch.tensor([0.0, 1.0, 0.0]))


def test_many_inputs_are_worked_on_in_parts() -> None:
    probs, target = probs_and_targets(5000)
    assert_as_in_one_loop(confusion_of(probs, target), probs, target, list(combinations(range(K), 2)))


def test_a_pair_without_mass_has_no_shares() -> None:
    found = confusion_of(torch.eye(3), torch.tensor([0, 1, 1]))
    assert found.joint_shares.isnan().all()
    assert found.errors.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_sums_that_are_rounded_give_no_negative_share() -> None:
    sums = torch.tensor([1.0])
    found = Confusion.of(torch.zeros(2, 1, dtype=torch.int64), joint=sums, first=0.7 * sums, second=0.3001 * sums)
    assert found.joint_shares.min() == 0
    assert found.joint_shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64])
def test_what_is_no_label_is_no_target(dtype: torch.dtype) -> None:
    assert known_targets(torch.tensor([0, 2, 3, 100], dtype=dtype), 3).tolist() == [0, 2, -1, -1]
    if dtype.is_signed:
        least = torch.iinfo(dtype).min
        assert known_targets(torch.tensor([least, -1, torch.iinfo(dtype).max], dtype=dtype), 3).tolist() == [-1, -1, -1]


def test_labels_that_are_not_compared_have_no_place() -> None:
    place = inverse_index(torch.tensor([4, 1]), 6)
    assert labels_at(place, torch.tensor([1, 4, 0, -1, 5])).tolist() == [1, 0, -1, -1, -1]


# Of a vocabulary


@pytest.mark.parametrize("num_kept", [K, 99])
def test_chosen_pairs_have_what_all_pairs_have(num_kept: int) -> None:
    """Whichever label comes first; nothing is left out where all labels of an input are kept."""
    probs, target = probs_and_targets()
    chosen = [(4, 1), (0, 5), (2, 3)]
    pairs = Pairs(*(torch.tensor(labels) for labels in zip(*chosen, strict=True)))
    found = sparse_confusion(
        pairs,
        sparse_profiles(probs.sqrt(), num_kept=num_kept),
        target=target.int(),
        predicted=probs.argmax(dim=1).int(),
        joint=pairs.values(probs.sqrt().T @ probs.sqrt()),
        num_labels=K,
    )
    assert_as_in_one_loop(found, probs, target, chosen)


def test_what_is_left_out_of_an_input_is_missing_in_all_parts() -> None:
    """As if it were not there: errors stay, shares are those of the mass that was kept."""
    probs, target = probs_and_targets()
    kept = probs.where(probs >= probs.topk(3, dim=1).values[:, -1:], 0)
    pairs = Pairs.of_all(K)
    found = sparse_confusion(
        pairs,
        sparse_profiles(probs.sqrt(), num_kept=3),
        target=target,
        predicted=probs.argmax(dim=1),
        joint=pairs.values(kept.sqrt().T @ kept.sqrt()),
        num_labels=K,
    )
    assert_as_in_one_loop(found, kept, target, list(combinations(range(K), 2)))


def test_labels_beyond_all_of_int32_squared_are_told_apart() -> None:
    """Of 250 000 labels a pair is one of 62 billion."""
    num_labels = 250_000
    labels = torch.tensor([[249_999, 3]], dtype=torch.int32)
    pairs = Pairs(torch.tensor([3, 2]), torch.tensor([249_999, 3]))
    found = sparse_confusion(
        pairs,
        sparse_profiles(torch.tensor([[0.8, 0.6]]), num_kept=2)._replace(labels=labels),
        target=torch.tensor([3], dtype=torch.int32),
        predicted=torch.tensor([249_999], dtype=torch.int32),
        joint=torch.tensor([0.48, 0.0]),
        num_labels=num_labels,
    )
    assert found.errors.tolist() == [[1, 0], [0, 0]]
    torch.testing.assert_close(found.joint_shares[:, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert found.joint_shares[:, 1].isnan().all()


def test_without_targets_there_are_no_errors() -> None:
    probs, _ = probs_and_targets()
    pairs, none = Pairs.of_all(K), torch.full((80,), -1)
    joint = pairs.values(probs.sqrt().T @ probs.sqrt())
    kept = sparse_profiles(probs.sqrt(), num_kept=3)
    found = sparse_confusion(pairs, kept, target=none, predicted=none, joint=joint, num_labels=K)
    assert not found.errors.any()
    torch.testing.assert_close(found.joint_shares[2], torch.ones(15))
