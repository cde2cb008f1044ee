"""A window of observations, the choice of labels where there are many, and a head watched stage by stage."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim import window
from lightning_cossim.config import LabelSelection
from lightning_cossim.errors import ConfigError
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.head import Head
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.observer import Observation
from lightning_cossim.processes import ALONE, Processes
from lightning_cossim.report import GapReport
from lightning_cossim.watch import HeadWatch
from lightning_cossim.window import ChoosingWindow, Window

NUM_LABELS, EMBEDDING_DIM = 9, 4
NOT_CALLED = (
    "watching fc: it was not called in a whole window, so only its weights are compared. A fused loss or a functional call "
    "(`F.linear(x, head.weight)`) goes around it: pass `embeddings_from=`, the path of the module whose output goes into it, "
    "or call the layer itself."
)


class Others(Processes):
    """This process and another, which adds something of its own to the first sum."""

    def __init__(self, added: Tensor) -> None:
        super().__init__()
        self.added = added
        self.summed: list[Tensor] = []

    @override
    def sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if self.summed:  # of masses, which come first
            return list(tensors)
        self.summed = [tensor.clone() for tensor in tensors]
        return [tensor + self.added for tensor in tensors]


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


def choosing(head: Head, **selection: Any) -> ChoosingWindow:
    return ChoosingWindow(head, LabelSelection(**selection), Overlap.of(head.num_labels))


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


# A window that knows its labels


@pytest.mark.parametrize("settings", [{}, {"ignore": [2]}, {"min_probability": 1.0}, {"ignore": [0, 3], "min_probability": 0}])
def test_a_window_reports_on_all_that_was_added(settings: dict[str, Any]) -> None:
    """As a metric of the same settings does."""
    head, embeddings = head_with(), [inputs_of(20), inputs_of(7, seed=2)]
    opened = Window(head, LabelSelection(**settings), Overlap.of(head.num_labels))
    for embedding in embeddings:
        opened.add(seen_of(head, embedding))
    assert_same(opened.close(ALONE), report_of(head, embeddings, **settings))


def test_a_window_of_tracked_labels_reports_on_those() -> None:
    head, tracked = head_with(), torch.tensor([1, 4, 5, 6, 8])
    opened = Window(head, LabelSelection(), Overlap.of(head.num_labels), tracked=tracked)
    opened.add(seen_of(head, inputs_of()))
    assert opened.tracked is tracked
    assert_same(opened.close(ALONE), report_of(head, [inputs_of()], labels=tracked))


def test_a_window_that_saw_nothing_reports_on_the_weights() -> None:
    """Those of when it closes."""
    head = head_with()
    opened = Window(head, LabelSelection(), Overlap.of(head.num_labels))
    with torch.no_grad():
        head.module.weight.add_(1)
    report = opened.close(ALONE)
    assert report.num_inputs == 0
    torch.testing.assert_close(report.rungs["raw_cosine"], report_of(head, [inputs_of()]).rungs["raw_cosine"])


# A window that chooses its labels


def test_the_most_probable_labels_are_chosen_in_ascending_order() -> None:
    head = head_with([0, 30, 0, 10, 0, 0, 0, 20, 0])
    opened = choosing(head, max_tracked=3)
    opened.add(seen_of(head, inputs_of()))
    assert opened.tracked is None
    report = opened.close(ALONE)
    assert opened.tracked is not None
    assert opened.tracked.tolist() == [1, 3, 7]
    assert report.labels == (1, 3, 7)


def test_mass_is_summed_over_all_inputs_of_all_batches() -> None:
    """Not counted by which label wins: twenty inputs that are a little for label 5 outweigh one that is all for label 2."""
    head = head_with()
    logits = torch.zeros(21, NUM_LABELS)
    logits[:20, 5] = 2
    logits[:20, 6] = 2.1
    logits[20, 2] = 40
    opened = choosing(head, max_tracked=2)
    for batch in (logits[:6], logits[6:15], logits[15:]):
        opened.add(Observation(head.unembedding, batch, inputs_of(len(batch))))
    assert opened.close(ALONE).labels == (5, 6)


def test_masses_of_all_processes_are_added_up() -> None:
    """Another process sees other inputs; the choice is that of both together."""
    head = head_with([0, 5, 0, 4, 0, 0, 0, 0, 0])
    others = torch.zeros(NUM_LABELS)
    others[[0, 8]] = 1000
    two = Others(others)
    labels = []
    for processes in (ALONE, two):
        opened = choosing(head, max_tracked=2)
        opened.add(seen_of(head, inputs_of()))
        labels.append(opened.close(processes).labels)
    assert labels == [(1, 3), (0, 8)]
    torch.testing.assert_close(two.summed, [head.logits(inputs_of()).softmax(dim=1).double().sum(dim=0)], rtol=1e-6, atol=0)


def test_a_process_that_saw_nothing_takes_part_in_the_choice() -> None:
    """It asks for the sum as all others do, exactly once, and has the labels of all."""
    two = Others(torch.arange(NUM_LABELS))
    report = choosing(head_with(), max_tracked=3).close(two)
    assert [mass.tolist() for mass in two.summed] == [[0.0] * NUM_LABELS]
    assert report.labels == (6, 7, 8)
    assert report.num_inputs == 0


def test_labels_to_ignore_are_not_chosen() -> None:
    head = head_with([0, 30, 0, 10, 0, 0, 5, 20, 0])
    opened = choosing(head, max_tracked=3, ignore=[1, 3])
    opened.add(seen_of(head, inputs_of()))
    report = opened.close(ALONE)
    assert 1 not in report.labels
    assert 3 not in report.labels
    assert {6, 7} < set(report.labels)
    assert report.num_live == NUM_LABELS - 2


def test_labels_whose_rows_are_not_finite_are_not_chosen() -> None:
    """However probable they were before their rows were lost."""
    head = head_with([0, 30, 0, 10, 0, 0, 5, 20, 0])
    opened = choosing(head, max_tracked=2)
    opened.add(seen_of(head, inputs_of()))
    with torch.no_grad():
        head.module.weight[1] = torch.nan
    assert opened.close(ALONE).labels == (3, 7)


def test_inputs_that_are_not_finite_do_not_count_in_the_choice() -> None:
    """They take their own probabilities away, not the window's."""
    head, embedding = head_with([0, 30, 0, 10, 0, 0, 0, 20, 0]), inputs_of()
    embedding[3] = torch.nan
    opened = choosing(head, max_tracked=3)
    opened.add(seen_of(head, embedding))
    report = opened.close(ALONE)
    assert report.labels == (1, 3, 7)
    assert report.num_inputs == len(embedding) - 1


