"""GapReport: the numbers of one snapshot, against a slow NumPy computation from THEORY's formulas."""

import html
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from functools import reduce
from itertools import combinations
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lightning_cossim import Thresholds
from lightning_cossim.errors import InputError, LabelSimilarityError
from lightning_cossim.functional.comparison import Comparison
from lightning_cossim.functional.ladder import MEASURES, RUNGS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport, Pair, Side
from lightning_cossim.report.extras import ReachabilityVerdicts
from lightning_cossim.report.text import as_page
from tests import reference
from tests.toys import alone, altered, in_first_half, matrices

Array = npt.NDArray[np.float64]

TOO_FEW = "6 pairs of labels, at least 10 are needed"
HOSTILE = ("a|b", "*bold*", "<b>loud</b>", "`code`\\", "two\nlines", "🐱 猫", "שלום")


@dataclass(frozen=True)
class Run:
    """A small random head and what it sees."""

    unembedding: Tensor
    bias: Tensor
    embedding: Tensor

    @property
    def logits(self) -> Tensor:
        return self.embedding @ self.unembedding.T + self.bias

    def report(self, **settings: Any) -> GapReport:
        num_labels, embedding_dim = self.unembedding.shape
        metric = SimilarityGap(num_labels, embedding_dim, **settings)
        metric.update(self.unembedding, self.logits, self.embedding, groups=alone(len(self.embedding)))
        return metric.report()


def random_run(num_labels: int = 7, embedding_dim: int = 4, num_inputs: int = 60, seed: int = 0, size: float = 1.0) -> Run:
    """Rows with a common mode and embeddings that are not isotropic, so that all rungs differ."""
    generator = torch.Generator().manual_seed(seed)
    unembedding = torch.randn(num_labels, embedding_dim, generator=generator) + 0.5
    embedding = torch.randn(num_inputs, embedding_dim, generator=generator) * torch.linspace(0.2, 2, embedding_dim)
    return Run(size * unembedding, torch.randn(num_labels, generator=generator), embedding)


def without_label(run: Run, label: int) -> Run:
    """The same run with one label that is never probable."""
    bias = run.bias.clone()
    bias[label] = -50
    return replace(run, bias=bias)


# The slow computation, from THEORY §3-5


def normalized(gram: Array) -> Array:
    """A Gram matrix to cosines."""
    length = np.sqrt(np.diag(gram))
    cosines: Array = gram / np.outer(length, length)
    return cosines


