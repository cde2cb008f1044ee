"""The metrics in torchmetrics' wrappers: right, or refused by name where a wrapper cuts the unembedding as well as the inputs."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import (
    BootStrapper,
    ClasswiseWrapper,
    MetricTracker,
    MinMaxMetric,
    MultioutputWrapper,
    MultitaskWrapper,
    Running,
)
from typing_extensions import override

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

K, D, N = 6, 4, 400

Given = tuple[Tensor, ...]


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = torch.randn(K, D, generator=generator), torch.randn(N, D, generator=generator)
    return {"unembedding": W_KD, "logits": f_ND @ W_KD.T, "embedding": f_ND}


OF_WEIGHTS: dict[str, tuple[Callable[[], Metric], tuple[str, ...]]] = {
    "raw cosine": (lambda: LabelCosineSimilarity(centered=False), ("unembedding",)),
    "cosine": (LabelCosineSimilarity, ("unembedding",)),
    "logit correlation": (lambda: LogitCorrelation(K, D), ("unembedding", "embedding")),
    "log-odds variance": (lambda: LogOddsVariance(K, D), ("unembedding", "embedding")),
}
BOOTSTRAPPED = (
    "Expected `unembedding` to be the head's weight, got one from BootStrapper, which resamples its rows (the labels). For an "
    "error bar, resample only the inputs: call `copy.update(unembedding, embedding[rows])` on copies that `metric.clone()` makes."
)
SPLIT = (
    "Expected `unembedding` to be the head's weight, got one from MultioutputWrapper, which splits its columns. Update the "
    "metric without this wrapper."
)


def given(name: str) -> Given:
    return tuple(inputs()[argument] for argument in OF_WEIGHTS[name][1])


@pytest.mark.parametrize("name", OF_WEIGHTS)
@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
@pytest.mark.parametrize("how", ["update", "forward", "keywords"])
def test_a_bootstrapper_is_refused_by_name(name: str, strategy: str, how: str) -> None:
    """Whatever comes out of its sampling: the right number of rows, another one, or by chance the rows themselves."""
    wrapper = BootStrapper(OF_WEIGHTS[name][0](), num_bootstraps=3, sampling_strategy=strategy)
    named = dict(zip(OF_WEIGHTS[name][1], given(name), strict=True))
    arguments, keywords = ((), named) if how == "keywords" else (given(name), {})
    with pytest.raises(InputError) as caught:
        (wrapper if how == "forward" else wrapper.update)(*arguments, **keywords)
    assert str(caught.value) == BOOTSTRAPPED


@pytest.mark.parametrize("inner", ["min and max", "composed"])
def test_a_bootstrapper_is_refused_by_name_around_other_wrappers(inner: str) -> None:
    metric = LogOddsVariance(K, D)
    wrapper = BootStrapper(MinMaxMetric(metric[0]) if inner == "min and max" else metric + metric, num_bootstraps=2)
    with pytest.raises(InputError, match="BootStrapper"):
        wrapper.update(*given("log-odds variance"))


class Mine(BootStrapper):
    """Somebody's own."""

    @override
    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)


def test_a_bootstrapper_of_somebodys_own_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="BootStrapper"):
        Mine(LogitCorrelation(K, D), num_bootstraps=2).update(*given("logit correlation"))


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
def test_the_scalars_of_a_gap_are_unknown_there_and_a_warning_says_why(strategy: str) -> None:
    view = SimilarityGap(K, D)["gap_behavior"]  # type: ignore[index]
    wrapper = BootStrapper(view, num_bootstraps=2, sampling_strategy=strategy)
    with pytest.warns(UserWarning, match="BootStrapper") as caught:
        wrapper.update(*inputs().values())
    text = f"SimilarityGap leaves out this batch: its scalars stay NaN without other batches. {BOOTSTRAPPED}"
    assert {str(one.message) for one in caught} == {text}
    assert all(value.isnan() for value in wrapper.compute().values())


def test_after_a_bootstrapper_the_metric_itself_works() -> None:
    metric = LogitCorrelation(K, D)
    with pytest.raises(InputError):
        BootStrapper(metric, num_bootstraps=2).update(*given("logit correlation"))
    metric.update(*given("logit correlation"))
    wanted = reference.logit_correlation(*(numpy(one) for one in (inputs()["unembedding"], covariance())))
    np.testing.assert_allclose(numpy(metric.compute()), wanted, atol=1e-5)


def covariance() -> Tensor:
    return torch.from_numpy(reference.covariance(numpy(inputs()["embedding"])))


def numpy(tensor: Tensor) -> Any:
    return tensor.double().numpy()


@pytest.mark.parametrize(
    ("metric", "formula", "tolerance"),
    [(ProbabilityOverlap, reference.bhattacharyya, 0.01), (LocalLogOdds, reference.local_log_odds, 0.1)],
)
def test_what_takes_inputs_only_is_bootstrapped_as_the_formula_is(
    metric: type[ProbabilityOverlap | LocalLogOdds], formula: Callable[[Any], Any], tolerance: float
) -> None:
    """The error bar is that of inputs that NumPy resamples."""
    z_NK = inputs()["logits"]
    torch.manual_seed(0)
    wrapper = BootStrapper(metric(K), num_bootstraps=100, sampling_strategy="multinomial")
    wrapper.update(z_NK)
    random, probs = np.random.default_rng(0), reference.softmax(numpy(z_NK))
    wanted = np.stack([formula(probs[random.integers(N, size=N)]) for _ in range(100)])
    found, pair = wrapper.compute(), (0, 1)
    assert found["mean"][pair].item() == pytest.approx(wanted.mean(axis=0)[pair], abs=tolerance)
    assert found["std"][pair].item() == pytest.approx(wanted.std(axis=0)[pair], rel=0.3)


