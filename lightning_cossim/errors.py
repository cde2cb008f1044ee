"""What the package raises, and the one form in which it says so.

    LabelSimilarityError
    ├── InputError   (ValueError)  a tensor or an argument that the mathematics cannot use
    ├── ConfigError  (ValueError)  a setting that is out of range, misspelled or at odds with the model
    ├── HeadError    (ValueError)  the final linear layer is missing, ambiguous or not one we can read
    ├── FailedTogether             what one of several processes could not do, raised on all of them
    └── AlertRaised                a threshold was breached whose alert has `action: raise`

Every message is one line: what was expected, what came, what to do.
"""

__all__ = [
    "AlertRaised",
    "ConfigError",
    "FailedTogether",
    "HeadError",
    "InputError",
    "LabelSimilarityError",
    "expected",
    "in_one_line",
]


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


class FailedTogether(LabelSimilarityError):  # noqa: N818 - it says on every process what happened on one
    """One of several processes could not do its part, so none goes on: its text is that of the first that failed."""


class AlertRaised(LabelSimilarityError):  # noqa: N818 - it is what the user asked for, not a mistake
    """A threshold was breached whose alert has `action: raise`; the report stands in the monitor's `last_report`."""


def expected(argument: str, wanted: str, got: object, remedy: str = "") -> str:
    """The text of an error: argument, expected, got, remedy.

    Example:
        >>> expected("k", "to be at least 2", 1, "Pass k=5.")
        'Expected `k` to be at least 2, got 1. Pass k=5.'
    """
    return f"Expected `{argument}` {wanted}, got {got}. {remedy}".rstrip()


def in_one_line(error: BaseException) -> str:
    r"""The kind and the text of somebody else's error, for a line of our own.

    Example:
        >>> in_one_line(ValueError("\n not\n  this"))
        'ValueError: not this'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
