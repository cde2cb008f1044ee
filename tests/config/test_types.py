"""Types of settings: one annotation for Python's checks and for a YAML parser's."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from jsonargparse.typing import restricted_number_type

from lightning_cossim.config.types import (
    NonNegative,
    Number,
    ReadableFile,
    SwitchOrReferences,
    UnitInterval,
    Whole,
    WholeFrom0,
    WholeFrom1,
    WholeFrom1To64,
    WholeFrom2,
    check_fields,
    file_type,
    number_of,
)
from lightning_cossim.errors import ConfigError

KINDS: dict[str, tuple[Any, str]] = {
    "Number": (Number, "number"),
    "NonNegative": (NonNegative, "number of at least 0"),
    "UnitInterval": (UnitInterval, "number from 0 to 1"),
    "Whole": (Whole, "whole number"),
    "WholeFrom0": (WholeFrom0, "whole number of at least 0"),
    "WholeFrom1": (WholeFrom1, "whole number of at least 1"),
    "WholeFrom2": (WholeFrom2, "whole number of at least 2"),
    "WholeFrom1To64": (WholeFrom1To64, "whole number from 1 to 64"),
}
ALLOWED: dict[str, list[Any]] = {
    "Number": [-1e300, -1, 0, 0.5, 7],
    "NonNegative": [0, 0.0, 1e300],
    "UnitInterval": [0, 0.25, 1],
    "Whole": [-(10**12), 0, 3],
    "WholeFrom0": [0, 10**12],
    "WholeFrom1": [1, 64],
    "WholeFrom2": [2, 3],
    "WholeFrom1To64": [1, 64],
}
REFUSED: dict[str, list[Any]] = {
    "Number": [math.nan, math.inf, -math.inf, True, "high", [1], {}],
    "NonNegative": [-1e-9, math.nan, False],
    "UnitInterval": [-1e-9, 1.0000001, True],
    "Whole": [0.5, 1.0, True, math.nan, "2.0"],
    "WholeFrom0": [-1, 0.0, False],
    "WholeFrom1": [0, True],
    "WholeFrom2": [1],
    "WholeFrom1To64": [0, 65],
}


def settings_of(kind: Any) -> Any:
    """A class of settings with one field of a kind."""

    @dataclass(frozen=True)
    class Settings:
        value: kind

        def __post_init__(self) -> None:
            check_fields(self)

    return Settings


def parsed(kind: Any, value: Any) -> Any:
    """What jsonargparse reads."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    return parser.parse_object({"value": value}).value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in KINDS for value in ALLOWED[name]])
def test_python_and_the_parser_take_what_is_allowed(name: str, value: Any) -> None:
    """The value comes out as a plain number."""
    kind, _ = KINDS[name]
    plain = int if name.startswith("Whole") else float
    for taken in (settings_of(kind)(value).value, parsed(kind, value), parsed(kind, str(value))):
        assert taken == value
        assert type(taken) is plain


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in KINDS for value in REFUSED[name]])
def test_python_and_the_parser_refuse_the_rest_in_the_same_words(name: str, value: Any) -> None:
    kind, wanted = KINDS[name]
    with pytest.raises(ConfigError) as caught:
        settings_of(kind)(value)
    assert str(caught.value) == f"Expected `value` to be a {wanted}, got {value!r}."
    assert caught.value.field == "value"
    with pytest.raises(Exception, match=f"Expected a {wanted}, got") as parser_said:
        parsed(kind, value)
    assert "value" in str(parser_said.value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5)])
def test_numbers_of_other_libraries_become_plain(value: Any) -> None:
    taken = settings_of(UnitInterval)(value).value
    assert taken == 0.5
    assert type(taken) is float
    assert type(settings_of(Whole)(np.int64(3)).value) is int


def test_none_is_allowed_where_the_type_says_so() -> None:
    assert settings_of(Number | None)(None).value is None
    with pytest.raises(ConfigError, match="Expected `value` to be a number, got 'x'"):
        settings_of(Number | None)("x")
    with pytest.raises(ConfigError, match="Expected `value` to be a number, got None"):
        settings_of(Number)(None)


def test_words_and_switches_are_checked_too() -> None:
    words = settings_of(Literal["warn", "stop"])
    assert words("stop").value == "stop"
    with pytest.raises(ConfigError, match=r"to be 'warn' or 'stop', got 'stopp'\. Did you mean `stop`\?"):
        words("stopp")
    with pytest.raises(ConfigError, match="Expected `value` to be true or false, got 1"):
        settings_of(bool)(1)


def test_other_fields_are_left_alone() -> None:
    assert settings_of(str)(3).value == 3
    assert settings_of(str | None)(3).value == 3
    assert settings_of(Number | str)("high").value == "high"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-1", 0.1),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+7", 7),
        ("1_000", None),
        ("0x10", None),
        ("1e", None),
        ("nan", None),
        ("", None),
        (" 1", None),
    ],
)
def test_the_number_that_a_text_is(text: str, number: float | None) -> None:
    assert number_of(text) == number
    assert type(number_of(text)) is type(number)


def test_another_package_may_restrict_numbers_in_the_same_way() -> None:
    """Under any name: jsonargparse allows one name for one restriction in the whole process."""
    for base, restrictions in ((int, [(">=", 1)]), (int, [(">=", 1), ("<=", 64)]), (int, [(">=", 2)])):
        name = f"Mine{base.__name__}{restrictions[-1][1]}{len(restrictions)}"
        assert restricted_number_type(name, base, restrictions).__name__ == name


def test_a_file_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    with pytest.raises(Exception, match="File does not exist"):
        parsed(ReadableFile, str(path))
    path.touch()
    assert parsed(ReadableFile, str(path)) == str(path)


def test_a_file_is_checked_by_whoever_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its whole path."""
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    assert parsed(file_type("my file", seen.append), "a/b.txt") == str(tmp_path / "a/b.txt")
    assert set(seen) == {str(tmp_path / "a/b.txt")}

    def refuse(path: str) -> None:
        raise ValueError(f"{path} is not mine")

    with pytest.raises(Exception, match=r"Not of type my file: .*a/b\.txt is not mine"):
        parsed(file_type("my file", refuse), "a/b.txt")


SWITCH: Any = SwitchOrReferences


@pytest.mark.parametrize("value", [True, False, "references"])
def test_a_switch_can_be_one_word_more(value: Any) -> None:
    """On a command line every value is a text."""
    for taken in (settings_of(SWITCH)(value).value, parsed(SWITCH, value)):
        assert taken is value
    assert parsed(SWITCH, str(value).lower()) == parsed(SWITCH, str(value)) == value


@pytest.mark.parametrize("value", [1, 0, 0.0, "yes", "reference", "", [True], {}, "REFERENCES"])
def test_a_switch_is_no_other_word_and_no_number(value: Any) -> None:
    """Python and the parser say so in the same words; Python offers the word that is meant."""
    with pytest.raises(ConfigError) as caught:
        settings_of(SWITCH)(value)
    said = f"Expected `value` to be true, false or 'references', got {value!r}."
    assert str(caught.value) == said + " Did you mean `references`?" * (value == "reference")
    assert caught.value.field == "value"
    with pytest.raises(Exception, match="Expected true, false or 'references', got") as parser_said:
        parsed(SWITCH, value)
    assert "value" in str(parser_said.value)


def test_a_switch_is_saved_as_it_is_written() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=SWITCH)
    saved = [parser.dump(parser.parse_object({"value": value})) for value in (True, False, "references")]
    assert saved == ["value: true\n", "value: false\n", "value: references\n"]
