"""ProbabilityOverlap: how much two labels are probable on the same inputs.

Shapes: K labels, L of them compared, N inputs.
"""

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

    The default is the Bhattacharyya coefficient, :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` with
    :math:`S_{ij} = \sum_x \sqrt{p_i p_j}`. `lightning_cossim.functional.probability_overlap` describes the other kinds. The
    overlap depends only on the probabilities: a change of the head that leaves them unchanged leaves the overlap unchanged.

    `update(logits)` takes (N, K) of any floating dtype, with all labels of the model. An input with a NaN logit is left out, and
    under a softmax also one with a logit of +inf. `compute()` returns (L, L) in [0, 1]. The state is one (L, L) matrix, a (K,)
    vector and a count. It does not grow with the number of inputs.

    Args:
        num_labels: K, at least 1.
        kind: the overlap: "bhattacharyya", "product", "coactivation" or "topk".
        link: the function from logits to probabilities: "softmax", or "sigmoid" for labels that do not exclude one another. With
            "softcap" or "cosine", pass the final logits, after the cap or the scale; then it equals "softmax".
        label_subset: (L,), the rows of the head whose pairs are compared; default all. The softmax still runs over all K labels.
        threshold: for "coactivation", above 0 and below 0.5, or below 1 under a sigmoid; default 0.1.
        k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: a kind or link is unknown, an argument is out of range or belongs to another kind, a label is out of range or
            repeated, or the logits are not a floating (N, K) matrix.

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
        """The changes of a head that leave the probabilities unchanged, or for "topk" their ranks."""
        return symmetries_of_overlap(self.overlap.kind, self.overlap.link)

    @override
    def update(self, logits: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (N, K), any floating dtype, the final logits of the model.

        Raises:
            InputError: `logits` is not a floating (N, K) matrix.
        """
        check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
        h_NK, probs_K, counts_N, _ = self.overlap.profiles(self.overlap.log_probabilities(logits))
        self.joint = writable(self.joint)
        add_products(self.joint, h_NK if self._looks_at_all else h_NK[:, self.labels.to(h_NK.device)])
        self.prob_sum = add_to(self.prob_sum, probs_K)
        self.num_inputs = add_to(self.num_inputs, counts_N.sum())

    @override
    def compute(self) -> Tensor:
        """The overlaps (L, L) in [0, 1].

        NaN where one of the two labels has no mass, or, for the kinds "coactivation" and "topk", where both labels have none.
        """
        return self.overlap.finish(self.joint)
