"""Padding: rows of a head that belong to no label. They are zero or equal to one another.

Padding moves the mean row, and with it every label-centered cosine. Shapes: K labels, D embedding dimensions, L labels compared.
"""

import math

import torch
from torch import Tensor

from lightning_cossim.functional.centering import origin_of
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.precision import working_dtype

__all__ = ["equal_rows", "median_shift"]

_EQUAL = 1e-6
"""Rows are equal if they differ by at most this, relative to their length."""
_CHUNK = 4096


def equal_rows(unembedding: Tensor, *, live: Tensor | None = None) -> list[Tensor]:
    """Groups of live rows that are equal to 1e-6 of their length, the largest group first.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        live: boolean (K,), the labels that count; all by default. Rows that are not finite never count.

    Returns:
        One index tensor for each group of at least two rows, ascending.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `live` is not a boolean tensor of shape (K,).

    Example:
        >>> equal_rows(torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, 4.0], [1.0, 2.0]]))
        [tensor([0, 2, 5]), tensor([1, 3])]
    """
    index = live_labels(unembedding, live).nonzero().flatten()
    W_KD = unembedding.detach()
    # Equal rows have equal projections on any direction, so sorting by one projection makes them neighbors.
    direction_D = torch.arange(1, W_KD.shape[1] + 1, device=W_KD.device, dtype=working_dtype(W_KD)).square().sin()
    along_K = torch.cat([rows.to(direction_D) @ direction_D for rows in torch.split(W_KD, _CHUNK)])
    length_K = torch.cat([rows.to(direction_D).norm(dim=1) for rows in torch.split(W_KD, _CHUNK)])
    along_K, order = along_K[index].sort(stable=True)
    index = index[order]
    tolerance_K = _EQUAL * length_K[index]
    near = (along_K.diff() <= tolerance_K[1:] * direction_D.norm()).nonzero().flatten()
    apart = torch.cat([_distance(W_KD, index[some], index[some + 1]) for some in torch.split(near, _CHUNK)])
    last = torch.ones_like(index, dtype=torch.bool)  # whether a row is the last of its group
    last[near] = apart > tolerance_K[near + 1]
    ends = last.nonzero().flatten() + 1
    sizes = ends.diff(prepend=ends.new_zeros(1))
    several = torch.stack([ends - sizes, ends], dim=1)[sizes > 1].tolist()
    groups = [index[start:end].sort().values for start, end in several]
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))


def _distance(W_KD: Tensor, rows: Tensor, others: Tensor) -> Tensor:
    dtype = working_dtype(W_KD)
    difference: Tensor = W_KD[rows].to(dtype) - W_KD[others].to(dtype)
    distance: Tensor = difference.norm(dim=1)
    return distance


def median_shift(unembedding: Tensor, rows: Tensor, *, labels: Tensor, live: Tensor) -> float:
    """The change of the median label-centered cosine between the other labels if some rows are left out.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        rows: (R,), the rows to leave out.
        labels: (L,), the labels whose pairs are compared. Labels among `rows` do not count.
        live: boolean (K,), the labels of the mean row.

    Returns:
        A number in [0, 2]; 0 if no pair is left.
    """
    others = live.clone()
    others[rows] = False
    medians = []
    for counted in (live, others):
        W_LD = origin_of(unembedding, counted).center(unembedding[labels])
        cosine_LL = label_cosine_similarity(W_LD, centered=False, live=others[labels])
        row, column = torch.triu_indices(len(labels), len(labels), offset=1, device=cosine_LL.device)
        medians.append(cosine_LL[row, column].nanmedian().item())
    shift = abs(medians[1] - medians[0])
    return 0.0 if math.isnan(shift) else shift
