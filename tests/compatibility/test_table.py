"""Every row of the table of docs/where_it_runs.md has a test."""

import ast
from pathlib import Path

import pytest

from tests.compatibility.table import ELSEWHERE, Row

PROJECT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: row.what)
def test_a_row_without_a_cell_has_a_test_of_its_own(row: Row) -> None:
    path, name = row.test.split("::")
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
