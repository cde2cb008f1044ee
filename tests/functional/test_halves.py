"""Two halves of the inputs, by turns."""

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_cossim.functional.halves import split_halves


def batches_of(items: list[int], cuts: list[int]) -> list[list[int]]:
    """The items in batches that end at some cuts."""
    ends = sorted({min(cut, len(items)) for cut in cuts} | {0, len(items)})
    return [items[start:end] for start, end in pairwise(ends)]


@given(seen=st.lists(st.booleans(), max_size=30), cuts=st.lists(st.integers(0, 30), max_size=4))
@example(seen=[True, True], cuts=[1])
def test_inputs_that_count_go_to_the_halves_by_turns_however_they_are_batched(seen: list[bool], cuts: list[int]) -> None:
    """The first to one, the second to the other, and so on over all batches; those that do not count go to none."""
    turns = iter([0, 1] * len(seen))
    wanted = [next(turns) if counts else -1 for counts in seen]
    halves, counter = [], torch.tensor(0)
    for batch in batches_of([int(counts) for counts in seen], cuts):
        half, added = split_halves(torch.tensor(batch, dtype=torch.bool), start=counter)
        halves += half.tolist()
        counter = counter + added
    assert halves == wanted
    assert counter == sum(seen)


@given(data=st.data())
def test_a_group_stays_together(data: st.DataObject) -> None:
    """All its inputs that count are in one half; groups go to the halves by turns, in the order of their ids."""
    groups = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    seen = data.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups)))
    start = data.draw(st.integers(0, 3))
    half, added = split_halves(torch.tensor(seen), start=start, groups=torch.tensor(groups))
    present = sorted({group for group, counts in zip(groups, seen, strict=True) if counts})
    wanted = [(start + present.index(group)) % 2 if counts else -1 for group, counts in zip(groups, seen, strict=True)]
    assert half.tolist() == wanted
    assert added == len(present)


@pytest.mark.parametrize("groups", [None, torch.empty(0, dtype=torch.int64)])
def test_an_empty_batch_moves_nothing(groups: torch.Tensor | None) -> None:
    half, added = split_halves(torch.empty(0, dtype=torch.bool), start=5, groups=groups)
    assert len(half) == 0
    assert added == 0
