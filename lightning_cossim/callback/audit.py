"""Audit: adds the translations of the paper to a copy of a head, and measures how cosines and probabilities change.

Shapes: K labels, D embedding dimensions, N inputs. All computations use float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.capture.collector import CopiedHead, ObservedHead
from lightning_cossim.errors import InputError, expected, in_short, near_names
from lightning_cossim.functional.centering import witness_translation
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.links import Link
from lightning_cossim.report import GapReport
from lightning_cossim.report.tables import text_table

__all__ = ["Audit", "audit_of", "audit_translations", "most_alike", "row_of"]

_ROWS: Final = 8192
"""Rows of the head that one chunk contains."""
_MAX_LOGITS: Final = 2**22
_DRAWN: Final = 256
_TRIED: Final = 1000
"""Maximum number of pairs whose rows are compared."""
_SAME_PROBABILITY, _SAME_COSINE = 1e-6, 1e-5


@dataclass(frozen=True)
class Audit:
    """One pair of labels under the two translations that make its raw cosine -1 and 1. `print(audit)` shows a table.

    Source: Nielsen, arXiv 2603.29488, Lemmas 2.2 and 2.3.
    """

    label: str
    other: str
    num_inputs: int
    """Number of inputs on which probabilities were compared."""
    as_trained: float
    """Raw cosine of the pair before a translation, in [-1, 1]."""
    translated: tuple[float, float]
    """Raw cosine after the translation that makes it -1, and after the one that makes it 1."""
    largest_change: float
    """Largest absolute change of a probability, over all labels, inputs and both translations, in [0, 1]."""

    @property
    def holds(self) -> bool:
        """Whether the lemmas of the paper hold here: the cosines to 1e-5, the probabilities to 1e-6."""
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
    """The audit of a head that a monitor watched.

    Args:
        watched: the head; None if there was no run.
        link: link of the head.
        reports: reports on the head.
        label: a label, by its row or its name; default: the pair with the largest overlap in the latest report.
        other: another label, whose row differs.

    Raises:
        InputError: there was no run, the link is not "softmax", the model changes its logits after the head, only one of the two
            labels is given, or the two labels are unknown or have equal rows.
    """
    if watched is None:
        raise InputError(expected("audit", "to be called after a run has started", "no run", "Call `fit` or `validate` first."))
    if link != "softmax":
        raise InputError(
            expected("link", "to be 'softmax'", repr(link), "A translation changes the probabilities of other links.")
        )
    if not watched.explains:
        got, why = "a model that changes its logits after its head", "A translation can change its probabilities."
        raise InputError(expected("audit", "to get a head whose output is the model's logits", got, why))
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
    """Add both translations to a copy of a softmax head, and compare cosines and probabilities.

    Args:
        unembedding: (K, D).
        bias: (K,) or None.
        embedding: (N, D). For a very large vocabulary the first inputs are used, at least 8. None: 256 random inputs, from a
            separate random generator.
        pair: two labels whose rows differ.
        names: (K,), the names of the labels.

    Raises:
        InputError: the two labels are out of range, or their rows are equal or not finite.
    """
    i, j = pair
    unembedding, bias = unembedding.detach().cpu(), None if bias is None else bias.detach().cpu()  # some devices lack float64
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
    """The pair with the largest overlap among the pairs with different rows, in the latest report that has an overlap.

    Returns:
        Two labels; (0, 1) if no report has an overlap.
    """
    for report in sorted(reports, key=lambda report: -report.step):
        overlap = report.rungs["overlap"].nan_to_num(-1)
        for place in overlap.argsort(descending=True)[:_TRIED].tolist():
            one, other = (report.labels[int(labels_P[place])] for labels_P in (report.compared.row, report.compared.column))
            if overlap[place] >= 0 and not torch.equal(unembedding[one], unembedding[other]):
                return one, other
    return 0, 1


def row_of(label: int | str, names: Sequence[str], argument: str) -> int:
    """The row of a label in the head.

    Args:
        label: its row, from 0 to K - 1, or its name.
        names: (K,).
        argument: name of the argument, for messages.

    Raises:
        InputError: no label or several labels have the name, or the row is out of range.
    """
    if isinstance(label, str):
        rows = [row for row, name in enumerate(names) if name == label]
        if len(rows) != 1:
            near = ", ".join(in_short(repr(name)) for name in near_names(label, names))
            remedy = f"Similar: {near}." if near and not rows else "Pass its row."
            raise InputError(
                expected(argument, "to be the name of one label", f"{label!r}, the name of {len(rows)} labels", remedy)
            )
        return rows[0]
    if not 0 <= label < len(names):
        raise InputError(expected(argument, f"to be a label from 0 to {len(names) - 1}", label))
    return label


def _probabilities(unembedding: Tensor, bias: Tensor | None, f_ND: Tensor, v_D: Tensor) -> Tensor:
    """Probabilities (N, K) of the head with `v_D` added to every row, computed in chunks of rows."""
    z_NK = torch.cat([f_ND @ (rows.double() + v_D).T for rows in torch.split(unembedding, _ROWS)], dim=1)
    return (z_NK if bias is None else z_NK + bias.double()).softmax(dim=1)


def _cosine(rows: Tensor) -> float:
    return float(label_cosine_similarity(rows, centered=False)[0, 1])
