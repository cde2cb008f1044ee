"""Replicates: the overlaps of pairs without one block of inputs at a time. Their standard errors come from these.

Float64, on the CPU. Shapes: G blocks, L labels compared, P pairs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cossim.functional.blocks import NUM_BLOCKS, jackknife
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.repeated import medians

__all__ = ["BlockSums", "Replicates"]


@dataclass(frozen=True, eq=False)
class Replicates:
    """Overlaps and similarities of pairs, computed without one block of inputs at a time."""

    sizes: Tensor
    """(G,), the number of inputs of each block."""
    overlap: Tensor
    """(G, P), the overlaps without each block."""
    halves: tuple[Tensor, Tensor]
    """The overlaps (P,) of the first four blocks and of the last four."""
    least_error: Tensor | None = None
    """(P,), lower bound of the standard errors: for a share of few inputs, the jackknife can give 0. None: no bound."""
    similarities: Callable[[], Mapping[str, Tensor]] | None = None
    """Computes the similarities that use the inputs, without each block: key to (G, P). None: they are fixed."""
    unit: Tensor | None = None
    """(P,), the overlap of two labels whose profile products sum to 1. None: sums are counts, or unknown."""
    weight: Tensor | None = None
    """(P,), the number of pairs that each pair represents. None: one."""

    @property
    def num_blocks(self) -> int:
        """The number of blocks with inputs."""
        return int((self.sizes > 0).sum())

    @property
    def too_few(self) -> str | None:
        """Why there are no standard errors, or None if there are."""
        num = self.num_blocks
        return None if num == NUM_BLOCKS else f"{num} group{'s' * (num != 1)} of inputs, {NUM_BLOCKS} are needed"

    def overlap_error(self, overlap: Tensor, expected: Tensor | None = None) -> Tensor:
        r"""Standard error of each overlap.

        With J the jackknife's error of an overlap o, e its expected overlap, and :math:`r = \max(e, o) / o`:

        .. math:: SE^2 = r J^2 + \frac{(\varphi u)^2}{r}, \qquad \varphi = \mathrm{median}\, \frac{J^2}{o u}

        In a sparse model few inputs contribute most of an overlap. A sample without them has a small overlap, and a jackknife
        error that is too small: the variance of a sum of rare contributions is proportional to its mean. Therefore:

        - An overlap below the expected one gets the error at the expected one.
        - Every sum gets the error of one contribution more, a typical one. Independent contributions of size :math:`\varphi`
          that sum to S have the variance :math:`\varphi S`, and the overlap is :math:`u S`. The median is over all pairs,
          because the size is hidden in a pair with few contributions. With many contributions, the term vanishes. It is divided
          by r, because the first correction has raised the error already.

        In simulated models, intervals of 2.365 such errors cover .91 to .98, and .79 to .96 with J alone
        (`tests/benchmarks/flags.txt`).

        Args:
            overlap: (P,), in [0, 1].
            expected: (P,), the expected overlaps, NaN where unknown; default: the jackknife's error as it is.

        Returns:
            (P,), at least 0; NaN where it cannot be computed.
        """
        error = torch.cat([jackknife(overlap[some], self.overlap[:, some], self.sizes)[0] for some in _bits(len(overlap))])
        if expected is not None:
            o = overlap.double()
            raised = (expected.double().fmax(o) / o).where(o > 0, 1.0)
            error = (raised * error.square() + self._contribution(error, o).square() / raised).sqrt()
        return error if self.least_error is None else torch.maximum(error, self.least_error).masked_fill(error.isnan(), torch.nan)

    def _contribution(self, error: Tensor, overlap: Tensor) -> Tensor:
        """(P,), what a contribution of the median size adds to each overlap; 0 if unknown.

        Args:
            error: (P,), the jackknife's errors.
            overlap: (P,).
        """
        if self.unit is None:
            return torch.zeros_like(error)
        size_P = error.square() / (overlap * self.unit)
        known_P = size_P.isfinite()
        if not known_P.any():
            return torch.zeros_like(error)
        weight = None if self.weight is None else self.weight[known_P].numpy()
        return float(medians(size_P[known_P][None].numpy(), weight)[0]) * self.unit


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Sums over the inputs of every block, for pairs of labels."""

    of: Overlap
    pairs: Pairs
    """(P,), by the positions of their labels among the L."""
    joint: Tensor
    """(G, P), the products of the profiles of two labels."""
    own: Tensor
    """(G, L), the squares of the profile of every label."""
    sizes: Tensor
    """(G,), the number of inputs."""

    @classmethod
    def of_all(cls, overlap: Overlap, pairs: Pairs, joint: Tensor, sizes: Tensor) -> "BlockSums":
        """The sums of pairs from the sums of all labels (G, L, L). It uses the entries on and above the diagonal."""
        row, column = pairs.row.to(joint.device), pairs.column.to(joint.device)
        return cls(overlap, pairs, joint[:, row, column].cpu(), joint.diagonal(dim1=1, dim2=2).cpu(), sizes.cpu())

    @property
    def total(self) -> Tensor:
        """(P,), the sums of the products over all inputs."""
        return _sum(self.joint)

    @property
    def overlap(self) -> Tensor:
        """(P,), the overlaps from all inputs, float32."""
        return self.of.overlap_of_pairs(self.pairs, self.total, _sum(self.own)).float()

    def replicates(self, similarities: Callable[[], Mapping[str, Tensor]] | None = None) -> Replicates:
        """The overlaps without each block. `similarities` computes the similarities without each block."""
        first, second = (
            self.of.overlap_of_pairs(self.pairs, _sum(self.joint[half]), _sum(self.own[half])).float() for half in _HALVES
        )
        own_GL = _without_each(self.own)
        parts = [
            self.of.overlap_of_pairs(self.pairs[some], _without_each(self.joint[:, some]), own_GL)
            for some in _bits(len(self.pairs))
        ]
        without_GP = torch.cat(parts, dim=1).double()
        return Replicates(
            self.sizes, without_GP, (first, second), self._least_error(), similarities, self._unit(), self.pairs.weight
        )

    def _unit(self) -> Tensor | None:
        """(P,), what the joint sums are multiplied with to get the overlaps; None for kinds that count inputs."""
        if self.of.counts_inputs:
            return None
        own_L = _sum(self.own)
        return (own_L[self.pairs.row] * own_L[self.pairs.column]).rsqrt()

    def _least_error(self) -> Tensor | None:
        """The standard error of a share o of n inputs, sqrt(o (1 - o) / n), with o = (count + 1/2) / (n + 1)."""
        if not self.of.counts_inputs:
            return None
        count, own_L = self.total.double(), _sum(self.own).double()
        either = own_L[self.pairs.row] + own_L[self.pairs.column] - count
        share = (count + 0.5) / (either + 1)
        return (share * (1 - share) / either).sqrt()


_AT_A_TIME = 4096
"""Pairs per chunk; their numbers fit in the processor's cache."""
_HALVES = (slice(0, NUM_BLOCKS // 2), slice(NUM_BLOCKS // 2, NUM_BLOCKS))


def _bits(num_pairs: int) -> list[slice]:
    """Slices that cover all pairs, a few at a time; at least one slice."""
    return [slice(first, first + _AT_A_TIME) for first in range(0, max(num_pairs, 1), _AT_A_TIME)]


def _exact(sums: Tensor) -> Tensor:
    """The sums in a dtype in which blocks can be added and removed: counts unchanged, float32 sums as float64."""
    return sums.double() if sums.is_floating_point() else sums


def _without_each(sums: Tensor) -> Tensor:
    """The sums (G, P) without each block.

    They are added from both sides, because a difference would lose the digits of a small rest.
    """
    exact = _exact(sums)
    nothing = torch.zeros_like(exact[:1])
    before = torch.cat([nothing, exact[:-1].cumsum(dim=0)])
    after = torch.cat([exact[1:].flip(0).cumsum(dim=0).flip(0), nothing])
    return before + after


def _sum(sums: Tensor) -> Tensor:
    return _exact(sums).sum(dim=0)
