"""Pairs of labels: all there are, or a sample of them. Shapes: L labels, P pairs."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pairs", "inverse_index"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of different labels, no two of them the same."""

    row: Tensor
    """(P,), the first label of each."""
    column: Tensor
    """(P,), the second one."""
    weight: Tensor | None = None
    """(P,), float64, at least 1: of a sample, 1 over the probability that the pair is in it; None where they are all."""

    @classmethod
    def of_all(cls, num_labels: int) -> "Pairs":
        """Every pair of L labels: the upper triangle of a matrix, row by row."""
        row, column = torch.triu_indices(num_labels, num_labels, offset=1, device="cpu")
        return cls(row, column)

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Tensor | slice) -> "Pairs":
        """Some of them."""
        return Pairs(self.row[index], self.column[index], None if self.weight is None else self.weight[index])

    @property
    def labels(self) -> Tensor:
        """The labels that are in a pair, ascending."""
        return torch.cat([self.row, self.column]).bincount().nonzero().flatten()

    def among(self, labels: Tensor) -> "Pairs":
        """The same pairs by the places that their labels have in `labels` (L,)."""
        place = inverse_index(labels, int(labels.max()) + 1 if len(labels) else 0)
        return Pairs(place[self.row], place[self.column], self.weight)

    def sampling_error(self, influence: Tensor) -> float | None:
        r"""The standard error that drawing these pairs leaves in an estimate; None where they are all.

        :math:`SE^2 = \sum_i w_i (w_i - 1)\, u_i^2`, for pairs that are drawn independently of one another. It is the part of the
        error that comes from the pairs alone: inputs, and the overlaps that they give, are held fixed.

        Args:
            influence: (P,), u: by how much the estimate would change per unit of weight on the pair. Of a mean
                :math:`\sum w y / \sum w`, it is :math:`(y_i - mean) / \sum w`.

        Source: Särndal, Swensson, Wretman, Model Assisted Survey Sampling (1992), 3.5 (Poisson sampling), 5.5 (linearization).
        """
        if self.weight is None:
            return None
        return float((self.weight * (self.weight - 1) * influence.double().square()).sum().sqrt())

    def values(self, matrix: Tensor) -> Tensor:
        """Their entries (P,) in a matrix (L, L), in the upper triangle if rows come before columns."""
        return matrix[self.row.to(matrix.device), self.column.to(matrix.device)]

    def matrix(self, values: Tensor, num_labels: int) -> Tensor:
        """Values (P,) as a symmetric matrix (L, L), NaN (for booleans: False) where there is no pair."""
        nothing = False if values.dtype == torch.bool else torch.nan
        matrix_LL = values.new_full((num_labels, num_labels), nothing)
        matrix_LL[self.row, self.column] = values
        matrix_LL[self.column, self.row] = values
        return matrix_LL


def inverse_index(labels: Tensor, num_labels: int) -> Tensor:
    """The place (K,) that each of K labels has in `labels` (L,), -1 for a label that is not there.

    Example:
        >>> inverse_index(torch.tensor([2, 0]), 4)
        tensor([ 1, -1,  0, -1])
    """
    place = torch.full((num_labels,), -1, dtype=torch.int64, device=labels.device)
    place[labels] = torch.arange(len(labels), device=labels.device)
    return place
