"""Tables of strings, for a terminal and for Markdown."""

import html
import re
from itertools import pairwise

import pytest
from wcwidth import wcswidth

from lightning_cossim.report.tables import markdown_table, text_table

HOSTILE = [
    "a|b",
    "||",
    "*bold*",
    "_it_",
    "~~gone~~",
    "<b>loud</b>",
    "<script>alert(1)</script>",
    "`code",
    "back\\slash",
    "\\|",
    "[link](http://x)",
    "![image](x)",
    "# heading",
    "&amp;",
    "a & b",
    "&#124;",
    "{x}",
    "🐱",
    "猫",
    "שלום",
    "'\"",
]


def cells(row: str) -> list[str]:
    """What a Markdown row shows: split at the pipes that no backslash takes back, escapes undone."""
    parts = re.findall(r"(?:\\.|[^|\\])*", row.strip())
    shown = [html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", part)).strip() for part in parts if part]
    return [cell for cell in shown if cell]


def test_text_columns_are_aligned_names_left_and_numbers_right() -> None:
    rows = [["Coat", "Shirt", "+0.34", "1"], ["Ankle boot", "Bag", "-0.2", "100"]]
    assert text_table(["label", "other", "gap", "n"], rows).splitlines() == [
        "label       other      gap    n",
        "Coat        Shirt    +0.34    1",
        "Ankle boot  Bag       -0.2  100",
    ]


def test_numbers_in_names_stay_as_they_are() -> None:
    """The table is of strings: nothing is rounded, aligned at its point or stripped of its zeros."""
    rows = [["007", "1e3", "0.500"], ["1.50", "-0", "12"]]
    lines = text_table(["label", "other", "gap"], rows).splitlines()
    assert [line.split() for line in lines[1:]] == rows
    assert [cells(line) for line in markdown_table(["label", "other", "gap"], rows).splitlines()[2:]] == rows


@pytest.mark.parametrize("names", [("猫猫猫", "dog"), ("🐱", "cat"), ("Käfer", "Kafer")])
def test_wide_characters_take_the_columns_that_they_are_shown_in(names: tuple[str, str]) -> None:
    rows = [[name, "other", "1"] for name in names]
    lines = text_table(["label", "other", "n"], rows).splitlines()
    assert len({wcswidth(line.partition("other")[0]) for line in lines}) == 1
    assert len({wcswidth(line) for line in markdown_table(["label", "other", "n"], rows).splitlines()}) == 1


@pytest.mark.parametrize("table", [text_table, markdown_table])
def test_a_table_without_rows_says_so(table: type) -> None:
    assert table(["label", "other", "gap"], []) == "(none)"


def test_markdown_is_a_table_of_github() -> None:
    assert markdown_table(["label", "gap"], [["cat", "1"], ["dog", "-0.25"]]).splitlines() == [
        "| label   | gap   |",
        "|---------|-------|",
        "| cat     | 1     |",
        "| dog     | -0.25 |",
    ]


def test_rows_of_markdown_can_be_bold() -> None:
    lines = markdown_table(["label", "gap"], [["a*b", "1"], ["dog", "2"]], bold={0}).splitlines()
    assert lines[2:] == ["| **a\\*b** | 1     |", "| dog      | 2     |"]


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_cell_as_the_text_it_is(name: str) -> None:
    """No cell breaks out of its column, and what a reader sees is the name."""
    row = markdown_table(["label", "gap"], [[name, "1"]]).splitlines()[2]
    assert cells(row) == [name, "1"]
    assert "<" not in row


@pytest.mark.parametrize("name", ["two\nlines", "two\r\nlines", "two \t lines", "  two lines\n", "two\u2028lines"])
def test_markdown_keeps_a_cell_on_one_line(name: str) -> None:
    lines = markdown_table(["label", "gap"], [[name, "1"], ["cat", "2"]]).splitlines()
    assert [cells(line) for line in lines[2:]] == [["two lines", "1"], ["cat", "2"]]
    assert all(len(one) == len(other) for one, other in pairwise(lines))


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "\x01", "right\u202eto left"])
def test_names_cannot_steer_a_terminal(name: str) -> None:
    """One row stays one line of printable characters."""
    lines = text_table(["label", "other", "gap"], [[name, "b", "1"]]).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
