"""A head that is replaced or given more rows in the middle of a fit, as class-incremental learning does."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import Alert, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from tests import reference
from tests.toys import ALWAYS, MemoryLogger, trainer

OLD, NEW = 6, 11


class Growing(pl.LightningModule):
    """A network whose head changes at the start of an epoch; it keeps the logits of its validation runs."""

    def __init__(self, change: Callable[["Growing"], None], at: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc = nn.Linear(8, 12), nn.Linear(12, OLD)
        self.change, self.at = change, at
        self.seen: list[Tensor] = []

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.tanh(self.body(inputs)))
        return logits

    @property
    def last(self) -> Any:
        return self.fc if hasattr(self, "fc") else self.new

    @override
    def on_train_epoch_start(self) -> None:
        if self.current_epoch == self.at:
            self.change(self)
            self.trainer.optimizers = [torch.optim.SGD(self.parameters(), lr=0.5)]

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        logits = self(batch[0])
        return nn.functional.cross_entropy(logits, batch[1] % logits.shape[1])

    @override
    def on_validation_epoch_start(self) -> None:
        self.seen = []

    @override
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.seen.append(self(batch[0]).detach())

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def replaced(num_labels: int) -> Callable[[Growing], None]:
    def change(model: Growing) -> None:
        old, model.fc = model.fc, nn.Linear(12, num_labels)
        with torch.no_grad():
            kept = min(num_labels, old.out_features)
            model.fc.weight[:kept] = old.weight[:kept]

    return change


def in_a_container(model: Growing) -> None:
    model.fc = nn.Sequential(nn.Dropout(0.0), nn.Linear(12, NEW))  # type: ignore[assignment]


def under_another_name(model: Growing) -> None:
    del model.fc
    model.new = nn.Linear(12, NEW)


def longer_weight(model: Growing) -> None:
    """By hand, with `out_features` brought along."""
    model.fc.weight = nn.Parameter(torch.cat([model.fc.weight.detach(), torch.randn(NEW - OLD, 12)]))
    model.fc.bias = nn.Parameter(torch.cat([model.fc.bias.detach(), torch.zeros(NEW - OLD)]))
    model.fc.out_features = NEW


CHANGES: dict[str, tuple[Callable[[Growing], None], str, int]] = {
    "wider": (replaced(NEW), "fc", NEW),
    "narrower": (replaced(4), "fc", 4),
    "as wide": (replaced(OLD), "fc", OLD),
    "in a container": (in_a_container, "fc.1", NEW),
    "under another name": (under_another_name, "new", NEW),
    "a longer weight": (longer_weight, "fc", NEW),
}


def data(seed: int, num: int = 96) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    rows, targets = torch.randn(num, 8, generator=generator), torch.randint(NEW, (num,), generator=generator)
    return DataLoader(TensorDataset(rows, targets), batch_size=16)


def fitted(
    change: Callable[[Growing], None], *callbacks: Callback, epochs: int = 2, **settings: Any
) -> tuple[Growing, list[str]]:
    """The model after a fit, and what the monitor warned of."""
    model = Growing(change)
    torch.manual_seed(1)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        run = trainer(callbacks=list(callbacks), max_epochs=epochs, num_sanity_val_steps=0, **settings)
        run.fit(model, data(0), data(1))
    return model, [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]


class Every(Growing):
    """Its head grows at the start of every epoch but the first."""

    @override
    def on_train_epoch_start(self) -> None:
        if self.current_epoch:
            replaced(10 + self.current_epoch)(self)
            self.trainer.optimizers = [torch.optim.SGD(self.parameters(), lr=0.5)]


def fitted_every_epoch(*callbacks: Callback, **settings: Any) -> list[str]:
    """What the monitor warned of in four epochs."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        run = trainer(callbacks=list(callbacks), max_epochs=4, num_sanity_val_steps=0, **settings)
        run.fit(Every(lambda _: None), data(0), data(1))
    return [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]


def monitor(**settings: Any) -> LabelSimilarityMonitor:
    schedule = Schedule(train_every_n_steps=2, train_batches=1)
    return LabelSimilarityMonitor(**{"schedule": schedule, "thresholds": Thresholds(min_inputs=0), "display": ALWAYS, **settings})


