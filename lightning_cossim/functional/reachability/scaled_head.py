"""A head with rows and biases scaled to length 1, and the margin that a direction reaches in it.

Three changes of a head do not affect which labels can be the most likely ones: a translation of all rows, one scale for all rows,
and one scale for all biases. `ScaledHead` removes all three, so a tolerance means the same for every head.

A direction is a pair (f, s) with the scores `rows @ f + s * bias`. With s = 0 it means the embedding f, scaled up until no bias
matters. With s > 0 it means the embedding f / s.

Shapes: K labels, D embedding dimensions, B questions at a time, C of them; `own_BT` the T labels that each question asks to score
above all others.
"""

from typing import Final, NamedTuple, Self

import torch
from torch import Tensor

__all__ = ["MARGIN", "ScaledHead", "Trial"]

MARGIN: Final = 1e-6
"""Smallest margin that counts as "yes", in scaled units; a smaller one may be rounding error."""
_CHUNK: Final = 1 << 23
"""Scores in memory at a time."""


class Trial(NamedTuple):
    """The result of one direction for each question."""

    yes: Tensor
    """Boolean (B,), whether the labels score above all others: in the scaled head and in the original one."""
    margin: Tensor
    """(B,), the lowest score of the labels minus the highest other score, in scaled units. If s = 0, the direction is scaled to a
    largest entry of 1."""
    witness: Tensor
    """(B, D), an embedding for the original head; meaningless where `yes` is False."""


class ScaledHead(NamedTuple):
    """The live rows of a head, in float64 on the CPU."""

    given_rows: Tensor
    """(K, D), the original rows."""
    given_bias: Tensor
    """(K,), the original bias."""
    rows: Tensor
    """(K, D), centered and divided by `length`."""
    bias: Tensor
    """(K,), centered and divided by `spread`; all zero if the bias is constant."""
    length: float
    """Root mean square of the lengths of the centered rows; 0 if all rows are equal."""
    spread: float
    """Root mean square of the centered bias; 0 if the bias is constant, because a constant bias changes no ranking."""

    @classmethod
    def of(cls, W_KD: Tensor, b_K: Tensor) -> Self:
        """Scale a head. Its rows (K, D) and biases (K,) must be finite and float64."""
        rows_KD, length = _scaled(W_KD - W_KD.mean(dim=0))
        bias_K, spread = _scaled(b_K - b_K.mean())
        if spread <= 16 * torch.finfo(b_K.dtype).eps * _scaled(b_K)[1]:
            bias_K, spread = torch.zeros_like(b_K), 0.0
        return cls(W_KD, b_K, rows_KD, bias_K, length, spread)

    @property
    def chunk(self) -> int:
        """How many questions to answer at a time, from 8 to 512."""
        return max(8, min(512, _CHUNK // len(self.rows)))

    @property
    def points(self) -> Tensor:
        """(K, D + 1), the scaled rows with the scaled biases as their last column."""
        return torch.cat([self.rows, self.bias[:, None]], dim=1)

    def scores(self, f_BD: Tensor, s_B: Tensor) -> Tensor:
        """The scores (B, K) of directions (f, s)."""
        scores_BK = f_BD @ self.rows.T
        return scores_BK.addcmul_(s_B[:, None], self.bias) if self.spread else scores_BK

    def tried(self, own_BT: Tensor, f_BD: Tensor, s_B: Tensor) -> Trial:
        """Test directions (f, s): first scaled up until no bias matters, then with their share s of the bias.

        Args:
            own_BT: integer (B, T), the labels of each question.
            f_BD: (B, D), the directions.
            s_B: (B,), at least 0, their shares of the bias.
        """
        largest_B = f_BD.abs().amax(dim=1)
        f_BD = f_BD / torch.where(largest_B > 0, largest_B, 1)[:, None]
        s_B = s_B / torch.where(largest_B > 0, largest_B, 1)
        margin_B = margins(f_BD @ self.rows.T, own_BT)
        witness_BD = f_BD * self._beyond_bias(own_BT, margin_B)[:, None] / (self.length or 1)
        yes_B = margin_B > MARGIN
        some_B = ~yes_B & (s_B > 0)
        if self.spread and some_B.any():
            own_CT, f_CD, s_C = own_BT[some_B], f_BD[some_B], s_B[some_B]
            margin_B[some_B] = margins(self.scores(f_CD / s_C[:, None], torch.ones_like(s_C)), own_CT)
            witness_BD[some_B] = f_CD / s_C[:, None] * self.spread / (self.length or 1)
            yes_B = margin_B > MARGIN
        found = yes_B.nonzero().flatten()
        yes_B[found] = self.puts_on_top(witness_BD[found], own_BT[found])
        return Trial(yes_B, margin_B, witness_BD)

    def seen(self, own_BT: Tensor, f_BD: Tensor) -> Trial:
        """Test embeddings (B, D) that the head received. Each witness is the embedding itself."""
        if self.spread:
            margin_B = margins(self.scores(f_BD * (self.length / self.spread), f_BD.new_ones(len(f_BD))), own_BT)
        else:
            margin_B = margins(f_BD @ self.rows.T, own_BT) / f_BD.abs().amax(dim=1)
        return Trial((margin_B > MARGIN) & self.puts_on_top(f_BD, own_BT), margin_B, f_BD)

    def puts_on_top(self, witness_BD: Tensor, own_BT: Tensor) -> Tensor:
        """Boolean (B,), whether the original head ranks the labels strictly above all others for these embeddings."""
        logits_BK = (witness_BD @ self.given_rows.T).add_(self.given_bias)
        return margins(logits_BK, own_BT) > 0

    def _beyond_bias(self, own_BT: Tensor, margin_B: Tensor) -> Tensor:
        """(B,), at least 1, the factor for a direction so that its margin is twice what the biases can take away."""
        against_B = self.spread * (self.bias.max() - self.bias[own_BT].amin(dim=1))
        return (2 * against_B / margin_B.clamp(min=MARGIN)).clamp(min=1)


def margins(scores_BK: Tensor, own_BT: Tensor) -> Tensor:
    """(B,), the lowest score of a question's own labels minus the highest other score. Overwrites `scores_BK`."""
    least_B = scores_BK.gather(1, own_BT).amin(dim=1)
    return least_B - scores_BK.scatter_(1, own_BT, -torch.inf).amax(dim=1)


def _scaled(values: Tensor) -> tuple[Tensor, float]:
    """Values (K, ...) divided by their root mean square length, and that length. If all are zero, they stay unchanged."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    if not largest:
        return values, 0.0
    values = values / largest  # squares of very small values would underflow
    length = float((values.square().sum() / len(values)).sqrt())
    return values / length, largest * length
