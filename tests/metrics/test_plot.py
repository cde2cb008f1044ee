"""`plot()` of the metrics: named heatmaps, and bars."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import MetricTracker

from lightning_cossim.errors import InputError
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
)

K, D = 6, 4
NAMES = ["cat", "dog", "$x^2$", "a\nb", "<b>", "a name that is much too long to be shown"]
METRICS: dict[str, Metric] = {
    "Label-centered cosine": LabelCosineSimilarity(),
    "Raw cosine": LabelCosineSimilarity(centered=False),
    "Logit correlation": LogitCorrelation(K, D),
    "Log-odds variance": LogOddsVariance(K, D),
    "Probability overlap": ProbabilityOverlap(K),
    "Local log-odds": LocalLogOdds(K),
    "Rank agreement of each similarity with the probability overlap": SimilarityGap(K, D),
}
GAP = list(METRICS)[-1]
OF_STEPS = "Expected `val` to be a mapping of names to scalars, one scalar, or a sequence of either"
OF_COMPUTE = "Pass what `compute` returns."


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No test leaves a figure behind; none needs a screen."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture(params=METRICS)
def title(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def updated(title: str) -> Metric:
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = torch.randn(K, D, generator=generator), torch.randn(80, D, generator=generator)
    metric = METRICS[title].clone()
    given = {"unembedding": W_KD, "embedding": f_ND, "logits": f_ND @ W_KD.T}
    metric.update(**metric._filter_kwargs(**given))
    return metric


def test_every_metric_can_be_plotted(title: str) -> None:
    """On a figure of its own, with a title; as often as one likes."""
    for _ in range(2):
        figure, ax = updated(title).plot()
        assert ax.get_title() == title
        assert ax.figure is figure
        figure.canvas.draw()


def test_on_axes_that_are_given(title: str) -> None:
    """No other figure is made."""
    figure, axes = plt.subplots(1, 2)
    shown, ax = updated(title).plot(ax=axes[1])
    assert (shown, ax) == (figure, axes[1])
    assert len(plt.get_fignums()) == 1


def test_a_value_that_is_given(title: str) -> None:
    """As `forward` returned it, or another metric."""
    metric = updated(title)
    _, ax = metric.clone().plot(metric.compute())
    assert ax.get_title() == title


def heatmap(**settings: Any) -> Any:
    figure, ax = updated("Label-centered cosine").plot(**settings)
    figure.canvas.draw()
    return ax


def test_a_heatmap_shows_the_values_with_zero_in_the_middle() -> None:
    """The diagonal is left out; colors reach as far as the values, and as far below zero as above."""
    image = heatmap().images[0]
    wanted = updated("Label-centered cosine").compute().numpy().astype(float)
    np.fill_diagonal(wanted, np.nan)
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), wanted, atol=1e-6)
    low, high = image.get_clim()
    assert low == -high
    assert high == pytest.approx(np.nanmax(np.abs(wanted)))
    assert image.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.05)


def test_what_is_never_negative_begins_at_zero() -> None:
    _, ax = updated("Probability overlap").plot()
    image = ax.images[0]
    assert image.get_clim()[0] == 0
    assert image.cmap(0.0)[:3] == pytest.approx((1, 1, 1), abs=0.05)


def test_names_show_as_the_text_they_are() -> None:
    """On one line, shortened, and no mathematics of matplotlib's."""
    ax = heatmap(names=NAMES)
    for axis in (ax.xaxis, ax.yaxis):
        texts = axis.get_ticklabels()
        assert [text.get_text() for text in texts] == ["cat", "dog", "$x^2$", "a b", "<b>", "a name that i…"]
        assert not any(text.get_parse_math() for text in texts)


def test_of_many_labels_every_so_many_is_named() -> None:
    matrix = torch.rand(47, 47)
    _, ax = LabelCosineSimilarity().plot(matrix, names=[f"label {number}" for number in range(47)])
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == [f"label {number}" for number in range(0, 47, 3)]


