"""Audit: the paper's translation on a copy of a head, and what it does to cosines and to probabilities.

Shapes: K labels, D embedding dimensions, N inputs; everything in float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.capture.collector import CopiedHead, ObservedHead
from lightning_cossim.errors import InputError, expected, near_names
from lightning_cossim.functional.centering import witness_translation
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.links import Link
from lightning_cossim.report import GapReport
from lightning_cossim.report.tables import text_table

__all__ = ["Audit", "audit_of", "audit_translations", "most_alike", "row_of"]

_ROWS: Final = 8192
"""Labels that are translated at a time."""
_MAX_LOGITS: Final = 2**22
_DRAWN: Final = 256
_TRIED: Final = 1000
"""Pairs whose rows are held against one another."""
_SAME_PROBABILITY, _SAME_COSINE = 1e-6, 1e-5


@dataclass(frozen=True)
class Audit:
    """One pair of labels under the two translations that make its raw cosine -1 and 1. Printing one gives the table."""

    label: str
    other: str
    num_inputs: int
    """On which probabilities were compared."""
    as_trained: float
    """The raw cosine of the pair."""
    translated: tuple[float, float]
    """The same after the translation that makes it -1, and after the one that makes it 1."""
    largest_change: float
    """Of any probability of any label, under either."""

    @property
    def holds(self) -> bool:
        """Whether the paper's lemmas hold here: cosines to 1e-5, probabilities to 1e-6."""
        reached = all(abs(cosine - wanted) <= _SAME_COSINE for cosine, wanted in zip(self.translated, (-1, 1), strict=True))
        return reached and self.largest_change <= _SAME_PROBABILITY

    @override
    def __str__(self) -> str:
        lowest, highest = self.translated
        rows = [
            ["as trained", "", f"{self.as_trained:+.4f}", ""],
            ["one vector added to all rows", "", f"{lowest:+.4f}", f"{self.largest_change:.0e}"],
            ["another vector added", "", f"{highest:+.4f}", f"{self.largest_change:.0e}"],
        ]
        table = text_table(["", "", "raw cosine", "largest change of a probability"], rows)
        return f"{self.label} and {self.other}, {self.num_inputs} inputs\n\n{table}"


def audit_of(
    watched: ObservedHead | CopiedHead | None,
    link: Link,
    reports: Iterable[GapReport],
    label: int | str | None,
    other: int | str | None,
) -> Audit:
    """The audit of a head that was watched.

    Args:
        watched: what is left of it; None: there was none.
        link: of the head.
        reports: on it.
        label: a label, by its row or its name; default the two that overlap most in the latest of the reports.
        other: another one.

    Raises:
        InputError: there is nothing to audit, or the labels are no pair with different rows.
    """
    if watched is None:
        raise InputError(expected("audit", "to be called after a run has begun", "no head so far", "Fit or validate first."))
    if link != "softmax":
        raise InputError(expected("link", "to be 'softmax'", repr(link), "A translation changes what that gives."))
    if not watched.explains:
        got, why = "a model that changes its logits after its head", "A translation changes what that gives."
        raise InputError(expected("audit", "to be of a head that gives the logits", got, why))
    if (label is None) != (other is None):
        raise InputError(expected("other", "and `label` to be given together", "one of them", "Pass both, or neither."))
    weights = watched.weights
    if label is None or other is None:
        label, other = most_alike(reports, weights.unembedding)
    rows = row_of(label, watched.names, "label"), row_of(other, watched.names, "other")
    return audit_translations(weights.unembedding, weights.bias, watched.embedding, rows, watched.names)


def audit_translations(
    unembedding: Tensor, bias: Tensor | None, embedding: Tensor | None, pair: tuple[int, int], names: Sequence[str]
) -> Audit:
    """Translate a copy of a softmax head, both ways, and compare.

    Args:
        unembedding: (K, D).
        bias: (K,) or None.
        embedding: (N, D); fewer are taken of a very large vocabulary. None: inputs are drawn, by a generator of its own.
        pair: two labels whose rows differ.
        names: (K,).

    Raises:
        InputError: the pair is no pair of labels with different rows.
    """
    i, j = pair
    unembedding, bias = unembedding.detach().cpu(), None if bias is None else bias.detach().cpu()  # not all devices have float64
    if embedding is None:
        embedding = torch.randn(_DRAWN, unembedding.shape[1], generator=torch.Generator().manual_seed(0))
    f_ND = embedding.detach().cpu()[: max(8, _MAX_LOGITS // len(unembedding))].double()
    v_D = {cosine: witness_translation(unembedding.double(), i, j, cosine=cosine) for cosine in (-1, 1)}
    before_NK = _probabilities(unembedding, bias, f_ND, torch.zeros_like(v_D[1]))
    changes = [float((_probabilities(unembedding, bias, f_ND, v) - before_NK).abs().max()) for v in v_D.values()]
    rows = unembedding[[i, j]].double()
    cosines = [_cosine(rows), *(_cosine(rows + v) for v in v_D.values())]
    return Audit(names[i], names[j], len(f_ND), cosines[0], (cosines[1], cosines[2]), max(changes))


def most_alike(reports: Iterable[GapReport], unembedding: Tensor) -> tuple[int, int]:
    """The labels with different rows that overlap most in the latest of some reports; the first two if none has an overlap."""
    for report in sorted(reports, key=lambda report: -report.step):
        overlap = report.rungs["overlap"].nan_to_num(-1)
        for place in overlap.argsort(descending=True)[:_TRIED].tolist():
            one, other = (report.labels[int(labels_P[place])] for labels_P in (report.compared.row, report.compared.column))
            if overlap[place] >= 0 and not torch.equal(unembedding[one], unembedding[other]):
                return one, other
    return 0, 1


def row_of(label: int | str, names: Sequence[str], argument: str) -> int:
    """The row of a label in the head, by its number or its name.

    Raises:
        InputError: there is none, or several have the name.
    """
    if isinstance(label, str):
        rows = [row for row, name in enumerate(names) if name == label]
        if len(rows) != 1:
            near = ", ".join(map(repr, near_names(label, names)))
            remedy = f"Near: {near}." if near and not rows else "Pass its row." if rows else ""
            raise InputError(expected(argument, "to be the name of one label", f"{label!r}, of {len(rows)}", remedy))
        return rows[0]
    if not 0 <= label < len(names):
        raise InputError(expected(argument, f"to be a label from 0 to {len(names) - 1}", label))
    return label


def _probabilities(unembedding: Tensor, bias: Tensor | None, f_ND: Tensor, v_D: Tensor) -> Tensor:
    """(N, K) of the translated head: every row is moved, a chunk at a time."""
    z_NK = torch.cat([f_ND @ (rows.double() + v_D).T for rows in torch.split(unembedding, _ROWS)], dim=1)
    return (z_NK if bias is None else z_NK + bias.double()).softmax(dim=1)


def _cosine(rows: Tensor) -> float:
    return float(label_cosine_similarity(rows, centered=False)[0, 1])
