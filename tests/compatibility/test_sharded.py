"""Heads whose weight several processes share: gathered where that can be, refused where no process sees all logits.

Real gloo processes on loopback, without a GPU: what of these strategies a CPU can run.
"""

import itertools
import os
import socket
import warnings
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor, Schedule
from lightning_cossim.capture.collector import Collector
from lightning_cossim.errors import HeadError
from tests.callback.test_processes import PATIENCE, EvenToy, assert_same_reports, found_by, shared, summary
from tests.toys import ALWAYS, FEW, few_inputs, loader, trainer

NUM_PROCESSES: Final = 2
WAYS: Final = ["each layer", "the whole model", "the whole model, labels chosen"]


class Sharded(EvenToy):
    """Split in one of the ways that there are."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    @override
    def configure_model(self) -> None:
        assert self.device_mesh is not None
        if self.way == "by labels":
            parallelize_module(self, self.device_mesh["tensor_parallel"], {"head": ColwiseParallel()})
            return
        mesh = self.device_mesh["data_parallel"]
        for part in (self.body, self.head) if self.way == "each layer" else ():
            fully_shard(part, mesh=mesh)
        fully_shard(self, mesh=mesh)


def fitted(
    model: nn.Module, rank: int, num_processes: int, max_tracked: int = 512, *, watch: bool = True, **settings: Any
) -> dict[str, Any]:
    """What a training of one epoch reports, and this process's part of the weights after it."""
    monitor = LabelSimilarityMonitor(
        labels=LabelSelection(max_tracked=max_tracked), schedule=Schedule(3, 2), thresholds=FEW, display=ALWAYS
    )
    quiet: dict[str, Any] = {"max_epochs": 1, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
    run = trainer(callbacks=[monitor] if watch else [], **quiet, **settings)
    training, validation = (shared(given, rank, num_processes) for given in (loader(96), loader(60, seed=2)))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        run.fit(model, training, validation)  # type: ignore[arg-type]
    told = [str(warning.message) for warning in record if "stopped after an error" in str(warning.message)]
    weights: list[Any] = [weight.detach() for weight in model.parameters()]
    mine = [weight.to_local() if hasattr(weight, "to_local") else weight for weight in weights]
    reports = {stage: summary(report) for stage, report in monitor.last_report.items()}
    return {"reports": reports, "told": told, "weights": [weight.clone() for weight in mine]}


@few_inputs()  # the fixture is that of the process that tests
def work(rank: int, port: int, folder: Path) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0, "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "test"}
    sizes = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": NUM_PROCESSES, "LOCAL_WORLD_SIZE": NUM_PROCESSES}
    os.environ.update({name: str(value) for name, value in {**where, **sizes}.items()})
    found: dict[str, Any] = {}

    def run(way: str, data: int, **settings: Any) -> dict[str, Any]:
        strategy = ModelParallelStrategy(
            data_parallel_size=data, tensor_parallel_size=NUM_PROCESSES // data, process_group_backend="gloo", timeout=PATIENCE
        )
        several: dict[str, Any] = {"strategy": strategy, "devices": NUM_PROCESSES}
        return fitted(Sharded(way), rank, NUM_PROCESSES, **several, **settings)

    for way in WAYS:
        found[way] = run(way, NUM_PROCESSES, max_tracked=6 if "chosen" in way else 512)
    found["unwatched"] = run("each layer", NUM_PROCESSES, watch=False)
    calls, real = itertools.count(), Collector.look

    def broken(self: Collector, *args: Any) -> None:
        if rank == 1 and next(calls) == 2:
            raise MemoryError("planted")
        real(self, *args)

    with mock.patch.object(Collector, "look", broken):
        found["a fault in one of them"] = run("each layer", NUM_PROCESSES)
    try:
        run("by labels", 1)
    except HeadError as error:
        found["refused"] = str(error)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()  # else its threads may outlive the process, and abort it


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("sharded")
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with mock.patch.dict(os.environ, {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}):
        return found_by(work, (port,), NUM_PROCESSES, folder, "spawn")


@pytest.mark.parametrize("way", WAYS)
def test_a_sharded_head_is_gathered(processes: list[dict[str, Any]], way: str) -> None:
    """Every process has the reports that one process has which trains on all inputs, in training and in validation."""
    wanted = fitted(EvenToy(), 0, 1, max_tracked=6 if "chosen" in way else 512)["reports"]
    for process in processes:
        found, unwatched = process[way], process["unwatched"]
        if way == "each layer":
            assert all(torch.equal(one, other) for one, other in zip(found["weights"], unwatched["weights"], strict=True))
        assert found["told"] == []
        assert found["reports"].keys() == wanted.keys() == {"train", "val"}
        for stage, report in found["reports"].items():
            assert_same_reports(report, wanted[stage])


def test_a_fault_in_one_process_keeps_no_other_waiting(processes: list[dict[str, Any]]) -> None:
    """The one that failed goes on to gather with the others until all have heard of it."""
    why = "MemoryError: planted (in process 1 of 2)"
    text = f"LabelSimilarityMonitor: stopped after an error, and the run continues without it: {why}"
    assert [process["a fault in one of them"]["told"] for process in processes] == [[text], []]


def test_a_head_that_is_split_by_labels_is_refused(processes: list[dict[str, Any]]) -> None:
    why = "tensor parallelism splits its labels over processes, so no process sees all labels"
    text = f"Expected a head whose weight can be read, got head, Linear 5→8: {why}. "
    for found in processes:
        assert found["refused"] == text + "Leave the head out of the plan, or replicate its weight."