@pytest.mark.parametrize(("change", "path", "num_labels"), CHANGES.values(), ids=CHANGES)
def test_the_new_head_is_watched_from_the_next_window_on(change: Callable[[Growing], None], path: str, num_labels: int) -> None:
    watching = monitor()
    model, told = fitted(change, watching)
    unwatched, _ = fitted(change)
    assert all(map(torch.equal, model.state_dict().values(), unwatched.state_dict().values()))
    for stage in ("train", "val"):
        assert watching.last_report[stage].num_live == num_labels
    wanted = reference.bhattacharyya(reference.softmax(torch.cat(model.seen).double().numpy()))
    off = ~np.eye(num_labels, dtype=bool)
    np.testing.assert_allclose(watching.last_report["val"].matrix("overlap").numpy()[off], wanted[off], atol=1e-5)
    cosine = nn.functional.cosine_similarity(weight(model)[0], weight(model)[1], dim=0)
    torch.testing.assert_close(watching.last_report["val"].matrix("raw_cosine")[0, 1], cosine.detach(), atol=1e-5, rtol=0)
    (said,) = [text for text in told if "replaced" in text]
    assert said == (
        "LabelSimilarityMonitor: the head `fc` was replaced at step 6; the monitor now watches "
        f"{path}, Linear 12→{num_labels}, found by its position as the only final linear layer (before: 6 labels)."
    )


def weight(model: Growing) -> Tensor:
    found: Any = model.last[-1].weight if isinstance(model.last, nn.Sequential) else model.last.weight
    return torch.as_tensor(found)


def test_names_of_the_rows_that_stay_are_kept_and_new_rows_have_numbers() -> None:
    watching = monitor(labels=LabelSelection(names=list("abcdef"), ignore=[5]))
    _, told = fitted(replaced(NEW), watching)
    assert any(
        text.endswith("`names=` has 6 names and the head 11 rows: a row without a name shows its number.") for text in told
    )
    report = watching.last_report["val"]
    assert (report.num_live, report.names) == (10, ("a", "b", "c", "d", "e", "f", "6", "7", "8", "9", "10"))


def test_a_head_that_has_gone_is_let_go_and_the_training_goes_on() -> None:
    watching = monitor(head="fc")
    model, told = fitted(under_another_name, watching)
    assert len(model.seen) == 6
    (said,) = [text for text in told if "replaced" in text]
    assert said == (
        "LabelSimilarityMonitor: stopped after an error, and the run continues without it: HeadError: fc was replaced "
        "during the run, and the monitor does not watch it any more. Expected `head` to be the dotted path of a linear layer, "
        "got 'fc', which does not exist. Linear layers: 'body', 'new'."
    )


def test_alerts_monitored_keys_and_curves_carry_on() -> None:
    class Keys(Callback):
        """What other callbacks find at the end of each validation."""

        def __init__(self) -> None:
            self.found: list[float] = []

        @override
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.found.append(float(trainer.callback_metrics["cossim_val/overlap_mean"]))

    alert = Alert("overlap_mean", stage="val", above=0.0, patience=3)  # 6 labels have too few pairs, three larger heads follow
    watching = monitor(thresholds=Thresholds(min_inputs=0, min_reliability=0, alerts=[alert]))
    stopping, keys, logger = EarlyStopping("cossim_val/overlap_mean", patience=99), Keys(), MemoryLogger()
    told = fitted_every_epoch(watching, stopping, keys, logger=logger)
    assert len(keys.found) == 4
    assert not any(np.isnan(keys.found))
    assert list(logger.curve("cossim_val/overlap_mean")) == [5, 11, 17, 23]
    assert len([text for text in told if re.search("alert of cossim_val at step 23", text)]) == 1


def test_a_head_may_grow_many_times() -> None:
    watching = monitor()
    told = fitted_every_epoch(watching)
    assert len([text for text in told if "was replaced" in text]) == 3
    assert watching.last_report["val"].num_live == 13


def test_pages_and_the_tab_take_the_new_labels(tmp_path: Path) -> None:
    watching = monitor()
    _, told = fitted(replaced(NEW), watching, logger=TensorBoardLogger(tmp_path))
    assert not [text for text in told if "stopped after an error" in text or "left out" in text]
    assert watching.last_report["val"].num_live == NEW


def test_a_vocabulary_may_grow() -> None:
    watching = monitor(labels=LabelSelection(max_tracked=4, labels_per_input=5))
    _, told = fitted(replaced(NEW), watching)
    assert watching.last_report["val"].num_live == NEW
    assert not [text for text in told if "stopped after an error" in text]
