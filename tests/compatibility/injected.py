"""Faults at calls of the package: which calls a run makes, and a run in which one of them fails.

A profile function sees every call of a Python function. What it raises is raised by the call.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from typing_extensions import override

import lightning_cossim

__all__ = ["Point", "counting", "failing"]

PACKAGE = str(Path(lightning_cossim.__file__).parent) + "/"


class Point(NamedTuple):
    """A function of the package, at one of its calls."""

    module: str
    function: str
    number: int
    """Of the call, from 1."""

    @override
    def __str__(self) -> str:
        return f"{self.module}:{self.function}:{self.number}"


def _name_of(frame: FrameType) -> tuple[str, str] | None:
    code = frame.f_code
    if not code.co_filename.startswith(PACKAGE) or code.co_name.startswith("<"):
        return None
    return code.co_filename.removeprefix(PACKAGE), code.co_qualname


@contextmanager
def _profiled(see: Callable[[tuple[str, str]], None]) -> Iterator[None]:
    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            name = _name_of(frame)
            if name is not None and frame.f_back is not None and _name_of(frame.f_back) is not None:
                see(name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def counting(calls: Counter[tuple[str, str]]) -> Iterator[None]:
    """Count how often each function of the package is called by another one, while this is open."""

    def see(name: tuple[str, str]) -> None:
        calls[name] += 1

    with _profiled(see):
        yield


@contextmanager
def failing(point: Point, error: BaseException, failed: list[Point]) -> Iterator[None]:
    """While this is open, a call fails. The point is added to `failed` then."""
    num = 0

    def see(name: tuple[str, str]) -> None:
        nonlocal num
        if name == (point.module, point.function):
            num += 1
            if num == point.number:
                failed.append(point)
                raise error

    with _profiled(see):
        yield
