"""Places: where the batches of a run come from. The Trainer is Lightning's, but this module does not import Lightning."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.references import DatasetOrder

__all__ = ["Places", "data_loaders", "is_sequential"]


def data_loaders(trainer: Any, stage: str) -> list[Any]:
    """The data loaders of a stage, in the order of Lightning's `dataloader_idx`; empty if they are not known.

    Args:
        trainer: a Trainer in a run of this stage.
        stage: "train", "val" or "test".
    """
    loaders = getattr(trainer, {"train": "train_dataloader", "val": "val_dataloaders", "test": "test_dataloaders"}[stage], None)
    return [] if loaders is None else _flat(loaders)


def _flat(loaders: Any) -> list[Any]:
    """All loaders of a nested collection, depth first, as Lightning numbers them."""
    parts = loaders.values() if isinstance(loaders, Mapping) else loaders
    return [one for part in parts for one in _flat(part)] if isinstance(loaders, Mapping | list | tuple) else [loaders]


def is_sequential(trainer: Any, stage: str) -> bool:
    """Whether the loaders of a stage are read one after another. False if batches combine them, or if it is unknown."""
    if stage == "train":
        return False
    loops = [trainer.test_loop] if stage == "test" else [trainer.fit_loop.epoch_loop.val_loop, trainer.validate_loop]
    # Private, but nothing public tells it. Without it, several loaders have no index.
    combined = next((one for one in (getattr(loop, "_combined_loader", None) for loop in loops) if one is not None), None)
    return getattr(combined, "_mode", None) == "sequential"


class Places:
    """Says where the batches of a run come from."""

    def __init__(self) -> None:
        self._orders: dict[str, Sequence[DatasetOrder]] = {}
        self._is_sequential: dict[str, bool] = {}
        self._resumed_epoch: int | None = None
        """The epoch in which a fit resumed. Its loader starts anew, so the index of a batch says nothing about its inputs."""

    def start_fit(self, resumed_epoch: int | None) -> None:
        """A fit starts.

        Args:
            resumed_epoch: the epoch in the middle of which the fit resumes; None if it starts with a new epoch.
        """
        self._resumed_epoch = resumed_epoch

    def start(self, trainer: Any, stage: str) -> None:
        """Look at the loaders of a stage, which may be new in every run or epoch. If that fails, no index is known."""
        self._orders[stage], self._is_sequential[stage] = (), False
        with contextlib.suppress(Exception):  # a loader is the user's object and may do anything
            handlers = [one for one in (trainer.lightning_module, getattr(trainer, "datamodule", None)) if one is not None]
            self._orders[stage] = [DatasetOrder.of(loader, handlers=handlers) for loader in data_loaders(trainer, stage)]
            self._is_sequential[stage] = is_sequential(trainer, stage)

    def of(self, trainer: Any, stage: str, batch_idx: int, dataloader_idx: int = 0) -> Place:
        """The place of a batch. A batch that combines several loaders has no loader."""
        orders = self._orders.get(stage, ())
        if (stage == "train" and not orders) or (len(orders) > 1 and not self._is_sequential.get(stage)):
            return Place(None, batch_idx)
        if stage == "train" and trainer.current_epoch == self._resumed_epoch:
            return Place(dataloader_idx, batch_idx)
        return Place(dataloader_idx, batch_idx, orders[dataloader_idx] if dataloader_idx < len(orders) else None)
