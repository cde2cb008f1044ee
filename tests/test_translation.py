"""The paper's point on a model trained by Lightning: translate its head, and only the raw cosine moves."""

import copy

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from lightning_cossim import GapReport, LabelSimilarityMonitor
from lightning_cossim.functional import witness_translation
from tests.toys import Toy, loader, trainer


@pytest.fixture(scope="module")
def trained() -> Toy:
    pl.seed_everything(0, verbose=False)
    model = Toy()
    trainer(max_epochs=20).fit(model, loader(512))
    return model.eval()


def look(model: Toy) -> tuple[Tensor, GapReport]:
    """Probabilities and report of a model, as the monitor sees them in `trainer.validate`."""
    monitor = LabelSimilarityMonitor()
    trainer(callbacks=[monitor]).validate(model, loader(512), verbose=False)
    inputs = torch.cat([batch[0] for batch in loader(512)])
    with torch.no_grad():
        return model(inputs).softmax(dim=1), monitor.last_report["val"]


@pytest.mark.parametrize("cosine", [-1, 1])
@pytest.mark.parametrize(("i", "j"), [(0, 1), (2, 6)])
def test_any_cosine_from_the_same_probabilities(trained: Toy, i: int, j: int, cosine: int) -> None:
    """Raw cosine ±1 to 1e-5; no probability moves by more than 1e-6; every other rung stays put to 1e-4."""
    probs, report = look(trained)
    moved = copy.deepcopy(trained)
    with torch.no_grad():
        moved.head.weight += witness_translation(moved.head.weight, i, j, cosine=cosine)
    moved_probs, moved_report = look(moved)

    assert moved_report.matrix("raw_cosine")[i, j].item() == pytest.approx(cosine, abs=1e-5)
    assert abs(report.matrix("raw_cosine")[i, j].item()) < 0.99
    assert (moved_probs - probs).abs().max() < 1e-6
    for rung in ("centered_cosine", "logit_correlation", "log_odds_variance", "overlap"):
        torch.testing.assert_close(moved_report.matrix(rung), report.matrix(rung), atol=1e-4, rtol=1e-4, equal_nan=True)
