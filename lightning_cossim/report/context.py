"""What a report is about: which window of which run, at which step, and what its labels are called."""

from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override

__all__ = ["Context", "WindowKey"]


class WindowKey(NamedTuple):
    """Names a window: its stage, and its data loader where each of several has reports of its own.

    Example:
        >>> str(WindowKey("val")), str(WindowKey("val", 1))
        ('val', 'val/dataloader_idx_1')
    """

    stage: str = ""
    """"train", "val" or "test"; empty for a report that no training made."""
    dataloader_idx: int | None = None

    @property
    def suffix(self) -> str:
        """What tags of one of several data loaders end in, as Lightning's own do; empty for a window of all of them."""
        return "" if self.dataloader_idx is None else f"/dataloader_idx_{self.dataloader_idx}"

    @override
    def __str__(self) -> str:
        return f"{self.stage}{self.suffix}"


@dataclass(frozen=True)
class Context:
    """The part of a report that whoever asked for it knows."""

    window: WindowKey = WindowKey("")  # noqa: RUF009 - a tuple, frozen
    step: int = 0
    """The x of the loggers' curves."""
    names: tuple[str, ...] = ()
    """(K,), of all rows of the head; empty: rows are called by their numbers."""
    overhead_fraction: float | None = None
    """Share of the time that the monitor took, in [0, 1]; None: nobody measured it."""

    def name_of(self, label: int) -> str:
        """What a row of the head is called."""
        return self.names[label] if self.names else str(label)
