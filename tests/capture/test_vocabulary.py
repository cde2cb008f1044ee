"""Windows over a vocabulary: what the pairs of all labels would give, from less.

Shapes: K labels, D embedding dimensions, N inputs, m labels kept of each, P pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cossim.capture import vocabulary_summary, vocabulary_window
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.functional import label_cosine_similarity
from lightning_cossim.functional.neighbors import Neighbors
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport
from tests.toys import matrices

pytestmark = pytest.mark.usefixtures("rare_labels_count")
MIN_TOTAL = vocabulary_summary.MIN_TOTAL
K, D = 30, 6
MANY = 400
KINDS: list[dict[str, Any]] = [
    {},
    {"kind": "product"},
    {"kind": "coactivation"},
    {"kind": "topk", "k": 3},
    {"link": "sigmoid"},
    {"kind": "topk", "link": "sigmoid"},
]


def head_of(num_labels: int = K, *, bias: bool = True) -> Head:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(D, num_labels, bias=bias)
    layer.weight.data.copy_(torch.randn(num_labels, D, generator=generator) + 0.3)
    if bias:
        layer.bias.data.copy_(torch.randn(num_labels, generator=generator))
    return Head("fc", layer, "its path")


def inputs_of(num_inputs: int = 40, seed: int = 1) -> Tensor:
    return torch.randn(num_inputs, D, generator=torch.Generator().manual_seed(seed)) * torch.linspace(0.5, 1.5, D)


def seen_of(head: Head, embedding: Tensor, groups: Tensor | None = None) -> Observation:
    """What a call of the head shows."""
    return Observation(head.unembedding, head.logits(embedding), embedding, groups=groups, bias=head.bias)


def window_of(head: Head, kind: dict[str, Any] | None = None, **selection: Any) -> VocabularyWindow:
    return VocabularyWindow(head.spec, LabelSelection(**selection), Overlap.of(head.num_labels, **(kind or {})))


def summary_of(
    head: Head, seen: Sequence[Observation], kind: dict[str, Any] | None = None, **selection: Any
) -> VocabularySummary:
    window = window_of(head, kind, **selection)
    for one in seen:
        window.add(one)
    return ended(window, head)


def ended(window: VocabularyWindow, head: Head) -> VocabularySummary:
    """What a window that ends has seen."""
    summary = window.close(ALONE, lambda: head.weights).vocabulary
    assert summary is not None
    return summary


def report_of(summary: VocabularySummary, neighbors: Neighbors | None = None) -> GapReport:
    return GapReport(summary.statistics(neighbors))


def whole_report(head: Head, seen: Sequence[Observation], **settings: Any) -> GapReport:
    """What a metric says that looks at all pairs."""
    renamed = {"kind": "overlap", "threshold": "overlap_threshold", "k": "overlap_k"}
    metric = SimilarityGap(head.num_labels, D, **{renamed.get(name, name): value for name, value in settings.items()})
    for one in seen:
        metric.update(one.unembedding, one.logits, one.embedding, one.groups, one.targets)
    return metric.report()


def assert_same(report: GapReport, whole: GapReport) -> None:
    """They say the same of the labels that count."""
    kept = whole.kept.nonzero().flatten()
    assert report.labels == tuple(kept.tolist())
    assert (report.num_inputs, report.num_live, report.num_pairs) == (whole.num_inputs, whole.num_live, whole.num_pairs)
    assert dict(report.scalars) == pytest.approx(dict(whole.scalars), rel=1e-3, abs=1e-4, nan_ok=True)
    wanted = {rung: matrix[kept][:, kept] for rung, matrix in matrices(whole).items()}
    torch.testing.assert_close(matrices(report), wanted, rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(report.mean_probs, whole.mean_probs[kept], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(report.matrix("mass"), whole.matrix("mass")[kept][:, kept], rtol=1e-4, atol=1e-6, equal_nan=True)


# Of few labels all pairs are looked at


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("settings", [{}, {"ignore": [2, 5]}, {"min_probability": 0.8}], ids=str)
def test_of_few_labels_the_report_is_that_on_all_pairs(kind: dict[str, Any], settings: dict[str, Any]) -> None:
    head = head_of()
    seen = [seen_of(head, inputs_of(40)), seen_of(head, inputs_of(7, seed=2))]
    report = report_of(summary_of(head, seen, kind, labels_per_input=8, **settings))
    assert_same(report, whole_report(head, seen, **kind, **settings))
    assert report.compared.weight is None
    assert report.sampling == ""
    assert report.standard_errors == {}
    assert report.truncation is not None
    assert report.truncation.max() == 0


@pytest.mark.parametrize("labels_per_input", [K, 99])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_overlaps_are_those_of_what_was_seen_also_where_weights_move(kind: dict[str, Any], labels_per_input: int) -> None:
    """In training every batch has weights of its own; the other rungs are of the last ones."""
    head, seen = head_of(), []
    for step in range(4):
        head.module.weight.data.mul_(1.2)
        seen.append(Observation(head.unembedding.clone(), head.logits(inputs_of(20, seed=step)), inputs_of(20, seed=step)))
    report = report_of(summary_of(head, seen, kind, labels_per_input=labels_per_input))
    assert_same(report, whole_report(head, seen, **kind))


@pytest.mark.parametrize("kind", [{}, {"kind": "product"}, {"link": "sigmoid"}], ids=str)
@pytest.mark.parametrize("labels_per_input", [2, 6, 20])
def test_overlaps_of_a_few_labels_an_input_are_too_small_by_no_more_than_is_said(
    kind: dict[str, Any], labels_per_input: int
) -> None:
    """Where weights move, or nothing tells the embeddings."""
    head = head_of()
    seen = [Observation(head.unembedding, head.logits(inputs_of(200))) for _ in range(2)]
    report = report_of(summary_of(head, seen, kind, labels_per_input=labels_per_input))
    whole = whole_report(head, seen, **kind)
    exact = report.compared.values(whole.matrix("overlap")[list(report.labels)][:, list(report.labels)])
    assert report.truncation is not None
    missing = exact - report.rungs["overlap"]
    assert missing.max() > 0.01
    assert missing.min() >= -1e-5
    assert (missing <= report.truncation + 1e-5).all()
    assert report.truncation.max() <= 1
    assert (report.rungs["overlap"] + report.truncation).max() <= 1 + 1e-6
    assert "they may be too small" in str(report)
    assert report.rungs["logit_correlation"].isnan().all()


@pytest.mark.parametrize("kind", [{}, {"kind": "product"}, {"link": "sigmoid"}], ids=str)
def test_labels_that_were_ruled_out_behind_the_head_stay_so(kind: dict[str, Any]) -> None:
    """By logits of minus infinity, which the weights know nothing of."""
    head, embedding = head_of(), inputs_of(200)
    logits = head.logits(embedding)
    logits[:100, : K // 2] = -torch.inf
    logits[100:, K // 2 :] = -torch.inf
    seen = [Observation(head.unembedding, logits, embedding, bias=head.bias)]
    report, whole = report_of(summary_of(head, seen, kind, labels_per_input=K)), whole_report(head, seen, **kind)
    kept = list(report.labels)
    torch.testing.assert_close(
        report.matrix("overlap"), whole.matrix("overlap")[kept][:, kept], rtol=1e-4, atol=1e-5, equal_nan=True
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_overlaps_of_rounded_logits_are_those_of_the_logits(kind: dict[str, Any]) -> None:
    """Within what bfloat16 rounds, and never beyond 1."""
    head = head_of()
    logits = head.logits(inputs_of(500)).bfloat16()
    seen = [Observation(head.unembedding, logits, inputs_of(500), bias=head.bias)]
    report, whole = report_of(summary_of(head, seen, kind, labels_per_input=12)), whole_report(head, seen, **kind)
    kept = list(report.labels)
    wanted = report.compared.values(whole.matrix("overlap")[kept][:, kept])
    torch.testing.assert_close(report.rungs["overlap"], wanted, rtol=0, atol=0.01, equal_nan=True)
    assert report.rungs["overlap"].nan_to_num(0).max() <= 1


@pytest.mark.parametrize("kind", [{"kind": "topk", "k": 3}, {"kind": "coactivation"}], ids=str)
def test_what_only_the_most_likely_labels_count_in_loses_nothing(kind: dict[str, Any]) -> None:
    """Without embeddings too: of an input no more than ten labels can have a tenth, and three are the first three."""
    head = head_of()
    seen = [Observation(head.unembedding, head.logits(inputs_of(200)))]
    report = report_of(summary_of(head, seen, kind, labels_per_input=10))
    assert_same(report, whole_report(head, seen, **kind))
    assert report.truncation is not None
    assert report.truncation.max() == pytest.approx(0, abs=1e-6)


# What is seen


def test_groups_are_not_torn_into_different_blocks() -> None:
    head, groups = head_of(), torch.arange(40) // 5
    seen = [seen_of(head, inputs_of(40), groups), seen_of(head, inputs_of(15, seed=2), groups[:15])]
    report = report_of(summary_of(head, seen))
    wanted = whole_report(head, seen)
    assert report.reliability == pytest.approx(wanted.reliability, abs=1e-4)
    assert wanted.reliability != pytest.approx(
        whole_report(head, [seen_of(head, inputs_of(40), torch.arange(40))]).reliability, abs=1e-3
    )


def test_inputs_that_are_not_finite_do_not_count() -> None:
    head, embedding = head_of(), inputs_of()
    embedding[3] = torch.nan
    logits = head.logits(embedding)
    logits[5, 2] = torch.inf
    seen = [Observation(head.unembedding, logits, embedding, bias=head.bias)]
    report = report_of(summary_of(head, seen))
    assert (report.num_inputs, report.num_skipped) == (38, 2)
    assert_same(report, whole_report(head, seen))
    assert "2 of 40 inputs are left out" in report.remarks["inputs"]


def test_many_logits_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_window, "_NUM_LOGITS", 7 * K)
    head, groups = head_of(), torch.arange(40) // 5
    for some in (None, groups):
        seen = [seen_of(head, inputs_of(), some)]
        assert_same(report_of(summary_of(head, seen)), whole_report(head, seen))


def test_snapshots_are_copies_and_the_last_ones_count() -> None:
    head, embedding = head_of(), inputs_of()
    window = window_of(head, min_probability=0.01)
    window.add(seen_of(head, inputs_of(seed=9)))
    head.module.weight.data.add_(1)
    head.module.bias.data.add_(torch.arange(float(K)) / K)
    window.add(seen_of(head, embedding))
    wanted = whole_report(head, [seen_of(head, embedding)], min_probability=0)
    head.module.weight.data.zero_()
    embedding.zero_()
    report = report_of(ended(window, head))
    kept = list(report.labels)
    torch.testing.assert_close(report.matrix("raw_cosine"), wanted.matrix("raw_cosine")[kept][:, kept])


def test_embeddings_are_copies_too() -> None:
    head, embedding = head_of(), inputs_of()
    seen = seen_of(head, embedding.clone())
    wanted = whole_report(head, [seen])
    window = window_of(head, labels_per_input=4)
    window.add(seen)
    assert seen.embedding is not None
    seen.embedding.zero_()
    assert_same(report_of(ended(window, head)), wanted)


def test_a_window_that_saw_nothing_reports_on_the_weights() -> None:
    head = head_of()
    report = report_of(ended(window_of(head), head))
    assert report.num_inputs == 0
    whole = whole_report(head, [seen_of(head, inputs_of())], min_probability=0)
    torch.testing.assert_close(report.matrix("raw_cosine"), whole.matrix("raw_cosine"))
    assert report.rungs["overlap"].isnan().all()
    assert report.undefined["gap_behavior"] == "no inputs"


def test_an_observation_without_logits_adds_nothing_but_the_weights() -> None:
    head = head_of()
    seen = seen_of(head, inputs_of())
    window = window_of(head)
    window.add(Observation(head.unembedding, problem="cannot be read"))
    window.add(seen)
    assert_same(report_of(ended(window, head)), whole_report(head, [seen]))


def test_the_users_random_numbers_stay() -> None:
    head = head_of(MANY)
    state = torch.get_rng_state()
    report_of(summary_of(head, [seen_of(head, inputs_of())]))
    assert torch.equal(torch.get_rng_state(), state)


# Targets


def with_targets(head: Head, embedding: Tensor, seed: int = 5, **changes: Any) -> Observation:
    """What a call shows: one in two targets is the second most likely label, and some are none."""
    logits = head.logits(embedding)
    target = logits.topk(2, dim=1).indices[torch.arange(len(embedding)), torch.arange(len(embedding)) % 2]
    none = torch.rand(len(embedding), generator=torch.Generator().manual_seed(seed)) < 0.2
    return replace(seen_of(head, embedding), targets=target.masked_fill(none, -100), **changes)


def assert_same_errors(report: GapReport, whole: GapReport, *, within: float = 1e-5) -> None:
    """What targets tell of the pairs of a report is what they tell of all pairs; shares on average within so much."""
    assert report.errors is not None
    assert report.joint_shares is not None
    assert whole.errors is not None
    assert whole.joint_shares is not None
    index = torch.tensor(report.labels)
    low, high = index[report.compared.row], index[report.compared.column]
    place = whole.compared.matrix(torch.arange(len(whole.compared)).double(), len(whole.labels))[low, high].long()
    assert (low < high).all()
    assert torch.equal(report.errors, whole.errors[:, place])
    of_all = whole.joint_shares[:, place]
    assert torch.equal(report.joint_shares.isnan(), of_all.isnan())
    assert (report.joint_shares - of_all).abs().nanmean() < within
    assert report.errors.sum() > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "link" not in kind], ids=str)
@pytest.mark.parametrize("with_embeddings", [True, False])
def test_errors_and_shares_are_those_of_all_pairs(kind: dict[str, Any], *, with_embeddings: bool) -> None:
    head = head_of()
    seen = [with_targets(head, inputs_of(100, seed=seed)) for seed in (1, 2)]
    seen = seen if with_embeddings else [replace(one, embedding=None) for one in seen]
    report, whole = report_of(summary_of(head, seen, kind, labels_per_input=K)), whole_report(head, seen, **kind)
    assert_same_errors(report, whole)
    assert report.remarks["targets"] == whole.remarks["targets"]


def test_of_a_few_labels_an_input_errors_are_exact_and_shares_near() -> None:
    head = head_of()
    seen = [with_targets(head, 2 * inputs_of(400))]
    report, whole = report_of(summary_of(head, seen, labels_per_input=12)), whole_report(head, seen)
    assert_same_errors(report, whole, within=0.05)
    with pytest.raises(AssertionError):
        assert_same_errors(report, whole)


@pytest.mark.usefixtures("small_strata")
def test_pairs_of_a_sample_have_their_errors() -> None:
    head = head_of(MANY)
    seen = [with_targets(head, inputs_of(500))]
    report = report_of(summary_of(head, seen, labels_per_input=MANY))
    assert report.sampling
    assert_same_errors(report, whole_report(head, seen))


def test_inputs_that_do_not_count_are_no_errors() -> None:
    """Neither those that are not finite nor what was dropped."""
    head, embedding = head_of(), inputs_of()
    whole = with_targets(head, embedding)
    embedding = embedding.clone()
    embedding[::3] = torch.nan
    seen = [replace(whole, embedding=embedding)]
    assert_same_errors(report_of(summary_of(head, seen, labels_per_input=K)), whole_report(head, seen))


def test_targets_stay_with_their_inputs_where_many_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_window, "_MAX_INPUTS", 160)
    head = head_of()
    window, target = window_of(head), torch.arange(7)
    for number in range(60):
        if window.wants_batch():
            rows = torch.full((7, D), float(number)) + target[:, None] / 10
            window.add(replace(seen_of(head, rows), targets=target.where(target != 3, -1)))
    summary = ended(window, head)
    assert summary.embedding is not None
    assert 50 < len(summary.embedding) <= 160
    wanted = (10 * summary.embedding[:, 0]).round().long() % 10
    predicted = head.logits(summary.embedding).argmax(dim=1)
    assert torch.equal(summary.confused[:, 0].long(), wanted.where(wanted != 3, -1))
    assert torch.equal(summary.confused[:, 1].long(), predicted.where(wanted != 3, -1))


@pytest.mark.parametrize("targets", [None, torch.full((40,), -100), torch.full((40,), K)])
def test_where_no_target_is_known_nothing_is_told_of_them(targets: Tensor | None) -> None:
    head = head_of()
    report = report_of(summary_of(head, [replace(seen_of(head, inputs_of()), targets=targets)]))
    assert (report.errors, report.joint_shares) == (None, None)
    assert "targets" not in report.remarks


# How much is kept


def test_of_very_many_inputs_an_even_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 500 batches at most 1 600 inputs, early and late ones alike; batches left out are not asked for."""
    monkeypatch.setattr(vocabulary_window, "_MAX_INPUTS", 1600)
    head = head_of()
    window, asked, most = window_of(head, labels_per_input=4), [], 0
    for number in range(500):
        if window.wants_batch():
            asked.append(number)
            window.add(seen_of(head, torch.full((20, D), float(number))))
        most = max(most, sum(chunk.num_inputs for chunk in window._chunks))
    assert most <= 1600
    assert asked[:80] == list(range(80))
    assert len(asked) < 300
    assert {later - earlier for earlier, later in zip(asked[-20:], asked[-19:], strict=False)} == {window._stride} == {8}
    summary = ended(window, head)
    assert summary.embedding is not None
    kept = summary.embedding[:, 0]
    assert 800 <= len(kept) <= 1600
    assert kept.mean().item() == pytest.approx(250, abs=40)
    for low in range(0, 500, 100):
        assert ((kept >= low) & (kept < low + 100)).float().mean().item() == pytest.approx(0.2, abs=0.06)
    report = report_of(summary)
    assert report.num_inputs == len(kept)
    wanted = whole_report(head, [seen_of(head, summary.embedding)])
    kept_labels = list(report.labels)
    torch.testing.assert_close(
        report.matrix("overlap"), wanted.matrix("overlap")[kept_labels][:, kept_labels], rtol=1e-4, atol=1e-4, equal_nan=True
    )


