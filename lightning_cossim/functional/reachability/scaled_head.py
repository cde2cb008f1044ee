"""A head whose rows and biases are of length about one, and what it says of a direction.

Which labels can be on top does not depend on a translation of all rows, on their scale or on that of the biases: here all three
are taken out, so that a tolerance means the same for every head. A direction is a pair (f, s): scores are `rows @ f + s * bias`.
With s = 0 it stands for embeddings f scaled up until no bias matters, with s > 0 for the one embedding f / s.

Shapes: K labels, D embedding dimensions, B questions at a time; `own_BT` the labels each asks to be on top together, T of them.
"""

from typing import Final, NamedTuple, Self

import torch
from torch import Tensor

__all__ = ["MARGIN", "ScaledHead", "Trial"]

MARGIN: Final = 1e-6
"""In scaled units; a smaller one might be rounding."""
_CHUNK: Final = 1 << 23
"""Scores that are kept at a time."""


class Trial(NamedTuple):
    """What came of one direction for each question."""

    yes: Tensor
    """(B,), whether it puts the labels on top, in the head as it was given too."""
    margin: Tensor
    """(B,), by how much they are above all others, in scaled units; with s = 0 for a direction whose largest entry is 1."""
    witness: Tensor
    """(B, D), an embedding for the head as it was given; of no meaning where `yes` is false."""


class ScaledHead(NamedTuple):
    """The live rows of a head, in float64 on the CPU."""

    given_rows: Tensor
    """(K, D)"""
    given_bias: Tensor
    """(K,)"""
    rows: Tensor
    """(K, D), centered and divided by `length`."""
    bias: Tensor
    """(K,), centered and divided by `spread`; zero where it is constant."""
    length: float
    """Root mean square of the centered rows' lengths."""
    spread: float
    """Root mean square of the centered bias; zero where it is constant, which is no bias at all."""

    @classmethod
    def of(cls, W_KD: Tensor, b_K: Tensor) -> Self:
        """Of finite rows and biases, in float64."""
        rows_KD, length = _scaled(W_KD - W_KD.mean(dim=0))
        bias_K, spread = _scaled(b_K - b_K.mean())
        if spread <= 16 * torch.finfo(b_K.dtype).eps * _scaled(b_K)[1]:
            bias_K, spread = torch.zeros_like(b_K), 0.0
        return cls(W_KD, b_K, rows_KD, bias_K, length, spread)

    @property
    def chunk(self) -> int:
        """How many questions to ask at a time."""
        return max(8, min(512, _CHUNK // len(self.rows)))

    @property
    def points(self) -> Tensor:
        """(K, D + 1), rows and biases side by side."""
        return torch.cat([self.rows, self.bias[:, None]], dim=1)

    def scores(self, f_BD: Tensor, s_B: Tensor) -> Tensor:
        """(B, K) of directions."""
        scores_BK = f_BD @ self.rows.T
        return scores_BK.addcmul_(s_B[:, None], self.bias) if self.spread else scores_BK

    def tried(self, own_BT: Tensor, f_BD: Tensor, s_B: Tensor) -> Trial:
        """Whether directions put the labels asked for on top: with their share of the bias, or scaled up until there is none."""
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
        """The same of inputs of the head, as they are."""
        if self.spread:
            margin_B = margins(self.scores(f_BD * (self.length / self.spread), f_BD.new_ones(len(f_BD))), own_BT)
        else:
            margin_B = margins(f_BD @ self.rows.T, own_BT) / f_BD.abs().amax(dim=1)
        return Trial((margin_B > MARGIN) & self.puts_on_top(f_BD, own_BT), margin_B, f_BD)

    def puts_on_top(self, witness_BD: Tensor, own_BT: Tensor) -> Tensor:
        """(B,), whether the head as it was given ranks the labels strictly above all others for these embeddings."""
        logits_BK = (witness_BD @ self.given_rows.T).add_(self.given_bias)
        return margins(logits_BK, own_BT) > 0

    def _beyond_bias(self, own_BT: Tensor, margin_B: Tensor) -> Tensor:
        """How long a direction has to be for its margin to be twice what biases can take away."""
        against_B = self.spread * (self.bias.max() - self.bias[own_BT].amin(dim=1))
        return (2 * against_B / margin_B.clamp(min=MARGIN)).clamp(min=1)


def margins(scores_BK: Tensor, own_BT: Tensor) -> Tensor:
    """(B,), the least score of a question's own labels minus the largest of all others; the scores are spent."""
    least_B = scores_BK.gather(1, own_BT).amin(dim=1)
    return least_B - scores_BK.scatter_(1, own_BT, -torch.inf).amax(dim=1)


def _scaled(values: Tensor) -> tuple[Tensor, float]:
    """Values (K, ...) at a root mean square length of 1, and what it was; zeros as they are."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    if not largest:
        return values, 0.0
    values = values / largest  # the squares of what is very small would vanish
    length = float((values.square().sum() / len(values)).sqrt())
    return values / length, largest * length
