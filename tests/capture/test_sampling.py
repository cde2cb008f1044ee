"""Which inputs of a call are looked at, and which belong together."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.capture.sampling import groups_of, sample_rows, take_rows


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[int], torch.Tensor | None]:
    """A shape, and which of its inputs count."""
    shape = draw(st.lists(st.integers(1, 5), max_size=3))
    total = math.prod(shape)
    counted = draw(st.none() | st.lists(st.booleans(), min_size=total, max_size=total))
    return shape, None if counted is None else torch.tensor(counted).reshape(shape)


@given(call=calls(), max_inputs=st.integers(1, 30), seed=st.integers(0, 9))
def test_as_many_as_may_be_of_those_that_count_are_looked_at(
    call: tuple[list[int], torch.Tensor | None], max_inputs: int, seed: int
) -> None:
    """All if they are not too many; else no more than that, each once, in order."""
    shape, counted = call
    index = sample_rows(shape, max_inputs, generator(seed), counted)
    total = math.prod(shape)
    chosen = list(range(total)) if index is None else index.tolist()
    counts = list(range(total)) if counted is None else counted.flatten().nonzero().flatten().tolist()
    assert set(chosen) <= set(counts)
    assert chosen == sorted(set(chosen))
    assert chosen == counts if len(counts) <= max_inputs else 0 < len(chosen) <= max_inputs


@given(lengths=st.lists(st.integers(0, 6), min_size=2, max_size=6), max_inputs=st.integers(6, 20), seed=st.integers(0, 9))
def test_sequences_stay_whole(lengths: list[int], max_inputs: int, seed: int) -> None:
    """Of what counts of a sequence either all is looked at or nothing, and as many sequences as fit."""
    counted = torch.arange(6) < torch.tensor(lengths)[:, None]
    index = sample_rows((len(lengths), 6), max_inputs, generator(seed), counted)
    assert index is not None
    seen = (index // 6).bincount(minlength=len(lengths)).tolist()
    assert all(number in (0, length) for number, length in zip(seen, lengths, strict=True))
    if sum(lengths) > max_inputs:
        assert sum(seen) + max(lengths) > max_inputs


def test_of_a_sequence_that_is_too_long_alone_some_places_are_looked_at() -> None:
    index = sample_rows((3, 100), 10, generator())
    assert index is not None
    assert len(index) == 10
    assert len((index // 100).unique()) == 1  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("shape", [(50,), (6, 10), (2, 5, 10)])
def test_every_input_has_its_turn(shape: Sequence[int]) -> None:
    """Over many windows all are looked at: nothing stands in a blind spot."""
    chosen = [sample_rows(shape, 20, generator(seed)) for seed in range(60)]
    assert {int(place) for index in chosen if index is not None for place in index} == set(range(math.prod(shape)))


@pytest.mark.parametrize(("shape", "axis"), [((7, 4), -1), ((2, 3, 4), -1), ((4,), -1), ((2, 4, 3, 5), -3), ((4, 3, 5), -3)])
def test_rows_are_the_vectors_along_one_dimension(shape: Sequence[int], axis: int) -> None:
    """In the order of their places, whatever the dimension, all or some."""
    tensor = torch.arange(float(math.prod(shape))).reshape(tuple(shape))
    rows = tensor.movedim(axis, -1).flatten(0, -2) if tensor.ndim > 1 else tensor[None]
    assert torch.equal(take_rows(tensor, axis, None), rows)
    index = torch.arange(0, len(rows), 2)
    assert torch.equal(take_rows(tensor, axis, index), rows[index])


def test_inputs_of_one_sequence_or_image_form_a_group() -> None:
    assert groups_of((5,), None) is None
    assert groups_of((), None) is None
    assert groups_of((2, 3), None).tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    assert groups_of((2, 2, 2), torch.tensor([0, 3, 5, 7])).tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
