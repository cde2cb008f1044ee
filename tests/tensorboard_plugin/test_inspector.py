"""The inspector of a pair and its course over the steps, in the system's Chromium: `pytest -m browser`."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from lightning_cossim import GapReport
from lightning_cossim.report.evidence import PairEvidence, PairsWithEvidence
from tests.loggers.evidence import example, pair, smooth
from tests.tensorboard_plugin.browsing import Open, chosen, expect, selected, step, tab
from tests.tensorboard_plugin.events import CLOTHES, reports, write
from tests.tensorboard_plugin.served import Served, tensorboard
from tests.toys import altered

pytestmark = [pytest.mark.full, pytest.mark.browser]

LOADED = "image => image.complete && image.naturalWidth === 28"
TEXT = "<b>a text</b> of an input"


def evidence_of(report: GapReport) -> list[PairEvidence]:
    """Of the pair that is furthest off: ten inputs with pictures, one of them of another target; and a pair with texts."""
    (one, other), flag = rows(worst(report)), worst(report).flag
    inputs = [example(row, smooth(row, 28, 28), predicted=one, target=other if row == 2 else one) for row in range(10)]
    texts = [example(row, text=TEXT, probabilities=(float("nan"), 0.5), target=None) for row in range(3)]
    return [
        pair(one, other, flag=flag, examples={"overlap": tuple(inputs), "suspect_label": (inputs[2],)}),
        pair(0, 9, examples={"overlap": tuple(texts)}, is_complete=False),
    ]


def worst(report: GapReport) -> Any:
    return max((one for one in report.pairs() if one.flag), key=lambda one: abs(one.gap))


def rows(found: Any) -> tuple[int, int]:
    one, other = sorted(CLOTHES.index(name) for name in (found.label, found.other))
    return one, other


MADE = reports(10, 6, names=CLOTHES)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run with evidence at the steps 20, 40 and 60, and one without."""
    folder = tmp_path_factory.mktemp("logs")
    shown = [altered(one, evidence=PairsWithEvidence(evidence_of(one))) if one.step % 20 == 0 else one for one in MADE]
    write(folder / "clothes", shown)
    write(folder / "bare", MADE)
    with tensorboard(folder) as found:
        found.wait_for(2)
        yield found


def inspector(page: Any) -> Any:
    return tab(page).locator(".inspector")


def numbers(page: Any) -> dict[str, list[str]]:
    """Name of a number to the texts beside it."""
    found = inspector(page).locator(".numbers tbody tr")
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in found.all()}


# The pair


