"""Which item of the dataset is in which row of a batch: by content, for real loaders; and which loaders are not trusted."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.overrides.distributed import (
    UnrepeatedDistributedSampler,
    UnrepeatedDistributedSamplerWrapper,
    _IndexBatchSamplerWrapper,
)
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor, distributed, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)
from typing_extensions import override

from lightning_cossim.capture.evidence.dataset_order import DatasetOrder
from tests.callback.test_processes import PATIENCE, found_by
from tests.toys import trainer


class Squares(Dataset[int]):
    """Item i is 1000 + i², so that an item tells its index."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    @override
    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return 1000 + index**2


class SquaresAtOnce(Squares):
    """Read by many indices at once."""

    def __getitems__(self, indices: list[int]) -> list[int]:
        return [self[index] for index in indices]


class Stream(IterableDataset[int]):
    """The same, without indices, though with a length."""

    def __len__(self) -> int:
        return 10

    @override
    def __iter__(self) -> Iterator[int]:
        return iter(Squares(10)[index] for index in range(10))


def indices(order: DatasetOrder, batch_idx: int, batch: Tensor) -> list[int]:
    found = order.index(batch_idx, np.arange(len(batch)), len(batch))
    assert found.dtype == np.int64
    values: list[int] = found.tolist()
    return values


def assert_known(loader: DataLoader[Any]) -> None:
    """Every row of every batch holds the item at its index."""
    order = DatasetOrder.of(loader)
    assert order.why_unknown is None
    for batch_idx, batch in enumerate(loader):
        assert [loader.dataset[index] for index in indices(order, batch_idx, batch)] == batch.tolist()


def assert_unknown(loader: object, why: str) -> None:
    order = DatasetOrder.of(loader)
    assert order.why_unknown is not None
    assert why in order.why_unknown
    assert "`Evidence(ids_key=…)`" in order.why_unknown
    assert order.index(0, np.arange(3), 3).tolist() == [-1, -1, -1]


# Known


@given(length=st.integers(1, 20), batch_size=st.integers(1, 7), drop_last=st.booleans())
def test_a_sequential_loader_is_known(length: int, batch_size: int, *, drop_last: bool) -> None:
    assert_known(DataLoader(Squares(length), batch_size=batch_size, drop_last=drop_last))


def test_a_dataset_that_reads_several_items_at_once_is_unknown() -> None:
    """It may sort or drop them; a subset of it, too. That of torch is known."""
    for dataset in (SquaresAtOnce(9), Subset(SquaresAtOnce(9), [0, 1])):
        assert "`__getitems__`" in (DatasetOrder.of(DataLoader(dataset)).why_unknown or "")
    assert DatasetOrder.of(DataLoader(Subset(Squares(9), [0, 1]))).why_unknown is None


def test_workers_that_may_change_the_dataset_are_unknown() -> None:
    loader = DataLoader(Squares(9), num_workers=1, worker_init_fn=print)
    assert "`worker_init_fn`" in (DatasetOrder.of(loader).why_unknown or "")


@given(
    length=st.integers(1, 17),
    num_replicas=st.integers(1, 5),
    batch_size=st.integers(1, 5),
    drop_batch=st.booleans(),
    kind=st.sampled_from(["pad", "drop", "wrapper", "wrapper that drops", "unrepeated", "unrepeated wrapper"]),
)
def test_each_process_knows_its_part(length: int, num_replicas: int, batch_size: int, kind: str, *, drop_batch: bool) -> None:
    """With items that are read twice to fill up, more of them than the dataset has among others, and with dropped ones."""
    dataset = Squares(length)
    wrapped, drops = "wrapper" in kind, "drop" in kind
    for rank in range(num_replicas):
        if "unrepeated" in kind and rank >= length:
            continue  # Lightning refuses a process without inputs
        sampler: Any
        settings: Any = {"num_replicas": num_replicas, "rank": rank, "shuffle": False, "drop_last": drops}
        if "unrepeated" in kind:
            settings.pop("drop_last")
            kinds: Any = UnrepeatedDistributedSamplerWrapper if wrapped else UnrepeatedDistributedSampler
            sampler = kinds(SequentialSampler(dataset) if wrapped else dataset, **settings)
        elif wrapped:
            sampler = DistributedSamplerWrapper(SequentialSampler(dataset), **settings)
        else:
            sampler = DistributedSampler(dataset, **settings)
        assert_known(DataLoader(dataset, batch_size=batch_size, drop_last=drop_batch, sampler=sampler))


