"""The scatter, the heatmap, the table and the comparison of the tab, by pointer and by keyboard, in the system's Chromium."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_cossim.loggers.tab import step_of
from tests.tensorboard_plugin.browsing import Open, cells, chosen, expect, opening, selected, sort, step, tab
from tests.tensorboard_plugin.events import CLOTHES, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard

pytestmark = [pytest.mark.full, pytest.mark.browser]

LONG = tuple(f"{name} of the autumn collection, row {at}" for at, name in enumerate(CLOTHES))
RENAMED = (*CLOTHES[:7], "Trainers", "Purse", "Shoe")
MANY = 300
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("logs")
    write(folder / "clothes", reports(10, 12, names=CLOTHES))
    write(folder / "other clothes", reports(10, 8, seed=3, names=CLOTHES))
    write(folder / "renamed", reports(10, 2, seed=3, names=RENAMED))
    write(folder / "long", reports(10, 2, names=LONG))
    write(folder / "many", reports(MANY, 2, seed=2, dim=24))
    with tensorboard(folder) as found:
        found.wait_for(5)
        yield found


@pytest.fixture
def open_tab(browser: Any, served: Served) -> Iterator[Open]:
    """Opens the tab in a window that is high enough for a whole view below the bar."""
    yield from opening(browser, served.address, viewport={"width": 1280, "height": 1100})


def numbers(page: Any, column: str) -> list[float]:
    """The numbers of the rows in sight."""
    return [float(text.replace(MINUS, "-")) for text in cells(page, column)]


def plot(page: Any, view: str) -> Any:
    """The canvas that takes the pointer and the keys."""
    canvas = tab(page).locator(f".{view}:visible canvas[role=application]")
    canvas.scroll_into_view_if_needed()
    return canvas


def tip(page: Any) -> str:
    """The names in the tip; empty if it is hidden."""
    title = tab(page).locator(".tip b")
    return str(title.inner_text()) if title.is_visible() else ""


def places(page: Any, view: str, apart: int = 12) -> Iterator[tuple[float, float, str]]:
    """Places in a view, so many pixels apart, where the pointer finds a pair, with its names."""
    canvas = plot(page, view)
    box = canvas.bounding_box()
    for x in range(70, int(box["width"]) - 20, apart):
        for y in range(12, int(box["height"]) - 40, apart):
            canvas.hover(position={"x": x, "y": y})
            if " / " in tip(page):
                yield x, y, tip(page)


def focused(page: Any, what: str = "outerHTML") -> str:
    """A property of the focused element."""
    return str(tab(page).locator("html").evaluate(f"() => document.activeElement.{what}"))


def in_table(page: Any) -> bool:
    return tab(page).locator("html").evaluate("() => document.activeElement.closest('.pairs table') !== null") is True


def row_in_focus(page: Any) -> list[str]:
    return list(tab(page).locator("tr:focus td").all_inner_texts())[1:3]


def colored(page: Any, view: str, color: str) -> int:
    """Number of pixels of exactly a color that marks above a view have."""
    count = """(canvas, color) => {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255) found++;
      }
      return found;
    }"""
    return int(plot(page, view).evaluate(count, color))


PINS = ("#00796b", "#c2187a")
SELECT = "#7b1fa2"


# The table


def test_tab_leaves_the_table(open_tab: Open) -> None:
    """The rows are one stop of the Tab key, the headings another: nobody is trapped, wherever the table is scrolled to."""
    page = open_tab(run="many")
    tab(page).locator(".pairs tbody tr:not(.room)").first.click()
    assert in_table(page)
    page.keyboard.press("End")
    expect(
        lambda: focused(page, "getAttribute('aria-rowindex')"),
        tab(page).locator(".pairs table").get_attribute("aria-rowcount"),
        page,
    )
    page.keyboard.press("Tab")
    assert not in_table(page)
    rows = tab(page).locator(".pairs tbody tr[tabindex='0']")
    assert rows.count() == 1
    rows.focus()
    page.keyboard.press("Shift+Tab")
    assert focused(page, "dataset.name") == "gap"
    page.keyboard.press("ArrowRight")
    assert focused(page, "dataset.name") == "overlap"
    page.keyboard.press("Shift+Tab")
    assert not in_table(page)


def test_the_keys_go_through_the_rows(open_tab: Open) -> None:
    """The selection follows; Space pins, Enter goes to the pair; the focus stays on the row though all is drawn anew."""
    page = open_tab(run="clothes")
    rows = tab(page).locator(".pairs tbody tr:not(.room)")
    rows.first.click()
    first = selected(page)
    page.keyboard.press("ArrowDown")
    second = selected(page)
    assert second != first
    assert row_in_focus(page) == second
    page.keyboard.press("ArrowUp")
    assert selected(page) == row_in_focus(page) == first
    page.keyboard.press("End")
    last = selected(page)
    assert last == row_in_focus(page) == [cells(page, "label")[-1], cells(page, "other")[-1]]
    page.keyboard.press("PageUp")
    assert selected(page) == row_in_focus(page)
    assert selected(page) not in (first, last)
    page.keyboard.press("Home")
    assert selected(page) == row_in_focus(page) == first
    page.keyboard.press(" ")
    expect(lambda: tab(page).locator(".pairs tr:focus .pin[aria-pressed=true]").count(), 1, page)
    page.keyboard.press("ArrowDown")
    assert row_in_focus(page) == second
    page.keyboard.press("Enter")
    assert focused(page, "closest('.inspector') !== null") == "True"
    assert chosen(page) == " / ".join(second)


def test_the_arrows_change_the_step_after_a_click_into_the_table(open_tab: Open) -> None:
    """And the focus stays on the row of the same pair, wherever it is sorted to."""
    page = open_tab(run="clothes")
    tab(page).locator(".pairs tbody tr:not(.room)").nth(2).click()
    names = selected(page)
    for wanted in ("110", "100"):
        page.keyboard.press("ArrowLeft")
        expect(lambda: step(page), wanted, page)
        expect(lambda: row_in_focus(page), names, page)
    page.keyboard.press("ArrowRight")
    expect(lambda: step(page), "110", page)


def test_the_table_begins_with_the_largest_gap_of_either_sign(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    gaps = numbers(page, "gap")
    assert [abs(gap) for gap in gaps] == sorted((abs(gap) for gap in gaps), reverse=True)
    assert min(gaps) < 0 < max(gaps)
    assert chosen(page) == f"{cells(page, 'label')[0]} / {cells(page, 'other')[0]}"
    sort(page, r"\|gap\|")
    expect(lambda: tab(page).locator("th:has([data-name=gap])").get_attribute("aria-sort"), "ascending", page)


def test_the_numbers_of_a_column_have_the_same_decimals(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    names = tab(page).locator(".pairs thead button").evaluate_all("all => all.map((one) => one.dataset.name)")
    for name in ("gap", "overlap", "overlap_error", "expected_overlap", "joint_inputs", "raw_cosine", "log_odds_variance"):
        assert name in names
        decimals = {len(text.partition(".")[2]) for text in cells(page, name)}
        assert len(decimals) == 1, (name, cells(page, name))
    ends = (
        tab(page)
        .locator(".pairs tbody tr:not(.room) td:last-child")
        .evaluate_all(
            """all => all.map((cell) => {
              const range = document.createRange();
              range.selectNodeContents(cell);
              return Math.round(range.getBoundingClientRect().right);
            })"""
        )
    )
    assert len({*ends}) == 1


@pytest.mark.parametrize("run2", [None, "clothes"], ids=["one step", "two steps"])
def test_no_column_is_cut_off(open_tab: Open, run2: str | None) -> None:
    """At 1280 pixels with long names: names are shortened, numbers and headings are not."""
    page = open_tab(run="long" if run2 is None else run2, **({} if run2 is None else {"run2": run2, "step2": "10"}))
    frame = tab(page).locator(".frame")
    assert frame.evaluate("frame => frame.scrollWidth - frame.clientWidth") <= 0
    narrow = "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)"
    assert tab(page).locator(".pairs thead button, .pairs td.number").evaluate_all(narrow) == []
    if run2 is None:
        assert tab(page).locator(".pairs td.name").first.get_attribute("title") in LONG


def test_a_long_table_has_few_elements(open_tab: Open) -> None:
    """And the row with the focus is one of them, wherever the table is scrolled to."""
    page = open_tab(run="many")
    tab(page).locator(".pairs tbody tr:not(.room)").nth(1).click()
    names = row_in_focus(page)
    tab(page).locator(".frame").evaluate("frame => frame.scrollTo(0, 50_000)")
    page.wait_for_timeout(200)
    assert tab(page).locator(".pairs tbody tr").count() < 60
    assert row_in_focus(page) == names
    assert names[0] not in cells(page, "label")[1:]
    page.keyboard.press("ArrowDown")
    expect(lambda: tab(page).locator(".frame").evaluate("frame => frame.scrollTop < 200"), True, page)  # noqa: FBT003 - what it becomes


def test_all_pairs_or_those_shown_are_downloaded(open_tab: Open) -> None:
    """It is said which, and both have every column."""
    page = open_tab(run="clothes", search="coat", step="50")

    def downloaded(name: str) -> list[dict[str, str]]:
        with page.expect_download() as download:
            tab(page).get_by_role("button", name=name).click()
        assert download.value.suggested_filename == "clothes_val_step_50.csv"
        return list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))

    shown, all_ = downloaded("CSV: 9 shown"), downloaded("CSV: all 45 pairs")
    assert (len(shown), len(all_)) == (9, 45)
    assert all("Coat" in (row["label"], row["other"]) for row in shown)
    (report,) = (report for report in reports(10, 12, names=CLOTHES) if report.step == 50)
    (pair,) = (pair for pair in report.pairs() if {pair.label, pair.other} == {"Coat", "Shirt"})
    (row,) = (row for row in all_ if {row["label"], row["other"]} == {"Coat", "Shirt"})
    assert float(row["overlap"]) == pytest.approx(pair.overlap, abs=1e-4)
    assert (row["flag"], row["why_unflagged"], row["joint_inputs"]) == (
        pair.flag or "",
        pair.why_unflagged or "",
        str(pair.joint_inputs),
    )
    assert {row["label_row"], row["other_row"]} == {"4", "6"}
    tab(page).get_by_role("button", name=re.compile("^Remove the filter")).click()
    expect(lambda: tab(page).locator(".pairs .buttons button").all_inner_texts(), ["CSV: all 45 pairs"], page)


# Pins and the selection


def test_pins_are_marked_in_every_view(open_tab: Open) -> None:
    """In their own colors, which stay when others are pinned and unpinned, as does that of the selected pair."""
    page = open_tab(run="clothes", pair="1-6")
    before = {view: [colored(page, view, color) for color in (*PINS, SELECT)] for view in ("scatter", "heatmap")}
    assert all(found[:2] == [0, 0] and found[2] > 20 for found in before.values())
    pin = tab(page).locator(".pairs .pin")
    pin.nth(1).click()
    pin.nth(3).click()
    for view, (*_, of_selected) in before.items():
        assert all(colored(page, view, color) > 20 for color in PINS)
        assert abs(colored(page, view, SELECT) - of_selected) < 60  # pins may lie on it
    pin.nth(1).click()
    assert [colored(page, "heatmap", color) > 20 for color in PINS] == [False, True]
    assert tab(page).locator(".pairs .pin[aria-pressed=true]").get_attribute("title") == "Unpin: this is pin 2"


def test_the_selected_row_is_seen_under_the_pointer(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    row = tab(page).locator(".pairs tr.selected")
    look = "row => [getComputedStyle(row).backgroundColor, getComputedStyle(row).boxShadow]"
    before = row.evaluate(look)
    row.hover()
    assert row.evaluate(look) == before
    other = tab(page).locator(".pairs tbody tr:not(.selected):not(.room)").first
    other.hover()
    assert other.evaluate(look) != before


@pytest.fixture
def open_forced(browser: Any, served: Served) -> Iterator[Open]:
    yield from opening(browser, served.address, forced_colors="active")


def test_the_selection_is_seen_with_forced_colors(open_forced: Open) -> None:
    """In the user's highlight color in scatter and heatmap, with an outline in the table."""
    page = open_forced(run="clothes")
    highlight = (
        tab(page)
        .locator("html")
        .evaluate("""() => {
      const context = document.createElement("canvas").getContext("2d");
      context.fillStyle = "Canvas";
      context.fillRect(0, 0, 1, 1);
      context.fillStyle = "Highlight"; // it is not opaque
      context.fillRect(0, 0, 1, 1);
      const channels = [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
      return `#${channels.map((one) => one.toString(16).padStart(2, "0")).join("")}`;
    }""")
    )
    assert all(colored(page, view, highlight) > 20 for view in ("scatter", "heatmap"))
    row = tab(page).locator(".pairs tr.selected")
    assert row.evaluate("row => getComputedStyle(row).outlineStyle") == "solid"
    assert tab(page).locator(".bar-gap i").first.evaluate("bar => getComputedStyle(bar).backgroundColor") != "rgb(255, 255, 255)"


