"""Evidence as records and as CSV: one for each input of each ranking of each pair. Pictures and texts are left out."""

import csv
import math
import unicodedata
from collections.abc import Iterator
from io import StringIO
from typing import Any, Final

from lightning_cossim.report.data import ReportData
from lightning_cossim.report.evidence import RANKINGS, Example
from lightning_cossim.report.export import harmless
from lightning_cossim.report.tables import shortened

__all__ = ["as_evidence_csv", "evidence_records", "label_name"]

_COLUMNS: Final = ("label", "other", "flag", "ranking", "loader", "batch", "row", "position", "index", "id")
_OF_INPUT: Final = ("p_label", "p_other", "predicted", "target")
_DIGITS: Final = 6
"""Digits of a probability after the point."""
_LONGEST: Final = 48
"""Largest number of characters of a name, as in the table of all pairs."""


def evidence_records(report: ReportData) -> list[dict[str, Any]]:
    """The inputs behind the pairs of a report, flagged pairs first, each ranking in its order.

    Args:
        report: the report, with evidence or without.

    Returns:
        A record for each input. Unknown values are None. Predicted label and target are names. With several processes there is
        a last column `process`, because each process counts its own batches.
    """
    return list(_records(report, with_process=_has_processes(report)))


def as_evidence_csv(report: ReportData) -> str:
    """The records of `evidence_records` as CSV (RFC 4180). Unknown values are empty.

    A name or an identifier that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    with_process = _has_processes(report)
    text = StringIO()
    columns = [*_COLUMNS, *_OF_INPUT, *(["process"] if with_process else [])]
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    for record in _records(report, with_process=with_process):
        writer.writerow({key: harmless(value) for key, value in record.items()})
    return text.getvalue()


def label_name(report: ReportData, row: int | None) -> str | None:
    """The name of a row of the head, or the number of a row that the head does not have; None if the row is None."""
    if row is None:
        return None
    names = report.context.names
    return shortened(str(row) if names and not 0 <= row < len(names) else report.context.name_of(row), _LONGEST)


def _has_processes(report: ReportData) -> bool:
    pairs = report.evidence.pairs
    return any(example.reference.process > 0 for pair in pairs for some in pair.examples.values() for example in some)


def _records(report: ReportData, *, with_process: bool) -> Iterator[dict[str, Any]]:
    for pair in report.evidence.pairs:
        for ranking in RANKINGS:
            for example in pair.examples.get(ranking, ()):
                label, other = (shortened(name, _LONGEST) for name in pair.names)
                of_pair = {"label": label, "other": other, "flag": pair.flag, "ranking": ranking}
                yield {
                    **of_pair,
                    **_of_input(report, example),
                    **({"process": example.reference.process} if with_process else {}),
                }


def _of_input(report: ReportData, example: Example) -> dict[str, Any]:
    where = example.reference
    p_label, p_other = (None if math.isnan(one) else round(float(one), _DIGITS) for one in example.probabilities)
    return {
        "loader": where.loader,
        "batch": where.batch,
        "row": where.row,
        "position": where.position,
        "index": where.index,
        "id": None if where.id is None else _without_controls(where.id),
        "p_label": p_label,
        "p_other": p_other,
        "predicted": label_name(report, example.predicted),
        "target": label_name(report, example.target),
    }


def _without_controls(text: str) -> str:
    """The text with control and format characters and surrogates as backslash escapes, which no terminal runs."""
    odd = {"Cc", "Cf", "Cs"}
    return "".join(one.encode("unicode_escape").decode() if unicodedata.category(one) in odd else one for one in text)
