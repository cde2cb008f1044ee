"""Hostile tensors: why what cannot be known is undefined, where a report is NaN, and that everything else in it is right.

`CASES` says what `SimilarityGap` makes of them. A row says in what it differs from a harmless head `W` on harmless embeddings
`F`, whose logits are `Z`, and what comes of that:

    case(
        "one input: labels overlap entirely, and nothing varies",  # what is odd, and the id of the tests
        embedding=F[:1] * 0.1,  # what differs: `unembedding`, `embedding`, `logits`, `groups`, `settings` of the metric
        undefined={NO_PAIR: (GAP_GEOMETRY,), ...},  # reason to the scalars that are NaN for it: all there are
        remarks=(),  # all that is remarked on
        nan={"logit_correlation": EVERY_LABEL},  # rung to the labels whose pairs are NaN in it; "all": in every rung
        by_hand={OVERLAP_MEAN: 1.0},  # numbers known without the formulas, of scalars or of the first pair of a rung
        undefined_rankings={},  # ranking statistic to the reason why it is NaN: some of them
    )

In prose: `SimilarityGap` is given the head `W`, one short embedding and its logits. `gap_geometry` is undefined because "no
pair of kept labels has both similarities", others for other reasons, and the scalars that are not listed have a value. Nothing
is remarked on. No pair has a logit correlation. Every pair has the other similarities, with the values of `tests.reference`,
and the mean overlap is exactly 1. The second and the third argument of a row are its unembedding and its embedding; logits that
are not given are those of the row's own head and embeddings; what else is left out is empty. The words in capitals are those of
`tests.hostile`, where the texts are written out.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` unembedding, `f_ND` embeddings, `z_NK` logits.
"""

import functools
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_cossim.errors import InputError
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
)
from lightning_cossim.report import GapReport
from tests import reference
from tests.hostile import (
    ALL_MEASURES,
    COMMON_MODE_RATIO,
    EQUAL_ROWS,
    GAP_BEHAVIOR,
    GAP_GEOMETRY,
    GAP_TRANSLATION,
    HALF_ALIKE,
    NAN_HEAD,
    NEED_INPUTS,
    NEED_TEN_PAIRS,
    NO_INPUTS,
    NO_KEPT_LABEL,
    NO_LIVE_LABEL,
    NO_OVERLAP,
    NO_PAIR,
    NOT_LIVE,
    NOT_ONE_FINITE,
    NOTHING_SEEN,
    OF_CENTERED,
    OF_CORRELATION,
    OF_RAW,
    OF_VARIANCE,
    ONE_LOGIT,
    OVERLAP_ALIKE,
    OVERLAP_MEAN,
    RELIABILITY,
    RESIDUAL_SCALE,
    SAME_SIMILARITY,
    SIGMOID_NEED_TEN_PAIRS,
    TWO_LABELS,
    Array,
    Reasons,
    array,
    as_sets,
    equal_embeddings,
    left_out,
    median_move,
    no_similarity,
    none_known,
    not_finite,
    padding,
    told,
    too_few,
    zero_head,
)
from tests.toys import alone, in_first_half, matrices, padded

K, D, N = 7, 4, 120

ONE_LIVE = "only one label is live"
ONE_LOGIT_ALONE = "the softmax of one logit is 1 for every input; pass link='sigmoid'"
NO_OVERLAP_IN_HALVES = none_known("an overlap in both halves of the inputs", 21)

