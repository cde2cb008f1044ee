r"""Search for directions in which given labels score above all rivals: first guesses, then ascent, by matrix products alone.

A rival is any live label that the question does not ask about. The ascent is the smooth perceptron. Its direction is a weighted
mean of differences :math:`g_i - g_k`. A softmax gives the highest weights to the rivals k with the highest scores, and it becomes
sharper with every step. If the ascent finds no direction, it returns the rivals with the highest weights.

Shapes: K labels, D embedding dimensions, B questions of T labels each, `own_BT`; M rivals.
Source: Soheili and Peña, A smooth perceptron algorithm, SIAM Journal on Optimization 22 (2012).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["Climb", "climb", "guesses", "whitenings"]

_RIDGES: Final = (1.0, 0.03)
_SCALES: Final = (0.1, 1.0, 10.0)
"""Shares of the bias to try with each direction, in units of the largest entry of the direction."""
_LOOKS: Final = (5, 11, 17, 24)
"""Steps after which the ascent reports its state."""


class Climb(NamedTuple):
    """The state of an ascent after some steps."""

    direction: Tensor
    """(B, D), float64, the direction of each question."""
    rising: Tensor
    """Boolean (B,), whether the labels score above all rivals, computed in float32."""
    rivals: Tensor
    """(B, M), the rivals with the highest weights."""


def whitenings(head: ScaledHead) -> list[Tensor]:
    """Maps (D, D) that reduce what all rows have in common: the inverse of C + ridge, with C the scaled covariance of the rows.

    The list is empty if all rows are zero.
    """
    C_DD = head.rows.T @ head.rows / len(head.rows)
    mean = float(C_DD.diagonal().mean())
    eye_DD = torch.eye(len(C_DD), dtype=C_DD.dtype)
    return [torch.linalg.inv(C_DD / mean + ridge * eye_DD) for ridge in _RIDGES] if mean else []


def guesses(head: ScaledHead, own_BT: Tensor, maps: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Directions (B, D) and their shares of the bias (B,): the labels' own rows, plain and whitened, at several bias shares."""
    g_BTD = head.rows[own_BT]
    directions = [_level(g_BTD, g_BTD @ map_DD if map_DD is not None else g_BTD) for map_DD in (None, *maps)]
    for f_BD in directions:
        yield f_BD, f_BD.new_zeros(len(f_BD))
    for scale in _SCALES if head.spread else ():
        for f_BD in directions:
            yield f_BD, f_BD.abs().amax(dim=1) * scale


def _level(g_BTD: Tensor, f_BTD: Tensor) -> Tensor:
    """For a pair, the mixture of its two directions that gives both labels the same score; for one label, its direction."""
    if f_BTD.shape[1] == 1:
        return f_BTD[:, 0]
    apart_BD = g_BTD[:, 0] - g_BTD[:, 1]
    first_B, second_B = (f_BTD * apart_BD[:, None]).sum(dim=2).unbind(dim=1)
    share_B = (-second_B / (first_B - second_B)).nan_to_num(0.5).clamp(0, 1)[:, None]
    return share_B * f_BTD[:, 0] + (1 - share_B) * f_BTD[:, 1]


def climb(rows32_KD: Tensor, own_BT: Tensor, num_rivals: int) -> Iterator[Climb]:
    """Run the ascent for all questions at once, in float32, and yield its state every few steps. It ignores biases.

    Args:
        rows32_KD: (K, D), float32, the scaled rows of a head.
        own_BT: integer (B, T), the labels of each question.
        num_rivals: M, at most K - T.
    """
    g_BTD = rows32_KD[own_BT]
    reach_B1 = g_BTD.norm(dim=2).amax(dim=1, keepdim=True) + rows32_KD.norm(dim=1).max()
    width, pull, f_BD = 1.0, 1.0, g_BTD.mean(dim=1) / reach_B1
    x_BD, weight_BK = f_BD, rows32_KD.new_zeros(len(own_BT), len(rows32_KD))
    for step in range(_LOOKS[-1] + 1):
        margin_B, nearest_BD, softmax_BK = _nearest(rows32_KD, g_BTD, own_BT, f_BD, reach_B1 * width)
        nearest_BD /= reach_B1
        weight_BK.lerp_(softmax_BK, pull)
        if step in _LOOKS:
            rivals_BM = weight_BK.scatter(1, own_BT, -1).topk(num_rivals, dim=1).indices
            yield Climb(f_BD.double(), margin_B > 0, rivals_BM)
        x_BD = torch.lerp(x_BD, nearest_BD, pull)
        pull = 2 / (step + 3)
        f_BD = (1 - pull) * (f_BD + pull * x_BD) + pull**2 * nearest_BD
        width *= 1 - pull


def _nearest(rows_KD: Tensor, g_BTD: Tensor, own_BT: Tensor, f_BD: Tensor, scale_B1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Margins (B,), the weighted mean difference between labels and rivals (B, D), and the weights of the rivals (B, K)."""
    scores_BK = f_BD @ rows_KD.T
    own_scores_BT = scores_BK.gather(1, own_BT)
    scores_BK.scatter_(1, own_BT, -torch.inf)
    margin_B = own_scores_BT.amin(dim=1) - scores_BK.amax(dim=1)
    softmax_BK = scores_BK.div_(scale_B1).softmax(dim=1)
    own_BT1 = (own_scores_BT / -scale_B1).softmax(dim=1)[:, :, None]
    return margin_B, (own_BT1 * g_BTD).sum(dim=1) - softmax_BK @ rows_KD, softmax_BK
