"""Tables of text for a terminal and for Markdown, and functions that make text safe to print."""

import html
import re
from collections.abc import Container, Sequence

from tabulate import tabulate

__all__ = ["as_markdown_text", "markdown_table", "printable", "shortened", "text_table"]

_MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~])")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int] = (0, 1)) -> str:
    """A table for a terminal. Columns for names are left-aligned, columns for numbers right-aligned.

    Args:
        header: headings, at least two.
        rows: cells, as many in each row as there are headings.
        left: indices of the columns for names; default: the first two.

    Returns:
        The table; "(none)" if there are no rows.

    Example:
        >>> print(text_table(["label", "other", "gap"], [["Coat", "Shirt", "+0.34"], ["Bag", "Coat", "-0.2"]]))
        label    other      gap
        Coat     Shirt    +0.34
        Bag      Coat      -0.2
    """
    sides = ["left" if number in left else "right" for number in range(len(header))]
    cells = [[printable(cell) for cell in row] for row in rows]
    return tabulate(cells, headers=header, tablefmt="plain", disable_numparse=True, colalign=sides) if rows else "(none)"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], bold: Container[int] = ()) -> str:
    r"""A table in GitHub's Markdown. Cells are escaped, so markup in them shows literally.

    Args:
        header: headings.
        rows: cells, as many in each row as there are headings.
        bold: indices of the rows whose first cell is bold.

    Returns:
        The table; "(none)" if there are no rows.

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
    """The text on one line, with all Markdown and HTML markup escaped."""
    return _MARKUP.sub(r"\\\1", html.escape(printable(cell), quote=False))


def shortened(text: str, longest: int = 14) -> str:
    """The text on one line, cut to `longest` characters, at least 1. A cut text ends with an ellipsis."""
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printable(cell: str) -> str:
    """The text on one line, without characters that control a terminal: line breaks, escapes and direction marks."""
    if not cell.isprintable():
        cell = "".join(char if char.isprintable() else " " for char in cell)
    return " ".join(cell.split())