RUNGS_OF_INPUTS = ("logit_correlation", "log_odds_variance", "overlap")
"""Those that weights alone do not give."""
EVERY_LABEL = range(64)


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A row, as told at the top: what `SimilarityGap` is given, and what comes of it."""

    what: str
    unembedding: Tensor
    logits: Tensor | None
    embedding: Tensor | None
    groups: Tensor | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    undefined: Reasons = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    nan: Mapping[str, Collection[int]] = field(default_factory=dict)
    by_hand: Mapping[str, float] = field(default_factory=dict)
    undefined_rankings: Mapping[str, str] = field(default_factory=dict)


def case(what: str, unembedding: Tensor = W, embedding: Tensor | None = F, **more: Any) -> Case:
    """A row whose logits, unless given, are those of a head without a bias."""
    logits = None if embedding is None else embedding.float() @ unembedding.float().T
    return Case(what=what, unembedding=unembedding, embedding=embedding, **{"logits": logits, **more})


PADDED_ROWS = range(7, 19)
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
RHO_OF_SIX_AND_FIFTEEN = 12 / (21**3 - 21) * (6 * 7.5**2 + 15 * 3**2)
"""Where six pairs tie, and the other fifteen: mean ranks 7.5 below the middle and 3 above it, in similarity and in overlap."""

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
    case("-inf as a mask on a label, always", logits=changed(Z, ((slice(N), 2), -math.inf)), nan={"all": {2}}),
    case("-inf as the mask of all labels of an input", logits=changed(Z, (4, -math.inf)), remarks=(left_out(1, 120),)),
    case(
        "all logits NaN",
        logits=Z * math.nan,
        undefined={NOT_ONE_FINITE: NEED_INPUTS},
        remarks=(left_out(120, 120),),
        nan=dict.fromkeys(RUNGS_OF_INPUTS, EVERY_LABEL),
        undefined_rankings={"top_pair_auroc_raw_cosine": NOT_ONE_FINITE, "neighbor_jaccard_raw_cosine": NOT_ONE_FINITE},
    ),
    case(
        "a row of NaN in the head, which makes all its probabilities NaN",
        changed(W, (2, math.nan)),
        undefined={NOT_ONE_FINITE: NEED_INPUTS},
        remarks=(left_out(120, 120), not_finite("2")),
        nan={"raw_cosine": {2}, "centered_cosine": {2}} | dict.fromkeys(RUNGS_OF_INPUTS, EVERY_LABEL),
    ),
    case(
        "two rows of the head not finite, whose logits are masked",
        changed(W, ((1, 0), math.nan), ((4, 3), -math.inf)),
        logits=changed(Z, ((slice(N), [1, 4]), -math.inf)),
        remarks=(not_finite("1, 4"),),
        nan={"all": {1, 4}},
    ),
    case(
        "all weights NaN",
        W * math.nan,
        undefined=NAN_HEAD,
        remarks=(left_out(120, 120), not_finite("0 to 6")),
        nan={"all": EVERY_LABEL},
    ),
    case(
        "all weights NaN, and no input",
        W * math.nan,
        None,
        undefined={NO_INPUTS: NEED_INPUTS, NO_PAIR: (GAP_TRANSLATION,), NOT_LIVE: (COMMON_MODE_RATIO,)},
        remarks=(not_finite("0 to 6"),),
        nan={"all": EVERY_LABEL},
    ),
    case(
        "embeddings so large that their squares overflow",
        embedding=F * 1e25,
        logits=Z,
        undefined={no_similarity(21): OF_VARIANCE},
        nan={"log_odds_variance": EVERY_LABEL},
    ),
    case(
        "logits so large that the variance of log-odds overflows",
        W * 1e12,
        F * 1e12,
        logits=Z,
        undefined={no_similarity(21): OF_VARIANCE},
        nan={"log_odds_variance": EVERY_LABEL},
    ),
    case("logits of the largest float32", logits=Z.sign() * torch.finfo(torch.float32).max),
    case(
        "weights that are subnormal",
        W * 1e-40,
        undefined={
            OVERLAP_ALIKE: (*OF_RAW, *OF_CENTERED, *OF_CORRELATION, GAP_BEHAVIOR, RESIDUAL_SCALE),
            SAME_SIMILARITY: OF_VARIANCE,
            HALF_ALIKE: (RELIABILITY,),
        },
        by_hand={OVERLAP_MEAN: 1.0, COMMON_MODE_RATIO: reference.common_mode_ratio(array(W * 1e-40))},
    ),
    # Rows that stand for no label
    case(
        "padded vocabulary: twelve rows of zeros",
        PADDED,
        remarks=(padding("zero", "7 to 18", median_move(PADDED, PADDED_ROWS)),),
        nan={"raw_cosine": PADDED_ROWS},
    ),
    case("the same with its padding ignored", PADDED, settings={"ignore": PADDED_ROWS}, nan={"all": PADDED_ROWS}),
    case(
        "padded vocabulary: twelve rows that never moved from where they were",
        EQUAL,
        remarks=(padding("equal to one another", "7 to 18", median_move(EQUAL, PADDED_ROWS)),),
    ),
    case("the same with that ignored", EQUAL, settings={"ignore": PADDED_ROWS}, nan={"all": PADDED_ROWS}),
    case("two labels of one meaning: equal rows that move nothing", TWINS),
    case(
        "a single row of zeros, which need not move anything",
        changed(W - W[:6].mean(dim=0), (6, 0.0)),
        remarks=(padding("zero", "6"),),
        nan={"raw_cosine": {6}, "centered_cosine": {6}, "logit_correlation": {6}},
    ),
    case(
        "a head of zeros, not trained yet",
        W * 0,
        undefined=zero_head(21),
        nan={"raw_cosine": EVERY_LABEL, "centered_cosine": EVERY_LABEL, "logit_correlation": EVERY_LABEL},
        by_hand={OVERLAP_MEAN: 1.0},
    ),
    case(
        "all rows of the head equal",
        W[:1].expand(K, D),
        undefined={
            SAME_SIMILARITY: (*OF_RAW, *OF_VARIANCE),
            no_similarity(21): (*OF_CENTERED, *OF_CORRELATION, GAP_BEHAVIOR, RESIDUAL_SCALE),
            HALF_ALIKE: (RELIABILITY,),
            NO_PAIR: (GAP_TRANSLATION, GAP_GEOMETRY),
            EQUAL_ROWS: (COMMON_MODE_RATIO,),
        },
        nan={"centered_cosine": EVERY_LABEL, "logit_correlation": EVERY_LABEL},
        by_hand={OVERLAP_MEAN: 1.0, "raw_cosine": 1.0},
    ),
    case(
        "rows that differ by rounding only",
        ROUNDING,
        logits=Z,
        undefined={
            SAME_SIMILARITY: (*OF_RAW, *OF_VARIANCE),
            no_similarity(21): (*OF_CENTERED, *OF_CORRELATION, GAP_BEHAVIOR, RESIDUAL_SCALE),
            NO_PAIR: (GAP_TRANSLATION, GAP_GEOMETRY),
            EQUAL_ROWS: (COMMON_MODE_RATIO,),
        },
        nan={"centered_cosine": EVERY_LABEL, "logit_correlation": EVERY_LABEL},
    ),
    case(
        "a row that is the mean of all rows: where it points is rounding",
        torch.cat([W, W.mean(dim=0)[None]]),
        nan={"centered_cosine": {7}, "logit_correlation": {7}},
    ),
    # Few labels
    case("one label", rows_of(1), undefined={**NO_KEPT_LABEL, ONE_LIVE: (COMMON_MODE_RATIO,)}, remarks=(ONE_LOGIT_ALONE,)),
    case("one label of a sigmoid", rows_of(1), settings={"link": "sigmoid"}, undefined=ONE_LOGIT),
    case(
        "two labels, whose centered rows are opposite",
        rows_of(2),
        undefined=TWO_LABELS,
        by_hand={"centered_cosine": -1.0, "logit_correlation": -1.0, GAP_GEOMETRY: 0.0},
    ),
    case("two labels of a sigmoid", rows_of(2), settings={"link": "sigmoid"}, undefined={too_few(1): SIGMOID_NEED_TEN_PAIRS}),
    case("3 labels", rows_of(3), undefined={too_few(3): NEED_TEN_PAIRS}),
    case("4 labels", rows_of(4), undefined={too_few(6): NEED_TEN_PAIRS}),
    case(
        "five labels, just enough",
        rows_of(5),
        undefined_rankings={
            "top_pair_auroc_raw_cosine": "0.05 of 10 pairs are 1, at least 20 are needed",
            "neighbor_jaccard_raw_cosine": "5 labels, at least 21 are needed for 5 neighbors",
        },
    ),
    # Labels that count little
    case("a label that never occurs", logits=Z - 60 * (torch.arange(K) == 2), nan={"all": {2}}),
    case("a label that always occurs", logits=Z + 60 * (torch.arange(K) == 2), undefined=NO_KEPT_LABEL, nan={"all": EVERY_LABEL}),
    case(
        "a share of probability that no label has",
        settings={"min_probability": 100},
        undefined=NO_KEPT_LABEL,
        nan={"all": EVERY_LABEL},
    ),
    case("all labels ignored", settings={"ignore": range(K)}, undefined=NO_LIVE_LABEL, nan={"all": EVERY_LABEL}),
    case("a single label looked at", settings={"label_subset": [3]}, undefined=NO_KEPT_LABEL),
    # Few inputs
    case("no input", embedding=F[:0], undefined=NOTHING_SEEN, nan=dict.fromkeys(RUNGS_OF_INPUTS, EVERY_LABEL)),
    case(
        "one input: labels overlap entirely, and nothing varies",
        embedding=F[:1] * 0.1,
        undefined={
            OVERLAP_ALIKE: (*OF_RAW, *OF_CENTERED, GAP_BEHAVIOR, RESIDUAL_SCALE),
            no_similarity(21): OF_CORRELATION,
            SAME_SIMILARITY: OF_VARIANCE,
            NO_PAIR: (GAP_GEOMETRY,),
            "1 group of inputs, 8 are needed": (RELIABILITY,),
        },
        nan={"logit_correlation": EVERY_LABEL},
        by_hand={OVERLAP_MEAN: 1.0, "log_odds_variance": 0.0},
    ),
    case("seven inputs, for eight blocks", embedding=F[:7] * 0.3, undefined={"7 groups of inputs, 8 are needed": (RELIABILITY,)}),
    case("eight inputs, one in every block", embedding=F[:8] * 0.3),
    case(
        "inputs that differ in one direction: logits then move together or against one another, entirely", embedding=ONE_DIRECTION
    ),
    case(
        "inputs that all belong together",
        groups=torch.zeros(N, dtype=torch.int64),
        undefined={"1 group of inputs, 8 are needed": (RELIABILITY,)},
    ),
    case("weights alone", embedding=None, undefined=NOTHING_SEEN, nan=dict.fromkeys(RUNGS_OF_INPUTS, EVERY_LABEL)),
    case(
        "logits without embeddings",
        embedding=None,
        logits=Z,
        undefined={no_similarity(21): (*OF_CORRELATION, *OF_VARIANCE), NO_PAIR: (GAP_GEOMETRY,)},
        nan={"logit_correlation": EVERY_LABEL, "log_odds_variance": EVERY_LABEL},
    ),
    case(
        "embeddings without logits",
        logits=None,
        undefined={NO_INPUTS: (*ALL_MEASURES, RELIABILITY, OVERLAP_MEAN)},
        nan={"overlap": EVERY_LABEL},
    ),
    # Models that do not vary
    case(
        "a model that does not look at its inputs",
        embedding=F[:1].expand(N, D) * 0.1,
        undefined=equal_embeddings(21),
        nan={"logit_correlation": EVERY_LABEL},
        by_hand={OVERLAP_MEAN: 1.0},
    ),
    case(
        "logits that are all equal",
        logits=Z * 0,
        undefined={OVERLAP_ALIKE: ALL_MEASURES, HALF_ALIKE: (RELIABILITY,)},
        by_hand={OVERLAP_MEAN: 1.0},
        undefined_rankings={"top_pair_auroc_raw_cosine": OVERLAP_ALIKE, "neighbor_jaccard_raw_cosine": OVERLAP_ALIKE},
    ),
    case(
        "logits that are all equal, by rank",
        logits=Z * 0,
        settings={"overlap": "topk"},
        undefined={OVERLAP_ALIKE: ALL_MEASURES, HALF_ALIKE: (RELIABILITY,)},
        by_hand={OVERLAP_MEAN: 1.0},
    ),
    case(
        "probabilities that are all below the threshold of coactivation",
        logits=Z * 0,
        settings={"overlap": "coactivation", "overlap_threshold": 0.2},
        undefined={none_known("an overlap", 21): ALL_MEASURES, too_few(0): (RELIABILITY,), NO_OVERLAP: (OVERLAP_MEAN,)},
        nan={"overlap": EVERY_LABEL},
    ),
    case(
        "one label alone varies: the other labels overlap entirely, up to rounding",
        ONE_LIVE_LOGIT,
        logits=F @ ONE_LIVE_LOGIT.T + BIAS,
        remarks=(padding("zero", "1 to 6"),),
        nan={"raw_cosine": EVERY_LABEL},
        undefined={no_similarity(21): OF_RAW, NO_PAIR: (GAP_TRANSLATION,)},
        by_hand={
            RELIABILITY: 1.0,
            **dict.fromkeys(OF_CENTERED + OF_VARIANCE, 1.0),
            **dict.fromkeys((OF_CENTERED[0], OF_VARIANCE[0]), RHO_OF_SIX_AND_FIFTEEN),
            GAP_BEHAVIOR: 1 - RHO_OF_SIX_AND_FIFTEEN,
        },
    ),
    case(
        "a label whose logit no input moves",
        changed(W - W.mean(dim=0), ((2, 0), 0.0)),
        ALONG_FIRST,
        logits=Z,
        settings={"link": "sigmoid"},
        nan={"logit_correlation": {2}},
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
        settings={"min_probability": 0.01},
        undefined_rankings={"top_pair_auroc_centered_cosine": "66 pairs tie for the 22 largest overlaps"},
    ),
    case(
        "all but twenty-one pairs do not overlap at all",
        rows_of(30),
        inputs_of(60),
        logits=changed(torch.eye(30).repeat(2, 1).log(), ((slice(2), slice(7)), 0.0)),
        undefined={HALF_ALIKE: (RELIABILITY,)},
        undefined_rankings={
            "top_pair_auroc_centered_cosine": "no pair has a smaller overlap than the 22 pairs with the largest overlap"
        },
    ),
]


def oracle(given: Case) -> tuple[dict[str, Array], tuple[Array, Array], Callable[[], float]]:
    """The rungs, the overlaps of either half and the common mode from the formulas, of what is finite, with no label left out."""
    sigmoid = given.settings.get("link") == "sigmoid"
    live: Any = np.isfinite(array(given.unembedding)).all(axis=1)
    live[list(given.settings.get("ignore", ()))] = False
    # A row that is out counts nowhere; what the formulas say of it is not looked at. The dtype tells them what rounding is.
    rows: Array = np.where(live[:, None], array(given.unembedding), np.nan)
    rows = rows.astype(np.float64 if given.unembedding.dtype == torch.float64 else np.float32)
    num_inputs = len(next((tensor for tensor in (given.logits, given.embedding) if tensor is not None), ()))
    seen = np.ones(num_inputs, dtype=bool)
    probs: Array = np.zeros((num_inputs, len(rows)))
    unknown: Array = np.full((len(rows), len(rows)), np.nan)
    rungs = dict.fromkeys(("raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance"), unknown)
    with np.errstate(all="ignore"):
        if given.embedding is not None:
            seen &= np.isfinite(array(given.embedding)).all(axis=1)
        if given.logits is not None:
            z = array(given.logits)
            probs = 1 / (1 + np.exp(-z)) if sigmoid else reference.softmax(z)
            seen &= ~np.isnan(probs).any(axis=1)
        if live.any():
            rungs["raw_cosine"] = reference.cosine(rows, centered=False)
            rungs["centered_cosine"] = reference.cosine(rows, centered=True)
        if live.any() and given.embedding is not None and seen.any():
            covariance = reference.covariance(array(given.embedding)[seen])
            rungs["logit_correlation"] = reference.logit_correlation(rows, covariance, centered=not sigmoid)
            rungs["log_odds_variance"] = reference.log_odds_variance(rows, covariance)
    is_first = in_first_half([groups_of(given)])[seen]
    every, first, second = (overlap_of(given.settings, probs[seen][of]) for of in (is_first | True, is_first, ~is_first))
    return {**rungs, "overlap": every}, (first, second), lambda: reference.common_mode_ratio(rows)


def groups_of(given: Case) -> Tensor:
    """Which inputs belong together: by default each is alone."""
    if given.groups is not None:
        return given.groups
    return alone(len(next((tensor for tensor in (given.logits, given.embedding) if tensor is not None), ())))


def overlap_of(settings: Mapping[str, Any], probs: Array) -> Array:
    """Rounded far below any digit that is shown: what is equal is then equal."""
    kind = settings.get("overlap", "bhattacharyya")
    if kind == "coactivation":
        return reference.coactivation(probs, settings["overlap_threshold"])
    if kind == "topk":
        return reference.top_k(probs, 2)
    return reference.bhattacharyya(probs).round(9)


def scalars_of(
    rungs: Mapping[str, Array], halves: list[Array], common_mode: Callable[[], float]
) -> dict[str, Callable[[], float]]:
    """The scalars from the formulas, each when asked for: only defined ones can be had."""
    overlap = rungs["overlap"]
    cosine = "centered_cosine" if "centered_cosine" in rungs else "raw_cosine"
    pair = np.triu_indices(len(overlap), 1)

    def alike(rung: str) -> Array:
        return -rungs[rung] if rung == "log_odds_variance" else rungs[rung]

    @functools.cache
    def agreement(rung: str) -> float:
        mantissa, exponent = np.frexp(overlap)  # of sums in float32, 16 binary digits of an overlap are no rounding
        return reference.rank_agreement(alike(rung), np.ldexp(np.ldexp(mantissa, 16).round(), exponent - 16))

    def explained(rung: str) -> float:
        return reference.explained_overlap(alike(rung), overlap)

    def gap(one: str, other: str) -> float:
        return float(np.nanmean(np.abs(rungs[one] - rungs[other])[pair]))

    return {
        **{f"rank_agreement_{rung}": functools.partial(agreement, rung) for rung in rungs if rung != "overlap"},
        **{f"explained_{rung}": functools.partial(explained, rung) for rung in rungs if rung != "overlap"},
        GAP_TRANSLATION: lambda: gap("raw_cosine", "centered_cosine"),
        GAP_GEOMETRY: lambda: gap(cosine, "logit_correlation"),
        GAP_BEHAVIOR: lambda: 1 - max(0.0, agreement(cosine)),
        RELIABILITY: lambda: reference.reliability(*(np.where(np.isnan(overlap), np.nan, half) for half in halves)),
        RESIDUAL_SCALE: lambda: reference.residual_scale(rungs[cosine], overlap),
        OVERLAP_MEAN: lambda: float(np.nanmean(overlap[pair])),
        COMMON_MODE_RATIO: common_mode,
    }


def pairs_out(rung: str, given: Case, labels: Iterable[int]) -> NDArray[np.bool_]:
    out = {*given.nan.get("all", ()), *given.nan.get(rung, ())}
    out_L = np.array([label in out for label in labels], dtype=bool)
    out_LL: NDArray[np.bool_] = np.logical_or.outer(out_L, out_L)
    return out_LL


@functools.cache
def report_on(given: Case) -> GapReport:
    """One report of a row for all tests of it."""
    metric = SimilarityGap(*given.unembedding.shape, **given.settings)
    metric.update(given.unembedding, given.logits, given.embedding, groups_of(given))
    return metric.report()


def in_many_dimensions(given: Case) -> Case:
    """The same head in more dimensions than it has labels, where sums are over logits: all that is said of it stays."""
    dim = max(given.unembedding.shape) + 2
    embedding = None if given.embedding is None else padded(given.embedding, dim)
    what = f"{given.what}, in many dimensions"
    return replace(given, what=what, unembedding=padded(given.unembedding, dim), embedding=embedding)


@pytest.fixture(params=[*CASES, *map(in_many_dimensions, CASES)], ids=lambda given: given.what)
def given(request: pytest.FixtureRequest) -> Case:
    row: Case = request.param
    return row


def test_what_is_undefined_says_why(given: Case) -> None:
    """Every scalar that is NaN has its reason, no other has, and what is odd about head and inputs is remarked on."""
    report = report_on(given)
    assert told(report) == as_sets(given.undefined)
    assert {name for name, value in report.scalars.items() if math.isnan(value)} == set(chain(*given.undefined.values()))
    assert tuple(report.remarks.values()) == given.remarks
    assert {name: report.undefined.get(name) for name in given.undefined_rankings} == given.undefined_rankings


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
    for name, number in given.by_hand.items():
        value = report.scalars[name] if name in report.scalars else report.matrix(name)[0, 1].item()
        assert value == pytest.approx(number, abs=1e-5), name


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
        assert report.scalars == pytest.approx(plain.report().scalars, abs=1e-5, nan_ok=True)


def test_padding_that_is_ignored_leaves_the_cosines_of_the_others_as_they_were() -> None:
    """Those of the seven rows alone."""
    wanted = reference.cosine(array(W + 2), centered=True)
    for rows in (PADDED, EQUAL):
        metric = SimilarityGap(19, D, ignore=PADDED_ROWS)
        metric.update(rows)
        np.testing.assert_allclose(array(metric.report().matrix("centered_cosine"))[:7, :7], wanted, atol=1e-6)


def test_a_common_mode_costs_no_digit() -> None:
    """bf16 keeps three digits of such rows; of the rows it keeps, the centered cosine is exact, and the raw one is near 1."""
    metric = SimilarityGap(K, D)
    metric.update(COMMON_MODE_BF16, Z, F)
    report = metric.report()
    wanted = reference.cosine(array(COMMON_MODE_BF16), centered=True)
    np.testing.assert_allclose(array(report.matrix("centered_cosine")), wanted, atol=1e-5)
    assert report.matrix("raw_cosine").min() > 0.99
    assert report.scalars[COMMON_MODE_RATIO] > 50


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
            lambda: value_of(LocalLogOdds(K), changed(Z, (5, math.nan), ((6, 0), math.inf))),
            reference.local_log_odds(reference.softmax(np.delete(array(Z), [5, 6], axis=0))),
            id="logits that are not finite are left out of log-odds",
        ),
        pytest.param(
            lambda: value_of(LocalLogOdds(K, label_subset=[1, 2]), changed(Z, ((5, 0), math.nan))),
            reference.local_log_odds(reference.softmax(np.delete(array(Z), 5, axis=0)))[1:3, 1:3],
            id="also where the NaN is that of a label that is not compared",
        ),
        pytest.param(
            lambda: value_of(LocalLogOdds(3), torch.tensor([[0.0, 0.0, -math.inf], [1.0, 0.0, -math.inf]])),
            [
                [0.0, reference.local_log_odds(reference.softmax(np.array([[0.0, 0.0], [1.0, 0.0]])))[0, 1], math.nan],
                [reference.local_log_odds(reference.softmax(np.array([[0.0, 0.0], [1.0, 0.0]])))[0, 1], 0.0, math.nan],
                [math.nan] * 3,
            ],
            id="a masked label has no log-odds",
        ),
        pytest.param(lambda: value_of(LocalLogOdds(K), Z[:0]), np.full((K, K), np.nan), id="no logits, no log-odds"),
        pytest.param(lambda: value_of(LocalLogOdds(K), Z[:1]), np.zeros((K, K)), id="one input: all profiles are equal"),
        pytest.param(
            lambda: value_of(ProbabilityOverlap(2, kind="coactivation"), torch.tensor([[9.0, -9.0]])),
            [[1.0, 0.0], [0.0, math.nan]],
            id="a label that is never active overlaps no other, not even itself",
        ),
    ],
)
def test_the_other_metrics_leave_out_the_same(compute: Callable[[], Tensor], wanted: Any) -> None:
    np.testing.assert_allclose(compute().numpy(), np.asarray(wanted), rtol=1e-5, atol=1e-5)


SIZES = "The metric was built for these sizes."
FLOAT = "Convert it with `.float()`."
ROWS = "Pass one row per input: `logits.flatten(0, -2)`."


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
            "Expected `groups` to be an integer tensor of shape (120,), got torch.float32 of shape (120,). "
            "Pass one id per input.",
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
    assert metric.report().scalars == pytest.approx(plain.report().scalars, rel=0, abs=0, nan_ok=True)
