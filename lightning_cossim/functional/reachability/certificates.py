r"""Certificates: proofs that no embedding ranks given labels strictly above all rivals.

A mixture of rows is a weighted mean with weights that are at least 0 and sum to 1. If :math:`g_i = \sum_k y_k g_k` with
:math:`y \ge 0`, :math:`\sum_k y_k = 1` and :math:`b_i \le \sum_k y_k b_k`, then the logit of label i is at most a weighted mean
of the rivals' logits. So at least one rival always has a logit that is at least as large. For a pair (i, j), a mixture of the two
rows equals a mixture of the rivals' rows. Two methods here find certificates for many labels at once: a search for equal rows,
and small changes of a known certificate, by matrix products.

Shapes: K labels, D embedding dimensions, S rivals in a mixture; P questions of T labels each, `own_PT`.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["RESIDUAL", "Certificate", "certificate_of", "certificates_from", "equal_rivals"]

RESIDUAL: Final = 1e-9
"""Largest distance between the two mixtures, in units of the rms length of the centered rows.

If the rivals lie closer to the mixture than that length, their weighted mean distance is the unit.
"""
_RANK: Final = 1e-13
_CHUNK: Final = 2048
_SELF: Final = 0.9
"""Largest weight that a label may have in the mixture that replaces it; its weight is then removed."""


class Certificate(NamedTuple):
    """Two equal mixtures of rows: one of the labels of the question, one of rivals. They prove the answer "no"."""

    own_weights: Tensor
    """(T,), float64, at least 0, with sum 1: the weights of the two labels of a pair. For one label the weight is 1."""
    rivals: Tensor
    """(S,), the rivals in the mixture."""
    weights: Tensor
    """(S,), float64, above 0, with sum 1: the weights of the rivals."""
    residual: float
    """Distance between the two mixtures, in units of the rms length of the centered rows; at most 1e-9, or rounding error if that
    is larger."""


def certificate_of(head: ScaledHead, own: Tensor, own_weights: Tensor, rivals: Tensor, weights: Tensor) -> Certificate | None:
    """The certificate with these weights, or None if they prove nothing.

    Args:
        head: the head, scaled.
        own: integer (T,), the labels of the question.
        own_weights: (T,), with any positive sum; negative weights count as zero.
        rivals: integer (S,), none of them in `own`.
        weights: (S,), under the same rules as `own_weights`.
    """
    return _proven(head, own[None], own_weights[None], rivals, weights[None]).get(0)


def _proven(head: ScaledHead, own_PT: Tensor, a_PT: Tensor, rivals_S: Tensor, y_PS: Tensor) -> dict[int, Certificate]:
    """The certificate of each question whose weights prove "no", by question number."""
    a_PT, y_PS = (weights / weights.sum(dim=1, keepdim=True) for weights in (a_PT.clamp(min=0), y_PS.clamp(min=0)))
    own_PTD, rows_SD = head.rows[own_PT], head.rows[rivals_S]
    origin_D = own_PTD[0, 0]  # differences of near rows lose no digits
    place_PD = (a_PT[:, :, None] * (own_PTD - origin_D)).sum(dim=1)
    residual_P = (y_PS @ (rows_SD - origin_D) - place_PD).norm(dim=1)
    apart_PS = torch.cdist(place_PD + origin_D, rows_SD, compute_mode="donot_use_mm_for_euclid_dist")
    reach_P = (y_PS * apart_PS).sum(dim=1)  # nearly equal rows need a stricter tolerance
    noise_P = 16 * torch.finfo(torch.float64).eps * own_PTD.norm(dim=2).amax(dim=1)
    proves_P = residual_P <= noise_P.maximum(RESIDUAL * reach_P.clamp(max=1))
    if head.spread:  # unscaled: next to a bias of -1e9 (a masked label), all other scaled biases look equal
        own_P = (a_PT * head.given_bias[own_PT]).sum(dim=1)
        behind_PS = y_PS * (head.given_bias[rivals_S] - own_P[:, None])
        proves_P &= -behind_PS.sum(dim=1) <= RESIDUAL * behind_PS.abs().sum(dim=1)
    found = {}
    for number in proves_P.nonzero().flatten().tolist():
        counts_S = y_PS[number] > 0
        found[number] = Certificate(a_PT[number], rivals_S[counts_S], y_PS[number, counts_S], float(residual_P[number]))
    return found


def equal_rivals(head: ScaledHead, own_PT: Tensor) -> Tensor:
    """(P,), a rival with the same row as one of the labels and at least the same bias; -1 if there is none."""
    plain = np.ascontiguousarray((head.given_rows + 0.0).numpy())  # no negative zeros
    as_bytes = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    group_K = torch.from_numpy(np.unique(as_bytes, return_inverse=True)[1])
    num_groups = int(group_K.max()) + 1
    bias_order = head.given_bias.argsort(stable=True)  # the last write wins: the largest bias of each group
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
    """Certificates of other labels, from a known certificate: its weights change as little as possible, relative to their size.

    Args:
        head: the head, scaled.
        known: the certificate of one label.
        label_P: integer (P,), the labels to try. Only labels near enough to the known mixture get a certificate.

    Returns:
        A dict from position in `label_P` to certificate.
    """
    points_SC = _with_ones(head.points[known.rivals])
    place_C = known.weights @ points_SC
    # w + w² P (Pᵀ w² P)⁺ (wanted - Pᵀ w), by the singular vectors of w P
    U_SR, S_R, Vh_RC = torch.linalg.svd(points_SC * known.weights[:, None], full_matrices=False)
    counts_R = S_R / S_R[0] > _RANK
    step_CS = (Vh_RC[counts_R].T / S_R[counts_R]) @ (U_SR[:, counts_R].T * known.weights)
    found: dict[int, Certificate] = {}
    for first, label_B in enumerate(torch.split(label_P, _CHUNK)):
        wanted_BC = _with_ones(head.points[label_B])
        wanted_BC[:, -2] = wanted_BC[:, -2].maximum(place_C[-2])  # the mixture may have more bias than the label
        weights_BS = known.weights + (wanted_BC - place_C) @ step_CS
        is_own_BS = label_B[:, None] == known.rivals
        fits_B = (weights_BS >= 0).all(dim=1) & ((weights_BS * is_own_BS).sum(dim=1) < _SELF)
        fits, weights_BS = fits_B.nonzero().flatten(), weights_BS.masked_fill(is_own_BS, 0)
        if len(fits):
            one_B1 = torch.ones(len(fits), 1, dtype=torch.float64)
            proven = _proven(head, label_B[fits, None], one_B1, known.rivals, weights_BS[fits])
            found |= {first * _CHUNK + int(fits[place]): certificate for place, certificate in proven.items()}
    return found


def _with_ones(points: Tensor) -> Tensor:
    return torch.cat([points, points.new_ones(len(points), 1)], dim=1)
