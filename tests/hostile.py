"""The words that the two tables of hostile inputs share: scalars, the texts about them, and what several rows lack alike.

`tests/metrics/test_hostile_tensors.py` feeds tensors, `tests/callback/test_hostile_trainings.py` feeds trainings. Both write
down what a report lacks as `Reasons`: the text that says why to the scalars that are NaN for it. So

    {HALF_ALIKE: (RELIABILITY,), NO_PAIR: (GAP_TRANSLATION, GAP_GEOMETRY)}

reads: `reliability` is undefined because "all pairs have the same overlap in one half of the inputs", `gap_translation` and
`gap_geometry` because "no pair of kept labels has both similarities", and every other scalar has a value. (The shares of
flagged pairs are not listed: they need 45 pairs.)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_cossim.functional.scalars import SHARES
from lightning_cossim.report import GapReport
from tests import reference

Array = NDArray[np.floating[Any]]
Reasons = Mapping[str, tuple[str, ...]]
"""Reason to the scalars that are undefined for it."""

# The scalars, and those that need the same

OF_RAW, OF_CENTERED, OF_CORRELATION, OF_VARIANCE = (
    (f"rank_agreement_{key}", f"explained_{key}")
    for key in ("raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance")
)
"""What is said of a similarity and the overlap."""
GAP_TRANSLATION, GAP_GEOMETRY, GAP_BEHAVIOR = "gap_translation", "gap_geometry", "gap_behavior"
RELIABILITY, OVERLAP_MEAN, COMMON_MODE_RATIO = "reliability", "overlap_mean", "common_mode_ratio"
RESIDUAL_SCALE = "residual_scale"

ALL_MEASURES = (*OF_RAW, *OF_CENTERED, *OF_CORRELATION, *OF_VARIANCE, GAP_BEHAVIOR, RESIDUAL_SCALE)
"""Of every similarity, and the gap that the rank agreement of the centered cosine gives."""
NEED_TEN_PAIRS = (*ALL_MEASURES, RELIABILITY)
SIGMOID_NEED_TEN_PAIRS = tuple(name for name in NEED_TEN_PAIRS if name not in OF_CENTERED)
"""Under a sigmoid nothing is centered."""
NEED_INPUTS = (*NEED_TEN_PAIRS, GAP_GEOMETRY, OVERLAP_MEAN)

# The reasons why a scalar is undefined

NO_INPUTS = "no inputs"
NOT_ONE_FINITE = "no finite inputs"
NO_PAIR = "no pair of kept labels has both similarities"
NO_OVERLAP = "no pair of kept labels has an overlap"
NOT_LIVE = "no label is live"
EQUAL_ROWS = "all rows of the head are equal"
SAME_SIMILARITY = "all pairs have the same similarity"
OVERLAP_ALIKE = "all pairs have the same overlap"
HALF_ALIKE = "all pairs have the same overlap in one half of the inputs"


def too_few(pairs: int) -> str:
    """There are too few pairs to compare anything over."""
    return f"{pairs} pair{'' if pairs == 1 else 's'} of labels, at least 10 are needed"


def too_few_groups(groups: int) -> str:
    """There are too few groups of inputs to compare with one another."""
    return f"{groups} groups of inputs, 8 are needed"


def none_known(what: str, pairs: int) -> str:
    """There are pairs enough, but what is compared is known of none of them."""
    return f"0 of {pairs} pairs of labels have {what}, at least 10 are needed"


def no_similarity(pairs: int) -> str:
    return none_known("this similarity", pairs)


# What a report lacks, where rows of both tables lack the same

NO_KEPT_LABEL: Reasons = {too_few(0): NEED_TEN_PAIRS, NO_PAIR: (GAP_TRANSLATION, GAP_GEOMETRY), NO_OVERLAP: (OVERLAP_MEAN,)}
NO_LIVE_LABEL: Reasons = {**NO_KEPT_LABEL, NOT_LIVE: (COMMON_MODE_RATIO,)}
ONE_LOGIT: Reasons = {too_few(0): SIGMOID_NEED_TEN_PAIRS, NO_PAIR: (GAP_GEOMETRY,), NO_OVERLAP: (OVERLAP_MEAN,)}
"""Of a sigmoid."""
TWO_LABELS: Reasons = {too_few(1): NEED_TEN_PAIRS}
NOTHING_SEEN: Reasons = {NO_INPUTS: NEED_INPUTS}
NAN_HEAD: Reasons = {NOT_ONE_FINITE: NEED_INPUTS, NO_PAIR: (GAP_TRANSLATION,), NOT_LIVE: (COMMON_MODE_RATIO,)}


def zero_head(pairs: int) -> Reasons:
    return {
        no_similarity(pairs): (*OF_RAW, *OF_CENTERED, *OF_CORRELATION, GAP_BEHAVIOR, RESIDUAL_SCALE),
        SAME_SIMILARITY: OF_VARIANCE,
        HALF_ALIKE: (RELIABILITY,),
        NO_PAIR: (GAP_TRANSLATION, GAP_GEOMETRY),
        EQUAL_ROWS: (COMMON_MODE_RATIO,),
    }


def equal_embeddings(pairs: int) -> Reasons:
    return {
        OVERLAP_ALIKE: (*OF_RAW, *OF_CENTERED, GAP_BEHAVIOR, RESIDUAL_SCALE),
        no_similarity(pairs): OF_CORRELATION,
        SAME_SIMILARITY: OF_VARIANCE,
        HALF_ALIKE: (RELIABILITY,),
        NO_PAIR: (GAP_GEOMETRY,),
    }


# The remarks on what is odd about head and inputs


def left_out(inputs: int, total: int) -> str:
    return f"{inputs} of {total} inputs are left out: their logits or embeddings are not finite"


def not_finite(rows: str) -> str:
    return f"rows of the head that are not finite are left out: {rows}"


def padding(what: str, rows: str, moved: float = 0.0) -> str:
    """Rows that look like padding; where the median cosine of the others moves by more than .05 without them, by how much."""
    moves = f"; without them the median centered cosine moves by {moved:.2f}" if moved > 0.05 else ""
    return f"rows of the head that are {what}: {rows}{moves}; if they are padding, add them to `ignore`"


def median_move(unembedding: Tensor, rows: range) -> float:
    """By how far the median centered cosine between the other labels moves without some rows, from the formulas."""
    every = reference.cosine(array(unembedding), centered=True)
    others = [row for row in range(len(unembedding)) if row not in rows]
    alone = reference.cosine(array(unembedding)[others], centered=True)
    pair = np.triu_indices(len(others), 1)
    return abs(float(np.median(alone[pair]) - np.median(every[np.ix_(others, others)][pair])))


# What is compared with the tables


def array(tensor: Tensor) -> Array:
    values: Array = tensor.detach().double().numpy()
    return values


def told(report: GapReport) -> dict[str, set[str]]:
    """Reason to the scalars that are undefined for it, but for the shares of flagged pairs, which few labels never have."""
    few = report.num_pairs < 45
    assert all(("verdicts need 45" in report.undefined.get(share, "")) == few for share in SHARES if share in report.scalars)
    reasons: dict[str, set[str]] = {}
    for name, why in report.undefined.items():
        if name in report.scalars and name not in SHARES:
            reasons.setdefault(why, set()).add(name)
    return reasons


def as_sets(reasons: Reasons) -> dict[str, set[str]]:
    return {why: set(names) for why, names in reasons.items()}
