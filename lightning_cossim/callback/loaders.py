"""Places: where the batches of a run come from. The Trainer is Lightning's, but this module does not import Lightning."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.references import DatasetOrder

__all__ = ["Places", "data_loaders"]


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


class Places:
    """Says where the batches of a run come from."""

    def __init__(self) -> None:
        self._orders: dict[str, Sequence[DatasetOrder]] = {}
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
        self._orders[stage] = ()
        with contextlib.suppress(Exception):  # a loader is the user's object and may do anything
            handlers = [one for one in (trainer.lightning_module, getattr(trainer, "datamodule", None)) if one is not None]
            self._orders[stage] = [DatasetOrder.of(loader, handlers=handlers) for loader in data_loaders(trainer, stage)]

    def of(self, trainer: Any, stage: str, batch_idx: int, dataloader_idx: int = 0) -> Place:
        """The place of a batch. A training batch that combines several loaders has no loader."""
        orders = self._orders.get(stage, ())
        if stage == "train" and len(orders) != 1:
            return Place(None, batch_idx)
        if stage == "train" and trainer.current_epoch == self._resumed_epoch:
            return Place(dataloader_idx, batch_idx)
        return Place(dataloader_idx, batch_idx, orders[dataloader_idx] if dataloader_idx < len(orders) else None)
