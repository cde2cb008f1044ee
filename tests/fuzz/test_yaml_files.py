"""Files of thresholds that are damaged or made to harm."""

import pytest

from tests.fuzz.harness import found


def test_damaged_thresholds() -> None:
    assert found("yaml_files", 0, 1_500) == []


@pytest.mark.full
def test_many_damaged_thresholds() -> None:
    assert found("yaml_files", 1_500, 33_500) == []
