"""The unembedding as a metric's state: the last one seen, never a sum.

Summed over `forward` calls or over processes, a weight would be silently doubled. So the last update wins, metrics that hold one
set `full_state_update = True`, and processes, which hold equal weights, agree by taking the first that has any.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from lightning_cossim.functional.precision import result_dtype

__all__ = ["first_seen", "gather_snapshots", "taken", "unseen"]


def taken(unembedding: Tensor) -> Tensor:
    """The snapshot of an unembedding: a copy that does not follow the weights, in float32 or better."""
    return unembedding.detach().to(result_dtype(unembedding), copy=True)


def unseen(num_labels: int, embedding_dim: int) -> Tensor:
    """The state before any update, (K, D)."""
    return torch.full((num_labels, embedding_dim), torch.nan)


def first_seen(stacked: Tensor) -> Tensor:
    """The reduction over processes: of (P, K, D), the first snapshot that is not `unseen`."""
    seen_P = (~stacked.flatten(1).isnan()).any(dim=1)
    return stacked[seen_P.int().argmax()]


def gather_snapshots(snapshot: Tensor, group: Any = None) -> list[Tensor]:
    """A state of all processes, for `Metric`'s `dist_sync_fn`: snapshots in one dtype and one shape.

    A process without any update knows neither: it has float32, and where the shape is not given beforehand an empty (0, 0).
    """
    if snapshot.ndim != 2 or not snapshot.is_floating_point():
        return list(gather_all_tensors(snapshot, group))
    wide = gather_all_tensors(torch.tensor(int(snapshot.dtype == torch.float64), device=snapshot.device), group)
    gathered = gather_all_tensors(snapshot.to(torch.float64 if any(wide) else torch.float32), group)
    shape = max((other.shape for other in gathered), key=torch.Size.numel)
    return [other if other.numel() else other.new_full(shape, torch.nan) for other in gathered]
