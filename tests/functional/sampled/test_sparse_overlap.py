"""Overlaps from the most likely labels of each input: exact where all are kept, else too small by no more than is said."""

import math
from collections import Counter
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_cossim.functional.overlap import Overlap, OverlapKind
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.sampled.sparse_overlap import SparseOverlap, SparseProfiles, sparse_profiles
from tests import strategies

KINDS: list[OverlapKind] = ["bhattacharyya", "product", "coactivation", "topk"]


def profiles_of(overlap: Overlap, logits: Tensor) -> Tensor:
    return overlap.profiles(overlap.log_probabilities(logits)).values


def sparse(overlap: Overlap, profiles: Tensor, num_kept: int) -> SparseOverlap:
    return SparseOverlap(overlap, sparse_profiles(profiles, num_kept=num_kept), profiles.double().square().sum(dim=0))


def dense(overlap: Overlap, profiles: Tensor) -> Tensor:
    """In float64, by the whole product."""
    joint = profiles.double().T @ profiles.double()
    return overlap.overlap_of(joint, joint.diagonal()[:, None], joint.diagonal())


def generic(num_inputs: int = 300, num_labels: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(num_inputs, 8, generator=generator) @ torch.randn(8, num_labels, generator=generator)


def test_the_largest_values_of_each_input_are_kept_the_largest_first() -> None:
    found = sparse_profiles(torch.tensor([[0.1, 0.9, 0.0, 0.3], [0.4, 0.2, 0.5, 0.1]], dtype=torch.float64), num_kept=2)
    assert found.labels.tolist() == [[1, 3], [2, 0]]
    assert found.values.tolist() == [pytest.approx([0.9, 0.3]), pytest.approx([0.5, 0.4])]
    assert (found.labels.dtype, found.values.dtype) == (torch.int32, torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_labels_kept_it_is_the_dense_one(kind: OverlapKind) -> None:
    overlap = Overlap.of(60, kind=kind)
    h, pairs = profiles_of(overlap, generic()), Pairs.of_all(60)
    found, error = sparse(overlap, h, 60).overlaps(pairs)
    torch.testing.assert_close(found, pairs.values(dense(overlap, h)), rtol=0, atol=1e-6, equal_nan=True)
    assert error.nan_to_num(0).max() < 1e-3  # what rounding to float32 may have left out


@given(head=strategies.heads(scale=2), kind=st.sampled_from(KINDS), num_kept=st.integers(1, 6))
def test_of_any_head_the_overlap_lies_between_what_was_seen_and_its_bound(
    head: strategies.Head, kind: OverlapKind, num_kept: int
) -> None:
    overlap = Overlap.of(len(head.W), kind=kind)
    h = profiles_of(overlap, torch.from_numpy(head.f @ head.W.T + head.b))
    pairs = Pairs.of_all(len(head.W))
    found, error = sparse(overlap, h, num_kept).overlaps(pairs)
    missing = pairs.values(dense(overlap, h)) - found
    known = missing.isfinite()
    assert (missing[known] >= -1e-6).all()
    assert (missing[known] <= error[known] + 1e-6).all()
    assert (error[known] <= 1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 7, 2048])
def test_the_pairs_that_overlap_most_come_first(kind: OverlapKind, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_cossim.functional.sampled.sparse_overlap._CHUNK", chunk)
    overlap = Overlap.of(60, kind=kind)
    found = sparse(overlap, profiles_of(overlap, generic()), 20)
    labels = torch.arange(0, 60, 2)
    most = found.most_overlapping(labels, 25)
    all_pairs = Pairs.of_all(30)
    values = found.overlaps(Pairs(labels[all_pairs.row], labels[all_pairs.column]))[0].nan_to_num(0)
    torch.testing.assert_close(found.overlaps(most)[0], values.topk(25).values, rtol=0, atol=1e-12)
    assert (most.row < most.column).all()
    assert {*most.row.tolist(), *most.column.tolist()} <= {*labels.tolist()}


def test_of_equal_overlaps_the_first_labels_come_first() -> None:
    """So that all processes choose the same pairs."""
    overlap = Overlap.of(5, kind="coactivation")
    h = torch.ones(4, 5)
    most = sparse(overlap, h, 5).most_overlapping(torch.arange(5), 3)
    assert list(zip(most.row.tolist(), most.column.tolist(), strict=True)) == [(0, 1), (0, 2), (0, 3)]


def test_without_inputs_nothing_is_known() -> None:
    nothing = SparseProfiles(torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 3))
    empty = SparseOverlap(Overlap.of(5), nothing, torch.zeros(5))
    assert empty.overlaps(Pairs.of_all(5))[0].isnan().all()
    assert len(empty.most_overlapping(torch.arange(5), 3)) <= 3


# Real models


def trained(inputs: Tensor, targets: Tensor, num_labels: int, epochs: int) -> Tensor:
    """The logits of a linear model on bags of words, after a training."""
    torch.manual_seed(0)
    model = nn.EmbeddingBag(int(inputs.max()) + 1, 48, mode="mean", padding_idx=0)
    head = nn.Linear(48, num_labels)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.01)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(inputs)), 256):
            optimizer.zero_grad()
            loss: Any = nn.functional.cross_entropy(head(model(inputs[rows])), targets[rows])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        logits: Tensor = head(model(inputs[:4000]))
    return logits


def words_of_documentation(num_words: int) -> tuple[list[list[int]], list[int]]:
    """Lines of Python's documentation as numbers of words, 0 for rare ones, and the topic of each line."""
    lines = [(line.lower().split(), topic) for topic, text in enumerate(topics.values()) for line in text.splitlines()]
    counts = Counter(word for line, _ in lines for word in line)
    numbers = {word: number for number, (word, _) in enumerate(counts.most_common(num_words - 1), 1)}
    return [[numbers.get(word, 0) for word in line] for line, _ in lines], [topic for _, topic in lines]


@pytest.mark.full
@pytest.mark.parametrize("model", ["the next of 2 000 words", "the topic of a line", "the first word of a line"])
def test_on_real_models_it_is_the_dense_one_or_stays_within_its_bound(model: str) -> None:
    """With all labels kept to 1e-6, with 32 within what is said."""
    lines, of_topic = words_of_documentation(2000)
    if model == "the topic of a line":
        some = [(line[:12], topic) for line, topic in zip(lines, of_topic, strict=True) if len(line) >= 4]
        num_labels = len(topics)
    elif model == "the first word of a line":
        some = [(line[1:9], line[0]) for line in lines if len(line) >= 4 and 0 < line[0] < 300]
        num_labels = 300
    else:
        some = [(line[i - 3 : i], line[i]) for line in lines for i in range(3, len(line)) if line[i]]
        num_labels = 2000
    inputs = torch.tensor([words + [0] * (12 - len(words)) for words, _ in some])
    logits = trained(inputs, torch.tensor([target for _, target in some]), num_labels, epochs=3)
    assert math.log(num_labels) > nn.functional.cross_entropy(logits, torch.tensor([target for _, target in some[:4000]]))
    overlap = Overlap.of(num_labels)
    h, pairs = profiles_of(overlap, logits), Pairs.of_all(num_labels)
    exact = pairs.values(dense(overlap, h))
    whole, _ = sparse(overlap, h, num_labels).overlaps(pairs)
    torch.testing.assert_close(whole, exact, rtol=0, atol=1e-6)
    found, error = sparse(overlap, h, 32).overlaps(pairs)
    assert ((exact - found) >= -1e-6).all()
    assert ((exact - found) <= error + 1e-6).all()
    assert (exact - found).max() > 0.01  # something was left out
    assert error.min() < 1
