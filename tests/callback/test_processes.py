"""Several processes: what each of them computes is what one process that saw everything computes.

Real gloo processes on loopback, started once for each way to share the inputs: uneven batches, one process without any. Shapes: K
labels, D embedding dimensions; `parts` are the inputs of each process, batch by batch.
"""

import contextlib
import datetime as dt
import functools
import itertools
import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader, IterableDataset, Subset
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim import (
    Alert,
    AlertError,
    LabelSelection,
    LabelSimilarityMonitor,
    Schedule,
    Thresholds,
)
from lightning_cossim.callback import deferred, session
from lightning_cossim.callback.report_queue import ReportQueue
from lightning_cossim.capture import layers, vocabulary_summary, vocabulary_window
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.head import Head
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.capture.window import AllPairsWindow
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import (
    LabelCosineSimilarity,
    LocalLogOdds,
    LogitCorrelation,
    LogOddsVariance,
    ProbabilityOverlap,
    SimilarityGap,
)
from lightning_cossim.report import Extras, GapReport, Statistics, WindowKey
from lightning_cossim.report.alerts import AlertBook
from tests import reference
from tests.report.test_verdicts import report_of
from tests.toys import ALWAYS, Loader, Toy, alone, altered, few_inputs, in_first_half, loader, padded, small_samples, trainer

K, D = 9, 4
MANY = 11
"""Dimensions that are more than the labels: what is summed then is the logits."""
SOME = [7, 0, 3, 4, 8, 1]
PATIENCE: Final = dt.timedelta(seconds=60)
"""After which a process that waits for another gives up: a deadlock is a failure."""
START: Final[Literal["forkserver", "spawn"]] = (
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
SHARES: dict[str, list[list[int]]] = {
    "two": [[17, 39], [5, 1, 22]],
    "two, one without any": [[], [31, 2, 8]],
    "three, one without any": [[17, 39], [], [5, 1, 22]],
}
"""The sizes of each process's batches."""

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
    "bhattacharyya, sigmoid": (lambda: ProbabilityOverlap(K, link="sigmoid"), ("logits",)),
    "product, sigmoid": (lambda: ProbabilityOverlap(K, kind="product", link="sigmoid"), ("logits",)),
    "coactivation, sigmoid": (lambda: ProbabilityOverlap(K, kind="coactivation", link="sigmoid", threshold=0.7), ("logits",)),
    "topk, sigmoid": (lambda: ProbabilityOverlap(K, kind="topk", link="sigmoid"), ("logits",)),
    "bhattacharyya, some labels": (lambda: ProbabilityOverlap(K, label_subset=SOME), ("logits",)),
    "topk, some labels": (lambda: ProbabilityOverlap(K, kind="topk", label_subset=SOME), ("logits",)),
    "local log-odds": (lambda: LocalLogOdds(K), ("logits",)),
    "local log-odds, sigmoid, some labels": (lambda: LocalLogOdds(K, "sigmoid", SOME), ("logits",)),
    "gap": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding")),
    "gap, topk": (lambda: SimilarityGap(K, D, overlap="topk"), ("unembedding", "logits", "embedding")),
    "gap, sigmoid": (lambda: SimilarityGap(K, D, link="sigmoid"), ("unembedding", "logits", "embedding")),
    "gap, some labels": (lambda: SimilarityGap(K, D, label_subset=SOME), ("unembedding", "logits", "embedding")),
    "gap, sequences": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding", "groups")),
    "gap, targets": (lambda: SimilarityGap(K, D), ("unembedding", "logits", "embedding", "targets")),
    "log-odds variance, many dimensions": (lambda: LogOddsVariance(K, MANY), ("unembedding", "embedding")),
    "gap, many dimensions": (lambda: SimilarityGap(K, MANY), ("unembedding", "logits", "embedding")),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
CASES = [
    (name, dtype)
    for name, (_, arguments) in METRICS.items()
    for dtype in DTYPES
    if dtype == "float32" or arguments[0] != "logits"
]
GAPS = [name for name in METRICS if name.startswith("gap")]
ENDS: Final[tuple[Literal["stop", "raise"], ...]] = ("stop", "raise")
LEFT_OUT = {"reliability", "overhead_fraction"}
"""Scalars that are another matter: one process would put the same inputs into other blocks, and each takes its own time."""


def unembedding() -> Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0)) + 0.4


