"""What the monitor costs by its own clock, and what it can afford."""

from collections.abc import Mapping
from time import perf_counter
from typing import Final, Literal

__all__ = ["Budget", "Overhead", "Work"]

Work = Literal["pictures", "tab", "window", "validation"]
"""What is done now and then, as against what every step costs."""

_PART: Final[Mapping[Work, float]] = {"pictures": 1 / 8, "tab": 1 / 8, "window": 1 / 4}
"""Of the share."""


class Overhead:
    """Time spent in the monitor, as a share of the time that passes."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._entered: float | None = None
        """When the monitor began to work; None while it does not."""
        self._born = perf_counter()
        self._last: dict[str, tuple[float, float]] = {}

    def enter(self) -> None:
        """The monitor begins to work."""
        self._entered = perf_counter()

    def leave(self) -> None:
        """The monitor is done."""
        self._spent = self.spent
        self._entered = None

    @property
    def spent(self) -> float:
        """Seconds spent so far."""
        return self._spent if self._entered is None else self._spent + perf_counter() - self._entered

    def share(self, stage: str) -> float:
        """The share since this stage was last asked for, in [0, 1]."""
        now, spent = perf_counter(), self.spent
        since, spent_then = self._last.get(stage, (self._born, 0.0))
        self._last[stage] = now, spent
        return (spent - spent_then) / max(now - since, 1e-9)


class Budget:
    """Whether work that may wait fits into a share of the time: an eighth of it is for pictures, an eighth for the tab, a quarter
    for training windows.

    Each goes by the time since it was last done and by what it cost then. What every step costs comes out of the quarter of the
    windows, for which steps are counted. The other half is left for what cannot be timed from here, and is not small on
    short steps: that Lightning calls hooks, and that the model finds something else in the processor's caches. Work of any other
    kind is on top.

    Args:
        overhead: what is spent on everything.
        share: of the time, from 0 to 1; None: everything fits.
    """

    def __init__(self, overhead: Overhead, share: float | None) -> None:
        self.overhead, self.share = overhead, share
        self._work = 0.0
        """Seconds spent on work of all kinds; what else was spent is what the steps cost."""
        self._began: dict[Work, float] = {}
        self._last: dict[Work, tuple[float, float, float]] = {}
        """When work of a kind was last done, what the steps had cost until then, and what it cost."""

    def allows(self, work: Work) -> bool:
        """Whether the work may be done now; the first time it may."""
        if self.share is None or work not in self._last:
            return True
        done, steps, cost = self._last[work]
        if work == "window":
            cost += self._steps - steps
        return cost <= self.share * _PART[work] * (perf_counter() - done)

    def begin(self, work: Work) -> None:
        """Work of a kind begins; other kinds may be begun and finished in between."""
        self._began[work] = self._steps

    def finish(self, work: Work) -> None:
        """What was last begun of a kind is done."""
        cost = self._steps - self._began[work]
        self._work += cost
        self._last[work] = perf_counter(), self._steps, cost

    @property
    def _steps(self) -> float:
        return self.overhead.spent - self._work
