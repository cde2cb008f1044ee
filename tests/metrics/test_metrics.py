"""What holds for every metric: they are ordinary torchmetrics, and their values do not depend on how inputs arrive."""

import copy
import pickle
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_cossim.errors import InputError
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
)
from tests import reference
from tests.toys import matrices, padded

K, D, N = 7, 4, 120
MANY = 9
"""Dimensions that are more than the labels: what is summed then is the logits."""

Inputs = dict[str, Tensor]


def inputs(seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    W_KD = torch.randn(K, D, generator=generator) + 3
    f_ND = torch.randn(N, D, generator=generator) * torch.tensor([1.0, 0.3, 0.2, 0.6]) + 0.3
    return {"unembedding": W_KD, "logits": f_ND @ W_KD.T, "embedding": f_ND}


def numpy(tensor: Tensor) -> Any:
    return tensor.double().numpy()


def wanted_rung(rung: str, given: Inputs) -> Any:
    W, z, f = (numpy(given[key]) for key in ("unembedding", "logits", "embedding"))
    return {
        "raw_cosine": lambda: reference.cosine(W, centered=False),
        "centered_cosine": lambda: reference.cosine(W, centered=True),
        "logit_correlation": lambda: reference.logit_correlation(W, reference.covariance(f)),
        "log_odds_variance": lambda: reference.log_odds_variance(W, reference.covariance(f)),
        "overlap": lambda: reference.bhattacharyya(reference.softmax(z)),
        "sigmoid": lambda: reference.bhattacharyya(1 / (1 + np.exp(-z))),
        "product": lambda: reference.product(reference.softmax(z)),
        "coactivation": lambda: reference.coactivation(reference.softmax(z), 0.2),
        "topk": lambda: reference.top_k(reference.softmax(z), 3),
        "local_log_odds": lambda: reference.local_log_odds(reference.softmax(z)),
        "local_log_odds of a sigmoid": lambda: reference.local_log_odds(1 / (1 + np.exp(-z))),
    }[rung.removesuffix(" in many dimensions")]()


METRICS: dict[str, tuple[Callable[[], Metric], tuple[str, ...]]] = {
    "raw_cosine": (lambda: LabelCosineSimilarity(centered=False), ("unembedding",)),
    "centered_cosine": (LabelCosineSimilarity, ("unembedding",)),
    "logit_correlation": (lambda: LogitCorrelation(K, D), ("unembedding", "embedding")),
    "log_odds_variance": (lambda: LogOddsVariance(K, D), ("unembedding", "embedding")),
    "overlap": (lambda: ProbabilityOverlap(K), ("logits",)),
    "gap": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding")),
    "sigmoid": (lambda: ProbabilityOverlap(K, link="sigmoid"), ("logits",)),
    "product": (lambda: ProbabilityOverlap(K, kind="product"), ("logits",)),
    "coactivation": (lambda: ProbabilityOverlap(K, kind="coactivation", threshold=0.2), ("logits",)),
    "topk": (lambda: ProbabilityOverlap(K, kind="topk", k=3), ("logits",)),
    "local_log_odds": (lambda: LocalLogOdds(K), ("logits",)),
    "local_log_odds of a sigmoid": (lambda: LocalLogOdds(K, link="sigmoid"), ("logits",)),
    "gap under a sigmoid": (lambda: SimilarityGap(K, D, link="sigmoid"), ("unembedding", "logits", "embedding")),
    "gap of counts": (lambda: SimilarityGap(K, D, overlap="topk"), ("unembedding", "logits", "embedding")),
    "logit_correlation in many dimensions": (lambda: LogitCorrelation(K, MANY), ("unembedding", "embedding")),
    "log_odds_variance in many dimensions": (lambda: LogOddsVariance(K, MANY), ("unembedding", "embedding")),
    "gap in many dimensions": (lambda: SimilarityGap(K, MANY), ("unembedding", "logits", "embedding")),
}
every_metric = pytest.mark.parametrize("name", METRICS)


def new(name: str) -> Metric:
    return METRICS[name][0]()


def batches(name: str, given: Inputs, sizes: Iterable[int]) -> list[Inputs]:
    """The inputs of one metric, cut into batches; the unembedding comes whole with each."""
    if "many dimensions" in name:
        given = {key: tensor if key == "logits" else padded(tensor, MANY) for key, tensor in given.items()}
    starts = np.cumsum([0, *sizes])
    cuts = [slice(start, end) for start, end in pairwise(starts)]
    return [{key: given[key] if key == "unembedding" else given[key][cut] for key in METRICS[name][1]} for cut in cuts]


def updated(name: str, parts: Iterable[Inputs], metric: Metric | None = None) -> Metric:
    metric = metric or new(name)
    for part in parts:
        metric.update(**part)
    return metric


def assert_same(one: Any, other: Any, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in METRICS if not name.startswith("gap")])
def test_value_is_that_of_the_reference(name: str) -> None:
    value = updated(name, batches(name, inputs(), [50, 70])).compute()
    np.testing.assert_allclose(numpy(value), wanted_rung(name, inputs()), rtol=1e-5, atol=1e-5)


