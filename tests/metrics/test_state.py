"""States keep their dtypes wherever a metric goes: a sum in too narrow a dtype would stall."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from lightning_cossim import Thresholds
from lightning_cossim.functional import precision
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
    state,
)
from tests import reference

K, D, N = 6, 4, 50
FEW = 3
"""Labels that are fewer than dimensions: what is summed then is the logits."""
METRICS: dict[str, tuple[Callable[[], Metric], tuple[str, ...]]] = {
    "cosine": (LabelCosineSimilarity, ("unembedding",)),
    "logit_correlation": (lambda: LogitCorrelation(K, D), ("unembedding", "embedding")),
    "log_odds_variance": (lambda: LogOddsVariance(K, D), ("unembedding", "embedding")),
    "overlap": (lambda: ProbabilityOverlap(K), ("logits",)),
    "counted overlap": (lambda: ProbabilityOverlap(K, kind="topk"), ("logits",)),
    "local log-odds": (lambda: LocalLogOdds(K), ("logits",)),
    "gap": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding")),
    "log_odds_variance of few labels": (lambda: LogOddsVariance(FEW, D), ("unembedding", "embedding")),
    "gap of few labels": (lambda: SimilarityGap(FEW, D), ("unembedding", "logits", "embedding")),
}
every_metric = pytest.mark.parametrize("name", METRICS)


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = torch.randn(K, D, generator=generator), torch.randn(N, D, generator=generator)
    return {"unembedding": W_KD, "logits": f_ND @ W_KD.T, "embedding": f_ND}


def updated(name: str, metric: Metric, given: dict[str, Tensor] | None = None) -> Metric:
    given = given or inputs()
    if "few labels" in name:
        given = {**given, "unembedding": given["unembedding"][:FEW], "logits": given["logits"][:, :FEW]}
    metric.update(**{argument: given[argument] for argument in METRICS[name][1]})
    return metric


def dtypes(metric: Metric) -> dict[str, torch.dtype]:
    return {state: getattr(metric, state).dtype for state in metric._defaults}


CASTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "half()": lambda module: module.half(),
    "to(bfloat16)": lambda module: module.to(torch.bfloat16),
    "to(cpu, float16)": lambda module: module.to("cpu", torch.float16),
    "double()": lambda module: module.double(),
}


@every_metric
@pytest.mark.parametrize("cast", CASTS)
def test_a_cast_of_the_model_around_it_changes_no_state(name: str, cast: str) -> None:
    """As bf16-true precision casts whole modules: neither what was added up before, nor what is afterwards."""
    metric, plain = (updated(name, METRICS[name][0]()) for _ in range(2))
    module = nn.ModuleDict({"metric": metric})
    CASTS[cast](module)
    assert dtypes(metric) == dtypes(plain)
    metric.reset()
    assert dtypes(updated(name, metric)) == dtypes(plain)
    torch.testing.assert_close(metric.compute(), plain.compute(), equal_nan=True)


def without_float64(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    for module in (precision, state):
        monkeypatch.setattr(module, "has_float64", lambda where: where.type != device)


@every_metric
def test_where_a_device_has_no_float64_such_states_stay_on_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device of memory without values, which stands for one that we do not have."""
    without_float64(monkeypatch, "meta")
    metric = METRICS[name][0]()
    metric.to("meta")
    for key in metric._defaults:
        tensor = getattr(metric, key)
        assert tensor.device.type == ("cpu" if tensor.dtype == torch.float64 else "meta"), key
    assert metric.device.type == "meta"
    metric.reset()
    assert all(
        getattr(metric, key).device.type == "cpu" for key in metric._defaults if getattr(metric, key).dtype == torch.float64
    )


@every_metric
def test_without_float64_the_values_are_those_of_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = updated(name, METRICS[name][0]()).compute()
    without_float64(monkeypatch, "cpu")
    metric = updated(name, METRICS[name][0]())
    torch.testing.assert_close(metric.compute(), wanted, rtol=1e-4, atol=1e-5, check_dtype=False, equal_nan=True)


@pytest.mark.parametrize("num_labels", [K, FEW])
def test_embeddings_far_from_the_origin_keep_their_covariance(num_labels: int) -> None:
    """A spread of 1 around 1000, in 200 batches: sums of squares in float32 would have lost it."""
    generator = torch.Generator().manual_seed(0)
    W_KD = torch.randn(num_labels, D, generator=generator)
    f_ND = torch.randn(2000, D, generator=generator) + 1000
    metric = LogOddsVariance(num_labels, D)
    for rows in torch.arange(2000).tensor_split(200):
        metric.update(W_KD, f_ND[rows])
    wanted = reference.log_odds_variance(W_KD.double().numpy(), reference.covariance(f_ND.double().numpy()))
    torch.testing.assert_close(metric.compute().double(), torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)


