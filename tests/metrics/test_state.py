"""States keep their dtypes wherever a metric goes: a sum in too narrow a dtype would stall."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_cossim.functional import precision
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
    state,
)
from tests import reference

K, D, N = 6, 4, 50
METRICS: dict[str, tuple[Callable[[], Metric], tuple[str, ...]]] = {
    "cosine": (LabelCosineSimilarity, ("unembedding",)),
    "logit_correlation": (lambda: LogitCorrelation(K, D), ("unembedding", "embedding")),
    "log_odds_variance": (lambda: LogOddsVariance(K, D), ("unembedding", "embedding")),
    "overlap": (lambda: ProbabilityOverlap(K), ("logits",)),
    "counted overlap": (lambda: ProbabilityOverlap(K, kind="topk"), ("logits",)),
    "gap": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding")),
}
every_metric = pytest.mark.parametrize("name", METRICS)


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = torch.randn(K, D, generator=generator), torch.randn(N, D, generator=generator)
    return {"unembedding": W_KD, "logits": f_ND @ W_KD.T, "embedding": f_ND}


def updated(name: str, metric: Metric) -> Metric:
    metric.update(**{argument: inputs()[argument] for argument in METRICS[name][1]})
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


def test_embeddings_far_from_the_origin_keep_their_covariance() -> None:
    """A spread of 1 around 1000, in 200 batches: sums of squares in float32 would have lost it."""
    generator = torch.Generator().manual_seed(0)
    W_KD = torch.randn(K, D, generator=generator)
    f_ND = torch.randn(2000, D, generator=generator) + 1000
    metric = LogOddsVariance(K, D)
    for rows in torch.arange(2000).tensor_split(200):
        metric.update(W_KD, f_ND[rows])
    wanted = reference.log_odds_variance(W_KD.double().numpy(), reference.covariance(f_ND.double().numpy()))
    torch.testing.assert_close(metric.compute().double(), torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)
