"""The unembedding as a metric's state: the last one seen, never a sum.

Summed over `forward` calls or over processes, a weight would be silently doubled. So the last update wins, metrics that hold one
set `full_state_update = True`, and processes, which hold equal weights, agree by taking the first that has any.
"""

import torch
from torch import Tensor

__all__ = ["first_seen", "unseen"]


def unseen(num_labels: int, embedding_dim: int) -> Tensor:
    """The state before any update, (K, D)."""
    return torch.full((num_labels, embedding_dim), torch.nan)


def first_seen(stacked: Tensor) -> Tensor:
    """The reduction over processes: of (P, K, D), the first snapshot that is not `unseen`."""
    seen_P = (~stacked.flatten(1).isnan()).any(dim=1)
    return stacked[seen_P.int().argmax()]
