"""What TensorBoard's tab costs the training, TensorBoard and the reader, by hand: `python -m tests.benchmarks.tab [part ...]`.

Parts are `writing`, `starting`, `wire` and `viewing`; `viewing=2` plays for two minutes instead of ten. Results are in tab.txt.

Medians of work done alternately in one run, on a machine on which nothing else runs.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim import GapReport
from lightning_cossim.loggers import tab as tab_module
from lightning_cossim.loggers import wire as wire_module
from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import pack
from tests.tensorboard_plugin.events import reports, write
from tests.tensorboard_plugin.served import tensorboard
from tests.toys import altered

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROUNDS = 15


def counted(seconds: float) -> int:
    """How far a loop in Python gets in this time: what another thread takes of it, it lacks."""
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        count += 1
    return count


def cost_of_a_step(report: GapReport, folder: Path) -> tuple[float, float, int]:
    """Milliseconds that the call takes, milliseconds that the writer's thread takes of a loop beside it, and bytes."""
    writer = SummaryWriter(str(folder))
    logger: Any = SimpleNamespace(experiment=writer)
    recorder = Recorder(None, LabelOrder())
    calls, taken, window = [], [], 0.5
    for number in range(ROUNDS):
        alone = counted(window)
        began = time.perf_counter()
        recorder.record(altered(report, step=number), logger)
        calls.append(1e3 * (time.perf_counter() - began))
        beside = counted(window)
        again = counted(window)
        taken.append(1e3 * window * (1 - 2 * beside / (alone + again)))
    writer.close()
    size = sum(path.stat().st_size for path in folder.iterdir()) // ROUNDS
    return statistics.median(calls), statistics.median(taken), size


def writing() -> None:
    print("Writing a step: the call, the writer's thread beside a loop in Python, their sum, and what is in the event file")
    torch.set_num_threads(1)
    for num_labels in (10, 100, 140, 512, 1000):
        (report,) = reports(num_labels, 1, dim=64)
        with tempfile.TemporaryDirectory() as folder:
            call, taken, size = cost_of_a_step(report, Path(folder))
        print(f"  {num_labels} labels: {call:.1f} + {taken:.1f} = {call + taken:.1f} ms, {size / 1e3:.0f} kB", flush=True)


START = """
import time
began = time.perf_counter()
from importlib import metadata
if not {with_it}:
    found = metadata.entry_points
    def entry_points(**which):
        if which:
            return found(**which)
        others = (one for one in found().select(group="tensorboard_plugins") if one.name != "lightning_cossim")
        return metadata.EntryPoints(others)
    metadata.entry_points = entry_points
import os
from tensorboard import program
board = program.TensorBoard()
board.configure(argv=["", "--logdir", {folder!r}, "--port", "0", "--load_fast", "false", "--host", "127.0.0.1"])
board.launch()
took = time.perf_counter() - began
import sys
print(took, "lightning_cossim.tensorboard_plugin.plugin" in sys.modules, flush=True)
os._exit(0)
"""


def starting() -> None:
    """From the first import of TensorBoard to its server, with and without the plugin's entry point."""
    print("TensorBoard's start, with and without the plugin")

    def start(*, with_it: bool) -> float:
        """Without it, its entry point is not found, as if the package were not installed."""
        with tempfile.TemporaryDirectory() as folder:
            code = START.format(with_it=with_it, folder=folder)
            ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        took, there = ran.stdout.split()[-2:]
        assert (there == "True") is with_it, ran.stdout
        return float(took)

    start(with_it=True)
    pairs = [(start(with_it=True), start(with_it=False)) for _ in range(ROUNDS)]
    ratios = sorted(one / other for one, other in pairs)
    middle = statistics.median(one for one, _ in pairs)
    print(f"  {middle:.2f} s, with/without {statistics.median(ratios):.3f} ({ratios[2]:.3f} to {ratios[-3]:.3f})", flush=True)
    noise = sorted(start(with_it=False) / start(with_it=False) for _ in range(ROUNDS))
    print(f"  without/without {statistics.median(noise):.3f} ({noise[2]:.3f} to {noise[-3]:.3f})", flush=True)


MOVE = """async (place) => {
  const slider = document.querySelector("#step");
  const began = performance.now();
  slider.value = String(place);
  slider.dispatchEvent(new Event("input"));
  const painted = () => performance.getEntriesByName("painted").some(({ startTime }) => startTime > began);
  while (!painted()) await new Promise((resolve) => setTimeout(resolve, 1));
  await new Promise((resolve) => requestAnimationFrame(resolve));
  return performance.now() - began;
}"""
STEPS = 200
DISTINCT = 8
"""Number of different reports of 1 000 labels, which are written again and again: a report takes seconds."""


def many_steps(num_labels: int, num_distinct: int) -> list[GapReport]:
    """So many steps of a run, from fewer reports."""
    made = reports(num_labels, num_distinct, dim=24)
    order = [*range(num_distinct), *range(num_distinct - 2, 0, -1)]
    return [altered(made[order[number % len(order)]], step=10 * (number + 1)) for number in range(STEPS)]


