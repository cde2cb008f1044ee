"""The data loaders of a run, in the order of Lightning's `dataloader_idx`. The Trainer is Lightning's."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_cossim.capture.evidence import Place
from lightning_cossim.capture.references import DatasetOrder

__all__ = ["Places", "data_loaders"]


def data_loaders(trainer: Any, stage: str) -> list[Any]:
    """The data loaders of a stage, in the order of their indices; empty if they are not known.

    Args:
        trainer: a Lightning Trainer in a run of this stage.
        stage: "train", "val" or "test".
    """
    names = {"train": "train_dataloader", "val": "val_dataloaders", "test": "test_dataloaders"}
    loaders = getattr(trainer, names[stage], None)
    return [] if loaders is None else _flat(loaders)


def _flat(loaders: Any) -> list[Any]:
    """All loaders of a nested collection, depth first, as Lightning numbers them."""
    if isinstance(loaders, Mapping):
        return [one for value in loaders.values() for one in _flat(value)]
    if isinstance(loaders, list | tuple):
        return [one for value in loaders for one in _flat(value)]
    return [loaders]


class Places:
    """Says where the batches of a run come from."""

    def __init__(self) -> None:
        self._orders: dict[str, Sequence[DatasetOrder]] = {}

    def start(self, trainer: Any, stage: str) -> None:
        """Look at the loaders of a stage, which may be new at every run or epoch."""
        num, rank = trainer.world_size, trainer.global_rank
        self._orders[stage] = [DatasetOrder.of(loader, num_processes=num, rank=rank) for loader in data_loaders(trainer, stage)]

    def of(self, stage: str, dataloader_idx: int, batch_idx: int) -> Place:
        """The place of a batch. Training on several loaders at once has no loader index."""
        orders = self._orders.get(stage, ())
        if stage == "train" and len(orders) != 1:
            return Place(None, batch_idx, None)
        order = orders[dataloader_idx] if dataloader_idx < len(orders) else None
        return Place(dataloader_idx, batch_idx, order)
