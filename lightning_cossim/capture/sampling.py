"""Which inputs of a call of the head are looked at, and which of them belong together.

Outputs are (N, K), (B, T, K) or (B, K, H, W): their dimensions without that of the labels are their `shape`, an input is one
place in it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["groups_of", "sample_rows", "spread", "take_rows"]


def sample_rows(
    shape: Sequence[int], max_inputs: int, generator: torch.Generator, counted: Tensor | None = None
) -> Tensor | None:
    """Flat indices of the inputs that are looked at, None for all: a random sample if there are too many.

    Of sequences (B, T), whole ones are drawn, as many as fit; only if the first does not fit alone, places of it.

    Args:
        shape: of the call.
        max_inputs: how many at the most.
        generator: of the sample.
        counted: boolean, of as many entries: the inputs that count at all; default all.
    """
    index = torch.arange(math.prod(shape)) if counted is None else counted.flatten().cpu().nonzero().flatten()
    if len(index) <= max_inputs:
        return None if counted is None else index
    if len(shape) == 2:
        sequence = index // shape[1]
        order = torch.randperm(shape[0], generator=generator)
        order = order[torch.isin(order, sequence)]
        fits = sequence.bincount(minlength=shape[0])[order].cumsum(0) <= max_inputs
        if fits[0]:
            return index[torch.isin(sequence, order[fits])]
        index = index[sequence == order[0]]
    return index[torch.randperm(len(index), generator=generator)[:max_inputs]].sort().values


def take_rows(tensor: Tensor, axis: int, index: Tensor | None) -> Tensor:
    """The vectors along one dimension of a tensor, as rows: those at flat indices, None for all."""
    moved = tensor.movedim(axis, -1)
    moved = moved[None] if moved.ndim == 1 else moved
    if index is None:
        return moved.reshape(-1, moved.shape[-1])
    # By coordinates: to lay all vectors of an image out as rows would copy them.
    return moved[torch.unravel_index(index.to(moved.device), moved.shape[:-1])]


def groups_of(shape: Sequence[int], index: Tensor | None) -> Tensor | None:
    """Which sequence or image each of the inputs is of; None where each stands for itself."""
    if len(shape) < 2:
        return None
    index = torch.arange(math.prod(shape)) if index is None else index
    return index // math.prod(shape[1:])


def spread(size: int, num: int, device: torch.device | None = None) -> Tensor:
    """So many places, evenly spread over all; all if there are no more. Whole numbers: the user's default dtype may be coarse."""
    return torch.arange(size, device=device) if size <= num else torch.arange(num, device=device) * (size - 1) // max(1, num - 1)
