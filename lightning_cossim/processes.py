"""Processes: what several of them add up and decide together, and how they fail together.

Whatever is called here has to be called by all of them, in the same order.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_cossim.errors import FailedTogether, in_one_line

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

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor that every process has, of one shape."""
        if self.num == 1:
            return tensor
        total: Tensor = self.strategy.reduce(tensor.clone().to(self.strategy.root_device), reduce_op="sum")
        return total.to(tensor.device)

    def from_first(self, value: T) -> T:
        """What the first process has."""
        return value if self.num == 1 else self._from(0, value)

    def together(self, work: Callable[[], T]) -> T:
        """What this process's work gives, once all have done theirs. The work itself must not wait for other processes.

        Raises:
            FailedTogether: the work of one failed; on all of them, with the text of the first that did.
        """
        if self.num == 1:
            return work()
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others have to hear of it
            failure = error
        failed = torch.zeros(self.num, dtype=torch.int64)
        failed[self.rank] = failure is not None
        ranks = self.sum(failed).nonzero().flatten().tolist()
        if ranks:
            text = self._from(ranks[0], None if failure is None else in_one_line(failure))
            raise FailedTogether(f"{text} (in process {ranks[0]} of {self.num})") from failure
        return result

    def _from(self, rank: int, value: T) -> T:
        broadcast: Callable[..., T] = self.strategy.broadcast
        return broadcast(value, src=rank)


ALONE = Processes()
"""One process, which waits for nobody."""