def test_gap_holds_the_rungs_of_the_other_metrics() -> None:
    """Each rung of the report is what the metric of that rung gives."""
    metric = updated("gap", batches("gap", inputs(), [50, 70]))
    assert isinstance(metric, SimilarityGap)
    rungs = matrices(metric.report())
    off_diagonal = ~torch.eye(K, dtype=torch.bool)
    for name in rungs:
        alone = updated(name, batches(name, inputs(), [N])).compute()
        assert_same(rungs[name][off_diagonal], alone[off_diagonal], 1e-5)


@every_metric
@pytest.mark.parametrize("sizes", [[1] * N, [119, 1], [40, 40, 40], [0, 120]])
def test_value_does_not_depend_on_how_inputs_are_split(name: str, sizes: list[int]) -> None:
    whole = updated(name, batches(name, inputs(), [N])).compute()
    split = updated(name, batches(name, inputs(), sizes)).compute()
    if isinstance(whole, dict):  # it is about a split of the inputs
        assert whole.pop("reliability").isnan() == (split.pop("reliability").isnan() or len(sizes) > 8)
    assert_same(split, whole, 1e-5)


@every_metric
def test_value_does_not_depend_on_order(name: str) -> None:
    parts = batches(name, inputs(), [30, 50, 40])
    assert_same(updated(name, parts[::-1]).compute(), updated(name, parts).compute(), 1e-5)


@every_metric
def test_forward_gives_the_batch_and_accumulates_the_same(name: str) -> None:
    """`metric(batch)` returns the value of the batch alone, and leaves the value that `update` would."""
    parts = batches(name, inputs(), [30, 90])
    metric = new(name)
    for part in parts:
        assert_same(metric(**part), updated(name, [part]).compute(), 1e-5)
    assert_same(metric.compute(), updated(name, parts).compute(), 1e-5)


@every_metric
def test_clone_pickle_and_copy_keep_the_state(name: str) -> None:
    """A copy taken half-way goes on to the same value, and is a metric of its own."""
    first, second = batches(name, inputs(), [30, 90])
    metric = updated(name, [first])
    half = metric.compute()
    copies = [metric.clone(), pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)]  # noqa: S301 - our own bytes
    for other in copies:
        assert_same(other.compute(), half)
        assert_same(updated(name, [second], other).compute(), updated(name, [first, second]).compute(), 1e-5)
    assert_same(metric.compute(), half)


@every_metric
def test_reset_forgets(name: str) -> None:
    """After a reset the value is that of a new metric, also when the reset happened under inference mode."""
    metric = updated(name, batches(name, inputs(1), [N]))
    metric.reset()
    wanted = updated(name, batches(name, inputs(), [N])).compute()
    assert_same(updated(name, batches(name, inputs(), [N]), metric).compute(), wanted)
    with torch.inference_mode():
        metric.reset()
    assert_same(updated(name, batches(name, inputs(), [N]), metric).compute(), wanted)


@pytest.mark.parametrize("name", ["raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance", "gap"])
@pytest.mark.parametrize("how", ["update", "forward"])
def test_last_unembedding_wins(name: str, how: str) -> None:
    """The unembedding is a snapshot: neither summed nor averaged over updates or `forward` calls."""
    first, second = batches(name, inputs(), [60, 60])
    metric = new(name)
    for part in ({**first, "unembedding": torch.randn(K, D)}, second):
        metric(**part) if how == "forward" else metric.update(**part)
    assert_same(metric.compute(), updated(name, [first, second]).compute(), 1e-6)


