"""Which labels of a head, and which flagged pairs of its reports, any input can make the most likely ones.

Shapes: K labels, D embedding dimensions, N inputs, P pairs of a report.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional import label_reachability, pair_reachability
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.extras import ReachabilityVerdicts

__all__ = ["find_reachability"]

_MOST_PAIRS: Final = 1000
"""Flagged pairs of a report that are decided, those with the largest gaps."""


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
    """Decide the labels of a head, and the flagged pairs of reports on it.

    Args:
        reports: judged already.
        unembedding: (K, D).
        bias: (K,) or None.
        embedding: (N, D), inputs that were seen, if any: what they bring out on top is reachable.
        ignore: labels that do not count: they are rivals, as the model has them, and not asked for.
        time_limit: in seconds, for the pairs and for the labels each.
        progress: is told the share that is done.
    """
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
    never = tuple(row for row, verdict in zip(labels.labels.tolist(), labels.verdicts, strict=True) if verdict == "no")
    return ReachabilityVerdicts(never, labels.verdicts.count("undecided"), len(labels.verdicts), tuple(decided))


def _flagged_pairs(report: ReportData) -> set[tuple[int, int]]:
    return {report.statistics.table.rows_of(place) for place in report.flagged(_MOST_PAIRS).tolist()}
