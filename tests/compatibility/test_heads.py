"""Heads of every make: what a report has, that it is right, and that training is none the worse for it."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_cossim.capture.find import find_head
from lightning_cossim.capture.model_config import with_response
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.errors import HeadError
from tests.compatibility.cells import NUM_LABELS, Cell, Examples, assert_harmless, assert_outcome, watched
from tests.compatibility.heads import HEADS, THIRD_PARTY


def name_of(cell: Cell) -> str:
    return cell.what.replace("`", "")


def cells(*, refused: bool = True) -> list[Any]:
    """All of them, those of other packages marked."""
    return [
        pytest.param(cell, id=name_of(cell), marks=pytest.mark.full if cell in THIRD_PARTY else ())
        for cell in (*HEADS, *THIRD_PARTY)
        if refused or cell.outcome.startswith("every rung")
    ]


@pytest.mark.parametrize("cell", cells())
def test_a_user_gets_what_the_table_says(cell: Cell) -> None:
    if cell.outcome == "refused":
        with pytest.raises(HeadError) as caught:
            watched(cell)
        assert cell.says in str(caught.value)
        return
    result = watched(cell)
    assert len(result.told) == bool(cell.says), result.told
    assert all(cell.says in text for text in result.told)
    assert_harmless(result, watched(cell, watch=False))
    assert_outcome(result, cell)


@pytest.mark.parametrize("cell", cells(refused=False))
def test_a_head_is_found_and_its_weights_give_the_logits(cell: Cell) -> None:
    """After a training, to 1e-5; found by itself where the cell says which."""
    model = watched(cell, watch=False).model.eval()
    source = cell.settings.get("embeddings_from")
    link = cell.settings.get("link", "softmax")
    head = find_head(model, cell.settings.get("head"), is_called=source is None, has_cosines=link == "cosine")
    assert cell.head in (None, head.path)
    given = {name: cell.settings.get(name) for name in ("link_cap", "link_scale")}
    head = with_response(model, head, link, **given)
    observer = HeadObserver(head, model, embeddings_from=source)
    observer.arm()
    logits = model(next(iter(DataLoader(Examples(cell.inputs, 9, seed=3), batch_size=9)))[0])
    seen = observer.take(1000, torch.Generator())
    observer.detach()
    assert seen is not None
    assert seen.embedding is not None
    rows = logits.movedim(1, -1) if cell.inputs == "images" else logits
    torch.testing.assert_close(head.logits(seen.embedding), rows.reshape(-1, NUM_LABELS), rtol=1e-5, atol=1e-5)
