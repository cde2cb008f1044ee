"""Sampling: chooses the inputs of a head's call that are observed, and groups those of one sequence or image.

Outputs are (N, K), (B, T, K) or (B, K, H, W). Their `shape` here has no dimension of labels. An input is one position in this
shape.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["groups_of", "sample_rows", "spread", "take_rows"]


def sample_rows(
    shape: Sequence[int], max_inputs: int, generator: torch.Generator, counted: Tensor | None = None
) -> Tensor | None:
    """Flat indices of the inputs to observe: all that count, or a random sample if these are more than `max_inputs`.

    For sequences (B, T), whole sequences are drawn, as many as fit. If the first drawn sequence alone has too many inputs, the
    sample is drawn from this sequence.

    Args:
        shape: the shape of the call, without labels.
        max_inputs: maximum number of inputs.
        generator: random generator of the sample, on the CPU.
        counted: boolean, with one entry per input: the inputs that count; default: all.

    Returns:
        int64, on the CPU, ascending; None means all inputs of the call.
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
    """The vectors along one dimension of a tensor, as rows (N, size of the dimension).

    Args:
        tensor: at least one-dimensional.
        axis: the dimension of the vectors.
        index: int64 (N,), flat indices of the vectors; None means all.
    """
    moved = tensor.movedim(axis, -1)
    moved = moved[None] if moved.ndim == 1 else moved
    if index is None:
        return moved.reshape(-1, moved.shape[-1])
    # Index by coordinates: a reshape to rows would copy all vectors of an image.
    return moved[torch.unravel_index(index.to(moved.device), moved.shape[:-1])]


def groups_of(shape: Sequence[int], index: Tensor | None) -> Tensor | None:
    """The sequence or image of each input.

    Args:
        shape: the shape of the call, without labels.
        index: int64 (N,), flat indices of the inputs; None means all.

    Returns:
        int64 (N,), the index in the first dimension. None if the shape has only one dimension: each input is its own group.
    """
    if len(shape) < 2:
        return None
    index = torch.arange(math.prod(shape)) if index is None else index
    return index // math.prod(shape[1:])


def spread(size: int, num: int, device: torch.device | None = None) -> Tensor:
    """Up to `num` indices, evenly spread over 0 to `size` - 1.

    Args:
        size: the number of positions.
        num: maximum number of indices.
        device: the device of the result; default: torch's default device.

    Returns:
        int64 (min(size, num),), ascending.
    """
    # Integer arithmetic: floating point in the user's default dtype may be too coarse.
    return torch.arange(size, device=device) if size <= num else torch.arange(num, device=device) * (size - 1) // max(1, num - 1)