@every_metric
def test_snapshot_does_not_follow_the_weights(name: str) -> None:
    """Training on after `update` does not change the value."""
    given = inputs()
    metric = updated(name, batches(name, given, [N]))
    before = updated(name, batches(name, given, [N])).compute()
    for tensor in given.values():
        tensor.mul_(-7)
    assert_same(metric.compute(), before)


@every_metric
def test_needs_no_gradient(name: str) -> None:
    """Inputs that require a gradient are taken, and the value requires none."""
    given = {key: tensor.requires_grad_() for key, tensor in inputs().items() if key != "logits"}
    given["logits"] = inputs()["logits"].requires_grad_()
    value = updated(name, batches(name, given, [N])).compute()
    assert not any(tensor.requires_grad for tensor in (value.values() if isinstance(value, dict) else [value]))


@every_metric
def test_merged_states_of_two_processes_give_the_whole(name: str) -> None:
    """Each state's reduction over two processes, uneven batches, gives the value of one process that saw all."""
    parts = batches(name, inputs(), [100, 20])
    one, two = (updated(name, [part]) for part in parts)
    merged = new(name)
    merged.update(**parts[0])
    for state, reduction in one._reductions.items():
        assert callable(reduction)
        setattr(merged, state, reduction(torch.stack([getattr(one, state), getattr(two, state)])))
    assert_same(merged.compute(), updated(name, parts).compute(), 1e-5)


@pytest.mark.parametrize("name", ["logit_correlation", "log_odds_variance", "gap"])
def test_snapshot_comes_from_a_process_that_has_one(name: str) -> None:
    """A process without any batch does not spoil the unembedding of the others."""
    seen, unseen = updated(name, batches(name, inputs(), [N])), new(name)
    for stacked in ([seen.unembedding, unseen.unembedding], [unseen.unembedding, seen.unembedding]):
        reduction = seen._reductions["unembedding"]
        assert callable(reduction)
        assert_same(reduction(torch.stack([tensor for tensor in stacked if isinstance(tensor, Tensor)])), seen.unembedding)


def test_collection_takes_keywords() -> None:
    """In a MetricCollection each metric takes the keywords it knows."""
    collection = MetricCollection({name: new(name) for name in METRICS if not name.startswith("gap") and "many" not in name})
    collection.update(**inputs())
    values = collection.compute()
    for name in values:
        assert_same(values[name], updated(name, batches(name, inputs(), [N])).compute(), 1e-6)


@every_metric
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_takes_every_floating_dtype(name: str, dtype: torch.dtype) -> None:
    """The value is that of the rounded inputs in float64: halves are not computed in half."""
    given = {key: tensor.to(dtype) for key, tensor in inputs().items()}
    exact = {key: tensor.double() for key, tensor in given.items()}
    value, wanted = (updated(name, batches(name, some, [50, 70])).compute() for some in (given, exact))
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5, check_dtype=False, equal_nan=True)


@pytest.mark.parametrize("labels", [[0, 2, 5], torch.tensor([6, 1])])
def test_tracked_labels_see_the_whole_softmax(labels: list[int] | Tensor) -> None:
    """With `labels` the result is that part of the whole matrix: softmax and mean row still run over all labels."""
    given = inputs()
    index = torch.as_tensor(labels)
    part, whole = ProbabilityOverlap(K, label_subset=labels), ProbabilityOverlap(K)
    for metric in (part, whole):
        metric.update(given["logits"])
    assert_same(part.compute(), whole.compute()[index][:, index], 1e-6)
    gap_part, gap_whole = SimilarityGap(K, D, label_subset=labels), SimilarityGap(K, D)
    for gap in (gap_part, gap_whole):
        gap.update(**given)
    for rung, matrix in matrices(gap_part.report()).items():
        assert_same(matrix, gap_whole.report().matrix(rung)[index][:, index], 1e-6)


def test_an_input_with_a_nan_is_left_out_of_everything() -> None:
    """A NaN in the logits or in the embedding of an input takes that input out of the overlap and of the moments."""
    given = inputs()
    logits, embedding = given["logits"].clone(), given["embedding"].clone()
    logits[3, 1], embedding[7, 2], logits[9] = torch.nan, torch.inf, torch.nan
    good = [n for n in range(N) if n not in {3, 7, 9}]
    metric, clean = SimilarityGap(K, D), SimilarityGap(K, D)
    metric.update(given["unembedding"], logits, embedding)
    clean.update(given["unembedding"], given["logits"][good], given["embedding"][good])
    assert metric.report().num_inputs == len(good)
    for rung, matrix in matrices(metric.report()).items():
        assert_same(matrix, clean.report().matrix(rung), 1e-5)


