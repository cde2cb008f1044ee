"""Inputs for pairs whose labels are rarely likely together, against a search over all inputs."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.input_table import Inputs
from lightning_cossim.capture.evidence.selection import OVERLAP
from lightning_cossim.capture.evidence.watched_pairs import AFTER, WatchedPairs

NUM_LABELS, NUM_INPUTS, NUM_LIKELY = 40, 3000, 8
PAIRS = [(3, 4), (5, 30), (0, 39), (7, 8)]


def inputs_of(p_NK: NDArray[np.float32]) -> Inputs:
    """A batch with known references: the index of an input is its row here."""
    labels = np.argsort(-p_NK, axis=1, kind="stable")[:, :NUM_LIKELY]
    number = np.arange(len(p_NK))
    unknown = np.full(len(p_NK), -1)
    return Inputs(
        labels=labels,
        probs=np.take_along_axis(p_NK, labels, 1),
        target=unknown,
        target_prob=np.full(len(p_NK), np.nan, dtype=np.float32),
        loader=unknown,
        batch=unknown,
        row=number,
        position=unknown,
        index=number,
        order=number,
    )


def probabilities(seed: int = 0) -> NDArray[np.float32]:
    logits = 2 * torch.randn(NUM_INPUTS, NUM_LABELS, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(dim=1).numpy()


def filled(p_NK: NDArray[np.float32], size: int, per_pair: int) -> WatchedPairs:
    watched, whole = WatchedPairs(PAIRS, per_pair), inputs_of(p_NK)
    for start in range(0, len(p_NK), size):
        batch = Inputs(*(column[start : start + size] for column in whole))
        watched.add(batch, p_NK[start : start + size][:, watched.labels], start)
    return watched


@pytest.mark.parametrize("size", [1, 7, 256, NUM_INPUTS])
@pytest.mark.parametrize("per_pair", [1, 8])
def test_they_are_the_best_inputs_on_which_the_labels_are_not_both_likely(size: int, per_pair: int) -> None:
    p_NK = probabilities()
    found = filled(p_NK, size, per_pair).select(PAIRS)
    assert found is not None
    likely_NK = p_NK >= np.sort(p_NK, axis=1)[:, -NUM_LIKELY][:, None]
    for place, (i, j) in enumerate(PAIRS):
        share_N = np.sqrt(p_NK[:, i].astype(np.float64) * p_NK[:, j])
        share_N[likely_NK[:, i] & likely_NK[:, j]] = 0
        kept = found.at(found.pair == place)
        assert kept.index.tolist() == np.argsort(-share_N, kind="stable")[:per_pair].tolist()
        np.testing.assert_array_equal(kept.first_prob, p_NK[kept.index, i])
        np.testing.assert_array_equal(kept.second_prob, p_NK[kept.index, j])
        np.testing.assert_array_equal(kept.predicted, p_NK[kept.index].argmax(axis=1))


def test_they_come_after_all_inputs_of_the_store() -> None:
    """The store's values are at least 0."""
    found = filled(probabilities(), 256, 8).select(PAIRS)
    assert found is not None
    assert (found.which == OVERLAP).all()
    assert (found.value < 0).all()
    assert (found.value >= -AFTER).all()


def test_only_the_wanted_pairs_are_selected_at_their_places() -> None:
    watched = filled(probabilities(), 256, 8)
    found = watched.select([(1, 2), (0, 39)])
    assert found is not None
    assert set(found.pair.tolist()) == {1}
    assert WatchedPairs(PAIRS, 8).select(PAIRS) is None
    assert watched.select([]) is None


def test_equal_inputs_are_taken_in_order() -> None:
    p_NK = np.tile(probabilities()[:1], (50, 1))
    i, j = np.argsort(p_NK[0])[:2].tolist()
    pair = (min(i, j), max(i, j))
    watched, whole = WatchedPairs([pair], 8), inputs_of(p_NK)
    backwards = Inputs(*(column[::-1] for column in whole))
    watched.add(backwards, p_NK[:, watched.labels], 0)
    found = watched.select([pair])
    assert found is not None
    assert found.order.tolist() == [*range(8)]


def test_rows_that_are_taken_and_inputs_that_stay_are_named() -> None:
    """Thumbnails are made for the first, and kept for the second."""
    p_NK = probabilities()
    watched, whole = WatchedPairs(PAIRS, 8), inputs_of(p_NK)
    some = Inputs(*(column[:100] for column in whole))
    first = watched.add(some, p_NK[:100][:, watched.labels], 0)
    assert len(watched.numbers) == 8 * len(PAIRS)
    assert set(watched.numbers.tolist()) <= {*first.tolist()}
    assert not len(watched.add(some, p_NK[:100][:, watched.labels] * 1e-6, 100))


def test_probabilities_of_0_never_enter() -> None:
    p_NK = np.zeros((20, NUM_LABELS), dtype=np.float32)
    p_NK[:, 20] = 1
    assert not len(filled(p_NK, 20, 8).numbers)
