"""Evidence as CSV: columns, unknown values, hostile texts, several processes."""

import csv
import io
import math
import unicodedata
from dataclasses import replace
from typing import Any

import pytest

from lightning_cossim.report.evidence import RANKINGS, Example, InputReference, PairEvidence, PairsWithEvidence, View
from lightning_cossim.report.evidence_records import as_evidence_csv, evidence_records
from lightning_cossim.report.export import harmless
from lightning_cossim.report.tables import shortened
from tests.report.made_evidence import flagged_rows, judged, with_inputs

COLUMNS = [*("label", "other", "flag", "ranking", "loader", "batch", "row", "position", "index", "id")]
COLUMNS += ["p_label", "p_other", "predicted", "target"]
HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    'say "hi"',
    "a,b",
    "two\nlines",
    "a;b",
    " =1",
    "猫",
    "",
    "x" * 5000,
]
PLAIN = {name: name for name in HOSTILE} | {name: f"'{name}" for name in HOSTILE[:7]}


def one_of(example: Example, names: tuple[str, str] = ("cat", "dog")) -> Any:
    report = judged([*names, *"cdefghijkl"])
    return report.with_evidence(PairsWithEvidence([PairEvidence((0, 1), names, None, {"overlap": (example,)})]))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_one_line_for_each_input_flagged_pairs_first() -> None:
    report = with_inputs(judged(), 3, target=0)
    records = read(as_evidence_csv(report))
    assert list(records[0]) == COLUMNS
    assert len(records) == len(evidence_records(report)) == 7 * len(flagged_rows(report))
    first = report.evidence.pairs[0]
    assert [record["ranking"] for record in records[:7]] == [*["overlap"] * 3, *["confident"] * 3, "suspect_label"]
    assert {*RANKINGS} == {record["ranking"] for record in records}
    assert records[1] == {
        "label": first.names[0], "other": first.names[1], "flag": first.flag, "ranking": "overlap", "loader": "0", "batch": "1",
        "row": "1", "position": "", "index": "11", "id": "", "p_label": "0.75", "p_other": "0.125", "predicted": first.names[0],
        "target": "0",
    }  # fmt: skip


def test_what_is_unknown_is_empty_and_none() -> None:
    report = one_of(Example(InputReference(), (math.nan, 0.25), 1))
    unknown = ("loader", "batch", "row", "position", "index", "id", "p_label", "target", "flag")
    (record,), (line,) = evidence_records(report), read(as_evidence_csv(report))
    assert all(record[column] is None and line[column] == "" for column in unknown if column != "flag")
    assert (line["p_other"], line["predicted"]) == ("0.25", "dog")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_identifiers_run_nothing_and_break_no_line(name: str) -> None:
    """A name stands as in the table of all pairs. An identifier keeps every character that a terminal shows."""
    (line,) = read(as_evidence_csv(one_of(Example(InputReference(id=name), (0.5, 0.25), 0, 1), (name, f"{name}!"))))
    assert line["label"] == line["predicted"] == harmless(shortened(name, 48))
    assert line["other"] == line["target"] == harmless(shortened(f"{name}!", 48))
    assert not {unicodedata.category(one) for one in line["id"]} & {"Cc", "Cf", "Cs"}
    assert line["id"][:1] not in {"=", "+", "-", "@"}
    if name.isprintable():
        assert line["id"].removeprefix("'") == name.removeprefix("'")


def test_lines_end_as_the_standard_wants() -> None:
    """RFC 4180: CR and LF, also after the last line."""
    text = as_evidence_csv(with_inputs(judged()))
    assert text.count("\r\n") == text.count("\n") == len(read(text)) + 1
    assert text.endswith("\r\n")


def test_batches_of_several_processes_have_a_last_column() -> None:
    report = judged()
    for process in (0, 2):
        some = {"overlap": (Example(InputReference(0, 1, 2), (0.5, 0.5), 0),), "confident": ()}
        some["confident"] = (Example(InputReference(0, 1, 2, process=process), (0.5, 0.5), 0),)
        found = report.with_evidence(PairsWithEvidence([PairEvidence((0, 1), ("0", "1"), None, some)]))  # type: ignore[arg-type]
        lines = read(as_evidence_csv(found))
        assert list(lines[0]) == [*COLUMNS, *(["process"] if process else [])]
        assert [line.get("process") for line in lines] == (["0", "2"] if process else [None, None])


def test_without_evidence_there_are_the_columns_alone() -> None:
    assert as_evidence_csv(judged()) == ",".join(COLUMNS) + "\r\n"
    assert evidence_records(judged()) == []


def test_texts_and_pictures_of_inputs_stay_out() -> None:
    example = Example(InputReference(index=1), (0.5, 0.5), 0, view=View(text="a secret"))
    assert "secret" not in as_evidence_csv(one_of(example)) + str(evidence_records(one_of(example)))


@pytest.mark.parametrize("row", [-100, -1, 12, 10**9])
def test_a_row_that_the_head_does_not_have_keeps_its_number(row: int) -> None:
    (line,) = read(as_evidence_csv(one_of(Example(InputReference(), (0.5, 0.5), row, row))))
    assert line["predicted"] == line["target"] == ("'" * (row < 0)) + str(row)


def test_control_characters_are_escaped() -> None:
    """In names as in the table of all pairs, in identifiers as escapes that a script can undo."""
    report = judged()
    pair = with_inputs(report).evidence.pairs[0]
    example = Example(InputReference(id="a\x1b[2J\u202e\ud800\u202fb"), (0.5, 0.4), 0)
    odd = replace(pair, names=("x\x1b[2J", "y" * 10_000), examples={"overlap": (example,)})
    text = as_evidence_csv(report.with_evidence(PairsWithEvidence([odd])))
    assert "a\\x1b[2J\\u202e\\ud800\u202fb" in text
    assert "\x1b" not in text
    assert "y" * 49 not in text
    text.encode("utf-8")
