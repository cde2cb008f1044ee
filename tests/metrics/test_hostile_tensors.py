"""Hostile inputs, one row each: what the user is told, which numbers are then missing, and that those left are right.

Two tables: what `SimilarityGap` makes of tensors, and what a training with `LabelSimilarityMonitor` says and reports. Texts are
written out where they are told; numbers come from `tests.reference`, from NumPy or from a hand calculation.
Shapes: K labels, D embedding dimensions, N inputs; `W_KD` unembedding, `f_ND` embeddings, `z_NK` logits.
"""

import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor, Schedule
from lightning_cossim.errors import InputError
from lightning_cossim.loggers.tags import SHARES
from lightning_cossim.metrics import LabelCosineSimilarity, LogitCorrelation, LogOddsVariance, ProbabilityOverlap, SimilarityGap
from lightning_cossim.report import GapReport
from tests import reference
from tests.toys import ALWAYS, EMBEDDING_DIM, FEW, INPUT_DIM, NUM_LABELS, Batch, MemoryLogger, Toy, loader, matrices, trainer

K, D, N = 7, 4, 120

Array = NDArray[np.floating[Any]]
Reasons = Mapping[str, tuple[str, ...]]
"""Reason to the scalars that are undefined for it."""

# The scalars, by what they need

RAW, CENTERED = "explained_raw_cosine", "explained_centered_cosine"
CORRELATION, VARIANCE = "explained_logit_correlation", "explained_log_odds_variance"
TRANSLATION, GEOMETRY, BEHAVIOUR = "gap_translation", "gap_geometry", "gap_behavior"
RELIABILITY, OVERLAP, COMMON_MODE = "reliability", "overlap_mean", "common_mode_ratio"

EXPLAINED = (RAW, CENTERED, CORRELATION, VARIANCE, BEHAVIOUR)
COMPARED = (*EXPLAINED, RELIABILITY)
SIGMOID_COMPARED = (RAW, CORRELATION, VARIANCE, BEHAVIOUR, RELIABILITY)
OF_INPUTS = (RAW, CENTERED, CORRELATION, VARIANCE, GEOMETRY, BEHAVIOUR, RELIABILITY, OVERLAP)
IN_ORDER = (RAW, CENTERED, CORRELATION, VARIANCE, TRANSLATION, GEOMETRY, BEHAVIOUR, RELIABILITY, OVERLAP, COMMON_MODE)
"""As they are listed where they are told of."""

# The texts

NO_INPUTS = "no inputs"
NOT_ONE_FINITE = "no finite inputs"
NO_PAIR = "no pair of kept labels has both similarities"
NO_OVERLAP = "no pair of kept labels has an overlap"
ONE_LIVE = "only one label is live"
ONE_LOGIT_ALONE = "the softmax of one logit is 1 for every input; pass link='sigmoid'"
NOT_LIVE = "no label is live"
EQUAL_ROWS = "all rows of the head are equal"
SAME_SIMILARITY = "all pairs have the same similarity"
OVERLAP_ALIKE = "all pairs overlap alike"
HALF_ALIKE = "in one half of the inputs all pairs overlap alike"

NEEDING_INPUTS = ("logit_correlation", "log_odds_variance", "overlap")
"""Rungs that weights alone do not give."""


def few(pairs: int) -> str:
    """There are too few pairs to compare anything over."""
    return f"{pairs} pair{'' if pairs == 1 else 's'} of labels, at least 10 are needed"


def missing(what: str, pairs: int) -> str:
    """There are pairs enough, but what is compared is known of none of them."""
    return f"0 of {pairs} pairs of labels have {what}, at least 10 are needed"


def no_similarity(pairs: int) -> str:
    return missing("this similarity", pairs)


def left_out(inputs: int, total: int) -> str:
    return f"{inputs} of {total} inputs are left out: their logits or embeddings are not finite"


def not_finite(rows: str) -> str:
    return f"rows of the head that are not finite are left out: {rows}"


def padding(what: str, rows: str, moved: float = 0.0) -> str:
    """Rows that look like padding; where the median cosine of the others moves by more than .05 without them, by how much."""
    moves = f"; without them the median centered cosine moves by {moved:.2f}" if moved > 0.05 else ""
    return f"rows of the head that are {what}: {rows}{moves}; padding? Add them to `ignore`"


def median_move(unembedding: Tensor, rows: range) -> float:
    """By how far the median centered cosine between the other labels moves without some rows, from the formulas."""
    every = reference.cosine(array(unembedding), centered=True)
    others = [row for row in range(len(unembedding)) if row not in rows]
    alone = reference.cosine(array(unembedding)[others], centered=True)
    pair = np.triu_indices(len(others), 1)
    return abs(float(np.median(alone[pair]) - np.median(every[np.ix_(others, others)][pair])))


# Why several scalars are undefined together

NO_LABELS: dict[str, tuple[str, ...]] = {few(0): COMPARED, NO_PAIR: (TRANSLATION, GEOMETRY), NO_OVERLAP: (OVERLAP,)}
NONE_LIVE: Reasons = NO_LABELS | {NOT_LIVE: (COMMON_MODE,)}
TWO_LABELS: Reasons = {few(1): COMPARED}
ONE_LOGIT: Reasons = {few(0): SIGMOID_COMPARED, NO_PAIR: (GEOMETRY,), NO_OVERLAP: (OVERLAP,)}
NEVER_SEEN: Reasons = {NO_INPUTS: OF_INPUTS}
BROKEN: Reasons = {NOT_ONE_FINITE: OF_INPUTS, NO_PAIR: (TRANSLATION,), NOT_LIVE: (COMMON_MODE,)}
"""Of a head that is NaN."""


def all_zero(pairs: int) -> Reasons:
    """Of a head of zeros."""
    return {
        no_similarity(pairs): (RAW, CENTERED, CORRELATION, BEHAVIOUR),
        SAME_SIMILARITY: (VARIANCE,),
        HALF_ALIKE: (RELIABILITY,),
        NO_PAIR: (TRANSLATION, GEOMETRY),
        EQUAL_ROWS: (COMMON_MODE,),
    }


def nothing_varies(pairs: int) -> Reasons:
    """Of embeddings that are all equal."""
    return {
        OVERLAP_ALIKE: (RAW, CENTERED, BEHAVIOUR),
        no_similarity(pairs): (CORRELATION,),
        SAME_SIMILARITY: (VARIANCE,),
        HALF_ALIKE: (RELIABILITY,),
        NO_PAIR: (GEOMETRY,),
    }


# (a) Tensors


def array(tensor: Tensor) -> Array:
    values: Array = tensor.detach().double().numpy()
    return values


def rows_of(num_labels: int = K, seed: int = 0) -> Tensor:
    return torch.randn(num_labels, D, generator=torch.Generator().manual_seed(seed))


def inputs_of(num_inputs: int = N, seed: int = 1) -> Tensor:
    return torch.randn(num_inputs, D, generator=torch.Generator().manual_seed(seed)) * torch.tensor([0.5, 0.8, 1.2, 1.5])


def changed(tensor: Tensor, *changes: tuple[Any, float]) -> Tensor:
    """A copy with other values at some places."""
    tensor = tensor.clone()
    for place, value in changes:
        tensor[place] = value
    return tensor