def test_more_padding_than_items_is_known() -> None:
    """Two items for five processes: the last one reads item 0 a third time."""
    dataset = Squares(2)
    sampler: DistributedSampler[int] = DistributedSampler(dataset, num_replicas=5, rank=4, shuffle=False)
    order = DatasetOrder.of(DataLoader(dataset, sampler=sampler))
    assert order.index(0, np.array([0]), 1).tolist() == [0]


def test_the_index_of_a_subset_is_that_in_the_subset() -> None:
    subset = Subset(Squares(20), [7, 3, 11])
    loader = DataLoader(subset, batch_size=3)
    assert_known(loader)
    assert DatasetOrder.of(loader).index(0, np.arange(3), 3).tolist() == [0, 1, 2]


class Named(DataLoader[int]):
    """A loader with something that does not change how it reads."""

    def __init__(self, *args: Any, name: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.name = name

    @override
    def __len__(self) -> int:
        return super().__len__()


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_keep_the_order_are_known(*, persistent: bool) -> None:
    loader = DataLoader(Squares(11), batch_size=3, num_workers=2, persistent_workers=persistent)
    for _ in range(2):
        assert_known(loader)


def test_a_subclass_that_reads_as_torch_does_is_known() -> None:
    assert_known(Named(Squares(10), batch_size=4, name="a"))


def test_a_loader_with_a_batch_sampler_of_torch_is_known() -> None:
    dataset = Squares(10)
    assert_known(DataLoader(dataset, batch_sampler=BatchSampler(SequentialSampler(dataset), 4, drop_last=True)))


def test_the_batches_of_lightnings_predictions_are_known() -> None:
    dataset = Squares(10)
    batches: Any = _IndexBatchSamplerWrapper(BatchSampler(SequentialSampler(dataset), 4, drop_last=False))
    assert_known(DataLoader(dataset, batch_sampler=batches))


# Known, but not of this batch or row


@pytest.mark.parametrize(
    ("batch", "num_rows"),
    [(0, 3), (0, 5), (2, 4), (2, 1), (3, 4), (3, 0), (-1, 4)],
    ids=["fewer", "more", "too many in the last", "too few in the last", "behind the end", "none", "negative"],
)
def test_a_batch_of_another_size_than_expected_is_unknown(batch: int, num_rows: int) -> None:
    order = DatasetOrder.of(DataLoader(Squares(10), batch_size=4))
    assert order.index(batch, np.arange(num_rows), num_rows).tolist() == [-1] * num_rows


def test_a_dropped_batch_is_unknown() -> None:
    order = DatasetOrder.of(DataLoader(Squares(10), batch_size=4, drop_last=True))
    assert order.index(1, np.arange(4), 4).tolist() == [4, 5, 6, 7]
    assert order.index(2, np.arange(2), 2).tolist() == [-1, -1]


def test_a_row_that_is_not_in_the_batch_is_unknown() -> None:
    order = DatasetOrder.of(DataLoader(Squares(10), batch_size=4))
    assert order.index(1, np.array([3, -1, 4, 0, 0]), 4).tolist() == [7, -1, -1, 4, 4]


# Unknown


class Backward(SequentialSampler):
    @override
    def __iter__(self) -> Iterator[int]:
        return reversed(range(len(self.data_source)))


class BackwardShared(DistributedSampler[int]):
    @override
    def __iter__(self) -> Iterator[int]:
        return iter([*super().__iter__()][::-1])


class BackwardUnrepeated(UnrepeatedDistributedSampler):
    @override
    def __iter__(self) -> Any:
        return iter([*super().__iter__()][::-1])


class Renamed(BackwardShared): ...


Renamed.__name__ = "UnrepeatedDistributedSampler"  # other libraries have samplers with the names of Lightning's


class BackwardBatches(BatchSampler):
    @override
    def __iter__(self) -> Iterator[list[int]]:
        return iter([*super().__iter__()][::-1])


class ByHand(Sampler[list[int]]):
    """Batches of unequal size."""

    def __len__(self) -> int:
        return 2

    @override
    def __iter__(self) -> Iterator[list[int]]:
        return iter([[5, 4, 3], [9]])


class BackwardLoader(DataLoader[int]):
    @override
    def __iter__(self) -> Any:
        return iter([*super().__iter__()][::-1])


class BackwardReader(DataLoader[int]):
    @override
    def _get_iterator(self) -> Any:
        return iter([*super()._get_iterator()][::-1])


class Mixed(BackwardLoader, Named): ...


class Endless(Dataset[int]):
    @override
    def __getitem__(self, index: int) -> int:
        return index


class Broken(Squares):
    @override
    def __len__(self) -> int:
        raise OSError("the file\nis gone")


def backward(items: list[int]) -> Tensor:
    return torch.tensor(items[::-1])


def shared(**settings: Any) -> DataLoader[int]:
    return DataLoader(TEN, batch_size=3, sampler=DistributedSampler(TEN, num_replicas=2, rank=1, **settings))


def wrapping(sampler: Any, kind: Any = DistributedSamplerWrapper, **settings: Any) -> DataLoader[int]:
    settings = {"shuffle": False, **settings}
    return DataLoader(TEN, batch_size=3, sampler=kind(sampler, num_replicas=2, rank=1, **settings))


def patched(**attributes: Any) -> DataLoader[int]:
    loader = DataLoader(TEN, batch_size=3)
    for name, value in attributes.items():
        setattr(loader, name, value)
    return loader


def without_private_parts() -> DataLoader[int]:
    """A later Lightning may keep the wrapped sampler elsewhere."""
    loader = wrapping(SequentialSampler(TEN))
    sampler: Any = loader.sampler
    sampler.dataset.inner = sampler.dataset.__dict__.pop("_sampler")
    return loader


def changed_wrapper() -> DataLoader[int]:
    wrapper: Any = _IndexBatchSamplerWrapper(BatchSampler(SequentialSampler(TEN), 3, drop_last=False))
    loader = DataLoader(TEN, batch_sampler=wrapper)
    wrapper.__dict__.pop("_batch_sampler")
    return loader


TEN = Squares(10)
SHUFFLES, SAMPLER, COLLATE = "shuffles", "its own sampler", "its own `collate_fn`"
UNKNOWN: dict[str, tuple[Callable[[], object], str]] = {
    "shuffle": (lambda: DataLoader(TEN, batch_size=3, shuffle=True), SHUFFLES),
    "shuffle within a batch sampler": (
        # `loader.sampler` is sequential here
        lambda: DataLoader(TEN, batch_sampler=BatchSampler(RandomSampler(TEN), 3, drop_last=False)),
        SHUFFLES,
    ),
    "shared, shuffled": (lambda: shared(shuffle=True), SHUFFLES),
    "shared, shuffled by default": (shared, SHUFFLES),
    "unrepeated, shuffled": (lambda: wrapping(TEN, UnrepeatedDistributedSampler, shuffle=True), SHUFFLES),
    "shuffle within Lightning's wrapper": (lambda: wrapping(RandomSampler(TEN)), SAMPLER),
    "backward within Lightning's wrapper": (lambda: wrapping(Backward(TEN)), SAMPLER),
    "a list within Lightning's wrapper": (lambda: wrapping([3, 1, 2]), SAMPLER),
    "backward within Lightning's other wrapper": (
        lambda: wrapping(Backward(TEN), UnrepeatedDistributedSamplerWrapper),
        SAMPLER,
    ),
    "Lightning's wrapper, changed": (without_private_parts, SAMPLER),
    "Lightning's wrapper of batches, changed": (changed_wrapper, "its own batch sampler"),
    "Lightning's wrapper of own batches": (
        lambda: DataLoader(TEN, batch_sampler=_IndexBatchSamplerWrapper(ByHand())),
        "its own batch sampler",
    ),
    "weighted": (lambda: DataLoader(TEN, batch_size=3, sampler=WeightedRandomSampler([1.0] * 10, 10)), SAMPLER),
    "random subset": (lambda: DataLoader(TEN, batch_size=3, sampler=SubsetRandomSampler(range(5))), SAMPLER),
    "list as sampler": (lambda: DataLoader(TEN, batch_size=3, sampler=[4, 2, 9]), SAMPLER),
    "subclass of sampler": (lambda: DataLoader(TEN, batch_size=3, sampler=Backward(TEN)), SAMPLER),
    "subclass of shared sampler": (
        lambda: DataLoader(TEN, sampler=BackwardShared(TEN, num_replicas=2, rank=0, shuffle=False)),
        SAMPLER,
    ),
    "another library's sampler with a name of Lightning's": (lambda: wrapping(TEN, Renamed), SAMPLER),
    "subclass of Lightning's sampler": (lambda: wrapping(TEN, BackwardUnrepeated), SAMPLER),
    "sampler of another dataset": (
        lambda: DataLoader(TEN, batch_size=3, sampler=SequentialSampler(Squares(10))),
        "another dataset",
    ),
    "shared sampler of another dataset": (
        lambda: DataLoader(TEN, sampler=DistributedSampler(Squares(6), num_replicas=2, rank=0, shuffle=False)),
        "another dataset",
    ),
    "sampler of a subset": (
        lambda: DataLoader(TEN, sampler=DistributedSampler(Subset(TEN, [5, 6]), num_replicas=2, rank=0, shuffle=False)),
        "another dataset",
    ),
    "shared list of indices": (
        lambda: DataLoader(TEN, sampler=DistributedSampler([7, 8, 9], num_replicas=2, rank=0, shuffle=False)),  # type: ignore[arg-type]
        "another dataset",
    ),
    "subclass of batch sampler": (
        lambda: DataLoader(TEN, batch_sampler=BackwardBatches(SequentialSampler(TEN), 3, drop_last=False)),
        "its own batch sampler",
    ),
    "own batch sampler": (lambda: DataLoader(TEN, batch_sampler=ByHand()), "its own batch sampler"),
    "list of batches": (lambda: DataLoader(TEN, batch_sampler=[[3, 2], [1]]), "its own batch sampler"),
    "no batches": (lambda: DataLoader(TEN, batch_size=None), "`batch_size=None`"),
    "batches as samples": (
        lambda: DataLoader(TEN, batch_size=None, sampler=BatchSampler(SequentialSampler(TEN), 3, drop_last=False)),
        "`batch_size=None`",
    ),
    "own collate": (lambda: DataLoader(TEN, batch_size=3, collate_fn=backward), COLLATE),
    "collate by a function that calls torch's": (
        lambda: DataLoader(TEN, batch_size=3, collate_fn=lambda items: default_collate(sorted(items, reverse=True))),
        COLLATE,
    ),
    "collate set later": (lambda: patched(collate_fn=backward), COLLATE),
    "iterable": (lambda: DataLoader(Stream(), batch_size=3), "`IterableDataset`"),
    "no length": (lambda: DataLoader(Endless(), sampler=SequentialSampler(TEN)), "no length"),
    "broken length": (lambda: DataLoader(Broken(10), batch_size=3), "cannot be inspected (OSError: the file is gone)"),
    "subclass of loader": (lambda: BackwardLoader(TEN, batch_size=3), "`BackwardLoader` reads the dataset in its own way"),
    "subclass that reads otherwise": (lambda: BackwardReader(TEN, batch_size=3), "in its own way"),
    "subclass of subclasses": (lambda: Mixed(TEN, batch_size=3, name="a"), "in its own way"),
    "reader set later": (lambda: patched(_get_iterator=lambda: iter([torch.tensor([5, 4, 3])])), "in its own way"),
    "overtaking workers": (lambda: DataLoader(TEN, batch_size=3, num_workers=2, in_order=False), "`in_order=False`"),
    "combined": (lambda: CombinedLoader([DataLoader(TEN)]), "no torch `DataLoader` but a `CombinedLoader`"),
    "list": (lambda: [DataLoader(TEN)], "no torch `DataLoader` but a `list`"),
    "dictionary": (lambda: {"a": DataLoader(TEN)}, "`dict`"),
    "generator": (lambda: (batch for batch in DataLoader(TEN)), "`generator`"),
    "nothing": (lambda: None, "`NoneType`"),
    "class": (lambda: DataLoader, "`type`"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_certain_is_unknown(case: str) -> None:
    make, why = UNKNOWN[case]
    assert_unknown(make(), why)


def test_without_workers_no_batch_overtakes_another() -> None:
    assert_known(DataLoader(TEN, batch_size=3, in_order=False))


def test_a_dataset_that_grew_after_its_batches_were_counted_is_unknown_at_the_end() -> None:
    dataset = Squares(10)
    order = DatasetOrder.of(DataLoader(dataset, batch_size=4))
    dataset.length = 12
    assert order.index(2, np.arange(4), 4).tolist() == [-1] * 4


class Items(Squares):
    """Batches of fewer rows than indices: a corrupt item is dropped."""

    def __getitems__(self, wanted: list[int]) -> list[int]:
        return [self[index] for index in wanted if index != 5]


def test_a_batch_from_which_the_dataset_dropped_items_is_unknown() -> None:
    loader = DataLoader(Items(10), batch_size=4)
    order = DatasetOrder.of(loader)
    found = [indices(order, batch_idx, batch) for batch_idx, batch in enumerate(loader)]
    assert found == [[-1, -1, -1, -1], [-1, -1, -1], [-1, -1]]
    assert "`__getitems__`" in (order.why_unknown or "")


# Hooks that replace batches


class Plain(pl.LightningModule):
    """Learns nothing from its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    @override
    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.weight * 2

    @override
    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None: ...

    @override
    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return batch

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Sorting(Plain):
    @override
    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        return batch.flip(0)


class SortingData(pl.LightningDataModule):
    @override
    def on_before_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        return batch.flip(0)


def test_hooks_that_may_sort_a_batch_make_its_order_unknown() -> None:
    loader = DataLoader(TEN, batch_size=3)
    assert DatasetOrder.of(loader, handlers=[Plain(), pl.LightningDataModule(), None]).why_unknown is None
    model = DatasetOrder.of(loader, handlers=[Sorting()])
    assert "`Sorting.on_after_batch_transfer` may sort or drop" in str(model.why_unknown)
    data = DatasetOrder.of(loader, handlers=[Plain(), SortingData()])
    assert "`SortingData.on_before_batch_transfer` may sort or drop" in str(data.why_unknown)


def test_a_hook_that_one_object_has_of_its_own_makes_the_order_unknown() -> None:
    model: Any = Plain()
    model.transfer_batch_to_device = lambda batch, device, dataloader_idx: batch.flip(0)
    assert "transfer_batch_to_device" in str(DatasetOrder.of(DataLoader(TEN), handlers=[model]).why_unknown)


# Lightning


class Recorder(Callback):
    """For each batch: stage, data loader, the items, their indices, and why these are not known."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, list[int], list[int], str | None]] = []

    def see(self, stage: str, given: Any, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        loader = given[dataloader_idx] if isinstance(given, list) else given
        order = DatasetOrder.of(loader)
        self.seen.append((stage, dataloader_idx, batch.tolist(), indices(order, batch_idx, batch), order.why_unknown))

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.see("train", trainer.train_dataloader, batch, batch_idx)

    @override
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.see("val", trainer.val_dataloaders, batch, batch_idx, dataloader_idx)

    @override
    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.see("predict", trainer.predict_dataloaders, batch, batch_idx, dataloader_idx)


def loaders() -> dict[str, DataLoader[int]]:
    """Data loaders of a user; the first ones are known when Lightning has replaced their samplers."""
    known = {
        f"{length} items, {batch_size} a batch, drop_last={drop_last}": DataLoader(
            Squares(length), batch_size=batch_size, drop_last=drop_last
        )
        for length in (9, 10, 11, 13)
        for batch_size, drop_last in ((1, False), (3, False), (3, True))
    }
    dataset, subset = Squares(9), Subset(Squares(9), [8, 1, 5, 3, 2])
    return {
        **known,
        "shuffled": DataLoader(dataset, batch_size=2, shuffle=True),
        "subset": DataLoader(subset, batch_size=2),
        "backward": DataLoader(dataset, batch_size=2, sampler=Backward(dataset)),  # in order with several processes only
        "weighted": DataLoader(dataset, batch_size=2, sampler=WeightedRandomSampler([1.0] * 9, 9)),
        "own collate": DataLoader(dataset, batch_size=2, collate_fn=backward),
        "iterable": DataLoader(Stream(), batch_size=2),
    }


ALWAYS_UNKNOWN = {"shuffled", "weighted", "own collate", "iterable"}
UNKNOWN_ALONE = {*ALWAYS_UNKNOWN, "backward"}


def run(num_processes: int = 1, **settings: Any) -> list[tuple[str, int, list[int], list[int], str | None]]:
    """What a fit, and the predictions after it, see in one process."""
    recorder = Recorder()
    settings = {"max_epochs": 2, "num_sanity_val_steps": 1, "callbacks": [recorder], **settings}
    several: Any = {"strategy": DDPStrategy(), "devices": num_processes} if num_processes > 1 else {}
    run = trainer(**several, **settings)
    model = Plain()
    run.fit(model, DataLoader(Squares(7), batch_size=2), [*loaders().values()])
    run.predict(model, DataLoader(Squares(7), batch_size=2), return_predictions=False)
    return recorder.seen


def check(seen: list[Any], unknown: set[str]) -> None:
    given = loaders()
    for stage, loader, items, found, why in seen:
        name, dataset = [*given.items()][loader][0], [*given.values()][loader].dataset
        dataset = dataset if stage == "val" else Squares(7)
        if stage in unknown or (stage == "val" and name in unknown):
            assert why is not None
            assert found == [-1] * len(items)
        else:
            assert why is None
            assert [dataset[index] for index in found] == items
    assert {stage for stage, *_ in seen} == {"train", "val", "predict"}
    assert {loader for stage, loader, *_ in seen if stage == "val"} == set(range(len(given)))


def work(rank: int, num_processes: int, folder: Path) -> None:
    """What one process sees."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # to Lightning: it has been started already
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_processes, timeout=PATIENCE)
    torch.save({"seen": run(num_processes)}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def _server() -> Iterator[None]:
    """A server that has imported everything, from which the processes come at once."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    with mock.patch.dict(os.environ, {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}):
        multiprocessing.set_forkserver_preload([__name__])
        yield
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_server")
@pytest.mark.parametrize("num_processes", [2, 3])
def test_the_samplers_that_lightning_puts_in_are_known(num_processes: int, tmp_path: Path) -> None:
    """In validation and in predictions, with every remainder of the items; all processes together see the whole dataset.

    In training with several processes, Lightning shuffles even if the user does not.
    """
    processes = found_by(work, (num_processes,), num_processes, tmp_path)
    for process in processes:
        check(process["seen"], {*ALWAYS_UNKNOWN, "train"})
    seen = [one for process in processes for one in process["seen"]]
    assert {index for stage, loader, _, found, _ in seen if (stage, loader) == ("val", 0) for index in found} == set(range(9))
    assert {index for stage, _, _, found, _ in seen if stage == "predict" for index in found} == set(range(7))


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
def test_in_one_process_lightning_keeps_the_users_samplers() -> None:
    check(run(), UNKNOWN_ALONE)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
def test_a_run_that_does_not_read_all_batches_is_known() -> None:
    seen = run(limit_val_batches=2, limit_train_batches=2)
    check(seen, UNKNOWN_ALONE)
    assert len([loader for stage, loader, *_ in seen if (stage, loader) == ("train", 0)]) == 4


def test_an_order_of_which_nothing_is_told_knows_no_index() -> None:
    assert DatasetOrder().index(0, np.arange(2), 2).tolist() == [-1, -1]
