"""Pairs of labels: all pairs, or a sample of them. Shapes: L labels, P pairs."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pairs", "inverse_index"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of different labels, without duplicates."""

    row: Tensor
    """(P,), the first label of each pair."""
    column: Tensor
    """(P,), the second label of each pair."""
    weight: Tensor | None = None
    """(P,), float64, at least 1: 1 over the probability that the pair is in the sample. None if these are all pairs."""

    @classmethod
    def of_all(cls, num_labels: int) -> "Pairs":
        """Every pair of L labels: the upper triangle of a matrix, row by row."""
        row, column = torch.triu_indices(num_labels, num_labels, offset=1, device="cpu")
        return cls(row, column)

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Tensor | slice) -> "Pairs":
        """The selected pairs."""
        return Pairs(self.row[index], self.column[index], None if self.weight is None else self.weight[index])

    @property
    def labels(self) -> Tensor:
        """The labels of the pairs, ascending."""
        return torch.cat([self.row, self.column]).bincount().nonzero().flatten()

    def among(self, labels: Tensor) -> "Pairs":
        """The same pairs, by the positions of their labels in `labels` (L,)."""
        place = inverse_index(labels, int(labels.max()) + 1 if len(labels) else 0)
        return Pairs(place[self.row], place[self.column], self.weight)

    def sampling_error(self, influence: Tensor) -> float | None:
        r"""The standard error of an estimate that comes from sampling these pairs. None if these are all pairs.

        :math:`SE^2 = \sum_i w_i (w_i - 1)\, u_i^2`, for pairs that are drawn independently of one another. This is only the part
        of the error that comes from the pairs: the inputs and the overlaps of the drawn pairs are fixed.

        Args:
            influence: (P,), u: the change of the estimate per unit of weight on the pair. For a mean :math:`\sum w y / \sum w`,
                it is :math:`(y_i - mean) / \sum w`.

        Returns:
            The standard error, at least 0, or None.

        Source: Särndal, Swensson, Wretman, Model Assisted Survey Sampling (1992), 3.5 (Poisson sampling), 5.5 (linearization).
        """
        if self.weight is None:
            return None
        return float((self.weight * (self.weight - 1) * influence.double().square()).sum().sqrt())

    def values(self, matrix: Tensor) -> Tensor:
        """Their entries (P,) in a matrix (L, L). They are in the upper triangle if every row index is below its column index."""
        return matrix[self.row.to(matrix.device), self.column.to(matrix.device)]

    def matrix(self, values: Tensor, num_labels: int) -> Tensor:
        """Values (P,) as a symmetric matrix (L, L). Entries without a pair are NaN (for booleans: False)."""
        nothing = False if values.dtype == torch.bool else torch.nan
        matrix_LL = values.new_full((num_labels, num_labels), nothing)
        matrix_LL[self.row, self.column] = values
        matrix_LL[self.column, self.row] = values
        return matrix_LL


def inverse_index(labels: Tensor, num_labels: int) -> Tensor:
    """The position (K,) of each of K labels in `labels` (L,), -1 if it is not in there.

    Example:
        >>> inverse_index(torch.tensor([2, 0]), 4)
        tensor([ 1, -1,  0, -1])
    """
    place = torch.full((num_labels,), -1, dtype=torch.int64, device=labels.device)
    place[labels] = torch.arange(len(labels), device=labels.device)
    return place
