"""A model that holds a metric is exported as one that holds a metric of torchmetrics is."""

import inspect
import warnings
from collections.abc import Callable, Iterator

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix
from typing_extensions import override

from lightning_cossim import metrics
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
)

K, D = 5, 3
HELD: dict[str, Callable[[], nn.Module]] = {
    "torchmetrics' own": lambda: MulticlassConfusionMatrix(K),
    "cosine": LabelCosineSimilarity,
    "logit correlation": lambda: LogitCorrelation(K, D),
    "log-odds variance": lambda: LogOddsVariance(K, D),
    "overlap": lambda: ProbabilityOverlap(K, label_subset=[0, 2]),
    "local log-odds": lambda: LocalLogOdds(K, label_subset=[0, 2]),
    "gap": lambda: SimilarityGap(K, D, ignore=[1]),
    "gap of a cosine head": lambda: SimilarityGap(K, D, link="cosine", link_scale=9.0),
    "several": lambda: MetricCollection([ProbabilityOverlap(K), LogOddsVariance(K, D)]),
}


class Classifier(pl.LightningModule):
    """It holds a metric and does not call it."""

    def __init__(self, metric: nn.Module) -> None:
        super().__init__()
        self.head, self.metric = nn.Linear(D, K), metric

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(inputs)
        return logits


@pytest.fixture(params=HELD)
def model(request: pytest.FixtureRequest) -> Classifier:
    held = HELD[request.param]()
    if isinstance(held, MetricCollection):
        held.update(unembedding=torch.randn(K, D), logits=torch.randn(9, K), embedding=torch.randn(9, D))
    elif isinstance(held, SimilarityGap):
        held.update(torch.randn(K, D), torch.randn(9, K), torch.randn(9, D))
        held.compute()
    return Classifier(held).eval()


@pytest.fixture(autouse=True)
def outdated() -> Iterator[None]:
    """TorchScript is deprecated, and says so; people use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_same(exported: Callable[[Tensor], Tensor], model: Classifier) -> None:
    inputs = torch.randn(2, D)
    torch.testing.assert_close(exported(inputs), model(inputs))


def test_scripted(model: Classifier) -> None:
    assert_same(model.to_torchscript(), model)  # type: ignore[arg-type]


def test_traced(model: Classifier) -> None:
    assert_same(model.to_torchscript(method="trace", example_inputs=torch.randn(2, D)), model)  # type: ignore[arg-type]


def test_exported(model: Classifier) -> None:
    assert_same(torch.export.export(model, (torch.randn(2, D),)).module(), model)


@pytest.mark.parametrize("name", metrics.__all__)
def test_no_property_of_ours_is_compiled(name: str) -> None:
    """Neither those there are nor those to come."""
    kind = getattr(metrics, name)
    own = {one for one, _ in inspect.getmembers(kind, lambda member: isinstance(member, property)) if not hasattr(Metric, one)}
    assert {"invariances", "plot_title"} <= own <= {*kind.__jit_unused_properties__}
    assert {*Metric.__jit_unused_properties__} <= {*kind.__jit_unused_properties__}


class Later(ProbabilityOverlap):
    """With one more property, of which TorchScript could make nothing."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset({"a"})


def test_a_property_of_somebodys_subclass_is_not_compiled_either() -> None:
    model = Classifier(Later(K)).eval()
    assert_same(model.to_torchscript(), model)  # type: ignore[arg-type]
