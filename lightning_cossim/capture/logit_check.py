"""Whether a head's weights explain the logits that were seen, and what to say where they do not.

Shapes: K labels, D embedding dimensions, N inputs; `f_ND` embeddings, `z_NK` logits.
"""

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.capture.head import Weights

__all__ = ["CHECKED", "agree", "agree_in_part", "is_rounded", "is_same_scale", "largest_error", "multiple_of_cosines"]

CHECKED: Final = 64
"""Inputs on which logits are held against weights."""
_HALF: Final = {torch.float16, torch.bfloat16}
_SAME_COSINE: Final = 1e-2
"""Cosines in half precision are no finer; a margin, or another head, is far coarser."""
_SAME_SCALE: Final = 5e-3
_ENOUGH: Final = 4
"""Labels from which on all but one of them tell by themselves."""


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


def is_rounded(z_NK: Tensor) -> bool:
    """Whether logits, whatever their dtype, have no more digits than half precision holds."""
    return any(torch.equal(z_NK, z_NK.to(half).to(z_NK.dtype)) for half in _HALF)


def multiple_of_cosines(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """What the cosines of a head have been multiplied with: 0 where that is no one number, None where nothing tells.

    One label of each input may be apart from the others: its own, which may have a margin.
    """
    known_N = f_ND.isfinite().all(dim=1) & z_NK.isfinite().all(dim=1)
    unscaled = replace(weights, response=replace(weights.response, link_scale=1.0))
    cosine_NK, seen_NK = unscaled.logits(f_ND[known_N]).float(), z_NK[known_N].float()
    if not cosine_NK.any():
        return None
    large_NK = cosine_NK.abs() >= cosine_NK.abs().median()
    found = float((seen_NK[large_NK] / cosine_NK[large_NK]).median())
    # Where all labels but one are one label or two, only a multiple that is known can be told from chance.
    known = [weights.response.link_scale or 1.0, 1.0]
    for multiple in (*known, found) if z_NK.shape[1] >= _ENOUGH else known:
        if multiple and math.isfinite(multiple):
            wrong_NK = (seen_NK / multiple - cosine_NK).abs() > _SAME_COSINE
            if (wrong_NK.sum(dim=1) <= (z_NK.shape[1] > 1)).all():
                telling_NK = large_NK & ~wrong_NK
                return float((seen_NK[telling_NK] / cosine_NK[telling_NK]).median()) if telling_NK.any() else multiple
    whole = found != 0 and math.isfinite(found) and bool(((seen_NK / found - cosine_NK).abs() <= _SAME_COSINE).all())
    return found if whole else 0.0


def is_same_scale(one: float, other: float) -> bool:
    """To half a per cent."""
    return abs(one - other) <= _SAME_SCALE * abs(other)


def _spread(size: int, num: int, device: torch.device) -> Tensor:
    """So many places, evenly spread over all; all if there are no more."""
    return torch.arange(size, device=device) if size <= num else torch.linspace(0, size - 1, num, device=device).long()
