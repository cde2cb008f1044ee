"""Saved logits: detect rows that are probabilities instead of logits, because their softmax is meaningless.

Shapes: K labels, N inputs; `z_NK` the rows.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.links import Link

__all__ = ["LOGITS_LEFT_OUT", "REFUSED", "odd_logits"]

LOGITS_LEFT_OUT: Final = "the report leaves out the logits: "
"""The beginning of the remark on refused logits."""
REFUSED: Final = "refused_logits"
"""The kind of the remark on rows that are not logits."""

_BATCH: Final = 4096
"""Number of rows that are read at a time."""
_ROUNDED: Final = 0.02
"""Relative tolerance of the sum of a row: half precision and rounded percentages lose digits."""
_NOISE: Final = 1e-6


def odd_logits(z_NK: Tensor, link: Link) -> dict[str, str]:
    """Remarks on rows that may not be logits, by kind: why the report refuses them, or what the reader should check.

    Under a softmax, rows that are not negative are probabilities if they sum to 1, and percentages if they sum to 100. Under a
    sigmoid, numbers are probabilities if all of them are in [0, 1]. Rows that are zero or not finite are ignored.

    Args:
        z_NK: the rows, (N, K).
        link: from logits to probabilities.

    Returns:
        At most one remark, of the kind `REFUSED` or "positive_logits".
    """
    seen = _extremes(z_NK)
    if seen.low < -_NOISE or seen.high == -torch.inf:
        return {}
    why = _why_no_independent(seen) if link == "sigmoid" else _why_no_exclusive(seen, num_labels=z_NK.shape[1])
    if why is not None:
        return {REFUSED: f"{LOGITS_LEFT_OUT}{why}"}
    if link == "sigmoid":
        text = f"no logit is negative (from {seen.low:.3g} to {seen.high:.3g}): if these are percentages, pass log(p / (100 - p))"
        return {"positive_logits": text}
    if seen.high > 1 + _NOISE:
        return {}
    text = (
        f"all logits are in [0, 1] (from {seen.low:.3g} to {seen.high:.3g}): if these are probabilities of labels that do not "
        "exclude one another, pass log(p / (1 - p)) and link='sigmoid'"
    )
    return {"positive_logits": text}


def _why_no_independent(seen: "_Extremes") -> str | None:
    if seen.high > 1 + _NOISE:
        return None
    return "all numbers are in [0, 1], so they are probabilities. Pass the model's logits, or log(p / (1 - p))"


def _why_no_exclusive(seen: "_Extremes", num_labels: int) -> str | None:
    for whole, what in ((1.0, "probabilities"), (100.0, "percentages")):
        if num_labels > 1 and whole * (1 - _ROUNDED) <= seen.low_sum and seen.high_sum <= whole * (1 + _ROUNDED):
            if seen.is_hard:
                return "each row has a single number that is not zero, so the rows are predicted labels. Pass the model's logits"
            remedy = "Pass the model's logits, or the logarithm of the probabilities, which has the same softmax"
            return f"all rows are in [0, {whole:g}] and sum to {whole:g}, so they are {what}. {remedy}"
    return None


@dataclass(frozen=True)
class _Extremes:
    """The extremes over all rows that are finite and not zero."""

    low: float = torch.inf
    """The smallest number."""
    high: float = -torch.inf
    low_sum: float = torch.inf
    """The smallest sum of a row."""
    high_sum: float = -torch.inf
    is_hard: bool = True
    """Whether each row has exactly one number that is not zero."""


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
        if seen.low < -_NOISE:  # a negative number: the rows are not probabilities
            break
    return seen
