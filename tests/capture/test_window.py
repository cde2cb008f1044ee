"""A window of observations, and a head watched stage by stage."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cossim.capture.collector import Collector, open_window
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.head import Head, HeadSpec, Observation
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.capture.window import AllPairsWindow
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import ConfigError
from lightning_cossim.functional.ladder import MEASURES
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import Context, GapReport, WindowKey
from tests.toys import matrices

NUM_LABELS, EMBEDDING_DIM = 9, 4
TRAIN, VAL, TEST = map(WindowKey, ("train", "val", "test"))
NOT_CALLED = (
    "watching fc: the head was not called during a whole window, so only its weights are compared. A fused loss or a functional "
    "call (`F.linear(x, head.weight)`) bypasses the head. Pass as `embeddings_from=` the path of the module whose output is the "
    "head's input, or call the head itself."
)


def head_with(bias: Sequence[float] | Tensor | None = None) -> Head:
    """A random head; a bias decides which labels are probable."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(EMBEDDING_DIM, NUM_LABELS)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(NUM_LABELS, EMBEDDING_DIM, generator=generator))
        layer.bias.copy_(torch.zeros(NUM_LABELS) if bias is None else torch.as_tensor(bias))
    return Head("fc", layer, "its path")


def inputs_of(num_inputs: int = 20, seed: int = 1) -> Tensor:
    return torch.randn(num_inputs, EMBEDDING_DIM, generator=torch.Generator().manual_seed(seed))


def seen_of(head: Head, embedding: Tensor) -> Observation:
    """What a call of the head shows."""
    return Observation(head.unembedding, head.logits(embedding), embedding, bias=head.bias)


def report_of(head: Head, embeddings: Sequence[Tensor], **settings: Any) -> GapReport:
    """What a metric of its own says about these inputs."""
    metric = SimilarityGap(NUM_LABELS, EMBEDDING_DIM, **settings)
    for embedding in embeddings:
        metric.update(head.unembedding, head.logits(embedding), embedding)
    return metric.report()


