"""A table of strings, for a terminal and for Markdown."""

import html
import re
from collections.abc import Container, Sequence

from tabulate import tabulate

__all__ = ["as_markdown_text", "markdown_table", "printable", "shortened", "text_table"]

_MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~])")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to one width: the first two to the left, for names, the rest to the right, for numbers.

    Example:
        >>> print(text_table(["label", "other", "gap"], [["Coat", "Shirt", "+0.34"], ["Bag", "Coat", "-0.2"]]))
        label    other      gap
        Coat     Shirt    +0.34
        Bag      Coat      -0.2
    """
    sides = ("left", "left", *["right"] * (len(header) - 2))
    cells = [[printable(cell) for cell in row] for row in rows]
    return tabulate(cells, headers=header, tablefmt="plain", disable_numparse=True, colalign=sides) if rows else "(none)"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], bold: Container[int] = ()) -> str:
    r"""The same in GitHub's Markdown; every cell shows as the text it is, the first of the rows with `bold` numbers in bold.

    Example:
        >>> print(markdown_table(["label", "gap"], [["<b>|x|", "1"]]))
        | label          | gap   |
        |----------------|-------|
        | &lt;b&gt;\|x\| | 1     |
    """
    cells = [[as_markdown_text(cell) for cell in row] for row in rows]
    cells = [[f"**{row[0]}**", *row[1:]] if number in bold else row for number, row in enumerate(cells)]
    return tabulate(cells, headers=header, tablefmt="github", disable_numparse=True) if rows else "(none)"


def as_markdown_text(cell: str) -> str:
    """The text with everything that Markdown or HTML would read as markup escaped, on one line."""
    return _MARKUP.sub(r"\\\1", html.escape(printable(cell), quote=False))


def shortened(text: str, longest: int = 14) -> str:
    """The text on one line, of which a longer one keeps its beginning."""
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printable(cell: str) -> str:
    """The text on one line, without what would steer a terminal: line breaks, escapes, marks of direction."""
    if not cell.isprintable():
        cell = "".join(char if char.isprintable() else " " for char in cell)
    return " ".join(cell.split())
