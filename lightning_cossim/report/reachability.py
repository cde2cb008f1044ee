"""Reach: what the reachability of labels says of a report, pair by pair and label by label.

Shapes: K labels, D embedding dimensions, N inputs, P pairs of a report.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional import label_reachability, pair_reachability
from lightning_cossim.report import GapReport
from lightning_cossim.report.pair import REACHES

__all__ = ["Reach", "reach_of", "with_reach"]

_MOST_PAIRS: Final = 1000
"""Flagged pairs of a report that are decided, those with the largest gaps."""


@dataclass(frozen=True)
class Reach:
    """What no input can bring out on top."""

    unreachable: tuple[int, ...]
    """Labels, by their rows in the head."""
    num_undecided: int
    """Labels that could not be decided, in the time there was or at all."""
    num_labels: int
    """Live ones."""
    pairs: tuple[tuple[int, int, str], ...]
    """Flagged pairs and their verdicts."""


def reach_of(
    reports: list[GapReport],
    unembedding: Tensor,
    bias: Tensor | None,
    embedding: Tensor | None,
    *,
    ignore: Sequence[int] = (),
    time_limit: float,
    progress: Callable[[float], None],
) -> Reach:
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
    flagged = sorted({pair for report in reports for pair in _flagged(report) if finite_K[list(pair)].all()})
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
        unembedding, bias=bias, labels=asked, embeddings=embedding, time_limit=time_limit, progress=progress
    )
    never = tuple(row for row, verdict in zip(labels.labels.tolist(), labels.verdicts, strict=True) if verdict == "no")
    return Reach(never, labels.verdicts.count("undecided"), len(labels.verdicts), tuple(decided))


def with_reach(report: GapReport, reach: Reach, names: tuple[str, ...]) -> GapReport:
    """The report with the verdicts on its flagged pairs, and the names of the labels that no input can bring out on top.

    Args:
        report: judged already.
        reach: of its head.
        names: (K,).
    """
    verdicts = {(one, other): verdict for one, other, verdict in reach.pairs}
    code_P = torch.zeros(len(report.compared), dtype=torch.int8)
    for place in _flagged_places(report).tolist():
        verdict = verdicts.get(_rows(report, place))
        if verdict is not None:
            code_P[place] = REACHES.index(verdict)
    unreachable = tuple(names[row] for row in reach.unreachable)
    return replace(report, reach=code_P, unreachable=unreachable, num_undecided=reach.num_undecided)


def _flagged(report: GapReport) -> set[tuple[int, int]]:
    return {_rows(report, place) for place in _flagged_places(report).tolist()}


def _flagged_places(report: GapReport) -> Tensor:
    """The flagged pairs, those with the largest gaps if there are very many."""
    flagged_P = torch.zeros(len(report.compared), dtype=torch.bool)
    for flags_P in report.flags.values():
        flagged_P |= flags_P
    places = flagged_P.nonzero().flatten()
    return places[report.gap[places].abs().argsort(descending=True, stable=True)[:_MOST_PAIRS]]


def _rows(report: GapReport, place: int) -> tuple[int, int]:
    one, other = sorted(report.labels[int(labels_P[place])] for labels_P in (report.compared.row, report.compared.column))
    return one, other
