"""Blocks of inputs, and the jackknife over blocks: how much a number would change with other inputs.

Neighboring inputs resemble one another (frames, augmented views, positions of a sequence). Therefore a whole run or group of
inputs goes to one block. Shapes: N inputs of a batch, G blocks.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

__all__ = ["MAX_RUN", "NUM_BLOCKS", "BlockAssignment", "jackknife", "rows_of_blocks"]

NUM_BLOCKS: Final = 8
"""G. At 95 % and 7 degrees of freedom, Student's t is 1.895 (one-sided) and 2.365 (two-sided)."""
MAX_RUN: Final = 32
"""The largest number of consecutive inputs of a batch that go to one block together."""
_NUM_ORDERS: Final = 1024


class BlockAssignment:
    """Assigns inputs to blocks.

    A *unit* is a run of up to 32 consecutive inputs of a batch, or a whole group. Unit u of process r has the index u·world + r.
    Each eight consecutive units go to the eight blocks in a random order. So blocks are balanced and do not depend on the order
    of the data.

    Args:
        seed: seed of the random orders, equal on all processes.
    """

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        shuffled = torch.rand(_NUM_ORDERS, NUM_BLOCKS, generator=generator, dtype=torch.float64, device="cpu")
        self._orders = shuffled.argsort(dim=1)

    def assign(
        self, num_inputs: int, *, start: Tensor | int = 0, groups: Tensor | None = None, rank: int = 0, world: int = 1
    ) -> tuple[Tensor, int]:
        """Assign the inputs of a batch to blocks.

        Args:
            num_inputs: N.
            start: number of units that this process has assigned before.
            groups: integer (N,), the group of each input. By default, runs of inputs are the units.
            rank: r, the rank of this process.
            world: number of processes.

        Returns:
            The block of each input, int64 (N,), from 0 to 7, on the CPU; and the number of units of this batch.

        Example:
            >>> block, num_units = BlockAssignment(seed=0).assign(80)
            >>> [len(set(run.tolist())) for run in block.split(32)], num_units
            ([1, 1, 1], 3)
        """
        if groups is None:
            unit_N = torch.arange(num_inputs, device="cpu") // MAX_RUN
            num_units = -(-num_inputs // MAX_RUN)
        else:
            ids, unit_N = torch.unique(groups.cpu(), return_inverse=True)
            num_units = len(ids)
        index = (torch.arange(num_units, device="cpu") + int(start)) * world + rank
        block_U = self._orders[(index // NUM_BLOCKS) % _NUM_ORDERS, index % NUM_BLOCKS]
        return block_U[unit_N], num_units


def rows_of_blocks(block: Tensor) -> Iterator[tuple[int, Tensor | None]]:
    """Each block that has inputs of a batch, with the indices (B,) of these inputs, or None if it has all inputs of the batch.

    Args:
        block: (N,), the block of each input, from 0 to 7.
    """
    sizes = block.bincount(minlength=NUM_BLOCKS).tolist()
    if max(sizes) == len(block) > 0:
        yield sizes.index(len(block)), None
        return
    order = block.argsort(stable=True)
    for number, rows in enumerate(torch.split(order, sizes)):
        if len(rows):
            yield number, rows


def jackknife(whole: Tensor, without: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    r"""The standard error and the bias-corrected value of a number, from its values without one block of inputs at a time.

    For n inputs, m of them in block g, and :math:`h = n / m`, the pseudo-values are :math:`h\,o - (h - 1)\,o_{-g}`. Their
    weighted mean :math:`\bar o` is the corrected value, and :math:`SE^2 = \frac1G \sum_g (h\,o - (h - 1)\,o_{-g} - \bar o)^2 / (h
    - 1)`. For equal blocks this is :math:`\frac{G - 1}{G} \sum_g (o_{-g} - \mathrm{mean}\,o_{-g})^2`.

    Args:
        whole: (...), the number from all inputs.
        without: (G, ...), the numbers without each block.
        sizes: (G,), the number of inputs of each block.

    Returns:
        Two tensors (...), float64: the standard error, at least 0, and the corrected value. NaN if a block is empty or a number
        is NaN.

    Example:
        >>> import torch
        >>> inputs = torch.arange(8.0)
        >>> without = torch.stack([inputs[inputs != left].mean() for left in inputs])
        >>> error, corrected = jackknife(inputs.mean(), without, torch.ones(8))
        >>> round(error.item(), 4), corrected.item()  # of a mean: s / sqrt(8)
        (0.866, 3.5)

    Source: Busing, Meijer, van der Leeden (1999), delete-m jackknife for unequal m; Quenouille (1956), Tukey (1958).
    """
    shape = (-1, *[1] * whole.ndim)
    o, o_G, m_G = whole.double(), without.double(), sizes.double().to(without.device).reshape(shape)
    n, num_blocks = m_G.sum(), len(without)
    h_G = n / m_G
    corrected = num_blocks * o - ((1 - 1 / h_G) * o_G).sum(dim=0)
    away_G = (h_G * o - corrected).sub_((h_G - 1) * o_G)  # the pseudo-values minus their mean
    error = away_G.square_().div_(h_G - 1).mean(dim=0).sqrt_()
    empty = bool((sizes <= 0).any()) or num_blocks < 2
    return (torch.full_like(error, torch.nan), torch.full_like(error, torch.nan)) if empty else (error, corrected)
