"""Whether rows that somebody calls logits are probabilities, of which the softmax would be meaningless.

Shapes: K labels, N inputs; `z_NK` the rows.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.links import Link

__all__ = ["LOGITS_LEFT_OUT", "REFUSED", "odd_logits"]

LOGITS_LEFT_OUT: Final = "the logits are left out: "
"""How the remark on refused logits begins."""
REFUSED: Final = "refused_logits"
"""The kind of the remark on rows that are no logits."""

_BATCH: Final = 4096
"""Rows that are looked at together."""
_ROUNDED: Final = 0.02
"""How far sums may lie from a whole, as a share of it: half precision and rounded percentages lose some."""
_NOISE: Final = 1e-6


def odd_logits(z_NK: Tensor, link: Link) -> dict[str, str]:
    """What is odd about rows that somebody calls logits, kind to text: why they are refused, or what the reader should check.

    Under a softmax, rows that are not negative and sum to 1 are probabilities, and to 100 percentages; under a sigmoid, numbers
    that all lie in [0, 1] are. Rows that are zero or not finite tell nothing.
    """
    seen = _extremes(z_NK)
    if seen.low < -_NOISE or seen.high == -torch.inf:
        return {}
    why = _why_no_independent(seen) if link == "sigmoid" else _why_no_exclusive(seen, num_labels=z_NK.shape[1])
    if why is not None:
        return {REFUSED: f"{LOGITS_LEFT_OUT}{why}"}
    if link == "sigmoid":
        text = f"no logit is negative (from {seen.low:.3g} to {seen.high:.3g}): if they are percentages, pass log(p / (100 - p))"
        return {"positive_logits": text}
    if seen.high > 1 + _NOISE:
        return {}
    text = (
        f"all logits lie in [0, 1] (from {seen.low:.3g} to {seen.high:.3g}): if they are probabilities of labels that do not "
        "exclude one another, pass log(p / (1 - p)) and link='sigmoid'"
    )
    return {"positive_logits": text}


def _why_no_independent(seen: "_Extremes") -> str | None:
    if seen.high > 1 + _NOISE:
        return None
    return "all numbers lie in [0, 1], as probabilities do. Pass the model's logits, or log(p / (1 - p))"


def _why_no_exclusive(seen: "_Extremes", num_labels: int) -> str | None:
    for whole, what in ((1.0, "probabilities"), (100.0, "percentages")):
        if num_labels > 1 and whole * (1 - _ROUNDED) <= seen.low_sum and seen.high_sum <= whole * (1 + _ROUNDED):
            if seen.is_hard:
                return "each row has a single number that is not zero, as decisions do. Pass the model's logits"
            remedy = "Pass the model's logits, or the logarithm of the probabilities, which has the same softmax"
            return f"all rows lie in [0, {whole:g}] and sum to {whole:g}, as {what} do. {remedy}"
    return None


@dataclass(frozen=True)
class _Extremes:
    """What rows that are finite and not zero have between them."""

    low: float = torch.inf
    """The smallest number."""
    high: float = -torch.inf
    low_sum: float = torch.inf
    """The smallest sum of a row."""
    high_sum: float = -torch.inf
    is_hard: bool = True
    """Whether each row has one number only that is not zero."""


def _extremes(z_NK: Tensor) -> _Extremes:
    seen = _Extremes()
    for start in range(0, len(z_NK), _BATCH):
        rows = z_NK[start : start + _BATCH].double()
        rows = rows[rows.isfinite().all(dim=1) & rows.any(dim=1)]
        if not len(rows):
            continue
        sums = rows.sum(dim=1)
        seen = _Extremes(
            min(seen.low, float(rows.min())),
            max(seen.high, float(rows.max())),
            min(seen.low_sum, float(sums.min())),
            max(seen.high_sum, float(sums.max())),
            is_hard=seen.is_hard and bool((rows.count_nonzero(dim=1) == 1).all()),
        )
        if seen.low < -_NOISE:  # no probabilities: the rest need not be read
            break
    return seen
