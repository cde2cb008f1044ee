"""The tab for everybody, in the system's Chromium: axe-core in every state, and a walk by keyboard alone; `pytest -m browser`."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lightning_cossim.report.evidence import PairsWithEvidence
from tests.loggers.evidence import example, pair, smooth
from tests.tensorboard_plugin.browsing import Open, expect, opening, step, tab
from tests.tensorboard_plugin.events import CLOTHES, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard
from tests.toys import altered

pytestmark = [pytest.mark.full, pytest.mark.browser]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Runs with pictures, with texts, with many labels, and of three labels."""
    folder = tmp_path_factory.mktemp("logs")
    rows = [(one, other) for one in range(10) for other in range(one + 1, 10)]
    pictures = [pair(*labels, examples={"overlap": tuple(example(at, smooth(at)) for at in range(3))}) for labels in rows]
    texts = [pair(*labels, examples={"overlap": tuple(example(at, text="some words") for at in range(3))}) for labels in rows]
    made = reports(10, 4, names=CLOTHES)
    write(folder / "clothes", [altered(one, evidence=PairsWithEvidence(pictures)) for one in made], stages=("train", "val"))
    write(folder / "words", [altered(one, evidence=PairsWithEvidence(texts)) for one in reports(10, 3, seed=3, names=CLOTHES)])
    write(folder / "many", reports(300, 2, seed=2, dim=24))
    write(folder / "three", reports(3, 2))
    with tensorboard(folder) as found:
        found.wait_for(4)
        yield found


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    shutil.copy(Path(__file__).parent / "javascript" / "package.json", folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(folder)]
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


