"""The most likely labels of every input, without the probabilities of all labels. Shapes: N inputs, K labels, m kept labels."""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_cossim.functional.links import Link
from lightning_cossim.functional.precision import result_dtype

__all__ = ["MostLikely", "most_likely"]

_NUM_LOGITS: Final = 2**19
"""Logits that one chunk of inputs contains: about 2 MB, which stays in the cache."""
_MANY: Final = 768
"""Labels from which a search in two steps is faster."""


class MostLikely(NamedTuple):
    """The most likely labels of N inputs, the most likely one first."""

    labels: Tensor
    """int64 (N, m)."""
    probs: Tensor
    """(N, m), in [0, 1], float32 or better; NaN if a logit of the input is NaN or, under a softmax, +inf."""
    normalizer: Tensor
    """(N,), the log of the sum of exponentials of all logits; 0 under a sigmoid."""


def most_likely(logits: Tensor, link: Link, num: int) -> MostLikely:
    """The `num` most likely labels of every input and their probabilities.

    Args:
        logits: (N, K), any floating dtype, the final logits.
        link: "softmax", "softcap" or "cosine" (same result), or "sigmoid".
        num: how many labels; of fewer labels, all. Ties are broken in an unspecified way.
    """
    num = min(num, logits.shape[1])
    rows = max(1, _NUM_LOGITS // max(1, logits.shape[1])) if logits.device.type == "cpu" else max(1, len(logits))
    parts = [_of_chunk(z_BK.to(result_dtype(logits)), link, num) for z_BK in torch.split(logits.detach(), rows)]
    if len(parts) == 1:
        return parts[0]
    labels, probs, normalizer = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return MostLikely(labels, probs, normalizer)


def _of_chunk(z_BK: Tensor, link: Link, num: int) -> MostLikely:
    values, labels = _largest(z_BK, num)
    if link == "sigmoid":
        bad_B = z_BK.sum(dim=1).isnan() & z_BK.isnan().any(dim=1)
        probs, normalizer_B = logsigmoid(values).exp(), z_BK.new_zeros(len(z_BK)).masked_fill(bad_B, torch.nan)
        return MostLikely(labels, probs.masked_fill(bad_B[:, None], torch.nan), normalizer_B)
    normalizer_B = z_BK.logsumexp(dim=1)
    return MostLikely(labels, (values - normalizer_B[:, None]).exp(), normalizer_B)


def _largest(z_BK: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The largest entries of every row, and their columns.

    With many columns, it first takes the maximum of every group of columns g, g + G, g + 2 G and so on. The `num` groups with the
    largest maxima contain the largest entries. Maxima of contiguous columns would be several times slower.
    """
    num_labels, device = z_BK.shape[1], z_BK.device
    num_groups = 16 * max(1, round(math.sqrt(num * num_labels) / 16))
    if num_labels < max(_MANY, num * num_groups):
        values, labels = z_BK.topk(num, dim=1)
        return values, labels
    whole = num_labels // num_groups * num_groups
    groups = z_BK[:, :whole].reshape(len(z_BK), whole // num_groups, num_groups).amax(dim=1).topk(num, dim=1).indices
    column = (torch.arange(0, whole, num_groups, device=device)[:, None] + groups[:, None, :]).flatten(1)
    column = torch.cat([column, torch.arange(whole, num_labels, device=device).expand(len(z_BK), -1)], dim=1)
    values, place = z_BK.gather(1, column).topk(num, dim=1)
    return values, column.gather(1, place)
