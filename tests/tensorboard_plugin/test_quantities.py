"""What the tab calls the numbers of a pair, in the system's Chromium: as each step says; `pytest -m browser`."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim.loggers import writers
from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import pack
from tests.tensorboard_plugin.browsing import Open
from tests.tensorboard_plugin.events import CLOTHES, reports
from tests.tensorboard_plugin.served import Served, tensorboard
from tests.tensorboard_plugin.steps import ADDED, as_version_1, with_added

pytestmark = [pytest.mark.full, pytest.mark.browser]

PLAIN_NAMES = ["raw cosine", "centered cosine", "logit correlation", "log odds variance"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run whose steps have a similarity more than the package has, and one of an earlier version."""
    folder = tmp_path_factory.mktemp("logs")
    made = [step_of(report, index=index, time=float(index)) for index, report in enumerate(reports(10, 3, names=CLOTHES), 1)]
    for run, blobs in {
        "added": [pack(with_added(one)) for one in made],
        "earlier": [as_version_1(pack(one)) for one in made],
    }.items():
        writer = SummaryWriter(str(folder / run))
        for step, blob in zip(made, blobs, strict=True):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(writers, "pack", lambda _, blob=blob: blob)
                writers.write_step(SimpleNamespace(experiment=writer), "cossim_val", step)
        writer.close()
    with tensorboard(folder) as found:
        found.wait_for(2, 3)
        yield found


@pytest.fixture
def open_tab(browser: Any, served: Served) -> Iterator[Open]:
    """Opens the page of the tab, without TensorBoard around it, at a state; at the end nothing may have gone wrong."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 720})

    def open_(**state: str) -> Any:
        page = context.new_page()
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # TensorBoard has none for a page alone
        page.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        fragment = "&".join(f"p.lightning_cossim.{key}={value}" for key, value in state.items())
        page.goto(f"{served.address}/data/plugin_entry.html?name=lightning_cossim#{fragment}")
        page.locator(".headline").first.wait_for()
        return page

    yield open_
    context.close()
    assert wrong == []


def options(page: Any, label: str) -> list[str]:
    return list(page.get_by_label(label, exact=True).locator("option").all_inner_texts())


def dialog_of(page: Any, view: str) -> str:
    """What the first explanation of a view says."""
    page.locator(view).get_by_role("button", name="What is this").first.click()
    text = str(page.get_by_role("dialog").inner_text())
    page.keyboard.press("Escape")
    return text


def test_an_added_similarity_is_in_every_view(open_tab: Open) -> None:
    """Under the name that Python gave it, as a text; what is more alike comes first, since its row says which way that is."""
    page = open_tab(run="added", pair="2-6")
    assert options(page, "x axis")[0] == ADDED["title"]
    page.get_by_label("x axis", exact=True).select_option(ADDED["key"])
    page.get_by_role("radio", name=ADDED["title"], exact=True).check()
    for view in (".scatter", ".heatmap", ".history"):
        assert dialog_of(page, view).startswith("\n\n".join([f"{ADDED['title']}\nClose", *ADDED["about"]]))
    assert page.locator(".chart .title").first.inner_text() == ADDED["title"]
    assert ADDED["title"] in page.locator(".numbers th").all_inner_texts()
    page.wait_for_function("document.querySelector('.history .note').textContent === ''")
    page.get_by_role("columnheader", name=ADDED["column"], exact=True).get_by_role("button").click()
    assert page.locator("th[aria-sort=ascending]").inner_text() == f"{ADDED['column']} ↑"
    canvas = page.locator(".heatmap .plot canvas:visible").last
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 2, "y": 30})
    assert re.match(r"[Aa]dded <b>distance</b> 0\.", page.locator(".tip div").first.inner_text())
    page.get_by_role("button", name="What this tab shows").click()
    assert page.locator("dialog summary").first.inner_text() == ADDED["title"]
    assert page.locator("main b b, main td i i, dialog i").count() == 0
    page.wait_for_timeout(300)
    assert "p.lightning_cossim.map=added_distance" in page.url


def test_a_run_of_an_earlier_version_opens(open_tab: Open) -> None:
    """Its quantities are called by their keys, and the explanation is that there is none."""
    page = open_tab(run="earlier", pair="2-6")
    assert "The centered cosine explains " in page.locator(".headline").inner_text()
    assert options(page, "x axis") == page.locator(".chart .title").all_inner_texts() == PLAIN_NAMES
    why = page.locator(".because").inner_text()
    assert re.match(r"It overlaps (more|less) than pairs with its cosine do\. Its gap, .[\d.]+, exceeds [\d.]+\.$", why)
    assert "expected overlap" in page.locator(".pairs thead th").all_inner_texts()
    assert "An earlier version of lightning-cossim wrote this step" in dialog_of(page, ".scatter")
    page.get_by_label("x axis", exact=True).select_option("log_odds_variance")
    assert "flags refer to the centered cosine" in page.locator(".scatter .note").first.inner_text()