@contextmanager
def viewed(**runs: Sequence[GapReport]) -> Iterator[Callable[[str], "Page"]]:
    """Opens the page of a run in headless Chromium. A step of many labels has the largest number of pairs, 10 000."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        with patch.object(tab_module, "MAX_BYTES", 10**6), patch.object(wire_module, "MAX_BYTES", 10**6):
            for run, made in runs.items():
                write(Path(folder) / run, made)
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        with tensorboard(Path(folder)) as served:
            served.wait_for(len(runs), STEPS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})

            def open_(run: str) -> "Page":
                page.goto("about:blank")
                page.goto(f"{served.address}/data/plugin_entry.html?name=lightning_cossim#p.lightning_cossim.run={run}")
                page.locator(".headline").first.wait_for()
                return page

            yield open_
        browser.close()


def viewing(minutes: float = 10) -> None:
    """The page in headless Chromium, 200 steps of 100 and of 1 000 labels, the latter with 10 000 pairs.

    Args:
        minutes: how long the steps play.
    """
    with viewed(hundred=many_steps(100, 50), thousand=many_steps(1000, DISTINCT)) as open_:
        first_view(open_)
        sliding(open_)
        playing(open_, minutes)


def first_view(open_: Callable[[str], "Page"]) -> None:
    """From the address to the headline and the picture, the server warm."""
    print(f"First view, {STEPS} steps, headless Chromium")
    for run in ("hundred", "thousand"):
        taken = []
        for _ in range(7):
            began = time.perf_counter()
            page = open_(run)
            page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
            taken.append(time.perf_counter() - began)
        print(f"  {run} labels, {said_pairs(page)}: {statistics.median(taken):.2f} s ({max(taken):.2f} at most)", flush=True)


def said_pairs(page: "Page") -> str:
    return str(page.locator(".pairs figcaption .note").first.inner_text())


def sliding(open_: Callable[[str], "Page"]) -> None:
    """From a move of the slider to the picture, at 1 000 labels."""
    print("Slider to picture, 1 000 labels")
    page = open_("thousand")
    page.wait_for_timeout(1000)
    places = [(37 * number) % STEPS for number in range(STEPS)]
    for words in ("far from the step before, most of them not yet read", "the same again"):
        moves = [float(page.evaluate(MOVE, place)) for place in places]
        print(f"  {STEPS} moves, {words}: {figures(moves)}", flush=True)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = metrics(devtools)["TaskDuration"]
    near = [float(page.evaluate(MOVE, place)) for place in range(STEPS)]
    taken = 1e3 * (metrics(devtools)["TaskDuration"] - before) / STEPS
    print(f"  {STEPS} moves to the next step: {figures(near)}; the page's thread computes {taken:.0f} ms for a move", flush=True)


def metrics(devtools: Any) -> dict[str, float]:
    """What Chromium measures of a page."""
    return {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}


def figures(moves: list[float]) -> str:
    worst = sorted(moves)[-3:]
    return f"median {statistics.median(moves):.0f} ms, worst three {', '.join(f'{one:.0f}' for one in worst)} ms"


def playing(open_: Callable[[str], "Page"], minutes: float) -> None:
    """The heap of the page, after a garbage collection, while the steps of 1 000 labels play at the highest speed."""
    print(f"Memory over {minutes:g} minutes of play, 1 000 labels")
    page = open_("thousand")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    speed = page.get_by_label("Speed in steps per second")
    speed.select_option(index=speed.locator("option").count() - 1)
    for number in range(11):
        devtools.send("HeapProfiler.collectGarbage")
        found = metrics(devtools)
        size, nodes = found["JSHeapUsedSize"] / 1e6, found["Nodes"]
        now = page.locator(".now").inner_text()
        print(f"  after {number * minutes / 10:.1f} min: {size:.0f} MB, {nodes:.0f} nodes, at step {now}", flush=True)
        if page.get_by_role("button", name="Play", exact=True).count():
            page.get_by_role("button", name="Play", exact=True).click()
        page.wait_for_timeout(6000 * minutes)


def wire() -> None:
    """Bytes of a step, as the package writes it."""
    print("Bytes of a step on the wire")
    for num_labels in (10, 100, 140, 1000):
        (report,) = reports(num_labels, 1, dim=24)
        step = step_of(report, index=1, time=0.0)
        print(f"  {num_labels} labels, {len(step.row):,} pairs: {len(pack(step)) / 1e3:.0f} kB", flush=True)
    largest = wire_module.MAX_BYTES / 1e3
    print(
        f"  at most {largest:.0f} kB without evidence, {2 * largest:.0f} kB with evidence, which has a bound of its own",
        flush=True,
    )


def main(parts: list[str]) -> None:
    warnings.simplefilter("ignore")
    known: dict[str, Callable[..., None]] = {
        "writing": writing,
        "starting": starting,
        "wire": wire,
        "viewing": viewing,
    }
    for part in parts or known:
        name, _, minutes = part.partition("=")
        known[name](*([float(minutes)] if minutes else []))


if __name__ == "__main__":
    main(sys.argv[1:])
