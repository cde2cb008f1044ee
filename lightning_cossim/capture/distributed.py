"""Processes: what several of them add up and decide together, and how they fail together.

Whatever is called here has to be called by all of them, in the same order. While some wait for others, nothing is done that needs
more than a few bytes: memory for what they add up is found before, where it can be missing on all of them together.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_cossim.errors import DistributedError, in_one_line

__all__ = ["ALONE", "Processes"]

T = TypeVar("T")


class Processes:
    """The processes that train together, by default this one alone.

    Args:
        strategy: reduces and broadcasts, as a Lightning `Strategy` does; not asked where there is but one process.
        num: how many there are.
        rank: which of them this one is, from 0.
    """

    def __init__(self, strategy: Any = None, num: int = 1, rank: int = 0) -> None:
        self.strategy, self.num, self.rank = strategy, num, rank

    def each(self, number: int) -> list[int]:
        """A whole number of every process, by rank."""
        numbers = torch.zeros(self.num, dtype=torch.int64)
        numbers[self.rank] = number
        found: list[int] = (numbers if self.num == 1 else self._add(numbers)).tolist()
        return found

    def where(self, *, holds: bool) -> list[int]:
        """The ranks of the processes where something holds, ascending."""
        return [rank for rank, number in enumerate(self.each(int(holds))) if number]

    def sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums of tensors that every process has, of the same shapes and dtypes, on the device where they are added up.

        Raises:
            DistributedError: a process has no memory for them.
        """
        if self.num == 1:
            return list(tensors)
        return [self._add(copy) for copy in self.together(lambda: self._copies(tensors))]

    def from_first(self, value: T) -> T:
        """What the first process has."""
        return value if self.num == 1 else self._from(0, value)

    def on_first(self, work: Callable[[], T]) -> T:
        """What the first process's work gives, on all of them: for work that takes long. The others wait.

        Raises:
            DistributedError: the work failed.
        """
        result = self.together(lambda: work() if self.rank == 0 else None)
        return self.from_first(result)  # type: ignore[return-value]  # the first has it

    def together(self, work: Callable[[], T]) -> T:
        """What this process's work gives, once all have done theirs. The work itself must not wait for other processes.

        Raises:
            DistributedError: the work of one failed; on all of them, with the text of the first that did.
        """
        if self.num == 1:
            return work()
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others have to hear of it
            failure = error
        ranks = self.where(holds=failure is not None)
        if ranks:
            text = self._from(ranks[0], None if failure is None else in_one_line(failure))
            raise DistributedError(f"{text} (in process {ranks[0]} of {self.num})") from failure
        return result

    def _copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Ours to write into: a state made under inference mode may not be."""
        return [tensor.to(self.strategy.root_device, copy=True) for tensor in tensors]

    def _add(self, tensor: Tensor) -> Tensor:
        """The sum, written into the tensor itself where it lies on the right device."""
        total: Tensor = self.strategy.reduce(tensor.to(self.strategy.root_device), reduce_op="sum")
        return total

    def _from(self, rank: int, value: T) -> T:
        broadcast: Callable[..., T] = self.strategy.broadcast
        return broadcast(value, src=rank)


ALONE = Processes()
"""One process, which waits for nobody."""
