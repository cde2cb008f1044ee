"""The tab in the system's Chromium, within a real TensorBoard: `pytest -m browser`."""

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lightning_cossim.loggers.wire import VERSION
from tests.tensorboard_plugin.browsing import Open, cells, chosen, expect, headings, pixels, pointed, selected, sort, step, tab
from tests.tensorboard_plugin.events import CLOTHES, HOSTILE, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard

pytestmark = [pytest.mark.full, pytest.mark.browser]

HOSTILE_RUN = "<img src=x onerror=alert(3)>"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("logs")
    write(folder / "clothes", reports(10, 12, names=CLOTHES), stages=("train", "val"))
    write(folder / "other clothes", reports(10, 8, seed=3, names=CLOTHES))
    write(folder / HOSTILE_RUN, reports(10, 3, seed=1, names=HOSTILE), name="<b onclick=alert(4)>")
    write(folder / "many", reports(1000, 3, seed=2, dim=24))
    with tensorboard(folder) as found:
        found.wait_for(4)
        yield found


def only(page: Any, kind: str) -> None:
    """Show only pairs with a flag."""
    tab(page).locator(f".filters button[data-name='{kind}']").click()


# Steps


def test_the_slider_goes_through_the_steps(open_tab: Open) -> None:
    """By its keys, by the buttons, by the arrows of the page; every view follows."""
    page = open_tab(run="clothes")
    assert step(page) == "120"
    before = [pixels(page, f".{view} .plot") for view in ("scatter", "heatmap")]
    tab(page).locator("#step").focus()
    page.keyboard.press("ArrowLeft")
    expect(lambda: step(page), "110", page)
    page.keyboard.press("Home")
    expect(lambda: step(page), "10", page)
    page.wait_for_timeout(300)
    after = [pixels(page, f".{view} .plot") for view in ("scatter", "heatmap")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    tab(page).get_by_role("button", name="Next step").click()
    expect(lambda: step(page), "20", page)
    tab(page).get_by_role("button", name="Next step").blur()
    tab(page).locator("main").click(position={"x": 2, "y": 2})
    page.keyboard.press("ArrowRight")
    expect(lambda: step(page), "30", page)


def test_the_last_of_many_moves_of_the_slider_wins(open_tab: Open) -> None:
    """However late the answers for the others come; only the last one is drawn."""
    page = open_tab(run="clothes")
    drawn = (
        tab(page)
        .locator("html")
        .evaluate("""async () => {
      const late = [900, 600, 300, 0];
      const { fetch } = window;
      window.fetch = async (address) => {
        const [answer, wait] = [fetch(address), late.shift() ?? 0];
        await new Promise((resolve) => setTimeout(resolve, wait));
        return answer;
      };
      const slider = document.querySelector("#step");
      let drawn = 0;
      new PerformanceObserver((list) => (drawn += list.getEntriesByName("painted").length)).observe({ entryTypes: ["mark"] });
      for (const place of [2, 4, 6, 5]) {
        slider.value = String(place);
        slider.dispatchEvent(new Event("input"));
      }
      await new Promise((resolve) => setTimeout(resolve, 2500));
      return drawn;
    }""")
    )
    assert drawn == 1
    assert step(page) == "60"
    assert "step 60" in str(tab(page).locator("#step").get_attribute("aria-valuetext"))
    fresh = open_tab(run="clothes", step="60")
    assert tab(page).locator(".headline").inner_text() == tab(fresh).locator(".headline").inner_text()


def test_rows_that_show_another_step_say_what_new_rows_say(open_tab: Open) -> None:
    """Rows are used again: their texts, bars, titles and places are those of a table that is made for the step."""
    read = """async (body) => {
      body.closest(".frame").scrollTop = 0;
      await new Promise((resolve) => setTimeout(resolve, 200));
      const bars = (cell) => Array.from(cell.querySelectorAll("i, b"), (bar) => [bar.className, bar.hidden, bar.style.cssText]);
      const texts = (row) => Array.from(row.cells, (cell) => [cell.className, cell.title, cell.textContent, bars(cell)]);
      const names = ["class", "aria-rowindex", "aria-selected", "tabindex"];
      return Array.from(body.rows, (row) => JSON.stringify([names.map((name) => row.getAttribute(name)), texts(row)]));
    }"""
    page = open_tab(run="clothes", step="120", pair="2-6")
    seen = []
    for number in ("110", "100"):
        page.keyboard.press("ArrowLeft")
        expect(partial(step, page), number, page)
        seen.append(tab(page).locator(".pairs tbody").evaluate(read))
        fresh = open_tab(run="clothes", step=number, pair="2-6")
        assert seen[-1] == tab(fresh).locator(".pairs tbody").evaluate(read)
    assert seen[0] != seen[1]


def test_play_goes_to_the_end_and_stops(open_tab: Open) -> None:
    page = open_tab(run="clothes", step="30")
    tab(page).locator(".now").evaluate("""now => {
      window.seen = [];
      new MutationObserver(() => window.seen.push(now.textContent)).observe(now, { childList: true });
    }""")
    tab(page).get_by_role("button", name="Play").click()
    tab(page).get_by_role("button", name="Pause").wait_for()
    expect(lambda: step(page), "120", page)
    tab(page).get_by_role("button", name="Play").wait_for()
    assert [*dict.fromkeys(tab(page).locator("html").evaluate("() => window.seen"))] == [str(step) for step in range(40, 130, 10)]


def test_a_stage_and_a_run_are_picked(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    tab(page).get_by_label("Stage", exact=True).select_option("cossim_train")
    page.wait_for_url("**tag=cossim_train**")
    tab(page).get_by_label("Run", exact=True).select_option("many")
    page.wait_for_url("**run=many**")
    tab(page).locator("#step").focus()
    page.keyboard.press("Home")  # at the first step all labels are probable enough
    tab(page).locator(".filters .shown").get_by_text("pairs in this step, of all 499,500").wait_for()
    why = "No verdict on pairs: 400 inputs, verdicts need 5000, 5 for each of 1000 labels."
    assert why in tab(page).locator(".headline").first.inner_text()


def test_how_many_steps_were_kept_is_said(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    assert "12 steps" in tab(page).locator(".steps").inner_text()


# One selection


def test_a_row_is_selected_everywhere(open_tab: Open) -> None:
    """And in the address."""
    page = open_tab(run="clothes")
    before = [pixels(page, f".{view} .plot") for view in ("scatter", "heatmap")]
    tab(page).locator(".pairs tbody tr").nth(3).click()
    names = selected(page)
    expect(lambda: chosen(page), " / ".join(names), page)
    after = [pixels(page, f".{view} .plot") for view in ("scatter", "heatmap")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    labels = sorted(CLOTHES.index(name) for name in names)
    expect(lambda: f"p.lightning_cossim.pair={labels[0]}-{labels[1]}" in page.url, True, page)  # noqa: FBT003 - what it becomes
    expect(lambda: tab(page).locator(".history .chart").count(), 4, page)


@pytest.mark.parametrize("view", ["scatter", "heatmap"])
def test_what_the_pointer_names_is_what_a_click_selects(open_tab: Open, view: str) -> None:
    """In every view; its row comes into sight. A second click goes back to the pair that is furthest off."""
    page = open_tab(run="clothes")
    first = chosen(page)
    at, names = pointed(page, view)
    canvas = tab(page).locator(f".{view} .plot canvas:visible").last
    canvas.click(position=at)
    assert " / ".join(selected(page)) == chosen(page) == names
    canvas.click(position=at)
    expect(lambda: chosen(page), first, page)
    assert " / ".join(selected(page)) == first


def test_arrows_go_from_pair_to_pair(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    tab(page).locator(".pairs tbody tr").nth(1).click()
    first = selected(page)
    page.keyboard.press("ArrowDown")
    expect(lambda: selected(page) != first, True, page)  # noqa: FBT003 - what it becomes
    page.keyboard.press("ArrowUp")
    expect(lambda: selected(page), first, page)


# The table


def test_the_table_is_searched_sorted_and_filtered(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    search = tab(page).get_by_label("Search", exact=True)
    search.fill("coat")
    expect(lambda: tab(page).locator(".filters .shown").inner_text(), "9 of 45 pairs", page)
    search.fill("")
    sort(page, "overlap")
    overlaps = [*map(float, cells(page, "overlap"))]
    assert overlaps == sorted(overlaps, reverse=True)
    sort(page, "overlap")
    expect(lambda: tab(page).locator(".pairs th[aria-sort=ascending]").count(), 1, page)
    assert float(cells(page, "overlap")[0]) <= overlaps[-1]
    sort(page, "why not flagged")
    expect(lambda: cells(page, "flag")[0] in {"▲ stranger", "▼ look-alike"}, True, page)  # noqa: FBT003 - flagged ones come first
    assert cells(page, "why_unflagged") == sorted(cells(page, "why_unflagged"))
    sort(page, "why not flagged")
    expect(lambda: cells(page, "why_unflagged")[0] != "", True, page)  # noqa: FBT003 - and last
    only(page, "stranger")
    expect(lambda: {*tab(page).locator(".pairs tbody td.flag").all_inner_texts()}, {"▲ stranger"}, page)


def test_pairs_are_pinned(open_tab: Open) -> None:
    """They stay in the charts whatever is selected, and can be let go of there."""
    page = open_tab(run="clothes")
    for row in (0, 2):
        tab(page).locator(".pairs tbody tr .pin").nth(row).click()
    tab(page).locator(".pairs tbody tr").nth(5).click()
    expect(lambda: tab(page).locator(".history li").count(), 3, page)
    tab(page).locator(".filters").get_by_role("button", name="pinned", exact=True).click()
    expect(lambda: tab(page).locator(".pairs tbody tr:not(.room)").count(), 2, page)
    tab(page).locator(".history").get_by_role("button", name=re.compile("^Unpin")).first.click()
    expect(lambda: tab(page).locator(".pairs tbody tr:not(.room)").count(), 1, page)


def test_what_is_shown_is_downloaded(open_tab: Open) -> None:
    page = open_tab(run="clothes", search="coat", step="50")
    with page.expect_download() as download:
        tab(page).get_by_role("button", name="CSV: 9 shown").click()
    assert download.value.suggested_filename == "clothes_val_step_50.csv"
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 9
    (report,) = (report for report in reports(10, 12, names=CLOTHES) if report.step == 50)
    (pair,) = (pair for pair in report.pairs() if {pair.label, pair.other} == {"Coat", "Shirt"})
    (row,) = (row for row in rows if {row["label"], row["other"]} == {"Coat", "Shirt"})
    assert float(row["overlap"]) == pytest.approx(pair.overlap, abs=1e-4)
    assert row["flag"] == (pair.flag or "")
    assert (row["why_unflagged"], row["joint_inputs"]) == (pair.why_unflagged or "", str(pair.joint_inputs))
    assert float(row["overlap_error"]) == pytest.approx(pair.overlap_error, abs=1e-5)


def test_a_tip_tells_a_pair_with_its_error_and_its_reason(open_tab: Open) -> None:
    page = open_tab(run="clothes", step="50")
    pointed(page, "heatmap")
    lines = tab(page).locator(".tip div").all_inner_texts()
    assert any(re.match(r"overlap [\d.]+ ± [\d.]+, expected [\d.]+, gap ", line) for line in lines)
    assert any(line.startswith("joint inputs ") for line in lines)
    assert lines[-1].startswith(("not flagged: ", "▲ stranger", "▼ look-alike"))


def test_a_headline_names_the_pair_and_has_the_agreement_with_its_error(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    report = reports(10, 12, names=CLOTHES)[-1]
    worst = max((pair for pair in report.pairs() if pair.flag), key=lambda pair: abs(pair.gap))
    told = tab(page).locator(".headline").inner_text()
    assert told.startswith(f"“{worst.label}” and “{worst.other}” are furthest off: overlap {worst.overlap:.3f}, ")
    value, error = (of["rank_agreement_centered_cosine"] for of in (report.scalars, report.standard_errors))
    assert f"(rank agreement {value:.3f}, standard error {error:.3f};" in told


# Two runs, links


def test_two_runs_are_compared(open_tab: Open) -> None:
    """Each has its line in the summary; the inspector has the numbers of both and their difference; steps go together."""
    page = open_tab(run="clothes")
    tab(page).get_by_label("Compare with", exact=True).select_option("other clothes")
    expect(lambda: headings(page), ["clothes · val · step 120", "other clothes · val · step 80"], page)
    numbers = tab(page).locator(".numbers")
    assert numbers.locator("thead th").all_inner_texts() == ["Number", "A", "B", "B \N{MINUS SIGN} A"]
    row = numbers.locator("tr").filter(has_text="Expected overlap").locator("td").all_inner_texts()
    one, other, change = (float(text.replace("\N{MINUS SIGN}", "-")) for text in row)
    assert change == pytest.approx(other - one, abs=2e-3)
    tab(page).locator("#step").focus()
    page.keyboard.press("Home")
    expect(lambda: headings(page), ["clothes · val · step 10", "other clothes · val · step 10"], page)
    tab(page).get_by_label("at", exact=True).select_option("40")
    expect(lambda: headings(page), ["clothes · val · step 10", "other clothes · val · step 40"], page)


def test_two_steps_of_a_run_are_compared(open_tab: Open) -> None:
    """Forward in time: A is the first step, B the one that was shown."""
    page = open_tab(run="clothes")
    tab(page).get_by_label("Compare with", exact=True).select_option("clothes")
    expect(lambda: headings(page), ["clothes · val · step 10", "clothes · val · step 120"], page)
    tab(page).get_by_label("Compare with", exact=True).select_option("")
    expect(lambda: headings(page), [], page)


def test_a_link_brings_everything_back(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    tab(page).get_by_label("Search", exact=True).fill("shirt")
    tab(page).locator(".pairs tbody tr").nth(2).click()
    tab(page).locator(".pairs tbody tr .pin").nth(4).click()
    tab(page).get_by_role("button", name="Previous step").click()
    tab(page).get_by_label("x axis", exact=True).select_option("raw_cosine")
    sort(page, "raw cos")
    expect(lambda: step(page), "110", page)
    names, legend = chosen(page), tab(page).locator(".history li .name").all_inner_texts()
    tab(page).get_by_role("button", name="Link").click()
    link = tab(page).get_by_label("Link", exact=True).input_value()
    assert all(part in link for part in ("run=clothes", "tag=cossim_val", "step=110"))
    again = open_tab()
    again.goto("about:blank")
    again.goto(link)
    tab(again).locator(".headline").first.wait_for()
    expect(lambda: step(again), "110", again)
    assert chosen(again) == names
    assert tab(again).locator(".history li .name").all_inner_texts() == legend
    assert tab(again).get_by_label("Search", exact=True).input_value() == "shirt"
    assert tab(again).get_by_label("x axis", exact=True).input_value() == "raw_cosine"
    assert tab(again).locator(".pairs th[aria-sort=descending]").inner_text().startswith("raw cos")


def test_a_link_opened_beside_the_tab_is_followed(open_tab: Open) -> None:
    """Also while TensorBoard is open; and a link names its step, whatever comes later."""
    page = open_tab(run="clothes")
    tab(page).get_by_role("button", name="Link").click()
    assert "step=120" in tab(page).get_by_label("Link", exact=True).input_value()
    page.evaluate("location.hash = '#lightning_cossim&p.lightning_cossim.run=clothes&p.lightning_cossim.step=30'")
    expect(lambda: step(page), "30", page)


def test_a_history_that_cannot_be_read_is_said_once(browser: Any, served: Served) -> None:
    """And not asked for again and again."""
    page = browser.new_page()
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(status=404, body="The run clothes has no steps of cossim_val.")

    page.route("**/lightning_cossim/pairs?*", refuse)
    page.goto(f"{served.address}/#lightning_cossim&p.lightning_cossim.run=clothes&p.lightning_cossim.pair=2-6")
    note = tab(page).locator(".history .note")
    told = "Cannot read the steps: The run clothes has no steps of cossim_val. Press Refresh to try again."
    expect(note.inner_text, told, page)
    page.wait_for_timeout(500)
    assert len(asked) == 1
    page.unroute("**/lightning_cossim/pairs?*")
    tab(page).get_by_role("button", name="Load new steps").click()
    expect(note.inner_text, "", page)
    page.close()


def test_the_focus_stays_where_it_is(open_tab: Open) -> None:
    """Though what has it is drawn anew: the next key goes on from there."""
    page = open_tab(run="clothes")
    button = tab(page).locator(".pairs thead button[data-name=overlap]")
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(lambda: tab(page).locator(".pairs th:has(button[data-name=overlap])").get_attribute("aria-sort"), "ascending", page)
    tab(page).get_by_label("x axis", exact=True).focus()
    tab(page).get_by_label("x axis", exact=True).select_option("raw_cosine")
    page.wait_for_timeout(200)
    assert tab(page).locator("html").evaluate("() => document.activeElement.getAttribute('aria-label')") == "x axis"


# Names that mean harm, and what cannot be shown


def test_hostile_names_show_as_texts(open_tab: Open) -> None:
    """Of labels, runs and tags; nobody is alerted, which the fixture sees to."""
    page = open_tab()
    tab(page).get_by_label("Run", exact=True).select_option(HOSTILE_RUN)
    expect(lambda: tab(page).get_by_label("Stage", exact=True).input_value(), "cossim_<b onclick=alert(4)>_val", page)
    tab(page).get_by_label("Search", exact=True).fill("<img")
    tab(page).locator(".pairs tbody tr:not(.room)").first.click()
    assert HOSTILE[0] in selected(page)
    assert HOSTILE[0] in chosen(page)
    tab(page).get_by_label("Compare with", exact=True).select_option("clothes")
    assert HOSTILE_RUN in tab(page).locator(".headline .run").first.inner_text()
    assert tab(page).locator("main img, main script").count() == 0
    page.wait_for_timeout(300)


def test_what_a_rung_is_stands_one_click_away(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    tab(page).locator(".scatter").get_by_role("button", name="What is this").click()
    dialog = tab(page).get_by_role("dialog", name="Label-centered cosine")
    assert "minus the mean row" in dialog.inner_text()
    assert dialog.get_by_role("link").get_attribute("href") == "https://arxiv.org/abs/2603.29488"
    page.keyboard.press("Escape")
    expect(lambda: tab(page).get_by_role("dialog").count(), 0, page)


@pytest.mark.parametrize(
    ("answer", "title", "remedy"),
    [
        ({"status": 404, "body": "Step 120 does not exist."}, "The tab cannot show this", "Step 120 does not exist."),
        ({"later": True}, "A newer version of lightning-cossim wrote this step", "pip install --upgrade lightning-cossim"),
        ({"abort": True}, "The tab cannot show this", "TensorBoard does not answer. Check that it is still running."),
    ],
    ids=["gone", "later", "no answer"],
)
def test_what_cannot_be_shown_says_what_to_do(
    browser: Any, served: Served, answer: dict[str, Any], title: str, remedy: str
) -> None:
    """And can be tried again, when all is well."""
    page = browser.new_page()

    def fulfil(route: Any) -> None:
        if "abort" in answer:
            route.abort()
        elif "later" in answer:
            body = route.fetch().body()
            route.fulfill(body=body.replace(b'"version":%d' % VERSION, b'"version":9'), content_type="application/octet-stream")
        else:
            route.fulfill(**answer)

    page.route("**/lightning_cossim/step?*", fulfil)
    page.goto(f"{served.address}/#lightning_cossim&p.lightning_cossim.run=clothes")
    message = tab(page).locator(".message")
    message.get_by_text(title).wait_for()
    assert remedy in message.inner_text()
    page.unroute("**/lightning_cossim/step?*")
    message.get_by_role("button", name="Try again").click()
    tab(page).locator(".headline").first.wait_for()
    page.close()


def test_nothing_to_show_says_how_to_begin(browser: Any, tmp_path: Path) -> None:
    """TensorBoard does not offer the tab then; its page alone can be opened all the same."""
    with tensorboard(tmp_path) as empty:
        page = browser.new_page()
        page.goto(f"{empty.address}/data/plugin_entry.html?name=lightning_cossim")
        page.get_by_text("No steps yet").wait_for()
        assert "LabelSimilarityMonitor()" in page.locator("pre").inner_text()
        page.close()


# Looks, and speed


def test_dark_mode_is_followed(open_tab: Open) -> None:
    page = open_tab(dark="true", run="clothes")
    assert tab(page).locator("html").get_attribute("data-theme") == "dark"
    page.evaluate("document.body.classList.remove('dark-mode')")
    expect(lambda: tab(page).locator("html").get_attribute("data-theme"), "light", page)


@pytest.mark.parametrize(("size", "views"), [((1280, 720), 2), ((1920, 1080), 4), ((3840, 2160), 5)])
def test_what_is_on_the_first_screen(open_tab: Open, size: tuple[int, int], views: int) -> None:
    """The first screen answers what is furthest off, why and on which inputs; a large one shows everything."""
    page = open_tab(run="clothes", pair="2-6")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(300)
    html = tab(page).locator("html")
    assert html.evaluate("html => html.scrollWidth - html.clientWidth") <= 0
    tops = [
        tab(page).locator(f".{view}:visible").bounding_box()["y"]
        for view in ("scatter", "inspector", "heatmap", "history", "pairs")
    ]
    assert sum(top < size[1] - 150 for top in tops) == views
    if views == 5:
        assert html.evaluate("html => html.scrollHeight - html.clientHeight") <= 60


@pytest.mark.parametrize("width", [390, 640, 800, 1280])
def test_nothing_is_cut_off_to_the_right(open_tab: Open, width: int) -> None:
    """640 px is a screen of 1280 px at 200 % zoom. Nothing but the table scrolls sideways, and no control leaves the page."""
    page = open_tab(run="clothes", pair="2-6")
    page.set_viewport_size({"width": width, "height": 720})
    page.wait_for_timeout(300)
    assert tab(page).locator("html").evaluate("html => html.scrollWidth - html.clientWidth") <= 0
    for control in tab(page).locator("button:visible, select:visible, input:visible").all():
        if control.evaluate("one => Boolean(one.closest('.frame'))"):
            continue
        box = control.bounding_box()
        assert box["x"] >= 0, control.inner_text()
        assert box["x"] + box["width"] <= width + 1, control.evaluate("one => one.outerHTML")
