"""The most likely labels of every input, without the probabilities of all labels. Shapes: N inputs, K labels, m kept labels."""

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_cossim.functional.links import Link
from lightning_cossim.functional.precision import result_dtype

__all__ = ["MostLikely", "most_likely", "probabilities_of"]

_NUM_LOGITS: Final = 2**19
"""Logits that one chunk of inputs contains: about 2 MB, which stays in the cache."""
_COLUMNS: Final = 64
_MANY: Final = 4096


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
    labels, probs, normalizer = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return MostLikely(labels, probs, normalizer)


def probabilities_of(labels: NDArray[np.int64], logits: Tensor, likely: MostLikely, link: Link) -> Tensor:
    """The probabilities (N, L) of chosen labels on every input.

    Args:
        labels: (L,), from 0 to K - 1.
        logits: (N, K), the final logits.
        likely: the most likely labels of these logits.
        link: from logits to probabilities.
    """
    z_NL = logits.detach()[:, torch.from_numpy(labels).to(logits.device)].to(likely.probs)
    return logsigmoid(z_NL).exp() if link == "sigmoid" else (z_NL - likely.normalizer[:, None]).exp()


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

    With very many columns, it first finds the runs of columns with the largest maxima, which contain them.
    """
    num_runs = z_BK.shape[1] // _COLUMNS
    if z_BK.shape[1] < _MANY or num_runs <= num:
        values, labels = z_BK.topk(num, dim=1)
        return values, labels
    whole = num_runs * _COLUMNS
    runs = z_BK[:, :whole].reshape(-1, num_runs, _COLUMNS).amax(dim=2).topk(num, dim=1).indices
    column = (runs[:, :, None] * _COLUMNS + torch.arange(_COLUMNS, device=z_BK.device)).flatten(1)
    column = torch.cat([column, torch.arange(whole, z_BK.shape[1], device=z_BK.device).expand(len(z_BK), -1)], dim=1)
    values, place = z_BK.gather(1, column).topk(num, dim=1)
    return values, column.gather(1, place)
