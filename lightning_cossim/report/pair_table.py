"""PairTable: what a window measured, pair by pair.

K labels of the head, L of them compared, P pairs of these; everything is on the CPU, NaN where a pair does not count.
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
    """The similarities and the overlap of pairs, and the labels and inputs that they are about."""

    link: Link
    """From logits to probabilities."""
    labels: tuple[int, ...]
    """(L,), rows of the head."""
    mean_probs: Tensor
    """(L,), in [0, 1]; NaN where no inputs were seen."""
    kept: Tensor
    """Boolean (L,): live, and probable enough for its pairs to count."""
    num_live: int
    """K_live, the labels that means over labels are taken over."""
    num_kept: int
    """How many labels of the head are kept."""
    num_inputs: int
    """How many inputs were seen."""
    num_skipped: int
    """How many more were left out since they are not finite."""
    compared: Pairs
    """The pairs compared, by the places of their labels: all that there are, or a sample."""
    rungs: Mapping[str, Tensor]
    """Similarity, or "overlap", to (P,), NaN for pairs that do not count."""
    mass: Tensor
    """(P,), joint mass of two labels: what their overlap sums over inputs, over the number of inputs."""
    joint_inputs: Tensor
    """int64 (P,), the inputs on which both labels are likely (`functional.joint_inputs`)."""
    effective_inputs: Tensor
    """(L,), the number of inputs that a label's probability is spread over, (Σp)² / Σp²; NaN where no inputs were seen."""
    sampling: str = ""
    """How the pairs were chosen; empty where they are all there are."""
    truncation: Tensor | None = None
    """(P,), by how much each overlap may be larger, where only the most likely labels of inputs were kept; None: not at all."""
    errors: Tensor | None = None
    """int64 (2, P), inputs of the first label that were predicted as the second, and the reverse; None: no targets are known."""
    joint_shares: Tensor | None = None
    """(3, P), the shares of the joint mass on inputs of the first label, of the second and of neither; their sum is 1, NaN where
    there is no mass. None: no targets are known."""

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
        """The table of what was measured.

        Args:
            rungs: each of the link's similarities, and "overlap", to (P,), on the CPU.
            link: from logits to probabilities.
            pairs: (P,), by the places of their labels among those compared.
            labels: (L,), the rows compared.
            live: boolean (K,).
            kept: boolean (K,), see `kept_labels`.
            mean_probs: (K,), in [0, 1]; NaN where no inputs were seen.
            sums: (P,), the sums of the overlap over the inputs.
            joint_inputs: int64 (P,), the inputs on which both labels are likely.
            effective_inputs: (K,), of every label.
            num_inputs: how many inputs were seen.
            num_skipped: how many were not, since they are not finite.
            sampling: how the pairs were chosen, if they are not all.
            truncation: (P,), by how much the overlaps may be larger; None: they are exact.
            confusion: what targets tell of the pairs; None: none are known.
        """
        kept_L = kept[labels]
        counted_P = kept_L[pairs.row] & kept_L[pairs.column]
        # What float32 cannot hold is not known.
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
        """The similarities that mean something under the link."""
        return LADDERS[self.link]

    @property
    def num_pairs(self) -> int:
        """How many pairs count, compared or not."""
        return math.comb(self.num_kept, 2)

    @property
    def nothing_seen(self) -> str:
        """Why no input was seen; empty if one was."""
        return "" if self.num_inputs else "no finite inputs" if self.num_skipped else "no inputs"

    @property
    def compared_rows(self) -> Pairs:
        """The pairs compared, by the rows of the head of their labels: these stay when others are compared."""
        labels = torch.tensor(self.labels, dtype=torch.int64)
        return Pairs(labels[self.compared.row], labels[self.compared.column], self.compared.weight)

    def rows_of(self, place: int) -> tuple[int, int]:
        """The rows of the head of one pair, the smaller first."""
        one, other = (self.labels[int(labels_P[place])] for labels_P in (self.compared.row, self.compared.column))
        return min(one, other), max(one, other)

    def matrix(self, values: Tensor, places: Sequence[int] | Tensor | None = None, *, of_itself: float | None = None) -> Tensor:
        """Values of the pairs (P,) as a symmetric matrix (L, L), NaN where a pair was not compared or does not count.

        Args:
            values: (P,).
            places: of the labels that it is to have, in this order; default all.
            of_itself: the value between a label that has a pair and itself; None: unknown.
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
        """The value of a similarity, or of the overlap, between a label and itself; None for anything else."""
        return SIMILARITIES[key].of_itself if key in SIMILARITIES else 1.0 if key in self.rungs else None


def kept_labels(mean_probs: Tensor, *, live: Tensor, num_inputs: int, min_probability: float, min_total: float = 0.0) -> Tensor:
    """Boolean (K,): the labels whose pairs count, live ones that are probable enough.

    Without inputs nothing is known of the probabilities: similarities of the weights are then shown for all live labels.

    Args:
        mean_probs: (K,), in [0, 1]; NaN where no inputs were seen.
        live: boolean (K,).
        num_inputs: how many inputs were seen.
        min_probability: labels are kept from this share of 1/K_live on.
        min_total: and from this sum of their probabilities over the inputs on.
    """
    if not num_inputs:
        return live
    lowest = max(min_probability / max(int(live.sum()), 1), min_total / num_inputs)
    return live & (mean_probs >= lowest)