def test_equal_masses_are_chosen_in_order_of_the_labels() -> None:
    """So that all processes choose the same."""
    head = head_with()
    opened = choosing(head, max_tracked=4)
    opened.add(Observation(head.unembedding, torch.zeros(5, NUM_LABELS), inputs_of(5)))
    assert opened.close(ALONE).labels == (0, 1, 2, 3)


@pytest.mark.parametrize("settings", [{}, {"ignore": [7]}, {"min_probability": 0.5}])
def test_the_report_is_that_of_a_metric_that_knew_the_labels(settings: dict[str, Any]) -> None:
    head, embeddings = head_with([0, 2, 0, 3, 0, 1, 1, 2, 0]), [inputs_of(20), inputs_of(7, seed=2)]
    opened = choosing(head, max_tracked=5, **settings)
    for embedding in embeddings:
        opened.add(seen_of(head, embedding))
    assert_same(opened.close(ALONE), report_of(head, embeddings, labels=opened.tracked, **settings))


def test_kept_embeddings_are_read_with_the_weights_that_they_were_seen_with() -> None:
    """Those of the last observation: a step may follow, or averaged weights go again. All is kept as copies."""
    head, embedding = head_with(), inputs_of()
    opened = choosing(head, max_tracked=5)
    shown = embedding.clone()
    opened.add(seen_of(head, shown))
    before = copy.deepcopy(head)
    shown.zero_()
    with torch.no_grad():
        head.module.weight.mul_(2)
        head.module.bias.add_(torch.arange(NUM_LABELS))
    assert_same(opened.close(ALONE), report_of(before, [embedding], labels=opened.tracked))