def frame_of(page: Any) -> Any:
    """The frame of the tab; the page itself if the tab was opened alone."""
    return page.frames[-1]


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds, each with the first element concerned."""
    page.wait_for_timeout(300)
    frame = frame_of(page)
    frame.evaluate(axe)
    found = frame.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['impact']}: {one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical", "moderate"}
    ]


def search(page: Any) -> None:
    tab(page).get_by_label("Search", exact=True).fill("coat")
    tab(page).locator(".filters button[data-name='stranger']").click()


def nothing_found(page: Any) -> None:
    tab(page).get_by_label("Search", exact=True).fill("no such label")


def lose(page: Any) -> None:
    page.route("**/lightning_cossim/**", lambda route: route.abort())
    tab(page).get_by_role("button", name="Load new steps").click()
    tab(page).locator(".notice:visible").wait_for()


def explain(page: Any) -> None:
    tab(page).get_by_role("button", name="What this tab shows").click()


STATES: dict[str, tuple[dict[str, str], Callable[[Any], None] | None]] = {
    "default": ({"run": "clothes"}, None),
    "dark": ({"run": "clothes", "dark": "true"}, None),
    "filter": ({"run": "clothes"}, search),
    "filter, dark": ({"run": "clothes", "dark": "true"}, search),
    "nothing found": ({"run": "clothes"}, nothing_found),
    "pins": ({"run": "clothes", "pins": "0-1,2-6,3-4"}, None),
    "pins, dark": ({"run": "clothes", "pins": "0-1,2-6,3-4", "dark": "true"}, None),
    "not flagged": ({"run": "clothes", "flags": "none", "pair": "0-9"}, None),
    "comparison": ({"run": "clothes", "run2": "words"}, None),
    "comparison, dark": ({"run": "clothes", "run2": "words", "dark": "true"}, None),
    "two steps": ({"run": "clothes", "run2": "clothes", "step2": "10"}, None),
    "texts": ({"run": "words"}, None),
    "many labels": ({"run": "many"}, None),
    "three labels": ({"run": "three"}, None),
    "missing run": ({"run": "gone", "wait_for": ".message"}, None),
    "missing step": ({"run": "clothes", "step": "11", "wait_for": ".message"}, None),
    "missing pair": ({"run": "clothes", "pair": "1-4711"}, None),
    "dialog": ({"run": "clothes"}, explain),
}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(open_tab: Open, axe: str, state: str) -> None:
    of, act = STATES[state]
    page = open_tab(**of)
    if act is not None:
        act(page)
    assert violations(page, axe) == []


@pytest.mark.parametrize("state", ["default", "pins", "comparison"])
def test_axe_finds_nothing_on_a_narrow_screen(browser: Any, served: Served, axe: str, state: str) -> None:
    for open_tab in opening(browser, served.address, viewport={"width": 390, "height": 800}):
        assert violations(open_tab(**STATES[state][0]), axe) == []


def test_axe_finds_nothing_when_the_server_is_lost(browser: Any, served: Served, axe: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{served.address}/#lightning_cossim&p.lightning_cossim.run=clothes")
    tab(page).locator(".headline").wait_for()
    lose(page)
    assert violations(page, axe) == []
    page.close()


def test_axe_finds_nothing_in_an_empty_tab(browser: Any, tmp_path: Path, axe: str) -> None:
    with tensorboard(tmp_path) as found:
        page = browser.new_page()
        page.goto(f"{found.address}/data/plugin_entry.html?name=lightning_cossim")
        page.get_by_text("No steps yet").wait_for()
        assert violations(page, axe) == []
        page.close()


def test_axe_would_find_something(open_tab: Open, axe: str) -> None:
    """An unnamed button and pale words are found: the tests above can fail."""
    page = open_tab(run="clothes")
    tab(page).locator("main").evaluate(
        "main => main.insertAdjacentHTML('beforeend', '<button></button><p style=\"color: #ccc; background: #fff\">pale</p>')"
    )
    assert [re.match(r"\w+: ([\w-]+)", one)[1] for one in violations(page, axe)] == ["button-name", "color-contrast"]  # type: ignore[index]


# The keyboard

FOCUSED = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  window.walked ??= new Map();
  if (!window.walked.has(one)) window.walked.set(one, window.walked.size);
  return {
    name: `${one.tagName} ${one.getAttribute("aria-label") ?? one.textContent}`.slice(0, 60), number: window.walked.get(one),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    seen: box.bottom > 0 && box.top < innerHeight && box.width > 0, top: box.top + scrollY,
  };
}"""
FOCUSABLE = """() => Array.from(document.querySelectorAll("button, select, input, a[href], summary, [tabindex]"))
  .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }))
  .filter((one) => one.type !== "radio" || one.checked)
  .map((one) => `${one.tagName} ${one.getAttribute("aria-label") ?? one.textContent}`.slice(0, 60))"""


def walk(page: Any) -> list[dict[str, Any]]:
    """What gets the focus, from the first control to the last, with Tab alone."""
    frame = frame_of(page)
    frame.evaluate("() => { document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex'); }")
    found: list[dict[str, Any]] = []
    for _ in range(150):
        page.keyboard.press("Tab")
        now = frame.evaluate(FOCUSED)
        if now is None or (found and now["number"] == found[0]["number"]):
            return found
        found.append(now)
    raise AssertionError(f"Tab never leaves the tab: {[one['name'] for one in found[-10:]]}")


@pytest.mark.parametrize(
    "state",
    [
        {"run": "clothes"},
        {"run": "clothes", "search": "coat", "pins": "0-1"},
        {"run": "clothes", "run2": "words"},
        {"run": "many"},
    ],
)
def test_tab_reaches_every_control_once_and_leaves(open_tab: Open, state: dict[str, str]) -> None:
    """In the order of the page; each has a ring of two pixels, and comes into sight."""
    page = open_tab(**state)
    page.wait_for_timeout(500)
    wanted = frame_of(page).evaluate(FOCUSABLE)
    found = walk(page)
    assert [one["name"] for one in found] == wanted
    assert [one["name"] for one in found if not one["ring"]] == []
    assert [one["name"] for one in found if not one["seen"]] == []


