"""Inputs whose target says that they do not count."""

from collections import UserDict, namedtuple
from typing import Any

import pytest
import torch

from lightning_cossim.capture.sampling import counted_inputs
from lightning_cossim.errors import InputError

TARGETS = torch.tensor([[3, -100], [-100, 0]])
WANTS = "Expected `targets_key` to be the key of the targets in a batch"
WANTED = [[True, False], [False, True]]
Batch = namedtuple("Batch", ["text", "labels"])  # noqa: PYI024 - as users write them


@pytest.mark.parametrize(
    ("batch", "key"),
    [
        ({"text": torch.zeros(2, 2), "labels": TARGETS}, "labels"),
        (UserDict(text=torch.zeros(2, 2), labels=TARGETS), "labels"),
        ((torch.zeros(2, 2), TARGETS), 1),
        ([torch.zeros(2, 2), TARGETS], -1),
        (Batch(torch.zeros(2, 2), TARGETS), 1),
    ],
)
def test_inputs_count_unless_their_target_is_the_one_to_ignore(batch: Any, key: str | int) -> None:
    assert counted_inputs(batch, key, -100).tolist() == WANTED
    assert counted_inputs(batch, key, 3).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("batch", "key", "text"),
    [
        (
            {"text": TARGETS, "y": TARGETS},
            "labels",
            f"{WANTS}, got 'labels', where a batch has 'text', 'y'.",
        ),
        (
            (TARGETS, TARGETS),
            2,
            f"{WANTS}, got 2, where a batch has places 0 to 1.",
        ),
        (
            (TARGETS, TARGETS),
            "labels",
            f"{WANTS}, got 'labels', where a batch has places 0 to 1.",
        ),
        (
            None,
            "labels",
            f"{WANTS}, got 'labels', where a batch has no keys: it is a NoneType.",
        ),
        (
            TARGETS,
            "labels",
            f"{WANTS}, got 'labels', where a batch has no keys: it is a Tensor.",
        ),
        (
            {"labels": TARGETS.float()},
            "labels",
            f"{WANTS}, a tensor of whole numbers, got 'labels', where a batch has torch.float32.",
        ),
        (
            {"labels": [1, 2]},
            "labels",
            f"{WANTS}, a tensor of whole numbers, got 'labels', where a batch has list.",
        ),
    ],
)
def test_a_key_that_leads_to_no_targets_is_told(batch: Any, key: str | int, text: str) -> None:
    with pytest.raises(InputError) as caught:
        counted_inputs(batch, key, -100)
    assert str(caught.value) == text
