"""Probability overlap: how far two labels are probable for the same inputs.

Functions of the probabilities alone, so nothing that the model cannot see can move them; sums over inputs, so they add over
batches and processes. Shapes: K labels, L of them looked at; `p_NK` probabilities, `h_NL` their square roots, `S_LL` sums over
inputs of products.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_matrix, check_one_of
from lightning_cossim.functional.precision import full_precision, result_dtype

__all__ = [
    "Link",
    "OverlapKind",
    "OverlapSums",
    "bhattacharyya_coefficient",
    "check_overlap",
    "log_probabilities",
    "overlap_sums",
    "probability_overlap",
]

_CHUNK = 1024
OverlapKind = Literal["bhattacharyya"]
Link = Literal["softmax"]


class OverlapSums(NamedTuple):
    """What a batch adds to an overlap: sums over its inputs."""

    joint: Tensor
    """(L, L), sums of products of square roots of probabilities; the diagonal sums the probabilities."""
    probs: Tensor
    """(K,), sums of the probabilities of all labels."""
    num_inputs: Tensor
    """(), how many inputs counted."""


def probability_overlap(probs: Tensor, *, kind: OverlapKind = "bhattacharyya") -> Tensor:
    r"""Overlap of the input profiles of every pair of labels.

    `"bhattacharyya"`: the Bhattacharyya coefficient :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` with
    :math:`S_{ij} = \sum_x \sqrt{p_i(x)\, p_j(x)}`. Each profile is normalised by its own mass, so a rare label can overlap
    a common one fully. It brackets the overlap coefficient of the two profiles: :math:`1 - \sqrt{1 - BC^2} \le OVL \le BC`.

    Args:
        probs: (N, K) in [0, 1], one row an input, any floating dtype. Rows with a NaN are left out.
        kind: which overlap.

    Returns:
        (K, K) in [0, 1], float32 or, for float64 probabilities, float64: 1 on the diagonal, NaN for a label without mass.

    Raises:
        InputError: `probs` is not a floating (N, K) matrix with entries in [0, 1], or `kind` is unknown.

    Example:
        >>> import torch
        >>> probability_overlap(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]))
        tensor([[1.0000, 0.7071, 0.7071],
                [0.7071, 1.0000, 0.0000],
                [0.7071, 0.0000, 1.0000]])

    Source: Bhattacharyya (1943); THEORY rung 4.
    """
    check_overlap(kind)
    check_matrix(probs, "probs", "(N, K)", "Pass probabilities, one row an input.")
    if ((probs < 0) | (probs > 1)).any():
        known = probs[~probs.isnan()]
        got = f"values from {known.min().item():.9g} to {known.max().item():.9g}"
        raise InputError(expected("probs", "in [0, 1]", got, "Pass probabilities, for example `logits.softmax(-1)`."))
    return bhattacharyya_coefficient(overlap_sums(probs.detach().to(result_dtype(probs)).log()).joint)


def check_overlap(kind: str, link: str = "softmax") -> None:
    """Raise unless both are known."""
    check_one_of(kind, "kind", get_args(OverlapKind))
    check_one_of(link, "link", get_args(Link))


def log_probabilities(logits: Tensor) -> Tensor:
    """The log-probabilities (N, K) of a softmax over all labels, float32 or better; an input with a NaN or +inf is all NaN."""
    return logits.detach().to(result_dtype(logits)).log_softmax(dim=1)


def overlap_sums(log_probs: Tensor, *, labels: Tensor | None = None, seen: Tensor | None = None) -> OverlapSums:
    r"""The sums of one batch, :math:`S_{ij} = \sum_x \sqrt{p_i(x)\, p_j(x)}` and those beside it.

    Roots are taken as :math:`\exp(\tfrac12 \log p)`, which survives where :math:`p` underflows.

    Args:
        log_probs: (N, K), at most 0, minus infinity allowed.
        labels: (L,), the labels whose pairs are looked at; default all.
        seen: boolean (N,), the inputs that count; default those without a NaN.

    Returns:
        `OverlapSums`, on the device and in the dtype of `log_probs`.
    """
    seen_N = ~log_probs.isnan().any(dim=1) if seen is None else seen
    log_p_NK = log_probs.masked_fill(~seen_N[:, None], -torch.inf)
    h_NL = (log_p_NK if labels is None else log_p_NK[:, labels]).div(2).exp()
    joint_LL = h_NL.new_zeros(h_NL.shape[1], h_NL.shape[1])
    with full_precision(h_NL):
        # In chunks: one long product in float32 would lose digits that many short ones keep.
        for start in range(0, len(h_NL), _CHUNK):
            chunk_NL = h_NL[start : start + _CHUNK]
            joint_LL += chunk_NL.T @ chunk_NL
    return OverlapSums(joint_LL, log_p_NK.exp().sum(dim=0), seen_N.sum())


def bhattacharyya_coefficient(joint: Tensor) -> Tensor:
    r"""Sums :math:`S` (L, L) to coefficients :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` in [0, 1], NaN for a label without mass."""
    root_L = joint.diagonal().sqrt()
    overlap_LL = (joint / root_L[:, None] / root_L).clamp(0, 1)
    overlap_LL.fill_diagonal_(1)
    massless_L = root_L == 0
    return overlap_LL.masked_fill(massless_L[:, None] | massless_L, torch.nan)
