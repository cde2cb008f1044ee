"""Overlaps of very many labels: of each input its most likely labels alone, and a bound on what that leaves out.

K labels make K² sums, 10 GB for fifty thousand. But an input has few probable labels: its m largest *profile values* (see
`overlap`) are kept, and of every label what all its values together would be. Sums of products then come from a sparse matrix,
for the pairs asked for. They are too small by what the values left out would have added, which is bounded from both sides:
by the Cauchy-Schwarz inequality, and because none of an input's values left out is larger than the smallest that was kept.

Shapes: K labels, L of them, N inputs, m kept of each, P pairs; `h_NK` profiles, `S_P` sums of their products, `T_K` of a profile
with itself.
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
"""Labels whose sums with all others are formed at a time."""

Array = NDArray[np.floating[Any]]


class SparseProfiles(NamedTuple):
    """Of each input the labels with the largest profile values."""

    labels: Tensor
    """(N, m), int32."""
    values: Tensor
    """(N, m), float32, at least 0, the largest first."""


def sparse_profiles(profiles: Tensor, *, num_kept: int) -> SparseProfiles:
    """The `num_kept` largest values of profiles (N, K) in each input, or all where there are no more."""
    values_Nm, labels_Nm = profiles.topk(min(num_kept, profiles.shape[1]), dim=1)
    return SparseProfiles(labels_Nm.int(), values_Nm.float())


class SparseOverlap:
    """Overlaps of any pairs of K labels.

    Args:
        overlap: which overlap.
        profiles: of N inputs.
        own: (K,), of every label the sum over the same inputs of its squared profile values, kept or not.
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
        """What the kept values tell, (P,) float64, at most the true overlap; and by how much that may be larger, in [0, 1].

        NaN where there is nothing to compare.
        """
        sums_P, own_P, others_own_P = self.sums(pairs), self._own_K[pairs.row], self._own_K[pairs.column]
        at_most_P = torch.minimum(own_P, others_own_P) if self.overlap.counts_inputs else (own_P * others_own_P).sqrt()
        highest_P = torch.minimum(sums_P + self._left_out(pairs), at_most_P)
        found_P, may_be_P = (self.overlap.overlap_of(joint_P, own_P, others_own_P) for joint_P in (sums_P, highest_P))
        return found_P, (may_be_P - found_P).clamp(min=0)

    def most_overlapping(self, labels: Tensor, num_pairs: int) -> Pairs:
        """Of all pairs of some labels (L,), ascending, those that overlap most, the first of them first: at most `num_pairs`."""
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
        """(P,), float64: the sums of products over the inputs that have kept both labels."""
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
        """(P,): at most what the values left out would have added to the sums."""
        kept_K = torch.from_numpy(np.asarray(self._h_NK.multiply(self._h_NK).sum(axis=0))).ravel()
        left_K = (self._own_K - kept_K).clamp(min=0)
        # Beside a value that was kept, one that was left out is at most the smallest kept: summed over the inputs of a label.
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
    """The candidates that overlap most; of equal ones those that come first."""
    if len(overlap_C) > num:
        last = np.partition(overlap_C.nan_to_num(-1).numpy(), -num)[-num]
        near = overlap_C.nan_to_num(-1) >= last
        overlap_C, index_2C = overlap_C[near], index_2C[:, near]
    order = np.lexsort((index_2C[1].numpy(), index_2C[0].numpy(), -overlap_C.nan_to_num(-1).numpy()))[:num]
    order_C = torch.from_numpy(order)
    return overlap_C[order_C], index_2C[:, order_C]
