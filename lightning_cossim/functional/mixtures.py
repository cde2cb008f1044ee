r"""Mixtures of rivals that stand where a label stands: the proof that it is never on top.

If :math:`g_i = \sum_k y_k g_k` with :math:`y \ge 0`, :math:`\sum_k y_k = 1` and :math:`b_i \le \sum_k y_k b_k`, then its logit is
at most the mean of theirs, and some rival's is at least as large. Of a pair (i, j) some mixture of the two stands where one of
the rivals does. Found by products for many labels at once: by the rows that are equal, and from a mixture that is known.

Shapes: K labels, D embedding dimensions, S rivals in a mixture; P questions of T labels each, `own_PT`.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.functional.scaled_head import ScaledHead

__all__ = ["RESIDUAL", "Certificate", "certificate_of", "certificates_from", "equal_rivals"]

RESIDUAL: Final = 1e-9
"""How far apart the two mixtures may be, in units of the rms length of centered rows and of what is mixed."""
_SELF: Final = 0.9
"""A label may have this share in the mixture that is to replace it."""


class Certificate(NamedTuple):
    """Two mixtures that stand at one place: of the labels asked for, and of rivals."""

    own_weights: Tensor
    """(T,), float64, at least 0, with sum 1: of the label (then just 1) or of the two labels of a pair."""
    rivals: Tensor
    """(S,), other labels."""
    weights: Tensor
    """(S,), float64, above 0, with sum 1."""
    residual: float
    """Distance between the two mixtures, in units of the rms length of the centered rows; at most 1e-9."""


def certificate_of(head: ScaledHead, own: Tensor, own_weights: Tensor, rivals: Tensor, weights: Tensor) -> Certificate | None:
    """The certificate that these weights make, or None if they prove nothing.

    Args:
        head: the head.
        own: (T,), the labels asked for.
        own_weights: (T,), of any sum.
        rivals: (S,), none of them in `own`.
        weights: (S,), of any sum.
    """
    rivals, own_weights, weights = rivals[weights > 0], own_weights.clamp(min=0), weights[weights > 0]
    if not len(weights) or not float(own_weights.sum()) > 0:
        return None
    own_weights, weights = own_weights / own_weights.sum(), weights / weights.sum()
    place_D = own_weights @ head.rows[own]
    apart_SD = head.rows[rivals] - place_D
    residual = float((weights @ apart_SD).norm())
    reach = float(weights @ apart_SD.norm(dim=1))  # rows that nearly are one need a mixture that much better
    noise = 16 * torch.finfo(torch.float64).eps * float(head.rows[own].norm(dim=1).max())
    advantage = float(own_weights @ head.bias[own] - weights @ head.bias[rivals])
    if residual > max(RESIDUAL * min(reach, 1), noise) or advantage > RESIDUAL:
        return None
    return Certificate(own_weights, rivals, weights, residual)


def equal_rivals(head: ScaledHead, own_PT: Tensor) -> Tensor:
    """(P,), a rival whose row equals that of one of the labels and whose bias is no less; -1 where there is none."""
    plain = np.ascontiguousarray((head.given_rows + 0.0).numpy())  # no negative zeros
    as_bytes = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    group_K = torch.from_numpy(np.unique(as_bytes, return_inverse=True)[1])
    num_groups = int(group_K.max()) + 1
    bias_order = head.given_bias.argsort(stable=True)  # what is written last stays: the largest biases of each group
    best_TG: list[Tensor] = []
    for _ in range(own_PT.shape[1] + 1):
        best_G = torch.full((num_groups,), -1)
        best_G.numpy()[group_K[bias_order].numpy()] = bias_order.numpy()
        best_TG.append(best_G)
        bias_order = bias_order[best_G[group_K[bias_order]] != bias_order]
    rival_P = torch.full((len(own_PT),), -1)
    for own_P in own_PT.T:
        for best_G in best_TG:
            other_P = best_G[group_K[own_P]]
            counts_P = (other_P >= 0) & (other_P[:, None] != own_PT).all(dim=1)
            counts_P &= head.given_bias[other_P] >= head.given_bias[own_P]
            rival_P = torch.where(counts_P, other_P, rival_P)
    return rival_P


def certificates_from(head: ScaledHead, known: Certificate, label_P: Tensor) -> dict[int, Certificate]:
    """Certificates of other labels, from one that is known by the least change of its weights, relative to them.

    Args:
        head: the head.
        known: a label's certificate.
        label_P: (P,), labels, of which those near enough will have one.

    Returns:
        Number in `label_P` to certificate.
    """
    points_SC = torch.cat([head.points[known.rivals], torch.ones(len(known.rivals), 1, dtype=torch.float64)], dim=1)
    place_C = known.weights @ points_SC
    wanted_PC = torch.cat([head.points[label_P], torch.ones(len(label_P), 1, dtype=torch.float64)], dim=1)
    wanted_PC[:, -2] = wanted_PC[:, -2].maximum(place_C[-2])  # more bias than that of the label does no harm
    scaled_SC = points_SC * known.weights[:, None]
    # w + w² P (Pᵀ w² P)⁺ (wanted - Pᵀ w), by the singular vectors of w P
    U_SR, S_R, Vh_RC = torch.linalg.svd(scaled_SC, full_matrices=False)
    counts_R = S_R / S_R[0] > 1e-13
    step_CS = (Vh_RC[counts_R].T / S_R[counts_R]) @ (U_SR[:, counts_R].T * known.weights)
    weights_PS = known.weights + (wanted_PC - place_C) @ step_CS
    is_own_PS = label_P[:, None] == known.rivals
    share_P = torch.where(is_own_PS, weights_PS, 0).sum(dim=1)
    fits_P = (weights_PS >= 0).all(dim=1) & (share_P < _SELF)
    one = torch.ones(1, dtype=torch.float64)
    found: dict[int, Certificate] = {}
    for number in fits_P.nonzero().flatten().tolist():
        weights_S = weights_PS[number].masked_fill(is_own_PS[number], 0)
        certificate = certificate_of(head, label_P[number : number + 1], one, known.rivals, weights_S)
        if certificate is not None:
            found[number] = certificate
    return found
