"""The monitor's settings: what they are by default, and what they refuse."""

import math
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from numpy import int64

from lightning_cossim.config.settings import LabelSelection, Schedule
from lightning_cossim.errors import ConfigError


def refused(make: Any, **settings: Any) -> str:
    """The text with which a setting is refused."""
    with pytest.raises(ConfigError) as caught:
        make(**settings)
    return str(caught.value)


def test_defaults_of_the_schedule() -> None:
    """As DESIGN §3 has them."""
    assert {field.name: getattr(Schedule(), field.name) for field in fields(Schedule)} == {
        "train_every_n_steps": 200,
        "train_batches": 8,
        "max_inputs_per_batch": 1024,
        "validation": True,
        "test": True,
        "neighbors": "fit_end",
        "reachability": "never",
    }


def test_defaults_of_the_labels() -> None:
    """As DESIGN §3 has them."""
    assert {field.name: getattr(LabelSelection(), field.name) for field in fields(LabelSelection)} == {
        "names": None,
        "ignore": (),
        "max_tracked": 512,
        "labels_per_input": 64,
        "min_probability": 0.1,
        "ignore_index": -100,
        "targets_key": None,
        "shift_targets": None,
    }


@pytest.mark.parametrize("settings", [Schedule(), LabelSelection()])
def test_settings_do_not_change(settings: Any) -> None:
    field = fields(settings)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(settings, field, 1)


@pytest.mark.parametrize("value", [0, -1, True, False, 2.0, "8", None, [8], math.nan])
@pytest.mark.parametrize("name", ["train_every_n_steps", "max_inputs_per_batch"])
def test_counts_are_whole_numbers_of_at_least_1(name: str, value: Any) -> None:
    assert refused(Schedule, **{name: value}) == f"Expected `{name}` to be a whole number of at least 1, got {value!r}."


@pytest.mark.parametrize("value", [0, -1, 65, 1000, True, 8.0, "8", None])
def test_a_window_has_1_to_64_batches(value: Any) -> None:
    text = f"Expected `train_batches` to be a whole number from 1 to 64, got {value!r}."
    assert refused(Schedule, train_batches=value) == text


@pytest.mark.parametrize("value", [0, 1, "true", "yes", None, 1.0])
@pytest.mark.parametrize("name", ["validation", "test"])
def test_switches_are_true_or_false(name: str, value: Any) -> None:
    assert refused(Schedule, **{name: value}) == f"Expected `{name}` to be true or false, got {value!r}."


@pytest.mark.parametrize("value", [1, 0, -3, True, 512.0, "512", None])
def test_at_least_two_labels_are_tracked(value: Any) -> None:
    text = f"Expected `max_tracked` to be a whole number of at least 2, got {value!r}."
    assert refused(LabelSelection, max_tracked=value) == text


@pytest.mark.parametrize("value", [-0.01, -1, math.nan, math.inf, -math.inf, True, False, "0.01", None])
def test_min_probability_is_a_finite_number_of_at_least_0(value: Any) -> None:
    text = f"Expected `min_probability` to be a number of at least 0, got {value!r}."
    assert refused(LabelSelection, min_probability=value) == text


@pytest.mark.parametrize("value", [1.0, "1", True, None])
def test_the_target_to_ignore_is_a_whole_number(value: Any) -> None:
    text = f"Expected `ignore_index` to be a whole number, got {value!r}."
    assert refused(LabelSelection, ignore_index=value) == text


@pytest.mark.parametrize("value", [1.0, True, ("a", "b"), ["a"]])
def test_a_targets_key_is_a_key_or_a_place(value: Any) -> None:
    text = f"Expected `targets_key` to be a key of the batch, an index in it or None, got {value!r}."
    assert refused(LabelSelection, targets_key=value) == text


@pytest.mark.parametrize("value", [0, 1, "true", "auto", 1.0])
def test_targets_are_shifted_or_not_or_that_is_found_out(value: Any) -> None:
    assert refused(LabelSelection, shift_targets=value) == f"Expected `shift_targets` to be true or false, got {value!r}."


@pytest.mark.parametrize("value", [-1, 1.0, "1", True, None])
def test_labels_to_ignore_are_whole_numbers_of_at_least_0(value: Any) -> None:
    text = f"Expected `ignore` to be a whole number of at least 0, got {value!r}."
    assert refused(LabelSelection, ignore=(0, value)) == text


