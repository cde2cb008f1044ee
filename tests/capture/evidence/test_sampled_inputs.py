"""The sample of inputs of a vocabulary, against a search over all inputs."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.input_table import NUM_LIKELY, Inputs
from lightning_cossim.capture.evidence.sampled_inputs import AFTER, NUM_LABELS, SampledInputs
from lightning_cossim.capture.evidence.selection import OVERLAP, KeptInputs
from lightning_cossim.capture.evidence.texts import NUM_AROUND

K, NUM_INPUTS, PLENTY = 90, 3000, 16_000_000
PAIRS = [(3, 4), (5, 30), (0, 39), (7, 88)]
ALL = np.ones(len(PAIRS), dtype=bool)


def probabilities(seed: int = 0) -> NDArray[np.float32]:
    logits = 2 * torch.randn(NUM_INPUTS, K, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(dim=1).numpy()


def inputs_of(p_NK: NDArray[np.float32]) -> tuple[Inputs, NDArray[np.int64], NDArray[np.float32]]:
    """A batch whose indices are the rows here, its likely labels, and the probabilities of these."""
    labels = np.argsort(-p_NK, axis=1, kind="stable")[:, :NUM_LABELS]
    probs = np.take_along_axis(p_NK, labels, 1)
    number = np.arange(len(p_NK))
    unknown = np.full(len(p_NK), -1)
    few, nan = slice(NUM_LIKELY), np.full(len(p_NK), np.nan, dtype=np.float32)
    inputs = Inputs(labels[:, few], probs[:, few], unknown, nan, unknown, unknown, number, unknown, number, number)
    return inputs, labels, probs


def filled(p_NK: NDArray[np.float32], size: int = 256, max_bytes: int = PLENTY, *, backwards: bool = False) -> SampledInputs:
    sample, (inputs, labels, probs) = SampledInputs(K, max_bytes), inputs_of(p_NK)
    starts = range(0, len(p_NK), size)
    for start in reversed(starts) if backwards else starts:
        wanted = start + sample.wants(inputs.order[start : start + size])
        tokens = np.repeat(wanted[:, None], NUM_AROUND, axis=1)
        sample.add(inputs.at(wanted), labels[wanted], probs[wanted], tokens, wanted)
    return sample


def searched(p_NK: NDArray[np.float32], pair: tuple[int, int], per_pair: int, among: NDArray[np.int64]) -> list[int]:
    """The inputs with the largest √(p_i p_j), both among the most likely labels that are kept, not both among the eight first."""
    rank_NK = np.argsort(np.argsort(-p_NK, axis=1, kind="stable"), axis=1)
    ranks = rank_NK[:, pair].max(axis=1)
    score = np.sqrt(p_NK[:, pair[0]].astype(np.float64) * p_NK[:, pair[1]])
    found = [row for row in among[np.argsort(-score[among], kind="stable")].tolist() if NUM_LIKELY <= ranks[row] < NUM_LABELS]
    return found[:per_pair]


@pytest.mark.parametrize("size", [1, 256, NUM_INPUTS])
@pytest.mark.parametrize("per_pair", [1, 8])
def test_they_are_the_best_inputs_on_which_the_labels_are_not_both_likely(size: int, per_pair: int) -> None:
    p_NK = probabilities()
    found = filled(p_NK, size).select(PAIRS, ALL, per_pair)
    for place, pair in enumerate(PAIRS):
        kept = found.at(found.pair == place)
        assert kept.index.tolist() == searched(p_NK, pair, per_pair, np.arange(NUM_INPUTS))
        assert kept.number.tolist() == kept.index.tolist()
        np.testing.assert_array_equal(kept.first_prob, p_NK[kept.index, pair[0]])
        np.testing.assert_array_equal(kept.second_prob, p_NK[kept.index, pair[1]])
        np.testing.assert_array_equal(kept.predicted, p_NK[kept.index].argmax(axis=1))


def test_they_come_after_all_inputs_of_the_store() -> None:
    """The store's values are at least 0."""
    found = filled(probabilities()).select(PAIRS, ALL, 8)
    assert (found.which == OVERLAP).all()
    assert (found.value < 0).all()
    assert (found.value >= -AFTER).all()


def test_only_the_pairs_that_lack_inputs_are_searched() -> None:
    sample = filled(probabilities())
    found = sample.select(PAIRS, np.array([False, True, False, True]), 8)
    assert sorted({*found.pair.tolist()}) == [1, 3]
    for nothing in (sample.select([], ALL[:0], 8), sample.select(PAIRS, ~ALL, 8), SampledInputs(K, PLENTY).select(PAIRS, ALL, 8)):
        assert isinstance(nothing, KeptInputs)
        assert not len(nothing.pair)


def test_equal_inputs_stand_in_their_order() -> None:
    p_NK = np.tile(probabilities()[:1], (50, 1))
    labels = np.argsort(-p_NK[0])[[10, 11]].tolist()
    found = filled(p_NK, 7, backwards=True).select([(min(labels), max(labels))], ALL[:1], 8)
    assert found.order.tolist() == [*range(8)]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("size", [1, 97, 1024, NUM_INPUTS])
def test_a_full_sample_stays_even_and_does_not_depend_on_the_batches(size: int, backwards: bool) -> None:
    """There is room for about 700 of 3 000 inputs."""
    p_NK, memory = probabilities(), 800_000
    sample = filled(p_NK, size, memory, backwards=backwards)
    numbers = np.sort(sample.numbers)
    most = NUM_INPUTS / 2
    assert most / 4 < len(numbers) < most
    thirds = np.histogram(numbers, bins=3, range=(0, NUM_INPUTS))[0] / len(numbers)
    assert (np.abs(thirds - 1 / 3) < 0.08).all()
    other = np.sort(filled(p_NK, 64, memory).numbers)
    few, many = sorted((numbers, other), key=len)
    assert np.isin(few, many).all()  # the range of lots may have been halved once more
    found = sample.select(PAIRS, ALL, 8)
    for place, pair in enumerate(PAIRS):
        assert found.index[found.pair == place].tolist() == searched(p_NK, pair, 8, numbers)


def test_memory_is_bounded() -> None:
    sample = SampledInputs(50_257, 1_000_000)
    arrays = [value for value in vars(sample).values() if isinstance(value, np.ndarray)] + [*sample._reference.values()]
    assert sum(array.nbytes for array in arrays) * 3 // 2 <= sample.num_bytes <= 1_000_000
    assert not len(SampledInputs(50_257, 100).wants(np.arange(5)))


def test_tokens_come_along() -> None:
    sample = filled(probabilities())
    found = sample.tokens_of([5, 2_000, 10_000])
    assert found == {number: [number] * NUM_AROUND for number in (5, 2_000)}


def test_inputs_without_tokens_have_none() -> None:
    sample, (inputs, labels, probs) = SampledInputs(K, PLENTY), inputs_of(probabilities()[:4])
    sample.add(inputs, labels, probs, None, np.arange(4))
    assert sample.tokens_of([0, 1, 2, 3]) == {}
