"""Suspects: the floors that keep later suspects out are exact."""

from typing import Any

import numpy as np
import pytest

from lightning_cossim.capture.evidence.entries import key_of
from lightning_cossim.capture.evidence.suspects import NUM_SHOWN, NUM_SUSPECTS, Suspects, suspect_scores
from lightning_cossim.capture.evidence.top_entries import TopEntries


def filled(num: int) -> tuple[Suspects, Any]:
    """Suspects of one pair whose targets have the probabilities 0.001, 0.002, …, sorted; and the key of the pair."""
    key = key_of(np.array([1]), np.array([3]))
    suspects = Suspects(4096, np.zeros(0, dtype=np.int64), TopEntries(6, 8, 100_000, np.zeros(0, dtype=np.int64)))
    probs = np.arange(1, num + 1, dtype=np.float32) / np.float32(1000)
    suspects.add(np.repeat(key, num), suspect_scores(probs), np.arange(num))
    suspects.sort()
    return suspects, key


@pytest.mark.parametrize(("name", "most"), [("candidates", NUM_SUSPECTS), ("shown", NUM_SHOWN)])
@pytest.mark.parametrize("more", [0, 1, 60])
def test_a_suspect_before_the_last_one_may_enter_an_equal_one_only_with_ties(name: str, most: int, more: int) -> None:
    suspects, key = filled(most + more)
    may_enter = getattr(suspects, name)
    last = np.float32(most) / np.float32(1000)
    probs = np.array([np.nextafter(last, np.float32(0)), last, np.nextafter(last, np.float32(1))])
    keys, scores = np.repeat(key, 3), suspect_scores(probs)
    assert may_enter(keys, scores, with_ties=False).tolist() == [True, False, False]
    assert may_enter(keys, scores, with_ties=True).tolist() == [True, True, False]


@pytest.mark.parametrize(("name", "most"), [("candidates", NUM_SUSPECTS), ("shown", NUM_SHOWN)])
def test_everything_enters_a_pair_that_has_room(name: str, most: int) -> None:
    suspects, key = filled(most - 1)
    assert getattr(suspects, name)(key, suspect_scores(np.ones(1, dtype=np.float32)), with_ties=False).all()


def test_other_pairs_are_not_kept_out() -> None:
    suspects, key = filled(NUM_SUSPECTS)
    scores = suspect_scores(np.ones(2, dtype=np.float32))
    assert suspects.candidates(np.concatenate([key - 1, key + 1]), scores, with_ties=False).all()
