"""Checkpoints of every kind that are damaged or made to harm."""

import pytest

from tests.fuzz.harness import found


def test_damaged_checkpoints() -> None:
    assert found("checkpoint_files", 0, 600) == []


@pytest.mark.full
def test_many_damaged_checkpoints() -> None:
    assert found("checkpoint_files", 600, 17_400) == []
