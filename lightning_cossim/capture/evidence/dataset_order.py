"""Dataset order: which item of a dataset is in which row of which batch, if torch's own loader and samplers read it in order.

Nothing is guessed: if anything could sort, drop or repeat inputs in another way, the order is unknown.
"""

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from lightning_cossim.errors import in_one_line
from lightning_cossim.report.tables import printable

__all__ = ["DatasetOrder"]

_REMEDY: Final = "; pass `Evidence(ids_key=…)` to find its inputs"
_READING: Final = ("__iter__", "__getattribute__", "_get_iterator", "_index_sampler", "_auto_collation")
"""Methods and properties by which a `DataLoader` reads. Some are private: a class without them reads as torch does."""
_TRANSFER: Final = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Lightning's hooks that may replace a batch after the loader has made it."""
_LIGHTNING: Final = ("lightning", "pytorch_lightning", "lightning_fabric")
_WRAPPERS: Final = ("DistributedSamplerWrapper", "UnrepeatedDistributedSamplerWrapper")
"""Lightning's samplers for several processes that share the indices of another sampler."""


class _UnknownError(Exception):
    """The order cannot be known. The text says why."""


class _Indices(NamedTuple):
    """The indices that a sampler gives: `first`, `first + stride` and so on below `end`, modulo `length`."""

    first: int
    stride: int
    end: int
    length: int


@dataclass(frozen=True)
class DatasetOrder:
    """The order in which a data loader reads its dataset: which item is in which row of which batch.

    The index is that of `loader.dataset`. If this is a `Subset`, it is the index in the subset.
    """

    why_unknown: str | None = None
    """Why the order is not known, and what to do, a part of a sentence; None if it is known."""
    indices: _Indices | None = None
    batch_size: int = 1
    drop_last: bool = False

    @classmethod
    def of(cls, loader: object, *, handlers: Iterable[object] = ()) -> Self:
        """The order of a data loader. Call it at the start of each epoch, with the loader that the epoch reads.

        With several processes, it is the order of this process: Lightning replaces the sampler, and the new sampler says which
        part of the dataset it reads.

        Args:
            loader: anything; the order of a list of loaders or of a `CombinedLoader` is not known.
            handlers: the objects whose hooks may replace a batch: the Lightning module and the data module. If one of them
                overrides such a hook, the order is not known, because the hook may sort or drop rows.

        Returns:
            The order; if it is not certain, one that knows no index and says why.
        """
        try:
            _check_handlers(handlers)
            known = _checked(loader)
            batches = _batch_sampler(known)
            return cls(None, _indices_of(batches.sampler, known.dataset), batches.batch_size, batches.drop_last)
        except _UnknownError as why:
            return cls(f"{why}{_REMEDY}")
        except Exception as error:  # noqa: BLE001 - the loader, sampler and dataset are the user's and may do anything
            return cls(f"the data loader cannot be inspected ({printable(in_one_line(error))}){_REMEDY}")

    @classmethod
    def of_rows(cls, first: int, num: int) -> Self:
        """The order of a single batch with `num` rows, which are the items from `first` on."""
        return cls(None, _Indices(first, 1, first + num, first + num), num)

    def index(self, batch: int, rows: NDArray[np.int64], num_rows: int) -> NDArray[np.int64]:
        """The index in the dataset of the inputs in some rows of a batch.

        Args:
            batch: the number of batches that the loader gave before this one in this epoch, at least 0. After Lightning resumes
                in the middle of a training epoch, its `batch_idx` is larger, because the loader starts anew.
            rows: int64 (N,), rows of the batch; negative if not known.
            num_rows: the number of rows that the batch really has.

        Returns:
            int64 (N,), -1 where the index is not known. All are -1 if the order predicts another number of rows.
        """
        if self.indices is None or batch < 0:
            return np.full(len(rows), -1)
        first, stride, end, length = self.indices
        start = batch * self.batch_size
        size = min(self.batch_size, len(range(first, end, stride)) - start)
        is_given = size == self.batch_size or (size > 0 and not self.drop_last)
        if not is_given or size != num_rows:
            return np.full(len(rows), -1)
        return np.where((rows >= 0) & (rows < size), (first + stride * (start + rows)) % length, -1)