def test_every_control_has_a_name_of_its_own(open_tab: Open) -> None:
    page = open_tab(run="clothes", pins="0-1,2-6")
    page.wait_for_timeout(500)
    names = [name for name in frame_of(page).evaluate(FOCUSABLE) if not name.startswith("INPUT Pin")]
    others = [name for name in names if "What is this" not in name]  # these do the same wherever they are
    assert sorted({name for name in others if others.count(name) > 1}) == []


def test_targets_are_at_least_24_pixels(open_tab: Open) -> None:
    """Other than checkboxes in rows of that height, and links within sentences."""
    page = open_tab(run="clothes", pins="0-1,2-6", search="a")
    page.wait_for_timeout(300)
    small = frame_of(page).evaluate(
        """() => Array.from(document.querySelectorAll("button, select, input, summary")).filter((one) => one.checkVisibility())
          .map((one) => one.closest("label, td") ?? one)
          .filter((one) => { const { width, height } = one.getBoundingClientRect(); return width < 23.5 || height < 23.5; })
          .map((one) => one.outerHTML.slice(0, 160))"""
    )
    assert small == []


def test_a_session_by_keyboard_alone(open_tab: Open) -> None:
    """Filter, take a filter away, pin, choose a ranking, another step, and a comparison: the focus stays with what was used."""
    page = open_tab(run="clothes")

    def focused() -> str:
        return str(
            frame_of(page).evaluate(
                "() => [document.activeElement].map((one) => one.getAttribute('aria-label') ?? one.textContent)[0]"
            )
        )

    frame = tab(page)
    frame.locator(".filters button[data-name='none']").focus()
    page.keyboard.press("Space")
    expect(lambda: frame.locator(".chip").count(), 1, page)
    assert "not flagged" in focused()
    frame.locator(".chip").focus()
    page.keyboard.press("Enter")
    expect(lambda: frame.locator(".chip").count(), 0, page)
    assert focused() == "Search"
    frame.get_by_role("button", name="Next flagged pair").focus()
    page.keyboard.press("Enter")
    assert focused() == "Next flagged pair"
    before = frame.locator(".inspector h2").inner_text()
    page.keyboard.press("Enter")
    expect(lambda: frame.locator(".inspector h2").inner_text() != before, True, page)  # noqa: FBT003 - what it becomes
    frame.locator(".inspector").get_by_role("button", name="Pin", exact=True).focus()
    page.keyboard.press("Enter")
    expect(lambda: frame.locator(".tools button[aria-pressed=true]").count(), 1, page)
    page.keyboard.press("ArrowLeft")
    expect(lambda: step(page), "30", page)
    assert focused() == "Pin"
    frame.get_by_label("Compare with", exact=True).focus()
    page.keyboard.press("ArrowDown")
    expect(lambda: frame.locator(".headline").count(), 2, page)
    assert focused() == "Compare with"


def test_headings_and_language(open_tab: Open) -> None:
    """One first heading, then one for each view, and no level is left out."""
    page = open_tab(run="clothes")
    page.wait_for_timeout(300)
    assert tab(page).locator("html").get_attribute("lang") == "en"
    query = "() => Array.from(document.querySelectorAll('h1, h2, h3')).map((one) => Number(one.tagName[1]))"
    levels = frame_of(page).evaluate(query)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert levels.count(2) >= 5
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_forced_colors_keep_the_selection_visible(browser: Any, served: Served) -> None:
    """The selected row and a pressed button differ from the others without any color of the page."""
    for open_tab in opening(browser, served.address, forced_colors="active"):
        page = open_tab(run="clothes", flags="stranger")
        pressed = tab(page).locator(".filters button[data-name='stranger']")
        free = tab(page).locator(".filters button[data-name='none']")
        looks = "one => ['outlineStyle', 'backgroundColor', 'borderWidth'].map((key) => getComputedStyle(one)[key]).join()"
        assert pressed.evaluate(looks) != free.evaluate(looks)
