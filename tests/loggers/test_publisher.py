"""Publisher: what the user is told of what is undefined, and how often, and what is offered to who watches a key."""

import json
import math
from typing import Any

from torch import Tensor

from lightning_cossim.config.settings import Display
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.functional.scalars import scalars
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import GapReport, WindowKey
from tests.report.test_verdicts import OPEN, report_of
from tests.toys import altered


class Desk:
    """A publisher, and what it says."""

    def __init__(self) -> None:
        self.warned: list[str] = []
        self.informed: list[str] = []
        self.watched: dict[str, Tensor] = {}
        pages = Pages(Display(), None, lambda: None)
        self.publisher = Publisher("softmax", None, pages, warn=self.warned.append, inform=self.informed.append)

    def publish(self, report: GapReport, *loggers: Any) -> None:
        self.publisher.publish(altered(report, overhead_fraction=0.01), loggers, self.watched)


def test_that_there_is_no_verdict_is_said_once_in_a_stage_and_not_as_of_a_fault() -> None:
    """With the first reason; another run says it again."""
    desk = Desk()
    few, fewer = (report_of(num_inputs=number).judged(Thresholds()) for number in (100, 50))
    for report in (few, fewer, altered(few, stage="train"), few):
        desk.publish(report)
    said = "no verdict on pairs: 100 inputs, verdicts need 256. Until there is one, nothing is flagged and alerts wait."
    assert desk.informed == [f"cossim_val: {said}", f"cossim_train: {said}"]
    assert desk.warned == []
    desk.publisher.start_run()
    desk.publish(fewer)
    assert desk.informed[2:] == [f"cossim_val: {said.replace('100', '50')}"]


def test_with_a_verdict_nothing_is_said() -> None:
    desk = Desk()
    desk.publish(report_of().judged(OPEN))
    assert desk.informed == desk.warned == []


def test_shares_are_neutral_while_there_is_no_verdict_and_keep_their_last_value_then() -> None:
    """Under their keys from the first report on; loggers get nothing."""
    desk = Desk()
    known = report_of().judged(OPEN).scalars["share_strangers"]
    assert known > 0
    unknown = report_of(num_inputs=100).judged(Thresholds())
    values = []
    for report in (unknown, report_of().judged(OPEN), unknown):
        desk.publish(report)
        values.append(desk.watched["cossim_val/share_strangers"].item())
    assert values[0] == 0
    assert math.isclose(values[1], known, rel_tol=1e-6)
    assert values[2] == values[1]


def test_where_there_is_no_report_the_keys_are_there_all_the_same() -> None:
    """Of every window with what it last had; of one that had none, neutral."""
    desk = Desk()
    desk.publish(report_of().judged(OPEN))
    before = {key: value.item() for key, value in desk.watched.items()}
    desk.watched.clear()
    desk.publisher.publish_nothing([WindowKey("val"), WindowKey("val", 1)], desk.watched)
    after = {key: value.item() for key, value in desk.watched.items()}
    assert {key: value for key, value in after.items() if not key.endswith("/dataloader_idx_1")} == before
    assert after["cossim_val/gap_behavior/dataloader_idx_1"] == 1
    assert after["cossim_val/reliability/dataloader_idx_1"] == 0
    assert len(after) == 2 * len(before) == 2 * len(scalars("softmax"))


def test_who_watches_a_key_sees_its_last_value_after_a_run_goes_on_and_none_of_it_in_another_fit() -> None:
    """The state is builtins."""
    first, second, third = Desk(), Desk(), Desk()
    first.publish(report_of().judged(OPEN))
    state = first.publisher.state_dict()
    assert json.loads(json.dumps(state)) == state
    second.publisher.load_state_dict(state)
    third.publisher.load_state_dict(state)
    third.publisher.start_fit()
    for desk in (second, third):
        desk.publisher.publish_nothing([WindowKey("val")], desk.watched)
    assert second.watched == first.watched
    assert third.watched["cossim_val/gap_behavior"] == 1
    assert third.publisher.state_dict()["pages"] == {"order": None}
