"""Overlaps in a large vocabulary, from the most likely labels of each input, with a bound on the truncation error.

K labels have K² sums of products: 10 GB for 50 000 labels. But each input has few likely labels. So this module keeps the m
largest *profile values* of each input (see `overlap`), and for every label the sum of all its squared profile values. A sparse
matrix product gives the sums of the requested pairs.

The dropped values make these sums too small. Two facts bound the difference: the Cauchy-Schwarz inequality, and that no dropped
value of an input is larger than the smallest kept one.

Shapes: K labels, L of them compared, N inputs, m values kept per input, P pairs, C candidates; `h_NK` profiles.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.pairs import Pairs

__all__ = ["SparseOverlap", "SparseProfiles", "sparse_profiles"]

_CHUNK: Final = 2048
"""Labels whose sums with all others are computed at a time."""

Array = NDArray[np.floating[Any]]


class SparseProfiles(NamedTuple):
    """For each input, the labels with the m largest profile values."""

    labels: Tensor
    """(N, m), int32, the labels."""
    values: Tensor
    """(N, m), float32, at least 0, their profile values, the largest first."""


def sparse_profiles(profiles: Tensor, *, num_kept: int) -> SparseProfiles:
    """The `num_kept` largest values of each row of profiles (N, K). If K is smaller, all K values."""
    values_Nm, labels_Nm = profiles.topk(min(num_kept, profiles.shape[1]), dim=1)
    return SparseProfiles(labels_Nm.int(), values_Nm.float())


class SparseOverlap:
    """Overlaps of any pairs of K labels, computed from the kept profile values.

    Args:
        overlap: the kind of overlap.
        profiles: (N, m), the kept profile values.
        own: (K,), at least 0, for each label the sum of its squared profile values over the same inputs, dropped ones included.
    """

    def __init__(self, overlap: Overlap, profiles: SparseProfiles, own: Tensor) -> None:
        self.overlap, self.num_labels = overlap, len(own)
        self._own_K = own.cpu().double()
        labels, values = profiles.labels.cpu().numpy(), profiles.values.cpu().numpy().astype(np.float64)
        self._smallest_N = values[:, -1] if labels.shape[1] < self.num_labels else np.zeros(len(values))
        starts = np.arange(len(values) + 1) * labels.shape[1]
        self._h_NK: Any = csr_array((values.ravel(), labels.ravel(), starts), shape=(len(values), self.num_labels))
        self._h_NK.eliminate_zeros()

    def overlaps(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """A lower bound of each overlap, and the largest possible truncation error.

        Args:
            pairs: (P,), labels from 0 to K - 1.

        Returns:
            Two tensors (P,), float64, in [0, 1]: the overlap from the kept values, which is at most the true overlap, and an
            upper bound of the difference. NaN if one of the two labels has no mass, or, for the kinds "coactivation" and "topk",
            if both labels have none.
        """
        sums_P, own_P, others_own_P = self.sums(pairs), self._own_K[pairs.row], self._own_K[pairs.column]
        at_most_P = torch.minimum(own_P, others_own_P) if self.overlap.counts_inputs else (own_P * others_own_P).sqrt()
        highest_P = torch.minimum(sums_P + self._left_out(pairs), at_most_P)
        found_P, may_be_P = (self.overlap.overlap_of(joint_P, own_P, others_own_P) for joint_P in (sums_P, highest_P))
        return found_P, (may_be_P - found_P).clamp(min=0)

    def most_overlapping(self, labels: Tensor, num_pairs: int) -> Pairs:
        """The pairs of `labels` (L,), ascending, with the largest overlaps, the largest first; at most `num_pairs`."""
        h_NL = self._h_NK[:, labels.numpy()]
        h_LN = h_NL.T.tocsr()
        own_L = self._own_K[labels]
        best = torch.empty(0, dtype=torch.float64), torch.empty(2, 0, dtype=torch.int64)
        for first in range(0, len(labels), _CHUNK):
            sums = (h_LN[first : first + _CHUNK] @ h_NL).tocoo()
            row, column = (torch.from_numpy(index.astype(np.int64)) for index in (sums.row, sums.col))
            row += first
            above = row < column
            row, column = row[above], column[above]
            sums_C = torch.from_numpy(sums.data)[above]
            overlap_C = self.overlap.overlap_of(sums_C, own_L[row], own_L[column])
            best = _best(torch.cat([best[0], overlap_C]), torch.cat([best[1], torch.stack([row, column])], dim=1), num_pairs)
        row, column = labels[best[1]]
        return Pairs(row, column)

    def sums(self, pairs: Pairs) -> Tensor:
        """(P,), float64, the sums of profile products over the inputs that keep both labels."""
        labels = pairs.labels
        among = pairs.among(labels)
        row_P, column_P = among.row.numpy(), among.column.numpy()
        h_NL = self._h_NK[:, labels.numpy()]
        h_LN = h_NL.T.tocsr()
        sums_P = np.zeros(len(pairs))
        for first in range(0, len(labels), _CHUNK):
            mine = np.flatnonzero((row_P >= first) & (row_P < first + _CHUNK))
            if len(mine):
                sums = (h_LN[first : first + _CHUNK] @ h_NL).tocsr()
                sums_P[mine] = sums[row_P[mine] - first, column_P[mine]]
        return torch.from_numpy(sums_P)

    def _left_out(self, pairs: Pairs) -> Tensor:
        """(P,), an upper bound of what the dropped values would add to the sums."""
        kept_K = torch.from_numpy(np.asarray(self._h_NK.multiply(self._h_NK).sum(axis=0))).ravel()
        left_K = (self._own_K - kept_K).clamp(min=0)
        # A dropped value is at most the smallest kept value of its input. Sum that bound over the inputs that keep the label.
        beside_K = torch.from_numpy(self._h_NK.T @ self._smallest_N)
        neither = float(np.square(self._smallest_N).sum())
        i, j = pairs.row, pairs.column
        both_P = (left_K[i] * left_K[j]).sqrt().clamp(max=neither)
        without_i_P = torch.minimum((left_K[i] * kept_K[j]).sqrt(), beside_K[j])
        without_j_P = torch.minimum((left_K[j] * kept_K[i]).sqrt(), beside_K[i])
        wherever_i_P = (left_K[i] * self._own_K[j]).sqrt() + (kept_K[i] * left_K[j]).sqrt()
        wherever_j_P = (left_K[j] * self._own_K[i]).sqrt() + (kept_K[j] * left_K[i]).sqrt()
        return torch.minimum(both_P + without_i_P + without_j_P, torch.minimum(wherever_i_P, wherever_j_P))


def _best(overlap_C: Tensor, index_2C: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The `num` candidates with the largest overlaps; of equal overlaps, the pairs with the smaller labels."""
    if len(overlap_C) > num:
        last = np.partition(overlap_C.nan_to_num(-1).numpy(), -num)[-num]
        near = overlap_C.nan_to_num(-1) >= last
        overlap_C, index_2C = overlap_C[near], index_2C[:, near]
    order = np.lexsort((index_2C[1].numpy(), index_2C[0].numpy(), -overlap_C.nan_to_num(-1).numpy()))[:num]
    order_C = torch.from_numpy(order)
    return overlap_C[order_C], index_2C[:, order_C]
