"""Checks of the fields of a header that comes from an event file, where any value can stand. The module needs no torch.

Each check returns the value if it is well-formed, and otherwise raises `ValueError` with one line.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from lightning_cossim.errors import as_value, expected

__all__ = [
    "LARGEST",
    "choice",
    "header_and_body",
    "items",
    "key_in",
    "listed",
    "mapped",
    "number",
    "number_or_nothing",
    "text",
    "typed",
    "whole",
]

LARGEST: Final = 2**53
"""Largest whole number that the page, in JavaScript, reads exactly."""
_LARGEST_REAL: Final = 1e300
"""Differences of numbers up to this size are finite."""

_T = TypeVar("_T")


def header_and_body(blob: bytes, most: int) -> tuple[dict[str, Any], bytes]:
    """The header of a blob, and the bytes after it.

    Args:
        blob: four bytes with the length of the header, the header as JSON in UTF-8, and the body.
        most: largest number of bytes of the blob.
    """
    if len(blob) > most:
        raise ValueError(expected("blob", f"to have at most {most} bytes", f"{len(blob)} bytes"))
    start = 4 + int.from_bytes(blob[:4], "little")
    if not 4 < start <= len(blob):
        raise ValueError(expected("blob", "to start with the length of its header", f"{len(blob)} bytes with {blob[:4]!r}"))
    try:
        header = json.loads(blob[4:start].decode("utf-8"), parse_constant=_refuse)
    except RecursionError:
        raise ValueError(expected("header", "to have a few levels", "a deeply nested one")) from None
    except ValueError as error:
        raise ValueError(expected("header", "to be JSON in UTF-8", error)) from None
    return typed(header, "header", dict), blob[start:]


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def typed(value: Any, name: str, kind: type[_T]) -> _T:
    """A value of exactly this type: `True` is no number."""
    if type(value) is not kind:
        words = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
        raise ValueError(expected(name, f"to be {words[kind]}", as_value(value)))
    return value


def text(value: Any, name: str) -> str:
    """A text."""
    return typed(value, name, str)


def choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """One of some texts."""
    if type(value) is not str or value not in choices:
        raise ValueError(expected(name, f"to be {' or '.join(choices)}", as_value(value)))
    return value


def whole(value: Any, name: str, low: int = 0, high: int = LARGEST) -> int:
    """A whole number between two bounds, which belong to the range."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(expected(name, f"to be a whole number from {low} to {high}", as_value(value)))
    return value


def number(value: Any, name: str, low: float = -_LARGEST_REAL, high: float = _LARGEST_REAL) -> float:
    """A finite number between two bounds, which belong to the range."""
    if type(value) not in {int, float} or not low <= value <= high:
        raise ValueError(expected(name, f"to be a number from {low:g} to {high:g}", as_value(value)))
    return float(value)


def number_or_nothing(value: Any, name: str) -> float | None:
    """A finite number, or None: unknown."""
    return None if value is None else number(value, name)


def key_in(values: Mapping[str, Any], name: str) -> Any:
    """The value of a key that must be there."""
    if name not in values:
        raise ValueError(expected("header", f"to have `{name}`", "none"))
    return values[name]


def items(value: Any, name: str, length: int | None = None) -> list[Any]:
    """A list, of this length if one is given."""
    found: list[Any] = typed(value, name, list)
    if length is not None and len(found) != length:
        raise ValueError(expected(name, f"to have {length} values", str(len(found))))
    return found


def listed(value: Any, name: str, check: Callable[[Any, str], _T], length: int | None = None) -> list[_T]:
    """A list of checked values, of this length if one is given."""
    return [check(one, name) for one in items(value, name, length)]


def mapped(value: Any, name: str, check: Callable[[Any, str], _T]) -> dict[str, _T]:
    """An object with checked values."""
    found: dict[str, Any] = typed(value, name, dict)
    return {key: check(one, name) for key, one in found.items()}