def parts(share: str) -> list[list[Inputs]]:
    """The batches of each process: inputs of its own kind, one of which is not finite in the large batches."""
    # Of a seed by which no two overlaps are so close that float32 and the formulas in float64 could rank them differently.
    generator = torch.Generator().manual_seed(16)
    given = []
    for sizes in SHARES[share]:
        kind_D, batches = torch.randn(D, generator=generator), []
        for size in sizes:
            f_ND = torch.randn(size, D, generator=generator) * torch.tensor([1.5, 0.5, 1.0, 0.8]) + kind_D
            f_ND[25:26] = torch.nan
            groups = torch.arange(size) // 3
            z_NK = f_ND @ unembedding().T
            targets = z_NK.nan_to_num(0).argmax(dim=1).roll(size // 4) - 1  # some are wrong, and some unknown
            inputs = {"logits": z_NK, "embedding": f_ND, "groups": groups, "targets": targets}
            batches.append({"unembedding": unembedding(), **inputs})
        given.append(batches)
    return given


def all_batches(share: str) -> list[Inputs]:
    return [batch for part in parts(share) for batch in part]


def updated(metric: Metric, name: str, batches: list[Inputs], dtype: str = "float32") -> Metric:
    for batch in batches:
        metric.update(**arguments_of(name, batch, dtype))
    return metric


def arguments_of(name: str, batch: Inputs, dtype: str = "float32") -> Inputs:
    """What a metric is given of a batch."""
    given = {**batch, "unembedding": batch["unembedding"].to(DTYPES[dtype])}
    if "many dimensions" in name:
        given |= {key: padded(given[key], MANY) for key in ("unembedding", "embedding")}
    return {argument: given[argument] for argument in METRICS[name][1]}


def errors_of(report: GapReport) -> dict[str, Any]:
    """What a report says by its blocks, as builtins and tensors."""
    bounds = {f"{name} {place}": bound for name, interval in report.intervals.items() for place, bound in enumerate(interval)}
    scalars = {"errors": dict(report.standard_errors), "intervals": bounds, "reliability": report.reliability}
    return {**scalars, "errors of overlaps": report.overlap_error}


def summary(report: GapReport) -> dict[str, Any]:
    """What a report says, as builtins and tensors."""
    return {
        "counts": (report.labels, report.num_live, report.num_inputs, report.num_skipped),
        "scalars": {name: value for name, value in report.scalars.items() if name not in LEFT_OUT},
        "rungs": dict(report.rungs),
        "masses": (report.mean_probs, report.mass),
        "targets": () if report.errors is None else (report.errors, report.joint_shares),
        "remarks": dict(report.remarks),
    }


PARTS: Final = ("counts", "scalars", "rungs", "masses", "targets", "remarks")


def assert_same(value: Any, wanted: Any) -> None:
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)


def assert_same_reports(value: dict[str, Any], wanted: dict[str, Any]) -> None:
    exact = ("counts", "remarks")
    assert {key: value[key] for key in exact} == {key: wanted[key] for key in exact}
    for key in wanted.keys() - exact:
        assert_same(value[key], wanted[key])


# What every process does


def watched(max_tracked: int, batches: list[Inputs], processes: Processes, *, moves_on: bool = False) -> dict[str, Any]:
    """The reports of two windows over the same batches, their errors, and what the user is told.

    The weights may move on before a window's end, as they do in training.
    """
    layer = nn.Linear(D, K, bias=False)
    layer.weight.data.copy_(unembedding())
    labels, told = LabelSelection(max_tracked=max_tracked, targets_key="targets"), list[str]()
    head = Head("fc", layer, "its path")
    collector = Collector(head, labels=labels, overlap=Overlap.of(K), max_inputs=1000, warn=told.append)
    reports, errors = [], []
    for key in (WindowKey("val"), WindowKey("test")):
        collector.open(key, processes=processes)
        for batch in batches:
            collector.begin_batch(key, batch)
            layer(batch["embedding"])
            collector.end_batch(key)
        layer.weight.data[0] += float(moves_on)
        statistics, _ = collector.close(key, processes)
        reports.append(summary(GapReport(statistics)))
        errors.append(errors_of(GapReport(statistics)))
    return {"reports": reports, "errors": errors, "told": told}


def one_by_one(share: str) -> list[Inputs]:
    """The inputs of all batches, each in a batch of its own."""
    return [
        {name: given if name == "unembedding" else given[place : place + 1] for name, given in batch.items()}
        for batch in all_batches(share)
        for place in range(len(batch["logits"]))
    ]


