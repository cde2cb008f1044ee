"""A head with rows and biases scaled to length 1, so that a tolerance means the same for every head.

One scale for all rows and one for all biases do not affect which rankings and combinations of labels can happen. For rankings, a
translation of all rows or biases does not either, so `ScaledHead.of` removes it there.

A direction is a pair (f, s) with the scores `rows @ f + s * bias`. With s = 0 it means the embedding f, scaled up until no bias
matters. With s > 0 it means the embedding f / s.

Shapes: K labels, D embedding dimensions, B directions at a time.
"""

from typing import Final, NamedTuple, Self

import torch
from torch import Tensor

__all__ = ["ScaledHead"]

_CHUNK: Final = 1 << 23
"""Scores in memory at a time."""


class ScaledHead(NamedTuple):
    """The live rows of a head, in float64 on the CPU."""

    given_rows: Tensor
    """(K, D), the original rows."""
    given_bias: Tensor
    """(K,), the original bias."""
    rows: Tensor
    """(K, D), centered if asked for, and divided by `length`."""
    bias: Tensor
    """(K,), centered if asked for, and divided by `spread`; all zero if the bias has no effect."""
    length: float
    """Root mean square of the lengths of the (centered) rows; 0 if all of them are zero."""
    spread: float
    """Root mean square of the (centered) bias; 0 if the bias has no effect: a constant bias changes no ranking."""

    @classmethod
    def of(cls, W_KD: Tensor, b_K: Tensor, *, centered: bool = True) -> Self:
        """Scale a head. Its rows (K, D) and biases (K,) must be finite and float64."""
        if not centered:
            (rows_KD, length), (bias_K, spread) = _scaled(W_KD), _scaled(b_K)
            return cls(W_KD, b_K, rows_KD, bias_K, length, spread)
        rows_KD, length = _scaled(W_KD - W_KD.mean(dim=0))
        bias_K, spread = _scaled(b_K - b_K.mean())
        if spread <= 16 * torch.finfo(b_K.dtype).eps * _scaled(b_K)[1]:
            bias_K, spread = torch.zeros_like(b_K), 0.0
        return cls(W_KD, b_K, rows_KD, bias_K, length, spread)

    @property
    def chunk(self) -> int:
        """How many questions to answer at a time, from 8 to 512."""
        return max(8, min(512, _CHUNK // max(1, len(self.rows))))

    @property
    def points(self) -> Tensor:
        """(K, D + 1), the scaled rows with the scaled biases as their last column."""
        return torch.cat([self.rows, self.bias[:, None]], dim=1)

    def scores(self, f_BD: Tensor, s_B: Tensor) -> Tensor:
        """The scores (B, K) of directions (f, s)."""
        scores_BK = f_BD @ self.rows.T
        return scores_BK.addcmul_(s_B[:, None], self.bias) if self.spread else scores_BK

    def logits(self, f_BD: Tensor) -> Tensor:
        """The logits (B, K) of embeddings (B, D) in the original head."""
        return (f_BD @ self.given_rows.T).add_(self.given_bias)


def _scaled(values: Tensor) -> tuple[Tensor, float]:
    """Values (K, ...) divided by their root mean square length, and that length. If all are zero, they stay unchanged."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    if not largest:
        return values, 0.0
    values = values / largest  # squares of very small values would underflow
    length = float((values.square().sum() / len(values)).sqrt())
    return values / length, largest * length