def slow_ladder(run: Run, live: Sequence[int]) -> dict[str, Array]:
    W, f, z = (tensor.double().numpy() for tensor in (run.unembedding, run.embedding, run.logits))
    centered = W - W[list(live)].mean(axis=0)
    covariance = np.cov(f.T, bias=True)
    probs = np.exp(z - z.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    variance = np.array([[np.var((f @ W.T)[:, i] - (f @ W.T)[:, j]) for j in range(len(W))] for i in range(len(W))])
    return {
        "raw_cosine": normalized(W @ W.T),
        "centered_cosine": normalized(centered @ centered.T),
        "logit_correlation": normalized(centered @ covariance @ centered.T),
        "log_odds_variance": variance,
        "overlap": normalized(np.sqrt(probs).T @ np.sqrt(probs)),
        "probs": probs,
    }


def slow_fit(similarity: Array, overlap: Array) -> Array:
    """Isotonic regression by its max-min formula, of pairs whose similarities all differ."""
    order = np.argsort(similarity)
    o = overlap[order]
    n = len(o)
    fit = [max(min(o[i : j + 1].mean() for j in range(k, n)) for i in range(k + 1)) for k in range(n)]
    return np.array(fit)[np.argsort(order)]


def slow_expected(similarity: Array, overlap: Array) -> Array:
    """The fit of all other pairs, whose similarities all differ: at each the straight line between its two neighbors."""
    expected, order = np.full(len(overlap), np.nan), np.argsort(similarity)
    for pair in order:
        others = order[order != pair]
        expected[pair] = np.interp(similarity[pair], similarity[others], slow_fit(similarity[others], overlap[others]))
    return expected


def slow_explained(similarity: Array, overlap: Array) -> float:
    fit = slow_fit(similarity, overlap)
    n, levels = len(fit), len(np.unique(fit.round(12)))
    unexplained = ((overlap - fit) ** 2).sum() / ((overlap - overlap.mean()) ** 2).sum()
    return 1 - float(unexplained) * (n - 1) / (n - levels)


def slow_scalars(run: Run, *, live: Sequence[int], kept: Sequence[int]) -> dict[str, float]:
    ladder = slow_ladder(run, live)
    pairs = list(combinations(kept, 2))
    rung = {name: np.array([matrix[pair] for pair in pairs]) for name, matrix in ladder.items() if name in RUNGS}
    W = run.unembedding.double().numpy()[list(live)]
    alike = {name: -values if name == "log_odds_variance" else values for name, values in rung.items() if name != "overlap"}
    agreement = {name: slow_ranks_agree(values, rung["overlap"]) for name, values in alike.items()}
    scalars = {f"rank_agreement_{name}": value for name, value in agreement.items()}
    scalars |= {f"explained_{name}": slow_explained(values, rung["overlap"]) for name, values in alike.items()}
    in_first = torch.from_numpy(in_first_half([alone(len(run.embedding))]))
    halves = [slow_ladder(Run(run.unembedding, run.bias, run.embedding[half]), live)["overlap"] for half in (in_first, ~in_first)]
    count = np.isin(np.arange(len(run.unembedding)), list(kept))
    first, second = (np.where(np.outer(count, count), half, np.nan) for half in halves)
    return scalars | {
        "reliability": reference.reliability(first, second),
        "residual_scale": 1.4826
        * float(np.median(abs(rung["overlap"] - slow_expected(rung["centered_cosine"], rung["overlap"])))),
        "gap_translation": float(abs(rung["raw_cosine"] - rung["centered_cosine"]).mean()),
        "gap_geometry": float(abs(rung["centered_cosine"] - rung["logit_correlation"]).mean()),
        "gap_behavior": 1 - max(0, agreement["centered_cosine"]),
        "overlap_mean": float(rung["overlap"].mean()),
        "common_mode_ratio": float(np.linalg.norm(W.mean(axis=0)) / np.sqrt(((W - W.mean(axis=0)) ** 2).sum(axis=1).mean())),
    }


def slow_ranks_agree(similarity: Array, overlap: Array) -> float:
    """rho_a where nothing is tied: Spearman's rho from the squared differences of ranks."""
    difference = np.argsort(np.argsort(similarity)) - np.argsort(np.argsort(overlap))
    n = len(similarity)
    return 1 - 6 * float((difference**2).sum()) / (n**3 - n)


# Scalars


@pytest.mark.parametrize(
    ("run", "settings", "live", "kept"),
    [
        pytest.param(random_run(), {}, range(7), range(7), id="all labels"),
        pytest.param(random_run(9, 5, seed=3), {}, range(9), range(9), id="another head"),
        pytest.param(without_label(random_run(), 3), {}, range(7), [0, 1, 2, 4, 5, 6], id="an improbable label"),
        pytest.param(random_run(), {"ignore": [1]}, [0, 2, 3, 4, 5, 6], [0, 2, 3, 4, 5, 6], id="a label to ignore"),
        pytest.param(random_run(9, seed=1), {"label_subset": [8, 0, 3, 5, 6]}, range(9), [0, 3, 5, 6, 8], id="some labels"),
    ],
)
def test_scalars_are_those_of_the_theory(run: Run, settings: dict[str, Any], live: Sequence[int], kept: Sequence[int]) -> None:
    """Mean row and common mode over live labels; pairs i < j of kept ones, each once."""
    report = run.report(**settings)
    assert dict(report.scalars) == pytest.approx(slow_scalars(run, live=live, kept=kept), rel=2e-4, abs=2e-5)
    assert set(report.undefined) & set(report.scalars) == set()
    assert report.num_live == len(live)
    assert report.num_pairs == math.comb(len(kept), 2)
    assert report.num_inputs == 60


def test_ranks_agree_as_in_the_theory() -> None:
    """By similarity the same numbers as among the scalars, and what is undefined is undefined in both."""
    run = random_run()
    scalars = slow_scalars(run, live=range(7), kept=range(7))
    report = run.report()
    assert list(report.rank_agreement) == [name for name in RUNGS if name != "overlap"]
    assert dict(report.rank_agreement) == pytest.approx(
        {name: scalars[f"rank_agreement_{name}"] for name in report.rank_agreement}, abs=1e-5
    )
    for one in (report, random_run(4).report(), run.report(link="sigmoid")):
        np.testing.assert_equal(
            {f"rank_agreement_{name}": value for name, value in one.rank_agreement.items()},
            {name: value for name, value in one.scalars.items() if name.startswith("rank_agreement_")},
        )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_behavior_gap_lies_between_0_and_1(sign: int) -> None:
    """Overlaps in the reverse order of the cosines are no further off than overlaps in no common order (THEORY §5)."""
    probs = torch.rand(400, 7, generator=torch.Generator().manual_seed(0))
    overlap = reference.bhattacharyya((probs / probs.sum(dim=1, keepdim=True)).numpy())
    pair = np.triu_indices(7, 1)
    spread = (overlap - overlap[pair].mean()) / overlap[pair].std()
    np.fill_diagonal(spread, 0)
    rows = np.linalg.cholesky(np.eye(7) + sign * 0.15 * spread)  # their cosines rise, or fall, with the overlaps
    metric = SimilarityGap(num_labels=7, embedding_dim=7)
    metric.update(torch.from_numpy(rows).float(), probs.log())
    agreement = reference.rank_agreement(reference.cosine(rows, centered=True), overlap)
    assert sign * agreement > 0.5
    assert metric.report().scalars["gap_behavior"] == pytest.approx(1 - agreement if sign > 0 else 1, abs=1e-6)


def test_matrices_are_the_ladder() -> None:
    run = random_run()
    report, ladder = run.report(), slow_ladder(run, range(7))
    assert list(report.rungs) == ["raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance", "overlap"]
    for name, matrix in matrices(report).items():
        np.testing.assert_allclose(matrix.numpy(), ladder[name], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(report.mean_probs.numpy(), ladder["probs"].mean(axis=0), rtol=1e-5)


def test_cosines_of_the_paper() -> None:
    """THEORY §8, the authors' first matrix."""
    W = torch.tensor([[1, 0.5], [0.5, 1], [-1, 0.4], [-0.8, -0.8], [0.9, -1.2]])
    report = Run(W, torch.zeros(5), random_inputs(2)).report()
    assert report.matrix("raw_cosine")[0, 1].item() == pytest.approx(0.8)
    assert report.matrix("centered_cosine")[0, 1].item() == pytest.approx(0.777278358974)
    assert report.scalars["gap_translation"] > 0


def random_inputs(embedding_dim: int) -> Tensor:
    return torch.randn(30, embedding_dim, generator=torch.Generator().manual_seed(7))


def test_expected_overlap_is_the_fit_of_other_pairs_on_the_centered_cosine_and_gaps_are_what_is_left() -> None:
    """The curve that pictures draw is that of all pairs, and rises with the cosine."""
    run = random_run()
    report, ladder = run.report(), slow_ladder(run, range(7))
    row, column = np.triu_indices(7, 1)
    overlap = ladder["overlap"][row, column]
    expected = slow_expected(ladder["centered_cosine"][row, column], overlap)
    np.testing.assert_allclose(report.expected_overlap, expected, atol=1e-5)
    np.testing.assert_allclose(report.gap, overlap - expected, atol=1e-5)
    np.testing.assert_allclose(report.expected_curve, slow_fit(ladder["centered_cosine"][row, column], overlap), atol=1e-5)
    assert (report.expected_curve[report.rungs["centered_cosine"].argsort()].diff() >= 0).all()
    gap = report.matrix("gap")
    np.testing.assert_allclose(gap[row, column], report.gap)
    assert torch.equal(gap.nan_to_num(9), gap.T.nan_to_num(9))
    assert gap.diagonal().isnan().all()


def test_rows_of_the_head_decide_which_pairs_are_left_out_together() -> None:
    """Not the places among the labels that are looked at: with other labels beside it a pair would leave with other pairs."""
    rows = list(range(1, 44, 2))
    report = random_run(44).report(label_subset=rows, min_probability=0)
    s_P, o_P, place = report.rungs["centered_cosine"], report.rungs["overlap"], report.compared
    assert len(place) == 231
    of_rows = Pairs(torch.tensor(rows)[place.row], torch.tensor(rows)[place.column])
    assert torch.equal(report.expected_overlap, Comparison(s_P, o_P, of_rows).expected)
    assert not torch.equal(report.expected_overlap, Comparison(s_P, o_P, place).expected)


# Which labels count


def test_an_improbable_label_drops_out_of_every_pair() -> None:
    """Its rows and columns are NaN in every matrix, its mean probability is still told."""
    report = without_label(random_run(), 3).report()
    dropped = torch.tensor([label == 3 for label in range(7)])
    assert report.kept.tolist() == [label != 3 for label in range(7)]
    for matrix in (*matrices(report).values(), report.matrix("expected_overlap")):
        assert matrix[dropped].isnan().all()
        assert matrix[:, dropped].isnan().all()
    for matrix in matrices(report).values():
        assert matrix[~dropped][:, ~dropped].isfinite().all()
    assert 0 < report.mean_probs[3] < 1e-12
    assert report.num_live == 7
    assert "3" not in {name for pair in report.pairs() for name in (pair.label, pair.other)}


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"min_probability": 0}, True),
        ({"min_probability": 0.199}, True),
        ({"min_probability": 0.201}, False),
        ({"min_probability": 0.149, "ignore": [0]}, True),
        ({"min_probability": 0.151, "ignore": [0]}, False),
    ],
)
def test_labels_are_kept_from_a_share_of_one_over_the_number_of_live_labels(settings: dict[str, Any], *, kept: bool) -> None:
    """A mean probability of .05 is a share of .2 of 1/4; with one label ignored, of .15 of 1/3."""
    probs = torch.tensor([[0.40, 0.30, 0.25, 0.05]])
    metric = SimilarityGap(num_labels=4, embedding_dim=2, **settings)
    metric.update(torch.eye(4)[:, :2], probs.log().repeat(5, 1))
    report = metric.report()
    assert report.kept.tolist() == ["ignore" not in settings, True, True, kept]


