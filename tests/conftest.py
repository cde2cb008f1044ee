"""What holds for all tests: Hypothesis draws the same examples every time, and torch works on one thread.

The tensors are tiny: waiting for a second thread would take most of the time, in the processes that tests start as well.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from lightning_cossim.capture import vocabulary_summary

set_hypothesis_home_dir(Path(tempfile.gettempdir(), "lightning-cossim-hypothesis"))
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("repeatable")
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def rare_labels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of a vocabulary count whatever their probabilities sum to: toys have too few inputs for the sum of five."""
    monkeypatch.setattr(vocabulary_summary, "MIN_TOTAL", 0.0)


@pytest.fixture
def few_inputs() -> Iterator[None]:
    """See `tests.toys.few_inputs`."""
    from tests import toys  # they import Lightning, which takes a while

    with toys.few_inputs():
        yield
