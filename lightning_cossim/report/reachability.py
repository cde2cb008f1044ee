"""Reachability of the labels of a head and of the flagged pairs of its reports: can any input make them the most likely?

Shapes: K labels, D embedding dimensions, N inputs, P pairs of a report.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional import label_reachability, pair_reachability
from lightning_cossim.report.combinations import find_combinations
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.extras import ReachabilityVerdicts

__all__ = ["find_reachability"]

_MOST_PAIRS: Final = 1000
"""Maximum number of flagged pairs per report that are examined, those with the largest gaps."""


def find_reachability(
    reports: Sequence[ReportData],
    unembedding: Tensor,
    bias: Tensor | None,
    embedding: Tensor | None,
    *,
    ignore: Sequence[int] = (),
    time_limit: float,
    progress: Callable[[float], None],
) -> ReachabilityVerdicts:
    """Decide which labels of a head, and which flagged pairs of its reports, are reachable.

    Rows that are not finite are not examined. For a sigmoid head, also decide which kept labels and pairs can be on alone.

    Args:
        reports: judged reports on the head.
        unembedding: (K, D), one row a label.
        bias: (K,), or None if the head has no bias.
        embedding: (N, D), embeddings of inputs seen, or None. Their most likely labels are reachable.
        ignore: rows that are not examined. They still compete with other labels, since the model has them.
        time_limit: in seconds, at least 0, once for the pairs and once for the labels; for a sigmoid head, half of it for each of
            four questions. The rest stays undecided.
        progress: a function that receives the share of labels decided, from 0 to 1.

    Returns:
        The unreachable labels, the number of undecided ones, the verdicts on the pairs, and those on combinations.
    """
    is_sigmoid = any(report.link == "sigmoid" for report in reports)
    time_limit = time_limit / 2 if is_sigmoid else time_limit
    finite_K = unembedding.isfinite().all(dim=1) if bias is None else unembedding.isfinite().all(dim=1) & bias.isfinite()
    flagged = sorted({pair for report in reports for pair in _flagged_pairs(report) if finite_K[list(pair)].all()})
    decided: list[tuple[int, int, str]] = []
    if flagged:
        found = pair_reachability(
            unembedding, pairs=torch.tensor(flagged), bias=bias, embeddings=embedding, time_limit=time_limit
        )
        decided = [(*pair, verdict) for pair, verdict in zip(flagged, found.verdicts, strict=True)]
    asked_K = finite_K.clone()
    asked_K[list(ignore)] = False
    asked = asked_K.nonzero().flatten()
    labels = label_reachability(
        unembedding, bias=bias, label_subset=asked, embeddings=embedding, time_limit=time_limit, progress=progress
    )
    combinations = None
    if is_sigmoid:
        combinations = find_combinations(reports, unembedding, bias, embedding, time_limit=time_limit)
    never = tuple(row for row, verdict in zip(labels.labels.tolist(), labels.verdicts, strict=True) if verdict == "no")
    return ReachabilityVerdicts(never, labels.verdicts.count("undecided"), len(labels.verdicts), tuple(decided), combinations)


def _flagged_pairs(report: ReportData) -> set[tuple[int, int]]:
    return {report.statistics.table.rows_of(place) for place in report.flagged(_MOST_PAIRS).tolist()}
