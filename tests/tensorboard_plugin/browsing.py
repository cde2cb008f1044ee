"""What tests do in the tab, in the system's Chromium."""

import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = [
    "FLAGS",
    "TOLERATED",
    "Open",
    "cells",
    "chosen",
    "expect",
    "headings",
    "opening",
    "pixels",
    "pointed",
    "rest",
    "selected",
    "sort",
    "step",
    "tab",
]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TOLERATED = "Multiple instances of Three.js"  # TensorBoard's own

Open = Callable[..., Any]


def opening(browser: Any, address: str, **of_context: Any) -> Iterator[Open]:
    """Opens the tab with a state, `run="clothes"`; at the end nothing may have gone wrong, and nobody have been alerted."""
    wrong: list[str] = []
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, "accept_downloads": True, **of_context})

    def alerted(dialog: Any) -> None:
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_(dark: str = "false", wait_for: str = ".headline", **state: str) -> Any:
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", alerted)
        fragment = "".join(f"&p.lightning_cossim.{key}={value}" for key, value in state.items())
        page.goto(f"{address}/?darkMode={dark}#lightning_cossim{fragment}")
        page.frame_locator("iframe").locator(wait_for).first.wait_for()
        return page

    yield open_
    context.close()
    assert [text for text in wrong if TOLERATED not in text] == []


def tab(page: Any) -> Any:
    return page.frame_locator("iframe")


def step(page: Any) -> str:
    return str(tab(page).locator(".now").inner_text())


def rest(page: Any) -> None:
    """Waits until the views that are off the screen are drawn: they are after 100 ms without a change."""
    page.wait_for_timeout(150)


def sort(page: Any, column: str) -> None:
    tab(page).locator(".pairs thead button").filter(has_text=re.compile(f"^{column}")).first.click()


def cells(page: Any, column: str) -> list[str]:
    """What the rows in sight say in a column, which is named as its button is."""
    rest(page)
    names = tab(page).locator(".pairs thead button").evaluate_all("all => all.map((one) => one.dataset.name)")
    return list(tab(page).locator(f".pairs tbody tr:not(.room) td:nth-child({names.index(column) + 2})").all_inner_texts())


def selected(page: Any) -> list[str]:
    """The names of the selected row of the table."""
    rest(page)
    row = tab(page).locator(".pairs tbody tr.selected")
    row.wait_for()
    return [row.locator("td").nth(place).inner_text() for place in (1, 2)]


def chosen(page: Any) -> str:
    """The pair that the inspector shows."""
    return str(tab(page).locator(".inspector h2").inner_text())


def headings(page: Any) -> list[str]:
    return list(tab(page).locator(".headline .run").all_inner_texts())


def pixels(page: Any, selector: str) -> bytes:
    return bytes(tab(page).locator(selector).first.screenshot())


def expect(what: Callable[[], Any], wanted: Any, page: Any) -> None:
    """It becomes so within five seconds."""
    for _ in range(100):
        if what() == wanted:
            return
        page.wait_for_timeout(50)
    assert what() == wanted


def pointed(page: Any, view: str) -> tuple[dict[str, float], str]:
    """A place in the canvas of a view where the pointer finds a pair that is not selected, and its names."""
    canvas = tab(page).locator(f".{view} .plot canvas:visible").last
    canvas.scroll_into_view_if_needed()
    box, tip, taken = canvas.bounding_box(), tab(page).locator(".tip b"), chosen(page)
    for x in range(70, int(box["width"]) - 20, 9):
        for y in range(14, int(box["height"]) - 40, 14):
            canvas.hover(position={"x": x, "y": y})
            if tip.is_visible() and " / " in tip.inner_text() and tip.inner_text() != taken:
                return {"x": x, "y": y}, str(tip.inner_text())
    raise AssertionError(f"no pair found in .{view}")