def test_ignored_labels_are_not_live() -> None:
    """They move no mean row; padding that is far away changes nothing but the softmax."""
    run = random_run()
    W = run.unembedding.clone()
    W[2] = 1e3
    report = replace(run, unembedding=W, bias=without_label(run, 2).bias - 1e5 * torch.eye(7)[2]).report(ignore=[2])
    rest = [0, 1, 3, 4, 5, 6]
    small = Run(run.unembedding[rest], run.bias[rest], run.embedding).report()
    assert report.num_live == 6
    assert report.kept.tolist() == [label != 2 for label in range(7)]
    assert dict(report.scalars) == pytest.approx(dict(small.scalars), rel=1e-4, abs=1e-5)


def test_labels_looked_at_are_named_by_their_rows() -> None:
    report = random_run(9).report(label_subset=[8, 0, 3, 5, 6])
    assert report.labels == (8, 0, 3, 5, 6)
    assert report.names == ("8", "0", "3", "5", "6")
    assert report.matrix("overlap").shape == (5, 5)
    torch.testing.assert_close(report.mean_probs, random_run(9).report().mean_probs[[8, 0, 3, 5, 6]])


# Pairs


def brute_pairs(report: GapReport) -> list[tuple[float, str, str]]:
    """Gap and names of all pairs, from the most positive gap down."""
    labels = range(len(report.names))
    pairs = [(report.matrix("gap")[i, j].item(), report.names[i], report.names[j]) for i, j in combinations(labels, 2)]
    return sorted((pair for pair in pairs if not math.isnan(pair[0])), key=lambda pair: pair[0], reverse=True)


