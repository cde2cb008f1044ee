"""SimilarityGap with targets: errors either way and the shares of the joint mass, against one loop over the inputs."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport
from tests import reference
from tests.strategies import Array

K, D, N = 7, 4, 90
SOME = [5, 0, 3]
WITHOUT = f"20 of {N - 1} inputs have no target that is a label of the head"


def head() -> Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0)) + 0.7


def embeddings() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.5, 0.4, 0.8, 1.0])


def logits() -> Tensor:
    """One row of which is not finite."""
    z = embeddings() @ head().T
    z[11, 2] = torch.nan
    return z


def targets() -> Tensor:
    """Of the first twenty inputs none is known; of every third one it is not the most likely label."""
    target = logits().nan_to_num(0).argmax(dim=1)
    target = torch.where(torch.arange(N) % 3 == 0, (target + 1 + torch.arange(N) % 2) % K, target)
    target[:10], target[10], target[12:21] = -100, K, 10**12
    return target


def profiles_of(kind: str, p: Array) -> Array:
    """What the kind multiplies, by its formula, with the settings that seven labels get."""
    if kind == "coactivation":
        return (p > 0.1).astype(float)
    if kind == "topk":
        return np.stack([[float(sum(row > value) < 2) for value in row] for row in p])
    return p if kind == "product" else np.sqrt(p)


def updated(rows: Tensor | None = None, **settings: Any) -> SimilarityGap:
    metric = SimilarityGap(K, D, **settings)
    some = torch.arange(N) if rows is None else rows
    metric.update(head(), logits()[some], embeddings()[some], targets=targets()[some])
    return metric


def assert_as_in_one_loop(report: GapReport, kind: str = "bhattacharyya", z: Tensor | None = None) -> None:
    good = np.delete(np.arange(N), 11)
    p = reference.softmax((logits() if z is None else z).double().numpy()[good])
    target = targets()[torch.from_numpy(good)].tolist()
    pairs = [(report.labels[i], report.labels[j]) for i, j in combinations(range(len(report.labels)), 2)]
    assert report.errors is not None
    assert report.joint_shares is not None
    assert report.errors.T.tolist() == [reference.errors(p, target, i, j) for i, j in pairs]
    shares = [reference.joint_shares(profiles_of(kind, p), target, i, j) for i, j in pairs]
    np.testing.assert_allclose(report.joint_shares.T.numpy(), shares, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"label_subset": SOME}], ids=["all", "some"])
@pytest.mark.parametrize("kind", ["bhattacharyya", "product", "coactivation", "topk"])
def test_errors_and_shares_are_those_of_the_inputs(kind: OverlapKind, settings: dict[str, Any]) -> None:
    """An error is one whatever other labels are compared; an input of a label that is not compared is of neither."""
    report = updated(overlap=kind, **settings).report()
    assert_as_in_one_loop(report, kind)
    assert report.errors is not None
    assert report.errors.sum() > 0


def test_batches_and_groups_add_up() -> None:
    metric = SimilarityGap(K, D)
    for rows in torch.split(torch.arange(N), [17, 1, 40, 32]):
        metric.update(head(), logits()[rows], embeddings()[rows], torch.arange(len(rows)) // 3, targets()[rows])
    assert_as_in_one_loop(metric.report())


def test_sums_of_several_metrics_are_those_of_one() -> None:
    """As the processes of a training bring them together."""
    parts = [updated(rows) for rows in torch.arange(N).tensor_split(3)]
    states: list[dict[str, Any]] = [part.metric_state for part in parts]
    together = updated()
    added = ("joint", "joint_inputs", "confusion", "target_joint", "num_targets", "prob_sum", "prob_squares", "block_inputs")
    together.load_sums({name: sum(state[name] for state in states) for name in added})
    assert_as_in_one_loop(together.report())


def test_the_value_of_one_batch_is_that_batch_s_alone() -> None:
    metric = updated()
    metric(head(), logits(), embeddings(), targets=targets())
    before = updated().report().errors
    after = metric.report().errors
    assert before is not None
    assert after is not None
    assert torch.equal(after, 2 * before)
    metric.reset()
    metric.update(head(), logits(), embeddings())
    assert metric.report().errors is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_logits_of_every_dtype_are_enough(dtype: torch.dtype) -> None:
    metric, z = SimilarityGap(K, D), logits().to(dtype)
    metric.update(head(), z, targets=targets())
    assert_as_in_one_loop(metric.report(), z=z)


# What is not known


def test_without_targets_nothing_is_told_of_them() -> None:
    metric = SimilarityGap(K, D)
    metric.update(head(), logits(), embeddings())
    assert (metric.report().errors, metric.report().joint_shares) == (None, None)
    assert "targets" not in metric.report().remarks


def test_inputs_without_a_target_are_told() -> None:
    text = f"{WITHOUT}: errors do not count them, and their joint mass counts as mass on inputs of neither label"
    assert updated().report().remarks["targets"] == text


@pytest.mark.parametrize("value", [-1, -100, K, 2**62, -(2**63)])
def test_targets_of_which_none_is_a_label_are_as_good_as_none(value: int) -> None:
    metric = SimilarityGap(K, D)
    metric.update(head(), logits(), embeddings(), targets=torch.full((N,), value))
    assert (metric.report().errors, metric.report().joint_shares) == (None, None)
    assert "targets" not in metric.report().remarks


def test_targets_without_logits_tell_nothing() -> None:
    metric = SimilarityGap(K, D)
    metric.update(head(), None, embeddings(), targets=targets())
    assert metric.report().errors is None


def test_targets_of_no_inputs_tell_nothing() -> None:
    metric = SimilarityGap(K, D)
    metric.update(head(), logits()[:0], embeddings()[:0], targets=targets()[:0])
    assert metric.report().errors is None


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (targets()[:-1], "torch.int64 of shape (89,)"),
        (targets()[:, None], "torch.int64 of shape (90, 1)"),
        (torch.zeros(N, K, dtype=torch.int64), "torch.int64 of shape (90, 7)"),
        (torch.tensor(3), "torch.int64 of shape ()"),
        (targets().float(), "torch.float32 of shape (90,)"),
        (targets() > 0, "torch.bool of shape (90,)"),
        (targets().to(torch.complex64), "torch.complex64 of shape (90,)"),
    ],
    ids=str,
)
def test_targets_that_are_not_one_label_an_input_are_told_in_one_line(wrong: Tensor, got: str) -> None:
    """And nothing was added."""
    metric = SimilarityGap(K, D)
    with pytest.raises(InputError) as caught:
        metric.update(head(), logits(), embeddings() / 0, targets=wrong)
    wanted = "Expected `targets` to be an integer tensor of shape (90,)"
    assert str(caught.value) == f"{wanted}, got {got}. Pass one label per input."
    assert metric.num_targets == metric.num_skipped == 0
    assert metric.block_inputs.sum() == 0
    assert metric.unembedding.isnan().all()


def test_under_a_sigmoid_there_is_no_single_target() -> None:
    metric = SimilarityGap(K, D, link="sigmoid")
    with pytest.raises(InputError) as caught:
        metric.update(head(), logits(), embeddings(), targets=targets())
    wanted = (
        "Expected `targets` to be None with link='sigmoid', got a Tensor. Under a sigmoid, an input can have several labels. "
        "Leave out `targets`."
    )
    assert str(caught.value) == wanted