@pytest.mark.parametrize("sizes", [[7, 7, 7], [30], [10, 5], [4, 4, 4, 4]])
def test_embeddings_are_kept_up_to_a_number_and_masses_summed_over_all(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    """A sample of them is kept, in order; the choice is made on all of them."""
    monkeypatch.setattr(window, "_MAX_KEPT", 10)
    head = head_with()
    embeddings = [inputs_of(size, seed=seed) for seed, size in enumerate(sizes)]
    masses = torch.zeros(NUM_LABELS)
    opened = choosing(head, max_tracked=5)
    for embedding in embeddings:
        seen = seen_of(head, embedding)
        opened.add(seen)
        masses += head.logits(embedding).softmax(dim=1).sum(dim=0)
    kept = opened._kept
    rows = [(torch.cat(embeddings) == row).all(dim=1).nonzero().item() for row in kept]
    assert rows == sorted(rows)
    assert rows != list(range(10))
    report = opened.close(ALONE)
    assert report.num_inputs == 10
    assert report.labels == tuple(sorted(masses.topk(5).indices.tolist()))
    assert_same(report, report_of(head, [kept], labels=opened.tracked))


def test_kept_embeddings_are_a_fair_sample_of_inputs_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50 batches that come sorted, early and late ones are kept alike, and the user's random numbers stay."""
    monkeypatch.setattr(window, "_MAX_KEPT", 500)
    head = head_with()
    opened = choosing(head, max_tracked=5)
    state = torch.get_rng_state()
    for number in range(50):
        opened.add(seen_of(head, torch.full((100, EMBEDDING_DIM), float(number))))
    assert torch.equal(torch.get_rng_state(), state)
    kept = opened._kept[:, 0]
    assert len(kept) == 500
    assert kept.mean().item() == pytest.approx(24.5, abs=2)
    assert len(set(kept.tolist())) > 45


def test_8192_embeddings_are_kept() -> None:
    assert window._MAX_KEPT == 8192


@pytest.mark.parametrize(("sizes", "chunks"), [([7, 3], [3, 3, 3, 1]), ([1], [1]), ([0, 6], [3, 3])])
def test_kept_embeddings_are_worked_on_in_chunks(monkeypatch: pytest.MonkeyPatch, sizes: list[int], chunks: list[int]) -> None:
    """No (N, K) of the whole window is ever held, and the report does not depend on it."""
    monkeypatch.setattr(window, "_CHUNK", 3)
    worked_on: list[int] = []
    update = SimilarityGap.update

    def watched(self: SimilarityGap, unembedding: Tensor, logits: Tensor, embedding: Tensor, groups: Tensor) -> None:
        worked_on.append(len(logits))
        update(self, unembedding, logits, embedding, groups)

    head, embeddings = head_with(), [inputs_of(size, seed=seed) for seed, size in enumerate(sizes)]
    opened = choosing(head, max_tracked=5)
    for embedding in embeddings:
        opened.add(seen_of(head, embedding))
    with monkeypatch.context() as patch:
        patch.setattr(SimilarityGap, "update", watched)
        report = opened.close(ALONE)
    assert [size for size in worked_on if size] == chunks
    assert_same(report, report_of(head, embeddings, labels=opened.tracked))


def test_an_observation_without_logits_adds_nothing() -> None:
    head = head_with([9, 8, 0, 0, 0, 0, 0, 0, 0])
    opened = choosing(head, max_tracked=2)
    opened.add(Observation(head.unembedding, problem="cannot be read"))
    opened.add(seen_of(head, inputs_of()))
    report = opened.close(ALONE)
    assert report.labels == (0, 1)
    assert report.num_inputs == 20


def test_an_observation_without_an_embedding_counts_in_the_choice() -> None:
    """There is nothing to form overlaps from later, yet its probabilities are known."""
    head = head_with()
    logits = torch.zeros(20, NUM_LABELS)
    logits[:, [4, 6]] = 5
    opened = choosing(head, max_tracked=2)
    opened.add(Observation(head.unembedding, logits, None))
    assert opened.close(ALONE).labels == (4, 6)


# A head watched stage by stage


class Spoken(list[str]):
    """What the user is told."""


def watch_of(head: Head, *, max_inputs: int = 1024, tracked: Tensor | None = None, **selection: Any) -> tuple[HeadWatch, Spoken]:
    spoken = Spoken()
    watch = HeadWatch(
        head,
        labels=LabelSelection(**selection),
        overlap=Overlap.of(head.num_labels),
        max_inputs=max_inputs,
        tracked=tracked,
        warn=spoken.append,
    )
    return watch, spoken


def run(watch: HeadWatch, stage: str, *embeddings: Tensor, forward: Callable[[Tensor], Any] | None = None) -> None:
    """Batches of a stage, each with one forward pass."""
    for embedding in embeddings:
        watch.begin_batch(stage)
        (forward or watch.head.module)(embedding)
        watch.end_batch(stage)


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_a_window_of_a_stage_from_open_to_close(stage: str) -> None:
    head = head_with()
    watch, spoken = watch_of(head)
    watch.open(stage)
    assert watch.is_open(stage)
    run(watch, stage, inputs_of(20), inputs_of(7, seed=2))
    report = watch.close(stage, ALONE)
    assert not watch.is_open(stage)
    assert_same(report, report_of(head, [inputs_of(20), inputs_of(7, seed=2)]))
    assert spoken == []


def test_training_opens_its_own_window() -> None:
    watch, _ = watch_of(head_with())
    assert not watch.is_open("train")
    run(watch, "train", inputs_of())
    assert watch.is_open("train")
    assert watch.close("train", ALONE).num_inputs == 20


@pytest.mark.parametrize("stage", ["val", "test"])
def test_without_a_window_nothing_is_seen(stage: str) -> None:
    """A validation run that is not reported on, the sanity check for example."""
    watch, spoken = watch_of(head_with())
    run(watch, stage, inputs_of())
    assert not watch.is_open(stage)
    watch.open(stage)
    assert watch.close(stage, ALONE).num_inputs == 0
    assert spoken == [NOT_CALLED]


def test_a_stage_without_a_window_does_not_fill_that_of_another() -> None:
    """A validation run that is not reported on comes in the middle of a training window."""
    watch, _ = watch_of(head_with())
    run(watch, "train", inputs_of(20))
    run(watch, "val", inputs_of(7))
    run(watch, "train", inputs_of(3))
    assert watch.close("train", ALONE).num_inputs == 23


def test_windows_of_two_stages_are_kept_apart() -> None:
    head = head_with()
    watch, _ = watch_of(head)
    run(watch, "train", inputs_of(20))
    watch.open("val")
    run(watch, "val", inputs_of(7, seed=2))
    val = watch.close("val", ALONE)
    run(watch, "train", inputs_of(5, seed=3))
    assert_same(val, report_of(head, [inputs_of(7, seed=2)]))
    assert_same(watch.close("train", ALONE), report_of(head, [inputs_of(20), inputs_of(5, seed=3)]))


def test_calls_between_batches_do_not_count() -> None:
    """The user's own evaluation between two batches is not the stage's."""
    head = head_with()
    watch, _ = watch_of(head)
    run(watch, "train", inputs_of(20))
    head.module(inputs_of(7))
    run(watch, "train", inputs_of(3))
    assert watch.close("train", ALONE).num_inputs == 23


def test_calls_after_a_batch_that_did_not_call_the_head_do_not_count() -> None:
    """Nothing is waited for beyond the end of the batch."""
    watch, _ = watch_of(head_with())
    run(watch, "train", inputs_of(20), forward=torch.Tensor.tanh)
    watch.head.module(inputs_of(7))
    run(watch, "train", inputs_of(20), forward=torch.Tensor.tanh)
    assert watch.close("train", ALONE).num_inputs == 0


def test_a_batch_is_looked_at_once() -> None:
    """Before the backward pass, with the weights of the forward pass; what runs after that does not count."""
    head = head_with()
    watch, spoken = watch_of(head)
    watch.begin_batch("train")
    head.module(inputs_of())
    watch.look("train")
    with torch.no_grad():
        head.module.weight.mul_(2)
    head.module(inputs_of(7))
    watch.end_batch("train")
    report = watch.close("train", ALONE)
    assert report.num_inputs == 20
    assert spoken == []


def test_a_batch_that_is_not_looked_at_before_its_end_is_looked_at_then() -> None:
    watch, spoken = watch_of(head_with())
    watch.begin_batch("train")
    watch.look("train")
    watch.head.module(inputs_of())
    watch.end_batch("train")
    assert watch.close("train", ALONE).num_inputs == 20
    assert spoken == []


def test_of_a_large_batch_a_sample_is_looked_at_and_the_users_random_numbers_stay() -> None:
    watch, _ = watch_of(head_with(), max_inputs=6)
    state = torch.get_rng_state()
    run(watch, "train", inputs_of(20), inputs_of(5))
    assert watch.close("train", ALONE).num_inputs == 6 + 5
    assert torch.equal(torch.get_rng_state(), state)


def test_a_head_that_is_never_called_gives_a_report_on_its_weights_and_one_warning() -> None:
    """A fused loss goes around it: cosines are there, shares are not."""
    head = head_with()
    watch, spoken = watch_of(head)
    run(
        watch,
        "train",
        *(inputs_of(seed=seed) for seed in range(3)),
        forward=lambda embedding: nn.functional.linear(embedding, head.module.weight),
    )
    report = watch.close("train", ALONE)
    assert spoken == [NOT_CALLED]
    assert report.num_inputs == 0
    assert all(math.isnan(value) for name, value in report.scalars.items() if name.startswith("explained_"))
    wanted = report_of(head, [inputs_of()]).rungs
    for rung in ("raw_cosine", "centered_cosine"):
        torch.testing.assert_close(report.rungs[rung], wanted[rung])


def test_a_problem_is_told_with_the_head_s_path() -> None:
    head = head_with()
    head.module.register_forward_hook(lambda module, args, output: output * 3)
    watch, spoken = watch_of(head)
    run(watch, "train", inputs_of(), inputs_of(seed=2))
    report = watch.close("train", ALONE)
    assert len(spoken) == 1
    assert spoken[0].startswith("watching fc: its output differs from `embedding @ weight.T + bias` by up to ")
    assert spoken[0].endswith("would be false and are left out.")
    assert report.num_inputs == 40
    undefined = {"explained_logit_correlation", "explained_log_odds_variance", "gap_geometry"}
    assert set(report.undefined) & set(report.scalars) == undefined
    torch.testing.assert_close(
        report.mean_probs, (3 * head.logits(torch.cat([inputs_of(), inputs_of(seed=2)]))).softmax(dim=1).mean(dim=0).double()
    )


@pytest.mark.parametrize("max_tracked", [NUM_LABELS, 512])
def test_no_more_labels_than_are_tracked_are_all_tracked(max_tracked: int) -> None:
    watch, _ = watch_of(head_with(), max_tracked=max_tracked)
    run(watch, "train", inputs_of())
    assert watch.close("train", ALONE).labels == tuple(range(NUM_LABELS))
    assert watch.tracked is None


def test_labels_chosen_in_the_first_window_are_kept_for_later_ones_and_other_stages() -> None:
    """Whatever is probable then."""
    head = head_with([0, 30, 0, 10, 0, 0, 0, 20, 0])
    watch, _ = watch_of(head, max_tracked=3)
    run(watch, "train", inputs_of())
    assert watch.close("train", ALONE).labels == (1, 3, 7)
    head.module.get_parameter("bias").data.neg_()
    for stage in ("train", "val", "test"):
        watch.open(stage)
        run(watch, stage, inputs_of())
        report = watch.close(stage, ALONE)
        assert report.labels == (1, 3, 7)
        assert_same(report, report_of(head, [inputs_of()], labels=[1, 3, 7]))
    assert watch.tracked is not None
    assert watch.tracked.tolist() == [1, 3, 7]


def test_labels_chosen_by_an_earlier_run_are_tracked() -> None:
    watch, _ = watch_of(head_with([30, 20, 10, 0, 0, 0, 0, 0, 0]), max_tracked=3, tracked=torch.tensor([4, 5, 8]))
    run(watch, "train", inputs_of())
    assert watch.close("train", ALONE).labels == (4, 5, 8)


def test_labels_that_this_head_does_not_have_are_chosen_anew() -> None:
    """The earlier run had another head."""
    watch, _ = watch_of(head_with([30, 20, 10, 0, 0, 0, 0, 0, 0]), max_tracked=3, tracked=torch.tensor([4, NUM_LABELS]))
    run(watch, "train", inputs_of())
    assert watch.close("train", ALONE).labels == (0, 1, 2)


def test_the_choice_is_made_over_all_processes() -> None:
    watch, _ = watch_of(head_with([30, 20, 10, 0, 0, 0, 0, 0, 0]), max_tracked=2)
    run(watch, "train", inputs_of())
    others = torch.zeros(NUM_LABELS).index_fill(0, torch.tensor([3, 5]), 1000)
    assert watch.close("train", Others(others)).labels == (3, 5)


def test_names_are_those_of_the_labels_tracked() -> None:
    names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis"]
    watch, _ = watch_of(head_with([0, 30, 0, 10, 0, 0, 0, 20, 0]), max_tracked=3, names=names)
    for stage in ("val", "test"):
        watch.open(stage)
        run(watch, stage, inputs_of())
        assert watch.close(stage, ALONE).names == ("bee", "dog", "hen")


def test_without_names_labels_are_called_by_their_rows() -> None:
    watch, _ = watch_of(head_with([0, 30, 0, 10, 0, 0, 0, 20, 0]), max_tracked=3)
    run(watch, "train", inputs_of())
    assert watch.close("train", ALONE).names == ("1", "3", "7")


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        ({"names": ["a", "b"]}, "Expected `names` to name the 9 rows of the head, got 2 names."),
        ({"ignore": [9]}, "Expected `ignore` to hold labels from 0 to 8, got 9. They are rows of the head."),
    ],
)
def test_labels_that_do_not_fit_the_head_are_an_error_and_leave_no_hook(selection: dict[str, Any], text: str) -> None:
    head = head_with()
    with pytest.raises(ConfigError) as caught:
        watch_of(head, **selection)
    assert str(caught.value) == text
    assert not head.module._forward_hooks


