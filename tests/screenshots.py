"""Pictures of the tab in forty states, to be looked at: `python -m tests.screenshots FOLDER`.

Takes five minutes. Two runs are trainings of the examples on real data, with evidence; the others are made.
"""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from lightning_cossim import GapReport
from lightning_cossim.functional.links import Link
from lightning_cossim.metrics import SimilarityGap
from tests.tensorboard_plugin.browsing import FLAGS
from tests.tensorboard_plugin.events import LOW, reports, write
from tests.tensorboard_plugin.served import ROOT, Served, tensorboard
from tests.toys import altered

EXAMPLES: Final = {
    "fashion": ["fashion_mnist.py", "--epochs", "3"],
    "language": ["language_model.py", "--epochs", "1", "--batches", "60"],
}
PHONE, SMALL, LAPTOP, DESK, WALL = (390, 844), (800, 900), (1280, 720), (1920, 1080), (3840, 2160)


@dataclass(frozen=True)
class Shot:
    """One picture: where the tab is, and what is done in it before."""

    name: str
    size: tuple[int, int] = LAPTOP
    state: dict[str, str] = field(default_factory=dict)
    dark: bool = False
    forced: bool = False
    whole: bool = False
    """True: the page down to its end, not only the first screen."""
    act: str = ""
    """Selector of an element to click first."""
    wait_for: str = ".headline"


def shots(fashion: str, language: str) -> Iterator[Shot]:
    """The forty states. Arguments: names of the two runs of real data."""
    clothes, words = {"run": fashion}, {"run": language}
    for size in (PHONE, SMALL, LAPTOP, DESK, WALL):
        for dark in (False, True):
            yield Shot(f"clothes_{size[0]}_{'dark' if dark else 'light'}", size, clothes, dark=dark, whole=size != WALL)
    for number, size in (("100", LAPTOP), ("100", DESK), ("1000", LAPTOP), ("1000", DESK)):
        for dark in (False, True):
            yield Shot(f"labels_{number}_{size[0]}_{'dark' if dark else 'light'}", size, {"run": number}, dark=dark, whole=True)
    yield Shot("labels_1000_3840", WALL, {"run": "1000"})
    yield Shot("labels_1000_390", PHONE, {"run": "1000"}, whole=True)
    yield Shot("labels_1000_search", LAPTOP, {"run": "1000", "search": "12"}, whole=True)
    for size, dark in ((LAPTOP, False), (DESK, False), (DESK, True), (PHONE, False)):
        yield Shot(f"language_{size[0]}_{'dark' if dark else 'light'}", size, words, dark=dark, whole=True)
    yield Shot("sigmoid", LAPTOP, {"run": "sigmoid"}, whole=True)
    yield Shot("cosine_head", LAPTOP, {"run": "cosine"}, whole=True)
    for run in (clothes, {"run": "1000"}):
        yield Shot(f"forced_{'clothes' if run is clothes else 'labels_1000'}", LAPTOP, run, forced=True, whole=True)
    yield Shot("compared_runs", LAPTOP, {"run": "100", "run2": "100 again"}, whole=True)
    yield Shot("compared_steps", DESK, {"run": "100", "step": "10", "run2": "100", "step2": "200"}, whole=True)
    yield Shot("compared_dark", LAPTOP, {"run": "100", "run2": "100 again"}, dark=True, whole=True)
    yield Shot("compared_same", LAPTOP, {"run": "100", "run2": "100", "step2": "200"}, whole=True)
    yield Shot("pinned", LAPTOP, {**clothes, "pins": "0-6,2-4,7-9"}, whole=True)
    yield Shot("filtered", LAPTOP, {**clothes, "search": "coat", "flags": "none"}, whole=True)
    yield Shot("help", LAPTOP, clothes, act=".bar .group:last-child button:last-child")
    yield Shot("broken_link", LAPTOP, {"run": "gone"}, wait_for=".message")
    yield Shot("broken_pair", LAPTOP, {**clothes, "pair": "3-77"}, whole=True)
    yield Shot("no_verdict", LAPTOP, {"run": "three"}, whole=True)


