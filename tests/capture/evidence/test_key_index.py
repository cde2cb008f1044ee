"""KeyIndex is a dictionary from keys to rows, also where hashes meet at the end of the table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.capture.evidence import key_index
from lightning_cossim.capture.evidence.key_index import KeyIndex

KEYS = st.lists(st.integers(0, 2**40), unique=True, min_size=1, max_size=40)


@given(KEYS, st.data())
def test_keys_are_found_after_adding_and_dropping(keys: list[int], data: st.DataObject) -> None:
    index = KeyIndex(len(keys))
    cut = data.draw(st.integers(0, len(keys)))
    for some in (keys[:cut], keys[cut:]):
        index.add(np.array(some, dtype=np.int64))
    assert index.find(np.array(keys)).tolist() == list(range(len(keys)))
    assert index.find(np.array([2**41, 2**41 + 1])).tolist() == [-1, -1]
    stays = data.draw(st.lists(st.integers(0, len(keys) - 1), unique=True).map(sorted))
    index.keep(np.array(stays, dtype=np.int64))
    wanted = {keys[row]: place for place, row in enumerate(stays)}
    assert index.find(np.array(keys)).tolist() == [wanted.get(key, -1) for key in keys]


@pytest.mark.parametrize("slot", [0, 3, -1])
def test_keys_of_one_hash_take_the_next_slots_around_the_end(monkeypatch: pytest.MonkeyPatch, slot: int) -> None:
    """All keys begin at one slot, which is the worst case: one that is not there is searched in all of them."""
    monkeypatch.setattr(key_index, "_hashes", lambda keys, num_bits: np.full(len(keys), slot % 2**num_bits))
    index, keys = KeyIndex(5), np.array([7, 1, 9, 4, 2])
    index.add(keys[:2])
    index.add(keys[2:])
    assert index.find(np.array([2, 4, 9, 1, 7, 3])).tolist() == [4, 3, 2, 1, 0, -1]
    index.keep(np.array([1, 4]))
    assert index.find(keys).tolist() == [-1, 0, -1, -1, 1]
