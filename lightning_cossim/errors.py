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
from collections.abc import Iterable, Sequence

__all__ = [
    "AlertError",
    "CheckpointError",
    "ConfigError",
    "DistributedError",
    "HeadError",
    "InputError",
    "LabelSimilarityError",
    "did_you_mean",
    "expected",
    "in_one_line",
    "in_short",
    "near_names",
    "wrong_choice",
]

_LONGEST = 300
"""Maximum number of characters of a value in a message."""


class LabelSimilarityError(Exception):
    """Base class of all exceptions that lightning_cossim raises on purpose."""


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
    """A file lacks the expected content. The message names the file, what was expected, what was got and what to do.

    The message can contain names from the file, so spaces replace its unprintable characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(char if char.isprintable() else " " for char in message))


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
    return difflib.get_close_matches(str(name), list(known), n=most, cutoff=0.4)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A question that offers the known name with the most similar spelling; empty if no name is similar.

    Example:
        >>> did_you_mean("lookalke", ["stranger", "lookalike"])
        'Did you mean `lookalike`?'
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"Did you mean `{in_short(near[0])}`?" if near else ""


def wrong_choice(argument: str, value: object, known: Sequence[str]) -> str:
    """The message of an error for a value that is not one of the known words.

    Example:
        >>> wrong_choice("link", "softmaxx", ["softmax", "sigmoid"])
        "Expected `link` to be 'softmax' or 'sigmoid', got 'softmaxx'. Did you mean `softmax`?"
    """
    *some, last = map(repr, known)
    words = f"{', '.join(some)} or {last}" if some else last
    return expected(argument, f"to be {words}", repr(value), did_you_mean(value, known) if isinstance(value, str) else "")