def test_pairs_come_from_the_most_positive_gap_down() -> None:
    report = random_run().report()
    brute = brute_pairs(report)
    assert len(brute) == 21
    assert [(pair.label, pair.other) for pair in report.pairs()] == [(one, other) for _, one, other in brute]


@pytest.mark.parametrize("side", get_args(Side))
def test_a_side_has_its_largest_gaps_first(side: Side) -> None:
    """Strangers overlap more than expected, look-alikes less; pairs as expected are on neither side."""
    report = random_run().report()
    brute = brute_pairs(report)
    wanted = [pair for pair in brute if pair[0] > 0] if side == "strangers" else [pair for pair in reversed(brute) if pair[0] < 0]
    assert len(wanted) > 3
    assert [(pair.label, pair.other) for pair in report.pairs(side)] == [(one, other) for _, one, other in wanted]
    assert [(pair.label, pair.other) for pair in report.pairs(side, top=3)] == [(one, other) for _, one, other in wanted[:3]]


@pytest.mark.parametrize(("top", "number"), [(None, 21), (0, 0), (1, 1), (21, 21), (100, 21)])
def test_top_is_how_many_pairs_come_at_the_most(top: int | None, number: int) -> None:
    report = random_run().report()
    assert report.pairs(top=top) == report.pairs()[:number]
    assert len(report.pairs(top=top)) == number


def test_only_pairs_that_count_come() -> None:
    report = without_label(random_run(), 3).report()
    assert len(report.pairs()) == 15
    assert not [pair for side in get_args(Side) for pair in report.pairs(side) if "3" in (pair.label, pair.other)]


@pytest.mark.parametrize("side", ["stranger", "", "both", 1])
def test_an_unknown_side_is_an_error(side: Any) -> None:
    with pytest.raises(InputError) as caught:
        random_run().report().pairs(side)
    assert str(caught.value) == f"Expected `side` to be 'strangers', 'lookalikes' or None, got {side!r}."


def test_a_negative_top_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        random_run().report().pairs(top=-1)
    assert str(caught.value) == "Expected `top` to be at least 0, got -1."


def test_a_pair_holds_the_entries_of_the_matrices() -> None:
    run = random_run()
    report = run.report()
    roots = run.logits.double().softmax(dim=1).sqrt()
    for pair in report.pairs():
        i, j = int(pair.label), int(pair.other)
        for rung in RUNGS:
            assert pair.numbers[rung] == report.matrix(rung)[i, j].item()
        assert pair.expected_overlap == report.matrix("expected_overlap")[i, j].item()
        assert pair.gap == pair.overlap - pair.expected_overlap
        assert pair.mass == pytest.approx((roots[:, i] * roots[:, j]).mean().item() * 7, rel=1e-4)


