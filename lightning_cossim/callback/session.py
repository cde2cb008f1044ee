"""Session: a head under observation from the start of a run to its end, what that costs, and what went wrong in it."""

from collections.abc import Callable

from lightning_cossim.callback.budget import Budget, Overhead
from lightning_cossim.capture.collector import HeadWatch
from lightning_cossim.capture.distributed import Processes

__all__ = ["Session"]


class Session:
    """What lives while a head is watched.

    Args:
        watch: the head.
        processes: those that train together.
        max_overhead: share of the time for work that may wait; None: nothing waits.
    """

    def __init__(self, watch: HeadWatch, processes: Processes, max_overhead: float | None) -> None:
        self.watch, self.processes, self.max_overhead = watch, processes, max_overhead
        self.overhead = Overhead()
        self.budget = Budget(self.overhead, max_overhead)
        self._is_sharded = watch.head.is_sharded
        self.failure: Exception | None = None
        """What this process could not do since the last report, while others may wait for it there."""

    def alone(self, work: Callable[[], None]) -> None:
        """Do what no other process waits for. Where there are others, a failure is kept for `check`; what comes after is left."""
        if self.failure is not None:
            return
        try:
            work()
        except Exception as error:
            if self.processes.num == 1:
                raise
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Keep a failure until the others can hear of it, and nothing of what was at hand when it happened."""
        self.failure = self.failure or error.with_traceback(None)
        self.watch.disarm()

    def look(self, window: str) -> None:
        """Look at what the head showed. Of a sharded head, every process has to call it, at the same time."""
        weights = self.watch.head.gathered()
        self.alone(lambda: self.watch.look(window, weights))

    def end_batch(self, window: str) -> None:
        """Look at what was not looked at yet, and at no more until the next batch. The same holds.

        In training a sharded head is looked at before the backward pass or not at all: nobody could tell if it has changed since.
        """
        if self._is_sharded and window == "train":
            self.alone(self.watch.disarm)
            return
        weights = self.watch.head.gathered()
        self.alone(lambda: self.watch.end_batch(window, weights))

    def check(self) -> None:
        """Go on only if no process has failed. Every process has to call it, at the same time.

        Raises:
            FailedTogether: one of them has.
        """
        self.processes.together(self._raise_failure)

    def affords_window(self) -> bool:
        """Whether a training window fits into its share of the time; one process decides for all."""
        return self.max_overhead is None or self.processes.from_first(self.budget.allows("window"))

    def end(self) -> None:
        """Let go of the head; a second call does nothing."""
        self.watch.detach()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure
