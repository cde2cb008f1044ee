"""Combinations of a sigmoid head: can each kept label, and each kept pair, be on with all other kept labels off?

Shapes: K labels, D embedding dimensions, N inputs, L kept labels, Q combinations.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional import CombinationReachability, combination_reachability
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.extras import CombinationVerdicts

__all__ = ["find_combinations"]

_MOST_LABELS: Final = 1000
"""Maximum number of labels that are examined, those with the largest mean probabilities."""
_MOST_PAIRS: Final = 1000
"""Maximum number of pairs per report that are examined: flagged pairs, and those with the largest joint mass."""
_MOST_OBSERVED: Final = 1000
"""Maximum number of observed combinations that are checked, the most frequent ones."""


def find_combinations(
    reports: Sequence[ReportData], unembedding: Tensor, bias: Tensor | None, embedding: Tensor | None, *, time_limit: float
) -> CombinationVerdicts:
    """Decide which kept labels and pairs can be on alone, and check that every observed combination is possible.

    A label is kept if one of the reports keeps it and if its row is finite.

    Args:
        reports: judged reports on the head.
        unembedding: (K, D), one row a label.
        bias: (K,), or None if the head has no bias.
        embedding: (N, D), embeddings of inputs seen, or None.
        time_limit: in seconds, at least 0, once for labels and pairs and once for the check. The rest stays undecided.
    """
    finite_K = unembedding.isfinite().all(dim=1) if bias is None else unembedding.isfinite().all(dim=1) & bias.isfinite()
    rows = [row for row in _by_probability(reports) if finite_K[row]]
    kept_K = torch.zeros_like(finite_K).index_fill_(0, torch.tensor(rows, dtype=torch.int64, device=finite_K.device), value=True)
    pairs = [pair for pair in sorted({pair for report in reports for pair in _foremost(report)}) if kept_K[list(pair)].all()]
    asked = [*((row,) for row in rows[:_MOST_LABELS]), *pairs]
    on_QK = torch.zeros(len(asked), len(kept_K), dtype=torch.bool)
    for number, labels in enumerate(asked):
        on_QK[number, list(labels)] = True
    found = _verdicts(unembedding, bias, on_QK, kept_K, embedding, time_limit)
    num_labels = len(asked) - len(pairs)
    never = sorted(row for (row, *_), verdict in zip(asked[:num_labels], found[:num_labels], strict=True) if verdict == "no")
    observed_QK = _observed(unembedding, bias, embedding, kept_K)
    checked = _verdicts(unembedding, bias, observed_QK, kept_K, None, time_limit)
    return CombinationVerdicts(
        tuple(never),
        found[:num_labels].count("undecided"),
        num_labels,
        tuple((*pair, verdict) for pair, verdict in zip(pairs, found[num_labels:], strict=True)),
        len(checked),
        checked.count("no"),
    )


def _verdicts(
    unembedding: Tensor, bias: Tensor | None, on_QK: Tensor, kept_K: Tensor, embedding: Tensor | None, time_limit: float
) -> list[str]:
    """The verdicts on combinations in which all other kept labels are off."""
    off_QK = kept_K.cpu() & ~on_QK
    found: CombinationReachability = combination_reachability(
        unembedding, on=on_QK, off=off_QK, bias=bias, embeddings=embedding, time_limit=time_limit
    )
    return [str(verdict) for verdict in found.verdicts]


def _by_probability(reports: Sequence[ReportData]) -> list[int]:
    """The rows of the labels that some report keeps, the largest mean probability first."""
    probs: dict[int, float] = {}
    for report in reports:
        for row, prob, is_kept in zip(report.labels, report.mean_probs.tolist(), report.kept.tolist(), strict=True):
            if is_kept:
                probs[row] = max(prob, probs.get(row, 0.0))
    return sorted(probs, key=lambda row: (-probs[row], row))


def _foremost(report: ReportData) -> set[tuple[int, int]]:
    """The flagged pairs of a report and its pairs with the largest joint mass, by rows of the head."""
    by_mass = report.mass.nan_to_num(-1.0).argsort(descending=True, stable=True)[:_MOST_PAIRS]
    return {report.statistics.table.rows_of(place) for place in [*report.flagged(_MOST_PAIRS).tolist(), *by_mass.tolist()]}


def _observed(unembedding: Tensor, bias: Tensor | None, embedding: Tensor | None, kept_K: Tensor) -> Tensor:
    """The combinations (Q, K) of kept labels that finite inputs show, the most frequent ones first."""
    if embedding is None:
        return torch.zeros(0, len(kept_K), dtype=torch.bool)
    f_ND = embedding.detach().cpu().double()
    f_ND = f_ND[f_ND.isfinite().all(dim=1)]
    logits_NK = f_ND @ unembedding.detach().cpu().double().T + (0 if bias is None else bias.detach().cpu().double())
    kept_L = kept_K.cpu()
    shown_NL = logits_NK[:, kept_L]
    apart_N = (shown_NL != 0).all(dim=1)
    combinations_QL, times_Q = torch.unique(shown_NL[apart_N] > 0, dim=0, return_counts=True)
    some = times_Q.argsort(descending=True, stable=True)[:_MOST_OBSERVED]
    on_QK = torch.zeros(len(some), len(kept_L), dtype=torch.bool)
    on_QK[:, kept_L] = combinations_QL[some]
    return on_QK
