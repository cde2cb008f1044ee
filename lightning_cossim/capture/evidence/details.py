"""Details: the identifiers, thumbnails and texts of the inputs that a store refers to, in bounded memory."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from lightning_cossim.report.evidence import View

__all__ = ["Details", "bytes_of"]

T = TypeVar("T")


class Details(Generic[T]):
    """Something about the inputs that a store refers to, within a number of bytes. Once it is full, new ones are left out.

    Args:
        max_bytes: bound on the sizes of all values together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self._size = max_bytes, 0
        self._kept: dict[int, tuple[T, int]] = {}
        self._wait = 0
        """The number of values to leave out before the values of dropped inputs are searched again."""

    def add(self, values: dict[int, T], size_of: Callable[[T], int], used: Callable[[], Any]) -> None:
        """Keep values, by the numbers of their inputs.

        Args:
            values: number of an input to its value.
            size_of: the bytes of a value.
            used: gives the numbers of the inputs that are still needed.
        """
        for number, value in values.items():
            size = size_of(value)
            if self._size + size > self.max_bytes:
                if self._wait:
                    self._wait -= 1
                    continue
                self._prune(used)
                self._wait = 0 if self._size + size <= self.max_bytes * 3 // 4 else len(self._kept)
            if self._size + size <= self.max_bytes:
                self._kept[number] = value, size
                self._size += size

    def _prune(self, used: Callable[[], Any]) -> None:
        needed = set(used().tolist())
        self._kept = {number: kept for number, kept in self._kept.items() if number in needed}
        self._size = sum(size for _, size in self._kept.values())

    def of(self, numbers: Sequence[int]) -> dict[int, T]:
        """The values of some inputs."""
        return {number: self._kept[number][0] for number in numbers if number in self._kept}


def bytes_of(view: View) -> int:
    """The bytes of a view, with the objects around it."""
    return 200 + (0 if view.picture is None else view.picture.nbytes) + sys.getsizeof(view.text or "")
