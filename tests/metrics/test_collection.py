"""In a `MetricCollection`, metrics with other settings are never taken for one another, and values together are values alone."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from typing_extensions import override

from lightning_cossim import metrics
from lightning_cossim.errors import InputError
from lightning_cossim.metrics import LabelCosineSimilarity, LogitCorrelation, LogOddsVariance, ProbabilityOverlap, SimilarityGap

K, D, N = 12, 4, 40

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "LabelCosineSimilarity": ("unembedding",),
    "LocalLogOdds": ("logits",),
    "LogitCorrelation": ("unembedding", "embedding"),
    "LogOddsVariance": ("unembedding", "embedding"),
    "ProbabilityOverlap": ("logits",),
    "SimilarityGap": ("unembedding", "logits", "embedding"),
}
PLAIN: dict[str, dict[str, Any]] = {
    "LabelCosineSimilarity": {},
    "LocalLogOdds": {"num_labels": K},
    "LogitCorrelation": {"num_labels": K, "embedding_dim": D},
    "LogOddsVariance": {"num_labels": K, "embedding_dim": D},
    "ProbabilityOverlap": {"num_labels": K},
    "SimilarityGap": {"num_labels": K, "embedding_dim": D},
}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "LabelCosineSimilarity": [{"centered": False}],
    "LocalLogOdds": [
        {"link": "sigmoid"},
        {"link": "softcap"},
        {"label_subset": [0, 1, 2]},
        {"label_subset": [2, 1, 0]},
    ],
    "LogitCorrelation": [],
    "LogOddsVariance": [],
    "ProbabilityOverlap": [
        {"kind": "product"},
        {"kind": "coactivation", "threshold": 0.1},
        {"kind": "coactivation", "threshold": 0.3},
        {"kind": "topk", "k": 2},
        {"kind": "topk", "k": 3},
        {"link": "sigmoid"},
        {"link": "softcap"},
        {"label_subset": [0, 1, 2]},
        {"label_subset": [2, 1, 0]},
        {"label_subset": torch.tensor([3, 4, 5])},
    ],
    "SimilarityGap": [
        {"overlap": "product"},
        {"overlap": "coactivation", "overlap_threshold": 0.1},
        {"overlap": "coactivation", "overlap_threshold": 0.3},
        {"overlap": "topk", "overlap_k": 2},
        {"overlap": "topk", "overlap_k": 3},
        {"link": "sigmoid"},
        {"link": "cosine", "link_scale": 5.0},
        {"link": "cosine", "link_scale": 9.0},
        {"label_subset": [0, 1, 2, 5, 7]},
        {"label_subset": [0, 1, 2, 5, 8]},
        {"ignore": [0]},
        {"ignore": [1, 2]},
        {"seed": 1},
        {"min_probability": 0.0},
        {"min_probability": 0.9},
    ],
}
"""Settings of every metric, beside the plain ones: each setting occurs, those that take a number with two."""
METRICS = sorted(SETTINGS)


def built(name: str, settings: dict[str, Any] | None = None) -> Metric:
    made: Metric = getattr(metrics, name)(**PLAIN[name], **(settings or {}))
    return made


def with_all_settings(name: str) -> dict[str, Metric]:
    """One metric of every setting; the first two are plain."""
    return {f"{number:02}": built(name, settings) for number, settings in enumerate([{}, {}, *SETTINGS[name]])}


def inputs(spread: float, seed: int = 0) -> dict[str, Tensor]:
    """Of little spread, all probabilities are nearly equal, as in a model that is not trained."""
    generator = torch.Generator().manual_seed(seed)
    W_KD, f_ND = torch.randn(K, D, generator=generator), spread * torch.randn(N, D, generator=generator)
    return {"unembedding": W_KD, "logits": f_ND @ W_KD.T, "embedding": f_ND}


BATCHES = [inputs(0.0), *(inputs(2.0, seed) for seed in range(1, 4))]
"""The first one tells no settings apart: every probability is 1/K."""


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def updated(metric: Metric, batches: list[dict[str, Tensor]]) -> Metric:
    for batch in batches:
        metric.update(**metric._filter_kwargs(**batch))
    return metric


def value(metric: Metric) -> Any:
    """What it computes, or for a dictionary its scalars."""
    return metric.compute()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("how", ["update", "forward"])
def test_values_together_are_values_alone(name: str, how: str) -> None:
    collection = MetricCollection({**with_all_settings(name)})
    for batch in BATCHES:
        collection.update(**batch) if how == "update" else collection(**batch)
    for key, alone in with_all_settings(name).items():
        assert_same(value(collection[key]), value(updated(alone, BATCHES)))


@pytest.mark.parametrize("name", METRICS)
def test_equal_settings_share_their_states_and_no_others_do(name: str) -> None:
    collection = MetricCollection({**with_all_settings(name)})
    collection.update(**BATCHES[0])
    groups = sorted(sorted(group) for group in collection.compute_groups.values())
    assert groups == [["00", "01"], *([key] for key in list(collection.keys())[2:])]


def test_every_setting_of_every_metric_is_among_them() -> None:
    """A new metric, or a new argument, has to be told apart as well."""
    assert sorted(metrics.__all__) == METRICS
    for name in METRICS:
        arguments = inspect.signature(getattr(metrics, name).__init__).parameters.keys() - {"self", "kwargs"}
        named = {key for settings in SETTINGS[name] for key in settings}
        assert named == arguments - PLAIN[name].keys(), name


def test_sizes_are_told_apart_by_the_states() -> None:
    """Labels and dimensions are in the shapes."""
    assert LogitCorrelation(3, 4).unembedding.shape != LogitCorrelation(4, 3).unembedding.shape


def test_settings_that_say_the_same_in_other_words_share() -> None:
    pairs: list[tuple[Metric, Metric]] = [
        (ProbabilityOverlap(K), ProbabilityOverlap(K, "bhattacharyya", "softmax", range(K))),
        (ProbabilityOverlap(K, kind="coactivation"), ProbabilityOverlap(K, kind="coactivation", threshold=0.1)),
        (SimilarityGap(K, D, ignore=[2, 1, 2]), SimilarityGap(K, D, ignore=(1, 2))),
        (LogitCorrelation(K, D), LogOddsVariance(K, D)),
    ]
    for one, other in pairs:
        collection = MetricCollection({"one": one, "other": other})
        for batch in BATCHES:
            collection.update(**batch)
        assert len(collection.compute_groups) == 1
        for key, metric in (("one", one), ("other", other)):
            alone = metric.clone()
            alone.reset()
            assert_same(value(collection[key]), value(updated(alone, BATCHES)))


class Tempered(ProbabilityOverlap):
    """The same state, summed in another way."""

    @override
    def update(self, logits: Tensor) -> None:
        super().update(logits / 3)


def test_a_metric_that_updates_in_another_way_is_another_metric() -> None:
    collection = MetricCollection([ProbabilityOverlap(K), Tempered(K)])
    for batch in BATCHES:
        collection.update(logits=batch["logits"])
    assert_same(value(collection["Tempered"]), value(updated(Tempered(K), BATCHES)))


def test_views_of_one_scalar_are_told_apart() -> None:
    def views() -> dict[str, Metric]:
        kinds: dict[str, dict[str, Any]] = {"plain": {}, "ignore": {"ignore": [0, 1]}, "product": {"overlap": "product"}}
        return {name: built("SimilarityGap", settings)["gap_behavior"] for name, settings in kinds.items()}  # type: ignore[index]

    collection, alone = MetricCollection({**views()}), views()
    for batch in BATCHES:
        collection.update(**batch)
        for view in alone.values():
            view.update(**batch)
    values = {name: view.compute() for name, view in alone.items()}
    assert_same(collection.compute(), values)
    assert len({round(float(one), 6) for one in values.values()}) == 3


COPIES: dict[str, Callable[[Metric], Metric]] = {
    "itself": lambda metric: metric,
    "clone": lambda metric: metric.clone(),
    "copy": copy.deepcopy,
    "pickle": lambda metric: pickle.loads(pickle.dumps(metric)),  # noqa: S301 - our own bytes
    "half": lambda metric: metric.half(),
    "bfloat16": lambda metric: metric.to(torch.bfloat16),
    "float64": lambda metric: metric.set_dtype(torch.float64),
    "reset": lambda metric: (metric.reset(), metric)[1],  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("way", COPIES)
def test_settings_stay_wherever_a_metric_goes(way: str) -> None:
    collection = MetricCollection({key: COPIES[way](metric) for key, metric in with_all_settings("ProbabilityOverlap").items()})
    for batch in BATCHES:
        collection.update(**batch)
    for key, alone in with_all_settings("ProbabilityOverlap").items():
        assert_same(value(collection[key]), value(updated(alone, BATCHES)))


def test_settings_stay_on_another_device() -> None:
    """On a device of memory without values, which stands for one that we do not have."""
    kept, moved = (built("SimilarityGap", {"ignore": [3]}) for _ in range(2))
    moved.to("meta")
    assert moved._defaults.keys() == kept._defaults.keys()


def test_persistent_states_go_where_the_settings_are_the_same() -> None:
    saved = updated(ProbabilityOverlap(K, kind="product"), BATCHES)
    saved.persistent(mode=True)
    same, other = ProbabilityOverlap(K, kind="product"), ProbabilityOverlap(K)
    same.persistent(mode=True)
    same.load_state_dict(saved.state_dict())
    same.update(BATCHES[0]["logits"])
    assert_same(value(same), value(updated(ProbabilityOverlap(K, kind="product"), [*BATCHES, BATCHES[0]])))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*settings_"):
        other.load_state_dict(saved.state_dict())


def test_groups_made_by_hand_hold_equal_settings() -> None:
    """torchmetrics does not look at them."""
    kinds = {"one": ProbabilityOverlap(K), "other": ProbabilityOverlap(K, kind="product")}
    collection = MetricCollection(kinds, compute_groups=[["one", "other"]])  # type: ignore[arg-type]
    collection.update(BATCHES[1]["logits"])
    with pytest.raises(InputError) as caught:
        collection.compute()
    assert str(caught.value) == (
        "Expected `compute_groups` to group metrics with equal settings, got a ProbabilityOverlap with the states of another "
        "metric. Remove `compute_groups`: MetricCollection finds the groups itself."
    )


def test_a_collection_within_one_and_a_reset_change_nothing() -> None:
    inner = MetricCollection({**with_all_settings("ProbabilityOverlap")}, prefix="in_")
    collection = MetricCollection({"a": inner, "b": ProbabilityOverlap(K, kind="product")})
    for _ in range(2):
        collection.reset()
        for batch in BATCHES:
            collection.update(**batch)
    wanted = value(updated(ProbabilityOverlap(K, kind="product"), BATCHES))
    values = collection.compute()
    assert_same(values["b"], wanted)
    assert any(torch.equal(one.nan_to_num(9), wanted.nan_to_num(9)) for key, one in values.items() if key.endswith("02"))


def test_cosines_share_nothing_with_the_metric_of_another_quantity() -> None:
    """Each is the last unembedding seen, and computes what it is called."""
    collection = MetricCollection({"centered": LabelCosineSimilarity(), "raw": LabelCosineSimilarity(centered=False)})
    for batch in BATCHES:
        collection.update(unembedding=batch["unembedding"] + 1)
    values = collection.compute()
    rows = torch.nn.functional.normalize(BATCHES[-1]["unembedding"].double() + 1, dim=1)
    torch.testing.assert_close(values["raw"].double(), rows @ rows.T, atol=1e-5, rtol=0)
    assert not torch.allclose(values["raw"], values["centered"], atol=0.1)