def assert_same(report: GapReport, other: GapReport) -> None:
    """Two reports say the same, to float32."""
    assert (report.labels, report.num_inputs, report.num_live) == (other.labels, other.num_inputs, other.num_live)
    assert dict(report.scalars) == pytest.approx(dict(other.scalars), rel=1e-4, abs=1e-6, nan_ok=True)
    torch.testing.assert_close(dict(report.rungs), dict(other.rungs), rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(report.mean_probs, other.mean_probs, rtol=1e-4, atol=1e-6, equal_nan=True)


# A window


def ended(window: AllPairsWindow, head: Head) -> GapReport:
    """The report of a window that ends."""
    collected = window.close(ALONE, lambda: head.weights)
    assert collected.vocabulary is None
    return GapReport(collected.statistics())


@pytest.mark.parametrize("settings", [{}, {"ignore": [2]}, {"min_probability": 1.0}, {"ignore": [0, 3], "min_probability": 0}])
def test_a_window_reports_on_all_that_was_added(settings: dict[str, Any]) -> None:
    """As a metric of the same settings does."""
    head, embeddings = head_with(), [inputs_of(20), inputs_of(7, seed=2)]
    opened = AllPairsWindow(head.spec, LabelSelection(**settings), Overlap.of(head.num_labels))
    for embedding in embeddings:
        opened.add(seen_of(head, embedding))
    assert_same(ended(opened, head), report_of(head, embeddings, **settings))


def test_a_window_that_saw_nothing_reports_on_the_weights() -> None:
    """Those of when it closes."""
    head = head_with()
    opened = AllPairsWindow(head.spec, LabelSelection(), Overlap.of(head.num_labels))
    with torch.no_grad():
        head.module.weight.add_(1)
    report = ended(opened, head)
    assert report.num_inputs == 0
    torch.testing.assert_close(report.matrix("raw_cosine"), report_of(head, [inputs_of()]).matrix("raw_cosine"))


@pytest.mark.parametrize(
    ("max_tracked", "kind"),
    [(3, VocabularyWindow), (NUM_LABELS - 1, VocabularyWindow), (NUM_LABELS, AllPairsWindow), (512, AllPairsWindow)],
)
def test_a_window_is_over_all_pairs_as_long_as_labels_are_few_enough(max_tracked: int, kind: type[Any]) -> None:
    """Sizes alone decide, so that weights from a file get the window that a head gets."""
    head = head_with()
    for spec in (head.spec, head.weights.spec):
        assert spec == HeadSpec(NUM_LABELS, EMBEDDING_DIM, torch.float32, torch.device("cpu"))
        window = open_window(spec, LabelSelection(max_tracked=max_tracked), Overlap.of(NUM_LABELS))
        assert isinstance(window, kind)
        window.add(seen_of(head, inputs_of()))
        statistics = window.close(ALONE, lambda: head.weights).statistics()
        assert statistics.table.num_inputs == 20


# A head watched stage by stage


def collector_of(
    head: Head, *, opened: WindowKey | None = None, max_inputs: int = 1024, summarize: Sequence[str] = (), **selection: Any
) -> tuple[Collector, list[str]]:
    """A collector, with an open window if wanted, and what the user is told."""
    told: list[str] = []
    collector = Collector(
        head,
        labels=LabelSelection(**selection),
        overlap=Overlap.of(head.num_labels),
        max_inputs=max_inputs,
        summarize=summarize,
        warn=told.append,
    )
    if opened is not None:
        collector.open(opened)
    return collector, told


def run(collector: Collector, key: WindowKey, *embeddings: Tensor, forward: Callable[[Tensor], Any] | None = None) -> None:
    """Batches of a stage, each with one forward pass."""
    for embedding in embeddings:
        collector.begin_batch(key)
        (forward or collector.head.module)(embedding)
        collector.end_batch(key)


def closed(collector: Collector, key: WindowKey) -> GapReport:
    """The report of a window that ends."""
    statistics, extras = collector.close(key, ALONE)
    return GapReport(statistics, Context(key, names=collector.names), extras=extras)


@pytest.mark.parametrize("key", [TRAIN, VAL, TEST, WindowKey("val", 1)], ids=str)
def test_a_window_of_a_stage_from_open_to_close(key: WindowKey) -> None:
    head = head_with()
    collector, told = collector_of(head)
    collector.open(key)
    assert collector.is_open(key)
    run(collector, key, inputs_of(20), inputs_of(7, seed=2))
    assert collector.num_looked_at[key] == 27
    report = closed(collector, key)
    assert not collector.is_open(key)
    assert report.window == key
    assert_same(report, report_of(head, [inputs_of(20), inputs_of(7, seed=2)]))
    assert told == []


@pytest.mark.parametrize("max_tracked", [NUM_LABELS, 3])
def test_with_targets_in_the_batch_a_window_counts_errors(max_tracked: int) -> None:
    """Of the inputs that count and are looked at; of two batches, whose step may call the head before it reads them."""
    head, targets = head_with(), torch.arange(20) % NUM_LABELS
    collector, told = collector_of(head, opened=VAL, max_tracked=max_tracked, targets_key=1, ignore_index=4, labels_per_input=9)
    metric = SimilarityGap(NUM_LABELS, EMBEDDING_DIM)
    for seed in (1, 2):
        embedding = inputs_of(seed=seed)
        collector.begin_batch(VAL, (embedding, targets))
        head.module(embedding)
        collector.end_batch(VAL)
        counted = targets != 4
        metric.update(head.unembedding, head.logits(embedding[counted]), embedding[counted], targets=targets[counted])
    report, wanted = closed(collector, VAL), metric.report()
    assert told == []
    kept = list(report.labels)
    assert report.errors is not None
    assert report.joint_shares is not None
    assert wanted.errors is not None
    assert wanted.joint_shares is not None
    assert wanted.errors.sum() > 10
    pair_of = {(i, j): place for place, (i, j) in enumerate(combinations(range(NUM_LABELS), 2))}
    places = [pair_of[pair] for pair in combinations(kept, 2)]
    assert torch.equal(report.errors, wanted.errors[:, places])
    torch.testing.assert_close(report.joint_shares, wanted.joint_shares[:, places], rtol=0, atol=1e-5)


@pytest.mark.parametrize("max_tracked", [NUM_LABELS, 3])
def test_without_the_key_of_the_targets_errors_are_not_known(max_tracked: int) -> None:
    head = head_with()
    collector, _ = collector_of(head, opened=VAL, max_tracked=max_tracked)
    collector.begin_batch(VAL, (inputs_of(), torch.arange(20) % NUM_LABELS))
    head.module(inputs_of())
    collector.end_batch(VAL)
    report = closed(collector, VAL)
    assert (report.errors, report.joint_shares) == (None, None)


def test_a_window_that_is_opened_again_begins_anew() -> None:
    collector, _ = collector_of(head_with(), opened=TRAIN)
    run(collector, TRAIN, inputs_of())
    collector.drop(TRAIN)
    assert not collector.is_open(TRAIN)
    collector.open(TRAIN)
    assert collector.num_looked_at[TRAIN] == 0
    run(collector, TRAIN, inputs_of(7))
    assert closed(collector, TRAIN).num_inputs == 7


@pytest.mark.parametrize("key", [TRAIN, VAL, TEST], ids=str)
def test_without_a_window_nothing_is_seen(key: WindowKey) -> None:
    """A validation run that is not reported on, the sanity check for example; no batch opens a window."""
    collector, told = collector_of(head_with())
    run(collector, key, inputs_of())
    assert not collector.is_open(key)
    collector.open(key)
    assert closed(collector, key).num_inputs == 0
    assert told == [NOT_CALLED]


def test_a_stage_without_a_window_does_not_fill_that_of_another() -> None:
    """A validation run that is not reported on comes in the middle of a training window."""
    collector, _ = collector_of(head_with(), opened=TRAIN)
    run(collector, TRAIN, inputs_of(20))
    run(collector, VAL, inputs_of(7))
    run(collector, TRAIN, inputs_of(3))
    assert closed(collector, TRAIN).num_inputs == 23


@pytest.mark.parametrize("other", [VAL, WindowKey("train", 1)], ids=str)
def test_two_windows_are_kept_apart(other: WindowKey) -> None:
    """Of two stages, or of two data loaders."""
    head = head_with()
    collector, _ = collector_of(head, opened=TRAIN)
    run(collector, TRAIN, inputs_of(20))
    collector.open(other)
    run(collector, other, inputs_of(7, seed=2))
    val = closed(collector, other)
    run(collector, TRAIN, inputs_of(5, seed=3))
    assert_same(val, report_of(head, [inputs_of(7, seed=2)]))
    assert_same(closed(collector, TRAIN), report_of(head, [inputs_of(20), inputs_of(5, seed=3)]))


def test_calls_between_batches_do_not_count() -> None:
    """The user's own evaluation between two batches is not the stage's."""
    head = head_with()
    collector, _ = collector_of(head, opened=TRAIN)
    run(collector, TRAIN, inputs_of(20))
    head.module(inputs_of(7))
    run(collector, TRAIN, inputs_of(3))
    assert closed(collector, TRAIN).num_inputs == 23


def test_calls_after_a_batch_that_did_not_call_the_head_do_not_count() -> None:
    """Nothing is waited for beyond the end of the batch."""
    collector, _ = collector_of(head_with(), opened=TRAIN)
    run(collector, TRAIN, inputs_of(20), forward=torch.Tensor.tanh)
    collector.head.module(inputs_of(7))
    run(collector, TRAIN, inputs_of(20), forward=torch.Tensor.tanh)
    assert closed(collector, TRAIN).num_inputs == 0


def test_a_batch_is_looked_at_once() -> None:
    """Before the backward pass, with the weights of the forward pass; what runs after that does not count."""
    head = head_with()
    collector, told = collector_of(head, opened=TRAIN)
    collector.begin_batch(TRAIN)
    head.module(inputs_of())
    collector.look(TRAIN)
    with torch.no_grad():
        head.module.weight.mul_(2)
    head.module(inputs_of(7))
    collector.end_batch(TRAIN)
    report = closed(collector, TRAIN)
    assert report.num_inputs == 20
    assert told == []


def test_a_batch_that_is_not_looked_at_before_its_end_is_looked_at_then() -> None:
    collector, told = collector_of(head_with(), opened=TRAIN)
    collector.begin_batch(TRAIN)
    collector.look(TRAIN)
    collector.head.module(inputs_of())
    collector.end_batch(TRAIN)
    assert closed(collector, TRAIN).num_inputs == 20
    assert told == []


def test_of_a_large_batch_a_sample_is_looked_at_and_the_users_random_numbers_stay() -> None:
    collector, _ = collector_of(head_with(), opened=TRAIN, max_inputs=6)
    state = torch.get_rng_state()
    run(collector, TRAIN, inputs_of(20), inputs_of(5))
    assert closed(collector, TRAIN).num_inputs == 6 + 5
    assert torch.equal(torch.get_rng_state(), state)


def test_a_head_that_is_never_called_gives_a_report_on_its_weights_and_one_warning() -> None:
    """A fused loss goes around it: cosines are there, shares are not."""
    head = head_with()
    collector, told = collector_of(head, opened=TRAIN)
    run(
        collector,
        TRAIN,
        *(inputs_of(seed=seed) for seed in range(3)),
        forward=lambda embedding: nn.functional.linear(embedding, head.module.weight),
    )
    report = closed(collector, TRAIN)
    assert told == [NOT_CALLED]
    assert report.num_inputs == 0
    assert all(math.isnan(value) for name, value in report.scalars.items() if name.startswith(("rank_agreement_", "explained_")))
    wanted = matrices(report_of(head, [inputs_of()]))
    for rung in ("raw_cosine", "centered_cosine"):
        torch.testing.assert_close(report.matrix(rung), wanted[rung])


def test_a_problem_is_told_with_the_head_s_path() -> None:
    head = head_with()
    head.module.register_forward_hook(lambda module, args, output: output * 3)
    collector, told = collector_of(head, opened=TRAIN)
    batches = [inputs_of(seed=seed) for seed in range(8)]
    run(collector, TRAIN, *batches)
    report = closed(collector, TRAIN)
    assert len(told) == 1
    assert told[0].startswith("watching fc: the head's output differs from `embedding @ weight.T + bias` by up to ")
    assert told[0].endswith("would be wrong and are left out.")
    assert report.num_inputs == 160
    unknown = ("logit_correlation", "log_odds_variance")
    undefined = {f"{measure}_{name}" for measure in MEASURES for name in unknown} | {"gap_geometry"}
    assert set(report.undefined) & set(report.scalars) == undefined
    probs = (3 * head.logits(torch.cat(batches))).softmax(dim=1)
    torch.testing.assert_close(report.mean_probs, probs.mean(dim=0).double())


def test_only_from_the_second_report_of_a_window_on_rankings_have_moved() -> None:
    """By how much goes by the last report of the same window."""
    head = head_with()
    collector, _ = collector_of(head)
    drifts = []
    for key in (TRAIN, VAL, TRAIN, TRAIN):
        collector.open(key)
        run(collector, key, inputs_of())
        drifts.append(closed(collector, key).ranking_drift)
        if key == VAL:
            head.module.weight.data[0].neg_()
    assert math.isnan(drifts[0])
    assert math.isnan(drifts[1])
    assert drifts[2] > 0.1
    assert drifts[3] == 0


@pytest.mark.parametrize("max_tracked", [NUM_LABELS, 3])
def test_summaries_are_kept_of_vocabularies_of_the_stages_asked_for(max_tracked: int) -> None:
    """Each is of the last window, and of one data loader where each has windows of its own."""
    head = head_with()
    collector, _ = collector_of(head, summarize=("val",), max_tracked=max_tracked)
    keys = [TRAIN, WindowKey("val", 0), WindowKey("val", 1), TEST]
    for key in keys:
        for num_inputs in (9, 20):
            collector.open(key)
            run(collector, key, inputs_of(num_inputs))
            closed(collector, key)
    assert [*collector.summaries] == (keys[1:3] if max_tracked == 3 else [])
    assert all(len(summary.block) == 20 for summary in collector.summaries.values())


@pytest.mark.parametrize("max_tracked", [NUM_LABELS, 512, 3])
def test_labels_have_their_names(max_tracked: int) -> None:
    """Also where they are looked at as a vocabulary, whose report has those that are probable enough."""
    names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis"]
    collector, _ = collector_of(head_with([0, 30, 0, 30, 0, 0, 0, 30, 0]), max_tracked=max_tracked, names=names)
    for key in (VAL, TEST):
        collector.open(key)
        run(collector, key, inputs_of(100))
        report = closed(collector, key)
        assert report.names == (("bee", "dog", "hen") if max_tracked == 3 else tuple(names))
        assert [name for name, kept in zip(report.names, report.kept, strict=True) if kept] == ["bee", "dog", "hen"]


def test_without_names_labels_are_called_by_their_rows() -> None:
    collector, _ = collector_of(head_with(), opened=TRAIN)
    run(collector, TRAIN, inputs_of())
    assert closed(collector, TRAIN).names == tuple("012345678")


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        ({"names": ["a", "b"]}, "Expected `names` to name the 9 rows of the head, got 2 names."),
        ({"ignore": [9]}, "Expected `ignore` to hold labels from 0 to 8, got 9. Each number is a row of the head."),
    ],
)
def test_labels_that_do_not_fit_the_head_are_an_error_and_leave_no_hook(selection: dict[str, Any], text: str) -> None:
    head = head_with()
    with pytest.raises(ConfigError) as caught:
        collector_of(head, **selection)
    assert str(caught.value) == text
    assert not head.module._forward_hooks