W, F = rows_of(), inputs_of()
Z = F @ W.T
WITHOUT_2 = frozenset({2})
EVERY = frozenset(range(64))
"""All labels."""
NOWHERE: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Case:
    """What `SimilarityGap` is given, and what comes of it."""

    what: str
    unembedding: Tensor
    logits: Tensor | None
    embedding: Tensor | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    groups: Tensor | None = None
    undefined: Reasons = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    nan: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Rung to the labels whose pairs are NaN in it; "all" for those of all rungs."""
    also: Mapping[str, float | str] = field(default_factory=dict)
    """Numbers known by hand, of scalars or of the first pair of a rung; the reason why another statistic is NaN."""


def case(what: str, unembedding: Tensor = W, embedding: Tensor | None = F, **more: Any) -> Case:
    """A head of these rows without a bias, on these embeddings, unless the logits are given."""
    logits = None if embedding is None else embedding.float() @ unembedding.float().T
    return Case(what, unembedding, **{"logits": logits, "embedding": embedding, **more})


def few_labels(num_labels: int) -> Case:
    pairs = math.comb(num_labels, 2)
    return case(f"{num_labels} labels", rows_of(num_labels), undefined={few(pairs): COMPARED})


PADDED_ROWS = range(7, 19)
PADDING = frozenset(PADDED_ROWS)
PADDED = torch.cat([W + 2, torch.zeros(12, D)])
EQUAL = torch.cat([W + 2, torch.full((12, D), 0.1)])
TWINS = changed(rows_of(30), (7, 0.0))
TWINS[7] = TWINS[21]
COMMON_MODE_BF16 = (W + 100 * W.norm(dim=1).mean() * nn.functional.normalize(torch.ones(D), dim=0)).bfloat16()
ONE_LIVE_LOGIT = W * (torch.arange(K) == 0)[:, None]
BIAS = torch.linspace(-1, 1, K)
ONE_DIRECTION = F[:, :1] * torch.tensor([0.3, 0.5, -0.2, 0.4]) + 0.1
ALONG_FIRST = F * torch.tensor([1.0, 0.0, 0.0, 0.0])
TOP_TIES = torch.eye(30).repeat_interleave(2, dim=0).log()
TOP_TIES[:, :12] = 0.0
ROUNDING = 1000 + (torch.rand(K, D, generator=torch.Generator().manual_seed(3)) > 0.5) * 2.0**-14  # one unit in the last place

CASES = [
    # Values that are not finite
    case(
        "NaN and infinity in three of the inputs",
        embedding=changed(F, ((7, 2), math.inf)),
        logits=changed(Z, ((3, 1), math.nan), (9, math.nan)),
        remarks=(left_out(3, 120),),
    ),
    case("+inf as a logit of a softmax", logits=changed(Z, ((5, 2), math.inf)), remarks=(left_out(1, 120),)),
    case("+inf as a logit of a sigmoid, a probability of 1", logits=changed(Z, ((5, 2), math.inf)), settings={"link": "sigmoid"}),
    case("-inf as a mask on half the inputs", logits=changed(Z, ((slice(60), 2), -math.inf))),
    case("-inf as a mask on a label, always", logits=changed(Z, ((slice(N), 2), -math.inf)), nan={"all": WITHOUT_2}),
    case("-inf as the mask of all labels of an input", logits=changed(Z, (4, -math.inf)), remarks=(left_out(1, 120),)),
    case(
        "all logits NaN",
        logits=Z * math.nan,
        undefined={NOT_ONE_FINITE: OF_INPUTS},
        remarks=(left_out(120, 120),),
        nan=dict.fromkeys(NEEDING_INPUTS, EVERY),
        also={"top_pair_auroc_raw_cosine": NOT_ONE_FINITE, "neighbor_jaccard_raw_cosine": NOT_ONE_FINITE},
    ),
    case(
        "a row of NaN in the head, which makes all its probabilities NaN",
        changed(W, (2, math.nan)),
        undefined={NOT_ONE_FINITE: OF_INPUTS},
        remarks=(left_out(120, 120), not_finite("2")),
        nan={"raw_cosine": WITHOUT_2, "centered_cosine": WITHOUT_2} | dict.fromkeys(NEEDING_INPUTS, EVERY),
    ),
    case(
        "two rows of the head not finite, whose logits are masked",
        changed(W, ((1, 0), math.nan), ((4, 3), -math.inf)),
        logits=changed(Z, ((slice(N), [1, 4]), -math.inf)),
        remarks=(not_finite("1, 4"),),
        nan={"all": frozenset({1, 4})},
    ),
    case(
        "all weights NaN", W * math.nan, undefined=BROKEN, remarks=(left_out(120, 120), not_finite("0 to 6")), nan={"all": EVERY}
    ),
    case(
        "all weights NaN, and no input",
        W * math.nan,
        None,
        undefined={NO_INPUTS: OF_INPUTS, NO_PAIR: (TRANSLATION,), NOT_LIVE: (COMMON_MODE,)},
        remarks=(not_finite("0 to 6"),),
        nan={"all": EVERY},
    ),
    case(
        "embeddings so large that their squares overflow",
        embedding=F * 1e25,
        logits=Z,
        undefined={no_similarity(21): (VARIANCE,)},
        nan={"log_odds_variance": EVERY},
    ),
    case(
        "logits so large that the variance of log-odds overflows",
        W * 1e12,
        F * 1e12,
        logits=Z,
        undefined={no_similarity(21): (VARIANCE,)},
        nan={"log_odds_variance": EVERY},
    ),
    case("logits of the largest float32", logits=Z.sign() * torch.finfo(torch.float32).max),
    case(
        "weights that are subnormal",
        W * 1e-40,
        undefined={
            OVERLAP_ALIKE: (RAW, CENTERED, CORRELATION, BEHAVIOUR),
            SAME_SIMILARITY: (VARIANCE,),
            HALF_ALIKE: (RELIABILITY,),
        },
        also={OVERLAP: 1.0, COMMON_MODE: reference.common_mode_ratio(array(W * 1e-40))},
    ),
    # Rows that stand for no label
    case(
        "padded vocabulary: twelve rows of zeros",
        PADDED,
        remarks=(padding("zero", "7 to 18", median_move(PADDED, PADDED_ROWS)),),
        nan={"raw_cosine": PADDING},
    ),
    case("the same with its padding ignored", PADDED, settings={"ignore": PADDED_ROWS}, nan={"all": PADDING}),
    case(
        "padded vocabulary: twelve rows that never moved from where they were",
        EQUAL,
        remarks=(padding("equal to one another", "7 to 18", median_move(EQUAL, PADDED_ROWS)),),
    ),
    case("the same with that ignored", EQUAL, settings={"ignore": PADDED_ROWS}, nan={"all": PADDING}),
    case("two labels of one meaning: equal rows that move nothing", TWINS),
    case(
        "a single row of zeros, which need not move anything",
        changed(W - W[:6].mean(dim=0), (6, 0.0)),
        remarks=(padding("zero", "6"),),
        nan={"raw_cosine": frozenset({6}), "centered_cosine": frozenset({6}), "logit_correlation": frozenset({6})},
    ),
    case(
        "a head of zeros, not trained yet",
        W * 0,
        undefined=all_zero(21),
        nan={"raw_cosine": EVERY, "centered_cosine": EVERY, "logit_correlation": EVERY},
        also={OVERLAP: 1.0},
    ),
    case(
        "all rows of the head equal",
        W[:1].expand(K, D),
        undefined={
            SAME_SIMILARITY: (RAW, VARIANCE),
            no_similarity(21): (CENTERED, CORRELATION, BEHAVIOUR),
            HALF_ALIKE: (RELIABILITY,),
            NO_PAIR: (TRANSLATION, GEOMETRY),
            EQUAL_ROWS: (COMMON_MODE,),
        },
        nan={"centered_cosine": EVERY, "logit_correlation": EVERY},
        also={OVERLAP: 1.0, "raw_cosine": 1.0},
    ),
    case(
        "rows that differ by rounding only",
        ROUNDING,
        logits=Z,
        undefined={
            SAME_SIMILARITY: (RAW, VARIANCE),
            no_similarity(21): (CENTERED, CORRELATION, BEHAVIOUR),
            NO_PAIR: (TRANSLATION, GEOMETRY),
            EQUAL_ROWS: (COMMON_MODE,),
        },
        nan={"centered_cosine": EVERY, "logit_correlation": EVERY},
    ),
    case(
        "a row that is the mean of all rows: where it points is rounding",
        torch.cat([W, W.mean(dim=0)[None]]),
        nan={"centered_cosine": frozenset({7}), "logit_correlation": frozenset({7})},
    ),
    # Few labels
    case("one label", rows_of(1), undefined=NO_LABELS | {ONE_LIVE: (COMMON_MODE,)}, remarks=(ONE_LOGIT_ALONE,)),
    case("one label of a sigmoid", rows_of(1), settings={"link": "sigmoid"}, undefined=ONE_LOGIT),
    case(
        "two labels, whose centered rows are opposite",
        rows_of(2),
        undefined={few(1): COMPARED},
        also={"centered_cosine": -1.0, "logit_correlation": -1.0, GEOMETRY: 0.0},
    ),
    case("two labels of a sigmoid", rows_of(2), settings={"link": "sigmoid"}, undefined={few(1): SIGMOID_COMPARED}),
    few_labels(3),
    few_labels(4),
    case(
        "five labels, just enough",
        rows_of(5),
        also={
            "top_pair_auroc_raw_cosine": "0.05 of 10 pairs are 1, at least 20 are needed",
            "neighbor_jaccard_raw_cosine": "5 labels, at least 21 are needed for 5 neighbors",
        },
    ),
    # Labels that count little
    case("a label that never occurs", logits=Z - 60 * (torch.arange(K) == 2), nan={"all": WITHOUT_2}),
    case("a label that always occurs", logits=Z + 60 * (torch.arange(K) == 2), undefined=NO_LABELS, nan={"all": EVERY}),
    case("a share of probability that no label has", settings={"min_probability": 100}, undefined=NO_LABELS, nan={"all": EVERY}),
    case("all labels ignored", settings={"ignore": range(K)}, undefined=NONE_LIVE, nan={"all": EVERY}),
    case("a single label looked at", settings={"labels": [3]}, undefined=NO_LABELS),
    # Few inputs
    case("no input", embedding=F[:0], undefined={NO_INPUTS: OF_INPUTS}, nan=dict.fromkeys(NEEDING_INPUTS, EVERY)),
    case(
        "one input: labels overlap entirely, and nothing varies",
        embedding=F[:1] * 0.1,
        undefined={
            OVERLAP_ALIKE: (RAW, CENTERED, BEHAVIOUR),
            no_similarity(21): (CORRELATION,),
            SAME_SIMILARITY: (VARIANCE,),
            NO_PAIR: (GEOMETRY,),
            missing("an overlap in both halves of the inputs", 21): (RELIABILITY,),
        },
        nan={"logit_correlation": EVERY},
        also={OVERLAP: 1.0, "log_odds_variance": 0.0},
    ),
    case("two inputs, one in either half", embedding=F[:2] * 0.3, undefined={HALF_ALIKE: (RELIABILITY,)}),
    case(
        "inputs that differ in one direction: logits then move together or against one another, entirely", embedding=ONE_DIRECTION
    ),
    case(
        "inputs that all belong together",
        groups=torch.zeros(N, dtype=torch.int64),
        undefined={missing("an overlap in both halves of the inputs", 21): (RELIABILITY,)},
    ),
    case("weights alone", embedding=None, undefined={NO_INPUTS: OF_INPUTS}, nan=dict.fromkeys(NEEDING_INPUTS, EVERY)),
    case(
        "logits without embeddings",
        embedding=None,
        logits=Z,
        undefined={no_similarity(21): (CORRELATION, VARIANCE), NO_PAIR: (GEOMETRY,)},
        nan={"logit_correlation": EVERY, "log_odds_variance": EVERY},
    ),
    case(
        "embeddings without logits",
        logits=None,
        undefined={NO_INPUTS: (*EXPLAINED, RELIABILITY, OVERLAP)},
        nan={"overlap": EVERY},
    ),
    # Models that do not vary
    case(
        "a model that does not look at its inputs",
        embedding=F[:1].expand(N, D) * 0.1,
        undefined=nothing_varies(21),
        nan={"logit_correlation": EVERY},
        also={OVERLAP: 1.0},
    ),
    case(
        "logits that are all equal",
        logits=Z * 0,
        undefined={OVERLAP_ALIKE: EXPLAINED, HALF_ALIKE: (RELIABILITY,)},
        also={OVERLAP: 1.0, "top_pair_auroc_raw_cosine": OVERLAP_ALIKE, "neighbor_jaccard_raw_cosine": OVERLAP_ALIKE},
    ),
    case(
        "logits that are all equal, by rank",
        logits=Z * 0,
        settings={"kind": "topk"},
        undefined={OVERLAP_ALIKE: EXPLAINED, HALF_ALIKE: (RELIABILITY,)},
        also={OVERLAP: 1.0},
    ),
    case(
        "probabilities that are all below the threshold of coactivation",
        logits=Z * 0,
        settings={"kind": "coactivation", "threshold": 0.2},
        undefined={missing("an overlap", 21): EXPLAINED, few(0): (RELIABILITY,), NO_OVERLAP: (OVERLAP,)},
        nan={"overlap": EVERY},
    ),
    case(
        "one label alone varies: the other labels overlap entirely, up to rounding",
        ONE_LIVE_LOGIT,
        logits=F @ ONE_LIVE_LOGIT.T + BIAS,
        remarks=(padding("zero", "1 to 6"),),
        nan={"raw_cosine": EVERY},
        undefined={no_similarity(21): (RAW,), NO_PAIR: (TRANSLATION,)},
        also={RELIABILITY: 1.0, CENTERED: 1.0, VARIANCE: 1.0},
    ),
    case(
        "a label whose logit no input moves",
        changed(W - W.mean(dim=0), ((2, 0), 0.0)),
        ALONG_FIRST,
        logits=Z,
        settings={"link": "sigmoid"},
        nan={"logit_correlation": WITHOUT_2},
    ),
    # Half precision, and tensors that belong to a graph
    case("bf16 weights with a common mode a hundred times their length", COMMON_MODE_BF16, logits=Z),
    case("bf16 throughout", W.bfloat16(), F.bfloat16(), logits=Z.bfloat16()),
    case("float16 weights, float64 embeddings", W.half(), F.double()),
    case("tensors that require a gradient", W.clone().requires_grad_(), F.clone().requires_grad_()),
    case("views that are not contiguous", W.T.contiguous().T, F.T.contiguous().T, logits=Z.T.contiguous().T),
    # Ties
    case(
        "a fifth of the pairs overlap alike, at the top",
        rows_of(30),
        inputs_of(60),
        logits=TOP_TIES,
        also={"top_pair_auroc_centered_cosine": "66 pairs tie for the 22 with most overlap"},
    ),
    case(
        "all but twenty-one pairs do not overlap at all",
        rows_of(30),
        inputs_of(60),
        logits=changed(torch.eye(30).repeat(2, 1).log(), ((slice(2), slice(7)), 0.0)),
        also={"top_pair_auroc_centered_cosine": "no pair overlaps less than those with most overlap"},
    ),
]


def oracle(given: Case) -> tuple[dict[str, Array], tuple[Array, Array], Callable[[], float]]:
    """The rungs, the overlaps of either half and the common mode from the formulas, of what is finite, with no label left out."""
    sigmoid = given.settings.get("link") == "sigmoid"
    live: Any = np.isfinite(array(given.unembedding)).all(axis=1)
    live[list(given.settings.get("ignore", ()))] = False
    # A row that is out counts nowhere; what the formulas say of it is not looked at.
    rows: Array = np.where(live[:, None], array(given.unembedding), np.nan)
    some: Array = rows.astype(
        np.float32 if given.unembedding.dtype != torch.float64 else np.float64
    )  # which tells them what rounding is
    unknown: Array = np.full((len(rows), len(rows)), np.nan)
    num_inputs = len(next((tensor for tensor in (given.logits, given.embedding) if tensor is not None), ()))
    seen = np.ones(num_inputs, dtype=bool)
    if given.embedding is not None:
        seen &= np.isfinite(array(given.embedding)).all(axis=1)
    probs: Array = np.zeros((num_inputs, len(rows)))
    if given.logits is not None:
        with np.errstate(all="ignore"):
            z = array(given.logits)
            probs = 1 / (1 + np.exp(-z)) if sigmoid else reference.softmax(z)
        seen &= ~np.isnan(probs).any(axis=1)
    with np.errstate(all="ignore"):
        covariance = None if given.embedding is None or not seen.any() else reference.covariance(array(given.embedding)[seen])
        any_live = live.any()
        wanted = {
            "raw_cosine": reference.cosine(some, centered=False) if any_live else unknown,
            "centered_cosine": reference.cosine(some, centered=True) if any_live else unknown,
            "logit_correlation": unknown,
            "log_odds_variance": unknown,
        }
        if covariance is not None and any_live:
            wanted["logit_correlation"] = reference.logit_correlation(some, covariance, centered=not sigmoid)
            wanted["log_odds_variance"] = reference.log_odds_variance(some, covariance)
    turn = np.arange(seen.sum())
    if given.groups is not None:
        turn = np.unique(array(given.groups)[seen], return_inverse=True)[1]
    every, first, second = (overlap_of(given.settings, probs[seen][of]) for of in (turn >= 0, turn % 2 == 0, turn % 2 == 1))
    return {**wanted, "overlap": every}, (first, second), lambda: reference.common_mode_ratio(some)


def overlap_of(settings: Mapping[str, Any], probs: Array) -> Array:
    """Rounded far below any digit that is shown: what is equal is then equal."""
    kind = settings.get("kind", "bhattacharyya")
    if kind == "coactivation":
        return reference.coactivation(probs, settings["threshold"])
    if kind == "topk":
        return reference.top_k(probs, 2)
    return reference.bhattacharyya(probs).round(9)


def pairs_out(rung: str, given: Case, labels: Iterable[int]) -> NDArray[np.bool_]:
    out = given.nan.get("all", NOWHERE) | given.nan.get(rung, NOWHERE)
    out_L = np.array([label in out for label in labels], dtype=bool)
    out_LL: NDArray[np.bool_] = np.logical_or.outer(out_L, out_L)
    return out_LL


def told(report: GapReport) -> dict[str, set[str]]:
    """Reason to the scalars that are undefined for it, but for those that few labels have anyway."""
    few = report.num_pairs < 45
    assert all(("verdicts need 45" in report.undefined.get(share, "")) == few for share in SHARES if share in report.scalars)
    reasons: dict[str, set[str]] = {}
    for name, why in report.undefined.items():
        if name in report.scalars and name not in SHARES:
            reasons.setdefault(why, set()).add(name)
    return reasons


def as_sets(reasons: Reasons) -> dict[str, set[str]]:
    return {why: set(names) for why, names in reasons.items()}


def report_on(given: Case) -> GapReport:
    metric = SimilarityGap(*given.unembedding.shape, **given.settings)
    metric.update(given.unembedding, given.logits, given.embedding, given.groups)
    return metric.report()


@pytest.fixture(params=CASES, ids=lambda given: given.what)
def given(request: pytest.FixtureRequest) -> Case:
    row: Case = request.param
    return row


def test_what_is_undefined_says_why(given: Case) -> None:
    """Every scalar that is NaN has its reason, no other has, and what is odd about head and inputs is remarked on."""
    report = report_on(given)
    assert told(report) == as_sets(given.undefined)
    assert {name for name, value in report.scalars.items() if math.isnan(value)} == set(chain(*given.undefined.values()))
    assert tuple(report.remarks.values()) == given.remarks
    assert {name: report.undefined.get(name) for name, why in given.also.items() if isinstance(why, str)} == {
        name: why for name, why in given.also.items() if isinstance(why, str)
    }


def test_what_is_left_is_right(given: Case) -> None:
    """NaN where the table says so, and only there; everything else has the value of the formulas, on what is finite."""
    report = report_on(given)
    rungs, halves, common_mode = oracle(given)
    pair = np.triu_indices(len(report.labels), 1)
    looked_at = np.ix_(report.labels, report.labels)
    shown = {}
    for rung, similarity in matrices(report).items():
        out = pairs_out(rung, given, report.labels)
        np.testing.assert_array_equal(similarity.isnan().numpy()[pair], out[pair], err_msg=rung)
        shown[rung] = np.where(out, np.nan, rungs[rung][looked_at])
        np.testing.assert_allclose(array(similarity)[pair], shown[rung][pair], rtol=1e-4, atol=1e-5, err_msg=rung)
    for name, wanted in scalars_of(shown, [half[looked_at] for half in halves], common_mode).items():
        if name in report.scalars and name not in report.undefined:
            assert report.scalars[name] == pytest.approx(wanted(), abs=2e-4, rel=1e-4), name
    for name, number in given.also.items():
        if not isinstance(number, str):
            value = report.scalars[name] if name in report.scalars else report.matrix(name)[0, 1].item()
            assert value == pytest.approx(number, abs=1e-5), name


def scalars_of(
    rungs: Mapping[str, Array], halves: list[Array], common_mode: Callable[[], float]
) -> dict[str, Callable[[], float]]:
    """The scalars from the formulas, each when asked for: only defined ones can be had."""
    overlap = rungs["overlap"]
    cosine = "centered_cosine" if "centered_cosine" in rungs else "raw_cosine"
    pair = np.triu_indices(len(overlap), 1)

    def explained(rung: str) -> float:
        return reference.explained_overlap(-rungs[rung] if rung == "log_odds_variance" else rungs[rung], overlap)

    def gap(one: str, other: str) -> float:
        return float(np.nanmean(np.abs(rungs[one] - rungs[other])[pair]))

    return {
        RAW: lambda: explained("raw_cosine"),
        CENTERED: lambda: explained("centered_cosine"),
        CORRELATION: lambda: explained("logit_correlation"),
        VARIANCE: lambda: explained("log_odds_variance"),
        TRANSLATION: lambda: gap("raw_cosine", "centered_cosine"),
        GEOMETRY: lambda: gap(cosine, "logit_correlation"),
        BEHAVIOUR: lambda: 1 - explained(cosine),
        RELIABILITY: lambda: reference.reliability(*(np.where(np.isnan(overlap), np.nan, half) for half in halves)),
        OVERLAP: lambda: float(np.nanmean(overlap[pair])),
        COMMON_MODE: common_mode,
    }


def test_every_form_of_a_report_can_be_had(given: Case) -> None:
    """Text, Markdown, a table and strict JSON."""
    report = report_on(given)
    assert f"{report.num_inputs} inputs, {report.num_pairs} pairs of labels" in str(report)
    assert all(remark in str(report) for remark in given.remarks)
    assert report.to_markdown().startswith("**")
    assert len(report.to_pandas()) == report.num_pairs
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["num_pairs"] == report.num_pairs


def test_an_inference_tensor_is_taken_as_it_is() -> None:
    """Some batches under inference mode, some not, and the report of all of them under either."""
    metric, plain = SimilarityGap(K, D), SimilarityGap(K, D)
    plain.update(W, Z, F)
    with torch.inference_mode():
        metric.update(W.clone(), Z[:50].clone(), F[:50].clone())
    metric.update(W, Z[50:], F[50:])
    outside = metric.report()
    with torch.inference_mode():
        inside = metric.report()
    for report in (outside, inside):
        assert report.scalars == pytest.approx(plain.report().scalars, abs=1e-5)


def test_padding_that_is_ignored_leaves_the_cosines_of_the_others_as_they_were() -> None:
    """Those of the seven rows alone."""
    wanted = reference.cosine(array(W + 2), centered=True)
    for padded in (PADDED, EQUAL):
        metric = SimilarityGap(19, D, ignore=range(7, 19))
        metric.update(padded)
        np.testing.assert_allclose(array(metric.report().matrix("centered_cosine"))[:7, :7], wanted, atol=1e-6)


def test_a_common_mode_costs_no_digit() -> None:
    """bf16 keeps three digits of such rows; of the rows it keeps, the centered cosine is exact, and the raw one is near 1."""
    metric = SimilarityGap(K, D)
    metric.update(COMMON_MODE_BF16, Z, F)
    report = metric.report()
    wanted = reference.cosine(array(COMMON_MODE_BF16), centered=True)
    np.testing.assert_allclose(array(report.matrix("centered_cosine")), wanted, atol=1e-5)
    assert report.matrix("raw_cosine").min() > 0.99
    assert report.scalars[COMMON_MODE] > 50


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before the ``update`` method")
def test_before_any_batch_there_is_nothing_and_nothing_odd() -> None:
    """No weight was seen that could be remarked on."""
    assert LogitCorrelation(K, D).compute().isnan().all()
    assert LogOddsVariance(K, D).compute().isnan().all()
    assert ProbabilityOverlap(K).compute().isnan().all()
    assert LabelCosineSimilarity().compute().shape == (0, 0)
    report = SimilarityGap(K, D).report()
    assert all(map(math.isnan, report.scalars.values()))
    assert report.remarks == {}


Update = Callable[[], Tensor]


def value_of(metric: Any, *batch: Tensor) -> Tensor:
    metric.update(*batch)
    value: Tensor = metric.compute()
    return value


@pytest.mark.parametrize(
    ("compute", "wanted"),
    [
        pytest.param(
            lambda: value_of(LabelCosineSimilarity(), rows_of(2)), [[1.0, -1.0], [-1.0, 1.0]], id="two labels are opposite"
        ),
        pytest.param(
            lambda: value_of(LabelCosineSimilarity(centered=False), torch.tensor([[3.0, 4.0], [0.0, 0.0], [math.nan, 1.0]])),
            [[1.0, math.nan, math.nan], [math.nan] * 3, [math.nan] * 3],
            id="a row of zeros and one of NaN have no cosine",
        ),
        pytest.param(lambda: value_of(LabelCosineSimilarity(), W[:0]), np.empty((0, 0)), id="no label"),
        pytest.param(lambda: value_of(LogitCorrelation(K, D), W, F[:0]), np.full((K, K), np.nan), id="no embedding"),
        pytest.param(lambda: value_of(LogOddsVariance(K, D), W, F[:1]), np.zeros((K, K)), id="one embedding does not vary"),
        pytest.param(
            lambda: value_of(LogOddsVariance(K, D), W, changed(F, (5, math.nan))),
            reference.log_odds_variance(array(W), reference.covariance(np.delete(array(F), 5, axis=0))),
            id="an embedding of NaN is left out",
        ),
        pytest.param(
            lambda: value_of(LogitCorrelation(K, D), W, changed(F, ((5, 1), math.inf))),
            reference.logit_correlation(array(W), reference.covariance(np.delete(array(F), 5, axis=0))),
            id="an infinite embedding is left out",
        ),
        pytest.param(
            lambda: value_of(ProbabilityOverlap(K), changed(Z, (5, math.nan), ((6, 0), math.inf))),
            reference.bhattacharyya(reference.softmax(np.delete(array(Z), [5, 6], axis=0))),
            id="logits that are not finite are left out",
        ),
        pytest.param(lambda: value_of(ProbabilityOverlap(K), Z[:0]), np.full((K, K), np.nan), id="no logits"),
        pytest.param(lambda: value_of(ProbabilityOverlap(K), Z[:1]), np.ones((K, K)), id="one input: all labels overlap"),
        pytest.param(lambda: value_of(ProbabilityOverlap(1), Z[:, :1]), [[1.0]], id="one label overlaps itself"),
        pytest.param(
            lambda: value_of(ProbabilityOverlap(2, kind="coactivation"), torch.tensor([[9.0, -9.0]])),
            [[1.0, 0.0], [0.0, math.nan]],
            id="a label that is never active overlaps no other, not even itself",
        ),
    ],
)
def test_the_other_metrics_leave_out_the_same(compute: Update, wanted: Any) -> None:
    np.testing.assert_allclose(compute().numpy(), np.asarray(wanted), rtol=1e-5, atol=1e-5)


SIZES = "The metric was built for these sizes."
FLOAT = "Convert it with `.float()`."
ROWS = "One row an input: `logits.flatten(0, -2)`."


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        pytest.param((W[0],), f"Expected `unembedding` of shape (K, D), got (4,). {SIZES}", id="one row"),
        pytest.param((W.T,), f"Expected `unembedding` of shape (K, D) = (7, 4), got (4, 7). {SIZES}", id="transposed"),
        pytest.param((W[:6],), f"Expected `unembedding` of shape (K, D) = (7, 4), got (6, 4). {SIZES}", id="a label too few"),
        pytest.param(
            (W.long(),), f"Expected `unembedding` with a floating-point dtype, got torch.int64. {FLOAT}", id="whole numbers"
        ),
        pytest.param((W, Z[0]), f"Expected `logits` of shape (N, K), got (7,). {SIZES}", id="logits of one input"),
        pytest.param((W, Z[None]), f"Expected `logits` of shape (N, K), got (1, 120, 7). {ROWS}", id="logits of a sequence"),
        pytest.param((W, Z[:, :6]), f"Expected `logits` of shape (N, K) = (any, 7), got (120, 6). {SIZES}", id="logits of six"),
        pytest.param(
            (W, Z.argmax(dim=1, keepdim=True).expand(N, K)),
            f"Expected `logits` with a floating-point dtype, got torch.int64. {FLOAT}",
            id="predictions for logits",
        ),
        pytest.param(
            (W, Z > 0), f"Expected `logits` with a floating-point dtype, got torch.bool. {FLOAT}", id="booleans for logits"
        ),
        pytest.param(
            (W, Z.to(torch.complex64)),
            f"Expected `logits` with a floating-point dtype, got torch.complex64. {FLOAT}",
            id="complex logits",
        ),
        pytest.param((W, Z, F[:9]), f"Expected `embedding` of shape (N, D) = (120, 4), got (9, 4). {SIZES}", id="other inputs"),
        pytest.param(
            (W, Z, F[:, :3]), f"Expected `embedding` of shape (N, D) = (120, 4), got (120, 3). {SIZES}", id="other embeddings"
        ),
        pytest.param((W, None, F[0]), f"Expected `embedding` of shape (N, D), got (4,). {SIZES}", id="one embedding"),
        pytest.param(
            (W, Z, F, torch.zeros(N)),
            "Expected `groups` to be an integer tensor of shape (120,), got torch.float32 of shape (120,). One id an input.",
            id="groups that are not whole",
        ),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(batch: tuple[Tensor | None, ...], text: str) -> None:
    """One line says what was expected, what came and what to do; what was added before stays as it was."""
    metric, plain = SimilarityGap(K, D), SimilarityGap(K, D)
    for some in (metric, plain):
        some.update(W, Z, F)
    with pytest.raises(InputError) as caught:
        metric.update(*batch)  # type: ignore[arg-type]
    assert str(caught.value) == text
    assert metric.report().scalars == plain.report().scalars


# (b) Trainings


class Still(Toy):
    """Its weights stay as they are."""

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class NaNWeights(Toy):
    """The head's weights become NaN before the fifth step."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.batches_seen == 4:
            nn.init.constant_(self.head.weight, math.nan)
        return super().training_step(batch, batch_idx)


