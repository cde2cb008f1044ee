"""Ways to run: what a report has, that it is right, and that training is none the worse for it."""

import numpy as np
import pytest

from tests.compatibility.cells import Cell, assert_harmless, assert_outcome, watched
from tests.compatibility.execution import RUNNABLE
from tests.reference import cosine


@pytest.mark.parametrize("cell", RUNNABLE, ids=lambda cell: cell.what.replace("`", ""))
def test_a_user_gets_what_the_table_says(cell: Cell) -> None:
    result = watched(cell)
    assert len(result.told) == bool(cell.says), result.told
    assert all(cell.says in text for text in result.told)
    assert_harmless(result, watched(cell, watch=False))
    assert_outcome(result, cell)
    # The rows of the weights that gave those logits, averaged ones for example.
    wanted = cosine(result.model.rows.double().numpy(), centered=True)
    np.testing.assert_allclose(result.report.matrix("centered_cosine"), wanted, atol=1e-5)