# The heatmap


def far(page: Any) -> tuple[float, float, str]:
    """A cell far off the diagonal, by the names of the first and the last labels."""
    canvas = plot(page, "heatmap")
    box = canvas.bounding_box()
    for x in range(int(box["width"]) - 4, 100, -7):
        canvas.hover(position={"x": x, "y": 30})
        if " / " in tip(page):
            return x - 3, 30, tip(page)
    raise AssertionError("no cell found")


def test_zoom_holds_a_cell_off_the_diagonal(open_tab: Open) -> None:
    """The wheel zooms where the pointer is, in both directions, and the tip says what is there."""
    page = open_tab(run="many", labels="probable")
    x, y, names = far(page)
    canvas = plot(page, "heatmap")
    for _ in range(12):
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(30)
        assert tip(page) == names
    canvas.hover(position={"x": x, "y": y})
    assert tip(page) == names
    there = re.split(" / ", names)
    assert not {*there} <= {*beside(page)}  # labels around the first cell of a row are not those of its column
    tab(page).get_by_role("button", name="Show all labels").click()
    canvas.hover(position={"x": x, "y": y})
    assert tip(page) == names


def beside(page: Any) -> list[str]:
    """The names of the cell in the middle of the heatmap."""
    canvas = plot(page, "heatmap")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 0.4, "y": box["height"] * 0.4})
    return tip(page).split(" / ")


