"""What settings ask of their values, each check once: `ConfigError` with the field, what was expected and what came."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real

from lightning_cossim.errors import ConfigError, expected

__all__ = ["check_bool", "check_number", "check_whole", "check_word", "near"]


def check_whole(value: object, field: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise unless `value` is a whole number within bounds."""
    whole = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if whole is None or not low <= whole <= high:
        raise ConfigError(expected(field, f"to be a whole number{_bounds(low, high)}", repr(value)), field)


def check_number(value: object, field: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise unless `value` is a finite number within bounds."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and low <= number <= high):
        raise ConfigError(expected(field, f"to be a number{_bounds(low, high)}", repr(value)), field)


def check_bool(value: object, field: str) -> None:
    """Raise unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(expected(field, "to be true or false", repr(value)), field)


def check_word(value: object, field: str, known: Iterable[str]) -> None:
    """Raise unless `value` is one of the known words; the nearest is named."""
    words = list(known)
    if not isinstance(value, str) or value not in words:
        wanted = f"to be one of {', '.join(words)}"
        raise ConfigError(expected(field, wanted, repr(value), near(value, words)), field)


def near(value: object, known: Iterable[str]) -> str:
    """A question for the known word that is nearest, if any is near."""
    words = difflib.get_close_matches(str(value), list(known), n=1)
    return f"Did you mean `{words[0]}`?" if words else ""


def _bounds(low: float, high: float) -> str:
    if low == -math.inf:
        return "" if high == math.inf else f" of at most {high}"
    return f" of at least {low}" if high == math.inf else f" from {low} to {high}"
