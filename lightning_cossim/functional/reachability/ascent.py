r"""Search for directions in which given labels score above all rivals: first guesses, then ascent, by matrix products alone.

A rival is any live label that the question does not ask about. The ascent is the smooth perceptron. Its direction is a weighted
mean of differences :math:`g_i - g_k`. A softmax gives the highest weights to the rivals k with the highest scores, and it becomes
sharper with every step. If the ascent finds no direction, it returns the rivals with the highest weights.

Shapes: K labels, D embedding dimensions, B questions of T labels each, `own_BT`; M rivals.
Source: Soheili and Peña, A smooth perceptron algorithm, SIAM Journal on Optimization 22 (2012).
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["Ascent", "Climb", "climb", "guesses", "pulled", "whitenings"]

_RIDGES: Final = (1.0, 0.03)
_SCALES: Final = (0.1, 1.0, 10.0)
"""Shares of the bias to try with each direction, in units of the largest entry of the direction."""
_LOOKS: Final = (5, 11, 17, 24)
"""Steps after which the ascent reports its state."""


class Ascent(NamedTuple):
    """What an ascent needs to know about B questions, in float32. E is D, or D + 1 with the share of the bias."""

    start: Tensor
    """(B, E), the first directions."""
    reach: Tensor
    """(B, 1), the largest length of a difference."""
    num_labels: int
    """The number of weights of rivals."""
    nearest: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    """From directions (B, E) and a scale (B, 1): margins (B,), the weighted mean difference between labels and rivals (B, E), and
    the weights of the rivals (B, K)."""
    rivals: Callable[[Tensor], Tensor]
    """From weights (B, K): the rivals with the highest weights (B, M)."""


class Climb(NamedTuple):
    """The state of an ascent after some steps."""

    direction: Tensor
    """(B, D), float64, the direction of each question."""
    share: Tensor
    """(B,), float64, at least 0, its share of the bias."""
    rising: Tensor
    """Boolean (B,), whether the scores are as asked, computed in float32."""
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


def climb(ascent: Ascent, dim: int) -> Iterator[Climb]:
    """Run the ascent for all questions at once, in float32, and yield its state every few steps.

    Args:
        ascent: the questions.
        dim: D. If the ascent has one more dimension, that is the share of the bias.
    """
    reach_B1 = ascent.reach
    width, pull, f_BE = 1.0, 1.0, ascent.start / reach_B1
    x_BE, weight_BK = f_BE, f_BE.new_zeros(len(f_BE), ascent.num_labels)
    for step in range(_LOOKS[-1] + 1):
        margin_B, nearest_BE, softmax_BK = ascent.nearest(f_BE, reach_B1 * width)
        nearest_BE = nearest_BE / reach_B1
        weight_BK.lerp_(softmax_BK, pull)
        if step in _LOOKS:
            share_B = f_BE[:, dim:].double().sum(dim=1).clamp(min=0)
            yield Climb(f_BE[:, :dim].double(), share_B, margin_B > 0, ascent.rivals(weight_BK))
        x_BE = torch.lerp(x_BE, nearest_BE, pull)
        pull = 2 / (step + 3)
        f_BE = (1 - pull) * (f_BE + pull * x_BE) + pull**2 * nearest_BE
        width *= 1 - pull


def pulled(scores: Tensor, scale: Tensor) -> Tensor:
    """The weights of rivals: a softmax of their scores (B, K), divided by a scale (B, 1). Overwrites the scores."""
    return scores.div_(scale).softmax(dim=1)
