"""What SimilarityGap alone does: blocks of inputs, sequences, sigmoid heads, and remarks on head and inputs."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report.remarks import remarks
from tests import reference
from tests.strategies import Array
from tests.toys import alone, in_first_half, matrices

K, D = 7, 4
CENTERED = {"rank_agreement_centered_cosine", "explained_centered_cosine", "gap_translation", "common_mode_ratio"}
KINDS: list[OverlapKind] = ["bhattacharyya", "product", "coactivation", "topk"]


def head(num_labels: int = K, seed: int = 0) -> Tensor:
    return torch.randn(num_labels, D, generator=torch.Generator().manual_seed(seed)) + 0.7


def embeddings(num_inputs: int = 90, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_inputs, D, generator=generator) * torch.tensor([1.5, 0.4, 0.8, 1.0])


def overlap_of(kind: str, probs: Array) -> Array:
    """The overlap by its formula, with the settings that seven labels get."""
    if kind == "coactivation":
        return reference.coactivation(probs, 0.1)
    if kind == "topk":
        return reference.top_k(probs, 2)
    return reference.product(probs) if kind == "product" else reference.bhattacharyya(probs)


def sigmoid(z: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-z.astype(np.float64)))
    return result


# Blocks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_reliability_is_that_of_the_first_four_blocks_and_the_last(kind: OverlapKind, link: Any) -> None:
    """However inputs are batched; those that are not finite are in none."""
    W, f = head(), embeddings()
    z = f @ W.T
    z[11, 2] = torch.nan
    batches = torch.split(torch.arange(90), [17, 1, 40, 32])
    first = np.delete(in_first_half(alone(len(rows)) for rows in batches), 11)
    good = np.delete(z.double().numpy(), 11, axis=0)
    probs = reference.softmax(good) if link == "softmax" else sigmoid(good)
    wanted = reference.reliability(overlap_of(kind, probs[first]), overlap_of(kind, probs[~first]))
    metric = SimilarityGap(K, D, overlap=kind, link=link, min_probability=0)
    for rows in batches:
        metric.update(W, z[rows], f[rows], alone(len(rows)))
    report = metric.report()
    assert report.reliability == pytest.approx(wanted, abs=1e-5)
    assert report.scalars["reliability"] == report.reliability
    assert 0 < wanted < 1
    assert (report.num_inputs, report.num_skipped) == (89, 1)


def test_sequences_are_not_torn() -> None:
    """Their positions resemble one another: torn into both halves they would make the overlaps look more reliable."""
    generator = torch.Generator().manual_seed(0)
    W = head()
    f = torch.randn(30, 1, D, generator=generator) + 0.05 * torch.randn(30, 20, D, generator=generator)
    batches = torch.split(f, [5, 10, 15])
    first = torch.from_numpy(in_first_half(alone(len(some)) for some in batches))
    logits = [(half.flatten(0, 1) @ W.T).double().numpy() for half in (f[first], f[~first])]
    halves = [reference.bhattacharyya(reference.softmax(z)) for z in logits]
    metric, torn = SimilarityGap(K, D), SimilarityGap(K, D)
    for some in batches:
        rows = some.flatten(0, 1)
        metric.update(W, rows @ W.T, rows, torch.arange(len(some)).repeat_interleave(20))
        torn.update(W, rows @ W.T, rows, alone(len(rows)))
    assert metric.report().reliability == pytest.approx(reference.reliability(*halves), abs=1e-5)
    assert torn.report().reliability > metric.report().reliability + 0.005
    assert torn.report().overlap_error.mean() < metric.report().overlap_error.mean() / 2
    for rung, similarity in matrices(torn.report()).items():
        torch.testing.assert_close(metric.report().matrix(rung), similarity)


def test_only_pairs_that_count_make_the_reliability() -> None:
    """A label that is hardly ever probable is out of the pairs, and its noise out of the reliability."""
    W, f = head(), embeddings()
    z = f @ W.T - 30 * (torch.arange(K) == 3)
    probs = reference.softmax(z.double().numpy())
    first = in_first_half([alone(len(f))])
    halves = [reference.bhattacharyya(np.delete(half, 3, axis=1)) for half in (probs[first], probs[~first])]
    metric = SimilarityGap(K, D, min_probability=0.01)
    metric.update(W, z, f, alone(len(f)))
    assert metric.report().reliability == pytest.approx(reference.reliability(*halves), abs=1e-5)


# Sigmoid heads


def sigmoid_report(W: Tensor, f: Tensor, **settings: Any) -> Any:
    metric = SimilarityGap(len(W), D, link="sigmoid", **settings)
    metric.update(W, f @ W.T, f)
    return metric.report()


@given(seed=st.integers(0, 1000))
def test_nothing_is_centered_under_a_sigmoid(seed: int) -> None:
    """THEORY §3: raw cosine, correlation of the logits as they are, and gaps that refer to the raw cosine."""
    W, f = head(seed=seed), embeddings(seed=seed + 1)
    report = sigmoid_report(W, f, min_probability=0)
    rows, inputs = W.double().numpy(), f.double().numpy()
    z = inputs @ rows.T
    raw, correlation, overlap = reference.cosine(rows, centered=False), np.corrcoef(z.T), reference.bhattacharyya(sigmoid(z))
    assert set(report.rungs) == {"raw_cosine", "logit_correlation", "log_odds_variance", "overlap"}
    np.testing.assert_allclose(report.matrix("raw_cosine"), raw, atol=1e-6)
    np.testing.assert_allclose(report.matrix("logit_correlation"), correlation, atol=1e-5)
    np.testing.assert_allclose(report.matrix("overlap"), overlap, atol=1e-5)
    pair = np.triu_indices(K, 1)
    agreement, explained = reference.rank_agreement(raw, overlap), reference.explained_overlap(raw, overlap)
    assert report.scalars["rank_agreement_raw_cosine"] == pytest.approx(agreement, abs=1e-3)
    assert report.scalars["explained_raw_cosine"] == pytest.approx(explained, abs=1e-3)
    assert report.scalars["gap_geometry"] == pytest.approx(np.abs(raw - correlation)[pair].mean(), abs=1e-5)
    assert report.scalars["gap_behavior"] == pytest.approx(1 - max(0, agreement), abs=1e-3)
    np.testing.assert_allclose(report.matrix("expected_overlap"), reference.expected_overlap(raw, overlap), atol=1e-4)
    assert not set(report.scalars) & CENTERED


def test_what_centering_would_tell_is_absent_from_all_that_is_written() -> None:
    report = sigmoid_report(head(), embeddings())
    written = report.to_dict()
    assert written["link"] == "sigmoid"
    assert not set(written["scalars"]) & CENTERED
    assert all("centered_cosine" not in pair for pair in written["pairs"])
    assert "centered_cosine" not in report.to_pandas().columns
    assert "raw_cosine" in report.to_pandas().columns
    reason = "a sigmoid uses each logit alone, so adding one vector to all rows changes probabilities"
    assert f"Label-centered cosine, translation gap and common mode ratio are not computed: {reason}.\n" in str(report)
    assert str(report).count("centered") == 1
    assert written["absent"] == dict.fromkeys([*sorted(CENTERED), "centered_cosine"], reason) == report.why_absent
    assert "centered" not in report.to_markdown()
    assert all("centered_cosine" not in pair.similarities for pair in report.pairs())
    assert not any("centered" in name for name in report.undefined)


def test_a_sigmoid_sees_a_translation_and_so_do_its_rungs() -> None:
    """What is arbitrary under a softmax is not here; invertible linear maps are, for the logits and all that is made of them."""
    W, f = head(), embeddings()
    A = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(5))).Q * torch.tensor([0.5, 1, 2, 3.0])
    before, moved = sigmoid_report(W, f), sigmoid_report(W + 1, f)
    mapped = sigmoid_report(W @ A, f @ torch.linalg.inv(A).T)
    for rung in ("logit_correlation", "overlap"):
        torch.testing.assert_close(mapped.matrix(rung), before.matrix(rung), atol=1e-4, rtol=0)
        assert (moved.matrix(rung) - before.matrix(rung)).abs().max() > 0.05
    assert (mapped.matrix("raw_cosine") - before.matrix("raw_cosine")).abs().max() > 0.1


def test_one_logit_is_a_sigmoid_head_without_pairs() -> None:
    report = sigmoid_report(head(1), embeddings())
    assert report.num_pairs == 0
    assert report.pairs() == []
    assert set(report.undefined) >= set(report.scalars)
    assert report.undefined["explained_raw_cosine"] == "0 pairs of labels, at least 10 are needed"


# Agreement beside the scalars


def test_agreements_of_many_labels_are_those_of_the_formulas() -> None:
    """Retrieval of the twentieth of the pairs that overlap most, and of five neighbors, with what chance would give."""
    W, f = head(30), embeddings(400)
    metric = SimilarityGap(30, D, min_probability=0)
    metric.update(W, f @ W.T, f)
    report = metric.report()
    rungs = {rung: similarity.double().numpy() for rung, similarity in matrices(report).items()}
    for rung in report.ladder.similarities:
        towards = -rungs[rung] if rung == "log_odds_variance" else rungs[rung]
        for statistic, setting in (("top_pair_auroc", 0.05), ("neighbor_jaccard", 5)):
            wanted = getattr(reference, statistic)(towards, rungs["overlap"], setting)
            assert getattr(report, statistic)[rung] == pytest.approx(wanted, abs=1e-6), (statistic, rung)
    assert report.neighbor_jaccard_chance == pytest.approx((25 / 29) / (10 - 25 / 29))
    assert report.to_dict()["neighbor_jaccard"]["chance"] == report.neighbor_jaccard_chance


def test_agreements_that_few_labels_do_not_allow_have_their_own_reason() -> None:
    metric = SimilarityGap(K, D)
    metric.update(head(), embeddings() @ head().T, embeddings())
    report = metric.report()
    assert report.undefined["top_pair_auroc_raw_cosine"] == "0.05 of 21 pairs are 2, at least 20 are needed"
    assert report.undefined["neighbor_jaccard_raw_cosine"] == "7 labels, at least 21 are needed for 5 neighbors"
    assert math.isnan(report.neighbor_jaccard_chance)
    assert report.to_dict()["neighbor_jaccard"]["chance"] is None


def test_overlaps_that_are_equal_tie_whatever_rounding_makes_of_them() -> None:
    """One label answers to the inputs, the other six have their biases: their overlaps are 1, and those with the first equal.

    Sums in float32 tell them apart in the seventh digit. Nothing may be made of that: every statistic is that of exact overlaps.
    """
    W, f = head(), embeddings(200)
    working = torch.where(torch.arange(K)[:, None] == 0, W, 0)
    z = f @ working.T + torch.linspace(-1, 1, K)
    metric = SimilarityGap(K, D)
    metric.update(W, z, f, alone(len(f)))
    report = metric.report()
    probs, first = reference.softmax(z.double().numpy()), in_first_half([alone(len(f))])
    exact, *halves = (reference.bhattacharyya(rows).round(9) for rows in (probs, probs[first], probs[~first]))
    assert len(np.unique(exact[np.triu_indices(K, 1)])) == 2
    assert report.matrix("overlap").unique().numel() > 3  # type: ignore[no-untyped-call]
    raw = reference.cosine(W.double().numpy(), centered=False)
    assert report.reliability == pytest.approx(reference.reliability(*halves), abs=1e-6)
    assert report.rank_agreement["raw_cosine"] == pytest.approx(reference.rank_agreement(raw, exact), abs=1e-6)
    assert report.scalars["explained_raw_cosine"] == pytest.approx(reference.explained_overlap(raw, exact), abs=1e-4)


# Remarks


def said_of(W: Tensor, link: Any = "softmax", ignore: tuple[int, ...] = (), num_skipped: int = 0) -> list[str]:
    counted = torch.ones(len(W), dtype=torch.bool)
    counted[list(ignore)] = False
    live = counted & W.isfinite().all(dim=1)
    every = torch.arange(len(W))
    return list(remarks(W, labels=every, counted=counted, live=live, link=link, num_inputs=10, num_skipped=num_skipped).values())


def test_a_head_and_inputs_as_they_should_be_are_not_remarked_upon() -> None:
    assert said_of(head()) == []


def test_rows_and_inputs_that_are_not_finite_are_named() -> None:
    W = head(12)
    W[[1, 4, 5, 6], 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, torch.nan])
    assert said_of(W, num_skipped=3) == [
        "3 of 13 inputs are left out: their logits or embeddings are not finite",
        "rows of the head that are not finite are left out: 1, 4 to 6",
    ]
    assert said_of(W, ignore=(1, 4, 5, 6)) == []


def test_a_zero_row_is_named_whatever_it_does() -> None:
    W = torch.cat([head(40) - head(40).mean(dim=0), torch.zeros(1, D)])
    assert said_of(W) == ["rows of the head that are zero: 40; if they are padding, add them to `ignore`"]
    assert said_of(W, link="sigmoid") == said_of(W)
    assert said_of(W, ignore=(40,)) == []


@pytest.mark.parametrize(("value", "what"), [(0.01, "equal to one another"), (0.0, "zero")])
def test_padding_that_moves_the_others_is_named_with_what_it_does(value: float, what: str) -> None:
    """By how far the median cosine of the twenty labels moves, here from the formulas."""
    W = torch.cat([head(20) + 2, torch.full((12, D), value)])
    pair = np.triu_indices(20, 1)
    rows = W.double().numpy()
    padded, alone = (np.sort(reference.cosine(some, centered=True)[:20, :20][pair])[94] for some in (rows, rows[:20]))
    moves = f"without them the median centered cosine moves by {abs(alone - padded):.2f}"
    assert said_of(W) == [f"rows of the head that are {what}: 20 to 31; {moves}; if they are padding, add them to `ignore`"]
    assert said_of(W, ignore=tuple(range(20, 32))) == []


def test_equal_rows_that_move_nothing_are_two_labels_of_one_meaning() -> None:
    W = head(60)
    W[7] = W[31]
    assert said_of(W) == []
    assert said_of(torch.cat([head(20), torch.full((12, D), 0.01)]), link="sigmoid") == []


def test_many_rows_are_not_all_listed() -> None:
    W = head(60)
    W[torch.arange(0, 60, 3)] = torch.nan
    (text,) = said_of(W)
    assert text == "rows of the head that are not finite are left out: 0, 3, 6, 9, 12, 15, 18, 21 and 12 more"


# What a model has learned


def test_known_co_occurrence_is_found_by_the_ladder() -> None:
    """Twelve tags of four topics; tags of a topic are put on the same inputs. A sigmoid model learns it, and every rung tells.

    The pairs that occur together are known: all of them, and no others, come out on top of the overlap, of the raw cosine and
    of the correlation of logits.
    """
    generator = torch.Generator().manual_seed(0)
    num_inputs, topic_of = 600, torch.arange(12) // 3
    topics = (torch.rand(num_inputs, 4, generator=generator) < 0.3).float()
    tags = (torch.rand(num_inputs, 12, generator=generator) < 0.9 * topics[:, topic_of]).float()
    features = topics @ torch.randn(4, D, generator=generator) + 0.1 * torch.randn(num_inputs, D, generator=generator)
    model = torch.nn.Linear(D, 12)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(features), tags).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    metric = SimilarityGap(12, D, link="sigmoid")
    metric.update(model.weight, model(features), features)
    report = metric.report()
    together = {pair for pair in combinations(range(12), 2) if topic_of[pair[0]] == topic_of[pair[1]]}
    for rung in ("overlap", "raw_cosine", "logit_correlation"):
        ranked = sorted(combinations(range(12), 2), key=lambda pair: -report.matrix(rung)[pair].item())
        assert set(ranked[: len(together)]) == together, rung
    assert min(report.matrix("overlap")[pair].item() for pair in together) > 0.9
    assert report.scalars["explained_raw_cosine"] > 0.9
    assert report.scalars["explained_logit_correlation"] > 0.9
    assert report.reliability > 0.9
