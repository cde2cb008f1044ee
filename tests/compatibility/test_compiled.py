"""A model that is compiled into kernels, which takes a compiler for C++ and half a minute: with `pytest -m full`."""

import shutil
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from lightning_cossim import Schedule
from tests.compatibility.cells import Cell, assert_harmless, assert_outcome, watched
from tests.compatibility.heads import mlp

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),  # the compiler's own
    pytest.mark.skipif(shutil.which("g++") is None, reason="2026-11-25: torch.compile's CPU kernels are built by g++"),
]


def compiled(**settings: Any) -> nn.Module:
    torch.compiler.reset()
    inner: Any = torch.compile(mlp(), **settings)
    return nn.Sequential(inner)


@pytest.mark.parametrize("settings", [{}, {"fullgraph": True}, {"dynamic": True}], ids=str)
def test_kernels_that_are_watched_train_as_others_do(settings: dict[str, Any]) -> None:
    """Bit for bit; every rung is there, and training has a graph more, for the steps that are looked at."""
    cell = Cell("compiled", lambda: compiled(**settings), settings={"schedule": Schedule(train_every_n_steps=2, train_batches=1)})
    counters.clear()
    unwatched = watched(cell, watch=False)
    alone = counters["stats"]["unique_graphs"]
    counters.clear()
    result = watched(cell)
    assert result.told == []
    assert_harmless(result, unwatched)
    assert_outcome(result, cell)
    assert counters["stats"]["unique_graphs"] == alone + 1
