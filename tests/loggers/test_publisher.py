"""Publisher: what the user is told of what is undefined, and how often."""

import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_cossim.config.settings import Display
from lightning_cossim.config.thresholds import Thresholds, judged
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import GapReport
from tests.report.test_verdicts import OPEN, report_of


class Desk:
    """A publisher, and what it says."""

    def __init__(self) -> None:
        self.warned: list[str] = []
        self.informed: list[str] = []
        self.watched: dict[str, Tensor] = {}
        pages = Pages(Display(), OPEN, None, lambda: None)
        self.publisher = Publisher("softmax", None, pages, warn=self.warned.append, inform=self.informed.append)

    def publish(self, report: GapReport, *loggers: Any) -> None:
        scalars = {**report.scalars, "overhead_fraction": 0.01}
        self.publisher.publish(replace(report, scalars=scalars), loggers, self.watched)


def test_that_there_is_no_verdict_is_said_once_in_a_stage_and_not_as_of_a_fault() -> None:
    """With the first reason; another run says it again."""
    desk = Desk()
    few, fewer = (judged(report_of(num_inputs=number), Thresholds()) for number in (100, 50))
    for report in (few, fewer, replace(few, stage="train"), few):
        desk.publish(report)
    said = "no verdict on pairs: 100 inputs, verdicts need 256. Until there is one, nothing is flagged and alerts wait."
    assert desk.informed == [f"cossim_val: {said}", f"cossim_train: {said}"]
    assert desk.warned == []
    desk.publisher.start()
    desk.publish(fewer)
    assert desk.informed[2:] == [f"cossim_val: {said.replace('100', '50')}"]


def test_with_a_verdict_nothing_is_said() -> None:
    desk = Desk()
    desk.publish(judged(report_of(), OPEN))
    assert desk.informed == desk.warned == []


def test_shares_are_neutral_while_there_is_no_verdict_and_keep_their_last_value_then() -> None:
    """Under their keys from the first report on; loggers get nothing."""
    desk = Desk()
    known = judged(report_of(), OPEN).scalars["share_strangers"]
    assert known > 0
    unknown = judged(report_of(num_inputs=100), Thresholds())
    values = []
    for report in (unknown, judged(report_of(), OPEN), unknown):
        desk.publish(report)
        values.append(desk.watched["cossim_val/share_strangers"].item())
    assert values[0] == 0
    assert math.isclose(values[1], known, rel_tol=1e-6)
    assert values[2] == values[1]
