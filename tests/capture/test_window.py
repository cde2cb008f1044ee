"""A window of observations, and a head watched stage by stage."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cossim.capture.collector import HeadWatch
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.window import Window
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import ConfigError
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport
from tests.toys import matrices

NUM_LABELS, EMBEDDING_DIM = 9, 4
NOT_CALLED = (
    "watching fc: it was not called in a whole window, so only its weights are compared. A fused loss or a functional call "
    "(`F.linear(x, head.weight)`) goes around it: pass `embeddings_from=`, the path of the module whose output goes into it, "
    "or call the layer itself."
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


@pytest.mark.parametrize("settings", [{}, {"ignore": [2]}, {"min_probability": 1.0}, {"ignore": [0, 3], "min_probability": 0}])
def test_a_window_reports_on_all_that_was_added(settings: dict[str, Any]) -> None:
    """As a metric of the same settings does."""
    head, embeddings = head_with(), [inputs_of(20), inputs_of(7, seed=2)]
    opened = Window(head, LabelSelection(**settings), Overlap.of(head.num_labels))
    for embedding in embeddings:
        opened.add(seen_of(head, embedding))
    assert_same(opened.close(ALONE), report_of(head, embeddings, **settings))


def test_a_window_that_saw_nothing_reports_on_the_weights() -> None:
    """Those of when it closes."""
    head = head_with()
    opened = Window(head, LabelSelection(), Overlap.of(head.num_labels))
    with torch.no_grad():
        head.module.weight.add_(1)
    report = opened.close(ALONE)
    assert report.num_inputs == 0
    torch.testing.assert_close(report.matrix("raw_cosine"), report_of(head, [inputs_of()]).matrix("raw_cosine"))


# A head watched stage by stage


class Spoken(list[str]):
    """What the user is told."""


def watch_of(head: Head, *, max_inputs: int = 1024, **selection: Any) -> tuple[HeadWatch, Spoken]:
    spoken = Spoken()
    watch = HeadWatch(
        head,
        labels=LabelSelection(**selection),
        overlap=Overlap.of(head.num_labels),
        max_inputs=max_inputs,
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
    wanted = matrices(report_of(head, [inputs_of()]))
    for rung in ("raw_cosine", "centered_cosine"):
        torch.testing.assert_close(report.matrix(rung), wanted[rung])


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


@pytest.mark.parametrize("max_tracked", [NUM_LABELS, 512, 3])
def test_labels_have_their_names(max_tracked: int) -> None:
    """Also where they are looked at as a vocabulary, whose report has those that are probable enough."""
    names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis"]
    watch, _ = watch_of(head_with([0, 30, 0, 30, 0, 0, 0, 30, 0]), max_tracked=max_tracked, names=names)
    assert watch.has_vocabulary == (max_tracked == 3)
    for stage in ("val", "test"):
        watch.open(stage)
        run(watch, stage, inputs_of())
        report = watch.close(stage, ALONE)
        assert report.names == (("bee", "dog", "hen") if max_tracked == 3 else tuple(names))
        assert [name for name, kept in zip(report.names, report.kept, strict=True) if kept] == ["bee", "dog", "hen"]


def test_without_names_labels_are_called_by_their_rows() -> None:
    watch, _ = watch_of(head_with())
    run(watch, "train", inputs_of())
    assert watch.close("train", ALONE).names == tuple("012345678")


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


@pytest.mark.parametrize("case", ["one vector of two", "nan", "mismatch in a vocabulary"])
def test_a_head_that_was_called_is_not_said_not_to_have_been(case: str) -> None:
    """Whatever made its calls useless, that is what is told."""
    layer = nn.Linear(3, 6)
    inputs = torch.randn(9, 3)
    if case == "mismatch in a vocabulary":
        layer.register_forward_hook(lambda module, args, output: output * 2)
    watch, said = small_watch(layer, max_tracked=5 if case == "mismatch in a vocabulary" else 9)
    run_batch(watch, "train", {"one vector of two": torch.randn(2, 3, 2).mT, "nan": inputs * torch.nan}.get(case, inputs))
    watch.close("train", ALONE)
    assert not any("was not called" in text for text in said)


def test_sequences_of_many_lengths_are_pooled() -> None:
    watch, said = small_watch(nn.Linear(3, 6), max_tracked=9)
    for length in (2, 3, 4):
        run_batch(watch, "train", torch.randn(2, length, 3))
    assert watch.close("train", ALONE).num_inputs == 18
    assert said == []
