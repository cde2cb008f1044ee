"""TensorBoards over the same event files, one for each of its two readers."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tensorboard_plugin.browsing import FLAGS, Open, opening
from tests.tensorboard_plugin.events import CLOTHES, HOSTILE, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard

RUN = "<b>run</b> 2 & 'more' %41"


@pytest.fixture(scope="session")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: clothes at 200 steps, a hostile one of two stages, and one of 300 labels."""
    folder = tmp_path_factory.mktemp("logs")
    write(folder / "clothes", reports(10, 200, names=CLOTHES))
    write(folder / RUN, reports(10, 5, seed=1, names=HOSTILE), stages=("train", "val"), name="<i>aux</i>")
    write(folder / "nested" / "many", reports(300, 3, seed=2))
    return folder


@pytest.fixture(scope="session", params=["fast reader", "slow reader"])
def served(request: pytest.FixtureRequest, logdir: Path) -> Iterator[Served]:
    """The fast reader is a server of its own; the slow one stands under a path, as behind a proxy."""
    flags = ["--load_fast=true"] if request.param == "fast reader" else ["--load_fast=false", "--path_prefix=/proxy/tb"]
    with tensorboard(logdir, *flags) as found:
        found.wait_for(3)
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = importlib.import_module("playwright.sync_api")  # here, so that nothing is skipped where it is not asked for
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_tab(browser: Any, served: Served) -> Iterator[Open]:
    """Opens the tab in the TensorBoard that a module serves."""
    yield from opening(browser, served.address)
