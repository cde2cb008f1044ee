"""Labels stand in one order: in the pictures, in the tab, at every step and in every stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_cossim import GapReport
from lightning_cossim.config.settings import Display
from lightning_cossim.loggers.label_order import LabelOrder, label_order
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.loggers.tab import step_of
from tests.report.test_verdicts import report_of
from tests.toys import altered


def rows(report: GapReport, places: Sequence[int]) -> list[int]:
    return [report.labels[place] for place in places]


def drawn(pages: Pages, report: GapReport, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the head in the order in which the pictures of a report show them."""
    seen: list[list[int]] = []

    def spy(report: GapReport, order: Sequence[int]) -> Iterator[tuple[str, Any]]:
        seen.append(rows(report, order))
        return iter(())

    monkeypatch.setattr("lightning_cossim.loggers.pages.heatmaps", spy)
    pages.draw("heatmaps", report)
    return seen[0]


def sent(order: LabelOrder, report: GapReport) -> list[int]:
    """Rows of the head in the order in which the heatmap of the tab shows them."""
    step = step_of(report, index=1, time=0.0, order=order)
    return [step.labels[place] for place in step.order]


@pytest.mark.parametrize("num_labels", [3, 12, 100, 130, 140, 300])
@pytest.mark.parametrize("first", ["pictures", "tab"])
def test_the_pictures_have_the_order_of_the_tab(num_labels: int, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that both show stand in the same order, also if one of the two shows fewer; a later step changes nothing."""
    pages = Pages(Display(), None, lambda: None)
    before: list[int] = []
    for seed in (1, 2):
        report = report_of(num_labels, seed=seed)
        in_tab = sent(pages.order, report) if first == "tab" else []
        in_pictures = drawn(pages, report, monkeypatch)
        in_tab = in_tab or sent(pages.order, report)
        both = {*in_pictures} & {*in_tab}
        assert len(both) == min(num_labels, 100 if num_labels <= 140 else 60)
        assert [row for row in in_pictures if row in both] == [row for row in in_tab if row in both]
        if num_labels <= 140:  # of more labels, the most probable ones differ by more than a third
            before = in_tab if seed == 1 else before
            assert in_tab == before


def test_labels_that_overlap_stand_together_in_the_tab_too() -> None:
    report = report_of(12)
    assert sent(LabelOrder(), report) == rows(report, label_order(report, 140)) != sorted(report.labels)


def test_labels_that_are_not_kept_come_last_and_stay_in_place_later() -> None:
    report, order = report_of(12), LabelOrder()
    kept = torch.arange(12) != 3
    before = order.places(altered(report, kept=kept), 12)
    assert before[-1] == 3
    assert order.places(report, 12) == before


def test_other_labels_have_an_order_of_their_own() -> None:
    order = LabelOrder()
    order.places(report_of(130), 100)
    few = report_of(9, seed=3)
    assert order.places(few, 100) == label_order(few, 100)


def test_new_labels_go_last_until_more_than_a_third_is_new() -> None:
    """Of 200 labels the most probable 140 change: 40 new ones go last, after 60 all are ordered again."""

    def report(first: int) -> GapReport:
        probs = torch.full((200,), 0.001)
        probs[first : first + 140] = 0.007
        return altered(report_of(200), mean_probs=probs, kept=torch.ones(200, dtype=torch.bool))

    order = LabelOrder()
    before = order.places(report(0), 140)
    assert sorted(before) == list(range(140))
    assert order.places(report(40), 140) == [*(place for place in before if place >= 40), *range(140, 180)]
    assert order.places(report(100), 140) == label_order(report(100), 140)


def test_a_report_without_labels_forgets_nothing() -> None:
    order, report = LabelOrder(), report_of(12)
    before = order.places(report, 12)
    gone = altered(report, mean_probs=torch.full((12,), torch.nan), kept=torch.zeros(12, dtype=torch.bool))
    order.places(gone, 12)
    assert order.places(report, 12) == before


def test_a_recorder_writes_the_order_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr("lightning_cossim.loggers.recorder.write_step", lambda logger, tag, step, evidence: written.append(step))
    order = LabelOrder()
    before = order.places(report_of(12, seed=1), 100)
    report = altered(report_of(12, seed=2), step=5)
    assert label_order(report, 100) != before, "another report alone has another order"
    Recorder(None, order, evidence=False).record(report, object())
    assert written[0].order == before
