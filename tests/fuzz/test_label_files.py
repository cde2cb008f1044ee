"""Names, inputs, logits and targets that are damaged or made to harm."""

import pytest

from tests.fuzz.harness import found


def test_damaged_files_beside_a_checkpoint() -> None:
    assert found("label_files", 0, 300) == []


@pytest.mark.full
def test_many_damaged_files_beside_a_checkpoint() -> None:
    assert found("label_files", 300, 5_700) == []
