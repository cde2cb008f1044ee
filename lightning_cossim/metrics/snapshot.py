"""The unembedding as a metric's state: the last one seen, never a sum.

Summed over `forward` calls or over processes, a weight would be silently doubled. So the last update wins, metrics that hold one
set `full_state_update = True`, and processes, which hold equal weights, agree by taking the first that has any. A wrapper that
cuts every tensor it is given cuts the unembedding too, so metrics that take one refuse such a wrapper.
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
    "from BootStrapper, which resamples its rows, the labels. For an error bar resample the inputs alone: "
    "`copy.update(unembedding, embedding[rows])` for copies that `metric.clone()` makes"
)
_SPLITS: Final = "from MultioutputWrapper, which splits it by its columns. Update the metric itself"
_CUTS: Final = {
    BootStrapper.update.__code__: _RESAMPLES,
    MultioutputWrapper.update.__code__: _SPLITS,
    MultioutputWrapper.forward.__code__: _SPLITS,
}
"""Code of the wrappers that cut every tensor they are given, to what happens to the unembedding and what to do instead."""


def why_cut() -> str | None:
    """Why the unembedding of the update that runs is not the head's: a wrapper has cut it; None if none has.

    Resampled rows may have the right shape and values, so the callers are looked at, not the tensor.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code not in _CUTS:
        frame = frame.f_back
    return None if frame is None else expected("unembedding", "as the head has it", f"one {_CUTS[frame.f_code]}")


def check_uncut() -> None:
    """Raise `InputError` if a wrapper has cut the unembedding of the update that runs."""
    why = why_cut()
    if why is not None:
        raise InputError(why)


def taken(unembedding: Tensor) -> Tensor:
    """The snapshot of an unembedding: a copy that does not follow the weights, in float32 or better."""
    return unembedding.detach().to(result_dtype(unembedding), copy=True)


def unseen(num_labels: int, embedding_dim: int) -> Tensor:
    """The state before any update, (K, D)."""
    return torch.full((num_labels, embedding_dim), torch.nan, dtype=torch.float32)


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
