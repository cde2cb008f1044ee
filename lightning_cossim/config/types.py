"""Types of settings. The annotation of a field defines the check in Python and in the YAML parser.

For type checkers the types are plain `float`, `int` and `str`, and so are the values. For jsonargparse, with which LightningCLI
reads YAML, each is a separate type whose name states what it accepts. The restricted types of jsonargparse itself do not fit: it
allows one name per restriction in the whole process, so another package with the same restriction under another name would fail
to import.
"""

import os
import re
from collections.abc import Callable
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from jsonargparse.typing import Path, register_type

from lightning_cossim.config.checks import (
    Restriction,
    check_bool,
    check_number,
    check_switch,
    check_word,
    is_switch,
    switch_in_words,
)

__all__ = [
    "NonNegative",
    "Number",
    "ReadableFile",
    "SwitchOrReferences",
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
_SWITCHES: Final = {"true": True, "True": True, "false": False, "False": False}
"""Texts of a command line that mean a boolean."""


def check_fields(settings: object) -> None:
    """Check the fields of a dataclass that are numbers, words or booleans against their types.

    Numbers of other libraries, such as NumPy, become plain Python numbers, which any checkpoint can store.

    Raises:
        ConfigError: a value does not fit the type of its field.
    """
    for field, (kind, optional) in _checkable(type(settings)).items():
        value = getattr(settings, field)
        if optional and value is None:
            continue
        if kind is bool:
            check_bool(value, field)
        elif get_origin(kind) is Literal:
            check_word(value, field, get_args(kind))
        elif hasattr(kind, "words"):
            check_switch(value, field, kind.words)
        else:
            check_number(value, field, kind.restriction)
            object.__setattr__(settings, field, kind.restriction.base(value))  # the dataclass may be frozen


def number_of(text: str) -> int | float | None:
    """The number that a text contains; None if it is not a number. Unlike plain YAML, it accepts `1e-1`.

    Example:
        >>> number_of("1e-1"), number_of("8"), number_of("high")
        (0.1, 8, None)
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(text) if found["whole"] else float(text)


def file_type(name: str, check: Callable[[str], object] | None = None) -> Any:
    """A type for paths of readable files. A relative path is relative to the config file that contains it; the value is absolute.

    Args:
        name: name of the type in help texts and errors.
        check: a function of the path; it raises `ValueError` if the file is missing or wrong. Default: the file must be readable.
    """

    def read(value: object) -> str:
        mode = "fr" if check is None else ""  # `check` has its own message for a missing file
        path: str = Path(value, mode=mode).absolute  # type: ignore[arg-type]
        if check is not None:
            check(path)
        return path

    return _registered(name, str, read)


def _checkable(settings: type[object]) -> dict[str, tuple[Any, bool]]:
    """For each field that `check_fields` can check: its type, and whether it may also be None."""
    found = {}
    for field, hint in get_type_hints(settings).items():
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        (*others, kind) = sorted(kinds, key=lambda one: one is not type(None))
        own = hasattr(kind, "restriction") or hasattr(kind, "words")
        if set(others) <= {type(None)} and (kind is bool or get_origin(kind) is Literal or own):
            found[field] = kind, bool(others)
    return found


def _restricted(restriction: Restriction) -> Any:
    """A type of numbers that a restriction allows."""

    def read(value: object) -> Any:
        number = number_of(value) if isinstance(value, str) else value  # values from a command line are strings
        if not restriction.allows(number):
            raise ValueError(f"Expected a {restriction}, got {value!r}.")
        return restriction.base(number)

    return _registered(str(restriction), restriction.base, read, restriction=restriction)


def _switch_or(*words: str) -> Any:
    """A type of values that are true, false or one of some words."""

    def read(value: object) -> Any:
        found = _SWITCHES.get(value, value) if isinstance(value, str) else value  # values from a command line are strings
        if not is_switch(found, words):
            raise ValueError(f"Expected {switch_in_words(words)}, got {value!r}.")
        return found

    return _registered(switch_in_words(words).replace("'", ""), object, read, as_plain=lambda value: value, words=words)


def _registered(
    name: str, base: type[Any], read: Callable[[object], Any], as_plain: Callable[[Any], Any] | None = None, **members: Any
) -> Any:
    """A new type, registered with jsonargparse. Its values are plain, so only the reading function can check them."""
    kind = type(name, (base,), {"__module__": __name__, **members})
    register_type(kind, serializer=as_plain or base, deserializer=read, type_check=lambda *_: False)
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
    SwitchOrReferences: TypeAlias = bool | Literal["references"]
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
    SwitchOrReferences = _switch_or("references")
