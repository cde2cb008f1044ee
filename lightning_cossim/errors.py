"""All exceptions of the package, and the functions that build their messages.

    LabelSimilarityError
    ├── InputError       (ValueError)  a tensor or an argument that the mathematics cannot use
    ├── ConfigError      (ValueError)  a setting that is out of range, misspelled or in conflict with the model
    ├── HeadError        (ValueError)  the final linear layer is missing, ambiguous or not readable
    ├── CheckpointError  (ValueError)  a file that lacks the expected content
    ├── DistributedError               work on one of several processes failed; raised on all of them
    └── AlertError                     an alert with `action: raise` acts

Every message is one line: what was expected, what was got, what to do.
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from itertools import islice

from typing_extensions import override

__all__ = [
    "AlertError",
    "CheckpointError",
    "ConfigError",
    "DistributedError",
    "HeadError",
    "InputError",
    "LabelSimilarityError",
    "as_value",
    "did_you_mean",
    "expected",
    "in_a_line",
    "in_one_line",
    "in_short",
    "near_names",
    "printable",
    "wrong_choice",
]

_LONGEST = 300
"""Maximum number of characters of a value in a message."""
_LONGEST_MESSAGE = 400
_END = 120
"""Number of characters at the end of a message that is cut: the end says what to do."""
_COMPARED = 2_000
"""Maximum number of names that are compared in spelling, and..."""
_LONGEST_COMPARED = 100
"""...of their characters."""


class _Short(reprlib.Repr):
    """`repr` with bounds on depth, number and length, and without the digits of large integers."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxstring, self.maxother = 4, 20, _LONGEST, _LONGEST
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = 20

    @override
    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 1_000 else "an integer of more than 300 digits"


_SHORT = _Short()


class LabelSimilarityError(Exception):
    """Base class of all exceptions that lightning_cossim raises on purpose.

    A message can contain names from files, so it is one printable line of at most 400 characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__(in_a_line(message))


class InputError(LabelSimilarityError, ValueError):
    """A tensor or an argument that the mathematics cannot use."""


class ConfigError(LabelSimilarityError, ValueError):
    """A setting that is out of range, misspelled or in conflict with the model."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        """Name of the wrong setting; None if the error is not about one setting."""


class HeadError(LabelSimilarityError, ValueError):
    """The final linear layer is missing, ambiguous or not readable."""


class CheckpointError(LabelSimilarityError, ValueError):
    """A file lacks the expected content. The message names the file, what was expected, what was got and what to do."""


class DistributedError(LabelSimilarityError):
    """Work on one of several processes failed, so all of them stop. The message is that of the first process that failed."""


class AlertError(LabelSimilarityError):
    """An alert with `action: raise` acts. The monitor's `last_report` contains the report."""


def expected(argument: str, wanted: str, got: object, remedy: str = "") -> str:
    """The message of an error: argument, expected, got, remedy.

    Args:
        argument: name of the argument.
        wanted: what was expected, in words that follow the name.
        got: what was got, cut after 300 characters.
        remedy: what the user can do, a sentence; default: none.

    Returns:
        One line.

    Example:
        >>> expected("k", "to be at least 2", 1, "Pass k=5.")
        'Expected `k` to be at least 2, got 1. Pass k=5.'
    """
    value = " ".join(line.strip() for line in str(got).splitlines())  # the text of an array has several lines
    return f"Expected `{argument}` {wanted}, got {in_short(value)}. {remedy}".rstrip()


def in_short(value: object) -> str:
    """The text of a value, cut after 300 characters."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def printable(text: str) -> str:
    r"""A text in which escapes replace all characters that cannot be printed, line breaks too.

    Example:
        >>> printable("cat\x1b[2J")
        'cat\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text)


def in_a_line(text: str) -> str:
    """A message as one printable line of at most 400 characters. A longer one is cut in the middle."""
    line = printable(text if len(text) <= 10 * _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}...{text[-_LONGEST_MESSAGE:]}")
    if len(line) <= _LONGEST_MESSAGE:
        return line
    return f"{line[: _LONGEST_MESSAGE - _END - 3]}...{line[-_END:]}"


def as_value(value: object) -> str:
    """The `repr` of any value that a user or a file gives, cut, also where `repr` would fail or take long.

    Example:
        >>> as_value([1, "a"]), as_value(10**5000)
        ("[1, 'a']", 'an integer of more than 300 digits')
    """
    try:
        return _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - objects of users
        return f"a {type(value).__name__}"


def in_one_line(error: BaseException) -> str:
    r"""The type and the text of any exception, in one line.

    Example:
        >>> in_one_line(ValueError("\n not\n  this"))
        'ValueError: not this'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def near_names(name: object, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The known names with the most similar spelling, the most similar first.

    Args:
        name: what the user wrote.
        known: the names that exist.
        most: maximum number of names, at least 1.

    Returns:
        At most `most` names; an empty list if no name is similar.

    Example:
        >>> near_names("model.fd", ["model.fc", "model.conv", "loss"])
        ['model.fc', 'model.conv']
    """
    return _close(name, known, most, 0.4)


def _close(name: object, known: Iterable[str], most: int, cutoff: float) -> list[str]:
    """`difflib` on short names: its time grows with the square of their length."""
    if len(str(name)) > _LONGEST_COMPARED:
        return []
    short = (other for other in known if len(other) <= _LONGEST_COMPARED)
    return difflib.get_close_matches(str(name), list(islice(short, _COMPARED)), n=most, cutoff=cutoff)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A question that offers the known name with the most similar spelling; empty if no name is similar.

    Example:
        >>> did_you_mean("lookalke", ["stranger", "lookalike"])
        'Did you mean `lookalike`?'
    """
    near = _close(name, known, 1, 0.6)
    return f"Did you mean `{in_short(near[0])}`?" if near else ""


def wrong_choice(argument: str, value: object, known: Sequence[str]) -> str:
    """The message of an error for a value that is not one of the known words.

    Example:
        >>> wrong_choice("link", "softmaxx", ["softmax", "sigmoid"])
        "Expected `link` to be 'softmax' or 'sigmoid', got 'softmaxx'. Did you mean `softmax`?"
    """
    *some, last = map(repr, known)
    words = f"{', '.join(some)} or {last}" if some else last
    if len(words) > _LONGEST // 2:
        words = f"{', '.join(map(repr, known[:3]))} or another of {len(known)} words"
    return expected(argument, f"to be {words}", as_value(value), did_you_mean(value, known) if isinstance(value, str) else "")