class NaNLoss(Toy):
    """The loss is NaN from the fifth step on, and so are the weights after it."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (math.nan if self.batches_seen > 4 else 1)


class Masked(Toy):
    """Its last label is masked in what the head gave out, in place."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).masked_fill_(torch.arange(NUM_LABELS) == NUM_LABELS - 1, -math.inf)


class OneLogit(Toy):
    """Tells two labels apart by one logit."""

    def __init__(self) -> None:
        super().__init__(1)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        super().training_step([batch[0], batch[1] * 0], batch_idx)
        logits = self(batch[0])[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, (batch[1] % 2).to(logits))

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])


class Looking(Toy):
    """What is trained is another head; the one that is watched looks on."""

    looks: Callable[[], AbstractContextManager[Any]] = torch.no_grad

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(EMBEDDING_DIM, NUM_LABELS)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with type(self).looks():
            self(batch[0])
        return nn.functional.cross_entropy(self.other(self.body(batch[0])), batch[1])


class LookingUnderInference(Looking):
    looks = torch.inference_mode


class OfDicts(Toy):
    """Its batches are dicts."""

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step([batch["x"], batch["y"]], batch_idx)

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch["x"])


class OfWords(Toy):
    """Its inputs are whole numbers, which an embedding layer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, INPUT_DIM)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(self.words(inputs))


class NextWord(Toy):
    """Has one target less than inputs in each sequence."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0])[:, :-1].flatten(0, 1), batch[1].flatten())

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])


