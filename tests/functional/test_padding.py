"""Rows that are equal to one another, and what they do to the centered cosines of the others."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional.padding import equal_rows, median_shift
from tests import reference, strategies
from tests.strategies import Array


def groups_of(unembedding: Tensor, live: Tensor | None = None) -> list[list[int]]:
    return [group.tolist() for group in equal_rows(unembedding, live=live)]


@given(W=strategies.unembeddings(), data=st.data())
def test_copies_of_a_row_form_a_group(W: Array, data: st.DataObject) -> None:
    """Rows that all differ form none; of copies, each set is a group, wherever they stand."""
    rows = torch.from_numpy(W)
    assert groups_of(rows) == []
    source = data.draw(st.lists(st.integers(0, len(W) - 1), min_size=2, max_size=12))
    wanted = [[place for place, row in enumerate(source) if row == one] for one in set(source)]
    assert groups_of(rows[source]) == sorted(
        (group for group in wanted if len(group) > 1), key=lambda group: (-len(group), group)
    )


@pytest.mark.parametrize(("difference", "equal"), [(0.5e-6, True), (2e-6, False)])
def test_rows_are_equal_to_a_millionth_of_their_length(difference: float, *, equal: bool) -> None:
    row = torch.tensor([3.0, 4.0], dtype=torch.float64)
    nearly = row + 5 * difference * torch.tensor([0.8, -0.6], dtype=torch.float64)
    other = torch.tensor([-1.0, 7.0], dtype=torch.float64)
    assert groups_of(torch.stack([row, other, nearly])) == ([[0, 2]] if equal else [])


def test_zero_rows_are_equal() -> None:
    assert groups_of(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])) == [[0, 2]]


def test_rows_that_do_not_count_are_in_no_group() -> None:
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [torch.nan, 0.0], [torch.nan, 0.0]])
    assert groups_of(rows, torch.tensor([True, True, False, True, True])) == [[0, 1]]


@pytest.mark.parametrize("num_labels", [0, 1])
def test_fewer_than_two_rows_form_no_group(num_labels: int) -> None:
    assert groups_of(torch.ones(num_labels, 3)) == []


@pytest.mark.parametrize("num_padded", [1, 5, 12])
def test_the_shift_is_that_of_the_median_cosine_between_the_others(num_padded: int) -> None:
    """Against the formulas: the cosines of twenty labels, centered over all rows and over the twenty alone."""
    W = np.concatenate([np.random.default_rng(0).normal(size=(20, 6)) + 1, np.zeros((num_padded, 6))])
    pair = np.triu_indices(20, 1)
    medians = [np.median(reference.cosine(rows, centered=True)[:20, :20][pair]) for rows in (W, W[:20])]
    shift = median_shift(
        torch.from_numpy(W),
        torch.arange(20, 20 + num_padded),
        labels=torch.arange(20 + num_padded),
        live=torch.ones(20 + num_padded, dtype=torch.bool),
    )
    # 190 cosines: their median lies between two, of which torch takes the lower.
    assert shift == pytest.approx(abs(medians[1] - medians[0]), abs=0.02)
    assert shift > 0


def test_padding_moves_the_cosines_of_whatever_labels_are_looked_at() -> None:
    """With three labels looked at there are three cosines, whose median is one of them."""
    W = np.concatenate([np.random.default_rng(0).normal(size=(20, 6)) + 1, np.zeros((9, 6))])
    labels = [2, 11, 7]
    pair = np.triu_indices(3, 1)
    medians = [np.median(reference.cosine(rows, centered=True)[np.ix_(labels, labels)][pair]) for rows in (W, W[:20])]
    live = torch.ones(29, dtype=torch.bool)
    shift = median_shift(torch.from_numpy(W), torch.arange(20, 29), labels=torch.tensor([*labels, 21]), live=live)
    assert shift == pytest.approx(abs(medians[1] - medians[0]), abs=1e-9)


def test_without_another_pair_there_is_no_shift() -> None:
    W, live = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), torch.ones(3, dtype=torch.bool)
    assert median_shift(W, torch.tensor([1, 2]), labels=torch.arange(3), live=live) == 0
