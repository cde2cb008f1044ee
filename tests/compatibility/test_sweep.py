"""Small models of transformers: overlaps are those of the model's final logits, or a warning says why they are not."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor
from tests import reference
from tests.compatibility.sweep import SAYS, SWEEP, TIMM, WITHOUT_REMEDY
from tests.compatibility.swept import Swept
from tests.toys import FEW, trainer

BATCH: Final = 8
EXACT: Final = 1e-4
"""Overlaps that differ by no more agree."""


REMEDY: Final = re.compile(r"(?<!\w)(logits_from|link)=(['\"])(.*?)\2")


class Examples(Dataset[dict[str, Tensor]]):
    """Random inputs of a model."""

    def __init__(self, model: Swept, num: int, seed: int) -> None:
        self.inputs = model.batch(num, torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @override
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[index] for name, values in self.inputs.items()}


class Module(pl.LightningModule):
    """A model in a LightningModule. Some users call the module in their steps, others the model in it.

    The module keeps the final logits of its last validation run.
    """

    def __init__(self, model: Swept, *, calls_itself: bool) -> None:
        super().__init__()
        self.of, self.net, self.calls_itself = model, model.build(), calls_itself
        self.seen: list[Tensor] = []

    @override
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Final logits, (N, K)."""
        return self.of.final(self.net(**batch)).movedim(self.of.axis, -1).flatten(0, -2)

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self(batch) if self.calls_itself else self.forward(batch)
        return logits

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self.logits(batch)
        return nn.functional.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])

    @override
    def on_validation_epoch_start(self) -> None:
        self.seen = []

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.seen.append(self.logits(batch).detach().clone())

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([weight for weight in self.parameters() if weight.requires_grad], lr=0.01)


@dataclass(frozen=True)
class Run:
    """What came of a training."""

    error: float
    """The largest difference between an overlap and that of the final logits; infinite where there is no overlap."""
    spread: float
    """The difference between 1 and the smallest overlap of the final logits."""
    told: list[str]
    """Warnings of the monitor."""

    @property
    def outcome(self) -> Literal["agrees", "warned", "silently different", "false alarm"]:
        if self.error <= EXACT:
            return "false alarm" if self.told else "agrees"
        return "warned" if self.told else "silently different"


def largest_error(got: reference.Array, wanted: reference.Array) -> float:
    """Of the pairs that are compared, if they are at least a quarter of all. By default the monitor leaves out rare labels."""
    if len(got) < len(wanted):
        return np.inf
    missing = len(got) - len(wanted)  # labels that the model drops have no overlap
    wanted = np.pad(wanted, (0, missing), constant_values=np.nan)
    known = np.isfinite(got) & ~np.eye(len(got), dtype=bool)
    if known.sum() < known.size / 4 or np.isnan(wanted[known]).any():
        return np.inf
    return float(np.abs(got - wanted)[known].max())


def run(model: Swept, settings: Mapping[str, Any], *, calls_itself: bool = True) -> Run:
    """Train a model for an epoch with a monitor."""
    monitor = LabelSimilarityMonitor(thresholds=FEW, **{"labels": LabelSelection(min_probability=0), **settings})
    module = Module(model, calls_itself=calls_itself)
    torch.manual_seed(1)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        training, validation = [DataLoader(Examples(model, num, seed), batch_size=BATCH) for num, seed in ((16, 1), (24, 2))]
        trainer(max_epochs=1, num_sanity_val_steps=0, gradient_clip_val=0.1, callbacks=[monitor]).fit(
            module, training, validation
        )
    told = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    probs = reference.softmax(torch.cat(module.seen).double().numpy())
    wanted = reference.bhattacharyya(probs)
    report = monitor.last_report.get("val")
    got = None if report is None else report.matrix("overlap").numpy()
    return Run(
        error=np.inf if got is None else largest_error(got, wanted),
        spread=1 - float(np.nanmin(wanted)),
        told=[text for text in told if "undefined" not in text],
    )


def remedies(told: list[str]) -> list[dict[str, str]]:
    """The settings that warnings name, each by itself."""
    named = {(name, value): {name: value} for text in told for name, _, value in REMEDY.findall(text)}
    return list(named.values())


@pytest.mark.full
@pytest.mark.parametrize("model", SWEEP, ids=lambda model: f"{model.group}: {model.name}")
def test_overlaps_are_those_of_the_final_logits_or_a_warning_says_why_they_are_not(model: Swept) -> None:
    check(model)


@pytest.mark.full
@pytest.mark.parametrize("model", TIMM, ids=lambda model: model.name)
def test_the_same_of_models_of_timm(model: Swept) -> None:
    pytest.importorskip("timm", reason="2026-11-29: timm needs torchvision, which PyPI offers for torch with CUDA only")
    check(model)


def check(model: Swept) -> None:
    """A warning names the setting that helps, if there is one. With this setting the overlaps are right."""
    for calls_itself in (True, False):
        result = run(model, model.settings, calls_itself=calls_itself)
        assert result.spread > 0.1, "labels are so alike that any logits would do"
        assert result.outcome == ("warned" if model.behind else "agrees"), result
        if model.behind:
            (text,) = result.told
            assert re.search(SAYS[model.behind], text), text
        named = remedies(result.told)
        assert bool(named) == (bool(model.behind) and model.behind not in WITHOUT_REMEDY), result
        for remedy in named:
            assert run(model, {**model.settings, **remedy}, calls_itself=calls_itself).error <= EXACT, remedy


@pytest.mark.parametrize(
    ("error", "told", "outcome"),
    [(0.0, [], "agrees"), (0.0, ["odd"], "false alarm"), (0.1, ["odd"], "warned"), (0.1, [], "silently different")],
)
def test_an_error_and_a_warning_make_an_outcome(error: float, told: list[str], outcome: str) -> None:
    assert Run(error, spread=1.0, told=told).outcome == outcome


def test_a_remedy_is_what_a_warning_names() -> None:
    told = ["capped; pass `link='softcap'` or `logits_from='net'`", "capped; pass `logits_from='net'`", "`logits_from=`, a path"]
    assert remedies(told) == [{"link": "softcap"}, {"logits_from": "net"}]


def test_the_sweep_is_as_wide_as_it_should_be() -> None:
    """Most models change nothing behind their head, and no row is there twice."""
    assert len({model.task for model in SWEEP}) >= 40
    assert sum(not model.behind for model in SWEEP) >= 25
    assert len({(model.group, model.name) for model in SWEEP}) == len(SWEEP)