class Pooled(Toy):
    """A hook of the user's pools what the head gives out over the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.head.register_forward_hook(lambda module, args, output: output.mean(dim=1))

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1][:, 0])

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])


class NoInputs(Toy):
    """Finds nothing in any image that its head could be called for."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        found: Tensor = self(batch[0][:0])
        return found.sum()

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0][:0])


class OneVector(Toy):
    """Calls its head for a single vector."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0][0]), batch[1][0])

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0][0])


class Skipping(Toy):
    """Every other step has no loss."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 2 else loss


def toy(change: Callable[[Any], object] | None = None, kind: type[Toy] = Toy, num_labels: int | None = None) -> Callable[[], Toy]:
    """How to make a model, with something changed about it before the training."""

    def make() -> Toy:
        torch.manual_seed(0)
        model = kind() if num_labels is None else kind(num_labels)
        with torch.no_grad():
            if change is not None:
                change(model)
        return model

    return make


def pad(model: Any) -> None:
    model.head.weight[:7] += 1
    model.head.weight[7:] = 0


def blind(model: Any) -> None:
    """Its body gives zeros."""
    nn.init.zeros_(model.body[0].weight)
    nn.init.zeros_(model.body[0].bias)


def constant(model: Any) -> None:
    """Its body and its head give zeros."""
    blind(model)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)


