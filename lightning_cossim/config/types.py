"""Types of settings: what Python checks is what a YAML parser checks, and stands once, as the annotation of a field.

To type checkers they are plain `float`, `int` and `str`, and so are the values. To jsonargparse, with which LightningCLI reads
YAML, each is a type of its own that says what it wants. They are not its own restricted types, since those have one name in the
whole process: another package that calls the same restriction differently would fail to import.
"""

import os
import re
from collections.abc import Callable
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from jsonargparse.typing import Path, register_type

from lightning_cossim.config.checks import Restriction, check_bool, check_number, check_word

__all__ = [
    "NonNegative",
    "Number",
    "ReadableFile",
    "UnitInterval",
    "Whole",
    "WholeFrom0",
    "WholeFrom1",
    "WholeFrom1To64",
    "WholeFrom2",
    "check_fields",
    "file_type",
    "number_of",
]

_NUMBER: Final = re.compile(r"[-+]?(?P<whole>[0-9]{1,300})|[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def check_fields(settings: object) -> None:
    """Raise `ConfigError` unless those fields of a dataclass that are numbers, words or switches are as their types want them.

    Numbers of other libraries become plain ones, which any checkpoint can hold.
    """
    for field, (kind, optional) in _checkable(type(settings)).items():
        value = getattr(settings, field)
        if optional and value is None:
            continue
        if kind is bool:
            check_bool(value, field)
        elif get_origin(kind) is Literal:
            check_word(value, field, get_args(kind))
        else:
            check_number(value, field, kind.restriction)
            object.__setattr__(settings, field, kind.restriction.base(value))  # it may be frozen


def number_of(text: str) -> int | float | None:
    """The number that a text is, None if it is none; `1e-1` is one, unlike in plain YAML.

    Example:
        >>> number_of("1e-1"), number_of("8"), number_of("high")
        (0.1, 8, None)
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(text) if found["whole"] else float(text)


def file_type(name: str, check: Callable[[str], object] | None = None) -> Any:
    """A type of paths of readable files: relative to the config that names one, absolute as a value.

    Args:
        name: what help and errors call it.
        check: raises `ValueError` for a file that is missing or not right.
    """

    def read(value: object) -> str:
        mode = "fr" if check is None else ""  # a check says itself what is wrong with a file that is not there
        path: str = Path(value, mode=mode).absolute  # type: ignore[arg-type]
        if check is not None:
            check(path)
        return path

    return _registered(name, str, read)


def _checkable(settings: type[object]) -> dict[str, tuple[Any, bool]]:
    """Field to the type that its value can be held against, and whether it may be None too."""
    found = {}
    for field, hint in get_type_hints(settings).items():
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        (*others, kind) = sorted(kinds, key=lambda one: one is not type(None))
        if set(others) <= {type(None)} and (kind is bool or get_origin(kind) is Literal or hasattr(kind, "restriction")):
            found[field] = kind, bool(others)
    return found


def _restricted(restriction: Restriction) -> Any:
    """A type of numbers."""

    def read(value: object) -> Any:
        number = number_of(value) if isinstance(value, str) else value  # a command line gives texts
        if not restriction.allows(number):
            raise ValueError(f"Expected a {restriction}, got {value!r}.")
        return restriction.base(number)

    return _registered(str(restriction), restriction.base, read, restriction=restriction)


def _registered(name: str, base: type[Any], read: Callable[[object], Any], **members: Any) -> Any:
    """A new type. Its values are plain, so that only reading them can tell whether they are right."""
    kind = type(name, (base,), {"__module__": __name__, **members})
    register_type(kind, serializer=base, deserializer=read, type_check=lambda *_: False)
    return kind


if TYPE_CHECKING:
    Number: TypeAlias = float
    NonNegative: TypeAlias = float
    UnitInterval: TypeAlias = float
    Whole: TypeAlias = int
    WholeFrom0: TypeAlias = int
    WholeFrom1: TypeAlias = int
    WholeFrom2: TypeAlias = int
    WholeFrom1To64: TypeAlias = int
    ReadableFile: TypeAlias = str | os.PathLike[str]
else:
    Number = _restricted(Restriction(float))
    NonNegative = _restricted(Restriction(float, 0))
    UnitInterval = _restricted(Restriction(float, 0, 1))
    Whole = _restricted(Restriction(int))
    WholeFrom0 = _restricted(Restriction(int, 0))
    WholeFrom1 = _restricted(Restriction(int, 1))
    WholeFrom2 = _restricted(Restriction(int, 2))
    WholeFrom1To64 = _restricted(Restriction(int, 1, 64))
    ReadableFile = file_type("path of a readable file")
