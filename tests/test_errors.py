"""What the package raises, and the one form in which it says so."""

import pytest

from lightning_cossim.errors import AlertError, ConfigError, HeadError, InputError, LabelSimilarityError, expected


@pytest.mark.parametrize("error", [InputError, ConfigError, HeadError])
def test_every_error_can_be_caught_as_the_package_s_own_and_as_a_value_error(error: type[Exception]) -> None:
    for base in (LabelSimilarityError, ValueError):
        with pytest.raises(base, match="why"):
            raise error("why")


def test_the_errors_are_siblings() -> None:
    """Who catches one kind does not catch another."""
    kinds = [InputError, ConfigError, HeadError, AlertError]
    assert all(not issubclass(one, other) for one in kinds for other in kinds if one is not other)


def test_an_alert_is_no_error_of_a_value() -> None:
    """Who looks for wrong settings does not take it for one."""
    assert issubclass(AlertError, LabelSimilarityError)
    assert not issubclass(AlertError, ValueError)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("k", "to be at least 2", 1, "Pass k=5."), "Expected `k` to be at least 2, got 1. Pass k=5."),
        (("k", "to be at least 2", 1), "Expected `k` to be at least 2, got 1."),
        (("shape", "(K, D)", (3,), ""), "Expected `shape` (K, D), got (3,)."),
        (("names", "to be a list", "array(['a',\n       'b'])"), "Expected `names` to be a list, got array(['a', 'b'])."),
        (("names", "to be a list", "x" * 1000), f"Expected `names` to be a list, got {'x' * 300}...."),
    ],
)
def test_a_text_says_argument_wanted_got_and_remedy(arguments: tuple[str, str, object], text: str) -> None:
    assert expected(*arguments) == text