def test_the_tip_names_the_pair_under_the_pointer_while_the_wheel_turns(open_tab: Open) -> None:
    """Also where the part moves under the pointer, because it ends at the edge of the matrix."""
    page = open_tab(run="many", labels="probable")
    canvas = plot(page, "heatmap")
    x, y, _ = far(page)
    for _ in range(10):
        page.mouse.wheel(0, -100)
    canvas.hover(position={"x": x - 150, "y": y + 150})
    for _ in range(14):
        page.mouse.wheel(0, 60)
        page.wait_for_timeout(30)
        told = tip(page)
        canvas.hover(position={"x": x - 150, "y": y + 151})
        canvas.hover(position={"x": x - 150, "y": y + 150})
        assert tip(page) == told


def test_a_drag_moves_the_heatmap_in_both_directions(open_tab: Open) -> None:
    page = open_tab(run="many", labels="probable")
    canvas = plot(page, "heatmap")
    for _ in range(3):
        tab(page).get_by_role("button", name="Zoom in", exact=True).click()
    box = canvas.bounding_box()
    x, y = 250, 200
    canvas.hover(position={"x": x, "y": y})
    names = tip(page)
    pair = chosen(page)
    page.mouse.down()
    page.mouse.move(box["x"] + x + 60, box["y"] + y - 90, steps=4)
    page.mouse.up()
    assert chosen(page) == pair  # a drag selects nothing
    canvas.hover(position={"x": x + 60, "y": y - 90})
    assert tip(page) == names


