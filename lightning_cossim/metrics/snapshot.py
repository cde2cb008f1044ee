"""The unembedding as the state of a metric: the one from the last update, never a sum.

A sum over `forward` calls or over processes would silently double the weights. So three rules hold. The last update replaces the
unembedding, and metrics that store one set `full_state_update = True`. All processes hold equal weights, so a reduction takes the
first snapshot that exists. Some torchmetrics wrappers cut every tensor that they receive, the unembedding too, so metrics that
take one reject these wrappers.

Shapes: K labels, D embedding dimensions, P processes.
"""

import inspect
from typing import Any, Final

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.wrappers import BootStrapper, MultioutputWrapper

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.precision import result_dtype

__all__ = ["check_uncut", "first_seen", "gather_snapshots", "taken", "unseen", "why_cut"]

_RESAMPLES: Final = (
    "from BootStrapper, which resamples its rows (the labels). For an error bar, resample only the inputs: call "
    "`copy.update(unembedding, embedding[rows])` on copies that `metric.clone()` makes"
)
_SPLITS: Final = "from MultioutputWrapper, which splits its columns. Update the metric without this wrapper"
_CUTS: Final = {
    BootStrapper.update.__code__: _RESAMPLES,
    MultioutputWrapper.update.__code__: _SPLITS,
    MultioutputWrapper.forward.__code__: _SPLITS,
}
"""Code object of each wrapper method that cuts tensors, to its effect on the unembedding and the remedy."""


def why_cut() -> str | None:
    """The error text if a wrapper has cut the unembedding of the current update, else None.

    The function inspects the call stack, because resampled rows can have a valid shape and valid values.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code not in _CUTS:
        frame = frame.f_back
    return None if frame is None else expected("unembedding", "to be the head's weight", f"one {_CUTS[frame.f_code]}")


def check_uncut() -> None:
    """Raise `InputError` if a wrapper has cut the unembedding of the current update."""
    why = why_cut()
    if why is not None:
        raise InputError(why)


def taken(unembedding: Tensor) -> Tensor:
    """A snapshot of an unembedding (K, D): a detached copy, float64 for a float64 unembedding, else float32."""
    return unembedding.detach().to(result_dtype(unembedding), copy=True)


def unseen(num_labels: int, embedding_dim: int) -> Tensor:
    """The state before the first update: (K, D), float32, all NaN."""
    return torch.full((num_labels, embedding_dim), torch.nan, dtype=torch.float32)


def first_seen(stacked: Tensor) -> Tensor:
    """The first of the snapshots (P, K, D) of all processes that is not all NaN; the first one if all are."""
    seen_P = (~stacked.flatten(1).isnan()).any(dim=1)
    return stacked[seen_P.int().argmax()]


def gather_snapshots(snapshot: Tensor, group: Any = None) -> list[Tensor]:
    """Gather a state from all processes, as a `dist_sync_fn`. Snapshots get one dtype and one shape.

    A process without an update does not know them: its snapshot is float32, and is an empty (0, 0) if the metric has no fixed
    shape. An empty snapshot becomes NaN in the largest shape of the others.

    Args:
        snapshot: the state of this process: an unembedding (K, D), or any other state.
        group: the process group; None for all processes.

    Returns:
        The states of all processes, in the order of their ranks.
    """
    if snapshot.ndim != 2 or not snapshot.is_floating_point():
        return list(gather_all_tensors(snapshot, group))
    wide = gather_all_tensors(torch.tensor(int(snapshot.dtype == torch.float64), device=snapshot.device), group)
    gathered = gather_all_tensors(snapshot.to(torch.float64 if any(wide) else torch.float32), group)
    shape = max((other.shape for other in gathered), key=torch.Size.numel)
    return [other if other.numel() else other.new_full(shape, torch.nan) for other in gathered]