def test_a_collector_that_is_detached_leaves_no_hook() -> None:
    """A second time it does nothing."""
    head = head_with()
    collector, _ = collector_of(head)
    assert len(head.module._forward_hooks) == 1
    collector.detach()
    collector.detach()
    assert not head.module._forward_hooks


# Two windows at once, and windows that see nothing


@pytest.mark.parametrize("case", ["one vector of two", "nan", "mismatch in a vocabulary"])
def test_a_head_that_was_called_is_not_said_not_to_have_been(case: str) -> None:
    """Whatever made its calls useless, that is what is told."""
    layer = nn.Linear(3, 6)
    inputs = torch.randn(9, 3)
    if case == "mismatch in a vocabulary":
        layer.register_forward_hook(lambda module, args, output: output * 2)
    max_tracked = 5 if case == "mismatch in a vocabulary" else 9
    collector, said = collector_of(Head("fc", layer, "its path"), opened=TRAIN, max_tracked=max_tracked)
    run(collector, TRAIN, {"one vector of two": torch.randn(2, 3, 2).mT, "nan": inputs * torch.nan}.get(case, inputs))
    collector.close(TRAIN, ALONE)
    assert not any("was not called" in text for text in said)


def test_sequences_of_many_lengths_are_pooled() -> None:
    collector, said = collector_of(Head("fc", nn.Linear(3, 6), "its path"), opened=TRAIN, max_tracked=9)
    for length in (2, 3, 4):
        run(collector, TRAIN, torch.randn(2, length, 3))
    assert closed(collector, TRAIN).num_inputs == 18
    assert said == []