class EvenToy(Toy):
    """Without dropout: processes that share a batch take the step that one process would."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.body[2] = nn.Identity()


def fitted(rank: int = 0, num_processes: int = 1, *, watch: bool = True) -> dict[str, Any]:
    """The last reports of a fit over one epoch, what other callbacks can watch, and the weights."""
    schedule = Schedule(train_every_n_steps=3, train_batches=2, reachability="fit_end")
    thresholds = Thresholds(min_inputs=36)  # three batches of all processes, a fourth where the last of an epoch is among them
    monitor = LabelSimilarityMonitor(
        labels=LabelSelection(max_tracked=5), schedule=schedule, thresholds=thresholds, display=ALWAYS
    )
    run = trainer(
        callbacks=[monitor] if watch else [],
        max_epochs=1,
        num_sanity_val_steps=0,
        strategy=DDPStrategy() if num_processes > 1 else "auto",
        devices=num_processes,
        use_distributed_sampler=False,  # it would shuffle
    )
    training, validation = (shared(given, rank, num_processes) for given in (loader(96), loader(60, seed=2)))
    model = EvenToy()
    run.fit(model, training, validation)
    reports = {
        stage: {**summary(report), "step": report.step, "unreachable": report.unreachable}
        for stage, report in monitor.last_report.items()
    }
    return {"reports": reports, "metrics": watchable(run.callback_metrics), "weights": list(model.state_dict().values())}


def completed(rank: int = 0, num_processes: int = 1) -> dict[str, Any]:
    """The last reports of a fit that are completed at its end, on a sample of the pairs, and how often this process worked."""
    monitor = LabelSimilarityMonitor(
        labels=LabelSelection(max_tracked=5),
        schedule=Schedule(2, 1, neighbors="fit_end", reachability="fit_end"),
        thresholds=Thresholds(min_inputs=0),
        display=ALWAYS,
    )
    run = trainer(
        callbacks=[monitor],
        max_epochs=1,
        num_sanity_val_steps=0,
        strategy=DDPStrategy() if num_processes > 1 else "auto",
        devices=num_processes,
        use_distributed_sampler=False,
    )
    training, validation = (shared(given, rank, num_processes) for given in (loader(96), loader(60, seed=2)))
    works = ("search_neighbors", "decide_reachability")
    with contextlib.ExitStack() as stack:
        for constant, value in small_samples(5, 4).items():
            stack.enter_context(mock.patch.object(vocabulary_summary, constant, value))
        done = [stack.enter_context(mock.patch.object(deferred, name, wraps=getattr(deferred, name))) for name in works]
        run.fit(EvenToy(), training, validation)
    reports = {stage: {**summary(report), **completion(report)} for stage, report in monitor.last_report.items()}
    return {"calls": [one.call_count for one in done], "reports": reports}


def completion(report: GapReport) -> dict[str, Any]:
    """What a report has that is found out at the end of a run, and all that hangs on it."""
    pairs = zip(report.compared.row.tolist(), report.compared.column.tolist(), strict=True)
    return {
        "sampling": report.sampling,
        "pairs": [(report.labels[one], report.labels[other]) for one, other in pairs],
        "every scalar": dict(report.scalars),
        "unreachable": report.unreachable,
        "num_undecided": report.num_undecided,
    }


class Streamed(IterableDataset[list[Tensor]]):
    """The batches of a loader; nobody can ask how many."""

    def __init__(self, given: Loader) -> None:
        self.given = given

    @override
    def __iter__(self) -> Iterator[list[Tensor]]:
        yield from (list(batch) for batch in self.given)


class Stopping(Callback):
    """Stops the fit after a batch, counted from 0 in the whole fit."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.global_step > self.batch


def ended(stops_at: int, rank: int = 0, num_processes: int = 1) -> tuple[int, int]:
    """Step and inputs of the last training report of a fit over three epochs of eight batches, whose number nobody knows."""
    monitor = LabelSimilarityMonitor(schedule=Schedule(5, 3), thresholds=Thresholds(min_inputs=0), display=ALWAYS)
    run = trainer(
        callbacks=[monitor, Stopping(stops_at)],
        max_epochs=3,
        limit_val_batches=0,
        strategy=DDPStrategy() if num_processes > 1 else "auto",
        devices=num_processes,
        use_distributed_sampler=False,
    )
    run.fit(EvenToy(), DataLoader(Streamed(shared(loader(96), rank, num_processes)), batch_size=None))
    report = monitor.last_report["train"]
    return report.step, report.num_inputs


ENDINGS: Final = {11: (11, 24), 12: (12, 36), 14: (12, 36), 21: (21, 24), 99: (22, 36)}
"""The batch after which a fit stops; step and inputs of its last report: windows of three open at 0, 5, 10, 15 and 20."""
ENDINGS_ALONE: Final = {**ENDINGS, 21: (21, 12), 99: (23, 36)}
"""The same of a process that trains alone: it expects an epoch as long as the last, and opens its last window at step 21."""

