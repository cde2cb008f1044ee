"""What holds for all tests: Hypothesis draws the same examples every time, and torch works on one thread.

The tensors are tiny: waiting for a second thread would take most of the time, in the processes that tests start as well.
"""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from lightning_cossim.capture import vocabulary_summary
from lightning_cossim.config import thresholds
from lightning_cossim.functional import blocks
from lightning_cossim.report import verdicts

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
def few_inputs(rare_labels_count: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight inputs fill eight blocks, and verdicts need no more inputs than `min_inputs`: toys have a few inputs, and train fast.

    What holds of real runs, of 32 inputs and of 5 for each label, is for the tests of blocks, of verdicts, and of one training.
    """
    monkeypatch.setattr(blocks, "MAX_RUN", 1)
    monkeypatch.setattr(thresholds, "INPUTS_PER_LABEL", 0)
    monkeypatch.setattr(verdicts, "INPUTS_PER_LABEL", 0)
