"""What TensorBoard's tab costs the training, TensorBoard and the reader, by hand: `python -m tests.benchmarks.tab [part ...]`.

Medians of work done alternately in one run, on a machine on which nothing else runs.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim import GapReport
from lightning_cossim.loggers.recorder import Recorder
from tests.tensorboard_plugin.events import reports, write
from tests.tensorboard_plugin.served import tensorboard
from tests.toys import altered

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
    recorder = Recorder(None)
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


def viewing() -> None:
    """In Chromium: the first view of 100 labels at 200 steps, and moves of the slider at 1 000 labels."""
    from playwright.sync_api import sync_playwright

    print("The page, headless Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        write(Path(folder) / "steps", reports(100, 200, dim=24))
        write(Path(folder) / "labels", reports(1000, 12, dim=24))
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        with tensorboard(Path(folder)) as served:
            served.wait_for(2, 12)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            first = []
            for _ in range(5):
                page.goto("about:blank")
                began = time.perf_counter()
                page.goto(f"{served.address}/data/plugin_entry.html?name=lightning_cossim#p.lightning_cossim.run=steps")
                page.locator(".headline").first.wait_for()
                first.append(time.perf_counter() - began)
            print(f"  first view, 100 labels, 200 steps: {statistics.median(first):.2f} s", flush=True)
            page.goto("about:blank")
            page.goto(f"{served.address}/data/plugin_entry.html?name=lightning_cossim#p.lightning_cossim.run=labels")
            page.locator(".headline").first.wait_for()
            page.wait_for_timeout(500)
            moves = [page.evaluate(MOVE, place) for place in (8, 5, 2, 9, 4, 0, 7, 3, 10, 6, 1)]
            again = [page.evaluate(MOVE, place) for place in (8, 5, 2, 9, 4, 0, 7, 3, 10, 6, 1)]
            said = [f"{statistics.median(one):.0f} ms ({max(one):.0f} at most)" for one in (moves, again)]
            print(f"  slider to picture, 1 000 labels: {said[0]} on steps not yet read, {said[1]} on steps read", flush=True)
        browser.close()


def main(parts: list[str]) -> None:
    warnings.simplefilter("ignore")
    known: dict[str, Callable[[], None]] = {"writing": writing, "starting": starting, "viewing": viewing}
    for part in parts or known:
        known[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
