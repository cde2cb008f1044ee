"""ProbabilityOverlap: how far two labels are probable for the same inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim.functional.overlap import (
    Link,
    OverlapKind,
    bhattacharyya_coefficient,
    check_overlap,
    log_probabilities,
    overlap_sums,
)
from lightning_cossim.metrics.arguments import check_rows, label_index

__all__ = ["ProbabilityOverlap"]


class ProbabilityOverlap(Metric):
    r"""Overlap of the input profiles of every two labels.

    :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` with :math:`S_{ij} = \sum_x \sqrt{p_i(x)\, p_j(x)}`; see
    `lightning_cossim.functional.probability_overlap`. A function of the probabilities alone: what the model cannot see cannot
    move it. One (L, L) state of sums in float32 and two smaller ones; nothing grows with the number of inputs.

    `update(logits)` takes (N, K), of any floating dtype, all labels the model has; inputs with a NaN are left out. `compute()`
    returns (L, L) in [0, 1].

    Args:
        num_labels: K, at least 1.
        kind: which overlap; "bhattacharyya".
        link: from logits to probabilities; "softmax".
        labels: (L,), the labels whose pairs are looked at; default all. The softmax still runs over all K.
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: an unknown kind or link, labels out of range or repeated, or logits that are not a floating (N, K) matrix.

    Example:
        >>> import torch
        >>> metric = ProbabilityOverlap(num_labels=3)
        >>> metric.update(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]).log())
        >>> metric.compute()
        tensor([[1.0000, 0.7071, 0.7071],
                [0.7071, 1.0000, 0.0000],
                [0.7071, 0.0000, 1.0000]])

    Source: Bhattacharyya (1943).
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    joint: Tensor
    prob_sum: Tensor
    num_inputs: Tensor

    def __init__(
        self,
        num_labels: int,
        kind: OverlapKind = "bhattacharyya",
        link: Link = "softmax",
        labels: Sequence[int] | Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_overlap(kind, link)
        self.num_labels, self.kind, self.link = num_labels, kind, link
        self.labels = label_index(labels, num_labels)
        self.add_state("joint", torch.zeros(len(self.labels), len(self.labels)), dist_reduce_fx="sum")
        self.add_state("prob_sum", torch.zeros(num_labels, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_inputs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @override
    def update(self, logits: Tensor) -> None:
        """Add a batch of logits (N, K)."""
        check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
        batch = overlap_sums(log_probabilities(logits), labels=self.labels.to(logits.device))
        # Rebound, not added in place: a state that was reset under inference mode refuses in-place updates outside it.
        self.joint = self.joint + batch.joint.to(self.joint.dtype)
        self.prob_sum = self.prob_sum + batch.probs
        self.num_inputs = self.num_inputs + batch.num_inputs

    @override
    def compute(self) -> Tensor:
        """(L, L) in [0, 1], NaN for labels without mass."""
        return bhattacharyya_coefficient(self.joint)
