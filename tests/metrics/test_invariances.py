"""Every metric states what leaves it unchanged; from the statement come the tests, of what it names and of what it does not."""

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional.symmetries import SYMMETRIES, Symmetry
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
)
from lightning_cossim.metrics.label_cosine import WeightSimilarity
from lightning_cossim.metrics.state import SummedMetric
from tests import strategies
from tests.functional.test_invariances import heat, map_linearly, move_embeddings, raise_bias, stretch_rows, translate
from tests.strategies import Array, Head

Make = Callable[[int, int], SummedMetric]
Draw = Callable[[st.SearchStrategy[Array]], Array]

CAP, SCALE = 4.0, 5.0
METRICS: dict[str, Make] = {
    "raw cosine": lambda num_labels, dim: LabelCosineSimilarity(centered=False),
    "centered cosine": lambda num_labels, dim: LabelCosineSimilarity(),
    "logit correlation": LogitCorrelation,
    "log-odds variance": LogOddsVariance,
    "overlap": lambda num_labels, dim: ProbabilityOverlap(num_labels),
    "overlap, product": lambda num_labels, dim: ProbabilityOverlap(num_labels, kind="product"),
    "overlap, coactivation": lambda num_labels, dim: ProbabilityOverlap(num_labels, kind="coactivation"),
    "overlap, topk": lambda num_labels, dim: ProbabilityOverlap(num_labels, kind="topk"),
    "overlap of a sigmoid": lambda num_labels, dim: ProbabilityOverlap(num_labels, link="sigmoid"),
    "overlap of a sigmoid, topk": lambda num_labels, dim: ProbabilityOverlap(num_labels, kind="topk", link="sigmoid"),
    "local log-odds": lambda num_labels, dim: LocalLogOdds(num_labels),
    "local log-odds of a sigmoid": lambda num_labels, dim: LocalLogOdds(num_labels, link="sigmoid"),
    "local log-odds of a soft cap": lambda num_labels, dim: LocalLogOdds(num_labels, link="softcap"),
    "local log-odds of cosines": lambda num_labels, dim: LocalLogOdds(num_labels, link="cosine"),
    "gaps": lambda num_labels, dim: SimilarityGap(num_labels, dim, min_probability=0),
    "gaps, topk": lambda num_labels, dim: SimilarityGap(num_labels, dim, overlap="topk", min_probability=0),
    "gaps of a sigmoid": lambda num_labels, dim: SimilarityGap(num_labels, dim, link="sigmoid", min_probability=0),
    "overlap of a soft cap": lambda num_labels, dim: ProbabilityOverlap(num_labels, link="softcap"),
    "overlap of a soft cap, topk": lambda num_labels, dim: ProbabilityOverlap(num_labels, kind="topk", link="softcap"),
    "gaps of a soft cap": lambda num_labels, dim: SimilarityGap(num_labels, dim, link="softcap", min_probability=0),
    "overlap of cosines": lambda num_labels, dim: ProbabilityOverlap(num_labels, link="cosine"),
    "overlap of cosines, topk": lambda num_labels, dim: ProbabilityOverlap(num_labels, kind="topk", link="cosine"),
    "gaps of cosines": lambda num_labels, dim: SimilarityGap(num_labels, dim, link="cosine", link_scale=SCALE, min_probability=0),
}
DRAWN: dict[Symmetry, Callable[[Head, Draw], Head]] = {
    "translation": lambda head, draw: translate(head, draw(strategies.vectors(head.W.shape[1]))),
    "rotation": lambda head, draw: map_linearly(head, draw(strategies.orthogonal_matrices(head.W.shape[1]))),
    "linear_map": lambda head, draw: map_linearly(head, draw(strategies.invertible_matrices(head.W.shape[1]))),
    "global_scale": lambda head, draw: head._replace(W=head.W * draw(strategies.row_scales(1))),
    "row_scale": lambda head, draw: stretch_rows(head, draw(strategies.row_scales(len(head.W)))),
    "temperature": lambda head, draw: heat(head, float(draw(strategies.row_scales(1))[0, 0])),
    "embedding_shift": lambda head, draw: move_embeddings(head, draw(strategies.vectors(head.W.shape[1]))),
    "bias_shift": lambda head, draw: raise_bias(head, float(draw(strategies.vectors(1))[0])),
    "embedding_scale": lambda head, draw: head._replace(f=head.f * draw(strategies.row_scales(len(head.f)))),
    "label_permutation": lambda head, draw: renamed(head, draw(strategies.permutations(len(head.W)))),  # type: ignore[arg-type]
}
GENERATOR = np.random.default_rng(3)
HEAD = Head(GENERATOR.normal(size=(8, 3)), GENERATOR.normal(size=8), GENERATOR.normal(size=(200, 3)) * [1.5, 1.0, 0.5] + 0.3)
FIXED: dict[Symmetry, Head] = {
    "translation": translate(HEAD, np.array([3.0, -2.0, 1.0])),
    "linear_map": map_linearly(HEAD, np.array([[4.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 0.25]])),
    "global_scale": HEAD._replace(W=3 * HEAD.W),
    "row_scale": stretch_rows(HEAD, np.array([4.0, 1.0, 0.3, 2.0, 0.5, 1.0, 0.7, 1.5])[:, None]),
    "temperature": heat(HEAD, 3.0),
    "embedding_shift": move_embeddings(HEAD, np.array([2.0, -1.0, 0.5])),
    "bias_shift": raise_bias(HEAD, 2.0),
    "embedding_scale": HEAD._replace(f=HEAD.f * GENERATOR.uniform(0.3, 3, size=(200, 1))),
}
"""What moves a metric that does not name it, far beyond rounding. The other two move none."""


def renamed(head: Head, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Head:
    return head._replace(W=head.W[order], b=head.b[order])


def final_logits(metric: SummedMetric, head: Head) -> Array:
    """Of the model that a metric's link is about."""
    link = metric.overlap.link if isinstance(metric, ProbabilityOverlap | SimilarityGap) else "softmax"
    link = metric.link if isinstance(metric, LocalLogOdds) else link
    if link == "cosine":
        lengths = np.linalg.norm(head.f, axis=1)[:, None] * np.linalg.norm(head.W, axis=1)
        cosines: Array = SCALE * (head.f @ head.W.T) / lengths
        return cosines
    z = head.f @ head.W.T + head.b
    return CAP * np.tanh(z / CAP) if link == "softcap" else z


def value(make: Make, head: Head) -> dict[str, Tensor]:
    """What a metric says of a head: one matrix, or scalars by name."""
    metric = make(*head.W.shape)
    W, f, logits = torch.from_numpy(head.W), torch.from_numpy(head.f), torch.from_numpy(final_logits(metric, head))
    if isinstance(metric, SimilarityGap):
        metric.update(W, logits, f)
    elif isinstance(metric, ProbabilityOverlap | LocalLogOdds):
        metric.update(logits)
    elif isinstance(metric, WeightSimilarity):
        metric.update(W)
    else:
        metric.update(W, f)
    computed = metric.compute()
    return computed if isinstance(computed, dict) else {"matrix": computed}


def change(make: Make, moved: Head, head: Head) -> float:
    """The largest of any number, in units of the largest of its kind."""
    before, after = value(make, head), value(make, moved)
    found = [0.0]
    for name, old in before.items():
        known = old.isfinite()
        if not torch.equal(known, after[name].isfinite()):
            return math.inf
        if known.any():
            found.append(float((after[name] - old)[known].abs().max() / old[known].abs().max().clamp(min=1e-3)))
    return max(found)


def stated(make: Make) -> frozenset[Symmetry]:
    return make(8, 3).invariances


CELLS = [(name, symmetry) for name, make in METRICS.items() for symmetry in sorted(stated(make))]
OTHERS = [(name, symmetry) for name, make in METRICS.items() for symmetry in sorted({*FIXED} - stated(make))]


@pytest.mark.parametrize(("name", "symmetry"), CELLS)
@settings(max_examples=20)
@given(data=st.data())
def test_what_a_metric_names_leaves_it_unchanged(name: str, symmetry: Symmetry, data: st.DataObject) -> None:
    head = data.draw(strategies.heads(scale=1))
    make = METRICS[name]
    if symmetry == "label_permutation" and not isinstance(make(*head.W.shape), SimilarityGap):
        order = data.draw(strategies.permutations(len(head.W)))
        before, after = value(make, head)["matrix"], value(make, renamed(head, order))["matrix"]
        torch.testing.assert_close(after, before[np.ix_(order, order)], rtol=1e-4, atol=1e-5, equal_nan=True)
        return
    assert change(make, DRAWN[symmetry](head, data.draw), head) < 2e-4


@pytest.mark.parametrize(("name", "symmetry"), OTHERS)
def test_what_a_metric_does_not_name_moves_it(name: str, symmetry: Symmetry) -> None:
    """So nobody can state too little either."""
    assert change(METRICS[name], FIXED[symmetry], HEAD) > 5e-3


def test_every_metric_states_something() -> None:
    """Of the symmetries that there are; and some move what no metric may be moved by, which the tests above would see."""
    for name, make in METRICS.items():
        assert {"rotation", "label_permutation"} <= stated(make) <= {*get_args(Symmetry)}
        assert ("embedding_shift" in stated(make)) == ("cosines" not in name)
    assert {*SYMMETRIES} == {*get_args(Symmetry)} == {*DRAWN}
    assert "invariances" in SummedMetric.__abstractmethods__, "a metric that states nothing cannot be made"
