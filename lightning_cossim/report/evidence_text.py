"""The text of one pair of labels: its numbers in words, and the inputs behind them, for a terminal and for a notebook."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Final

import numpy as np
from typing_extensions import override

from lightning_cossim.errors import InputError, did_you_mean, expected, in_short
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.evidence import Example, PairEvidence, Ranking
from lightning_cossim.report.evidence_table import input_table
from lightning_cossim.report.pair import Pair
from lightning_cossim.report.pair_words import pair_in_words, title_in_words, to_do_in_words
from lightning_cossim.report.png import as_data_uri
from lightning_cossim.report.references import rankings_of
from lightning_cossim.report.tables import printable, text_table

__all__ = ["ShownPair", "shown_pair"]

_TITLES: Final[Mapping[Ranking, str]] = {
    "overlap": "Inputs that add most to the overlap",
    "confident": "Inputs with one of the labels most confidently predicted",
    "suspect_label": "Inputs of one label predicted as the other, the least probable target first",
}
_PIXELS: Final = 64
"""Side of a picture in a notebook: small pictures are enlarged by a whole number up to this size."""
_MOST: Final = 16
"""Maximum number of inputs shown for a ranking: those of both labels of a confident pair."""
_CELL: Final = "padding:2px 10px 2px 0;text-align:left;vertical-align:middle"


def shown_pair(report: ReportData, label: object, other: object) -> "ShownPair":
    """The text of the pair of two labels, given by their names or by their rows of the head.

    Raises:
        InputError: a label is unknown, the two are equal, or the report did not compare them.
    """
    remedy = 'Pass two names or two rows, for example show("Coat", "Shirt") or show(("Coat", "Shirt")).'
    if other is None:
        if not isinstance(label, Sequence) or isinstance(label, str) or len(label) != 2:
            raise InputError(expected("label", "to be a pair of labels if `other` is missing", repr(label), remedy))
        label, other = label
    rows = _row_of(report, label, "label", remedy), _row_of(report, other, "other", remedy)
    if rows[0] == rows[1]:
        raise InputError(expected("other", "to be another label than `label`", repr(other), remedy))
    found = report.evidence
    evidence = found.get((label, other)) if isinstance(label, str) and isinstance(other, str) else found.by_rows(rows)
    pair = report.pair_of(evidence.labels if evidence else rows)
    if pair is None:
        raise InputError(
            expected(
                "other",
                f"to be a label that the report compared with {in_short(repr(label))}",
                repr(other),
                "`report.pairs()` has all.",
            )
        )
    return ShownPair(report, pair, evidence)


def _row_of(report: ReportData, label: object, argument: str, remedy: str) -> int:
    """The row of the head of a label, given by its name or its row."""
    if isinstance(label, str):
        if label in report.names:
            return report.labels[report.names.index(label)]
        remedy = did_you_mean(label, report.names) or "`report.names` has the names of the labels that the report compared."
    elif isinstance(label, Integral) and not isinstance(label, bool) and int(label) in report.labels:
        return int(label)
    raise InputError(expected(argument, "to be a name or a row of a label that the report compared", repr(label), remedy))


@dataclass(frozen=True, eq=False, repr=False)
class ShownPair:
    """One pair of a report and the inputs behind it. Print it, or let a notebook show it with pictures."""

    report: ReportData = field(repr=False)
    pair: Pair
    """The numbers of the pair."""
    evidence: PairEvidence | None = field(repr=False)
    """The inputs behind the pair; None if none were kept."""

    @override
    def __repr__(self) -> str:
        """The same text as `print` shows, for a console."""
        return str(self)

    @override
    def __str__(self) -> str:
        """The pair as text for a terminal: its numbers, what to do, and where its inputs are."""
        lines = [title_in_words(self.pair), *(f"  {line}" for line in self._lines)]
        tables = []
        for ranking, examples in self._rankings.items():
            header, rows = self._table(examples)
            of_numbers = {number for number, cell in enumerate(header) if cell.startswith("p(")}
            table = text_table(header, rows, left={*range(len(header))} - of_numbers)
            tables.append("\n".join([_TITLES[ranking], table, *_rest(examples)]))
        return "\n\n".join(["\n".join(lines), *tables])

    def _repr_html_(self) -> str:
        """The pair as HTML for a notebook, with pictures. All texts are escaped; nothing is loaded from elsewhere."""
        parts = [f"<p><b>{_escaped(title_in_words(self.pair))}</b><br>{'<br>'.join(map(_escaped, self._lines))}</p>"]
        for ranking, examples in self._rankings.items():
            header, rows = self._table(examples)
            pictures = [_picture(example) for example in examples[:_MOST]]
            cell_of = f'<td style="{_CELL}">{{}}</td>' if any(pictures) else ""
            header = ["", *header] if any(pictures) else header
            head = "".join(f'<th style="{_CELL}">{_escaped(cell)}</th>' for cell in header)
            body = "".join(
                f"<tr>{cell_of.format(picture)}{_cells(row)}</tr>" for picture, row in zip(pictures, rows, strict=True)
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            parts.append(f"<p>{_TITLES[ranking]}</p>{table}{''.join(f'<p>{line}</p>' for line in _rest(examples))}")
        return f"<div>{''.join(parts)}</div>"

    @property
    def _lines(self) -> list[str]:
        lines = [*pair_in_words(self.pair, self.report.ladder), to_do_in_words(self.pair), self._missing]
        return [line for line in lines if line]

    @property
    def _missing(self) -> str:
        if self.report.extras.evidence is None:
            return "No inputs were kept: evidence is off (`Display(evidence=False)`), or a warning said that it failed."
        if not self.report.evidence:
            return "No inputs were kept. If a model ran, increase `max_bytes` of `Evidence`."
        if not self._rankings:
            return (
                "No inputs of this pair were kept: only flagged pairs and those with the largest gaps or joint masses have some."
            )
        if self.evidence is not None and not self.evidence.is_complete:
            return "Inputs may be missing, because the memory for them was full. Increase `max_bytes` of `Evidence`."
        return ""

    @property
    def _rankings(self) -> dict[Ranking, tuple[Example, ...]]:
        return {} if self.evidence is None else rankings_of(self.evidence)

    def _table(self, examples: Sequence[Example]) -> tuple[list[str], list[list[str]]]:
        assert self.evidence is not None
        return input_table(self.report, self.evidence, examples[:_MOST])


def _rest(examples: Sequence[Example]) -> list[str]:
    """A line on the inputs that are not shown; empty if all are shown."""
    more = len(examples) - _MOST
    return [f"{more} more are in `report.evidence` and in the CSV file of evidence."] if more > 0 else []


def _escaped(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _cells(row: Sequence[str]) -> str:
    """Cells of HTML. Each text keeps its direction to itself."""
    return "".join(f'<td style="{_CELL}"><bdi>{_escaped(cell)}</bdi></td>' for cell in row)


def _picture(example: Example) -> str:
    """An image of HTML; empty if the input has no picture."""
    pixels = None if example.view is None else example.view.picture
    if pixels is None or not pixels.size:
        return ""
    height, width = pixels.shape[:2]
    times = max(1, _PIXELS // max(height, width))
    size = f"width:{width * times}px;height:{height * times}px;max-width:none;image-rendering:pixelated"
    return f'<img alt="" src="{as_data_uri(np.ascontiguousarray(pixels))}" style="{size}">'