def test_the_keys_go_from_cell_to_cell(open_tab: Open) -> None:
    """They do not change the step; Enter selects; plus and minus zoom, and the cell stays in view."""
    page = open_tab(run="clothes")
    canvas = plot(page, "heatmap")
    canvas.focus()
    said = tab(page).locator("#heatmap-cell")
    page.keyboard.press("ArrowLeft")
    start = said.inner_text()
    assert set(chosen(page).split(" / ")) == set(re.split(r" and |: ", start)[:2])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("End")
    moved = said.inner_text()
    assert moved != start
    for _ in range(8):
        page.keyboard.press("+")
    assert said.inner_text() == moved
    page.keyboard.press("Enter")
    assert set(chosen(page).split(" / ")) == set(re.split(r" and |: ", moved)[:2])
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert said.inner_text() != moved
    assert step(page) == "120"
    assert tab(page).locator(".outside").is_visible()  # the selected pair was zoomed away from
    tab(page).get_by_role("button", name="Move the heatmap to the selected pair").click()
    assert not tab(page).locator(".outside").is_visible()


def test_the_heatmap_is_switched_between_quantities(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    title = tab(page).locator(".heatmap h2")
    assert title.inner_text() == "Gap"
    tab(page).get_by_role("radio", name="Logit correlation").check()
    assert title.inner_text() == "Logit correlation"
    page.wait_for_url("**map=logit_correlation**")
    page.keyboard.press("ArrowRight")
    expect(title.inner_text, "Log-odds variance", page)
    assert step(page) == "120"
    radios = tab(page).locator(".heatmap").get_by_role("radio")
    assert [radios.nth(at).get_attribute("aria-label") for at in range(2)] == ["Gap", "Probability overlap"]
    assert radios.count() == 6


def outside_of_probable() -> tuple[int, int]:
    """A pair of the last step of the run of many labels that is not among the most probable ones."""
    made = step_of(reports(MANY, 2, seed=2, dim=24)[-1], index=2, time=0.0)
    probable = {made.labels[place] for place in made.order}
    pairs = ((made.labels[int(row)], made.labels[int(column)]) for row, column in zip(made.row, made.column, strict=True))
    return next(pair for pair in pairs if not {*pair} & probable)


def test_a_selected_pair_outside_of_the_labels_is_said_with_a_way_to_it(open_tab: Open) -> None:
    page = open_tab(run="many", labels="probable", pair="{}-{}".format(*outside_of_probable()))
    outside = tab(page).locator(".outside")
    assert outside.inner_text().startswith(f"The selected pair, {chosen(page)}, is not among these labels.")
    note = tab(page).locator(".heatmap .note")
    assert re.match(r"the \d+ most probable of 300 labels", note.inner_text())
    outside.get_by_role("button").click()
    expect(outside.is_visible, False, page)  # noqa: FBT003 - what it becomes
    assert note.inner_text().startswith("the selected pair and the ")
    assert {*chosen(page).split(" / ")} == {*places_first(page)}
    tab(page).get_by_label("Labels of the heatmap").select_option("flagged")
    page.wait_for_url("**labels=flagged**")


def places_first(page: Any) -> list[str]:
    """The names of the first pair of cells beside the diagonal."""
    plot(page, "heatmap").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Home")
    for _ in range(6):
        page.keyboard.press("PageUp")
    page.keyboard.press("ArrowRight")
    return re.split(r" and |: ", tab(page).locator("#heatmap-cell").inner_text())[:2]


def test_up_to_a_hundred_labels_are_all_shown(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    assert tab(page).get_by_label("Labels of the heatmap").count() == 0
    assert (
        tab(page)
        .locator(".heatmap .note")
        .inner_text()
        .startswith("all 10 labels, ordered by overlap · scale of this step, as in Images")
    )
    tab(page).get_by_label("Scale of the heatmap").select_option("fixed")
    expect(lambda: "scale fixed over the steps seen" in tab(page).locator(".heatmap .note").inner_text(), True, page)  # noqa: FBT003


def test_the_filter_narrows_the_heatmap(open_tab: Open) -> None:
    """Labels without a pair are left out; cells that do not pass are dotted, which the key and the tip say."""
    page = open_tab(run="clothes", flags="stranger")
    note = tab(page).locator(".heatmap .note")
    assert re.match(r"\d labels with pairs that pass the filter; before the filter, all 10 labels", note.inner_text())
    assert tab(page).locator(".heatmap .key").inner_text().split() == ["stranger", "filtered", "out"]
    lines = {line for *_, _ in places(page, "heatmap", 60) for line in tab(page).locator(".tip div").all_inner_texts()}
    assert {"filtered out", "▲ stranger"} <= lines


def test_the_sign_of_a_cell_is_said_in_the_tip(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    firsts = [tab(page).locator(".tip div").first.inner_text() for _ in places(page, "heatmap", 50)]
    assert {first.startswith(f"gap {MINUS}") for first in firsts} == {True, False}
    assert all(first.startswith(f"gap {MINUS}") == first.endswith(", below zero") for first in firsts)


# The scatter


def ends(page: Any) -> list[str]:
    """The ends of the axes."""
    return list(tab(page).locator(".range input").evaluate_all("all => all.map((one) => one.placeholder)"))


def test_axes_stay_while_steps_change(open_tab: Open) -> None:
    """They fit all steps that were shown, and nothing moves them while steps play; either is said."""
    page = open_tab(run="clothes")
    note = tab(page).locator(".scatter .note")
    assert "axes fit the one step shown so far" in note.inner_text()
    tab(page).locator(".scatter").get_by_text("Range", exact=True).click()
    start = ends(page)
    tab(page).get_by_role("button", name="Play").click()
    expect(lambda: "axes held while playing" in note.inner_text(), True, page)  # noqa: FBT003 - what it becomes
    held = ends(page)
    expect(lambda: step(page), "60", page)
    assert ends(page) == held
    tab(page).get_by_role("button", name="Pause").click()
    expect(lambda: "axes held" in note.inner_text(), False, page)  # noqa: FBT003
    wide = ends(page)
    assert wide != start
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(lambda: step(page) < "60", True, page)  # noqa: FBT003
    assert ends(page) == wide
    assert re.search(r"axes fit the \d+ steps shown so far", note.inner_text())
    fit = tab(page).get_by_role("button", name="Fit the axes")
    fit.click()
    expect(fit.is_visible, False, page)  # noqa: FBT003
    fitted = ends(page)
    again = open_tab(run="clothes", step=step(page))
    tab(again).locator(".scatter").get_by_text("Range", exact=True).click()
    assert ends(again) == fitted, "a link shows the axes that the button restores"


def test_fields_of_an_area_say_what_is_filtered(open_tab: Open) -> None:
    """Ends in the wrong order change places, in the field that was typed in, too. On a narrow page all fields can be reached."""
    page = open_tab(run="clothes")
    tab(page).locator(".scatter").get_by_text("Range", exact=True).click()
    fields = tab(page).locator(".range input")
    for place, text in ((0, "0.4"), (1, "0.2")):
        fields.nth(place).fill(text)
        fields.nth(place).press("Enter")
    assert [fields.nth(place).input_value() for place in (0, 1)] == ["0.2", "0.4"]
    assert "0.2 to 0.4" in tab(page).locator(".chips").inner_text()
    page.set_viewport_size({"width": 390, "height": 844})
    for place in range(4):
        box = fields.nth(place).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_an_area_is_selected_by_dragging(open_tab: Open) -> None:
    """With Shift, or with a button pressed; all views are narrowed, and a click is no area."""
    page = open_tab(run="clothes")
    canvas = plot(page, "scatter")
    box = canvas.bounding_box()

    def drag(x: float, y: float, to_x: float, to_y: float) -> None:
        page.mouse.move(box["x"] + x, box["y"] + y)
        page.mouse.down()
        page.mouse.move(box["x"] + to_x, box["y"] + to_y, steps=3)
        page.mouse.up()

    count = tab(page).locator(".pairs figcaption .note").first
    page.keyboard.down("Shift")
    drag(60, 20, box["width"] * 0.5, box["height"] - 60)
    page.keyboard.up("Shift")
    expect(lambda: bool(re.fullmatch(r"\d+ of 45 pairs", count.inner_text())), True, page)  # noqa: FBT003 - what it becomes
    assert tab(page).locator(".chip").count() == 1
    shown = count.inner_text()
    assert all(tab(page).locator(".range input").nth(at).input_value() for at in range(4))
    drag(60, 20, box["width"] * 0.3, box["height"] - 60)
    assert count.inner_text() == shown  # without Shift nothing happens
    tab(page).get_by_role("button", name="Select area").click()
    drag(60, 20, box["width"] * 0.3, box["height"] - 60)
    expect(lambda: count.inner_text() != shown, True, page)  # noqa: FBT003
    page.keyboard.press("Escape")
    expect(count.inner_text, "45 pairs", page)
    page.keyboard.down("Shift")
    drag(60, 20, box["width"] * 0.5, box["height"] - 60)
    page.keyboard.up("Shift")
    expect(lambda: count.inner_text() == "45 pairs", False, page)  # noqa: FBT003
    tab(page).locator(".chip").click()
    expect(count.inner_text, "45 pairs", page)


def test_an_area_is_selected_by_numbers(open_tab: Open) -> None:
    """By keyboard alone. An empty field is an open end, and the arrows in a field do not change the step."""
    page = open_tab(run="clothes")
    tab(page).locator(".range summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("0")
    page.keyboard.press("Tab")
    count = tab(page).locator(".pairs figcaption .note").first
    cosines = [pair.similarities["centered_cosine"] for pair in reports(10, 12, names=CLOTHES)[-1].pairs()]
    wanted = f"{sum(cosine >= 0 for cosine in cosines)} of 45 pairs"
    expect(count.inner_text, wanted, page)
    assert tab(page).locator(".chip").inner_text() == "centered cos at least 0 ✕"
    assert [tab(page).locator(".range input").nth(at).input_value() for at in range(4)] == ["0", "", "", ""]
    page.keyboard.press("ArrowLeft")
    assert step(page) == "120"
    tab(page).get_by_role("button", name="Clear", exact=True).click()
    expect(count.inner_text, "45 pairs", page)


def test_the_keys_go_from_point_to_point(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    plot(page, "scatter").focus()
    said = tab(page).locator("#scatter-point")
    page.keyboard.press("ArrowRight")
    first = said.inner_text()
    assert first.startswith(chosen(page).replace(" / ", " and "))
    page.keyboard.press("ArrowRight")
    second = said.inner_text()
    assert second != first
    of = re.compile(rf"label-centered cosine ({MINUS}?)([\d.]+)")
    cosines = [float(found[2]) * (-1 if found[1] else 1) for found in (of.search(first), of.search(second)) if found]
    assert cosines[1] > cosines[0]
    page.keyboard.press("Enter")
    expect(lambda: chosen(page), second.split(":")[0].replace(" and ", " / "), page)
    assert step(page) == "120"


def test_lines_are_labelled_and_no_legend_covers_data(open_tab: Open) -> None:
    """The legend stands above the picture; the labels of lines stand to the right of the axes."""
    page = open_tab(run="clothes")
    key = tab(page).locator(".scatter .key")
    assert key.inner_text().split("\n") == [
        "pair",
        "4 strangers",
        "1 look-alike",
        "expected overlap",
        "gap too small for a flag",
        chosen(page),
    ]
    box, canvas = key.bounding_box(), plot(page, "scatter").bounding_box()
    assert box["y"] + box["height"] <= canvas["y"] + 1


def test_many_pairs_are_a_density(open_tab: Open) -> None:
    page = open_tab(run="many")
    assert "pairs; lines around 50, 80, 95 %" in tab(page).locator(".scatter .key").inner_text()


def test_only_the_largest_of_many_flags_are_drawn_which_is_said(open_tab: Open) -> None:
    page = open_tab(run="clothes")

    def flagged(route: Any) -> None:
        body = bytearray(route.fetch().body())
        start = 4 + int.from_bytes(body[:4], "little")
        header = json.loads(body[4:start])
        width = sum({"uint32": 4, "uint16": 2, "uint8": 1}[column["type"]] for column in header["columns"])
        assert [column["name"] for column in header["columns"] if column["type"] == "uint8"] == ["flag"]
        num = (len(body) - start) // width
        body[-num:] = bytes([1]) * num
        route.fulfill(body=bytes(body), content_type="application/octet-stream")

    page.route("**/lightning_cossim/step?*", flagged)
    tab(page).get_by_label("Run", exact=True).select_option("many")
    key = tab(page).locator(".scatter .key")
    expect(lambda: bool(re.search(r"500 of [\d,]+ strangers", key.inner_text())), True, page)  # noqa: FBT003 - what it becomes


# The comparison


def test_two_runs_are_compared_pair_by_pair(open_tab: Open) -> None:
    """Arrows on shared axes, and a table by the change beyond the errors of both."""
    page = open_tab(run="clothes")
    tab(page).get_by_label("Compare with", exact=True).select_option("other clothes")
    tab(page).locator(".comparison h2").wait_for()
    assert tab(page).locator(".common").inner_text() == "A and B have the same 10 labels. 45 pairs of A are also in B."
    change, error = (numbers(page, key) for key in ("change", "change_error"))
    beyond = [abs(one) - 2 * other for one, other in zip(change, error, strict=True)]
    assert beyond == pytest.approx(sorted(beyond, reverse=True), abs=2e-3)
    shown = [float(text) for text in cells(page, "beyond") if text != DASH]
    assert shown == pytest.approx([one for one in beyond if one > 1e-3][: len(shown)], abs=2e-3)
    assert shown
    assert len(shown) < len(beyond), "a change within the errors of both has a dash"
    first, second = (numbers(page, key) for key in ("gap_a", "gap_b"))
    assert change == pytest.approx([b - a for a, b in zip(first, second, strict=True)], abs=2e-3)
    *_, names = next(places(page, "comparison"))
    lines = tab(page).locator(".tip div").all_inner_texts()
    assert re.match(r"gap .[\d.]+ in A, .[\d.]+ in B$", lines[0])
    assert re.match(r"change of the gap .[\d.]+ ± [\d.]+, (beyond|within) the errors of both$", lines[1])
    page.mouse.down()
    page.mouse.up()
    expect(lambda: chosen(page), names, page)
    plot(page, "comparison").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert " / ".join(selected(page)) == chosen(page)


def test_two_steps_of_a_run_are_compared(open_tab: Open) -> None:
    """The heatmap shows the change, or either of them."""
    page = open_tab(run="clothes", run2="clothes", step2="10")
    title = tab(page).locator(".heatmap h2")
    assert title.inner_text() == "Change of the gap"
    tab(page).get_by_label("Step of the heatmap").select_option("b")
    expect(title.inner_text, "Gap", page)
    *_, names = next(places(page, "heatmap"))
    (report,) = (report for report in reports(10, 12, names=CLOTHES) if report.step == 10)
    (pair,) = (pair for pair in report.pairs() if {pair.label, pair.other} == {*names.split(" / ")})
    told = re.search(r"gap (.)([\d.]+)", tab(page).locator(".tip").inner_text())
    assert told is not None
    assert float(told[2]) == pytest.approx(abs(pair.gap), abs=1e-3)


def test_labels_that_only_one_of_two_runs_has_are_said(open_tab: Open) -> None:
    page = open_tab(run="clothes", run2="renamed")
    told = tab(page).locator(".common").inner_text()
    assert told == (
        "A and B have 7 labels in common; 3 labels only in A: Sneaker, Bag, Boot; 3 labels only in B: Trainers, Purse, Shoe. "
        "21 pairs of A are also in B."
    )
    assert tab(page).locator(".pairs .note").first.inner_text() == "21 of 21 pairs in A and B"


def test_what_is_the_same_is_called_so(open_tab: Open) -> None:
    page = open_tab(run="clothes", run2="clothes", step2="120")
    assert (
        tab(page)
        .locator(".common")
        .inner_text()
        .endswith(" 45 pairs of A are also in B. Nothing changed: all of them have the same overlap, cosine and gap in A and B.")
    )
    assert set(cells(page, "beyond")) == {DASH}


# The filter


def test_the_numbers_of_flags_follow_the_filter(open_tab: Open) -> None:
    """On the flags, and between the buttons that go through flagged pairs."""
    report = reports(10, 12, names=CLOTHES)[-1]
    page = open_tab(run="clothes")
    tab(page).get_by_label("Search", exact=True).fill("coat")
    found = [pair for pair in report.pairs() if "Coat" in {pair.label, pair.other}]
    num = [sum(pair.flag == flag for pair in found) for flag in ("stranger", "look-alike", None)]
    assert num != [sum(pair.flag == flag for pair in report.pairs()) for flag in ("stranger", "look-alike", None)]

    def shown() -> list[int]:
        return [int(re.sub(r"\D", "", text)) for text in tab(page).locator(".filters .toggle[data-name]").all_inner_texts()]

    expect(shown, num, page)
    tab(page).locator(".filters .toggle[data-name=none]").click()
    expect(shown, num, page)
    expect(lambda: tab(page).locator(".pairs tbody tr:not(.room)").count(), num[2], page)
    tab(page).locator(".filters .toggle[data-name=none]").click()
    flagged = num[0] + num[1]
    expect(lambda: f"{flagged} flagged in the filter" in tab(page).locator(".tools").inner_text() or not flagged, True, page)  # noqa: FBT003


# Sizes


def test_long_names_of_runs_can_be_read(open_tab: Open) -> None:
    """The page cuts them; the title has the whole name."""
    page = open_tab(run="other clothes")
    assert tab(page).get_by_label("Run", exact=True).get_attribute("title") == "other clothes"
    tab(page).get_by_label("Run", exact=True).select_option("clothes")
    expect(lambda: tab(page).get_by_label("Run", exact=True).get_attribute("title"), "clothes", page)


def test_a_small_screen_is_left_to_the_views(open_tab: Open) -> None:
    """The bar scrolls away, and help can be closed without scrolling."""
    page = open_tab(run="clothes")
    bar = tab(page).locator(".bar")
    for size, stays in (((1280, 720), True), ((390, 844), False), ((844, 390), False)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        tab(page).locator(".pairs").scroll_into_view_if_needed()
        assert (bar.evaluate("one => one.getBoundingClientRect().bottom") > 0) == stays
        tab(page).locator(".app").evaluate("() => window.scrollTo(0, 0)")
        tab(page).get_by_role("button", name="What this tab shows").click()
        close = tab(page).locator("dialog").get_by_role("button", name="Close")
        box = close.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1]
        close.click()


def test_every_control_is_large_enough(open_tab: Open) -> None:
    """At least 24 pixels in either direction."""
    page = open_tab(run="clothes", run2="renamed")
    tab(page).locator(".pairs .pin").first.wait_for()
    small = """all => all.map((one) => [one.getBoundingClientRect(), one])
      .filter(([box]) => box.width && (box.width < 23.5 || box.height < 23.5))
      .map(([box, one]) => `${one.tagName} ${one.textContent} ${box.width} ${box.height}`)"""
    views = ", ".join(
        f"{view} {control}"
        for view in (".comparison", ".heatmap", ".pairs figcaption", ".pairs tbody")
        for control in ("button", "select")
    )
    assert tab(page).locator(views).evaluate_all(small) == []