def test_one_pair_in_thousands_does_not_make_the_others_pale() -> None:
    matrix = torch.full((60, 60), 0.1)
    matrix[3, 4] = matrix[4, 3] = 0.9
    _, ax = ProbabilityOverlap(60).plot(matrix)
    assert ax.images[0].get_clim()[1] == pytest.approx(0.1)
    _, ax = ProbabilityOverlap(20).plot(matrix[:20, :20])
    assert ax.images[0].get_clim()[1] == pytest.approx(0.9)


@pytest.mark.parametrize("matrix", [torch.zeros(3, 3), torch.full((3, 3), torch.nan), torch.ones(1, 1)])
def test_a_matrix_without_differences_is_drawn_too(matrix: torch.Tensor) -> None:
    figure, ax = LabelCosineSimilarity().plot(matrix)
    figure.canvas.draw()
    assert ax.images[0].get_clim() == (0, 1)


def test_bars_have_their_values_beside_them() -> None:
    metric = updated("Rank agreement of each similarity with the probability overlap")
    _, ax = metric.plot()
    scalars = metric.compute()
    names = ["raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance"]
    assert [text.get_text() for text in ax.get_yticklabels()] == names
    assert [text.get_text() for text in ax.texts] == [f"{scalars[f'rank_agreement_{name}']:.2f}" for name in names]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([scalars[f"rank_agreement_{name}"].item() for name in names])


