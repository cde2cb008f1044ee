"""Whether a head's weights explain the logits that were seen, and what to say where they do not.

Shapes: K labels, D embedding dimensions, N inputs; `f_ND` embeddings, `z_NK` logits.
"""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.head import Weights

__all__ = ["CHECKED", "agree", "agree_in_part", "largest_error", "multiple_of_cosines", "no_multiple", "other_multiple"]

CHECKED: Final = 64
"""Inputs on which logits are held against weights."""
_HALF: Final = {torch.float16, torch.bfloat16}
_SAME_SCALE: Final = 1e-2


def agree(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> bool:
    """Whether weights give these logits, up to the rounding of bf16 or TF32; what is not finite does not count."""
    inputs_ND, W_KD = weights.response.inputs(f_ND), weights.response.rows(weights.unembedding)
    size_NK = inputs_ND.float().abs() @ W_KD.float().abs().T
    size_NK = size_NK if weights.bias is None else size_NK + weights.bias.float().abs()
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    tolerance = 1e-2 if z_NK.dtype in _HALF else 1e-3
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


def multiple_of_cosines(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """What the cosines of a head have been multiplied with: 0 where that is no one positive number, None where nothing tells."""
    known_N = f_ND.isfinite().all(dim=1) & z_NK.isfinite().all(dim=1)
    unscaled = replace(weights, response=replace(weights.response, link_scale=1.0))
    cosine_NK, seen_NK = unscaled.logits(f_ND[known_N]).float(), z_NK[known_N].float()
    if not cosine_NK.any():
        return None
    multiple = float((seen_NK * cosine_NK).sum() / cosine_NK.square().sum())
    tolerance = 2e-2 if {f_ND.dtype, z_NK.dtype} & _HALF else 1e-3
    return multiple if multiple > 0 and bool((seen_NK / multiple - cosine_NK).abs().max() <= tolerance) else 0.0


def no_multiple(*, is_final: bool) -> str:
    """What to say where what is seen in evaluation is no multiple of the cosines.

    Args:
        is_final: whether it is given as the model's final logits.
    """
    likely = "a margin in evaluation, several rows a label, or a head that is none of cosines are likely"
    if is_final:
        what = "what `logits_from` gives"
        left_out = "logit_correlation and log_odds_variance would be false and are left out"
    else:
        what, left_out = "its output", "only its weights are compared"
        likely += "; if something behind it makes them cosines, pass `embeddings_from=`"
    return f"{what} in evaluation is no multiple of the cosines of embeddings and rows ({likely}); {left_out}"


def other_multiple(multiple: float, scale: float, *, is_final: bool) -> str | None:
    """What to say of the multiple seen, if it is not the scale; a head may leave that to the loss, and give the cosines alone."""
    fitting = (scale,) if is_final else (1.0, scale)
    if any(abs(multiple / one - 1) <= _SAME_SCALE for one in fitting):
        return None
    what, believed = (
        ("what `logits_from` gives", "log_odds_variance is that") if is_final else ("its output", "probabilities are those")
    )
    return f"{what} is {multiple:.4g} times the cosines, and `link_scale` is {scale:g}: {believed} of the latter"


def _spread(size: int, num: int, device: torch.device) -> Tensor:
    """So many places, evenly spread over all; all if there are no more."""
    return torch.arange(size, device=device) if size <= num else torch.linspace(0, size - 1, num, device=device).long()
