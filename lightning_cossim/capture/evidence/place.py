"""Place: where a batch comes from."""

from typing import Final, NamedTuple

from lightning_cossim.capture.evidence.dataset_order import DatasetOrder

__all__ = ["NOWHERE", "Place"]


class Place(NamedTuple):
    """Where a batch comes from."""

    loader: int | None = None
    """Index of the data loader."""
    batch: int | None = None
    """Index of the batch in its epoch."""
    order: DatasetOrder | None = None
    """The order in which the loader reads its dataset."""


NOWHERE: Final = Place()
"""The place of a batch of which nothing is known."""
