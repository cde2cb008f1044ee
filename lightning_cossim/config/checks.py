"""Checks of single values of settings. Each raises `ConfigError` with the field, what was expected and what was got."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from typing_extensions import override

from lightning_cossim.errors import ConfigError, as_value, did_you_mean, expected, wrong_choice
from lightning_cossim.functional.inputs import is_number

__all__ = [
    "Restriction",
    "check_bool",
    "check_number",
    "check_switch",
    "check_word",
    "is_switch",
    "saved_count",
    "switch_in_words",
]


@dataclass(frozen=True)
class Restriction:
    """A set of finite numbers between two bounds, which belong to the set. Booleans are not numbers."""

    base: type[Any]
    """`int` for whole numbers, `float` for all numbers."""
    low: float = -math.inf
    high: float = math.inf

    def allows(self, value: object) -> bool:
        """Whether a value belongs to the set."""
        if not is_number(value) or (self.base is int and not isinstance(value, Integral)):
            return False
        try:
            number = float(value)
        except OverflowError:  # an integer above the range of floats
            return False
        return math.isfinite(number) and self.low <= number <= self.high

    @override
    def __str__(self) -> str:
        noun = "whole number" if self.base is int else "number"
        if self.low == -math.inf:
            return noun
        return f"{noun} of at least {self.low}" if self.high == math.inf else f"{noun} from {self.low} to {self.high}"


def check_number(value: object, field: str, restriction: Restriction) -> None:
    """Raise `ConfigError` unless `value` is a number that the restriction allows."""
    if not restriction.allows(value):
        raise ConfigError(expected(field, f"to be a {restriction}", as_value(value)), field)


def saved_count(value: object, field: str, low: int = 0) -> int:
    """A whole number of at least `low` from a saved state; raises `ConfigError` for any other value, and for 2^53 or more."""
    check_number(value, field, Restriction(int, low, 2**53 - 1))
    number: int = Restriction(int).base(value)
    return number


def check_bool(value: object, field: str) -> None:
    """Raise `ConfigError` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(expected(field, "to be true or false", as_value(value)), field)


def check_word(value: object, field: str, known: Iterable[str]) -> None:
    """Raise `ConfigError` unless `value` is one of the known words. The message offers the most similar word."""
    words = list(known)
    if not isinstance(value, str) or value not in words:
        raise ConfigError(wrong_choice(field, value, words), field)


def check_switch(value: object, field: str, words: Sequence[str]) -> None:
    """Raise `ConfigError` unless `value` is True, False or one of some words. The message offers the most similar word."""
    if not is_switch(value, words):
        remedy = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ConfigError(expected(field, f"to be {switch_in_words(words)}", as_value(value), remedy), field)


def is_switch(value: object, words: Sequence[str]) -> bool:
    """Whether a value is True, False or one of some words."""
    return isinstance(value, bool) or (isinstance(value, str) and value in words)


def switch_in_words(words: Sequence[str]) -> str:
    """The values of a switch that can also be one of some words.

    Example:
        >>> switch_in_words(["references"])
        "true, false or 'references'"
    """
    *some, last = map(repr, words)
    return f"{', '.join(['true', 'false', *some])} or {last}"
