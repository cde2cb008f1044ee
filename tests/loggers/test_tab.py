"""From a report to a step: which pairs are shown, and the files beside the events."""

import csv
import json
import math
from io import StringIO
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
import torch

from lightning_cossim import GapReport, Thresholds
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.similarities import QUANTITIES
from lightning_cossim.loggers.tab import MAX_PAIRS, as_csv, as_json, step_of
from lightning_cossim.loggers.wire import Step
from lightning_cossim.metrics import SimilarityGap
from tests.tensorboard_plugin.events import HOSTILE, reports
from tests.toys import altered


@pytest.fixture(scope="module")
def large() -> GapReport:
    (report,) = reports(300, 1)
    return report


def shown(report: GapReport) -> set[tuple[int, int]]:
    return pairs_of(step_of(report, index=1, time=0.0))


def pairs_of(step: Step) -> set[tuple[int, int]]:
    """By labels of the head."""
    labels = np.array(step.labels)
    return {(int(one), int(other)) for one, other in zip(labels[step.row], labels[step.column], strict=True)}


def test_all_pairs_of_few_labels_are_shown() -> None:
    (report,) = reports(140, 1)
    assert shown(report) == set(combinations(range(140), 2))


def test_of_many_labels_pairs_are_chosen(large: GapReport) -> None:
    """No more than the most, and the step says how many, of how many, and which."""
    step = step_of(large, index=1, time=0.0)
    assert 8_000 < len(step.row) <= MAX_PAIRS
    assert step.chosen.startswith(f"{len(step.row)} of 44850 pairs: the 500 largest gaps in either direction")


def test_what_matters_is_among_them(large: GapReport) -> None:
    """The furthest gaps, the most alike by every rung, and all pairs of the labels of heatmaps."""
    chosen = shown(large)
    pairs = list(zip(large.compared.row.tolist(), large.compared.column.tolist(), strict=True))
    for values in (
        large.gap,
        -large.gap,
        *(large.rungs[rung] for rung in ("raw_cosine", "centered_cosine", "logit_correlation", "overlap")),
        -large.rungs["log_odds_variance"],
    ):
        assert {pairs[index] for index in values.argsort(descending=True)[:500].tolist()} <= chosen
    probable = sorted(large.mean_probs.argsort(descending=True)[:60].tolist())
    assert set(combinations(probable, 2)) <= chosen
    step = step_of(large, index=1, time=0.0)
    assert sorted(step.labels[place] for place in step.order) == probable


def test_flagged_pairs_come_before_others(large: GapReport) -> None:
    flagged = torch.zeros(len(large.compared), dtype=torch.bool)
    flagged[torch.randperm(len(flagged), generator=torch.Generator().manual_seed(1))[:3000]] = True
    step = step_of(altered(large, flags={"strangers": flagged, "lookalikes": torch.zeros_like(flagged)}), index=1, time=0.0)
    assert int((step.flag == 1).sum()) == 3000


def test_the_rest_is_drawn_by_a_lot_that_stays_the_same() -> None:
    """So that most pairs have a history; and it is spread evenly over the labels."""
    first, second = (shown(altered(report, flags={})) for report in reports(300, 2, dim=30))
    assert len(first & second) > 0.5 * len(first)  # of two heads that have nothing in common
    first_labels = np.bincount([label for pair in first for label in pair], minlength=300)
    assert first_labels.min() > 20


def test_names_cost_room(large: GapReport) -> None:
    """Where names are long, fewer pairs are shown, never more bytes."""
    long = step_of(altered(large, names=tuple(f"{label} " + "日本語" * 20 for label in range(300))), index=1, time=0.0)
    assert len(long.row) < len(shown(large))


def test_a_sample_is_said_to_be_one(large: GapReport) -> None:
    some = torch.arange(0, len(large.compared), 7)
    pairs = Pairs(large.compared.row[some], large.compared.column[some], torch.full((len(some),), 7.0, dtype=torch.float64))
    sampled = altered(
        large,
        compared=pairs,
        rungs={rung: values[some] for rung, values in large.rungs.items()},
        expected_overlap=large.expected_overlap[some],
        expected_curve=large.expected_curve[some],
        mass=large.mass[some],
        overlap_error=large.overlap_error[some],
        joint_inputs=large.joint_inputs[some],
        why=None if large.verdict.why is None else large.verdict.why[some],
        flags={side: flags[some] for side, flags in large.flags.items()},
        sampling="one in seven",
        truncation=torch.linspace(0, 0.25, len(some)),
    )
    step = step_of(sampled, index=1, time=0.0)
    assert step.chosen.endswith("chosen from a sample (one in seven)")
    assert step.truncation == 0.25


