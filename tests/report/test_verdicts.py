"""Flags and shares: pure functions of the statistics of one report, and what a judged report shows."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport, Side
from lightning_cossim.report.alerts import evaluate
from lightning_cossim.report.verdicts import judge, no_verdict
from tests.toys import altered

K, D = 12, 5
OPEN = Thresholds(min_inputs=0, min_reliability=0)


def report_of(num_labels: int = K, num_inputs: int = 400, improbable: Sequence[int] = (), seed: int = 0) -> GapReport:
    generator = torch.Generator().manual_seed(seed)
    W_KD = torch.randn(num_labels, D, generator=generator)
    f_ND = torch.randn(num_inputs, D, generator=generator) * torch.linspace(0.3, 1.5, D)
    z_NK = f_ND @ W_KD.T
    z_NK[:, list(improbable)] -= 4
    metric = SimilarityGap(num_labels, D)
    metric.update(W_KD, z_NK, f_ND)
    return altered(metric.report(), stage="val", step=7)


def with_value(report: GapReport, value: float, scalar: str = "gap_behavior", step: int = 0) -> GapReport:
    return altered(report, scalars={**report.scalars, scalar: value}, step=step)


def expected_flags(report: GapReport, thresholds: Thresholds, side: Side) -> set[tuple[int, int]]:
    """Pair by pair, as THEORY §5 has it."""
    found = set()
    for i in range(len(report.labels)):
        for j in range(i + 1, len(report.labels)):
            gap = float(report.matrix("overlap")[i, j] - report.matrix("expected_overlap")[i, j])
            massive = all(report.mean_probs[label] * report.num_live >= thresholds.min_mass for label in (i, j))
            beyond = gap > thresholds.stranger if side == "strangers" else -gap > thresholds.lookalike
            if massive and beyond:
                found.add((i, j))
    return found


# Flags and shares


@pytest.mark.parametrize("side", ["strangers", "lookalikes"])
@pytest.mark.parametrize(
    "settings", [{}, {"stranger": 0.02, "lookalike": 0.05}, {"min_mass": 0.9}, {"min_mass": 0, "stranger": 0}]
)
def test_pairs_beyond_the_threshold_with_mass_on_both_sides_are_flagged(side: Side, settings: dict[str, Any]) -> None:
    report, thresholds = report_of(improbable=[2, 5]), replace(OPEN, **settings)
    flags = report.judged(thresholds).flags[side]
    wanted = expected_flags(report, thresholds, side)
    assert {*zip(report.compared.row[flags].tolist(), report.compared.column[flags].tolist(), strict=True)} == wanted
    num_eligible = math.comb(int((report.mean_probs * report.num_live >= thresholds.min_mass).sum()), 2)
    share = report.judged(thresholds).scalars[f"share_{side}"]
    assert share == pytest.approx(len(wanted) / num_eligible)


def test_there_are_flags_to_be_seen() -> None:
    """The cases above are not empty."""
    shares = [report_of().judged(OPEN).scalars[f"share_{side}"] for side in ("strangers", "lookalikes")]
    assert all(0 < share < 0.5 for share in shares)


def test_where_no_pair_has_the_mass_the_shares_are_unknown() -> None:
    report = report_of().judged(replace(OPEN, min_mass=50))
    assert math.isnan(report.scalars["share_strangers"])
    assert report.undefined["share_strangers"] == report.undefined["share_lookalikes"] == "no pair has the mass"


@pytest.mark.parametrize(
    ("report", "thresholds", "why"),
    [
        (report_of(num_inputs=255), Thresholds(), "255 inputs, verdicts need 256"),
        (report_of(9), Thresholds(), "36 pairs of labels, verdicts need 45"),
        (report_of(num_inputs=300), Thresholds(min_reliability=1), "reliability 0.98, verdicts need 1"),
        (with_value(report_of(), math.nan, "reliability"), Thresholds(), "reliability nan, verdicts need 0.5"),
    ],
)
def test_without_a_verdict_nothing_is_flagged_and_no_alert_is_breached(
    report: GapReport, thresholds: Thresholds, why: str
) -> None:
    """Too few inputs, too few pairs, too little reliability: shares are unknown, with the reason."""
    thresholds = replace(thresholds, stranger=0, lookalike=0, alerts=[Alert("gap_behavior", above=-9)])
    assert no_verdict(report.statistics, thresholds) == why
    assert not any(flags.any() for flags in report.judged(thresholds).flags.values())
    assert math.isnan(report.judged(thresholds).scalars["share_lookalikes"])
    assert report.judged(thresholds).undefined["share_strangers"] == why
    assert evaluate(report, thresholds) == []


@pytest.mark.parametrize(
    ("num_labels", "num_inputs", "why"),
    [(10, 256, None), (10, 255, "255 inputs, verdicts need 256"), (9, 256, "36 pairs of labels, verdicts need 45")],
)
def test_the_gates_open_at_their_values(num_labels: int, num_inputs: int, why: str | None) -> None:
    assert no_verdict(report_of(num_labels, num_inputs).statistics, Thresholds()) == why


def test_a_report_is_judged_and_not_changed() -> None:
    report = report_of()
    before: Tensor = report.gap.clone()
    judged = report.judged(OPEN)
    assert "share_strangers" not in report.scalars
    assert report.flags == {}
    assert report.verdict.thresholds is None
    assert judged.verdict.thresholds == OPEN
    torch.testing.assert_close(report.gap, before, equal_nan=True)


def test_another_verdict_takes_the_place_of_the_first() -> None:
    """It is one of the same statistics, and has nothing of the first: neither flags nor alerts."""
    first = altered(report_of().judged(OPEN), alerts=("gap_behavior is 0.71, above 0.6 (warn)",))
    again = first.judged(Thresholds(min_inputs=401))
    alone = judge(first.statistics, Thresholds(min_inputs=401))
    assert again.alerts == alone.alerts == ()
    assert again.verdict.why_none == alone.why_none == "400 inputs, verdicts need 401"
    assert not any(flags_P.any() for flags_P in (*again.flags.values(), *alone.flags.values()))
    assert first.judged(OPEN).verdict.shares == first.verdict.shares == judge(first.statistics, OPEN).shares


# What a judged report shows


def flags_of(report: GapReport) -> dict[tuple[str, str], str | None]:
    return {(pair.label, pair.other): pair.flag for pair in report.pairs()}


def test_pairs_carry_their_flags() -> None:
    """By name, whichever side; none before the report is judged."""
    report = report_of(improbable=[2, 5])
    assert set(flags_of(report).values()) == {None}
    shown = flags_of(report.judged(OPEN))
    for side, flag in (("strangers", "stranger"), ("lookalikes", "look-alike")):
        wanted = {(str(i), str(j)) for i, j in expected_flags(report, OPEN, side)}  # type: ignore[arg-type]
        assert wanted
        assert {pair for pair, given in shown.items() if given == flag} == wanted


def test_flagged_pairs_come_first_then_by_gap() -> None:
    """A pair of little mass with a large gap stands behind one with mass and a smaller gap."""
    report = report_of(improbable=[2, 5]).judged(OPEN)
    for side in get_args(Side):
        pairs = report.pairs(side)
        flagged = [pair for pair in pairs if pair.flag]
        assert pairs[: len(flagged)] == flagged
        rest = pairs[len(flagged) :]
        assert max(abs(pair.gap) for pair in rest) > min(abs(pair.gap) for pair in flagged)
        for part in (flagged, rest):
            assert [abs(pair.gap) for pair in part] == sorted((abs(pair.gap) for pair in part), reverse=True)


def test_a_judged_report_is_printed_with_its_flags() -> None:
    report = report_of().judged(OPEN)
    counts = {side: len(expected_flags(report_of(), OPEN, side)) for side in get_args(Side)}
    text = str(report)
    assert f"\nFlagged: {counts['strangers']} strangers, {counts['lookalikes']} look-alikes\n" in text
    assert re.search(r"^label .* flag$", text, flags=re.MULTILINE)
    assert len(re.findall(r" stranger$", text, flags=re.MULTILINE)) == min(5, counts["strangers"])
    assert report.to_markdown(top=100).count("| stranger ") == counts["strangers"]
    assert report.to_markdown(top=100).count("| look-alike ") == counts["lookalikes"]


def test_one_of_a_kind_is_counted_in_the_singular() -> None:
    gaps = sorted((pair.gap for pair in report_of().pairs()), reverse=True)
    report = report_of().judged(replace(OPEN, stranger=(gaps[0] + gaps[1]) / 2, lookalike=1))
    assert "\nFlagged: 1 stranger, 0 look-alikes\n" in str(report)


def test_without_flags_there_is_no_column_of_them() -> None:
    """Not judged, no verdict, or nothing flagged: the last two are said."""
    strict = replace(OPEN, stranger=1, lookalike=1)
    cases = {
        "": report_of(),
        "No pair is flagged: 100 inputs, verdicts need 256": report_of(num_inputs=100).judged(Thresholds()),
        "Flagged: 0 strangers, 0 look-alikes": report_of().judged(strict),
    }
    for line, report in cases.items():
        text = str(report)
        assert " flag\n" not in text
        assert "flag" not in report.to_markdown()
        assert ("lagged" in text) == bool(line)
        assert f"\n{line}\n" in text


def test_alerts_are_printed_and_exported() -> None:
    report = altered(report_of().judged(OPEN), alerts=("gap_behavior is 0.71, above 0.6 (warn)",))
    assert str(report).splitlines()[2] == "Alert: gap_behavior is 0.71, above 0.6 (warn)."
    record = report.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["alerts"] == ["gap_behavior is 0.71, above 0.6 (warn)"]
    flags = [pair["flag"] for pair in record["pairs"]]
    assert flags == [pair.flag for pair in report.pairs()]
    assert {*flags} == {"stranger", "look-alike", None}
    frame = report.to_pandas()
    assert frame["flag"].isin(["stranger"]).sum() == flags.count("stranger")
