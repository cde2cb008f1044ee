"""ProbabilityOverlap: how far two labels are probable for the same inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.functional.inputs import check_rows, label_index
from lightning_cossim.functional.invariances import symmetries_of_overlap
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import Overlap, OverlapKind, add_products
from lightning_cossim.functional.similarities import OVERLAP
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.state import SummedMetric, add_to, writable

__all__ = ["ProbabilityOverlap"]


class ProbabilityOverlap(SummedMetric):
    r"""Overlap of the input profiles of every two labels.

    By default the Bhattacharyya coefficient, :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` with :math:`S_{ij} = \sum_x \sqrt{p_i p_j}`;
    see `lightning_cossim.functional.probability_overlap` for the other kinds. A function of the probabilities alone: what the
    model cannot see cannot move it. One (L, L) state of sums and two smaller ones; nothing grows with the number of inputs.

    `update(logits)` takes (N, K), of any floating dtype, all labels the model has; inputs with a NaN are left out. `compute()`
    returns (L, L) in [0, 1].

    Args:
        num_labels: K, at least 1.
        kind: which overlap: "bhattacharyya", "product", "coactivation" or "topk".
        link: from logits to probabilities: "softmax", or "sigmoid" for labels that do not exclude one another. Under "softcap"
            and "cosine", logits are to be the final ones, capped or scaled, and the rest is as under "softmax".
        label_subset: (L,), the rows of the head whose pairs are compared; default all. The softmax still runs over all K.
        threshold: for "coactivation", above 0 and, unless under a sigmoid, below 0.5; default 0.1.
        k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: an unknown kind or link, an argument out of range, labels out of range or repeated, or logits that are not a
            floating (N, K) matrix.

    Example:
        >>> import torch
        >>> metric = ProbabilityOverlap(num_labels=3)
        >>> metric.update(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]).log())
        >>> metric.compute()
        tensor([[1.0000, 0.7071, 0.7071],
                [0.7071, 1.0000, 0.0000],
                [0.7071, 0.0000, 1.0000]])

    Source: Bhattacharyya (1943); Jaccard (1901).
    """

    full_state_update = False
    quantity = OVERLAP.key

    joint: Tensor
    prob_sum: Tensor
    num_inputs: Tensor

    def __init__(
        self,
        num_labels: int,
        kind: OverlapKind = "bhattacharyya",
        link: Link = "softmax",
        label_subset: Sequence[int] | Tensor | None = None,
        threshold: float | None = None,
        k: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_labels = num_labels
        self.labels, self._looks_at_all = label_index(label_subset, num_labels), label_subset is None
        self.overlap = Overlap.of(num_labels, kind=kind, link=link, threshold=threshold, k=k)
        joint = torch.zeros(len(self.labels), len(self.labels), dtype=self.overlap.joint_dtype)
        self.add_state("joint", joint, dist_reduce_fx="sum")
        self.add_state("prob_sum", torch.zeros(num_labels, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_inputs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_settings(self.overlap, self.labels.tolist())

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """All that the probabilities, or for "topk" their ranks, do not show."""
        return symmetries_of_overlap(self.overlap.kind, self.overlap.link)

    @override
    def update(self, logits: Tensor) -> None:
        """Add a batch of logits (N, K)."""
        check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
        h_NK, probs_K, counts_N, _ = self.overlap.profiles(self.overlap.log_probabilities(logits))
        self.joint = writable(self.joint)
        add_products(self.joint, h_NK if self._looks_at_all else h_NK[:, self.labels.to(h_NK.device)])
        self.prob_sum = add_to(self.prob_sum, probs_K)
        self.num_inputs = add_to(self.num_inputs, counts_N.sum())

    @override
    def compute(self) -> Tensor:
        """(L, L) in [0, 1], NaN where there is nothing to compare."""
        return self.overlap.finish(self.joint)