def test_without_embeddings_the_rungs_that_need_them_are_nan() -> None:
    """Logits alone give cosines and overlap; nothing at all gives the cosines."""
    given = inputs()
    metric = SimilarityGap(K, D)
    metric.update(given["unembedding"])
    assert metric.report().matrix("overlap").isnan().all()
    assert metric.compute()["gap_translation"].isfinite()
    metric.update(given["unembedding"], given["logits"])
    report = metric.report()
    assert report.matrix("logit_correlation").isnan().all()
    assert report.undefined["gap_geometry"] == "no pair of kept labels has both similarities"
    assert metric.compute()["explained_centered_cosine"].isfinite()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: SimilarityGap(0, D), "Expected `num_labels` to be at least 1, got 0. Pass the shape of the head's weight."),
        (
            lambda: LogitCorrelation(K, 0),
            "Expected `embedding_dim` to be at least 1, got 0. Pass the shape of the head's weight.",
        ),
        (
            lambda: ProbabilityOverlap(0),
            "Expected `num_labels` to be at least 1, got 0. Pass the number of rows of the head's weight.",
        ),
        (
            lambda: ProbabilityOverlap(K, label_subset=[1, 1]),
            (
                "Expected `label_subset` to be different labels from 0 to 6, got [1, 1]. Pass the indices of rows of the head's "
                "weight."
            ),
        ),
        (
            lambda: ProbabilityOverlap(K, label_subset=torch.tensor([])),
            "Expected `label_subset` to be different labels from 0 to 6, got []. Pass the indices of rows of the head's weight.",
        ),
        (
            lambda: SimilarityGap(K, D, ignore=[7]),
            "Expected `ignore` to be different labels from 0 to 6, got [7]. Pass the indices of rows of the head's weight.",
        ),
        (
            lambda: ProbabilityOverlap(K, kind="hellinger"),  # type: ignore[arg-type]
            "Expected `kind` to be 'bhattacharyya', 'product', 'coactivation' or 'topk', got 'hellinger'.",
        ),
        (
            lambda: SimilarityGap(K, D, link="probit"),  # type: ignore[arg-type]
            "Expected `link` to be 'softmax', 'sigmoid', 'softcap' or 'cosine', got 'probit'.",
        ),
        (
            lambda: SimilarityGap(K, D).update(torch.zeros(K, D), torch.zeros(3, K), groups=torch.zeros(2, dtype=torch.int64)),
            "Expected `groups` to be an integer tensor of shape (3,), got torch.int64 of shape (2,). Pass one id per input.",
        ),
        (
            lambda: SimilarityGap(2, D, overlap="topk"),
            "Expected `overlap` to be a kind other than 'topk' for fewer than 3 labels, got 2 labels.",
        ),
        (
            lambda: SimilarityGap(K, D, min_probability=-1),
            "Expected `min_probability` to be at least 0, got -1. Pass a multiple of 1/K_live, for example 0.1.",
        ),
        (
            lambda: LabelCosineSimilarity().update(torch.zeros(3)),
            "Expected `unembedding` of shape (K, D), got (3,). Pass the head's weight, for example `model.head.weight`.",
        ),
        (
            lambda: ProbabilityOverlap(K).update(torch.zeros(3, 4)),
            "Expected `logits` of shape (N, K) = (any, 7), got (3, 4). The metric was built for these sizes.",
        ),
        (
            lambda: LogitCorrelation(K, D).update(torch.zeros(K, D + 1), torch.zeros(3, D)),
            "Expected `unembedding` of shape (K, D) = (7, 4), got (7, 5). The metric was built for these sizes.",
        ),
        (
            lambda: SimilarityGap(K, D).update(torch.zeros(K, D), torch.zeros(3, K), torch.zeros(2, D)),
            "Expected `embedding` of shape (N, D) = (3, 4), got (2, 4). The metric was built for these sizes.",
        ),
        (
            lambda: ProbabilityOverlap(K).update(torch.zeros(3, K, dtype=torch.int64)),
            "Expected `logits` with a floating-point dtype, got torch.int64. Convert it with `.float()`.",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(call: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == text