SERIES = [0.5, 0.7, 0.7, 0.5, 0.7, 0.7, 0.7, 0.7]
"""What the first process sees of `gap_behavior`, batch by batch; the others see something else."""


def alerted(action: Literal["stop", "raise"], rank: int = 0, num_processes: int = 1) -> dict[str, Any]:
    """How a fit ends whose alert acts at the third breach in a row, in processes that do not see the same."""
    alert = Alert("gap_behavior", "train", above=0.6, patience=3, action=action)
    thresholds = Thresholds(min_inputs=0, min_reliability=0, alerts=[alert])
    monitor = LabelSimilarityMonitor(
        schedule=Schedule(train_every_n_steps=1, train_batches=1),
        thresholds=thresholds,
        display=replace(ALWAYS, evidence=False),  # the statistics below are of another head
    )
    real, seen = Collector.close, iter(SERIES if rank == 0 else [0.9] * len(SERIES))
    report, closing = report_of(), list[str]()

    def close(self: Collector, key: WindowKey, processes: Processes) -> tuple[Statistics, Extras]:
        closing.append(key.stage)
        return real(self, key, processes)

    def statistics(self: SimilarityGap) -> Statistics:
        value = next(seen) if closing[-1] == "train" else 0.1 + rank
        return altered(report, scalars={**report.scalars, "gap_behavior": value}).statistics

    run = trainer(
        callbacks=[monitor],
        max_epochs=2,
        num_sanity_val_steps=0,
        strategy=DDPStrategy() if num_processes > 1 else "auto",
        devices=num_processes,
        use_distributed_sampler=False,
    )
    training, validation = (shared(given, rank, num_processes) for given in (loader(96), loader(60, seed=2)))
    error = ""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Collector, "close", close))
        stack.enter_context(mock.patch.object(SimilarityGap, "statistics", statistics))
        record = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        try:
            run.fit(EvenToy(), training, validation)
        except AlertError as raised:
            error = str(raised)
    told = [str(warning.message) for warning in record if "alert of" in str(warning.message)]
    metrics = {key: value.item() for key, value in run.callback_metrics.items() if key.startswith("cossim")}
    reports = {stage: (report.step, report.alerts, dict(report.scalars)) for stage, report in monitor.last_report.items()}
    return {"global_step": run.global_step, "error": error, "told": told, "metrics": metrics, "reports": reports}


FAULTS: Final[dict[str, tuple[Any, str, int]]] = {
    "a batch that begins": (Collector, "begin_batch", 2),
    "what the head shows": (Collector, "look", 3),
    "a window that opens": (Collector, "open", 1),
    "sums": (SimilarityGap, "update", 2),
    "the report": (SimilarityGap, "statistics", 1),
    "weights": (layers, "weight_of", 5),
    "memory for sums": (Processes, "_copies", 1),
    "states to sum": (AllPairsWindow, "_to_sum", 1),
    "sums of all": (SimilarityGap, "load_sums", 1),
    "a verdict": (session, "judge", 1),
    "alerts": (AlertBook, "observe", 1),
    "a report that is handed on": (ReportQueue, "add", 1),
}
OF_VOCABULARIES: Final[dict[str, tuple[Any, str, int]]] = {
    "the labels of inputs": (vocabulary_window, "sparse_profiles", 1),
    "what was kept": (VocabularyWindow, "_rows_among", 0),
    "sums of a vocabulary": (VocabularyWindow, "_chunk_sums", 1),
    "memory for a vocabulary": (Processes, "_copies", 0),
    "the report on a vocabulary": (VocabularySummary, "statistics", 1),
    "the report among neighbors": (VocabularySummary, "statistics", 11),
    "a summary that is put away": (VocabularySummary, "at_rest", 0),
}
OF_THE_FIRST: Final[dict[str, tuple[Any, str, int]]] = {
    "neighbors": (VocabularySummary, "nearest", 0),
    "how long that will take": (deferred, "seconds_of_search", 0),
    "what can be on top": (deferred, "find_reachability", 0),
}
"""Work of ours: whose it is, and which of its calls, from 0, goes wrong: in the last process, or in the first, which does it for
all of them."""


