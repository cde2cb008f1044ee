"""LocalLogOdds: a distance between labels that proves how much they overlap at least.

Shapes: K labels, L of them compared, N inputs.
"""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.functional.inputs import check_one_of, check_rows, label_index
from lightning_cossim.functional.invariances import symmetries_of_overlap
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.local_log_odds import LogOddsSums, log_odds_sums
from lightning_cossim.functional.overlap import log_probabilities
from lightning_cossim.functional.precision import working_dtype
from lightning_cossim.functional.similarities import LOCAL_LOG_ODDS
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.state import SummedMetric, add_to

__all__ = ["LocalLogOdds"]


class LocalLogOdds(SummedMetric):
    r"""The mean squared log-odds of the input profiles of every two labels, in squared nats.

    If it is :math:`d`, then the Bhattacharyya overlap of the two labels on the inputs seen is at least :math:`\exp(-d / 8)`.
    `lightning_cossim.functional.local_log_odds` has the formula and the proof.

    `update(logits)` takes (N, K) of any floating dtype, with all labels of the model. An input with a NaN logit is left out, and
    under a softmax also one with a logit of +inf. `compute()` returns (L, L). The state is three (L, L) matrices and a (L,)
    vector in float64. It does not grow with the number of inputs. An update costs three full products in float64; that of
    `ProbabilityOverlap` costs half of one in float32.

    Args:
        num_labels: K, at least 1.
        link: the function from logits to probabilities: "softmax", or "sigmoid" for labels that do not exclude one another. With
            "softcap" or "cosine", pass the final logits, after the cap or the scale; then it equals "softmax".
        label_subset: (L,), the rows of the head whose pairs are compared; default all. The softmax still runs over all K labels.
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: the link is unknown, a label is out of range or repeated, or the logits are not a floating (N, K) matrix.

    Example:
        >>> import torch
        >>> metric = LocalLogOdds(num_labels=3)
        >>> metric.update(torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4]]).log())
        >>> (-metric.compute() / 8).exp()
        tensor([[1.0000, 0.9898, 0.9125],
                [0.9898, 1.0000, 0.9639],
                [0.9125, 0.9639, 1.0000]])

    Source: Jensen (1906); Bhattacharyya (1943).
    """

    full_state_update = False
    quantity = LOCAL_LOG_ODDS.key

    prob_sum: Tensor
    log_sum: Tensor
    product_sum: Tensor
    square_sum: Tensor

    def __init__(
        self,
        num_labels: int,
        link: Link = "softmax",
        label_subset: Sequence[int] | Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_of(link, "link", get_args(Link))
        self.num_labels, self.link = num_labels, link
        self.labels, self._looks_at_all = label_index(label_subset, num_labels), label_subset is None
        size = len(self.labels)
        self.add_state("prob_sum", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("log_sum", "product_sum", "square_sum"):
            self.add_state(name, torch.zeros(size, size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_settings(link, self.labels.tolist())

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """The changes of a head that leave the probabilities unchanged."""
        return symmetries_of_overlap("bhattacharyya", self.link)

    @override
    def update(self, logits: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (N, K), any floating dtype, the final logits of the model.

        Raises:
            InputError: `logits` is not a floating (N, K) matrix.
        """
        check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
        l_NK = log_probabilities(logits.to(working_dtype(logits)), self.link)
        l_NK = l_NK[~l_NK.isnan().any(dim=1)]  # also if the NaN is that of a label which is not compared
        sums = log_odds_sums(l_NK if self._looks_at_all else l_NK[:, self.labels.to(l_NK.device)])
        self.prob_sum = add_to(self.prob_sum, sums.probs)
        self.log_sum = add_to(self.log_sum, sums.logs)
        self.product_sum = add_to(self.product_sum, sums.products)
        self.square_sum = add_to(self.square_sum, sums.squares)

    @override
    def compute(self) -> Tensor:
        """The local log-odds (L, L) in squared nats, at least 0. NaN where one of the labels has no mass."""
        found = LogOddsSums(self.prob_sum, self.log_sum, self.product_sum, self.square_sum).finish()
        return found.to(torch.float32)