def dicts(*, vary: bool = False) -> tuple[Any, ...]:
    """Batches for training and validation that are dicts, of the same keys or with another one each."""
    both = loader(96), loader(60, seed=2)
    batches = [[{"x": x, "y": y} | {f"more {i}": i for i in [n] * vary} for n, (x, y) in enumerate(some)] for some in both]
    return tuple(DataLoader(some, batch_size=None) for some in batches)  # type: ignore[arg-type]


def sequences(num_batches: int, *, vary: bool) -> Any:
    """Batches of four sequences of five inputs, or of five to ten; one target less than inputs each."""
    lengths = [5 + batch % 6 * vary for batch in range(num_batches)]
    generator = torch.Generator().manual_seed(5)
    batches = [
        (torch.randn(4, n, INPUT_DIM, generator=generator), torch.randint(NUM_LABELS, (4, n - 1), generator=generator))
        for n in lengths
    ]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def words(num_inputs: int) -> Any:
    return DataLoader(TensorDataset(torch.arange(num_inputs) % 50, torch.arange(num_inputs) % NUM_LABELS), batch_size=16)


def all_of_one(label: int, num_inputs: int) -> Any:
    inputs = torch.randn(num_inputs, INPUT_DIM, generator=torch.Generator().manual_seed(6))
    return DataLoader(TensorDataset(inputs, torch.full((num_inputs,), label)), batch_size=16)


