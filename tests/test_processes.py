"""Several processes: what each of them computes is what one process that saw everything computes.

Real gloo processes on loopback, started once for each number of them. One of them sees no input at all, the others uneven
batches. Shapes: K labels, D embedding dimensions; `parts` are the inputs of each process, batch by batch.
"""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.head import Head
from lightning_cossim.metrics import LabelCosineSimilarity, LogitCorrelation, LogOddsVariance, ProbabilityOverlap, SimilarityGap
from lightning_cossim.watch import HeadWatch
from tests import reference
from tests.toys import Toy, loader, trainer

K, D = 9, 4
PATIENCE = dt.timedelta(seconds=60)
"""After which a process that waits for another gives up: a deadlock is a failure."""
WORLDS = [2, 3]
SIZES = {2: [[], [31, 2, 8]], 3: [[17, 40], [], [5, 1, 22]]}
"""Number of processes to the sizes of each one's batches."""

Inputs = dict[str, Tensor]

METRICS: dict[str, tuple[Callable[[], Metric], tuple[str, ...]]] = {
    "raw cosine": (lambda: LabelCosineSimilarity(centered=False), ("unembedding",)),
    "centered cosine": (LabelCosineSimilarity, ("unembedding",)),
    "logit correlation": (lambda: LogitCorrelation(K, D), ("unembedding", "embedding")),
    "log-odds variance": (lambda: LogOddsVariance(K, D), ("unembedding", "embedding")),
    "bhattacharyya": (lambda: ProbabilityOverlap(K), ("logits",)),
    "product": (lambda: ProbabilityOverlap(K, kind="product"), ("logits",)),
    "coactivation": (lambda: ProbabilityOverlap(K, kind="coactivation"), ("logits",)),
    "topk": (lambda: ProbabilityOverlap(K, kind="topk", k=3), ("logits",)),
    "sigmoid": (lambda: ProbabilityOverlap(K, link="sigmoid"), ("logits",)),
    "some labels": (lambda: ProbabilityOverlap(K, labels=[7, 0, 3]), ("logits",)),
    "gap": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding")),
    "gap of counts": (lambda: SimilarityGap(K, D, kind="topk"), ("unembedding", "logits", "embedding")),
    "gap of a sigmoid": (lambda: SimilarityGap(K, D, link="sigmoid"), ("unembedding", "logits", "embedding")),
    "gap of sequences": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding", "groups")),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def unembedding() -> Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0)) + 0.4


def parts(world: int) -> list[list[Inputs]]:
    """The batches of each process."""
    generator = torch.Generator().manual_seed(1)
    given = []
    for sizes in SIZES[world]:
        batches = []
        for size in sizes:
            f_ND = torch.randn(size, D, generator=generator) * torch.tensor([1.5, 0.5, 1.0, 0.8])
            groups = torch.arange(size) // 3
            batches.append({"unembedding": unembedding(), "logits": f_ND @ unembedding().T, "embedding": f_ND, "groups": groups})
        given.append(batches)
    return given


def watch_of(max_tracked: int) -> HeadWatch:
    layer = nn.Linear(D, K, bias=False)
    layer.weight.data.copy_(unembedding())
    head = Head("fc", layer, "its path")
    return HeadWatch(
        head, labels=LabelSelection(max_tracked=max_tracked), overlap=Overlap.of(K), max_inputs=1000, warn=lambda text: None
    )


def watched(watch: HeadWatch, batches: list[Inputs], sum_over_processes: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The report of a window, as builtins and tensors."""
    watch.open("val")
    for batch in batches:
        watch.begin_batch("val")
        watch.head.module(batch["embedding"])
        watch.end_batch("val")
    report = watch.close("val", sum_over_processes)
    return {
        "labels": report.labels,
        "num_inputs": report.num_inputs,
        "scalars": {name: value for name, value in report.scalars.items() if name != "reliability"},
        "rungs": dict(report.rungs),
    }


def updated(name: str, metric: Metric, batches: list[Inputs], dtype: torch.dtype = torch.float32) -> Metric:
    for batch in batches:
        metric.update(**{key: batch[key].to(dtype) if key == "unembedding" else batch[key] for key in METRICS[name][1]})
    return metric


def added_up(tensor: Tensor) -> Tensor:
    """The sum over all processes."""
    whole = tensor.clone()
    distributed.all_reduce(whole)
    return whole


def work(rank: int, world: int, folder: Path) -> None:
    """What one process does: every case, its results into a file of its own."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world, timeout=PATIENCE)
    mine = parts(world)[rank]
    found: dict[str, Any] = {}
    for name, (new, arguments) in METRICS.items():
        for dtype in DTYPES if "unembedding" in arguments else ["float32"]:
            metric = new()
            metric.compute_with_cache = False  # else one that sees nothing more would not meet the others
            updated(name, metric, mine, DTYPES[dtype])
            if isinstance(metric, SimilarityGap) and dtype == "float32":
                report = metric.report()
                found[f"{name}, halves"] = report.reliability
                found[f"{name}, rungs"] = dict(report.rungs)
            first = metric.compute()
            # Of all processes each goes on with its own: once more the same batches, and everything counts twice.
            second = updated(name, metric, mine, DTYPES[dtype]).compute()
            found[f"{name}, {dtype}"] = first, second
    for max_tracked in (K, 4):
        found[f"watch of {max_tracked}"] = watched(watch_of(max_tracked), mine, added_up)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module", params=WORLDS)
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of so many processes found."""
    folder = tmp_path_factory.mktemp("processes")
    running = spawn(work, (request.param, folder), nprocs=request.param, join=False)  # type: ignore[no-untyped-call]
    try:
        for _ in range(request.param + 1):  # comes back whenever one of them has ended
            if running.join(timeout=2 * PATIENCE.total_seconds()):
                break
        else:
            pytest.fail("The processes wait for one another.")
    finally:
        for process in running.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


def all_batches(processes: list[Any]) -> list[Inputs]:
    return [batch for part in parts(len(processes)) for batch in part]


def assert_same(value: Any, wanted: Any) -> None:
    """To 1e-5; `reliability` is another matter."""
    if isinstance(value, dict):
        value, wanted = ({name: one for name, one in values.items() if name != "reliability"} for values in (value, wanted))
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5, equal_nan=True, check_dtype=False)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_process_computes_what_one_process_would(processes: list[dict[str, Any]], name: str, dtype: str) -> None:
    """Also one that saw nothing, and so knows neither dtype nor, of a cosine, the shape; and again after more updates."""
    if "unembedding" not in METRICS[name][1]:
        dtype = "float32"
    new = METRICS[name][0]
    once = updated(name, new(), all_batches(processes), DTYPES[dtype])
    value = once.compute()
    twice = updated(name, once, all_batches(processes), DTYPES[dtype]).compute()
    for found in processes:
        assert_same(found[f"{name}, {dtype}"][0], value)
        assert_same(found[f"{name}, {dtype}"][1], twice)


@pytest.mark.parametrize("name", [name for name in METRICS if name.startswith("gap")])
def test_the_rungs_are_those_of_one_process(processes: list[dict[str, Any]], name: str) -> None:
    wanted = updated(name, METRICS[name][0](), all_batches(processes))
    assert isinstance(wanted, SimilarityGap)
    for found in processes:
        assert_same(found[f"{name}, rungs"], dict(wanted.report().rungs))


def halves(world: int, name: str) -> list[Any]:
    """The overlaps of either half, by the formulas: in each process inputs, or groups of a batch, go to the halves by turns."""
    probs: list[list[Any]] = [[], []]
    for part in parts(world):
        counter = 0
        for batch in part:
            z = batch["logits"].double().numpy()
            p = 1 / (1 + np.exp(-z)) if "sigmoid" in name else reference.softmax(z)
            group = batch["groups"].numpy() if "sequences" in name else np.arange(len(z))
            for half in (0, 1):
                probs[half].append(p[(counter + group) % 2 == half])
            counter += len(set(group.tolist()))
    joined = [np.concatenate(half) for half in probs]
    return [reference.top_k(p, 2) if "counts" in name else reference.bhattacharyya(p) for p in joined]


@pytest.mark.parametrize("name", [name for name in METRICS if name.startswith("gap")])
def test_the_halves_are_those_that_each_process_made(processes: list[dict[str, Any]], name: str) -> None:
    wanted = reference.reliability(*halves(len(processes), name))
    for found in processes:
        assert found[f"{name}, halves"] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("max_tracked", [K, 4])
def test_a_watched_head_gives_every_process_the_report_of_one(processes: list[dict[str, Any]], max_tracked: int) -> None:
    """Also the choice of labels, where there are more than are tracked."""
    wanted = watched(watch_of(max_tracked), all_batches(processes), lambda tensor: tensor)
    assert len(wanted["labels"]) == max_tracked
    for found in processes:
        assert found[f"watch of {max_tracked}"]["labels"] == wanted["labels"]
        assert found[f"watch of {max_tracked}"]["num_inputs"] == wanted["num_inputs"]
        assert_same(found[f"watch of {max_tracked}"]["scalars"], wanted["scalars"])
        assert_same(found[f"watch of {max_tracked}"]["rungs"], wanted["rungs"])


class EvenToy(Toy):
    """Without dropout, and with a validation set of 60 that two processes share evenly."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.body[2] = nn.Identity()

    @override
    def val_dataloader(self) -> DataLoader[Any]:
        return loader(60, batch_size=5, seed=2)


@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log:UserWarning")  # of the toy's own values
def test_a_validation_of_two_processes_reports_as_one_does() -> None:
    """What other callbacks can watch, of the inputs and the choice of labels of both, equals what one process finds."""
    watched_by = []
    for settings in ({}, {"strategy": DDPStrategy(start_method="spawn", timeout=PATIENCE), "devices": 2}):
        monitor = LabelSimilarityMonitor(labels=LabelSelection(max_tracked=6))
        run = trainer(callbacks=[monitor], **settings)
        run.validate(EvenToy(), verbose=False)
        watched_by.append({key: value.item() for key, value in run.callback_metrics.items() if key.startswith("cossim")})
    one, two = watched_by
    left_out = {"cossim_val/overhead_fraction", "cossim_val/reliability"}
    assert {*one} == {*two}
    assert {key: two[key] for key in one if key not in left_out} == pytest.approx(
        {key: value for key, value in one.items() if key not in left_out}, abs=1e-5
    )
    assert len(one) > 8
