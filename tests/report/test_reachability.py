"""What reachability says of reports: verdicts on flagged pairs, labels that no input brings out on top, and when it is asked."""

import logging
import math
import warnings
from typing import Any, Literal

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim import (
    GapReport,
    LabelSelection,
    LabelSimilarityError,
    LabelSimilarityMonitor,
    Schedule,
    Thresholds,
)
from lightning_cossim.callback import deferred
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report.extras import ReachabilityVerdicts
from lightning_cossim.report.reachability import find_reachability
from tests.toys import ALWAYS, INPUT_DIM, Toy, loader, trainer

LOW = Thresholds(min_inputs=0, min_reliability=0, stranger=0.02, lookalike=0.02, outlier=0, min_joint_inputs=0)


class Flat(Toy):
    """Thirty labels in two dimensions, where the labels that can be on top are the corners of a polygon."""

    def __init__(self) -> None:
        super().__init__(30)
        self.body = nn.Sequential(nn.Linear(INPUT_DIM, 2), nn.Tanh())
        self.head = nn.Linear(2, 30, bias=False)


def corners(W: Tensor) -> set[int]:
    """The labels that are on top in one of a million directions."""
    angle = torch.linspace(0, 2 * math.pi, 1_000_001, dtype=torch.float64)[:-1]
    directions = torch.stack([angle.cos(), angle.sin()])
    return set(torch.cat([(W.double() @ part).argmax(dim=0) for part in torch.split(directions, 50_000, dim=1)]).tolist())


def neighbors(W: Tensor) -> set[tuple[int, int]]:
    """The pairs that are the two most likely labels in one of a million directions."""
    angle = torch.linspace(0, 2 * math.pi, 1_000_001, dtype=torch.float64)[:-1]
    found: set[tuple[int, int]] = set()
    for part in torch.split(torch.stack([angle.cos(), angle.sin()]), 50_000, dim=1):
        top = (W.double() @ part).topk(2, dim=0).indices.sort(dim=0).values.T
        found |= {(int(one), int(other)) for one, other in torch.unique(top, dim=0).tolist()}
    return found


def fit(reachability: Literal["never", "fit_end", "validation"], **settings: Any) -> tuple[Flat, LabelSimilarityMonitor]:
    pl.seed_everything(0, verbose=False)
    model = Flat()
    monitor = LabelSimilarityMonitor(schedule=Schedule(reachability=reachability), thresholds=LOW, display=ALWAYS, **settings)
    trainer(callbacks=[monitor], max_epochs=3).fit(model, loader(512, num_labels=30), loader(256, num_labels=30))
    return model, monitor


def test_the_end_of_a_fit_names_what_can_never_be_on_top(caplog: pytest.LogCaptureFixture) -> None:
    """Exactly those that no direction brings out; in the report, and once in the log."""
    with caplog.at_level(logging.INFO):
        model, monitor = fit("fit_end")
    never = sorted({*range(30)} - corners(model.head.weight.detach()))
    assert 10 < len(never) < 28
    report = monitor.last_report["val"]
    assert report.unreachable == tuple(map(str, never))
    assert report.num_undecided == 0
    assert monitor.last_report["train"].unreachable is None, "its weights were others"
    said = [record.getMessage() for record in caplog.records if "can never be the most likely one" in record.getMessage()]
    assert len(said) == 1
    assert f"{len(never)} labels can never be the most likely one: '{never[0]}', " in said[0]
    assert f"{len(never)} labels can never be the most likely one: {never[0]}, " in str(monitor.last_report["val"])


def test_labels_to_ignore_are_not_asked_for() -> None:
    """They are rivals all the same, since the softmax has them."""
    model, monitor = fit("fit_end", labels=LabelSelection(ignore=[1, 3]))
    never = {*range(30)} - corners(model.head.weight.detach()) - {1, 3}
    assert monitor.last_report["val"].unreachable == tuple(map(str, sorted(never)))


class Normalized(Flat):
    """Cosines of embeddings and rows: every label is on top in its own direction, whatever the lengths of the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Identity()

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        embedding = self.body(inputs)
        lengths = embedding.norm(dim=1, keepdim=True) * self.head.weight.norm(dim=1)
        scaled: Tensor = self.scale(8 * self.head(embedding) / lengths)
        return scaled


def test_of_a_model_that_changes_its_logits_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The weights would give other answers; nor does the lemma hold for it."""
    pl.seed_everything(0, verbose=False)
    schedule = Schedule(reachability="fit_end")
    monitor = LabelSimilarityMonitor(schedule=schedule, thresholds=LOW, display=ALWAYS, logits_from="scale")
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(callbacks=[monitor]).fit(Normalized(), loader(256, num_labels=30), loader(128, num_labels=30))
    assert monitor.last_report["val"].unreachable is None
    assert any("cannot decide reachability: the model changes its logits" in one.getMessage() for one in caplog.records)
    with pytest.raises(LabelSimilarityError, match="got a model that changes its logits after its head"):
        monitor.audit()


