"""Context of a report: its window, its step, and the names of its labels."""

from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override

__all__ = ["Context", "WindowKey"]


class WindowKey(NamedTuple):
    """Identifies a window by its stage, and by its data loader if each data loader has separate reports.

    Example:
        >>> str(WindowKey("val")), str(WindowKey("val", 1))
        ('val', 'val/dataloader_idx_1')
    """

    stage: str = ""
    """The stage: "train", "val" or "test"; empty for a report that comes from no training."""
    dataloader_idx: int | None = None
    """Index of the data loader; None: the window covers all data loaders."""

    @property
    def suffix(self) -> str:
        """The end of the tags of one data loader, in the form that Lightning uses; empty for a window of all data loaders."""
        return "" if self.dataloader_idx is None else f"/dataloader_idx_{self.dataloader_idx}"

    @override
    def __str__(self) -> str:
        return f"{self.stage}{self.suffix}"


@dataclass(frozen=True)
class Context:
    """The part of a report that the caller knows: window, step, names and cost."""

    window: WindowKey = WindowKey("")  # noqa: RUF009 - a tuple, frozen
    step: int = 0
    """The step at which loggers plot the report."""
    names: tuple[str, ...] = ()
    """(K,), the names of all rows of the head; empty: the row number is the name."""
    overhead_fraction: float | None = None
    """Share of the time that the monitor takes, in [0, 1]; None: not measured."""

    def name_of(self, label: int) -> str:
        """The name of a row of the head; its number if labels have no names."""
        return self.names[label] if self.names else str(label)