@pytest.mark.parametrize(
    "settings",
    [
        {"train_every_n_steps": 1, "train_batches": 1, "max_inputs_per_batch": 1},
        {"train_every_n_steps": 10**9, "train_batches": 64, "max_inputs_per_batch": 10**9},
        {"validation": False, "test": False},
    ],
)
def test_the_ends_of_the_schedule_s_ranges_are_allowed(settings: dict[str, Any]) -> None:
    schedule = Schedule(**settings)
    assert {name: getattr(schedule, name) for name in settings} == settings


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tracked": 2},
        {"min_probability": 0},
        {"min_probability": 0.0},
        {"min_probability": 7},
        {"ignore": [0]},
        {"targets_key": -1},
        {"shift_targets": True},
        {"shift_targets": False},
        {"shift_targets": None},
    ],
)
def test_the_ends_of_the_labels_ranges_are_allowed(settings: dict[str, Any]) -> None:
    selection = LabelSelection(**settings)
    assert {name: getattr(selection, name) for name in settings} == settings


def test_labels_to_ignore_are_rows_of_the_head() -> None:
    """The last row may be ignored, the one behind it is not there."""
    LabelSelection(ignore=(0, 9)).check_labels(10)
    text = "Expected `ignore` to hold labels from 0 to 9, got 10. Each number is a row of the head."
    assert refused(lambda: LabelSelection(ignore=(0, 10)).check_labels(10)) == text


def test_without_names_labels_are_called_by_their_rows() -> None:
    assert LabelSelection().read_names(3) == ("0", "1", "2")


@pytest.mark.parametrize("names", [["cat", "dog", "Käfer"], ("cat", "dog", "Käfer")])
def test_names_from_a_list(names: Any) -> None:
    assert LabelSelection(names=names).read_names(3) == ("cat", "dog", "Käfer")


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_names_from_a_file(tmp_path: Path, separator: str, end: str) -> None:
    """One name a line, in UTF-8, with the line ends of any system, with or without one at the end."""
    path = tmp_path / "names.txt"
    path.write_bytes((separator.join(["ice cream", "猫", "Käfer"]) + end).encode())
    assert LabelSelection(names=str(path)).read_names(3) == ("ice cream", "猫", "Käfer")


@pytest.mark.parametrize(("names", "got"), [([], "0 names"), (["a", "b"], "2 names"), (["a", "b", "c", "d"], "4 names")])
def test_there_are_as_many_names_as_rows(tmp_path: Path, names: list[str], got: str) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    text = f"Expected `names` to name the 3 rows of the head, got {got}"
    assert refused(LabelSelection(names=names).read_names, num_labels=3) == f"{text}."
    assert refused(LabelSelection(names=str(path)).read_names, num_labels=3) == f"{text} in {path}, one per line."


def test_a_file_of_names_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.txt"
    text = f"Expected `names` to be a list or a readable UTF-8 file, got {path}: No such file or directory."
    assert refused(LabelSelection(names=str(path)).read_names, num_labels=3) == text


def test_a_directory_is_no_file_of_names(tmp_path: Path) -> None:
    text = f"Expected `names` to be a list or a readable UTF-8 file, got {tmp_path}: Is a directory."
    assert refused(LabelSelection(names=str(tmp_path)).read_names, num_labels=3) == text


def test_a_file_of_names_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("Käfer".encode("latin-1"))
    why = "'utf-8' codec can't decode byte 0xe4 in position 1: invalid continuation byte"
    text = f"Expected `names` to be a list or a readable UTF-8 file, got {path}: {why}."
    assert refused(LabelSelection(names=str(path)).read_names, num_labels=1) == text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ignore": 5}, "Expected `ignore` to be a list of labels, got 5."),
        ({"ignore": None}, "Expected `ignore` to be a list of labels, got None."),
        ({"ignore": "12"}, "Expected `ignore` to be a list of labels, got '12'."),
        ({"names": 7}, "Expected `names` to be a list of strings or the path of a file, got 7."),
        ({"names": [1, 2]}, "Expected `names` to be a list of strings or the path of a file, got [1, 2]."),
    ],
)
def test_what_is_no_list_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LabelSelection(**settings)
    assert str(caught.value) == text


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\ndog\n".encode())
    assert LabelSelection(names=str(path)).read_names(2) == ("cat", "dog")


def test_a_name_may_hold_any_character_but_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("a\u2028b\nc\x0cd\n", encoding="utf-8")
    assert LabelSelection(names=str(path)).read_names(2) == ("a\u2028b", "c\x0cd")


def test_a_path_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="Expected `names` to be a list or a readable UTF-8 file, got a"):
        LabelSelection(names="a\0b").read_names(2)


def test_numpy_integers_and_paths_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\n", encoding="utf-8")
    assert LabelSelection(names=path, ignore=[int64(1)]).read_names(2) == ("cat", "dog")  # type: ignore[list-item]
