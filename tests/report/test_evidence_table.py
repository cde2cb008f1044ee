"""Evidence on a text page: pairs, cells and what stays out."""

import re

import pytest

from lightning_cossim.report.evidence_table import as_evidence_page, flagged_inputs
from tests.report.made_evidence import a_text, judged, with_inputs
from tests.report.test_tables import HOSTILE, cells


def test_a_page_has_twelve_flagged_pairs_and_eight_inputs_of_each() -> None:
    report = with_inputs(judged(), 11)
    page = as_evidence_page(report, with_texts=True)
    first = report.evidence.pairs[0].names
    assert page.startswith(f"**{first[0]} / {first[1]}**: {report.evidence.pairs[0].flag}, overlaps")
    assert len(re.findall(r"^\*\*", page, flags=re.MULTILINE)) == 12
    assert len(re.findall(r"^\| index", page, flags=re.MULTILINE)) == 12 * 8
    columns, rows = flagged_inputs(report, with_texts=False)
    assert columns == ["label", "other", "flag", "input", "p_label", "p_other", "predicted", "target"]
    assert len(rows) == 12 * 8
    assert rows[0] == [*first, report.evidence.pairs[0].flag, "index 10", "0.750", "0.125", first[0], ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_every_cell_shows_the_text_that_it_is(name: str) -> None:
    """Names of labels in headings too."""
    report = with_inputs(judged([name, *(f"{name}{number}" for number in range(11))]), 2, target=0, view=a_text(name))
    page = as_evidence_page(report, with_texts=True)
    assert "<" not in page
    tables = [[line for line in block.splitlines() if line.startswith("|")] for block in page.split("\n\n")]
    for header, _, *rows in filter(None, tables):
        assert len(cells(header)) == 6
        assert cells(header)[1].startswith(f"p({name[:13]}")
        assert [cells(row)[4:] for row in rows] == [[name[:40], name]] * 2


def test_without_texts_no_text_is_in_it() -> None:
    report = with_inputs(judged(), 2, view=a_text("secret"))
    assert "secret" not in as_evidence_page(report, with_texts=False) + str(flagged_inputs(report, with_texts=False))
    assert "secret" in as_evidence_page(report, with_texts=True)
    assert flagged_inputs(report, with_texts=True)[1][0][-1] == "secret"


def test_without_flagged_pairs_there_is_no_page() -> None:
    assert as_evidence_page(judged(), with_texts=True) == ""
    assert flagged_inputs(judged(), with_texts=True)[1] == []