def _checked(loader: object) -> DataLoader[Any]:
    """The loader, if it is torch's and gives the batches of a map-style dataset, in order and as torch collates them."""
    if not isinstance(loader, DataLoader):
        raise _UnknownError(f"the data loader is no torch `DataLoader` but a `{type(loader).__name__}`")
    kinds = type(loader).__mro__
    own = {name for kind in kinds[: kinds.index(DataLoader)] for name in vars(kind)} | vars(loader).keys()
    if own & {*_READING}:
        raise _UnknownError(f"the data loader's class `{type(loader).__name__}` reads the dataset in its own way")
    if isinstance(loader.dataset, IterableDataset):
        raise _UnknownError("the dataset is an `IterableDataset`, whose items have no index")
    if not isinstance(loader.dataset, Sized):
        raise _UnknownError("the dataset has no length")
    if loader.num_workers > 0 and not getattr(loader, "in_order", True):
        raise _UnknownError("the data loader has `in_order=False`, so a batch may overtake another")
    if _reads_several(loader.dataset):
        raise _UnknownError("the dataset has `__getitems__`, which may sort or drop inputs")
    if loader.worker_init_fn is not None and loader.num_workers > 0:
        raise _UnknownError("the data loader has a `worker_init_fn`, which may change the dataset")
    if loader.collate_fn is not default_collate and loader.batch_sampler is not None:
        raise _UnknownError("the data loader has its own `collate_fn`, which may sort or drop inputs")
    return loader


def _reads_several(dataset: Any) -> bool:
    """Whether a dataset reads several items at once by a method of its own. The library `datasets` keeps the order."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    is_known = type(dataset).__module__.partition(".")[0] in {"datasets", "torch"}
    return hasattr(dataset, "__getitems__") and not is_known


def _check_handlers(handlers: Iterable[object]) -> None:
    """Check that no object overrides a hook of Lightning that may replace a batch."""
    for handler in handlers:
        for hook in _TRANSFER:
            method = getattr(handler, hook, None)
            if method is not None and not _is_lightnings(method):
                raise _UnknownError(f"`{type(handler).__name__}.{hook}` may sort or drop the inputs of a batch")


def _batch_sampler(loader: DataLoader[Any]) -> BatchSampler:
    """The sampler that groups indices into batches, if it is torch's."""
    batches: Any = loader.batch_sampler
    if batches is None:
        raise _UnknownError("the data loader has `batch_size=None`, so it does not form the batches")
    if type(batches).__name__ == "_IndexBatchSamplerWrapper" and _is_lightnings(type(batches)):
        # Lightning's wrapper for predictions has no public way to what it wraps.
        batches = getattr(batches, "_batch_sampler", None)
    if type(batches) is not BatchSampler:
        raise _UnknownError(f"the data loader has its own batch sampler, a `{type(batches).__name__}`")
    return batches


def _indices_of(sampler: Any, dataset: Any) -> _Indices:
    """The indices that a sampler gives, if it is torch's or Lightning's and does not shuffle."""
    if isinstance(sampler, RandomSampler):
        raise _UnknownError("the data loader shuffles")
    if type(sampler) is SequentialSampler:
        source, first, stride, end = sampler.data_source, 0, 1, len(dataset)
    elif type(sampler) is DistributedSampler or _is_lightnings(type(sampler)):
        if sampler.shuffle:
            raise _UnknownError("the data loader shuffles")
        source, first, stride, end = _shared_source(sampler), sampler.rank, sampler.num_replicas, sampler.total_size
    else:
        raise _UnknownError(f"the data loader has its own sampler, a `{type(sampler).__name__}`")
    if source is not dataset:
        raise _UnknownError("the data loader's sampler was made for another dataset")
    return _Indices(first, stride, end, len(dataset))


def _shared_source(sampler: Any) -> Any:
    """The dataset whose indices a sampler shares with other processes, in order."""
    if type(sampler) is DistributedSampler or type(sampler).__name__ == "UnrepeatedDistributedSampler":
        return sampler.dataset
    # Lightning's wrappers have no public way to the sampler whose indices they share.
    shared = getattr(sampler.dataset, "_sampler", None) if type(sampler).__name__ in _WRAPPERS else sampler
    if type(shared) is not SequentialSampler:
        raise _UnknownError(f"the data loader has its own sampler, a `{type(shared).__name__}`")
    return shared.data_source


def _is_lightnings(defined: Any) -> bool:
    """Whether a class or function is one of Lightning's own. Nothing in this module imports Lightning."""
    return str(getattr(defined, "__module__", "")).partition(".")[0] in _LIGHTNING