def test_mass_is_in_units_of_one_over_the_live_labels() -> None:
    """Two labels that share all inputs evenly among themselves have the mass of K_live / 2."""
    metric = SimilarityGap(num_labels=4, embedding_dim=2, ignore=[3], min_probability=0)
    metric.update(torch.eye(4)[:, :2], torch.tensor([[0.5, 0.5, 0, 0]]).log().repeat(5, 1))
    report = metric.report()
    [pair] = report.pairs(top=1)
    assert (pair.label, pair.other) == ("0", "1")
    assert pair.mass == pytest.approx(3 / 2)


# Undefined


def test_four_labels_are_too_few_for_gaps() -> None:
    """Their six pairs come by overlap; there is no side to be on."""
    report = random_run(4).report()
    overlaps = [pair.overlap for pair in report.pairs()]
    assert len(overlaps) == 6
    assert overlaps == sorted(overlaps, reverse=True)
    assert report.pairs("strangers") == report.pairs("lookalikes") == []
    assert report.gap.isnan().all()
    assert {name: math.isnan(value) for name, value in report.scalars.items()} == {
        name: name.startswith(("rank_agreement_", "explained_")) or name in {"gap_behavior", "reliability", "residual_scale"}
        for name in report.scalars
    }
    assert {name: why for name, why in report.undefined.items() if name in report.scalars} == {
        **dict.fromkeys([f"rank_agreement_{name}" for name in RUNGS[:-1]], TOO_FEW),
        "explained_raw_cosine": TOO_FEW,
        "explained_centered_cosine": TOO_FEW,
        "explained_logit_correlation": TOO_FEW,
        "explained_log_odds_variance": TOO_FEW,
        "gap_behavior": TOO_FEW,
        "reliability": TOO_FEW,
        "residual_scale": TOO_FEW,
    }
    assert all(math.isnan(value) for value in report.rank_agreement.values())


def weights_alone() -> GapReport:
    """The report of a head that was never seen at work."""
    metric = SimilarityGap(num_labels=7, embedding_dim=4)
    metric.update(random_run().unembedding)
    return metric.report()


def test_without_inputs_the_cosines_of_all_live_labels_are_there() -> None:
    report, seen = weights_alone(), random_run().report()
    assert (report.num_inputs, report.num_pairs) == (0, 21)
    assert report.kept.all()
    assert report.mean_probs.isnan().all()
    for rung in ("raw_cosine", "centered_cosine"):
        assert torch.equal(report.matrix(rung), seen.matrix(rung))
    for rung in ("logit_correlation", "log_odds_variance", "overlap"):
        assert report.matrix(rung)[0, 1].isnan()
    defined = {name: value for name, value in report.scalars.items() if not math.isnan(value)}
    assert defined == {name: seen.scalars[name] for name in ("gap_translation", "common_mode_ratio")}
    assert set(report.undefined.values()) == {"no inputs"}


@pytest.mark.parametrize("report", [random_run().report(), random_run(4).report(), weights_alone()])
def test_what_is_undefined_has_a_reason_and_nothing_else_has(report: GapReport) -> None:
    every = dict(report.scalars)
    for statistic in ("top_pair_auroc", "neighbor_jaccard"):
        every |= {f"{statistic}_{rung}": value for rung, value in getattr(report, statistic).items()}
    assert set(report.undefined) == {name for name, value in every.items() if math.isnan(value)}


def test_logits_without_embeddings_give_an_overlap_without_geometry() -> None:
    run = random_run()
    metric = SimilarityGap(num_labels=7, embedding_dim=4)
    metric.update(run.unembedding, run.logits, groups=alone(60))
    report = metric.report()
    assert report.scalars["explained_centered_cosine"] == run.report().scalars["explained_centered_cosine"]
    unknown = ("logit_correlation", "log_odds_variance")
    undefined = {f"{measure}_{name}" for measure in MEASURES for name in unknown} | {"gap_geometry"}
    assert set(report.undefined) & set(report.scalars) == undefined


# As builtins, frames and text


def test_a_report_is_frozen() -> None:
    report = random_run().report()
    with pytest.raises(FrozenInstanceError):
        report.step = 3  # type: ignore[misc]


@pytest.mark.parametrize("part", ["statistics", "context", "verdict", "extras", "statistics.table", "statistics.numbers"])
def test_every_part_of_a_report_is_frozen(part: str) -> None:
    """Each of its fields, and the place that it has in the report."""
    report: Any = random_run().report().judged(Thresholds())
    *path, name = part.split(".")
    owner = reduce(getattr, path, report)
    with pytest.raises(FrozenInstanceError):
        setattr(owner, name, None)
    for field in fields(getattr(owner, name)):
        with pytest.raises(FrozenInstanceError):
            setattr(getattr(owner, name), field.name, None)


