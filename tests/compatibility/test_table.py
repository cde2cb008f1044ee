"""The README's table says what the tests of the matrix show."""

import ast
from pathlib import Path

import pytest

from tests.compatibility.table import ELSEWHERE, Row, table

PROJECT = Path(__file__).parent.parent.parent


def test_the_readme_has_the_table_of_the_cells() -> None:
    assert table() in (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: row.what)
def test_a_row_without_a_cell_has_a_test_of_its_own(row: Row) -> None:
    path, name = row.test.split("::")
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