def test_flagged_pairs_have_a_verdict() -> None:
    """In tables, frames and JSON, in words; others have none."""
    model, monitor = fit("fit_end")
    report = monitor.last_report["val"]
    together = neighbors(model.head.weight.detach())
    pairs = report.pairs()
    assert {pair.flag for pair in pairs} == {"stranger", "look-alike", None}
    for pair in pairs:
        possible = (int(pair.label), int(pair.other)) in together
        words = "possible, not seen" if pair.flag == "look-alike" else "possible"
        assert pair.on_top == (None if pair.flag is None else words if possible else "never together")
    assert {pair.on_top for pair in pairs} >= {"possible", "never together"}
    assert "reachable" in str(report)
    assert {record["on_top"] for record in report.to_dict()["pairs"]} == {pair.on_top for pair in pairs}


def test_nobody_pays_who_did_not_ask() -> None:
    _, monitor = fit("never")
    report = monitor.last_report["val"]
    assert report.unreachable is None
    assert "reachable" not in str(report)
    assert "on_top" not in report.to_dict()["pairs"][0]
    assert report.to_dict()["unreachable"] is None


@pytest.mark.parametrize(("when", "times"), [("never", 0), ("fit_end", 1), ("validation", 3)])
def test_the_schedule_says_when(
    when: Literal["never", "fit_end", "validation"], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def reached(reports: list[GapReport], *args: Any, **kwargs: Any) -> ReachabilityVerdicts:
        asked.append(len(reports))
        return find_reachability(reports, *args, **kwargs)

    monkeypatch.setattr(deferred, "find_reachability", reached)
    fit(when)
    assert len(asked) == times


def test_a_validation_of_its_own_is_the_end_of_a_run() -> None:
    pl.seed_everything(0, verbose=False)
    model = Flat()
    monitor = LabelSimilarityMonitor(schedule=Schedule(reachability="fit_end"), thresholds=LOW)
    trainer(callbacks=[monitor]).validate(model, loader(256, num_labels=30), verbose=False)
    never = {*range(30)} - corners(model.head.weight.detach())
    assert monitor.last_report["val"].unreachable == tuple(map(str, sorted(never)))


def test_a_failure_costs_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning; the weights are those of a training without it."""
    plain, _ = fit("never")

    def fails(*args: Any, **kwargs: Any) -> ReachabilityVerdicts:
        raise MemoryError("planted")

    monkeypatch.setattr(deferred, "find_reachability", fails)
    with pytest.warns(UserWarning, match="stopped after an error, and the run continues without it: MemoryError: planted"):
        model, monitor = fit("fit_end")
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), model.parameters(), strict=True))
    assert monitor.last_report["val"].unreachable is None


def flagged(num_labels: int) -> tuple[Tensor, Tensor, GapReport]:
    generator = torch.Generator().manual_seed(1)
    W, f = torch.randn(num_labels, 2, generator=generator), torch.randn(300, 2, generator=generator)
    metric = SimilarityGap(num_labels, 2)
    metric.update(W, f @ W.T, f)
    return W, f, metric.report().judged(LOW)


def test_what_takes_too_long_is_undecided() -> None:
    """No time at all: what the inputs show is free, the rest is said not to be known."""
    W, f, report = flagged(40)
    found = find_reachability([report], W, None, f[:1], time_limit=0.0, progress=lambda share: None)
    told = report.with_reachability(found)
    assert told.num_undecided > 0
    assert f"; {told.num_undecided} could not be decided" in str(told)
    assert "undecided" in {pair.on_top for pair in told.pairs()}


def test_rows_that_are_not_finite_are_left_out() -> None:
    """Of labels and of pairs: they are nobody's rivals."""
    W, f, report = flagged(12)
    place = int(report.flags["strangers"].nonzero()[0])
    one, other = int(report.compared.row[place]), int(report.compared.column[place])
    broken = W.clone()
    broken[one] = math.nan
    found = find_reachability([report], broken, torch.zeros(12), f, time_limit=10.0, progress=lambda share: None)
    assert found.num_labels == 11
    assert all(one not in pair[:2] for pair in found.pairs)
    told = report.with_reachability(found)
    assert next(pair for pair in told.pairs() if {pair.label, pair.other} == {str(one), str(other)}).on_top is None


def test_where_all_can_be_on_top_that_is_said() -> None:
    report = flagged(12)[2].with_reachability(ReachabilityVerdicts((), 0, 12, ()))
    assert "Every label can be the most likely one for some input." in str(report)
