r"""Patterns: does some embedding give the logits of chosen labels chosen signs?

Under a sigmoid, a label is on if its logit is above 0. With the sign :math:`s_k` of each label k that a pattern asks for, the
pattern happens if and only if :math:`s_k (g_k \cdot f + b_k) > 0` for all of them. The own row of a pattern is zero, and its
rivals are the rows :math:`-s_k (g_k, b_k)`: so a pattern is the question whether zero can score above all rivals.

Shapes: K labels, D embedding dimensions, E = D + 1; P patterns with signs `signs_PK`, B of them at a time with M rivals.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.functional.reachability.ascent import Ascent, pulled
from lightning_cossim.functional.reachability.certificates import RESIDUAL
from lightning_cossim.functional.reachability.questions import Questions
from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["Patterns", "SignCertificate"]


class SignCertificate(NamedTuple):
    r"""Weights that prove that a combination cannot happen: :math:`\sum_k w_k g_k = 0` and :math:`\sum_k w_k b_k \le 0`.

    The weighted sum of the logits is then at most 0 for every embedding. In the combination, each of its terms would be positive.
    """

    labels: Tensor
    """(S,), the labels with a weight."""
    weights: Tensor
    """(S,), float64, their absolute values sum to 1: above 0 for labels that are to be on, below 0 for those to be off."""
    residual: float
    """Length of the weighted sum of the rows, in units of the rms length of the rows; at most 1e-9."""


class Patterns(Questions[SignCertificate]):
    """Questions about the signs of logits.

    Args:
        head: the head, scaled and not centered.
        signs_PK: int8 (P, K), 1 for a positive logit, -1 for a negative one, 0 for any.
    """

    num_own = 1

    def __init__(self, head: ScaledHead, signs_PK: Tensor) -> None:
        super().__init__(head)
        self.signs_PK = signs_PK
        self._most_rivals = int((signs_PK != 0).sum(dim=1).max()) if len(signs_PK) else 0
        self._rows32_KE = (head.points if head.spread else head.rows).float()

    @override
    def __len__(self) -> int:
        return len(self.signs_PK)

    @property
    @override
    def most_rivals(self) -> int:
        return self._most_rivals

    @override
    def margins(self, number_B: Tensor, scores_BK: Tensor) -> Tensor:
        """(B,), the smallest score of a pattern, each score times its sign. Overwrites `scores_BK`."""
        signs_BK = self.signs_PK[number_B]
        return scores_BK.mul_(signs_BK).masked_fill_(signs_BK == 0, torch.inf).amin(dim=1)

    @override
    def against(self, number_B: Tensor) -> Tensor:
        return (self.head.bias * -self.signs_PK[number_B]).amax(dim=1).clamp(min=0)

    @override
    def points(self, number_B: Tensor, rivals_BM: Tensor) -> Tensor:
        signs_BM = self.signs_PK[number_B].gather(1, rivals_BM)
        points_BME = self.head.points[rivals_BM] * -signs_BM[:, :, None]
        return torch.cat([points_BME.new_zeros(len(points_BME), 1, points_BME.shape[2]), points_BME], dim=1)

    @override
    def ascent(self, number_B: Tensor, num_rivals: int) -> Ascent:
        """With a bias, its share is one more dimension, and one more row keeps it positive."""
        rows_KE, signs_BK = self._rows32_KE, self.signs_PK[number_B].float()
        ignored_BK = signs_BK == 0
        has_bias = self.head.spread > 0

        def nearest(f_BE: Tensor, scale_B1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            losses_BK = (f_BE @ rows_KE.T).mul_(-signs_BK).masked_fill_(ignored_BK, -torch.inf)
            if has_bias:
                losses_BK = torch.cat([losses_BK, -f_BE[:, -1:]], dim=1)
            margin_B = -losses_BK.amax(dim=1)
            weight_BK = pulled(losses_BK, scale_B1)
            nearest_BE = (weight_BK[:, : len(rows_KE)] * signs_BK) @ rows_KE
            if has_bias:
                nearest_BE[:, -1] += weight_BK[:, -1]
            return margin_B, nearest_BE, weight_BK

        def rivals(weight_BK: Tensor) -> Tensor:
            top_BM = weight_BK[:, : len(rows_KE)].masked_fill(ignored_BK, -1).topk(num_rivals, dim=1).indices
            return torch.where(ignored_BK.gather(1, top_BM), top_BM[:, :1], top_BM)  # a rival may occur twice

        reach = (1.0 + rows_KE.norm(dim=1).max()).expand(len(number_B), 1)
        start_BE = (signs_BK @ rows_KE) / (~ignored_BK).sum(dim=1, keepdim=True)
        return Ascent(start_BE, reach, len(rows_KE) + has_bias, nearest, rivals)

    @override
    def proof(self, number: int, rivals_M: Tensor, y_R: Tensor) -> SignCertificate | None:
        y_K = y_R.new_zeros(len(self.head.rows)).index_add_(0, rivals_M, y_R[1:].clamp(min=0))
        labels_S = y_K.nonzero().flatten()
        weights_S = y_K[labels_S] * self.signs_PK[number, labels_S] / y_K.sum()
        rows_SD = self.head.rows[labels_S]
        residual = float((weights_S @ rows_SD).norm())
        reach = float(weights_S.abs() @ rows_SD.norm(dim=1))  # short rows need a stricter tolerance
        parts_S = weights_S * self.head.given_bias[labels_S]
        proves = residual <= RESIDUAL * min(reach, 1.0) and float(parts_S.sum()) <= RESIDUAL * float(parts_S.abs().sum())
        return SignCertificate(labels_S, weights_S, residual) if proves and len(labels_S) else None

    @override
    def violated(self, number: int, rivals_M: Tensor, scores_K: Tensor, num_new: int, tolerance: float) -> Tensor | None:
        signs_K = self.signs_PK[number]
        margin_K = (scores_K * signs_K).masked_fill_(signs_K == 0, torch.inf)
        margin_K[rivals_M] = torch.inf
        num_new = min(num_new, self.most_rivals - len(rivals_M))
        if num_new <= 0 or float(margin_K.min()) == torch.inf or float(margin_K.min()) > tolerance:
            return None
        least = margin_K.topk(num_new, largest=False)
        return torch.where(least.values.isinf(), rivals_M[0], least.indices)  # a rival may occur twice

    @override
    def shared(self, number: int, proof: SignCertificate, number_B: Tensor) -> Iterator[tuple[int, SignCertificate]]:
        """Every pattern that asks for the same signs of the labels with a weight."""
        same_B = (self.signs_PK[number_B][:, proof.labels] == proof.weights.sign().to(torch.int8)).all(dim=1)
        for other in number_B[same_B].tolist():
            yield other, proof