def says(text: str) -> str:
    return f"LabelSimilarityMonitor: {text}"


def remark(stage: str, text: str) -> str:
    return says(f"{stage}, watching head: {text}.")


def undefined(stage: str, reasons: Reasons) -> str:
    """What is said of scalars that are undefined."""
    by_reason = sorted((sorted(names, key=IN_ORDER.index), why) for why, names in reasons.items())
    by_reason.sort(key=lambda some: IN_ORDER.index(some[0][0]))
    what = "; ".join(f"{', '.join(names)} ({why})" for names, why in by_reason)
    then = "Loggers get nothing; callbacks that watch them see the last value, or 1 for gaps and 0 for others."
    return says(f"cossim_{stage}: undefined: {what}. {then}")


PADDING_MOVES = median_move(toy(pad, num_labels=19)().head.weight, range(7, 19))
STAGES = ("train", "val")
NO_TARGETS = "all inputs count. Expected `targets_key` to be the key of the targets in a batch"


@dataclass(frozen=True)
class Run:
    """A training of three epochs of six batches of 16, with windows of two batches; what is said in it and what is left of it."""

    what: str
    model: Callable[[], Toy] = field(default_factory=toy)
    monitor: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Callable[[], tuple[Any, ...]] = lambda: (loader(96), loader(60, seed=2))
    says: tuple[str, ...] = ()
    """All that the monitor says."""
    reports: Mapping[str, int] = field(default_factory=lambda: {"train": 32, "val": 60})
    """Stage to the inputs that its last report is of."""
    undefined: Mapping[str, Reasons] = field(default_factory=dict)
    """Stage to what its last report lacks."""
    exact: bool = False
    """Whether the last validation report is that of the formulas, of the whole data set at the final weights."""