def faulty(fault: str | None, rank: int, num_processes: int) -> dict[str, Any]:
    """How a fit ends in which something of ours goes wrong in one process: the weights, and what is told. None: without us."""
    monitor = LabelSimilarityMonitor(
        labels=LabelSelection(max_tracked=5 if fault in {*OF_VOCABULARIES, *OF_THE_FIRST} else 512),
        schedule=Schedule(2, 1, reachability="fit_end" if fault == "what can be on top" else "never"),
        thresholds=Thresholds(min_inputs=0),
        display=ALWAYS,
    )
    run = trainer(
        callbacks=[] if fault is None else [monitor],
        max_epochs=2,
        num_sanity_val_steps=0,
        strategy=DDPStrategy(),
        devices=num_processes,
        use_distributed_sampler=False,
    )
    model = EvenToy()
    training, validation = (shared(given, rank, num_processes) for given in (loader(96), loader(60, seed=2)))
    with contextlib.ExitStack() as stack:
        if fault is not None and rank == faulty_rank(fault, num_processes):
            kind, method, call = {**FAULTS, **OF_VOCABULARIES, **OF_THE_FIRST}[fault]
            real, calls = getattr(kind, method), itertools.count()

            def broken(*args: Any, **kwargs: Any) -> Any:
                if next(calls) == call:
                    raise MemoryError("planted")
                return real(*args, **kwargs)

            stack.enter_context(mock.patch.object(kind, method, broken))
        record = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        run.fit(model, training, validation)
    told = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    keys = sorted(key for key in run.callback_metrics if key.startswith("cossim_val"))
    return {"weights": list(model.state_dict().values()), "told": told, "keys": keys, "hooks": len(model.head._forward_hooks)}


def faulty_rank(fault: str, num_processes: int) -> int:
    """The process in which something goes wrong."""
    return 0 if fault in OF_THE_FIRST else num_processes - 1


def shared(given: Loader, rank: int, num_processes: int) -> Loader:
    """One process's part of batches of twelve: the first has the first targets, so that alone each would choose others."""
    targets = torch.cat([batch[1] for batch in given])
    order = targets.view(-1, 12).argsort(dim=1, stable=True) + torch.arange(0, len(targets), 12)[:, None]
    mine = order.chunk(num_processes, dim=1)[rank]
    return DataLoader(Subset(given.dataset, mine.flatten().tolist()), batch_size=mine.shape[1])


def watchable(metrics: dict[str, Tensor]) -> dict[str, float]:
    """Our own of the metrics that other callbacks can watch."""
    return {
        key: value.item() for key, value in metrics.items() if key.startswith("cossim") and key.rpartition("/")[2] not in LEFT_OUT
    }


def together(rank: int, world: int) -> Processes:
    """The processes of a test without a Trainer."""
    strategy = DDPStrategy(parallel_devices=[torch.device("cpu")] * world)
    return Processes(strategy, world, rank)


