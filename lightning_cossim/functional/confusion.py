"""Confusion: which inputs of one label have another most likely label, and on which inputs two labels are both probable.

The *target* of an input is its true label. It is unknown for some inputs. If two labels are both probable on an input, either
the model errs or both labels fit the input. Shapes: N inputs, K labels, L of them compared, P pairs of these.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.pairs import Pairs

__all__ = ["Confusion", "add_confusion", "add_products_by_target", "known_targets", "labels_at"]

_CHUNK: Final = 1024
"""Number of inputs whose products are computed at a time."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Error counts and joint mass of pairs of labels, from targets."""

    errors: Tensor
    """int64 (2, P): inputs of the first label whose most likely label is the second, and the reverse."""
    joint_shares: Tensor
    """float32 (3, P), in [0, 1]: the shares of the joint mass on inputs with the first label as target, the second, or neither.

    The shares of a pair sum to 1. They are NaN if the pair has no joint mass. An input without a target counts as neither.
    """

    @classmethod
    def of(cls, errors: Tensor, *, joint: Tensor, first: Tensor, second: Tensor) -> "Confusion":
        """The confusion of pairs, from sums over inputs.

        Args:
            errors: int64 (2, P).
            joint: (P,), the products of the profiles of two labels, summed over all inputs.
            first: (P,), the same, summed over the inputs whose target is the first label.
            second: (P,), the same, summed over the inputs whose target is the second label.
        """
        one_P, other_P = first.double(), second.double()
        neither_P = (joint.double() - one_P - other_P).clamp(min=0)  # float32 rounding can make this negative
        mass_3P = torch.stack([one_P, other_P, neither_P])
        return cls(errors, (mass_3P / mass_3P.sum(dim=0)).float())

    @classmethod
    def of_all(cls, pairs: Pairs, confusion: Tensor, by_target: Tensor, *, joint: Tensor) -> "Confusion":
        """The confusion of pairs, from the counts and sums of all labels.

        Args:
            pairs: (P,), by the positions of their labels.
            confusion: (L, L), see `add_confusion`.
            by_target: (L, L), see `add_products_by_target`.
            joint: (P,), the products of the profiles of two labels, summed over all inputs.
        """
        back = Pairs(pairs.column, pairs.row)
        errors_2P = torch.stack([pairs.values(confusion), back.values(confusion)]).cpu()
        return cls.of(errors_2P, joint=joint, first=pairs.values(by_target).cpu(), second=back.values(by_target).cpu())


def known_targets(targets: Tensor, num_labels: int) -> Tensor:
    """Targets as int64 (N,), with -1 for each value that is not a label from 0 to K - 1.

    Example:
        >>> known_targets(torch.tensor([2, -100, 0, 3]), 3)
        tensor([ 2, -1,  0, -1])
    """
    target_N = targets.long()
    return target_N.masked_fill((target_N < 0) | (target_N >= num_labels), -1)


def labels_at(place: Tensor, labels: Tensor) -> Tensor:
    """The position (N,) of each label among the compared labels. -1 for -1 and for a label that is not compared.

    Args:
        place: (K,), the position of every label, -1 if it is not compared.
        labels: (N,), at least -1.
    """
    return place[labels.clamp(min=0)].masked_fill(labels < 0, -1)


def add_confusion(total: Tensor, target: Tensor, predicted: Tensor) -> None:
    """Count the inputs by target and most likely label, in place. An input counts if both are known.

    Args:
        total: int64 (L, L): row, the target; column, the most likely label.
        target: (N,), positions from 0 to L - 1, -1 if unknown.
        predicted: (N,), the positions of the most likely labels, in the same form.
    """
    counts_N = (target >= 0) & (predicted >= 0)
    index_N = target.clamp(min=0) * len(total) + predicted.clamp(min=0)
    total.view(-1).index_add_(0, index_N, counts_N.to(total.dtype))


def add_products_by_target(total: Tensor, profiles: Tensor, target: Tensor) -> None:
    """Add the products of the target's profile and the profile of every label, in place.

    Entry (i, j) is then the joint mass of labels i and j on inputs with target i. Entry (j, i) is that on inputs with target j.

    Args:
        total: (L, L): row, the target.
        profiles: (N, L), at least 0.
        target: (N,), positions from 0 to L - 1, -1 if unknown.
    """
    for h_BL, target_B in zip(torch.split(profiles, _CHUNK), torch.split(target, _CHUNK), strict=True):
        index_B = target_B.clamp(min=0)
        own_B1 = h_BL.gather(1, index_B[:, None]).masked_fill(target_B[:, None] < 0, 0)
        total.index_add_(0, index_B, (own_B1 * h_BL).to(total.dtype))