def test_the_error_bar_that_the_error_names_is_that_of_the_formula() -> None:
    """Copies that `clone()` makes, the unembedding as it is, resampled inputs: against NumPy's resampling."""
    given, metric, generator = inputs(), LogitCorrelation(K, D), torch.Generator().manual_seed(0)
    copies = [metric.clone() for _ in range(100)]
    for copy in copies:
        for rows in (
            torch.randint(N // 2, (N // 2,), generator=generator),
            torch.randint(N // 2, N, (N // 2,), generator=generator),
        ):
            copy.update(given["unembedding"], given["embedding"][rows])  # two batches
    found = torch.stack([copy.compute() for copy in copies]).std(dim=0)
    random, W, f = np.random.default_rng(0), numpy(given["unembedding"]), numpy(given["embedding"])
    values = [reference.logit_correlation(W, reference.covariance(f[random.integers(N, size=N)])) for _ in range(100)]
    wanted = np.stack(values).std(axis=0)
    off_diagonal = ~np.eye(K, dtype=bool)
    np.testing.assert_allclose(numpy(found)[off_diagonal], wanted[off_diagonal], rtol=0.4)


@pytest.mark.parametrize("squeezes", [True, False])
@pytest.mark.parametrize("how", ["update", "forward"])
def test_a_wrapper_that_splits_by_columns_is_refused_by_name(how: str, *, squeezes: bool) -> None:
    wrapper = MultioutputWrapper(LabelCosineSimilarity(), num_outputs=D, remove_nans=False, squeeze_outputs=squeezes)
    with pytest.raises(InputError) as caught:
        (wrapper.update if how == "update" else wrapper)(inputs()["unembedding"])
    assert str(caught.value) == SPLIT


@pytest.mark.parametrize("metric", [ProbabilityOverlap, LocalLogOdds])
def test_running_is_the_value_of_the_last_batches(metric: type[ProbabilityOverlap | LocalLogOdds]) -> None:
    z_NK, cuts = inputs()["logits"], [0, 100, 150, 300, 400]
    wrapper, wanted = Running(metric(K), window=2), metric(K)
    for start, end in pairwise(cuts):
        wrapper.update(z_NK[start:end])
    wanted.update(z_NK[150:])
    torch.testing.assert_close(wrapper.compute(), wanted.compute())
    with pytest.raises(ValueError, match="full_state_update"):  # torchmetrics refuses a snapshot
        Running(LogitCorrelation(K, D))


def test_minimum_and_maximum_are_those_of_the_scalar() -> None:
    wrapper = MinMaxMetric(SimilarityGap(K, D)["overlap_mean"])  # type: ignore[index]
    values = []
    for cut in (slice(0, 50), slice(50, 300), slice(300, N)):
        wrapper.update(inputs()["unembedding"], inputs()["logits"][cut], inputs()["embedding"][cut])
        values.append(wrapper.compute())
    plain = SimilarityGap(K, D)
    plain.update(**inputs())
    torch.testing.assert_close(values[-1]["raw"], plain.compute()["overlap_mean"])
    assert values[-1]["max"] == max(value["raw"] for value in values)
    assert values[-1]["min"] == min(value["raw"] for value in values)


def test_classes_are_the_rows_of_the_matrix() -> None:
    wrapper, plain = ClasswiseWrapper(LogOddsVariance(K, D), labels=list("abcdef")), LogOddsVariance(K, D)
    for metric in (wrapper, plain):
        metric.update(*given("log-odds variance"))
    for row, name in enumerate("abcdef"):
        assert torch.equal(wrapper.compute()[f"logoddsvariance_{name}"], plain.compute()[row])


def test_tasks_are_kept_apart() -> None:
    wrapper = MultitaskWrapper({"one": LogitCorrelation(K, D), "other": LogitCorrelation(K, D)})
    one, other = given("logit correlation"), (inputs()["unembedding"].flip(0), inputs()["embedding"][:50])
    wrapper.update({"one": one[0], "other": other[0]}, {"one": one[1], "other": other[1]})
    for name, arguments in (("one", one), ("other", other)):
        plain = LogitCorrelation(K, D)
        plain.update(*arguments)
        assert torch.equal(wrapper.compute()[name], plain.compute())


def test_a_tracker_keeps_every_epoch() -> None:
    collection = MetricCollection({"overlap": ProbabilityOverlap(K), "variance": LogOddsVariance(K, D)})
    tracker = MetricTracker(collection, maximize=[True, True])
    for end in (100, 200, N):
        tracker.increment()
        tracker.update(**{key: value if key == "unembedding" else value[:end] for key, value in inputs().items()})
    plain = ProbabilityOverlap(K)
    plain.update(inputs()["logits"][:200])
    values = tracker.compute_all()
    assert values["overlap"].shape == (3, K, K)
    torch.testing.assert_close(values["overlap"][1], plain.compute())
