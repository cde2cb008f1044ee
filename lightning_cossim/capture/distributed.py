"""Processes: sums and decisions that several processes make together.

All processes must make the same calls in the same order. If one process fails, all fail. Buffers are allocated before a
collective, so that running out of memory fails on all processes together; the collective itself allocates only a few bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_cossim.errors import DistributedError, in_one_line

__all__ = ["ALONE", "Processes"]

T = TypeVar("T")


class Processes:
    """The processes that train together; default: this process alone.

    Args:
        strategy: has `reduce`, `broadcast` and `root_device` like a Lightning `Strategy`; not used with one process.
        num: the number of processes, at least 1.
        rank: the rank of this process, from 0 to `num` - 1.
    """

    def __init__(self, strategy: Any = None, num: int = 1, rank: int = 0) -> None:
        self.strategy, self.num, self.rank = strategy, num, rank

    def each(self, number: int) -> list[int]:
        """The whole number that each process passes, in the order of ranks."""
        numbers = torch.zeros(self.num, dtype=torch.int64)
        numbers[self.rank] = number
        found: list[int] = (numbers if self.num == 1 else self._add(numbers)).tolist()
        return found

    def where(self, *, holds: bool) -> list[int]:
        """The ranks of the processes that pass True, in ascending order."""
        return [rank for rank, number in enumerate(self.each(int(holds))) if number]

    def sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum of each tensor over all processes.

        Args:
            tensors: of the same number, shapes and dtypes on every process.

        Returns:
            New tensors on the strategy's root device; with one process, the tensors themselves.

        Raises:
            DistributedError: a process could not copy its tensors, for example for lack of memory.
        """
        if self.num == 1:
            return list(tensors)
        return [self._add(copy) for copy in self.together(lambda: self._copies(tensors))]

    def from_first(self, value: T) -> T:
        """The value of the first process (rank 0)."""
        return value if self.num == 1 else self._from(0, value)

    def gathered(self, value: T) -> list[T]:
        """The value of every process, in the order of ranks. It must be picklable, and no larger than the message that it is."""
        return [value] if self.num == 1 else [self._from(rank, value) for rank in range(self.num)]

    def on_first(self, work: Callable[[], T]) -> T:
        """The result of work that only the first process does; the others wait for it. Use it for slow work.

        Raises:
            DistributedError: the work failed, with several processes. With one process, its own error is raised.
        """
        result = self.together(lambda: work() if self.rank == 0 else None)
        return self.from_first(result)  # type: ignore[return-value]  # the first process has it

    def together(self, work: Callable[[], T]) -> T:
        """The result of this process's work, once all processes have done theirs. The work must not wait for other processes.

        Raises:
            DistributedError: the work of one of several processes failed. All processes raise it, with the text of the first one
                that failed. With one process, its own error is raised.
        """
        if self.num == 1:
            return work()
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - the other processes need to know of any failure
            failure = error
        ranks = self.where(holds=failure is not None)
        if ranks:
            text = self._from(ranks[0], None if failure is None else in_one_line(failure))
            raise DistributedError(f"{text} (in process {ranks[0]} of {self.num})") from failure
        return result

    def _copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Copies that can be written in place; a state that was made under inference mode cannot."""
        return [tensor.to(self.strategy.root_device, copy=True) for tensor in tensors]

    def _add(self, tensor: Tensor) -> Tensor:
        """The sum over all processes. It overwrites a tensor that is on the root device."""
        total: Tensor = self.strategy.reduce(tensor.to(self.strategy.root_device), reduce_op="sum")
        return total

    def _from(self, rank: int, value: T) -> T:
        broadcast: Callable[..., T] = self.strategy.broadcast
        return broadcast(value, src=rank)


ALONE = Processes()
"""A single process, which never waits for others."""
