"""How far flags, errors and intervals can be believed: `python -m tests.benchmarks.flags [--quick] [part ...]`, by hand.

Simulated worlds (`tests.benchmarks.worlds`) whose population is measured on inputs that no report sees. Samples of them go
through `SimilarityGap`, `report()` and `judged(Thresholds(...))`. Everything is seeded: tables do not depend on the number of
processes. Under 30 minutes on two cores; `--quick` has few worlds and repeats, and takes under two minutes on one.

- flags: how many flags are false, and how many of the gaps that should be flagged are;
- null: flags where nothing is planted;
- coverage: how often 95 % intervals cover, of inputs one by one and in runs of eight copies;
- order: each input twice in a row, classes that alternate, classes that are sorted.

A flag is false if the population's gap has the other sign or is below half the threshold. A gap can be flagged if, in the
population, the pair meets the other conditions of THEORY §5 with room: its cosine is not among the top tenth (strangers) or is in
the upper half (look-alikes), and so many inputs bring twice the joint or effective inputs that are needed.
"""

import argparse
import dataclasses
import itertools
import math
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate

from lightning_cossim import GapReport, Thresholds
from lightning_cossim.metrics import SimilarityGap
from tests.benchmarks.worlds import MIN_PROBABILITY, WORLDS, Array, Draw, Truth, World, generator, make_world, measured

BATCH: Final = 128
INTERVAL: Final = 2.365
"""Two-sided 95 % of t with 7 degrees of freedom."""
HEADLINE: Final = "rank_agreement_centered_cosine"
THRESHOLD: Final = 0.1
OUTLIER: Final = 3.0
ENOUGH: Final = 10
"""Joint or effective inputs that a gap has to have in the population's mean, twice as many as a flag needs."""
SIZES: Final = {0.15: (0.125, 0.175), 0.2: (0.175, 0.225), 0.3: (0.25, 0.35)}
"""Size of a gap to the range that counts as such."""
COPIES: Final = 8
LARGE: Final = 0.05
"""Overlaps below it come from few inputs, of which a sample may have none."""
NO_VALUE: Final = "-" if hasattr(GapReport, "truncation") else "not there yet"
"""What stands for errors that a report does not have. Reports without `truncation` have none at all."""

Mask = NDArray[np.bool_]
Task = TypeVar("Task")
Result = TypeVar("Result")


# What is read off a report


def thresholds() -> Thresholds:
    """The rule of THEORY §5; of settings that do not exist yet the rule that there is."""
    wanted: dict[str, Any] = {"stranger": THRESHOLD, "lookalike": THRESHOLD, "outlier": OUTLIER, "min_joint_inputs": 5}
    there = {field.name for field in dataclasses.fields(Thresholds)}
    return Thresholds(**{name: value for name, value in wanted.items() if name in there})


def errors_of(report: GapReport) -> Array | None:
    """(P,), the standard errors of the overlaps; None where there are none: without `truncation`, `overlap_error` is that."""
    found: Any = getattr(report, "overlap_error", None) if hasattr(report, "truncation") else None
    return None if found is None else numpy(found)


def interval_of(report: GapReport) -> tuple[float, float] | None:
    """The bounds of the headline's interval; None where reports have none."""
    found: tuple[float, float] | None = getattr(report, "intervals", {}).get(HEADLINE)
    return found


def reasons_of(report: GapReport, places: Iterable[int]) -> list[str]:
    """Why pairs at these places are not flagged. One by one, since a list of all takes seconds for 512 labels."""
    return [str(getattr(report._pair(place), "why_unflagged", NO_VALUE)) for place in places]


def numpy(tensor: torch.Tensor) -> Array:
    return tensor.double().numpy()


def report_of(world: World, draw: Draw) -> GapReport:
    """The judged report of a sample, its inputs in batches."""
    num_labels, dim = world.unembedding.shape
    metric = SimilarityGap(num_labels, dim, min_probability=MIN_PROBABILITY)
    for logits, embedding in zip(torch.split(draw.logits, BATCH), torch.split(draw.embedding, BATCH), strict=True):
        metric.update(world.unembedding, logits, embedding)
    return metric.report().judged(thresholds())