@pytest.mark.parametrize("num_labels", [12, 140])
def test_the_curve_is_that_of_all_pairs(num_labels: int) -> None:
    """At 257 similarities, to four digits; corners on a level stretch are left out."""
    (report,) = reports(num_labels, 1)
    curve = np.array(step_of(report, index=1, time=0.0).curve)
    order = report.rungs["centered_cosine"].argsort()
    s, e = (values[order].double().numpy() for values in (report.rungs["centered_cosine"], report.expected_curve))
    grid = np.linspace(s[0], s[-1], 257)
    np.testing.assert_allclose(np.interp(grid, *curve.T), np.interp(grid, s, e), rtol=0, atol=2e-3)
    assert len(curve) < 257
    assert (np.diff(curve, axis=0) >= 0).all()


def test_pairs_that_are_chosen_have_the_curve_of_all(large: GapReport) -> None:
    curve = np.array(step_of(large, index=1, time=0.0).curve)
    assert curve[0, 0] == pytest.approx(large.rungs["centered_cosine"].min().item(), abs=1e-4)
    assert curve[-1, 1] == pytest.approx(large.expected_curve.max().item(), abs=1e-4)


def test_without_a_fit_there_is_no_curve() -> None:
    (report,) = reports(3, 1)
    assert step_of(report, index=1, time=0.0).curve == []


def test_labels_that_are_not_kept_are_no_points() -> None:
    (report,) = reports(12, 1)
    lost = report.compared.row == 3
    unknown = {rung: values.masked_fill(lost, math.nan) for rung, values in report.rungs.items()}
    step = step_of(altered(report, rungs=unknown), index=1, time=0.0)
    assert np.isnan(step.values["overlap"]).sum() == int(lost.sum())


@pytest.mark.parametrize("link", get_args(Link))
def test_a_step_says_what_its_numbers_are(link: Link) -> None:
    """Every column of the step, and the gap, each with a name, its direction and what it means under the link."""
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = torch.randn(12, 5, generator=generator), torch.randn(50, 5, generator=generator)
    metric = SimilarityGap(12, 5, link=link, link_scale=8.0 if link == "cosine" else None)
    metric.update(W_KD, f_ND @ W_KD.T / 8, f_ND)
    step = step_of(metric.report(), index=1, time=0.0)
    assert [one["key"] for one in step.quantities] == [*step.values, "gap"]
    for one in step.quantities:
        row = QUANTITIES[one["key"]]
        assert (one["title"], one["column"], one["direction"]) == (row.title, row.column, row.direction)
        assert one["about"] == list(row.explained(link))
        assert one["whole"] is (one["key"] == "joint_inputs")
        assert [one["low"], one["high"]] == [bound if math.isfinite(bound) else None for bound in (row.low, row.high)]
        assert all(paragraph and paragraph.endswith(".") for paragraph in one["about"])
    assert ("centered_cosine" in step.values) == (link == "softmax")


NOT_JUDGED: dict[str, Any] = {"thresholds": None, "flags": {}, "limits": {}, "why": None, "shares": {}}


def test_a_step_of_a_report_that_was_not_judged_has_no_thresholds() -> None:
    """Nor flags, nor a reason why there are none."""
    (report,) = reports(12, 1)
    judged, plain = (step_of(one, index=1, time=0.0) for one in (report, altered(report, **NOT_JUDGED)))
    assert judged.thresholds == {"stranger": 0.03, "lookalike": 0.03, "outlier": 0, "min_joint_inputs": 5, "min_reliability": 0.1}
    assert judged.flag.any()
    assert plain.thresholds == {}
    assert plain.verdict == ""
    assert not plain.flag.any()
    assert (plain.limits, list(plain.reasons)) == ({}, [])
    assert not plain.why.any()
    assert "share_strangers" in judged.scalars
    assert "share_strangers" not in plain.scalars


