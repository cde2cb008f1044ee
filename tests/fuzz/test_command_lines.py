"""Arguments of the command that are odd."""

import pytest

from tests.fuzz.harness import found


def test_damaged_arguments() -> None:
    assert found("command_lines", 0, 300) == []


@pytest.mark.full
def test_many_damaged_arguments() -> None:
    assert found("command_lines", 300, 5_700) == []
