"""Exact nearest neighbors of every label by cosine, without a (K, K) matrix.

Cosines are computed in square chunks of the matrix, on and above its diagonal only: a chunk serves its rows, and its transpose
serves its columns. Within a chunk, only a cosine that exceeds the last neighbor found so far is a candidate.

Shapes: K labels, D embedding dimensions, k neighbors; `u_KD` rows at length 1; a chunk is (B, B), with C candidates.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.centering import Origin, origin_of
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.precision import full_precision, result_dtype, working_dtype

__all__ = ["Neighbors", "nearest_neighbors", "seconds_of_search"]

_CHUNK: Final = 2048
_TOLD_FROM: Final = 4
"""Smallest number of row chunks for which `seconds_of_search` gives an estimate."""


class Neighbors(NamedTuple):
    """The nearest neighbors of every label, the nearest first."""

    labels: Tensor
    """(K, k), int64; -1 if there is no neighbor."""
    cosines: Tensor
    """(K, k), in [-1, 1]; NaN if there is no neighbor."""


def nearest_neighbors(
    unembedding: Tensor,
    *,
    k: int = 10,
    centered: bool = True,
    live: Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> Neighbors:
    """The `k` nearest neighbors of every label by the cosine between rows, label-centered or raw.

    The result is exact: it equals the largest entries of each row of `label_cosine_similarity`. It needs no (K, K) matrix, but
    only a copy of the rows and a few chunks of 2 048 x 2 048. It takes about half of the K² D multiplications of the full
    product.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        k: neighbors per label, at least 1.
        centered: whether to subtract the mean row over live labels first.
        live: boolean (K,), the labels that count; all by default. Rows that are not finite never count.
        progress: called after each row of chunks with the share that is done, from 0 to 1.

    Returns:
        `Neighbors`, on the unembedding's device, with float64 cosines for a float64 unembedding, float32 otherwise. A label has
        no neighbors and is no neighbor if it is not live or its row is zero (after centering: within rounding).

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, `live` is not a boolean tensor of shape (K,), or `k` is
            below 1.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.2]])
        >>> nearest_neighbors(W, k=1).labels.flatten()
        tensor([1, 0, 3, 2])
    """
    if k < 1:
        raise InputError(expected("k", "to be at least 1", k, "It counts the neighbors of a label."))
    live_K = live_labels(unembedding, live)
    u_KD = _unit_rows(unembedding, origin_of(unembedding, live) if centered else None)
    known_K = live_K & u_KD.any(dim=1)
    u_KD = u_KD if known_K.all() else u_KD[known_K]
    nearest = _Nearest(u_KD, min(k, max(len(u_KD) - 1, 1)))
    with full_precision(u_KD):
        nearest.search(progress or _nobody)
    found, padding = known_K.nonzero().flatten(), (0, k - nearest.labels.shape[1])
    own = nn.functional.pad(nearest.labels, padding, value=-1)
    labels_Kk = torch.full((len(live_K), k), -1, device=found.device)
    labels_Kk[found] = torch.where(own < 0, -1, found[own])
    cosines_Kk = u_KD.new_full((len(live_K), k), torch.nan)
    cosines_Kk[found] = nn.functional.pad(nearest.cosines, padding, value=-torch.inf).clamp(max=1)
    return Neighbors(labels_Kk, cosines_Kk.masked_fill_(labels_Kk < 0, torch.nan))


def seconds_of_search(unembedding: Tensor, device: torch.device | str = "cpu") -> float:
    """Estimated time of `nearest_neighbors` on a device, in seconds, from the time of one chunk.

    0 with fewer than 4 chunks of rows, because such a search takes less time than the estimate.
    """
    num_chunks = len(unembedding) / _CHUNK
    if num_chunks < _TOLD_FROM:
        return 0.0
    chunk = unembedding[:_CHUNK].to(device, result_dtype(unembedding))
    times = []
    for _ in range(2):  # the first run may include loading
        began = perf_counter()
        float((chunk @ chunk.T).sum())
        times.append(perf_counter() - began)
    return times[-1] * num_chunks**2 / 2


class _Nearest:
    """The nearest neighbors of all rows found so far, the best first."""

    def __init__(self, rows: Tensor, k: int) -> None:
        self.rows, self.k = rows, k
        self.labels = torch.full((len(rows), k), -1, device=rows.device)
        self.cosines = rows.new_full((len(rows), k), -torch.inf)

    def search(self, progress: Callable[[float], None]) -> None:
        """Search every chunk on and above the diagonal."""
        chunks = [slice(first, first + _CHUNK) for first in range(0, len(self.rows), _CHUNK)]
        for chunk in chunks:  # first, so that every row already has neighbors
            self._take_own(chunk)
        done, total = len(chunks), len(chunks) * (len(chunks) + 1) // 2
        for number, chunk in enumerate(chunks):
            for other in chunks[number + 1 :]:
                self._take(chunk, other)
            done += len(chunks) - number - 1
            progress(done / total)

    def _take_own(self, chunk: slice) -> None:
        cosines_BB = self.rows[chunk] @ self.rows[chunk].T
        cosines_BB.fill_diagonal_(-torch.inf)
        best = cosines_BB.topk(min(self.k, len(cosines_BB) - 1), dim=1)
        self.cosines[chunk, : best.values.shape[1]] = best.values
        self.labels[chunk, : best.values.shape[1]] = best.indices + chunk.start

    def _take(self, chunk: slice, other: slice) -> None:
        cosines_BB = self.rows[chunk] @ self.rows[other].T
        better_BB = (cosines_BB > self.cosines[chunk, -1:]).logical_or_(cosines_BB > self.cosines[other, -1])
        row_C, column_C = better_BB.nonzero(as_tuple=True)
        cosine_C = cosines_BB[row_C, column_C]
        self._offer(row_C + chunk.start, column_C + other.start, cosine_C)
        self._offer(column_C + other.start, row_C + chunk.start, cosine_C)

    def _offer(self, row_C: Tensor, label_C: Tensor, cosine_C: Tensor) -> None:
        """Insert the candidates that exceed the last neighbor of their row."""
        better_C = cosine_C > self.cosines[row_C, -1]
        row_C, order_C = row_C[better_C].sort(stable=True)
        rows_R, of_C, counts_R = torch.unique_consecutive(row_C, return_inverse=True, return_counts=True)
        if not len(rows_R):
            return
        place_C = self.k + torch.arange(len(row_C), device=row_C.device) - (counts_R.cumsum(0) - counts_R)[of_C]
        shape = (len(rows_R), self.k + int(counts_R.max()))
        cosines, labels = self.cosines.new_full(shape, -torch.inf), self.labels.new_full(shape, -1)
        cosines[:, : self.k], labels[:, : self.k] = self.cosines[rows_R], self.labels[rows_R]
        cosines[of_C, place_C], labels[of_C, place_C] = cosine_C[better_C][order_C], label_C[better_C][order_C]
        best = cosines.topk(self.k, dim=1)
        self.cosines[rows_R], self.labels[rows_R] = best.values, labels.gather(1, best.indices)


def _unit_rows(unembedding: Tensor, origin: Origin | None) -> Tensor:
    """The rows at length 1, after centering if an origin is given. Zero rows remain zero."""
    units_KD = torch.empty_like(unembedding, dtype=result_dtype(unembedding))
    for first in range(0, len(unembedding), _CHUNK):
        rows_BD = unembedding.detach()[first : first + _CHUNK]
        rows_BD = rows_BD.to(working_dtype(rows_BD)) if origin is None else origin.center(rows_BD)
        units_KD[first : first + _CHUNK] = nn.functional.normalize(rows_BD, dim=1, eps=torch.finfo(rows_BD.dtype).tiny)
    return units_KD


def _nobody(share: float) -> None:
    """Ignore the progress of a search."""
