"""Whether a head's weights explain the logits that were seen, and what to say where they do not.

Shapes: K labels, D embedding dimensions, N inputs; `f_ND` embeddings, `z_NK` logits.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.head import Weights

__all__ = ["CHECKED", "CosineFit", "agree", "agree_in_part", "cosine_fit", "largest_error"]

CHECKED: Final = 64
"""Inputs on which logits are held against weights."""
_HALF: Final = {torch.float16, torch.bfloat16}
_SAME_COSINE: Final = 1e-2
"""Cosines in half precision are no finer; a margin, or another head, is far coarser."""
_SAME_SCALE: Final = 1e-2
_ENOUGH: Final = 4
"""Labels from which on one of them, which a margin may have moved, does not hide what the others are."""


def agree(weights: Weights, f_ND: Tensor, z_NK: Tensor, *, in_half: bool = False) -> bool:
    """Whether weights give these logits, up to the rounding of bf16 or TF32; what is not finite does not count.

    Args:
        weights: of the head.
        f_ND: embeddings.
        z_NK: logits.
        in_half: whether logits were rounded to half precision before they came in another.
    """
    inputs_ND, W_KD = weights.response.inputs(f_ND), weights.response.rows(weights.unembedding)
    size_NK = inputs_ND.float().abs() @ W_KD.float().abs().T
    size_NK = size_NK if weights.bias is None else size_NK + weights.bias.float().abs()
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    tolerance = 1e-2 if in_half or z_NK.dtype in _HALF else 1e-3
    return bool((error_NK <= tolerance * size_NK).logical_or(~error_NK.isfinite()).all())


def agree_in_part(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> bool:
    """Whether weights give these logits: those of all labels in some inputs, and those of some labels in all inputs."""
    rows, labels = (_spread(size, CHECKED, z_NK.device) for size in z_NK.shape)
    bias = None if weights.bias is None else weights.bias[labels]
    some = replace(weights, unembedding=weights.unembedding[labels], bias=bias)
    return agree(weights, f_ND[rows], z_NK[rows]) and agree(some, f_ND, z_NK[:, labels])


def largest_error(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """By how much logits differ from what weights give; None where nothing is finite."""
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    known_NK = error_NK.isfinite()
    return error_NK[known_NK].max().item() if known_NK.any() else None


class CosineFit(NamedTuple):
    """How logits relate to the cosines of embeddings and rows."""

    multiple: float
    """What the cosines have been multiplied with, if they fit."""
    fits: bool
    """Whether they are one positive multiple, but for a label of each input: its own, which may have a margin."""

    def is_scale(self, scale: float | None) -> bool:
        """Whether the multiple is this one, to 1 %."""
        return scale is not None and abs(self.multiple / scale - 1) <= _SAME_SCALE


def cosine_fit(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> CosineFit | None:
    """What the logits of a cosine head are in terms of its cosines; None where nothing tells."""
    known_N = f_ND.isfinite().all(dim=1) & z_NK.isfinite().all(dim=1)
    unscaled = replace(weights, response=replace(weights.response, link_scale=1.0))
    cosine_NK, seen_NK = unscaled.logits(f_ND[known_N]).float(), z_NK[known_N].float()
    if not cosine_NK.any():
        return None
    large_NK = cosine_NK.abs() >= cosine_NK.abs().median()
    multiple = float((seen_NK[large_NK] / cosine_NK[large_NK]).median())
    if not 0 < multiple < torch.inf:
        return CosineFit(multiple, fits=False)
    wrong_NK = (seen_NK / multiple - cosine_NK).abs() > _SAME_COSINE
    return CosineFit(multiple, fits=bool((wrong_NK.sum(dim=1) <= (z_NK.shape[1] >= _ENOUGH)).all()))


def _spread(size: int, num: int, device: torch.device) -> Tensor:
    """So many places, evenly spread over all; all if there are no more."""
    return torch.arange(size, device=device) if size <= num else torch.linspace(0, size - 1, num, device=device).long()
