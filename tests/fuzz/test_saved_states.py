"""States of the monitor and of the metrics that are damaged."""

import pytest

from tests.fuzz.harness import found


def test_damaged_states() -> None:
    assert found("saved_states", 0, 300) == []


@pytest.mark.full
def test_many_damaged_states() -> None:
    assert found("saved_states", 300, 5_700) == []
