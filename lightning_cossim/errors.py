"""Every exception of the package, and the one form of its messages.

    LabelSimilarityError
    ├── InputError       (ValueError)  a tensor or an argument that the mathematics cannot use
    ├── ConfigError      (ValueError)  a setting that is out of range, misspelled or at odds with the model
    ├── HeadError        (ValueError)  the final linear layer is missing, ambiguous or not readable
    ├── CheckpointError  (ValueError)  a file that does not hold what is wanted
    ├── DistributedError               work of one of several processes failed; raised on all of them
    └── AlertError                     an alert with `action: raise` acts

Every message is one line: what was expected, what came, what to do.
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
    "near_names",
    "wrong_choice",
]

_LONGEST = 300
"""Characters that are shown of a value."""


class LabelSimilarityError(Exception):
    """Base of everything that lightning_cossim raises on purpose."""


class InputError(LabelSimilarityError, ValueError):
    """A tensor or an argument that the mathematics cannot use."""


class ConfigError(LabelSimilarityError, ValueError):
    """A setting that is out of range, misspelled or at odds with the model."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        """Which setting, where it is one."""


class HeadError(LabelSimilarityError, ValueError):
    """The final linear layer is missing, ambiguous or not one we can read."""


class CheckpointError(LabelSimilarityError, ValueError):
    """A file that does not hold what is wanted: one line with the file, what was expected, what came and what to do.

    Names out of files stand in it, so what cannot be printed is replaced by a space.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(char if char.isprintable() else " " for char in message))


class DistributedError(LabelSimilarityError):
    """Work of one of several processes failed, so none goes on. The text is that of the first process that failed."""


class AlertError(LabelSimilarityError):
    """An alert with `action: raise` acts. The monitor's `last_report` holds the report."""


def expected(argument: str, wanted: str, got: object, remedy: str = "") -> str:
    """The text of an error: argument, expected, got, remedy.

    Example:
        >>> expected("k", "to be at least 2", 1, "Pass k=5.")
        'Expected `k` to be at least 2, got 1. Pass k=5.'
    """
    value = " ".join(line.strip() for line in str(got).splitlines())  # an array takes several
    value = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
    return f"Expected `{argument}` {wanted}, got {value}. {remedy}".rstrip()


def in_one_line(error: BaseException) -> str:
    r"""The kind and the text of somebody else's error, for a line of our own.

    Example:
        >>> in_one_line(ValueError("\n not\n  this"))
        'ValueError: not this'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def near_names(name: object, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The known names that are spelled most like a name, the nearest first.

    Example:
        >>> near_names("model.fd", ["model.fc", "model.conv", "loss"])
        ['model.fc', 'model.conv']
    """
    return difflib.get_close_matches(str(name), list(known), n=most, cutoff=0.4)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A question for the known name that is nearest; empty if none is near.

    Example:
        >>> did_you_mean("lookalke", ["stranger", "lookalike"])
        'Did you mean `lookalike`?'
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"Did you mean `{near[0]}`?" if near else ""


def wrong_choice(argument: str, value: object, known: Sequence[str]) -> str:
    """The text of an error for a value that is none of the known words.

    Example:
        >>> wrong_choice("link", "softmaxx", ["softmax", "sigmoid"])
        "Expected `link` to be 'softmax' or 'sigmoid', got 'softmaxx'. Did you mean `softmax`?"
    """
    *some, last = map(repr, known)
    words = f"{', '.join(some)} or {last}" if some else last
    return expected(argument, f"to be {words}", repr(value), did_you_mean(value, known) if isinstance(value, str) else "")
