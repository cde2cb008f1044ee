"""PairTable: the measurements of a window, one value for each pair of labels.

All tensors are on the CPU. A pair counts if both labels are kept; similarities and overlaps of other pairs are NaN. Shapes:
K labels of the head, L of them compared, P pairs of these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cossim.functional.confusion import Confusion
from lightning_cossim.functional.ladder import LADDERS, Ladder
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs, inverse_index
from lightning_cossim.functional.similarities import SIMILARITIES

__all__ = ["PairTable", "kept_labels"]


@dataclass(frozen=True, eq=False)
class PairTable:
    """Similarities, overlap and joint inputs of pairs, with facts about their labels and inputs."""

    link: Link
    """The function from logits to probabilities."""
    labels: tuple[int, ...]
    """(L,), the labels compared, as rows of the head."""
    mean_probs: Tensor
    """(L,), in [0, 1], the mean probability of each label compared; NaN if no inputs were seen."""
    kept: Tensor
    """Boolean (L,), whether a label is kept: it is live and its mean probability is large enough."""
    num_live: int
    """K_live, the number of live labels. Means over labels are over these."""
    num_kept: int
    """Number of kept labels: of the head if the pairs are a sample, otherwise of the labels compared."""
    num_inputs: int
    """Number of inputs seen."""
    num_skipped: int
    """Number of inputs left out because they are not finite."""
    compared: Pairs
    """The pairs compared, all or a sample, by the indices of their labels in `labels`."""
    rungs: Mapping[str, Tensor]
    """(P,) for the key of each similarity and for "overlap"; NaN for pairs that do not count."""
    mass: Tensor
    """(P,), at least 0, the joint mass of two labels: the mean over inputs of the numerator of their overlap."""
    joint_inputs: Tensor
    """int64 (P,), the number of inputs on which both labels are likely (`functional.joint_inputs`)."""
    effective_inputs: Tensor
    """(L,), the number of inputs over which the probability of a label is spread, (Σp)² / Σp²; NaN if no inputs were seen."""
    sampling: str = ""
    """How the sample of pairs was drawn; empty if all pairs are compared."""
    truncation: Tensor | None = None
    """(P,), by how much each overlap may be too small, since only the most likely labels of an input count; None: exact."""
    errors: Tensor | None = None
    """int64 (2, P), the number of inputs of the first label predicted as the second, and the reverse; None: no targets."""
    joint_shares: Tensor | None = None
    """(3, P), in [0, 1], the shares of the joint mass on inputs of the first label, the second, neither; None: no targets.

    Their sum is 1. They are NaN if there is no mass.
    """

    @classmethod
    def of(
        cls,
        rungs: Mapping[str, Tensor],
        *,
        link: Link,
        pairs: Pairs,
        labels: Tensor,
        live: Tensor,
        kept: Tensor,
        mean_probs: Tensor,
        sums: Tensor,
        joint_inputs: Tensor,
        effective_inputs: Tensor,
        num_inputs: int,
        num_skipped: int,
        sampling: str = "",
        truncation: Tensor | None = None,
        confusion: Confusion | None = None,
    ) -> "PairTable":
        """Build the table from measurements.

        Args:
            rungs: (P,), on the CPU, for the key of each similarity of the link and for "overlap".
            link: the function from logits to probabilities.
            pairs: (P,), by the indices of their labels in `labels`.
            labels: (L,), the labels compared, as rows of the head.
            live: boolean (K,), whether a label is live.
            kept: boolean (K,), from `kept_labels`.
            mean_probs: (K,), in [0, 1]; NaN if no inputs were seen.
            sums: (P,), at least 0, the numerators of the overlaps, summed over inputs.
            joint_inputs: int64 (P,), the number of inputs on which both labels are likely.
            effective_inputs: (K,), the effective inputs of every label.
            num_inputs: number of inputs seen.
            num_skipped: number of inputs left out because they are not finite.
            sampling: how the sample of pairs was drawn; empty if all pairs are compared.
            truncation: (P,), by how much the overlaps may be too small; None: they are exact.
            confusion: errors and joint shares from targets; None: no targets.
        """
        kept_L = kept[labels]
        counted_P = kept_L[pairs.row] & kept_L[pairs.column]
        # An overflow of float32 counts as unknown.
        known = {key: rungs[key].where(counted_P & rungs[key].isfinite(), torch.nan) for key in LADDERS[link].rungs}
        return cls(
            link=link,
            labels=tuple(labels.tolist()),
            mean_probs=mean_probs[labels],
            kept=kept_L,
            num_live=int(live.sum()),
            num_kept=int((kept if sampling else kept_L).sum()),
            num_inputs=num_inputs,
            num_skipped=num_skipped,
            compared=pairs,
            rungs=known,
            mass=(sums / num_inputs).float(),
            joint_inputs=joint_inputs,
            effective_inputs=effective_inputs[labels],
            sampling=sampling,
            truncation=truncation,
            errors=None if confusion is None else confusion.errors,
            joint_shares=None if confusion is None else confusion.joint_shares,
        )

    @property
    def ladder(self) -> Ladder:
        """The similarities that are meaningful under the link."""
        return LADDERS[self.link]

    @property
    def num_pairs(self) -> int:
        """Number of pairs of kept labels, compared or not."""
        return math.comb(self.num_kept, 2)

    @property
    def nothing_seen(self) -> str:
        """Why no inputs were seen; empty if there were some."""
        return "" if self.num_inputs else "no finite inputs" if self.num_skipped else "no inputs"

    @property
    def compared_rows(self) -> Pairs:
        """The pairs compared, by rows of the head, which do not depend on the choice of the labels compared."""
        labels = torch.tensor(self.labels, dtype=torch.int64)
        return Pairs(labels[self.compared.row], labels[self.compared.column], self.compared.weight)

    def rows_of(self, place: int) -> tuple[int, int]:
        """The two rows of the head of the pair at index `place`, the smaller first."""
        one, other = (self.labels[int(labels_P[place])] for labels_P in (self.compared.row, self.compared.column))
        return min(one, other), max(one, other)

    def matrix(self, values: Tensor, places: Sequence[int] | Tensor | None = None, *, of_itself: float | None = None) -> Tensor:
        """Values of the pairs as a symmetric matrix.

        Args:
            values: (P,).
            places: (S,), indices in `labels` of the rows and columns, in this order; default all labels, S = L.
            of_itself: the diagonal entry of labels that have a pair; None: NaN.

        Returns:
            (S, S); NaN for pairs that were not compared or do not count.
        """
        shown = range(len(self.labels)) if places is None else places
        shown_L = torch.as_tensor(shown, dtype=torch.int64, device=self.compared.row.device)
        place_L = inverse_index(shown_L, len(self.labels))
        row, column = place_L[self.compared.row], place_L[self.compared.column]
        shown_P = (row >= 0) & (column >= 0)
        matrix = Pairs(row[shown_P], column[shown_P]).matrix(values[shown_P], len(shown_L))
        if of_itself is not None:
            matrix.diagonal().copy_(torch.where(matrix.isfinite().any(dim=1), of_itself, torch.nan))
        return matrix

    def of_itself(self, key: str) -> float | None:
        """The value of a similarity or of the overlap between a label and itself; None for any other key."""
        return SIMILARITIES[key].of_itself if key in SIMILARITIES else 1.0 if key in self.rungs else None


def kept_labels(mean_probs: Tensor, *, live: Tensor, num_inputs: int, min_probability: float, min_total: float = 0.0) -> Tensor:
    """The kept labels: live labels whose mean probability is large enough for their pairs to count.

    Without inputs the probabilities are unknown. Then all live labels are kept, so that similarities of the weights are shown.

    Args:
        mean_probs: (K,), in [0, 1]; NaN if no inputs were seen.
        live: boolean (K,), whether a label is live.
        num_inputs: number of inputs seen.
        min_probability: least mean probability of a kept label, in units of 1/K_live.
        min_total: least sum of the probabilities of a kept label over the inputs.

    Returns:
        Boolean (K,).
    """
    if not num_inputs:
        return live
    lowest = max(min_probability / max(int(live.sum()), 1), min_total / num_inputs)
    return live & (mean_probs >= lowest)