@few_inputs()  # the fixture is that of the process that tests
def work(rank: int, share: str, folder: Path) -> None:
    """What one process does: every case, its results into a file of its own."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # to Lightning: it has been started already
    meeting, world = f"file://{folder / 'meeting'}", len(SHARES[share])
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world, timeout=PATIENCE)
    mine = parts(share)[rank]
    found: dict[str, Any] = {}
    for name, dtype in CASES:
        metric = METRICS[name][0]()
        metric.compute_with_cache = False  # else one that sees nothing more would not meet the others
        first = updated(metric, name, mine, dtype).compute()
        if isinstance(metric, SimilarityGap):
            report = metric.report()
            found[f"{name}, {dtype}, report"] = summary(report)
            found[f"{name}, {dtype}, reliability"] = report.reliability
        # Each goes on with its own state: once more the same batches, and everything counts twice.
        found[f"{name}, {dtype}"] = first, updated(metric, name, mine, dtype).compute()
    for name in METRICS:
        found[f"{name}, synced"] = synced(name, mine)
    for max_tracked in (K, 6):
        found[f"watched {max_tracked}"] = watched(max_tracked, mine, together(rank, world))
        found[f"watched {max_tracked} that moves on"] = watched(max_tracked, mine, together(rank, world), moves_on=True)
        found[f"watched {max_tracked} by turns"] = watched(max_tracked, one_by_one(share)[rank::world], together(rank, world))
    found["watched alone"] = watched(K, mine, ALONE)
    found["watched nothing"] = watched(6, [], together(rank, world))
    found["fitted"], found["fitted, unwatched"] = fitted(rank, world), fitted(rank, world, watch=False)
    found["completed"] = completed(rank, world)
    found["ended"] = [ended(stops_at, rank, world) for stops_at in ENDINGS]
    for action in ENDS:
        found[action] = alerted(action, rank, world)
    for fault in (None, *FAULTS, *OF_VOCABULARIES, *OF_THE_FIRST):
        found[f"faulty {fault}"] = faulty(fault, rank, world)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def synced(name: str, batches: list[Inputs]) -> tuple[Any, Any]:
    """The value between `sync()` and `unsync()`, both without arguments, and that of a forward pass that syncs on each step."""
    metric = updated(METRICS[name][0](), name, batches, "float32")
    own = {state: getattr(metric, state) for state in metric.metric_state}
    metric.sync()
    metric.unsync()
    assert_same(metric.metric_state, own)
    metric.sync()
    metric._to_sync = False  # `compute` would do it once more
    value = metric.compute()  # and lets go of it
    assert_same(metric.metric_state, own)
    on_step = METRICS[name][0]()
    on_step.dist_sync_on_step = True
    return value, on_step(**arguments_of(name, one_batch(batches)))


def one_batch(batches: list[Inputs]) -> Inputs:
    """The first batch of a process; without any, one of no inputs."""
    return (
        batches[0]
        if batches
        else {key: value if key == "unembedding" else value[:0] for key, value in parts("two")[0][0].items()}
    )


def found_by(
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    num_processes: int,
    folder: Path,
    start_method: Literal["forkserver", "spawn"] = START,
) -> list[dict[str, Any]]:
    """What each process found, and left in the folder: `work(rank, *arguments, folder)`. Those that wait for one another fail."""
    running = start_processes(  # type: ignore[no-untyped-call]
        work, (*arguments, folder), nprocs=num_processes, join=False, start_method=start_method
    )
    try:
        for _ in range(num_processes + 1):  # comes back whenever one of them has ended
            if running.join(timeout=2 * PATIENCE.total_seconds()):
                break
        else:
            pytest.fail("The processes wait for one another.")
    finally:
        for process in running.processes:
            process.kill()
            process.join()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(num_processes)]


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """Of all processes: loopback, one thread, and a server that has imported everything and that they come from at once."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    with mock.patch.dict(os.environ, {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}):
        multiprocessing.set_forkserver_preload([__name__])
        yield
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module", params=SHARES)
def share(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def processes(share: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    return found_by(work, (share,), len(SHARES[share]), tmp_path_factory.mktemp("processes"))


# Metrics


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_every_process_computes_what_one_process_would(
    processes: list[dict[str, Any]], share: str, name: str, dtype: str
) -> None:
    """Also one that saw nothing, and so knows neither dtype nor, of a cosine, the shape; and again after more updates."""
    metric = METRICS[name][0]()
    values = [updated(metric, name, all_batches(share), dtype).compute() for _ in range(2)]
    for found in processes:
        for value, wanted in zip(found[f"{name}, {dtype}"], values, strict=True):
            if isinstance(wanted, dict):
                assert value.keys() == wanted.keys()
                assert_same({**value, "reliability": 0}, {**wanted, "reliability": 0})
            else:
                assert_same(value, wanted)


@pytest.mark.parametrize("name", METRICS)
def test_states_are_brought_together_by_hand_and_on_each_step(processes: list[dict[str, Any]], share: str, name: str) -> None:
    """`sync()` gathers as `compute` does: a process that saw nothing knows no shape of the unembedding."""
    together = updated(METRICS[name][0](), name, all_batches(share), "float32").compute()
    on_step = updated(METRICS[name][0](), name, [one_batch(batches) for batches in parts(share)], "float32").compute()
    for found in processes:
        for value, wanted in zip(found[f"{name}, synced"], (together, on_step), strict=True):
            same = {"reliability": 0} if isinstance(wanted, dict) else None
            assert_same(value if same is None else {**value, **same}, wanted if same is None else {**wanted, **same})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GAPS)
def test_every_process_reports_what_one_process_would(processes: list[dict[str, Any]], share: str, name: str, dtype: str) -> None:
    """Rungs, masses, counts and remarks."""
    metric = updated(METRICS[name][0](), name, all_batches(share), dtype)
    assert isinstance(metric, SimilarityGap)
    for found in processes:
        assert_same_reports(found[f"{name}, {dtype}, report"], summary(metric.report()))


def halves(share: str, name: str) -> list[Any]:
    """The overlaps of the first four blocks and of the last four, by the formulas, of the labels that count."""
    given = parts(share)
    first = np.concatenate(
        [
            in_first_half(
                (batch["groups"] if "sequences" in name else alone(len(batch["groups"])) for batch in part),
                rank=rank,
                world=len(given),
            )
            for rank, part in enumerate(given)
        ]
    )
    z = np.concatenate([batch["logits"].double().numpy() for batch in all_batches(share)])
    p = 1 / (1 + np.exp(-z)) if "sigmoid" in name else reference.softmax(z)
    seen = np.isfinite(z).all(axis=1)
    counts = p[seen].mean(axis=0) >= 0.1 / K
    labels = [label for label in (SOME if "some" in name else range(K)) if counts[label]]
    overlap_of = functools.partial(reference.top_k, k=2) if "topk" in name else reference.bhattacharyya
    return [overlap_of(p[seen & half])[np.ix_(labels, labels)] for half in (first, ~first)]


@pytest.mark.parametrize("name", GAPS)
def test_blocks_are_those_that_each_process_filled(processes: list[dict[str, Any]], share: str, name: str) -> None:
    wanted = reference.reliability(*halves(share, name))
    for found in processes:
        assert found[f"{name}, float32, reliability"] == pytest.approx(wanted, abs=1e-5)
        assert found[f"{name}, float64, reliability"] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", GAPS)
def test_the_blocks_of_several_are_not_those_of_one(name: str) -> None:
    """Else the test above would show nothing."""
    share = "three, one without any"
    metric = updated(METRICS[name][0](), name, all_batches(share))
    assert isinstance(metric, SimilarityGap)
    assert metric.report().reliability != pytest.approx(reference.reliability(*halves(share, name)), abs=1e-3)


# A head that is watched


@pytest.mark.parametrize("max_tracked", [K, 6])
def test_a_watched_head_gives_every_process_the_report_of_one(
    processes: list[dict[str, Any]], share: str, max_tracked: int
) -> None:
    """Also where there are more labels than all of whose pairs are looked at; in the next window, too."""
    wanted = watched(max_tracked, all_batches(share), ALONE)
    for found in processes:
        mine = found[f"watched {max_tracked}"]
        assert mine["told"] == wanted["told"]
        for report, whole in zip(mine["reports"], wanted["reports"], strict=True):
            assert_same_reports(report, whole)


@pytest.mark.parametrize("max_tracked", [K, 6])
def test_units_that_are_dealt_out_by_turns_give_the_errors_of_one(
    processes: list[dict[str, Any]], share: str, max_tracked: int
) -> None:
    """Unit u of process r goes to the block of unit u·world + r of one process; so all that blocks tell is the same."""
    wanted = watched(max_tracked, one_by_one(share), ALONE)
    for found in processes:
        mine = found[f"watched {max_tracked} by turns"]
        for errors, whole in zip(mine["errors"], wanted["errors"], strict=True):
            assert len(whole["errors"]) > 3
            assert whole["errors of overlaps"].isfinite().any()
            assert_same(errors, whole)
        for report, whole in zip(mine["reports"], wanted["reports"], strict=True):
            assert_same_reports(report, whole)


@pytest.mark.parametrize("max_tracked", [K, 6])
def test_the_weights_reported_on_are_those_of_the_inputs(processes: list[dict[str, Any]], share: str, max_tracked: int) -> None:
    """Where they have changed since, a process that saw inputs knows them, and one that saw none does not."""
    wanted = watched(max_tracked, all_batches(share), ALONE, moves_on=True)
    for found in processes:
        for report, whole in zip(found[f"watched {max_tracked} that moves on"]["reports"], wanted["reports"], strict=True):
            assert_same_reports(report, whole)


def test_processes_that_all_saw_nothing_report_on_the_weights(processes: list[dict[str, Any]]) -> None:
    wanted = watched(6, [], ALONE)
    for found in processes:
        assert found["watched nothing"]["told"] == wanted["told"]
        for report, whole in zip(found["watched nothing"]["reports"], wanted["reports"], strict=True):
            assert report["counts"][2] == 0
            assert_same_reports(report, whole)


def test_a_process_that_trains_alone_asks_no_other(processes: list[dict[str, Any]], share: str) -> None:
    """Of several that have been started together, each may have a training of its own."""
    for found, part in zip(processes, parts(share), strict=True):
        wanted = watched(K, part, ALONE)
        for report, whole in zip(found["watched alone"]["reports"], wanted["reports"], strict=True):
            assert_same_reports(report, whole)


# Lightning


def test_a_fit_of_several_processes_reports_as_one_does(processes: list[dict[str, Any]]) -> None:
    """In training and in validation, on every process; their batches together are the batches of the one."""
    wanted = fitted()
    assert wanted["reports"].keys() == {"train", "val"}
    assert (wanted["reports"]["train"]["step"], wanted["reports"]["train"]["counts"][2]) == (7, 4 * 12)
    assert len(wanted["metrics"]) > 6
    for found in (process["fitted"] for process in processes):
        assert found["reports"].keys() == wanted["reports"].keys()
        for stage, report in found["reports"].items():
            assert report["step"] == wanted["reports"][stage]["step"]
            assert report["unreachable"] == wanted["reports"][stage]["unreachable"]
            assert_same_reports(report, wanted["reports"][stage])
        assert found["metrics"] == pytest.approx(wanted["metrics"], abs=1e-5, nan_ok=True)
    assert wanted["reports"]["val"]["unreachable"] is not None
    for process in processes:
        for weight, other in zip(process["fitted"]["weights"], process["fitted, unwatched"]["weights"], strict=True):
            assert torch.equal(weight, other)


def test_a_fit_that_ends_early_ends_with_a_report_on_all_processes(processes: list[dict[str, Any]]) -> None:
    """On the window that is open, where one is: the same on all of them."""
    assert {stops_at: ended(stops_at) for stops_at in ENDINGS} == ENDINGS_ALONE
    for process in processes:
        assert dict(zip(ENDINGS, process["ended"], strict=True)) == ENDINGS


def test_what_takes_long_is_worked_out_by_the_first_and_all_have_its_reports(processes: list[dict[str, Any]]) -> None:
    """Neighbors and reachability: those that one process finds, and on all of them alike to the last digit."""
    wanted = completed()
    assert wanted["calls"] == [1, 1]
    assert "the 5 whose rows are most alike" in wanted["reports"]["val"]["sampling"]
    assert wanted["reports"]["val"]["unreachable"] is not None
    first, *others = (process["completed"] for process in processes)
    assert [first["calls"], *(one["calls"] for one in others)] == [[1, 1], *([[0, 0]] * len(others))]
    exact = ("sampling", "pairs", "unreachable", "num_undecided")
    assert first["reports"].keys() == wanted["reports"].keys() == {"train", "val"}
    for stage, report in first["reports"].items():
        assert {key: report[key] for key in exact} == {key: wanted["reports"][stage][key] for key in exact}
        assert_same_reports(*({key: one[key] for key in PARTS} for one in (report, wanted["reports"][stage])))
        for other in (one["reports"][stage] for one in others):
            assert {key: other[key] for key in exact} == {key: report[key] for key in exact}
            assert other["every scalar"] == pytest.approx(report["every scalar"], rel=0, abs=0, nan_ok=True)
            torch.testing.assert_close(other["rungs"], report["rungs"], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("action", ENDS)
def test_processes_that_see_different_things_end_together(processes: list[dict[str, Any]], action: str) -> None:
    """An alert acts on all of them where the first one's series says, at the third breach in a row; the first one tells of it.

    What other callbacks watch is the first one's, too, to the last digit.
    """
    (wanted, *others) = (process[action] for process in processes)
    text = f"gap_behavior is 0.7, above 0.6, for 3 reports in a row ({action})"
    said = f"alert of cossim_train at step 6: {text}"
    assert wanted["told"] == [f"LabelSimilarityMonitor: {said}"]
    assert wanted["reports"]["train"][:2] == (6, (text,))
    assert wanted["global_step"] == 7
    assert wanted["error"] == (said if action == "raise" else "")
    if action == "stop":  # Lightning clears them with every epoch, and an error comes before the next validation
        assert wanted["metrics"]["cossim_val/gap_behavior"] == pytest.approx(0.1)
    for found in others:
        assert found["told"] == []
        assert found == {**wanted, "told": []}


@pytest.mark.parametrize("fault", [*FAULTS, *OF_VOCABULARIES, *OF_THE_FIRST])
def test_a_fault_in_one_process_ends_the_monitor_in_all(processes: list[dict[str, Any]], fault: str) -> None:
    """At the next report, with one warning, from the first; nobody waits, and the weights are those of a training without us."""
    world = len(processes)
    why = f"MemoryError: planted (in process {faulty_rank(fault, world)} of {world})"
    text = f"LabelSimilarityMonitor: stopped after an error, and the run continues without it: {why}"
    for rank, process in enumerate(processes):
        found, unwatched = process[f"faulty {fault}"], process["faulty None"]
        assert all(torch.equal(one, other) for one, other in zip(found["weights"], unwatched["weights"], strict=True))
        assert [told for told in found["told"] if "stopped after an error" in told] == ([text] if rank == 0 else [])
        assert found["hooks"] == 0
        assert "cossim_val/gap_behavior" in found["keys"]


def test_processes_that_lightning_starts_bring_the_scalars_back() -> None:
    """What other callbacks can watch after a validation equals what one process finds."""
    several: dict[str, Any] = {"strategy": DDPStrategy(start_method=START, timeout=PATIENCE), "devices": 2}
    one, two = (
        trainer(callbacks=[LabelSimilarityMonitor(labels=LabelSelection(max_tracked=6))], **settings)
        for settings in ({}, several)
    )
    for run in (one, two):
        run.validate(EvenToy(), loader(120, batch_size=5, seed=2), verbose=False)
    wanted = watchable(one.callback_metrics)
    assert len(wanted) > 6
    assert watchable(two.callback_metrics) == pytest.approx(wanted, abs=1e-5)