# Under a default dtype or a default device of the user's


@pytest.fixture(params=[torch.float16, torch.bfloat16, torch.float64], ids=str)
def default_dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


WANTED = {name: updated(name, METRICS[name][0]()) for name in METRICS}
for wanted_metric in WANTED.values():
    wanted_metric.compute()  # it is kept: later it would be of the default dtype that a test has set
GIVEN = inputs()


@every_metric
def test_a_default_dtype_of_the_user_changes_neither_states_nor_values(name: str, default_dtype: torch.dtype) -> None:
    metric = METRICS[name][0]()
    assert dtypes(metric) == dtypes(METRICS[name][0]())
    updated(name, metric, GIVEN)
    assert dtypes(metric) == dtypes(WANTED[name])
    value, wanted = metric.compute(), WANTED[name].compute()
    torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-6, check_dtype=False, equal_nan=True)
    for one in value.values() if isinstance(value, dict) else [value]:
        assert one.dtype in {torch.float32, torch.promote_types(default_dtype, torch.float32)}


def test_a_default_dtype_of_the_user_changes_no_verdict(default_dtype: torch.dtype) -> None:
    """Half precision would count no more than 2048 pairs."""
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = (torch.randn(size, D, generator=generator, dtype=torch.float32) for size in (80, 400))
    gap = SimilarityGap(80, D)
    gap.update(W_KD, f_ND @ W_KD.T, f_ND)
    thresholds = Thresholds(min_reliability=0.0, stranger=0.01, outlier=0)
    report = gap.report().judged(thresholds)
    flagged = int(report.flags["strangers"].sum())
    assert flagged
    eligible = int(report.gap.isfinite().sum())
    assert report.scalars["share_strangers"] == pytest.approx(flagged / eligible, rel=1e-6)


@every_metric
def test_a_metric_is_built_on_the_device_of_the_surrounding_block(name: str) -> None:
    """On one of memory without values, which stands for one that we do not have: settings stay on the CPU, states go there."""
    with torch.device("meta"):
        metric = METRICS[name][0]()
    assert {getattr(metric, key).device.type for key in metric._defaults} == {"meta"}
    with torch.device("cpu"):
        assert METRICS[name][0]().device.type == "cpu"


@every_metric
def test_a_default_device_of_the_user_changes_no_value(name: str) -> None:
    """The metric and its inputs are on the CPU, and what is made on the way is as well."""
    metric = METRICS[name][0]()
    with torch.device("meta"):
        updated(name, metric, GIVEN)
        value = metric.compute()
    torch.testing.assert_close(value, WANTED[name].compute(), rtol=0, atol=0, equal_nan=True)


def test_a_default_device_of_the_user_changes_no_report() -> None:
    gap, thresholds = SimilarityGap(K, D, label_subset=[0, 1, 2, 3, 5], ignore=[5]), Thresholds(min_inputs=0, min_reliability=0.0)
    with torch.device("meta"):
        gap.update(**GIVEN)
        report = gap.report().judged(thresholds)
        printed, matrix = report.to_markdown(), report.matrix("overlap")
    wanted = gap.report().judged(thresholds)
    assert printed == wanted.to_markdown()
    assert_equal(matrix, wanted.matrix("overlap"))


def test_without_other_processes_there_is_nothing_to_bring_together() -> None:
    """As in torchmetrics: `sync()` does nothing, `unsync()` says that nothing was synced."""
    metric = WANTED["gap"].clone()
    before = copy.deepcopy(metric.metric_state)
    metric.sync()
    with metric.sync_context():
        assert_equal(metric.metric_state, before)
    with pytest.raises(TorchMetricsUserError, match="already been un-synced"):
        metric.unsync()


def assert_equal(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


class Gathered:
    """Stands for the collective: notes who asked, and gives this process's state alone."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, state: Tensor, group: Any = None) -> list[Tensor]:
        self.asked += 1
        return [state]


def test_states_are_brought_together_as_the_metric_was_built_to() -> None:
    """By the function it was given; one that is given to `sync` itself comes first."""
    own, given = Gathered(), Gathered()
    metric = LogitCorrelation(K, D, dist_sync_fn=own, distributed_available_fn=lambda: True)
    metric.update(GIVEN["unembedding"], GIVEN["embedding"])
    metric.sync()
    metric.unsync()
    assert (own.asked, given.asked) == (len(metric.metric_state), 0)
    metric.sync(given)
    metric.unsync()
    assert (own.asked, given.asked) == (len(metric.metric_state),) * 2