def test_a_watch_that_is_detached_leaves_no_hook() -> None:
    """A second time it does nothing."""
    head = head_with()
    watch, _ = watch_of(head)
    assert len(head.module._forward_hooks) == 1
    watch.detach()
    watch.detach()
    assert not head.module._forward_hooks


# Two windows at once, and windows that see nothing


def small_watch(layer: nn.Linear, max_tracked: int) -> tuple[HeadWatch, list[str]]:
    """A watch on a layer, and what it says."""
    said: list[str] = []
    labels = LabelSelection(max_tracked=max_tracked)
    head = Head("fc", layer, "its path")
    watch = HeadWatch(head, labels=labels, overlap=Overlap.of(head.num_labels), max_inputs=64, warn=said.append)
    return watch, said


def run_batch(watch: HeadWatch, stage: str, inputs: Tensor) -> None:
    watch.begin_batch(stage)
    watch.head.module(inputs)
    watch.end_batch(stage)


def test_labels_are_chosen_once_when_two_windows_are_open() -> None:
    """A validation run within the first training window chooses, and the training window keeps to that."""
    torch.manual_seed(0)
    watch, _ = small_watch(nn.Linear(3, 6), max_tracked=2)
    run_batch(watch, "train", torch.randn(9, 3))
    watch.open("val")
    run_batch(watch, "val", torch.randn(50, 3) * 9)
    chosen = watch.close("val", ALONE).labels
    run_batch(watch, "train", torch.randn(9, 3))
    assert watch.close("train", ALONE).labels == chosen


