"""What goes wrong around the tab, in the system's Chromium: broken links, a lost server, new steps; `pytest -m browser`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tensorboard_plugin.browsing import Open, chosen, expect, opening, step, tab
from tests.tensorboard_plugin.events import CLOTHES, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard

pytestmark = [pytest.mark.full, pytest.mark.browser]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("logs")
    write(folder / "clothes", reports(10, 12, names=CLOTHES), stages=("train", "val"))
    write(folder / "three", reports(3, 2))
    with tensorboard(folder) as found:
        found.wait_for(2)
        yield found


# Links


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"run": "gone"}, "TensorBoard has no run “gone” with steps of this tab."),
        ({"run": "three", "tag": "cossim_test"}, "The run “three” has no stage “test”."),
        (
            {"run": "clothes", "step": "55"},
            "Step 55 of “clothes” is not among the 12 steps that TensorBoard has of the stage “val”.",
        ),
    ],
    ids=["run", "stage", "step"],
)
def test_a_link_to_something_missing_says_so(open_tab: Open, state: dict[str, str], said: str) -> None:
    """Nothing is shown in its place, and the choices show what the link names."""
    page = open_tab(wait_for=".message", **state)
    assert said in tab(page).locator(".message").inner_text()
    assert tab(page).locator(".headline, .board:visible").count() == 0
    run = tab(page).get_by_label("Run", exact=True)
    assert run.input_value() == state["run"]
    run.select_option("three" if state["run"] != "three" else "clothes")
    tab(page).locator(".headline").wait_for()


def test_a_link_to_a_missing_pair_says_so(open_tab: Open) -> None:
    page = open_tab(run="clothes", pair="3-4711")
    assert chosen(page) == "Dress / label 4711"
    said = tab(page).locator(".because").inner_text()
    assert said == "The run “clothes” has no label in row 4711 of the head. Select another pair."
    assert tab(page).locator(".facts:visible, .inputs:visible, .todo:visible").count() == 0
    assert tab(page).locator(".pairs tr.selected").count() == 0


def test_a_link_to_a_missing_comparison_says_so(open_tab: Open) -> None:
    page = open_tab(run="clothes", run2="gone")
    notice = tab(page).locator(".notice:visible")
    assert notice.inner_text() == "Nothing to compare with. TensorBoard has no run “gone” with steps of this tab."
    assert tab(page).locator(".headline").count() == 1
    tab(page).get_by_label("Compare with", exact=True).select_option("")
    expect(notice.count, 0, page)


def test_a_run_without_gaps_says_so(open_tab: Open) -> None:
    page = open_tab(run="three")
    assert chosen(page) == "No pair"
    assert tab(page).locator(".because").inner_text().startswith("No pair of this step has a gap")


# A lost server


def test_a_lost_server_is_a_notice_above_the_last_view(browser: Any, served: Served) -> None:
    """And what is chosen meanwhile is shown as soon as TensorBoard answers again."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{served.address}/#lightning_cossim&p.lightning_cossim.run=clothes")
    tab(page).locator(".headline").wait_for()
    told = tab(page).locator(".headline").inner_text()
    page.route("**/lightning_cossim/**", lambda route: route.abort())
    tab(page).locator("#step").focus()
    page.keyboard.press("Home")
    notice = tab(page).locator(".notice:visible")
    notice.wait_for()
    assert "TensorBoard does not answer. This is the last view, of step 120 of “clothes”." in notice.inner_text()
    assert tab(page).locator(".headline").inner_text() == told
    assert step(page) == "120"
    tab(page).get_by_label("Search", exact=True).fill("coat")  # what is loaded can still be explored
    expect(lambda: tab(page).locator(".filters .shown").inner_text(), "9 of 45 pairs", page)
    page.unroute("**/lightning_cossim/**")
    notice.get_by_role("button", name="Try again").click()
    expect(lambda: step(page), "10", page)
    expect(notice.count, 0, page)
    page.close()


# New steps


@pytest.mark.parametrize("how", ["reload button", "interval"])
def test_new_steps_reach_the_tab(browser: Any, tmp_path: Path, how: str) -> None:
    """With TensorBoard's own reload button, and by themselves; the view stays at a step that was chosen."""
    made = reports(10, 4, names=CLOTHES)
    write(tmp_path / "clothes", made[:2])
    with tensorboard(tmp_path, "--reload_interval=1") as found:
        found.wait_for(1, 2)
        for open_tab in opening(browser, found.address):
            page, fixed = open_tab(run="clothes"), open_tab(run="clothes", step="10")
            assert step(page) == "20"
            write(tmp_path / "clothes", made[2:])
            found.wait_for(1, 4)
            for one in (page, fixed):
                one.bring_to_front()
                if how == "reload button":
                    one.locator(".reload-button").click()
                else:
                    tab(one).locator("html").evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
            page.bring_to_front()
            expect(partial(step, page), "40", page)
            expect(partial(tab(fixed).locator("#step").get_attribute, "max"), "3", fixed)
            assert step(fixed) == "10"


def test_the_tab_looks_for_new_steps_every_thirty_seconds(browser: Any, tmp_path: Path) -> None:
    """By itself: nobody presses a button, and the page was visible all the time. The clock of the page is moved."""
    made = reports(10, 4, names=CLOTHES)
    write(tmp_path / "clothes", made[:2])
    with tensorboard(tmp_path, "--reload_interval=1") as found:
        found.wait_for(1, 2)
        context = browser.new_context()
        page = context.new_page()
        page.clock.install()
        page.goto(f"{found.address}/#lightning_cossim&p.lightning_cossim.run=clothes")
        tab(page).locator(".headline").first.wait_for()
        write(tmp_path / "clothes", made[2:])
        found.wait_for(1, 4)
        page.clock.fast_forward(15_000)
        page.wait_for_timeout(500)
        assert step(page) == "20"
        page.clock.fast_forward(15_000)
        expect(partial(step, page), "40", page)
        context.close()


def test_the_first_step_reaches_an_empty_tab(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "clothes").mkdir()
    with tensorboard(tmp_path, "--reload_interval=1") as found:
        page = browser.new_page()
        page.goto(f"{found.address}/data/plugin_entry.html?name=lightning_cossim")
        page.get_by_text("No steps yet").wait_for()
        write(tmp_path / "clothes", reports(10, 2, names=CLOTHES))
        found.wait_for(1, 2)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.locator(".headline").wait_for()
        page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_empty_tab_shows_the_lines_that_fill_it(browser: Any, tmp_path: Path, width: int) -> None:
    """None is cut off."""
    with tensorboard(tmp_path) as found:
        page = browser.new_page(viewport={"width": width, "height": 700})
        page.goto(f"{found.address}/data/plugin_entry.html?name=lightning_cossim")
        code = page.locator("pre")
        code.wait_for()
        assert code.inner_text().splitlines() == [
            "from lightning_cossim import LabelSimilarityMonitor",
            "",
            'logger = TensorBoardLogger("logs")',
            "trainer = Trainer(callbacks=[LabelSimilarityMonitor()], logger=logger)",
        ]
        assert code.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
        page.close()
