"""Ways to run a training, each with the head that users have most: one `nn.Linear`."""

from collections.abc import Callable
from typing import Any, Final

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks as theirs
from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from tests.compatibility.cells import Cell, Watched
from tests.compatibility.heads import mlp

__all__ = ["EXECUTION", "RUNNABLE"]


class Checkpointed(nn.Sequential):
    """All of it, the head included, is run again in the backward pass."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = checkpoint(super().forward, inputs, use_reentrant=False)
        return logits


class ByHand(Watched):
    """Manual optimization with an optimizer for each part."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.automatic_optimization = False

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)[0]
        optimizers: Any = self.optimizers()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    @override
    def configure_optimizers(self) -> Any:
        model: Any = self.model
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[0], model[2])]


def compiled() -> Any:
    """Compiled, and not called before the fit. Without kernels of its own: the graph is what matters."""
    torch.compiler.reset()
    inner: Any = torch.compile(mlp(), backend="eager")
    return nn.Sequential(inner)


def compiled_and_called() -> Any:
    """Called before the fit, to look at its shapes for example."""
    model = compiled()
    model(torch.zeros(8, 8))
    with torch.no_grad():
        model(torch.zeros(8, 8))
    model.eval()(torch.zeros(8, 8))
    with torch.no_grad():
        model(torch.zeros(8, 8))
    return model.train()


class Ema(Callback):
    """Puts averaged weights in place of the others for a validation, and takes them away before the monitor reports."""

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.average = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        for name, weight in pl_module.named_parameters():
            self.average[name].lerp_(weight.detach(), 0.5)

    @override
    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.swap(pl_module)

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.swap(pl_module)

    def swap(self, pl_module: pl.LightningModule) -> None:
        for name, weight in pl_module.named_parameters():
            weight.data, self.average[name] = self.average[name], weight.data


def averaging(kind: Callable[..., Callback], **settings: Any) -> Callable[[], list[Callback]]:
    return lambda: [kind(**settings)]


EXECUTION: Final[list[Cell]] = [
    Cell('`precision="bf16-mixed"`', mlp, run={"precision": "bf16-mixed"}),
    Cell('`precision="bf16-true"`', mlp, run={"precision": "bf16-true"}),
    Cell("gradient accumulation", mlp, run={"accumulate_grad_batches": 2}),
    Cell("gradient clipping", mlp, run={"gradient_clip_val": 0.1}),
    Cell("manual optimization, several optimizers", mlp, module=ByHand),
    Cell("activation checkpointing, the head included", lambda: Checkpointed(*mlp().children())),
    Cell("`torch.compile` of the model, first called in the fit", compiled),
    Cell(
        "`torch.compile` of the model, called before the fit",
        compiled_and_called,
        outcome="weights only",
        says="The head is part of a compiled module that was called before the fit",
    ),
    Cell("EMA weights that are swapped in for validation", mlp, callbacks=averaging(Ema)),
    Cell("`StochasticWeightAveraging`", mlp, callbacks=averaging(StochasticWeightAveraging, swa_lrs=0.05, swa_epoch_start=1)),
    Cell("`val_check_interval` within an epoch", mlp, run={"val_check_interval": 1}),
    Cell("`inference_mode=False`", mlp, run={"inference_mode": False}),
]
OWN_EMA: Final = Cell("Lightning's own `EMAWeightAveraging`", mlp, callbacks=lambda: [theirs.EMAWeightAveraging(decay=0.5)])
EXECUTION.append(OWN_EMA)
RUNNABLE: Final = [cell for cell in EXECUTION if cell is not OWN_EMA or hasattr(theirs, "EMAWeightAveraging")]
"""All, but for what Lightning has from 2.6 on."""