def broken(what: str, model: Callable[[], Toy], in_first_window: int = 32, first: Reasons = BROKEN, **more: Any) -> Run:
    """A run whose head is NaN in the end; what is left out and undefined in the first window that ends so."""
    return Run(
        what,
        model,
        says=(
            remark("train", left_out(in_first_window, 32)),
            remark("train", not_finite("0 to 7")),
            remark("val", left_out(60, 60)),
            remark("val", not_finite("0 to 7")),
            undefined("train", first),
        ),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, BROKEN),
        **more,
    )


RUNS = [
    # Values that are not finite
    broken("a loss that becomes NaN, in the first batch of a window", toy(kind=NaNLoss), 16, NONE_LIVE),
    broken("weights that become NaN", toy(kind=NaNWeights)),
    broken("weights that are NaN from the start", toy(lambda model: model.head.weight.fill_(math.nan))),
    broken(
        "weights that are NaN from the start, with labels to choose from",
        toy(lambda model: model.head.weight.fill_(math.nan)),
        monitor={"labels": LabelSelection(max_tracked=5)},
    ),
    Run("a bias of -inf", toy(lambda model: model.head.bias[3:4].fill_(-math.inf)), exact=True),
    Run(
        "a label masked with -inf in place",
        toy(kind=Masked),
        data=lambda: (loader(num_labels=7), loader(60, num_labels=7, seed=2)),
        exact=True,
    ),
    # Precision
    Run("bf16 mixed", settings={"precision": "bf16-mixed"}, exact=True),
    Run("bf16 throughout", settings={"precision": "bf16-true"}, exact=True),
    Run("float16 throughout", settings={"precision": "16-true"}, exact=True),
    Run("float64 throughout", settings={"precision": "64-true"}, exact=True),
    # Heads
    Run(
        "a sigmoid head of one logit",
        toy(kind=OneLogit),
        {"link": "sigmoid"},
        says=(undefined("train", ONE_LOGIT),),
        undefined=dict.fromkeys(STAGES, ONE_LOGIT),
    ),
    Run(
        "two labels",
        toy(num_labels=2),
        data=lambda: (loader(num_labels=2), loader(60, num_labels=2, seed=2)),
        says=(undefined("train", TWO_LABELS),),
        undefined=dict.fromkeys(STAGES, TWO_LABELS),
        exact=True,
    ),
    Run(
        "a padded vocabulary",
        toy(pad, Still, 19),
        says=tuple(remark(stage, padding("zero", "7 to 18", PADDING_MOVES)) for stage in STAGES),
        exact=True,
    ),
    Run("the same with its padding ignored", toy(pad, Still, 19), {"labels": LabelSelection(ignore=range(7, 19))}),
    Run(
        "all labels ignored",
        monitor={"labels": LabelSelection(ignore=range(8))},
        says=(undefined("train", NONE_LIVE),),
        undefined=dict.fromkeys(STAGES, NONE_LIVE),
    ),
    Run(
        "a model of zeros",
        toy(constant, Still),
        says=(undefined("train", all_zero(28)),),
        undefined=dict.fromkeys(STAGES, all_zero(28)),
    ),
    Run(
        "a body of zeros, so that no logit varies but by its bias",
        toy(blind, Still),
        says=(undefined("train", nothing_varies(28)),),
        undefined=dict.fromkeys(STAGES, nothing_varies(28)),
    ),
    Run("a head that is frozen", toy(lambda model: model.head.requires_grad_(requires_grad=False)), exact=True),
    Run("a head that is called without gradients", toy(kind=Looking), {"head": "head"}, exact=True),
    Run("a head that is called under inference mode", toy(kind=LookingUnderInference), {"head": "head"}, exact=True),
    Run(
        "a head whose output is pooled by a hook, in sequences of many lengths",
        toy(kind=Pooled),
        data=lambda: (sequences(6, vary=True), sequences(4, vary=True)),
        says=(
            says("watching head: it was called from (4, 5, 5) to (4, 8): nobody knows which output belongs to which input."),
            undefined("train", NEVER_SEEN),
        ),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NEVER_SEEN),
    ),
    # Batches
    Run(
        "one input a batch",
        data=lambda: (loader(18, 1), loader(5, 1, seed=2)),
        says=(undefined("train", {HALF_ALIKE: (RELIABILITY,)}),),
        reports={"train": 2, "val": 5},
        undefined={"train": {HALF_ALIKE: (RELIABILITY,)}},
        exact=True,
    ),
    Run(
        "a single vector a step",
        toy(kind=OneVector),
        says=(undefined("train", {HALF_ALIKE: (RELIABILITY,)}),),
        reports={"train": 2, "val": 4},
        undefined={"train": {HALF_ALIKE: (RELIABILITY,)}},
    ),
    Run(
        "a head that is called for nothing",
        toy(kind=NoInputs),
        says=(undefined("train", NEVER_SEEN),),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NEVER_SEEN),
    ),
    Run("a loss of None in every other step", toy(kind=Skipping), exact=True),
    Run("whole numbers into an embedding layer", toy(kind=OfWords), data=lambda: (words(96), words(60)), exact=True),
    Run("batches that are dicts", toy(kind=OfDicts), data=dicts),
    # Targets
    Run(
        "batches that are dicts, with a key of the targets",
        toy(kind=OfDicts),
        {"labels": LabelSelection(targets_key="y")},
        data=dicts,
    ),
    Run(
        "a key of the targets that is not there",
        toy(kind=OfDicts),
        {"labels": LabelSelection(targets_key="labels")},
        data=dicts,
        says=(says(f"{NO_TARGETS}, got 'labels', where a batch has 'x', 'y'."),),
    ),
    Run(
        "a key of the targets that is not there, in batches of other keys each time",
        toy(kind=OfDicts),
        {"labels": LabelSelection(targets_key="labels")},
        data=lambda: dicts(vary=True),
        says=(says(f"{NO_TARGETS}, got 'labels', where a batch has 'x', 'y', 'more 0'."),),
    ),
    Run(
        "a place of the targets that is not there",
        monitor={"labels": LabelSelection(targets_key=2)},
        says=(says(f"{NO_TARGETS}, got 2, where a batch has places 0 to 1."),),
    ),
    Run(
        "targets that are no whole numbers",
        monitor={"labels": LabelSelection(targets_key=0)},
        says=(says(f"{NO_TARGETS}, a tensor of whole numbers, got 0, where a batch has torch.float32."),),
    ),
    Run(
        "a target too few in each sequence",
        toy(kind=NextWord),
        {"labels": LabelSelection(targets_key=1)},
        data=lambda: (sequences(6, vary=False), sequences(4, vary=False)),
        says=(says("watching head: it was called for 20 inputs and there are 16 targets at `targets_key`: all inputs count."),),
        reports={"train": 40, "val": 80},
    ),
    Run(
        "a target too few in each sequence, of many lengths",
        toy(kind=NextWord),
        {"labels": LabelSelection(targets_key=1)},
        data=lambda: (sequences(6, vary=True), sequences(4, vary=True)),
        says=(says("watching head: it was called for 20 inputs and there are 16 targets at `targets_key`: all inputs count."),),
        reports={"train": 4 * (9 + 10), "val": 4 * (5 + 6 + 7 + 8)},
    ),
    Run(
        "all inputs left out by their target",
        monitor={"labels": LabelSelection(targets_key=1, ignore_index=3)},
        data=lambda: (all_of_one(3, 96), all_of_one(3, 60)),
        says=(undefined("train", NEVER_SEEN),),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NEVER_SEEN),
    ),
    Run(
        "all inputs left out by their target, with labels to choose from",
        monitor={"labels": LabelSelection(targets_key=1, ignore_index=3, max_tracked=5)},
        data=lambda: (all_of_one(3, 96), all_of_one(3, 60)),
        says=(undefined("train", NEVER_SEEN),),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NEVER_SEEN),
    ),
    # Trainers
    Run("no validation loader", data=lambda: (loader(),), reports={"train": 32}),
    Run("an empty validation set", data=lambda: (loader(), all_of_one(0, 0)), reports={"train": 32}),
    Run("limit_val_batches=0", settings={"limit_val_batches": 0}, reports={"train": 32}),
    Run("limit_train_batches=0", settings={"limit_train_batches": 0}, reports={}),
    Run("max_epochs=0", settings={"max_epochs": 0}, reports={}),
    Run("fast_dev_run", settings={"fast_dev_run": True}, reports={"train": 16, "val": 16}),
    Run("logger=False", settings={"logger": False}, exact=True),
    Run("barebones", settings={"barebones": True, "logger": False, "log_every_n_steps": 0}, exact=True),
    Run("detect_anomaly", settings={"detect_anomaly": True}, exact=True),
]