def test_pairs_can_be_told_apart_in_a_set() -> None:
    pairs = random_run().report().pairs()
    assert {*pairs, *pairs} == set(pairs)
    assert len(set(pairs)) == len(pairs)


def test_reports_share_the_parts_that_do_not_differ() -> None:
    """A verdict, or what can happen at all, costs no copy of anything else, and leaves the report that it is of as it was."""
    plain = random_run().report()
    judged = plain.judged(Thresholds())
    reached = judged.with_reachability(ReachabilityVerdicts((3,), 1, 7, ()))
    assert {id(report.statistics) for report in (plain, judged, reached)} == {id(plain.statistics)}
    assert {id(report.context) for report in (plain, judged, reached)} == {id(plain.context)}
    assert judged.extras is plain.extras
    assert reached.verdict is judged.verdict
    assert (plain.verdict.thresholds, judged.verdict.thresholds) == (None, Thresholds())
    assert (judged.unreachable, reached.unreachable, reached.num_undecided) == (None, ("3",), 1)


def test_numbers_that_are_the_same_cost_no_other_statistics() -> None:
    """What one process found is what the first one did; otherwise its numbers count, and the table stays."""
    statistics = random_run().report().statistics
    assert statistics.with_numbers(statistics.numbers) is statistics
    agreed = statistics.with_numbers(replace(statistics.numbers, scalars={"reliability": 0.5}))
    assert agreed.reliability == 0.5
    assert agreed.table is statistics.table
    remarked = statistics.with_remark("tied", "the head is tied")
    assert {**remarked.remarks} == {**statistics.remarks, "tied": "the head is tied"}
    assert "tied" not in statistics.remarks


def test_reports_are_told_apart_by_identity() -> None:
    """Comparing tensors for truth would be an error; a report can stand in a set."""
    report = random_run().report()
    assert report == report  # noqa: PLR0124
    assert report != replace(report)
    assert len({report, replace(report)}) == 2


def held(pair: Pair, *names: str) -> dict[str, Any]:
    """What a pair holds by the names of columns, or some of it."""
    own = {field.name: getattr(pair, field.name) for field in fields(pair) if field.name != "similarities"}
    every = {**pair.similarities, **own}
    return {name: every[name] for name in names or every}


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_a_pair_has_the_similarities_of_its_link(link: Link) -> None:
    """What the link lacks is absent, not NaN; its numbers come in the order of columns."""
    report = random_run().report(link=link)
    wanted = [rung for rung in RUNGS if rung != "overlap" and (link == "softmax" or rung != "centered_cosine")]
    pair = report.pairs()[0]
    assert list(pair.similarities) == wanted
    assert list(pair.numbers) == [*wanted, "overlap", "overlap_error", "expected_overlap", "gap", "mass", "joint_inputs"]
    assert pair.numbers == held(pair, *pair.numbers)
    columns = ["label", "other", *pair.numbers, "flag", "why_unflagged"]
    assert list(report.to_pandas().columns) == columns
    assert list(report.to_dict()["pairs"][0]) == columns


@pytest.mark.parametrize("report", [random_run().report(), random_run(4).report(), weights_alone()])
def test_a_report_is_written_as_json(report: GapReport) -> None:
    """Builtins only, and no NaN, which is no JSON."""
    record = altered(report, stage="val", step=7).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["stage"], record["step"], record["num_inputs"]) == ("val", 7, report.num_inputs)
    assert (record["num_live"], record["num_pairs"]) == (report.num_live, report.num_pairs)
    assert record["scalars"] == {name: None if math.isnan(value) else value for name, value in report.scalars.items()}
    assert "rank_agreement" not in record, "its values are scalars, each written once"
    assert record["undefined"] == report.undefined
    assert [label["label"] for label in record["labels"]] == list(report.labels)
    assert [label["name"] for label in record["labels"]] == list(report.names)
    assert [label["kept"] for label in record["labels"]] == report.kept.tolist()
    mean_probs = [None if math.isnan(value) else value for value in report.mean_probs.tolist()]
    assert [label["mean_prob"] for label in record["labels"]] == mean_probs
    assert len(record["pairs"]) == report.num_pairs
    for written, pair in zip(record["pairs"], report.pairs(), strict=True):
        assert {*written} == {*held(pair)} - {"on_top", "on_alone", "errors", "joint_shares"}, (
            "nobody asked for it, nobody knows targets"
        )
        for name, value in held(pair, *written).items():
            assert written[name] == (None if value != value else value)  # noqa: PLR0124 - NaN differs from itself


COLUMNS = [
    "label",
    "other",
    *RUNGS,
    "overlap_error",
    "expected_overlap",
    "gap",
    "mass",
    "joint_inputs",
    "flag",
    "why_unflagged",
]