# Worlds


def planted_pairs(num_labels: int, seed: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Ranks and sizes of strangers and of look-alikes: of ten labels one each, whose ranks go through all from seed to seed."""
    sizes = (0.15, 0.2, 0.3, 0.45)
    if num_labels == 10:
        ranks = (seed * 7 % 20 / 19, 1 - seed % 20 / 19)
        return [(ranks[0], sizes[seed % 4])], [(ranks[1], sizes[(seed + seed // 4) % 4])]
    strangers, lookalikes = {100: (8, 4), 512: (16, 8)}[num_labels]
    return (
        [(place / (strangers - 1), sizes[(place + seed) % 4]) for place in range(strangers)],
        [(1 - place / (lookalikes - 1), sizes[(place + seed) % 4]) for place in range(lookalikes)],
    )


def world_of(kind: str, num_labels: int, seed: int, *, planted: bool) -> World:
    strangers, lookalikes = planted_pairs(num_labels, seed) if planted else ([], [])
    return make_world(kind, num_labels, seed, strangers=strangers, lookalikes=lookalikes)


@lru_cache(4)
def known(kind: str, num_labels: int, seed: int, *, planted: bool, population: int) -> tuple[World, Truth]:
    """A world and its truth, kept for the next task on it."""
    world = world_of(kind, num_labels, seed, planted=planted)
    return world, measured(world, population, seed)


# Flags, and the null


class Cell(NamedTuple):
    """A cell of a table."""

    kind: str
    num_labels: int
    num_inputs: int


Tally: TypeAlias = dict[Cell, Counter[str]]


@dataclass(frozen=True)
class FlagTask:
    """A world, and the samples of it that are judged."""

    kind: str
    num_labels: int
    seed: int
    planted: bool
    sizes: tuple[int, ...]
    repeats: int
    population: int


def judged(task: FlagTask) -> Tally:
    """Counts by cell, of all samples of a world."""
    torch.set_num_threads(1)
    world, truth = known(task.kind, task.num_labels, task.seed, planted=task.planted, population=task.population)
    tally: Tally = {}
    for num_inputs in task.sizes:
        counts = Counter(worlds=1, worlds_with_a_gap=int(((truth.side != 0) & (abs(truth.gap) >= THRESHOLD)).any()))
        reports = []
        for repeat in range(task.repeats):
            draw = world.draw(num_inputs, generator("sample", task, num_inputs, repeat))
            reports.append(report_of(world, draw))
        scale = statistics.mean(residual_scale(report) for report in reports)
        for report in reports:
            counts.update(counted(report, truth, num_inputs, scale))
        tally[Cell(task.kind, task.num_labels, num_inputs)] = counts
    return tally


def residual_scale(report: GapReport) -> float:
    """1.4826 times the median |gap|."""
    return 1.4826 * float(np.nanmedian(abs(numpy(report.gap))))


def flags_of(report: GapReport) -> dict[int, Mask]:
    """Sign of the gap to the flags (P,)."""
    return {1: report.flags["strangers"].numpy(), -1: report.flags["lookalikes"].numpy()}


def can_be_flagged(truth: Truth, num_inputs: int) -> NDArray[np.int64]:
    """(P,): 1 for a gap that so many inputs can show to be a stranger, -1 a look-alike, 0 neither."""
    enough = np.where(truth.side > 0, truth.joint_rate, truth.effective_rate) * num_inputs >= ENOUGH
    return truth.side * enough


def counted(report: GapReport, truth: Truth, num_inputs: int, scale: float) -> Counter[str]:
    """Flags, false ones and found gaps of one report."""
    flags, can_be, size = flags_of(report), can_be_flagged(truth, num_inputs), abs(truth.gap)
    strong = size >= max(THRESHOLD, OUTLIER * scale) + 3.5 * truth.error(num_inputs)
    counts = Counter(reports=1, without_verdict=int(report.verdict.why_none is not None))
    missed: list[int] = []
    for sign, flagged in flags.items():
        counts["flags"] += int(flagged.sum())
        counts["false"] += int((flagged & ~(sign * truth.gap >= THRESHOLD / 2)).sum())
        wanted = strong & (can_be == sign)
        counts["strong"] += int(wanted.sum())
        counts["strong found"] += int((wanted & flagged).sum())
        missed += np.flatnonzero(wanted & ~flagged).tolist()
        for mark, (low, high) in SIZES.items():
            such = (can_be == sign) & (size >= low) & (size < high)
            counts[f"{mark} {sign}"] += int(such.sum())
            counts[f"{mark} {sign} found"] += int((such & flagged).sum())
    if missed and report.verdict.why_none is None:
        counts.update(f"why: {reason}" for reason in reasons_of(report, missed))
    return counts


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def added(tallies: Iterable[Tally]) -> Tally:
    total: Tally = {}
    for tally in tallies:
        for cell, counts in tally.items():
            total.setdefault(cell, Counter()).update(counts)
    return dict(sorted(total.items()))


def flags(quick: bool, run: "Run") -> None:
    tasks = flag_tasks(quick, planted=True)
    total = added(run(judged, tasks))
    rows = []
    for cell, counts in total.items():
        numbers = [counts[what] for what in ("reports", "without_verdict", "flags", "false")]
        is_bound = "yes" if cell.num_inputs >= 10 * cell.num_labels else ""
        false, power = share(counts["false"], counts["flags"]), share(counts["strong found"], counts["strong"])
        rows.append([*cell, *numbers, false, is_bound, counts["strong"], power])
    heads = ["world", "K", "N", "reports", "no verdict", "flags", "false", "false share", "N >= 10 K", "strong gaps", "power"]
    print(table("False flags (at most .05 where N >= 10 K) and power for strong gaps (at least .9)", heads, rows))
    for kind in WORLDS:
        pooled: Counter[str] = Counter()
        for cell, counts in total.items():
            if cell.kind == kind and cell.num_inputs >= 10 * cell.num_labels:
                pooled.update(counts)
        print(
            f"{kind}, all cells with N >= 10 K: {share(pooled['false'], pooled['flags'])} of {pooled['flags']} flags are false, "
            f"{share(pooled['strong found'], pooled['strong'])} of {pooled['strong']} strong gaps are found."
        )
    print()
    print(table("Power by size of the gap and inputs a label (how many gaps)", *by_size(total)))
    reasons: Counter[str] = Counter()
    for counts in total.values():
        reasons.update({what[5:]: number for what, number in counts.items() if what.startswith("why: ")})
    print(table("Why strong gaps were not flagged", ["reason", "pairs"], [list(one) for one in reasons.most_common(8)]))


def by_size(total: Tally) -> tuple[list[str], list[list[Any]]]:
    """Heads and rows of the table of power: kinds of worlds, over all K with so many inputs a label."""
    rows = []
    for kind, (low, high) in itertools.product(WORLDS, itertools.pairwise((5, 10, 20, 50, 100, math.inf))):
        counts: Counter[str] = Counter()
        for cell, those in total.items():
            if cell.kind == kind and low <= cell.num_inputs / cell.num_labels < high:
                counts.update(those)
        marks = [f"{mark} {sign}" for sign in (1, -1) for mark in SIZES]
        rows.append(
            [kind, f"{low} to {high:g}", *(f"{share(counts[f'{one} found'], counts[one])} ({counts[one]})" for one in marks)]
        )
    return ["world", "N / K", *(f"{side} {mark}" for side in ("stranger", "look-alike") for mark in SIZES)], rows


def null(quick: bool, run: "Run") -> None:
    rows = []
    for cell, counts in added(run(judged, flag_tasks(quick, planted=False))).items():
        worlds, reports = f"{counts['worlds_with_a_gap']} of {counts['worlds']}", counts["reports"]
        shares = [share(counts[what], reports) for what in ("flags", "false")]
        rows.append([*cell, worlds, reports, counts["without_verdict"], *shares])
    heads = ["world", "K", "N", "worlds with a gap beyond the threshold", "reports", "no verdict", "flags a report"]
    print(table("Nothing planted: fewer than 0.05 false flags a report", [*heads, "false flags a report"], rows))


def flag_tasks(quick: bool, *, planted: bool) -> list[FlagTask]:
    """Worlds, largest first so that processes end together."""
    kinds = tuple(WORLDS) if planted else ("dense", "sparse")
    plan: dict[int, tuple[int, int, tuple[int, ...], int]]
    if quick:
        plan = {100: (1, 2, (1000, 2000), 60_000), 10: (3, 3, (256, 2000), 60_000)}
    elif planted:
        all_sizes = (256, 1000, 2000, 5000, 10_000)
        plan = {512: (3, 4, (2000, 5000, 10_000), 1_000_000), 100: (4, 5, all_sizes, 1_000_000), 10: (20, 5, all_sizes, 400_000)}
    else:
        plan = {
            512: (1, 6, (2560, 5000, 10_000), 1_000_000),
            100: (3, 10, (500, 1000, 5000), 1_000_000),
            10: (10, 20, (256, 1000, 5000), 400_000),
        }
    return [
        FlagTask(kind, num_labels, seed, planted, sizes, repeats, population)
        for num_labels, (seeds, repeats, sizes, population) in plan.items()
        for kind in kinds
        for seed in range(seeds)
    ]


# Intervals


@dataclass(frozen=True)
class CoverageTask:
    """A world, and how its samples are drawn."""

    kind: str
    num_labels: int
    num_inputs: int
    order: str
    """"independent", "copies" or "sorted"."""
    repeats: int
    population: int


@dataclass(frozen=True)
class Coverage:
    """How often intervals cover, and how large errors are."""

    task: CoverageTask
    overlaps: float | None
    """Share of the intervals of all pairs, None without errors."""
    large: float | None
    """The same, of pairs that overlap by at least `LARGE`."""
    planted: float | None
    """The same, of the planted pairs."""
    agreement: float | None
    """The same, of the headline."""
    error_ratio: float | None
    """Root mean squared error as reported over the standard deviation of the overlaps, median over pairs."""
    delta_ratio: float
    """Standard deviation by the delta method over the same, which checks the population's own."""
    spread: float
    """Standard deviation of the headline over repeats."""
    agreement_error: float | None
    """Root mean squared error of the headline as reported."""
    center: float
    """Mean middle of its intervals, the mean of the headline itself where there are none."""
    truth: float
    """The population's."""


def ordered(world: World, num_inputs: int, order: str, source: torch.Generator) -> Draw:
    """A sample in an order: independent, in runs of copies, each class after the other, or one of each in turn."""
    draw = world.draw(num_inputs // COPIES if order == "copies" else num_inputs, source)
    if order == "copies":
        return draw[torch.arange(len(draw.classes)).repeat_interleave(COPIES)]
    if order == "sorted":
        return draw[draw.classes.argsort(stable=True)]
    if order == "alternating":
        return draw[in_turn(draw.classes)]
    return draw


def in_turn(classes: torch.Tensor) -> torch.Tensor:
    """The order in which every class comes once, then every class that is left once again, and so on."""
    order = classes.argsort(stable=True)
    counts = classes.bincount()
    first = counts.cumsum(0) - counts
    turn = torch.empty_like(classes)
    turn[order] = torch.arange(len(classes)) - first[classes[order]]
    return (turn * len(counts) + classes).argsort()


def covered(task: CoverageTask) -> Coverage:
    torch.set_num_threads(1)
    world, truth = known(task.kind, task.num_labels, 0, planted=True, population=task.population)
    off = np.zeros((2, len(truth.overlap)))  # sums of the overlaps' distances from the truth, and of their squares
    hits, squares, num_errors = np.zeros_like(truth.overlap), np.zeros_like(truth.overlap), np.zeros_like(truth.overlap)
    intervals, headlines, headline_errors = [], [], []
    for repeat in range(task.repeats):
        draw = ordered(world, task.num_inputs, task.order, generator("interval", task, repeat))
        report = report_of(world, draw)
        away, errors = numpy(report.rungs["overlap"]) - truth.overlap, errors_of(report)
        off += np.stack([away, away**2])
        if errors is not None:
            there = np.isfinite(errors)
            hits += there & (abs(away) <= INTERVAL * errors)
            squares += np.where(there, errors, 0) ** 2
            num_errors += there
        headlines.append(report.rank_agreement["centered_cosine"])
        intervals.append(interval_of(report))
        headline_errors.append(report.standard_errors.get(HEADLINE, math.nan))
    spread = np.sqrt((off[1] - off[0] ** 2 / task.repeats) / (task.repeats - 1))
    num_independent = task.num_inputs // (COPIES if task.order == "copies" else 1)
    mean_square = squares / np.where(num_errors > 0, num_errors, np.nan)
    found = [one for one in intervals if one is not None]

    def cover(which: Mask) -> float | None:
        return float(hits[which].sum() / num_errors[which].sum()) if num_errors[which].any() else None

    return Coverage(
        task,
        overlaps=cover(np.isfinite(truth.overlap)),
        large=cover(truth.overlap >= LARGE),
        planted=cover(planted_mask(world)),
        agreement=statistics.mean(low <= truth.rank_agreement <= high for low, high in found) if found else None,
        error_ratio=float(np.nanmedian(mean_square**0.5 / spread)) if num_errors.any() else None,
        delta_ratio=float(np.nanmedian(truth.error(num_independent) / spread)),
        spread=statistics.stdev(headlines),
        agreement_error=math.sqrt(statistics.mean(error**2 for error in headline_errors)) if found else None,
        center=statistics.mean([(low + high) / 2 for low, high in found] or headlines),
        truth=truth.rank_agreement,
    )


def planted_mask(world: World) -> Mask:
    """(P,)."""
    row, column = np.triu_indices(len(world.rows), 1)
    planted = {frozenset((pair.row, pair.column)) for pair in world.planted}
    return np.array([frozenset(pair) in planted for pair in zip(row.tolist(), column.tolist(), strict=True)])


def coverage(quick: bool, run: "Run") -> None:
    if quick:
        tasks = coverage_tasks(quick, {100: (1000,), 10: (256, 1000)}, ("independent", "copies"))
    else:
        tasks = coverage_tasks(quick, {512: (5000,)}, ("independent",), ("dense", "sparse"))
        tasks += coverage_tasks(quick, {100: (1000, 5000), 10: (256, 1000, 5000)}, ("independent", "copies"))
    title = "How often intervals of 95 % cover (between .90 and .985; of rank agreement from 1 000 inputs on)"
    print(table(title, *coverage_rows(run(covered, tasks))))


def coverage_tasks(
    quick: bool, plan: dict[int, tuple[int, ...]], orders: Sequence[str], kinds: Sequence[str] = tuple(WORLDS)
) -> list[CoverageTask]:
    """Tasks of K to several N: those of a world one after the other."""
    repeats, population = (12, 60_000) if quick else (200, 1_000_000)
    return [
        CoverageTask(kind, num_labels, num_inputs, order, repeats, population)
        for num_labels, sizes in plan.items()
        for kind in kinds
        for num_inputs in sizes
        for order in orders
    ]


def coverage_rows(results: Iterable[Coverage]) -> tuple[list[str], list[list[Any]]]:
    heads = ["world", "K", "N", "inputs", "repeats", "overlaps", f"overlaps >= {LARGE}", "planted", "SE / spread"]
    rows: list[list[Any]] = []
    for one in results:
        of_pairs = (one.overlaps, one.large, one.planted, one.error_ratio, one.delta_ratio)
        of_headline = (one.agreement, one.agreement_error, one.spread, one.center, one.truth)
        rows.append([*dataclasses.astuple(one.task)[:5], *map(shown, of_pairs + of_headline)])
    return [*heads, "delta / spread", "rank agreement", "its SE", "its spread", "its center", "its truth"], rows


def shown(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.3f}"


# The order of the inputs


@dataclass(frozen=True)
class OrderTask:
    """A world, and how many times its samples are looked at in two ways."""

    kind: str
    num_labels: int
    num_inputs: int
    repeats: int


@dataclass(frozen=True)
class Order:
    """What copies and order change, repeat by repeat."""

    task: OrderTask
    reliability: float
    """Mean over the samples in the order in which they were drawn."""
    twice: list[float]
    """By how much reliability is higher where each input comes twice in a row."""
    alternating: list[float]
    """By how much it is higher where classes alternate."""
    error_ratios: dict[str, list[float]]
    """By what was changed: the root mean squared error over pairs, over that without the change."""


def compared(task: OrderTask) -> Order:
    torch.set_num_threads(1)
    world = world_of(task.kind, task.num_labels, 0, planted=True)
    plain, twice, alternating = [], [], []
    ratios: dict[str, list[float]] = {"twice": [], "alternating": []}
    for repeat in range(task.repeats):
        draw = world.draw(task.num_inputs, generator("order", task, repeat))
        once = report_of(world, draw)
        changed = {
            "twice": report_of(world, draw[torch.arange(task.num_inputs).repeat_interleave(2)]),
            "alternating": report_of(world, draw[in_turn(draw.classes)]),
        }
        plain.append(once.reliability)
        twice.append(changed["twice"].reliability - once.reliability)
        alternating.append(changed["alternating"].reliability - once.reliability)
        base = errors_of(once)
        for what, report in changed.items():
            errors = errors_of(report)
            if base is not None and errors is not None:
                ratios[what].append(float(np.sqrt(np.nanmean(errors**2) / np.nanmean(base**2))))
    return Order(task, statistics.mean(plain), twice, alternating, ratios)


def order(quick: bool, run: "Run") -> None:
    sizes = {100: 1000, 10: 256} if quick else {100: 2000, 10: 1000}
    tasks = [OrderTask(kind, k, n, 6 if quick else 50) for k, n in sizes.items() for kind in WORLDS]
    rows = []
    for one in run(compared, tasks):
        changes = (one.twice, one.error_ratios["twice"], one.alternating, one.error_ratios["alternating"])
        rows.append([*dataclasses.astuple(one.task), f"{one.reliability:.3f}", *map(mean_of, changes)])
    heads = ["world", "K", "N", "repeats", "reliability", "twice: more", "twice: errors", "alternating: more"]
    title = "Each input twice in a row against once, and alternating classes against any order: mean (its standard error)"
    print(table(title, [*heads, "alternating: errors"], rows))
    sorted_tasks = coverage_tasks(quick, {num_labels: (num_inputs,) for num_labels, num_inputs in sizes.items()}, ("sorted",))
    print(table("Sorted classes: intervals cover at least as often as promised", *coverage_rows(run(covered, sorted_tasks))))


def mean_of(values: list[float]) -> str:
    """With its standard error in brackets."""
    if not values:
        return NO_VALUE
    return f"{statistics.mean(values):.3f} ({statistics.stdev(values) / math.sqrt(len(values)):.3f})"


# All of it


class Run:
    """Works through tasks in processes of their own, and gives results in the order of the tasks."""

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def __call__(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
        if self.processes == 1:
            return [work(task) for task in tasks]
        with multiprocessing.get_context("spawn").Pool(self.processes) as pool:
            return pool.map(work, tasks, chunksize=1)


def table(title: str, heads: list[str], rows: list[list[Any]]) -> str:
    return f"## {title}\n\n{tabulate(rows, heads, tablefmt='github', disable_numparse=True)}\n"


PARTS: Final[dict[str, Callable[[bool, Run], None]]] = {"flags": flags, "null": null, "coverage": coverage, "order": order}


def main(parts: list[str], *, quick: bool, processes: int | None) -> None:
    run = Run(processes or (1 if quick else 2))
    for part in parts or PARTS:
        began = time.perf_counter()
        PARTS[part](quick, run)
        print(f"({part}: {time.perf_counter() - began:.0f} s)\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"{', '.join(PARTS)}; default all")
    parser.add_argument("--quick", action="store_true", help="few worlds and repeats, to see that it runs")
    parser.add_argument("--processes", type=int, help="default 2, with --quick 1")
    given = parser.parse_args()
    main(given.parts, quick=given.quick, processes=given.processes)
