"""Two halves of the inputs, from which it shows how far an overlap would come out the same with other inputs.

Shapes: N inputs of a batch.
"""

import torch
from torch import Tensor

__all__ = ["split_halves"]


def split_halves(seen: Tensor, *, start: Tensor | int = 0, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which half each input of a batch belongs to: by turns, going on from the batch before.

    Inputs of one group, the positions of a sequence for example, resemble one another and stay together.

    Args:
        seen: boolean (N,), the inputs that count.
        start: how many inputs, or groups, came before: a running counter.
        groups: integer (N,), which group each input belongs to; default: each is a group of its own.

    Returns:
        (N,) of 0 and 1, -1 for inputs that do not count; and how many inputs, or groups, this batch adds to the counter.

    Example:
        >>> seen = torch.tensor([True, False, True, True])
        >>> split_halves(seen, start=3)
        (tensor([ 1, -1,  0,  1]), tensor(3))
        >>> split_halves(seen, groups=torch.tensor([7, 7, 7, 9]))
        (tensor([ 0, -1,  0,  1]), tensor(2))
    """
    if groups is None:
        position_N, count = seen.cumsum(0) - 1, seen.sum()
    else:
        ids, position = torch.unique(groups[seen], return_inverse=True)
        position_N = torch.zeros_like(seen, dtype=torch.int64).masked_scatter(seen, position)
        count = torch.tensor(len(ids), device=seen.device)
    return ((position_N + start) % 2).masked_fill(~seen, -1), count
