"""Confusion of chosen pairs of very many labels: nothing of the size K x K. Shapes: N inputs, m labels kept of each, P pairs."""

import torch
from torch import Tensor

from lightning_cossim.functional.confusion import Confusion
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.sampled.sparse_overlap import SparseProfiles

__all__ = ["sparse_confusion"]


def sparse_confusion(
    pairs: Pairs, profiles: SparseProfiles, *, target: Tensor, predicted: Tensor, joint: Tensor, num_labels: int
) -> Confusion:
    """What targets tell of some pairs.

    Errors are exact. Of the joint mass the values that were left out are missing, in all three parts.

    Args:
        pairs: (P,), by their rows in the head.
        profiles: (N, m).
        target: (N,), from 0 to K - 1, -1 for none.
        predicted: (N,), the most likely label of every input that has a target.
        joint: (P,), the products of these profiles, summed over all inputs.
        num_labels: K.
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
    """The sums of the values (E,) that have each of the keys wanted, in their shape."""
    found, place_E = torch.unique(keys, return_inverse=True)
    if not len(found):
        return values.new_zeros(wanted.shape)
    sums = values.new_zeros(len(found)).index_add_(0, place_E, values)
    place = torch.searchsorted(found, wanted).clamp(max=len(found) - 1)
    return sums[place].where(found[place] == wanted, 0)