@pytest.mark.parametrize("num_batches", [17, 18, 20, 33, 34, 50, 100, 129])
def test_sequences_that_fill_a_chunk_each_stay_in_all_blocks(num_batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so many batches of one long sequence, whichever of them are dropped."""
    monkeypatch.setattr(vocabulary_window, "_MAX_INPUTS", 160)
    head = head_of()
    window, groups = window_of(head), torch.zeros(10, dtype=torch.int64)
    for number in range(num_batches):
        if window.wants_batch():
            window.add(seen_of(head, inputs_of(10, seed=number), groups))
    counts = ended(window, head).block.long().bincount(minlength=8)
    assert counts.sum() >= 80
    assert counts.min() >= counts.sum() / 16


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_no_more_inputs_are_kept_than_there_is_room_for(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large batches are; and of those dropped nothing is counted, skipped ones neither."""
    monkeypatch.setattr(vocabulary_window, "_MAX_INPUTS", 160)
    head = head_of()
    window, embedding = window_of(head), inputs_of(size)
    embedding[::2] = torch.nan
    for _ in range(max(3, 400 // size)):
        if window.wants_batch():
            window.add(seen_of(head, embedding))
        assert sum(chunk.num_inputs for chunk in window._chunks) <= 160
        assert all(chunk.num_inputs <= 10 for chunk in window._chunks)
    report = report_of(ended(window, head))
    assert report.num_inputs + report.num_skipped <= 160
    if size > 1:
        assert report.num_skipped == pytest.approx(report.num_inputs, rel=0.35)


def test_of_wide_embeddings_fewer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_window, "_MAX_NUMBERS", 160 * D)
    window = window_of(head_of())
    for _ in range(40):
        window.add(seen_of(head_of(), inputs_of(10)))
    assert sum(chunk.num_inputs for chunk in window._chunks) <= 160


# Of many labels a sample of the pairs is looked at


@pytest.fixture
def small_strata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_summary, "_NUM_PAIRS", 300)
    monkeypatch.setattr(vocabulary_summary, "_NUM_COMMON", 20)
    monkeypatch.setattr(vocabulary_summary, "_NUM_EVEN", 300)
    for name in ("_BY_OVERLAP", "_BY_COSINE", "_BY_ANOTHER"):
        monkeypatch.setattr(vocabulary_summary, name, 20)


@pytest.mark.usefixtures("small_strata")
def test_a_sample_stands_for_all_pairs() -> None:
    """Scalars are those of all pairs, within three standard errors; the sample is named."""
    head = head_of(MANY)
    seen = [seen_of(head, inputs_of(3000))]
    report, whole = report_of(summary_of(head, seen, labels_per_input=16)), whole_report(head, seen)
    assert report.num_pairs == whole.num_pairs > 30_000
    assert report.compared.weight is not None
    num_certain, num_drawn = int((report.compared.weight == 1).sum()), int((report.compared.weight > 1).sum())
    assert 300 <= num_certain <= 300 + 190 + 30  # some of the likeliest are certain, too
    assert 300 < num_drawn < 300 + 5 * 20 * math.log(report.num_pairs)
    assert report.compared.weight.sum().item() == pytest.approx(report.num_pairs, rel=0.2)
    of_all = {**whole.scalars, **{f"rank_agreement_{rung}": value for rung, value in whole.rank_agreement.items()}}
    of_sample = {**report.scalars, **{f"rank_agreement_{rung}": value for rung, value in report.rank_agreement.items()}}
    assert set(report.standard_errors) == {
        *(f"{measure}_{rung}" for measure in ("explained", "rank_agreement") for rung in report.ladder.similarities),
        *("gap_translation", "gap_geometry", "gap_behavior", "reliability", "overlap_mean", "residual_scale"),
    }
    for name, error in report.standard_errors.items():
        assert error > 0
        assert abs(of_sample[name] - of_all[name]) < 3 * error, name
    for rung, values in report.rungs.items():
        index = torch.tensor(report.labels)
        row, column = index[report.compared.row], index[report.compared.column]
        torch.testing.assert_close(values, whole.matrix(rung)[row, column], rtol=1e-3, atol=1e-4)
    sampling = (
        "all pairs of the 20 most probable labels, the 300 that overlap most, and others drawn at random, which represent the "
        "rest; a pair with more overlap or a higher similarity is drawn more often, and weights correct all numbers for this"
    )
    assert report.sampling == sampling
    assert f"Compared {len(report.compared)} of the pairs: {sampling}." in str(report)
    assert report.to_dict()["sampling"] == sampling


@pytest.mark.usefixtures("small_strata")
def test_shares_of_a_sample_are_those_of_all_pairs_and_have_errors() -> None:
    head = head_of(MANY)
    seen = [seen_of(head, inputs_of(3000))]
    thresholds = Thresholds(stranger=0.05, lookalike=0.05, outlier=0)
    report, whole = report_of(summary_of(head, seen, labels_per_input=16)).judged(thresholds), whole_report(head, seen)
    whole = whole.judged(thresholds)
    for name in ("share_strangers", "share_lookalikes"):
        assert name not in whole.standard_errors
        error = report.standard_errors[name]
        assert 0 < error < 0.05
        assert abs(report.scalars[name] - whole.scalars[name]) < 3 * error
        assert whole.scalars[name] > 0


@pytest.mark.usefixtures("small_strata")
def test_the_pairs_most_alike_by_every_similarity_have_a_good_chance() -> None:
    """Of the hundred most alike by each, far more are in the sample than of a hundred others, whatever they overlap."""
    head = head_of(MANY)
    seen = [seen_of(head, inputs_of(3000))]
    report, whole = report_of(summary_of(head, seen, labels_per_input=16)), whole_report(head, seen)
    index = torch.tensor(report.labels)
    compared = torch.zeros(MANY, MANY, dtype=torch.bool)
    compared[index[report.compared.row], index[report.compared.column]] = True
    evenly = (
        report.compared.weight[report.compared.weight > 1].numel() / report.num_pairs if report.compared.weight is not None else 1
    )
    for rung in report.ladder.similarities:
        matrix = whole.matrix(rung).triu(diagonal=1)
        sign = -1 if rung == "log_odds_variance" else 1
        alike = (sign * matrix).masked_fill(torch.ones_like(matrix).tril().bool(), -torch.inf).nan_to_num(-torch.inf)
        assert compared.flatten()[alike.flatten().topk(100).indices].float().mean() > max(0.3, 5 * evenly), rung


def test_labels_whose_probabilities_sum_to_less_than_five_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large their mean probability is beside 1/K."""
    monkeypatch.setattr(vocabulary_summary, "MIN_TOTAL", MIN_TOTAL)
    head, embedding = head_of(), inputs_of(150)
    total = head.logits(embedding).double().softmax(dim=1).sum(dim=0)
    report = report_of(summary_of(head, [seen_of(head, embedding)]))
    assert report.labels == tuple((total >= 5).nonzero().flatten().tolist())
    assert 3 < len(report.labels) < K - 3
    assert ((total < 5) & (total / 150 >= 0.1 / K)).any()


@pytest.mark.usefixtures("small_strata")
def test_the_pairs_that_overlap_most_are_in_the_sample() -> None:
    head = head_of(MANY)
    seen = [seen_of(head, inputs_of(500))]
    report, whole = report_of(summary_of(head, seen, labels_per_input=MANY)), whole_report(head, seen)
    overlap = whole.matrix("overlap").triu(diagonal=1).nan_to_num(0)
    most = {divmod(index, MANY) for index in overlap.flatten().topk(250).indices.tolist()}
    labels = report.labels
    pairs = zip(report.compared.row.tolist(), report.compared.column.tolist(), strict=True)
    assert most <= {(labels[i], labels[j]) for i, j in pairs}


@pytest.mark.usefixtures("small_strata")
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_with_neighbors_the_pairs_whose_rows_are_most_alike_are_in_the_sample(link: str) -> None:
    head = head_of(MANY)
    summary = summary_of(head, [seen_of(head, inputs_of(500))], {"link": link}, ignore=[7], min_probability=0.01)
    shares: list[float] = []
    report = report_of(summary, summary.nearest(progress=shares.append))
    assert shares[-1] == 1
    live = torch.arange(MANY) != 7
    cosine = label_cosine_similarity(head.unembedding, centered=link == "softmax", live=live).triu(diagonal=1).nan_to_num(-2)
    kept = torch.zeros(MANY, dtype=torch.bool)
    kept[list(report.labels)] = True
    most = {divmod(index, MANY) for index in cosine.flatten().topk(100).indices.tolist()}
    pairs = {
        (report.labels[i], report.labels[j])
        for i, j in zip(report.compared.row.tolist(), report.compared.column.tolist(), strict=True)
    }
    assert most <= pairs
    assert "the 300 whose rows are most alike" in report.sampling


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    """So that all processes, and a run that goes on, look at the same pairs."""
    head = head_of(MANY)
    one, other = (report_of(summary_of(head, [seen_of(head, inputs_of(100))])) for _ in range(2))
    assert one.labels == other.labels
    assert torch.equal(one.compared.row, other.compared.row)


def test_a_look_alike_is_one_only_if_it_is_in_any_case() -> None:
    """An overlap of which much may have been left out is no sign that there is little."""
    head = head_of()
    seen = [Observation(head.unembedding, head.logits(3 * inputs_of(4000)))]
    report = report_of(summary_of(head, seen, labels_per_input=2))
    thresholds = Thresholds(stranger=0.02, lookalike=0.02, min_reliability=0)
    flags = report.judged(thresholds).flags
    assert report.truncation is not None
    certain = report.gap + report.truncation < -0.02
    below = report.gap < -0.02
    assert int(certain.sum()) < int(below.sum())
    assert not (flags["lookalikes"] & ~certain).any()
    assert flags["strangers"].any()


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_smallest_vocabularies_have_reports(num_labels: int) -> None:
    head = head_of(num_labels)
    report = report_of(summary_of(head, [seen_of(head, inputs_of())]))
    assert report.num_pairs == math.comb(num_labels, 2)
    assert str(report)


def test_a_vocabulary_of_which_one_label_is_probable_has_no_pairs() -> None:
    head = head_of()
    head.module.bias.data[4] = 60
    report = report_of(summary_of(head, [seen_of(head, inputs_of())]))
    assert report.num_pairs == 0
    assert report.pairs() == []
    assert str(report)