def test_what_is_undefined_has_no_bar() -> None:
    _, ax = SimilarityGap(K, D).plot(
        {"rank_agreement_raw_cosine": torch.tensor(torch.nan), "explained_raw_cosine": torch.tensor(1.0)}, names=["raw"]
    )
    assert [text.get_text() for text in ax.texts] == ["undefined"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["raw"]


@pytest.mark.parametrize(
    ("title", "arguments", "text"),
    [
        ("Raw cosine", {"val": torch.zeros(3)}, "Expected `val` of shape (L, L), got (3,). Pass what `compute` returns."),
        ("Raw cosine", {"val": torch.zeros(2, 3)}, "Expected `val` of shape (L, L), got (2, 3). Pass what `compute` returns."),
        ("Raw cosine", {"val": {}}, "Expected `val` of shape (L, L), got dict. Pass what `compute` returns."),
        ("Raw cosine", {"names": ["a"]}, "Expected `names` to name the 6 rows, got 1 names."),
        (list(METRICS)[-1], {"names": ["a"]}, "Expected `names` to name the 4 bars, got 1 names."),
        ("Raw cosine", {"val": []}, "Expected `val` of shape (L, L), got list. Pass what `compute` returns."),
        ("Raw cosine", {"val": [torch.zeros(3)]}, "Expected `val` of shape (L, L), got (3,). Pass what `compute` returns."),
        (GAP, {"val": torch.zeros(2, 2)}, "Expected `val` to hold scalars, got (2, 2). Pass what `compute` returns."),
        (GAP, {"val": {"a": "b"}}, "Expected `val` to hold scalars, got str. Pass what `compute` returns."),
        (
            GAP,
            {"val": [{"a": 1.0}, {"b": 1.0}], "names": ["a"]},
            f"{OF_STEPS}, got different names at different steps. {OF_COMPUTE}",
        ),
        (GAP, {"val": []}, f"{OF_STEPS}, got none. {OF_COMPUTE}"),
        (GAP, {"val": [0.1, 0.2], "names": []}, "Expected `names` to name the 1 curves, got 0 names."),
    ],
)
def test_what_cannot_be_plotted_is_told(title: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        updated(title).plot(**arguments)
    assert str(caught.value) == text
    assert plt.get_fignums() == []


# Of several steps, as torchmetrics has it: a list of what `forward` or `compute` returned


@pytest.mark.parametrize("title", list(METRICS)[:-1])
@pytest.mark.parametrize("kind", [list, tuple, torch.stack])
def test_of_several_matrices_the_last_is_drawn_and_the_title_says_so(title: str, kind: Any) -> None:
    metric = updated(title)
    last = metric.compute()
    _, ax = metric.plot(kind([torch.rand(K, K), torch.rand(K, K), last]), names=list("abcdef"))
    assert ax.get_title() == f"{title}, the last of 3"
    wanted = last.numpy().astype(float)
    np.fill_diagonal(wanted, np.nan)
    np.testing.assert_allclose(np.ma.filled(ax.images[0].get_array(), np.nan), wanted)
    assert [text.get_text() for text in ax.get_yticklabels()] == list("abcdef")


SCALARS = {
    "rank_agreement_raw_cosine": [0.1, 0.2, 0.4],
    "rank_agreement_other": [0.5, torch.nan, 0.7],
    "explained_raw_cosine": [0.9, 0.9, 0.9],
}


def gap_plot(value: Any, **settings: Any) -> tuple[Any, Any]:
    return SimilarityGap(K, D).plot(value, **settings)


def steps() -> list[dict[str, torch.Tensor]]:
    return [{tag: torch.tensor(values[step]) for tag, values in SCALARS.items()} for step in range(3)]


@pytest.mark.parametrize("value", [steps(), tuple(steps()), {tag: torch.tensor(values) for tag, values in SCALARS.items()}])
def test_of_several_steps_every_similarity_has_a_curve(value: Any) -> None:
    """A list of dictionaries, or a dictionary of (S,), as `MetricTracker.compute_all` makes of them; a hole where undefined."""
    figure, ax = gap_plot(value, names=["raw", "$_other$"])
    figure.canvas.draw()
    for line, tag in zip(ax.lines, SCALARS, strict=False):
        np.testing.assert_allclose(line.get_ydata(), SCALARS[tag], rtol=1e-6)
        assert list(line.get_xdata()) == [0, 1, 2]
    assert len(ax.lines) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["raw", "$_other$"]
    assert (ax.get_xlabel(), ax.get_title()) == ("Step", GAP)


@pytest.mark.parametrize("value", [torch.tensor(0.25), torch.tensor([0.25]), 0.25, {"gap_behavior": torch.tensor(0.25)}])
def test_a_scalar_is_one_bar(value: Any) -> None:
    _, ax = gap_plot(value)
    assert [bar.get_width() for bar in ax.patches] == [0.25]
    assert ax.get_title() == "SimilarityGap"


@pytest.mark.parametrize("value", [[torch.tensor(0.25), torch.tensor(0.5)], torch.tensor([0.25, 0.5]), (0.25, 0.5)])
def test_scalars_of_several_steps_are_one_curve(value: Any) -> None:
    _, ax = gap_plot(value)
    (line,) = ax.lines
    assert list(line.get_ydata()) == [0.25, 0.5]
    assert ax.get_legend() is None


def test_a_collection_plots_the_values_of_several_steps() -> None:
    collection = MetricCollection({"mine": updated("Log-odds variance"), "gap": updated(GAP)})
    dicts = updated(GAP).compute()
    drawn: Any = collection.plot([{"mine": torch.rand(K, K), "gap": dicts} for _ in range(4)])
    assert {ax.get_title() for _, ax in drawn} == {"Log-odds variance, the last of 4", GAP}


def test_a_tracker_plots_the_scalars_of_its_steps() -> None:
    tracker = MetricTracker(SimilarityGap(K, D)["overlap_mean"], maximize=True)  # type: ignore[index]
    for seed in range(3):
        tracker.increment()
        W_KD, f_ND = torch.randn(K, D, generator=torch.Generator().manual_seed(seed)), torch.randn(50, D)
        tracker.update(W_KD, f_ND @ W_KD.T, f_ND)
    tracker.plot()
    _, ax = gap_plot(tracker.compute_all())
    np.testing.assert_allclose(ax.lines[0].get_ydata(), tracker.compute_all().numpy())


@pytest.mark.parametrize("title", list(METRICS)[:-1])
def test_a_collection_plots_each(title: str) -> None:
    """But for a metric of many scalars, whose dict a collection takes apart before it plots."""
    ((_, ax),) = MetricCollection({"mine": updated(title)}).plot()
    assert isinstance(ax, Axes)
    assert ax.get_title() == title