def test_the_pair_that_is_furthest_off_is_selected_from_the_start(open_tab: Open) -> None:
    """In every view, but not in the address: the user has not chosen it."""
    page = open_tab(run="clothes")
    found = worst(MADE[-1])
    assert {*chosen(page).split(" / ")} == {found.label, found.other}
    assert " / ".join(selected(page)) == chosen(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**step=50**")
    assert "pair=" not in page.url
    assert {*chosen(page).split(" / ")} == {found.label, found.other}


def test_a_link_names_the_pair_that_is_shown(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    tab(page).get_by_role("button", name="Link").click()
    one, other = rows(worst(MADE[-1]))
    assert f"pair={one}-{other}" in tab(page).get_by_label("Link", exact=True).input_value()


def test_the_numbers_of_a_pair_are_those_of_the_report(open_tab: Open) -> None:
    report = MADE[3]
    found = next(one for one in report.pairs() if one.why_unflagged == "within error" or one.flag is None)
    one, other = rows(found)
    page = open_tab(run="clothes", step=str(report.step), pair=f"{one}-{other}")
    told = numbers(page)
    value, error = (float(text) for text in told["Probability overlap"][0].split(" ± "))
    assert (value, error) == pytest.approx((found.overlap, found.overlap_error), abs=6e-4)
    assert float(told["Expected overlap"][0]) == pytest.approx(found.expected_overlap, abs=6e-4)
    assert float(told["Gap"][0].split(" ± ")[0].replace("\N{MINUS SIGN}", "-")) == pytest.approx(found.gap, abs=6e-4)
    assert told["Joint inputs"] == [str(found.joint_inputs), "of 400 inputs"]
    cosine = found.similarities["centered_cosine"]
    lower = sum(pair.similarities["centered_cosine"] < cosine for pair in report.pairs())
    percentile = round(100 * lower / (len(report.pairs()) - 1))
    assert re.match(rf"(lowest|highest|{percentile}(st|nd|rd|th) percentile)$", told["Label-centered cosine"][1])


def test_a_flag_is_told_in_words_with_its_reason_and_what_to_do(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    assert worst(MADE[-1]).flag == "stranger"
    assert inspector(page).locator(".badge").inner_text() == "▲ confused though unlike (stranger)"
    why = inspector(page).locator(".because").inner_text()
    assert re.match(r"It overlaps more than pairs with its cosine do\. Its gap, \+[\d.]+ ± [\d.]+, exceeds [\d.]+ by more", why)
    assert inspector(page).locator(".todo").inner_text().startswith("What to do: Compare the inputs of both labels.")
    tab(page).locator(".filters button[data-name='none']").click()
    tab(page).locator(".pairs tbody tr:not(.room)").first.click()
    expect(lambda: inspector(page).locator(".badge").inner_text(), "not flagged", page)
    assert re.match(r"Its gap, .[\d.]+ ± [\d.]+, ", inspector(page).locator(".because").inner_text())
    assert "Nothing" in inspector(page).locator(".todo").inner_text()


def test_buttons_go_through_the_flagged_pairs(open_tab: Open) -> None:
    """From the largest gap to the smallest, and around."""
    page = open_tab(run="clothes")
    flagged = sorted((one for one in MADE[-1].pairs() if one.flag), key=lambda one: -abs(one.gap))
    assert len(flagged) > 2
    seen = [chosen(page)]
    for _ in flagged[1:]:
        inspector(page).get_by_role("button", name="Next flagged pair").click()
        seen.append(chosen(page))
    assert [{*names.split(" / ")} for names in seen] == [{one.label, one.other} for one in flagged]
    inspector(page).get_by_role("button", name="Next flagged pair").click()
    assert chosen(page) == seen[0]
    inspector(page).get_by_role("button", name="Previous flagged pair").click()
    assert chosen(page) == seen[-1]


# Its inputs


def test_inputs_are_shown_with_probabilities_target_and_reference(open_tab: Open) -> None:
    """Eight of them, as pictures that have loaded; and those that may have a wrong target."""
    page = open_tab(run="clothes")
    cards = inspector(page).locator(".card")
    expect(cards.count, 8, page)
    for at in range(8):
        expect(partial(cards.nth(at).locator("img").evaluate, LOADED), True, page)  # noqa: FBT003 - what it becomes
    one, other = (CLOTHES[row] for row in rows(worst(MADE[-1])))
    told = " ".join(cards.nth(2).inner_text().split())
    assert told == f"{one} 0.500 {other} 0.250 ✗ target {other} index 102"
    assert "✓ target" in cards.nth(0).inner_text()
    assert cards.nth(2).locator("img").get_attribute("alt") == "Input index 102"
    assert "8 of 10 inputs shown." in inspector(page).locator(".foot").inner_text()
    inspector(page).get_by_role("button", name="predicted as the other (1)").click()
    expect(cards.count, 1, page)
    assert inspector(page).locator(".toggle[aria-pressed=true]").first.inner_text() == "predicted as the other (1)"


def test_texts_are_shown_as_texts(open_tab: Open) -> None:
    page = open_tab(run="clothes", pair="0-9")
    card = inspector(page).locator(".card").first
    card.wait_for()
    assert card.locator(".text").inner_text() == TEXT
    assert card.locator(".prob").first.inner_text().split() == ["T-shirt", "\N{EN DASH}"]
    assert "Inputs may be missing" in inspector(page).locator(".foot").inner_text()


def test_references_are_copied(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    inspector(page).get_by_role("button", name="Copy all 10 references").click()
    inspector(page).get_by_text("Copied.").wait_for()
    first, *others = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert first == f"# clothes, val, step 60: {chosen(page)}"
    assert others == [str(100 + row) for row in range(10)]


def test_a_pair_or_a_step_without_inputs_says_why(open_tab: Open) -> None:
    """And leads to the nearest step that has some."""
    page = open_tab(run="clothes", pair="1-2")
    expect(lambda: inspector(page).locator(".card").count(), 0, page)
    assert "they are kept for flagged pairs and for those with the largest gaps" in inspector(page).locator(".why").inner_text()
    page.keyboard.press("Home")
    again = open_tab(run="clothes", step="50")
    assert inspector(again).locator(".why").inner_text().startswith("This step has no inputs.")
    inspector(again).get_by_role("button", name="Go to step 40").click()
    expect(lambda: step(again), "40", again)
    expect(lambda: inspector(again).locator(".card").count() > 0 or inspector(again).locator(".why").count() > 0, True, again)  # noqa: FBT003
    bare = open_tab(run="bare")
    assert "Display(evidence=False)" in inspector(bare).locator(".why").inner_text()


# Its course


def test_since_when_a_pair_is_flagged_is_said(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    flags = [next(one.flag for one in report.pairs() if rows(one) == rows(worst(MADE[-1]))) for report in MADE]
    num, since = sum(flag is not None for flag in flags), max(at for at, flag in enumerate([None, *flags]) if flag is None)
    wanted = (
        f"Flagged at {num} of 6 steps, and at every one since step {MADE[since].step}." if num < 6 else "Flagged at all 6 steps."
    )
    expect(lambda: tab(page).locator(".since").inner_text(), wanted, page)
    label = tab(page).locator(".large canvas").get_attribute("aria-label")
    assert label == f"Overlap and expected overlap of {chosen(page)} over the steps. {wanted}"


def test_the_gap_is_shaded_between_two_named_lines(open_tab: Open) -> None:
    """In the color of its side; where the pair is not selected, there is none."""
    page = open_tab(run="clothes")
    expect(lambda: tab(page).locator(".history .note").inner_text(), "", page)
    shades = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let at = 0; at < data.length; at += 4) found += data[at] > data[at + 2] + 60 && data[at + 3] > 40 ? 1 : 0;
      return found;
    }"""
    canvas = tab(page).locator(".large canvas")
    assert canvas.evaluate(shades) > 500
    assert tab(page).locator(".charts .chart").count() == 4


def test_a_click_in_a_chart_selects_the_nearest_step(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    expect(lambda: tab(page).locator(".history .note").inner_text(), "", page)
    canvas = tab(page).locator(".large canvas")
    canvas.click(position={"x": 46, "y": 40})
    expect(lambda: step(page), "10", page)


# The step bar


def test_every_kept_step_has_its_tick_and_the_trend_is_behind_the_slider(open_tab: Open) -> None:
    page = open_tab(run="clothes")
    trend = tab(page).locator(".trend")
    expect(trend.inner_text, "— agreement ▮ flags", page)
    most = max(sum(one.flag is not None for one in report.pairs()) for report in MADE)
    assert f"up to {most}." in trend.get_attribute("title")
    row = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 2, canvas.width, 1);
      return Array.from({ length: canvas.width }, (_, at) => data[4 * at + 3]);
    }"""
    alpha = np.array(tab(page).locator(".track canvas").evaluate(row)) > 60
    assert (np.diff(alpha.astype(int)) == 1).sum() + int(alpha[0]) == 6


def test_the_trend_is_as_wide_as_the_slider(open_tab: Open) -> None:
    """Whatever stands beside it, and after the window has another width."""
    page = open_tab(run="clothes")

    def widths() -> tuple[int, int]:
        return tuple(round(tab(page).locator(f".track {part}").bounding_box()["width"]) for part in ("canvas", "input"))

    for width in (1280, 900, 1600):
        page.set_viewport_size({"width": width, "height": 720})
        expect(lambda: widths()[0] - widths()[1], 0, page)


@pytest.mark.parametrize("place", ["table", "select", "button", "chart", "slider", "nothing"])
def test_the_arrows_step_wherever_the_focus_is(open_tab: Open, place: str) -> None:
    page = open_tab(run="clothes", step="30")
    frame = tab(page)
    if place == "table":
        frame.locator(".pairs tbody tr:not(.room)").nth(2).click()
    elif place == "select":
        frame.get_by_label("Run", exact=True).focus()
    elif place == "button":
        frame.get_by_role("button", name="Next flagged pair").click()
    elif place == "chart":
        frame.locator(".charts canvas").first.click(position={"x": 3, "y": 3})
        expect(lambda: step(page), "10", page)
    elif place == "slider":
        frame.locator("#step").focus()
    before = int(step(page))
    page.keyboard.press("ArrowRight")
    expect(lambda: step(page), str(before + 10), page)
    page.keyboard.press("ArrowLeft")
    expect(lambda: step(page), str(before), page)
    assert frame.get_by_label("Run", exact=True).input_value() == "clothes"


def test_the_arrows_move_the_cursor_in_a_text_field(open_tab: Open) -> None:
    page = open_tab(run="clothes", step="30")
    tab(page).get_by_label("Search", exact=True).fill("coat")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("X")
    assert tab(page).get_by_label("Search", exact=True).input_value() == "coaXt"
    assert step(page) == "30"


def test_steps_play_at_a_chosen_speed(open_tab: Open) -> None:
    page = open_tab(run="clothes", step="10")
    tab(page).get_by_label("Speed in steps per second").select_option("10")
    tab(page).get_by_role("button", name="Play").click()
    expect(lambda: step(page), "60", page)
    tab(page).get_by_role("button", name="Play").wait_for()
