"""The time that the monitor takes, and whether work that can wait fits into its share of the time."""

from collections.abc import Mapping
from time import perf_counter
from typing import Final, Literal

__all__ = ["Budget", "Overhead", "Work"]

Work = Literal["pictures", "tab", "window", "validation"]
"""Work that is done now and then, in contrast to the work of every step."""

_PART: Final[Mapping[Work, float]] = {"pictures": 1 / 8, "tab": 1 / 8, "window": 1 / 4}
"""Part of the share for each kind of work that has a limit."""


class Overhead:
    """Measures the time that the monitor takes in `with overhead:`, and its share of the elapsed time."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._entered: float | None = None
        """Time at which the monitor started to work; None while it does not work."""
        self._born = perf_counter()
        self._last: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> None:
        """Start the clock: the monitor starts to work."""
        self._entered = perf_counter()

    def __exit__(self, *_: object) -> None:
        """Stop the clock: the monitor ends its work."""
        self._spent = self.spent
        self._entered = None

    @property
    def spent(self) -> float:
        """Seconds that the monitor has taken so far."""
        return self._spent if self._entered is None else self._spent + perf_counter() - self._entered

    def share(self, stage: str) -> float:
        """The share of the time since the last call with this stage (or since the start), in [0, 1]."""
        now, spent = perf_counter(), self.spent
        since, spent_then = self._last.get(stage, (self._born, 0.0))
        self._last[stage] = now, spent
        return (spent - spent_then) / max(now - since, 1e-9)


class Budget:
    """Decides whether work that can wait fits into a share of the time.

    An eighth of the share is for pictures, an eighth for the tab, and a quarter for training windows. A kind of work may start
    again when its last cost fits into its part of the time since then. The work of every step counts towards training windows,
    because it exists for them.

    The other half is left for costs that this clock cannot measure: Lightning calls the hooks, and the monitor displaces the
    model's data from the caches of the processor. These costs are not small if steps are short. Other kinds of work have no
    limit.

    Args:
        overhead: measures the time of all work.
        share: share of the time, from 0 to 1; None: there is no limit.
    """

    def __init__(self, overhead: Overhead, share: float | None) -> None:
        self.overhead, self.share = overhead, share
        self._work = 0.0
        """Seconds spent on the kinds of `Work`. The rest of the overhead is the work of every step."""
        self._began: dict[Work, float] = {}
        self._last: dict[Work, tuple[float, float, float]] = {}
        """For each kind of work: when it last ended, the seconds that steps had taken until then, and its cost in seconds."""

    def allows(self, work: Work) -> bool:
        """Whether this kind of work may start now. The first time it always may."""
        if self.share is None or work not in self._last:
            return True
        done, steps, cost = self._last[work]
        if work == "window":
            cost += self._steps - steps
        return cost <= self.share * _PART[work] * (perf_counter() - done)

    def begin(self, work: Work) -> None:
        """This kind of work starts. Other kinds may start and end before it ends."""
        self._began[work] = self._steps

    def finish(self, work: Work) -> None:
        """The work of this kind that started last has ended."""
        cost = self._steps - self._began[work]
        self._work += cost
        self._last[work] = perf_counter(), self._steps, cost

    @property
    def _steps(self) -> float:
        return self.overhead.spent - self._work