def test_a_frame_has_a_row_for_each_pair() -> None:
    report = random_run().report()
    frame = report.to_pandas()
    assert list(frame.columns) == COLUMNS
    assert frame.to_dict("records") == [held(pair, *COLUMNS) for pair in report.pairs()]


def test_a_frame_without_pairs_has_its_columns() -> None:
    frame = random_run().report(min_probability=100).to_pandas()
    assert list(frame.columns) == COLUMNS
    assert frame.empty


def test_a_frame_without_pandas_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LabelSimilarityError) as caught:
        random_run().report().to_pandas()
    assert str(caught.value) == "`to_pandas` needs pandas: pip install 'lightning-cossim[pandas]'."


def markdown_rows(text: str) -> list[list[list[str]]]:
    """The tables of a text: for each its rows, for each what its cells show."""
    tables = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    shown = [[re.findall(r"(?<=\|)(?:\\.|[^|\\])*(?=\|)", row) for row in table.splitlines()] for table in tables]
    return [[[html.unescape(re.sub(r"\\(.)", r"\1", cell)).strip() for cell in row] for row in table] for table in shown]


def test_markdown_has_a_table_for_each_side() -> None:
    report = random_run().report()
    text = report.to_markdown(top=4)
    titles = re.findall(r"^\*\*(.*)\*\*$", text, flags=re.MULTILINE)
    assert titles == [
        "Towards strangers: pairs with more overlap than expected from their cosine",
        "Towards look-alikes: pairs with less overlap than expected from their cosine",
    ]
    for rows, side in zip(markdown_rows(text), get_args(Side), strict=True):
        pairs = report.pairs(side, top=4)
        assert len(pairs) == 4
        assert [row[:3] for row in rows[2:]] == [[pair.label, pair.other, f"{pair.gap:+.3f}"] for pair in pairs]


def test_markdown_says_all_about_a_pair() -> None:
    report = random_run().report()
    [pair] = report.pairs("strangers", top=1)
    header, _, row = markdown_rows(report.to_markdown(top=1))[0]
    assert dict(zip(header, row, strict=True)) == {
        "label": pair.label,
        "other": pair.other,
        "gap": f"{pair.gap:+.3f}",
        "std error": f"{pair.overlap_error:.3f}",
        "overlap": f"{pair.overlap:.3f}",
        "expected": f"{pair.expected_overlap:.3f}",
        "raw cos": f"{pair.similarities['raw_cosine']:+.2f}",
        "centered cos": f"{pair.similarities['centered_cosine']:+.2f}",
        "logit corr": f"{pair.similarities['logit_correlation']:+.2f}",
        "log-odds var": f"{pair.similarities['log_odds_variance']:.3g}",
        "joint": str(pair.joint_inputs),
    }


def test_markdown_has_twelve_pairs_each_way_unless_told_otherwise() -> None:
    tables = markdown_rows(random_run(14).report().to_markdown())
    assert [len(rows) for rows in tables] == [2 + 12, 2 + 12]


def test_markdown_shows_hostile_names_as_they_are() -> None:
    """Every row keeps its columns, on one line, and no name becomes markup."""
    report = altered(random_run().report(), names=HOSTILE)
    text = report.to_markdown()
    tables = markdown_rows(text)
    rows = [row for table in tables for row in table]
    assert {len(row) for row in rows} == {11}
    shown = {name for table in tables for row in table[2:] for name in row[:2]}
    assert shown == {" ".join(name.split()) for name in HOSTILE}
    assert "<b>" not in text


def test_a_printed_report_has_the_agreements_and_the_names() -> None:
    """Rank agreement first, then the share explained, similarity by similarity."""
    names = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
    report = altered(random_run().report(), names=names, stage="val", step=7)
    text = str(report)
    assert text.startswith(f"val at step 7: 60 inputs, 21 pairs of labels, reliability {report.reliability:.2f}\n")
    for rung in RUNGS[:-1]:
        agreement, explained = (report.scalars[f"{measure}_{rung}"] for measure in MEASURES)
        error = f"{report.standard_errors[f'rank_agreement_{rung}']:.2g}"
        assert f"\n  {rung:<18}{agreement:16.2f}{error:>16}{explained:16.2f}\n" in text
    assert f"\n{'rank agreement':>36}{'standard error':>16}{'explained':>16}\n" in text
    pairs = [pair for side in get_args(Side) for pair in report.pairs(side, top=5)]
    lines = text.splitlines()
    rows = [line.split() for line in lines if line.partition(" ")[0] in names]
    assert [row[:3] for row in rows] == [[pair.label, pair.other, f"{pair.gap:+.3f}"] for pair in pairs]
    assert "Towards strangers: pairs with more overlap than expected from their cosine" in lines
    assert "Towards look-alikes: pairs with less overlap than expected from their cosine" in lines