def made(link: Link, num_labels: int = 20) -> list[GapReport]:
    """Reports of a head of another kind at six steps."""
    generator = torch.Generator().manual_seed(3)
    W_KD, f_ND = torch.randn(num_labels, 12, generator=generator), torch.randn(600, 12, generator=generator)
    found = []
    for step in range(1, 7):
        metric = SimilarityGap(num_labels, 12, link=link, link_scale=8.0 if link == "cosine" else None)
        rows = W_KD + 0.1 * step * torch.randn(num_labels, 12, generator=generator)
        if link == "cosine":
            logits = 8 * torch.nn.functional.normalize(f_ND) @ torch.nn.functional.normalize(rows).T
        else:
            logits = 0.4 * f_ND @ rows.T - 1
        metric.update(rows, logits, f_ND)
        found.append(altered(metric.report().judged(LOW), stage="val", step=10 * step))
    return found


def log(folder: Path) -> None:
    """Train the examples, and write the other runs, into a log folder."""
    for name, (script, *arguments) in EXAMPLES.items():
        command = [sys.executable, f"examples/{script}", *arguments, "--folder", str(folder / name)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    write(folder / "100", reports(100, 20, dim=24))
    write(folder / "100 again", reports(100, 20, seed=1, dim=24))
    write(folder / "1000", reports(1000, 6, seed=2, dim=32))
    write(folder / "three", reports(3, 4, names=("cat", "dog", "horse")))
    write(folder / "sigmoid", made("sigmoid"))
    write(folder / "cosine", made("cosine"))


def take(browser: Any, served: Served, shot: Shot, folder: Path) -> None:
    """Write one picture."""
    width, height = shot.size
    colors = "active" if shot.forced else "none"
    context = browser.new_context(viewport={"width": width, "height": height}, forced_colors=colors)
    page = context.new_page()
    fragment = "".join(f"&p.lightning_cossim.{key}={value}" for key, value in shot.state.items())
    page.goto(f"{served.address}/?darkMode={str(shot.dark).lower()}#lightning_cossim{fragment}")
    tab = page.frame_locator("iframe")
    tab.locator(shot.wait_for).first.wait_for()
    if shot.act:
        tab.locator(shot.act).first.click()
    page.wait_for_timeout(900)  # histories and pictures of inputs come later
    if shot.whole:
        inside = tab.locator("html").evaluate("one => one.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(int(inside) + 70, 6000)})
        page.wait_for_timeout(500)
    page.screenshot(path=folder / f"{shot.name}.png")
    context.close()


def main(folder: Path) -> None:
    """Take all pictures; the last two are of a server that is lost, and of one without a run."""
    folder.mkdir(parents=True, exist_ok=True)
    playwright = importlib.import_module("playwright.sync_api")
    with tempfile.TemporaryDirectory() as name, playwright.sync_playwright() as driver:
        logs, bare = Path(name) / "logs", Path(name) / "bare"
        bare.mkdir()
        log(logs)
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        with tensorboard(logs) as served:
            runs = served.wait_for(8)
            fashion, language = (next(run for run in runs if run.startswith(name)) for name in EXAMPLES)
            for shot in shots(fashion, language):
                take(browser, served, shot, folder)
                print(shot.name, flush=True)
            page = browser.new_context(viewport={"width": LAPTOP[0], "height": LAPTOP[1]}).new_page()
            page.goto(f"{served.address}/#lightning_cossim&p.lightning_cossim.run={fashion}")
            page.frame_locator("iframe").locator(".headline").first.wait_for()
        page.frame_locator("iframe").get_by_role("button", name="Refresh").click()
        page.frame_locator("iframe").locator(".notice:not([hidden])").first.wait_for()
        page.screenshot(path=folder / "lost_server.png")
        with tensorboard(bare) as served:
            take(browser, served, Shot("empty", wait_for=".message"), folder)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Expected one argument, the folder of the pictures: python -m tests.screenshots FOLDER")
    main(Path(sys.argv[1]))
