"""Evidence as tables of texts: where the inputs of a pair are, their probabilities, predicted labels and targets."""

from collections.abc import Sequence
from typing import Final

from lightning_cossim.report.data import ReportData
from lightning_cossim.report.evidence import Example, PairEvidence
from lightning_cossim.report.evidence_records import label_name
from lightning_cossim.report.pair_words import FLAGS_IN_WORDS, name_in_words, number_in_words
from lightning_cossim.report.references import foremost, has_loaders, in_words
from lightning_cossim.report.tables import as_markdown_text, markdown_table, printable, shortened

__all__ = ["as_evidence_page", "flagged_inputs", "input_table"]

_LONGEST_HEADING: Final = 14
_PAIRS, _INPUTS = 12, 8
"""Largest number of flagged pairs, and of inputs of each, in a page."""


def input_table(
    report: ReportData, evidence: PairEvidence, examples: Sequence[Example], *, with_texts: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of some inputs of a pair. Columns without any value are left out.

    Args:
        report: the report of the evidence.
        evidence: the evidence of the pair.
        examples: the inputs, one for each row.
        with_texts: whether there is a column for the texts of inputs.
    """
    with_loader = has_loaders(report.evidence)
    label, other = (shortened(name, _LONGEST_HEADING) or "''" for name in evidence.names)
    columns = [
        ("input", [in_words(one.reference, with_loader=with_loader) for one in examples]),
        (f"p({label})", [number_in_words(one.probabilities[0]) for one in examples]),
        (f"p({other})", [number_in_words(one.probabilities[1]) for one in examples]),
        ("predicted", [_name(report, one.predicted) for one in examples]),
        ("target", [_name(report, one.target) for one in examples]),
        ("text", [printable((one.view.text if one.view and with_texts else None) or "") for one in examples]),
    ]
    shown = [(heading, cells) for heading, cells in columns if any(cells)]
    return [heading for heading, _ in shown], [list(row) for row in zip(*(cells for _, cells in shown), strict=True)]


def as_evidence_page(report: ReportData, *, with_texts: bool) -> str:
    """The first twelve flagged pairs and eight inputs of each, as Markdown for a text page; empty if there are none.

    Args:
        report: a judged report with evidence.
        with_texts: whether to show the texts of inputs, or only where to find them.
    """
    shown = []
    for evidence, examples in _flagged(report):
        assert evidence.flag is not None
        header, rows = input_table(report, evidence, examples, with_texts=with_texts)
        label, other = (as_markdown_text(name_in_words(name)) for name in evidence.names)
        table = markdown_table([as_markdown_text(cell) for cell in header], rows)
        shown.append(f"**{label} / {other}**: {FLAGS_IN_WORDS[evidence.flag]}\n\n{table}")
    return "\n\n".join(shown)


def flagged_inputs(report: ReportData, *, with_texts: bool) -> tuple[list[str], list[list[str]]]:
    """The same inputs as one table, for loggers with tables: headings and cells."""
    found = _flagged(report)
    with_loader = has_loaders(report.evidence)
    columns = ["label", "other", "flag", "input", "p_label", "p_other", "predicted", "target", *(["text"] if with_texts else [])]
    rows = []
    for evidence, examples in found:
        for one in examples:
            probabilities = [number_in_words(probability) for probability in one.probabilities]
            labels = [_name(report, one.predicted), _name(report, one.target)]
            text = [printable((one.view.text if one.view else None) or "")] if with_texts else []
            where = in_words(one.reference, with_loader=with_loader)
            rows.append([*evidence.names, evidence.flag or "", where, *probabilities, *labels, *text])
    return columns, rows


def _flagged(report: ReportData) -> list[tuple[PairEvidence, tuple[Example, ...]]]:
    """The first flagged pairs that have inputs, and the first inputs of each."""
    found = [(evidence, foremost(evidence, _INPUTS)) for evidence in report.evidence.pairs if evidence.flag]
    return [(evidence, examples) for evidence, examples in found if examples][:_PAIRS]


def _name(report: ReportData, row: int | None) -> str:
    """The name of a row of the head; empty if the row is None."""
    name = label_name(report, row)
    return "" if name is None else name_in_words(name)