def test_the_standard_error_of_a_rank_agreement_stands_beside_it() -> None:
    """Where one is known: of a sample, or of a similarity without one, a dash."""
    report = altered(random_run().report(), standard_errors={"rank_agreement_centered_cosine": 0.0421, "gap_geometry": 0.3})
    table = str(report).split("\n\n")[1].splitlines()[1:]
    assert table[0].split() == ["rank", "agreement", "standard", "error", "explained"]
    errors = {line.split()[0]: line.split()[2] for line in table[1:]}
    assert errors == {**dict.fromkeys(RUNGS[:-1], "-"), "centered_cosine": "0.042"}


def test_a_page_begins_with_the_rank_agreement_of_the_cosine() -> None:
    report = altered(random_run().report(), standard_errors={})
    scale = "(1: same order of pairs, 0: unrelated orders, -1: reversed order)"
    agreement, explained = (report.scalars[f"{measure}_centered_cosine"] for measure in MEASURES)
    bold = f"**Rank agreement of the label-centered cosine with the overlap: {agreement:.2f}**"
    assert as_page(report, 3).splitlines()[0] == f"{bold} {scale}. Share explained: {explained:.2f}."
    known = altered(report, standard_errors={"rank_agreement_centered_cosine": 0.0421})
    assert as_page(known, 3).splitlines()[0].startswith(f"{bold}, standard error 0.042 {scale}.")
    sigmoid = altered(random_run().report(link="sigmoid"), standard_errors={})
    raw = f"**Rank agreement of the raw cosine with the overlap: {sigmoid.rank_agreement['raw_cosine']:.2f}**"
    assert as_page(sigmoid, 3).startswith(raw)
    undefined = "**Rank agreement of the label-centered cosine with the overlap: undefined** (no inputs)."
    assert as_page(weights_alone(), 3).splitlines()[0] == undefined


def test_a_report_that_no_training_made_is_printed_without_a_step() -> None:
    assert str(random_run().report()).startswith("60 inputs, 21 pairs of labels, reliability 0.")


@pytest.mark.parametrize(
    ("report", "reason", "number"),
    [
        (random_run(4).report(), TOO_FEW, 6),
        (weights_alone(), "no inputs", 5),
        (random_run().report(min_probability=100), "0 pairs of labels, at least 10 are needed", 0),
    ],
)
def test_without_gaps_the_pairs_are_printed_by_overlap_with_the_reason(report: GapReport, reason: str, number: int) -> None:
    by = "overlap" if report.rungs["overlap"].isfinite().any() else "cosine"
    title = f"Pairs by {by}; the expected overlap is unknown ({reason})"
    text = str(report)
    rows = text.partition(f"{title}\n")[2].splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [[pair.label, pair.other] for pair in report.pairs(top=5)]
    assert rows if number else rows == ["(none)"]
    assert f"**{title}**" in report.to_markdown()


def test_small_overlaps_of_a_saturated_model_are_not_printed_as_zero() -> None:
    """Where three decimals would all be zero, a power of ten is shown."""
    report = random_run(12, size=30.0).report(min_probability=0)
    small = [pair for pair in report.pairs() if 0 < pair.overlap < 5e-4]
    assert small
    cells = [cell for table in markdown_rows(report.to_markdown(top=100)) for row in table[2:] for cell in row]
    assert all(f"{pair.overlap:.0e}" in cells for pair in small if pair.gap)
    gaps = [row[2] for table in markdown_rows(report.to_markdown(top=100)) for row in table[2:]]
    assert not {"+0.000", "-0.000"} & set(gaps)


def test_an_overlap_of_exactly_zero_is_printed_as_zero() -> None:
    metric = SimilarityGap(num_labels=3, embedding_dim=2)
    metric.update(torch.eye(3)[:, :2], torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]).log())
    rows = markdown_rows(metric.report().to_markdown())[0]
    place = rows[0].index("overlap")
    assert [(row[0], row[1], row[place]) for row in rows[2:]] == [("0", "1", "1.000"), ("0", "2", "0.000"), ("1", "2", "0.000")]


def test_equal_rows_have_no_common_mode_ratio_and_the_reason_is_given() -> None:
    metric = SimilarityGap(5, 3)
    metric.update(torch.ones(5, 3), torch.randn(7, 5))
    report = metric.report()
    assert math.isnan(report.scalars["common_mode_ratio"])
    assert report.undefined["common_mode_ratio"] == "all rows of the head are equal"


def test_undefined_numbers_print_as_a_dash() -> None:
    metric = SimilarityGap(5, 3)
    metric.update(torch.randn(5, 3))
    assert "nan" not in str(metric.report())