def test_a_window_that_saw_nothing_chooses_nothing() -> None:
    layer = nn.Linear(3, 6)
    with torch.no_grad():
        layer.bias[4:] = 9
    watch, _ = small_watch(layer, max_tracked=2)
    watch.open("val")
    watch.close("val", ALONE)
    run_batch(watch, "train", torch.randn(9, 3))
    assert watch.close("train", ALONE).labels == (4, 5)


def test_labels_chosen_for_another_head_are_forgotten() -> None:
    layer = nn.Linear(3, 6)
    head = Head("fc", layer, "its path")
    options = {"overlap": Overlap.of(6), "max_inputs": 64, "warn": print}
    for tracked, kept in ((torch.tensor([1, 5]), [1, 5]), (torch.tensor([1, 6]), None)):
        watch = HeadWatch(head, labels=LabelSelection(max_tracked=2), tracked=tracked, **options)  # type: ignore[arg-type]
        assert (None if watch.tracked is None else watch.tracked.tolist()) == kept


@pytest.mark.parametrize("case", ["one vector of two", "nan", "mismatch while choosing"])
def test_a_head_that_was_called_is_not_said_not_to_have_been(case: str) -> None:
    """Whatever made its calls useless, that is what is told."""
    layer = nn.Linear(3, 6)
    inputs = torch.randn(9, 3)
    if case == "mismatch while choosing":
        layer.register_forward_hook(lambda module, args, output: output * 2)
    watch, said = small_watch(layer, max_tracked=5 if case == "mismatch while choosing" else 9)
    run_batch(watch, "train", {"one vector of two": torch.randn(2, 3, 2).mT, "nan": inputs * torch.nan}.get(case, inputs))
    watch.close("train", ALONE)
    assert not any("was not called" in text for text in said)


def test_sequences_of_many_lengths_are_pooled() -> None:
    watch, said = small_watch(nn.Linear(3, 6), max_tracked=9)
    for length in (2, 3, 4):
        run_batch(watch, "train", torch.randn(2, length, 3))
    assert watch.close("train", ALONE).num_inputs == 18
    assert said == []
