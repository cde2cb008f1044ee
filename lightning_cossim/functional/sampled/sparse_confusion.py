"""Confusion of chosen pairs in a large vocabulary, without any (K, K) matrix.

Shapes: N inputs, m labels kept per input, P pairs, E entries with a key.
"""

import torch
from torch import Tensor

from lightning_cossim.functional.confusion import Confusion
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.sampled.sparse_overlap import SparseProfiles

__all__ = ["sparse_confusion"]


def sparse_confusion(
    pairs: Pairs, profiles: SparseProfiles, *, target: Tensor, predicted: Tensor, joint: Tensor, num_labels: int
) -> Confusion:
    """The errors and the shares of joint mass of each pair, from the targets of the inputs.

    Errors are exact counts. The shares of joint mass use only the m kept profile values of each input.

    Args:
        pairs: (P,), with labels as rows of the head.
        profiles: (N, m), the largest profile values of each input.
        target: integer (N,), the label of each input, from 0 to K - 1, or -1 if it has none.
        predicted: integer (N,), the most likely label of each input; read only where the input has a target.
        joint: (P,), at least 0, the sums over all inputs of the products of the two labels' kept profile values.
        num_labels: K.

    Returns:
        `Confusion`: errors int64 (2, P), at least 0, and joint shares float32 (3, P), in [0, 1].
    """
    known_N = target >= 0
    target_N, predicted_N = target[known_N].long(), predicted[known_N].long()
    labels_Nm, values_Nm = profiles.labels[known_N].long(), profiles.values[known_N].double()
    own_N = (values_Nm * (labels_Nm == target_N[:, None])).sum(dim=1)
    wanted_2P = torch.stack([pairs.row * num_labels + pairs.column, pairs.column * num_labels + pairs.row])
    errors_2P = _sums_at(wanted_2P, target_N * num_labels + predicted_N, torch.ones_like(target_N))
    key_Nm = target_N[:, None] * num_labels + labels_Nm
    first_P, second_P = _sums_at(wanted_2P, key_Nm.flatten(), (own_N[:, None] * values_Nm).flatten())
    return Confusion.of(errors_2P, joint=joint, first=first_P, second=second_P)


def _sums_at(wanted: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """For each key in `wanted`, the sum of the values (E,) with that key in `keys` (E,), in the shape of `wanted`."""
    found, place_E = torch.unique(keys, return_inverse=True)
    if not len(found):
        return values.new_zeros(wanted.shape)
    sums = values.new_zeros(len(found)).index_add_(0, place_E, values)
    place = torch.searchsorted(found, wanted).clamp(max=len(found) - 1)
    return sums[place].where(found[place] == wanted, 0)