def fit(run: Run, monitor: LabelSimilarityMonitor | None) -> tuple[Toy, pl.Trainer, Counter[str]]:
    """The training with or without the monitor, and all that was said in it, by whomever, however often."""
    model, callbacks = run.model(), [] if monitor is None else [monitor]
    pl.seed_everything(3, verbose=False)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trained = trainer(callbacks=callbacks, **{"max_epochs": 3, "logger": MemoryLogger(), **run.settings})
        trained.fit(model, *run.data())
    return model, trained, Counter(str(warning.message) for warning in record)


def ours(said: Counter[str]) -> list[str]:
    return sorted(text for text in said.elements() if text.startswith("LabelSimilarityMonitor"))


def often(**settings: Any) -> LabelSimilarityMonitor:
    return LabelSimilarityMonitor(
        schedule=Schedule(train_every_n_steps=2, train_batches=2), thresholds=FEW, display=ALWAYS, **settings
    )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.what)
def test_a_training_goes_on_and_says_what_is_odd_once(run: Run) -> None:
    """The same steps to the same weights as without the monitor; what it says, each once; what it reports, and why not."""
    monitor = often(**run.monitor)
    unwatched, alone, said_alone = fit(run, None)
    model, trained, said = fit(run, monitor)

    assert trained.global_step == alone.global_step
    for one, other in zip(unwatched.parameters(), model.parameters(), strict=True):
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    assert ours(said) == sorted(run.says)
    assert said - Counter(ours(said)) <= said_alone  # nor does anything that it calls say more

    assert {stage: report.num_inputs for stage, report in monitor.last_report.items()} == run.reports
    assert {stage: told(report) for stage, report in monitor.last_report.items()} == {
        stage: as_sets(run.undefined.get(stage, {})) for stage in run.reports
    }
    for logger in trained.loggers:
        entries = logger.entries if isinstance(logger, MemoryLogger) else []
        written = chain.from_iterable(metrics.items() for _, metrics in entries)
        assert all(math.isfinite(value) for tag, value in written if tag.startswith("cossim"))
    if run.exact:
        assert_of_the_formulas(monitor.last_report["val"], model, run)


def assert_of_the_formulas(report: GapReport, model: Toy, run: Run) -> None:
    """The overlap and the cosines, of the final weights, as they are rounded, on the whole validation set."""
    mixed = run.settings.get("precision") == "bf16-mixed"
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        batches = [batch[0] for batch in run.data()[1]]
        floating = [batch.to(model.head.weight.dtype) if batch.is_floating_point() else batch for batch in batches]
        z = np.concatenate([array(model(batch)) for batch in floating])
    kept = np.ix_(*[report.kept.numpy()] * 2)
    pair = np.triu_indices(int(report.kept.sum()), 1)
    wanted = {
        "raw_cosine": reference.cosine(array(model.head.weight), centered=False),
        "centered_cosine": reference.cosine(array(model.head.weight), centered=True),
        "overlap": reference.bhattacharyya(reference.softmax(z)),
    }
    for rung, similarity in wanted.items():
        shown = array(report.matrix(rung))[kept][pair]
        np.testing.assert_allclose(shown, similarity[kept][pair], atol=2e-5, err_msg=rung)


class Moody(Still):
    """Its head changes with every window: as it was, of zeros, of equal rows, of NaN, one that knows one label, or three."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        mood = self.batches_seen // 2 % 6
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(NUM_LABELS, EMBEDDING_DIM, generator=torch.Generator().manual_seed(1)))
            self.head.bias.zero_()
            if mood == 1:
                self.head.weight.zero_()
            elif mood == 2:
                self.head.weight[1:] = self.head.weight[0]
            elif mood == 3:
                self.head.weight.fill_(math.nan)
            elif mood > 3:
                self.head.bias[: 1 if mood == 4 else 3] = 60
        super().training_step(batch, batch_idx)
        return next(self.body.parameters()).sum()


def test_a_head_that_falls_from_one_fault_into_the_next_is_no_storm() -> None:
    """In 48 windows and as many validations, what is odd is told once a stage, and that a scalar is undefined once at all."""
    monitor = often()
    run = Run("moody", toy(kind=Moody), settings={"max_epochs": 16, "val_check_interval": 2})
    _, trained, said = fit(run, monitor)
    assert (trained.global_step, monitor.last_report["train"].step) == (96, 95)
    of_scalars = [text for text in ours(said) if ": undefined: " in text]
    assert sorted(name for text in of_scalars for name in IN_ORDER if name in text) == sorted(IN_ORDER)
    inputs = [remark("train", left_out(32, 32)), remark("val", left_out(60, 60))]
    rows = [remark(stage, not_finite("0 to 7")) for stage in STAGES]
    assert [text for text in ours(said) if text not in of_scalars] == sorted([*inputs, *rows])
