"""The unembedding as a metric's state: the last one seen, never a sum.

Summed over `forward` calls or over processes, a weight would be silently doubled. So the last update wins, metrics that hold one
set `full_state_update = True`, and processes, which hold equal weights, agree by taking the first that has any.
"""

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_matrix

__all__ = ["check_rows", "first_seen", "unseen"]


def unseen(num_labels: int, embedding_dim: int) -> Tensor:
    """The state before any update, (K, D)."""
    return torch.full((num_labels, embedding_dim), torch.nan)


def first_seen(stacked: Tensor) -> Tensor:
    """The reduction over processes: of (P, K, D), the first snapshot that is not `unseen`."""
    seen_P = (~stacked.flatten(1).isnan()).any(dim=1)
    return stacked[seen_P.int().argmax()]


def check_rows(tensor: Tensor, argument: str, shape: str, wanted: tuple[int | None, int | None]) -> None:
    """Raise unless `tensor` is a floating matrix with the numbers of rows and columns wanted (None: any)."""
    remedy = "The metric was built for these sizes."
    check_matrix(tensor, argument, shape)
    if any(want is not None and want != got for want, got in zip(wanted, tensor.shape, strict=True)):
        sizes = ", ".join("any" if want is None else str(want) for want in wanted)
        raise InputError(expected(argument, f"of shape {shape} = ({sizes})", tuple(tensor.shape), remedy))
