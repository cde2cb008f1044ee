"""Rankings: does some embedding rank T given labels above all other labels?

T is 1 for a label and 2 for a pair. A rival is any live label that the question does not ask about.

Shapes: K labels, D embedding dimensions; P questions of T labels each, `own_PT`; B questions at a time with M rivals.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.functional.reachability.ascent import Ascent, pulled
from lightning_cossim.functional.reachability.certificates import Certificate, certificate_of, certificates_from
from lightning_cossim.functional.reachability.questions import Questions
from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["Rankings"]


class Rankings(Questions[Certificate]):
    """Questions about rankings.

    Args:
        head: the head, scaled.
        own_PT: integer (P, T), the labels of each question, as row numbers among the live rows.
    """

    def __init__(self, head: ScaledHead, own_PT: Tensor) -> None:
        super().__init__(head)
        self.own_PT, self.num_own = own_PT, own_PT.shape[1]
        self._rows32_KD = head.rows.float()

    @override
    def __len__(self) -> int:
        return len(self.own_PT)

    @property
    @override
    def most_rivals(self) -> int:
        return len(self.head.rows) - self.num_own

    @override
    def margins(self, number_B: Tensor, scores_BK: Tensor) -> Tensor:
        """(B,), the lowest score of a question's own labels minus the highest other score. Overwrites `scores_BK`."""
        own_BT = self.own_PT[number_B]
        least_B = scores_BK.gather(1, own_BT).amin(dim=1)
        return least_B - scores_BK.scatter_(1, own_BT, -torch.inf).amax(dim=1)

    @override
    def against(self, number_B: Tensor) -> Tensor:
        bias_K = self.head.bias
        return bias_K.max() - bias_K[self.own_PT[number_B]].amin(dim=1)

    @override
    def points(self, number_B: Tensor, rivals_BM: Tensor) -> Tensor:
        points_BRE = self.head.points[torch.cat([self.own_PT[number_B], rivals_BM], dim=1)]
        points_BRE -= points_BRE[:, : self.num_own].mean(dim=1, keepdim=True)  # later subtractions lose fewer digits
        return points_BRE

    @override
    def ascent(self, number_B: Tensor, num_rivals: int) -> Ascent:
        """It ignores biases."""
        rows_KD, own_BT = self._rows32_KD, self.own_PT[number_B]
        g_BTD = rows_KD[own_BT]

        def nearest(f_BD: Tensor, scale_B1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            scores_BK = f_BD @ rows_KD.T
            own_scores_BT = scores_BK.gather(1, own_BT)
            scores_BK.scatter_(1, own_BT, -torch.inf)
            margin_B = own_scores_BT.amin(dim=1) - scores_BK.amax(dim=1)
            softmax_BK = pulled(scores_BK, scale_B1)
            own_BT1 = pulled(-own_scores_BT, scale_B1)[:, :, None]
            return margin_B, (own_BT1 * g_BTD).sum(dim=1) - softmax_BK @ rows_KD, softmax_BK

        reach_B1 = g_BTD.norm(dim=2).amax(dim=1, keepdim=True) + rows_KD.norm(dim=1).max()
        return Ascent(
            start=g_BTD.mean(dim=1),
            reach=reach_B1,
            num_labels=len(rows_KD),
            nearest=nearest,
            rivals=lambda weight_BK: weight_BK.scatter(1, own_BT, -1).topk(num_rivals, dim=1).indices,
        )

    @override
    def proof(self, number: int, rivals_M: Tensor, y_R: Tensor) -> Certificate | None:
        return certificate_of(self.head, self.own_PT[number], y_R[: self.num_own], rivals_M, y_R[self.num_own :])

    @override
    def violated(self, number: int, rivals_M: Tensor, scores_K: Tensor, num_new: int, tolerance: float) -> Tensor | None:
        num_new = min(num_new, self.most_rivals - len(rivals_M))
        least = scores_K[self.own_PT[number]].min()
        scores_K[self.own_PT[number]] = scores_K[rivals_M] = -torch.inf
        if num_new <= 0 or float(scores_K.max()) < float(least) - tolerance:
            return None
        return scores_K.topk(num_new).indices

    @override
    def shared(self, number: int, proof: Certificate, number_B: Tensor) -> Iterator[tuple[int, Certificate]]:
        """For labels, from small changes of the weights; for pairs, nothing."""
        if self.num_own == 1:
            found = certificates_from(self.head, proof, self.own_PT[number_B, 0])
            for place, other in found.items():
                yield int(number_B[place]), other