@pytest.mark.parametrize("num_labels", [12, 300])
def test_every_pair_has_its_error_and_its_reason(num_labels: int) -> None:
    """As the report has them, all pairs or those that were chosen."""
    (report,) = reports(num_labels, 1)
    step = step_of(report, index=1, time=0.0)
    pairs = {frozenset((pair.label, pair.other)): pair for pair in report.pairs()}
    for place, (row, column) in enumerate(zip(step.row.tolist(), step.column.tolist(), strict=True)):
        pair = pairs[frozenset((step.names[row], step.names[column]))]
        assert step.values["overlap_error"][place] == pytest.approx(pair.overlap_error)
        assert step.values["joint_inputs"][place] == pair.joint_inputs
        assert (list(step.reasons)[int(step.why[place])] or None) == pair.why_unflagged


def test_limits_are_those_of_the_rule() -> None:
    """The threshold, or as many residual scales as `outlier` says if that is more."""
    (report,) = reports(12, 1)
    scale = report.scalars["residual_scale"]
    judged = report.judged(Thresholds(stranger=0.001, lookalike=0.9, outlier=2.0, min_reliability=0.0))
    step = step_of(judged, index=1, time=0.0)
    assert step.limits == {"strangers": pytest.approx(2 * scale), "lookalikes": 0.9}
    assert step.thresholds["stranger"] == 0.001


def test_errors_of_scalars_go_along() -> None:
    (report,) = reports(12, 1)
    step = step_of(report, index=1, time=0.0)
    assert step.standard_errors["rank_agreement_centered_cosine"] > 0
    assert step.standard_errors == report.standard_errors


# Files beside the events


def test_a_table_has_every_pair_once() -> None:
    (report,) = reports(12, 1)
    rows = list(csv.DictReader(StringIO(as_csv(step_of(report, index=1, time=0.0)))))
    assert len(rows) == 66
    gaps = [float(row["gap"]) for row in rows]
    assert gaps == sorted(gaps, reverse=True)
    first = report.pairs()[0]
    assert (rows[0]["label"], rows[0]["other"], rows[0]["flag"]) == (first.label, first.other, first.flag or "")
    assert float(rows[0]["overlap"]) == pytest.approx(first.overlap, abs=1e-6)
    for row in rows:
        pair = next(pair for pair in report.pairs() if (pair.label, pair.other) == (row["label"], row["other"]))
        assert float(row["overlap_error"]) == pytest.approx(pair.overlap_error, abs=1e-6)
        assert (row["joint_inputs"], row["why_unflagged"]) == (str(pair.joint_inputs), pair.why_unflagged or "")


def test_labels_that_are_not_kept_have_no_lines() -> None:
    """Though all pairs have joint inputs."""
    (report,) = reports(12, 1)
    lost = report.compared.row == 3
    unknown = {rung: values.masked_fill(lost, math.nan) for rung, values in report.rungs.items()}
    step = step_of(altered(report, rungs=unknown), index=1, time=0.0)
    assert len([*csv.DictReader(StringIO(as_csv(step)))]) == 66 - int(lost.sum())


def test_no_name_becomes_a_formula() -> None:
    """A spreadsheet runs what begins with an equals sign."""
    (report,) = reports(10, 1, names=HOSTILE)
    cells = {cell for row in csv.reader(StringIO(as_csv(step_of(report, index=1, time=0.0)))) for cell in row}
    assert "'=cmd|' /C calc'!A0" in cells
    assert not [cell for cell in cells if cell[:1] in {"=", "@"}]


def test_json_is_json() -> None:
    """NaN is null there, and what is undefined has its reason."""
    (report,) = reports(3, 1)
    whole = json.loads(as_json(step_of(report, index=1, time=0.0)), parse_constant=pytest.fail)
    assert whole["pairs"][0]["gap"] is None
    assert whole["scalars"]["gap_behavior"] is None
    assert {pair["why_unflagged"] for pair in whole["pairs"]} == {"no verdict"}
    assert "gap_behavior" in whole["undefined"]
    assert (whole["stage"], whole["step"]) == ("val", 10)


def test_a_table_without_pairs_is_a_head() -> None:
    (report,) = reports(1, 1)
    assert as_csv(step_of(report, index=1, time=0.0)) == "label,other\n"
