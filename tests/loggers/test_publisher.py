"""Publisher: what the user is told of what is undefined, and how often, and what is offered to who watches a key."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from lightning_cossim.config.settings import Display
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.functional.scalars import scalars
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher, band
from lightning_cossim.report import GapReport, WindowKey
from lightning_cossim.report.evidence_records import as_evidence_csv
from tests.report.made_evidence import judged, with_inputs
from tests.report.test_verdicts import OPEN, report_of
from tests.toys import altered


class Desk:
    """A publisher, and what it says."""

    def __init__(self, display: Display = Display()) -> None:
        self.warned: list[str] = []
        self.informed: list[str] = []
        self.watched: dict[str, Tensor] = {}
        pages = Pages(display, None, lambda: None)
        self.publisher = Publisher("softmax", None, pages, warn=self.warned.append, inform=self.informed.append)

    def publish(self, report: GapReport, *loggers: Any) -> None:
        self.publisher.publish(altered(report, overhead_fraction=0.01), loggers, self.watched)


def test_that_there_is_no_verdict_is_said_once_in_a_stage_and_not_as_of_a_fault() -> None:
    """With the first reason; another run says it again."""
    desk = Desk()
    few, fewer = (report_of(num_inputs=number).judged(Thresholds()) for number in (100, 50))
    for report in (few, fewer, altered(few, stage="train"), few):
        desk.publish(report)
    said = "no verdict on pairs: 100 inputs, verdicts need 256. Until there is one, no pair is flagged and alerts wait."
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
    assert third.publisher.state_dict()["labels"] == {"order": []}


# The band of the headline


NAME = "rank_agreement_centered_cosine"


def with_interval(low: float, high: float) -> GapReport:
    return altered(report_of().judged(OPEN), intervals={NAME: (low, high), "gap_geometry": (0.1, 0.2)})


def without_interval() -> GapReport:
    return altered(report_of().judged(OPEN), intervals={})


def test_the_band_has_the_bounds_of_the_headlines_interval() -> None:
    assert band(with_interval(0.25, 0.75)) == {f"{NAME}_low": 0.25, f"{NAME}_high": 0.75}


def test_without_an_interval_there_are_no_bounds() -> None:
    assert band(without_interval()) == {}
    assert band(report_of(num_inputs=7)) == {}, "seven groups of inputs"


class Writer:
    """As TensorBoard's."""

    def __init__(self) -> None:
        self.layouts: list[dict[str, dict[str, list[Any]]]] = []

    def add_custom_scalars(self, layout: dict[str, dict[str, list[Any]]]) -> None:
        """Take a layout."""
        self.layouts.append(layout)

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        """Take a picture."""


class Notebook:
    """A logger that writes down what it is given."""

    def __init__(self, experiment: Any = None) -> None:
        self.experiment, self.entries = experiment, dict[str, tuple[float, int | None]]()

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.entries |= {tag: (value, step) for tag, value in metrics.items()}


def test_bounds_go_where_a_layout_draws_them_and_nowhere_else() -> None:
    """In a group of their own, at the step of the report; nobody's key to watch."""
    desk, drawing, plain = Desk(), Notebook(Writer()), Notebook()
    desk.publish(altered(with_interval(0.25, 0.75), dataloader_idx=1), drawing, plain)
    tag = "cossim_val_band/rank_agreement_centered_cosine"
    bounds = {f"{tag}_low/dataloader_idx_1": (0.25, 7), f"{tag}_high/dataloader_idx_1": (0.75, 7)}
    assert {key: plain.entries.get(key) for key in drawing.entries if "_band/" not in key} == plain.entries
    for key, (value, step) in bounds.items():
        found, at = drawing.entries[key]
        assert found == pytest.approx(value)
        assert at == step
    assert len(drawing.entries) == len(plain.entries) + 2
    assert not any("_band/" in key for key in desk.watched)


def test_a_chart_draws_the_headline_between_its_bounds_where_there_are_some() -> None:
    """Its patterns match what is written, and a report without an error gets no such chart."""
    title = "Rank agreement of the cosine, with its 95 % interval"
    writer, without = Writer(), Writer()
    desk, logger = Desk(), Notebook(writer)
    desk.publish(with_interval(0.25, 0.75), logger)
    desk.publisher.publish_pictures(with_interval(0.25, 0.75), [logger])
    Desk().publisher.publish_pictures(without_interval(), [Notebook(without)])
    ((layout,), (plain,)) = (writer.layouts, without.layouts)
    assert {*layout} == {*plain} == {"cossim_val", "cossim_train"}
    for group, charts in layout.items():
        assert list(charts)[1] == title
        assert {name: chart for name, chart in charts.items() if name != title} == plain[group]
    name = "rank_agreement_centered_cosine"
    matched = [tag for pattern in layout["cossim_val"][title][1] for tag in logger.entries if re.search(pattern, tag)]
    assert matched == [f"cossim_val/{name}", f"cossim_val_band/{name}_low", f"cossim_val_band/{name}_high"]


def test_no_scalar_is_written_twice_under_two_names() -> None:
    notebook = Notebook(Writer())
    Desk().publish(without_interval(), notebook)
    assert {tag.removeprefix("cossim_val/") for tag in notebook.entries} == set(scalars("softmax"))


# Files


@pytest.mark.parametrize("show", [True, "references", False])
def test_evidence_is_written_beside_the_logs_unless_it_is_switched_off(show: Any, tmp_path: Path) -> None:
    """As CSV, named as the other files of the window; a report without evidence has no such file."""
    desk, logger = Desk(Display(evidence=show)), SimpleNamespace(experiment=SimpleNamespace(log_dir=tmp_path))
    report = with_inputs(judged())
    reports = [report, altered(report, dataloader_idx=1), altered(judged(), stage="train")]
    desk.publisher.publish_files(reports, [logger])
    assert desk.warned == []
    found = {path.name: path.read_bytes().decode() for path in tmp_path.iterdir() if "evidence" in path.name}
    wanted = {"cossim_val_evidence.csv", "cossim_val_dataloader_idx_1_evidence.csv"} if show else set()
    assert {*found} == wanted
    assert {*found.values()} == ({as_evidence_csv(report)} if show else set())
    assert (tmp_path / "cossim_train.csv").exists()
