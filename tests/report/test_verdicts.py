"""Flags and shares: pure functions of the statistics of one report, and what a judged report shows."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor

from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.functional.ladder import RUNGS
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.replicates import Replicates
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport, Side, Statistics, verdicts
from lightning_cossim.report.alerts import evaluate
from lightning_cossim.report.pair_table import PairTable
from lightning_cossim.report.verdicts import MIN_EFFECTIVE, WHY_UNFLAGGED, judge, no_verdict
from tests.benchmarks.worlds import generator, make_world
from tests.toys import altered

K, D = 12, 5
OPEN = Thresholds(min_inputs=0, min_reliability=0, outlier=0, stranger=0.03, lookalike=0.03)


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


def slow_reasons(report: GapReport, thresholds: Thresholds) -> dict[tuple[int, int], str]:
    """Why each pair is not flagged, empty if it is: pair by pair, as THEORY §5 has it."""
    table, cosine = report.statistics.table, report.rungs[report.ladder.cosine].numpy()
    gap = (report.rungs["overlap"] - report.expected_overlap).double().numpy()
    counts = np.isfinite(gap)
    percentile = np.full(len(gap), np.nan)
    percentile[counts] = rankdata(cosine[counts].round(6)) / counts.sum()
    scale = 1.4826 * np.median(np.abs(gap[counts])) if counts.any() else math.nan
    reasons = {}
    for place, (i, j) in enumerate(zip(report.compared.row.tolist(), report.compared.column.tolist(), strict=True)):
        is_more = gap[place] > 0
        threshold = thresholds.stranger if is_more else thresholds.lookalike
        limit = max(threshold, thresholds.outlier * scale)
        surely = abs(gap[place]) - 1.895 * report.overlap_error[place].item()
        truncation = 0.0 if table.truncation is None or is_more else table.truncation[place].item()
        effective = min(table.effective_inputs[i].item(), table.effective_inputs[j].item())
        rules = [
            ("no gap", math.isnan(gap[place])),
            ("below threshold", abs(gap[place]) <= threshold),
            ("within the spread of gaps", abs(gap[place]) <= limit),
            ("error unknown", math.isnan(surely)),
            ("within error", not surely > limit),
            ("overlap may be larger", not surely - truncation > limit),
            ("too few joint inputs", is_more and table.joint_inputs[place].item() < thresholds.min_joint_inputs),
            ("cosine too high for a stranger", is_more and percentile[place] > 0.9),
            ("cosine too low for a look-alike", not is_more and percentile[place] <= 0.5),
            ("too few inputs", not is_more and effective < 10),
        ]
        reasons[i, j] = next((reason for reason, holds in rules if holds), "")
    return reasons


def expected_flags(report: GapReport, thresholds: Thresholds, side: Side) -> set[tuple[int, int]]:
    gap = report.matrix("gap")
    flagged = {pair for pair, reason in slow_reasons(report, thresholds).items() if not reason}
    return {pair for pair in flagged if (gap[pair] > 0) == (side == "strangers")}


# Flags, reasons and shares


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stranger": 0.02, "lookalike": 0.05},
        {"outlier": 1.0},
        {"outlier": 3.0, "stranger": 0},
        {"min_joint_inputs": 150, "stranger": 0, "lookalike": 0},
        {"stranger": 0, "lookalike": 0},
    ],
)
def test_every_pair_has_the_flag_or_the_reason_of_the_theory(settings: dict[str, Any]) -> None:
    report, thresholds = report_of(improbable=[2]), replace(OPEN, **settings)
    judged = report.judged(thresholds)
    wanted = slow_reasons(report, thresholds)
    assert {(int(pair.label), int(pair.other)): pair.why_unflagged or "" for pair in judged.pairs()} == {
        pair: reason for pair, reason in wanted.items() if 2 not in pair
    }
    num_pairs = math.comb(report.num_kept, 2)
    for side in get_args(Side):
        flags, flagged = judged.flags[side], expected_flags(report, thresholds, side)
        assert {*zip(report.compared.row[flags].tolist(), report.compared.column[flags].tolist(), strict=True)} == flagged
        assert judged.scalars[f"share_{side}"] == pytest.approx(len(flagged) / num_pairs)


def test_every_reason_is_met_above() -> None:
    """But for those of other kinds of report: a bound on overlaps, few effective inputs, known pairs."""
    settings = [{}, {"outlier": 1.0}, {"min_joint_inputs": 150, "stranger": 0, "lookalike": 0}, {"stranger": 0, "lookalike": 0}]
    met = {reason for one in settings for reason in slow_reasons(report_of(improbable=[2]), replace(OPEN, **one)).values()}  # type: ignore[arg-type]
    assert {*WHY_UNFLAGGED} - met == {"error unknown", "overlap may be larger", "too few inputs", "known"}


def planted(rank: int, *, gap: float = 0.0, joint: int = 50, error: float = 0.01, effective: float = 50.0) -> GapReport:
    """45 pairs of ten labels whose overlap is their rank by cosine, apart from one, at a rank from 0."""
    pairs = Pairs.of_all(10)
    num = len(pairs)
    cosine = torch.linspace(-0.8, 0.8, num)
    overlap = torch.linspace(0.2, 0.6, num)
    overlap[rank] += gap
    joint_inputs = torch.full((num,), 50)
    joint_inputs[rank] = joint
    effective_inputs = torch.full((10,), 50.0)
    effective_inputs[int(pairs.row[rank])] = effective
    ones = torch.ones(10)
    table = PairTable.of(
        {**dict.fromkeys(RUNGS[:4], cosine), "overlap": overlap},
        link="softmax",
        pairs=pairs,
        labels=torch.arange(10),
        live=ones.bool(),
        kept=ones.bool(),
        mean_probs=ones / 10,
        sums=100 * overlap,
        joint_inputs=joint_inputs,
        effective_inputs=effective_inputs,
        num_inputs=1000,
        num_skipped=0,
    )
    spread = error * (8 / 7) ** 0.5 * torch.linspace(-1, 1, 8)[:, None] / torch.linspace(-1, 1, 8).std(correction=0) / 8**0.5
    replicates = Replicates(torch.full((8,), 125), overlap.double() + spread, (overlap, overlap))
    statistics = Statistics.of(table, replicates, common_mode_ratio=0.0, remarks={})
    assert replicates.overlap_error(overlap)[rank].item() == pytest.approx(error, rel=1e-4)
    return GapReport(statistics)


def alike() -> GapReport:
    """Of inputs that are all equal every two labels overlap fully."""
    metric = SimilarityGap(12, 4)
    W = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)) / 4
    metric.update(W, (torch.ones(300, 4) @ W.T), torch.ones(300, 4))
    return metric.report()


def reason_at(report: GapReport, rank: int, **settings: Any) -> str | None:
    verdict = judge(report.statistics, replace(Thresholds(), **settings))
    assert verdict.why_none is None
    return verdict.why_unflagged(rank)


@pytest.mark.parametrize("rank", [0, 10, 22, 39])
def test_a_stranger_is_flagged_wherever_its_cosine_is_not_among_the_top_tenth(rank: int) -> None:
    assert reason_at(planted(rank, gap=0.3), rank) is None


@pytest.mark.parametrize("rank", [41, 44])
def test_a_pair_with_one_of_the_highest_cosines_is_no_stranger(rank: int) -> None:
    """Whoever reads "stranger" expects rows that differ."""
    assert reason_at(planted(rank, gap=0.3), rank) == "cosine too high for a stranger"


@pytest.mark.parametrize("rank", [23, 30, 44])
def test_a_look_alike_is_flagged_in_the_upper_half_the_top_included(rank: int) -> None:
    assert reason_at(planted(rank, gap=-0.3), rank) is None


@pytest.mark.parametrize("rank", [5, 21])
def test_a_pair_with_a_low_cosine_is_no_look_alike(rank: int) -> None:
    assert reason_at(planted(rank, gap=-0.2), rank) == "cosine too low for a look-alike"


def test_a_gap_within_its_error_is_not_flagged() -> None:
    """The gap less 1.895 standard errors has to be beyond the threshold, not the gap alone."""
    assert reason_at(planted(20, gap=0.3, error=0.05), 20) is None
    assert reason_at(planted(20, gap=0.3, error=0.15), 20) == "within error"


def test_a_gap_whose_error_is_unknown_is_not_within_it() -> None:
    report = planted(20, gap=0.3)
    report.statistics.overlap_error[20] = math.nan
    assert reason_at(report, 20) == "error unknown"


def test_a_stranger_needs_inputs_on_which_both_labels_are_likely() -> None:
    assert reason_at(planted(20, gap=0.3, joint=5), 20) is None
    assert reason_at(planted(20, gap=0.3, joint=4), 20) == "too few joint inputs"
    assert reason_at(planted(20, gap=0.3, joint=4), 20, min_joint_inputs=4) is None
    assert reason_at(planted(30, gap=-0.3, joint=0), 30) is None, "a look-alike is one that has none"


def test_a_look_alike_needs_labels_that_are_seen() -> None:
    assert reason_at(planted(30, gap=-0.3, effective=10), 30) is None
    assert reason_at(planted(30, gap=-0.3, effective=9.9), 30) == "too few inputs"


def test_a_known_pair_is_listed_and_never_flagged() -> None:
    report = planted(20, gap=0.3)
    one, other = (str(int(labels[20])) for labels in (report.compared.row, report.compared.column))
    for known in ([[one, other]], [[other, one]], [["0", "1"], [other, one]]):
        thresholds = replace(Thresholds(), known=known)
        judged = report.judged(thresholds)
        assert {pair.why_unflagged for pair in judged.pairs() if {pair.label, pair.other} == {one, other}} == {"known"}
        assert judged.scalars["share_strangers"] == 0
    assert report.judged(replace(Thresholds(), known=[[one, "9"]])).scalars["share_strangers"] == pytest.approx(1 / 45)


def test_there_are_flags_to_be_seen() -> None:
    """The cases above are not empty."""
    shares = [report_of().judged(OPEN).scalars[f"share_{side}"] for side in ("strangers", "lookalikes")]
    assert all(0 < share < 0.5 for share in shares)


@pytest.mark.parametrize(
    ("report", "thresholds", "why"),
    [
        (report_of(num_inputs=255), Thresholds(), "255 inputs, verdicts need 256"),
        (report_of(9), Thresholds(), "36 pairs of labels, verdicts need 45"),
        (
            report_of(10, improbable=[4]),
            Thresholds(),
            "36 pairs of labels, verdicts need 45; 1 of 10 labels is too rare to count (`min_probability`)",
        ),
        (
            report_of(11, improbable=[4, 5]),
            Thresholds(),
            "36 pairs of labels, verdicts need 45; 2 of 11 labels are too rare to count (`min_probability`)",
        ),
        (report_of(num_inputs=59), OPEN, "59 inputs, verdicts need 60, 5 for each of 12 labels"),
        (report_of(num_inputs=220), OPEN, "7 groups of inputs, 8 are needed"),
        (report_of(num_inputs=300), Thresholds(min_reliability=1), "reliability 0.98, verdicts need 1"),
        (
            alike(),
            Thresholds(min_reliability=0),
            "reliability is unknown: all pairs have the same overlap in one half of the inputs",
        ),
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
    """A known pair with a large gap stands behind a flagged one with a smaller gap."""
    first = [report_of().judged(OPEN).pairs(side)[0] for side in get_args(Side)]
    report = report_of().judged(replace(OPEN, known=[[pair.label, pair.other] for pair in first]))
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
    assert f"\nFlagged: {counts['strangers']} strangers, {counts['lookalikes']} look-alikes (" in text
    assert re.search(r"^label .* flag$", text, flags=re.MULTILINE)
    assert len(re.findall(r" stranger$", text, flags=re.MULTILINE)) == min(5, counts["strangers"])
    assert report.to_markdown(top=100).count("| stranger ") == counts["strangers"]
    assert report.to_markdown(top=100).count("| look-alike ") == counts["lookalikes"]


def test_one_of_a_kind_is_counted_in_the_singular() -> None:
    gaps = sorted((pair.gap - 1.895 * pair.overlap_error for pair in report_of().pairs()), reverse=True)
    report = report_of().judged(replace(OPEN, stranger=(gaps[0] + gaps[1]) / 2, lookalike=1))
    assert "\nFlagged: 1 stranger, 0 look-alikes (" in str(report)


@pytest.mark.parametrize(
    "outlier", [0, 3], ids=["the thresholds, where they are all", "or residual scales, where these are more"]
)
def test_how_large_a_gap_has_to_be_is_printed(outlier: float) -> None:
    """max(threshold, `outlier` · residual scale) on either side: without it, "within error" cannot be checked by eye."""
    report = report_of().judged(replace(OPEN, stranger=0.01, lookalike=0.02, outlier=outlier))
    above, below = (max(threshold, outlier * report.scalars["residual_scale"]) for threshold in (0.01, 0.02))
    assert f" look-alikes (gaps above {above:.3f} or below -{below:.3f} by more than their error)\n" in str(report)


def test_without_flags_there_is_no_column_of_them() -> None:
    """Not judged, or no verdict, which is said."""
    cases = {
        "": report_of(),
        "No pair is flagged: 100 inputs, verdicts need 256": report_of(num_inputs=100).judged(Thresholds()),
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


def test_five_effective_inputs_are_too_few_for_a_look_alike() -> None:
    """The proof that THEORY §5's 5 does not do: 100 labels, overlaps that follow from cosines alone, five inputs a label."""
    found = Counter[int]()
    for seed in range(3):
        world = make_world("sparse", 100, seed)
        for repeat in range(12):
            draw = world.draw(500, generator("effective inputs", seed, repeat))
            metric = SimilarityGap(100, world.unembedding.shape[1])
            metric.update(world.unembedding, draw.logits, draw.embedding)
            for least in (5, MIN_EFFECTIVE):
                with mock.patch.object(verdicts, "MIN_EFFECTIVE", least):
                    found[least] += int(metric.report().judged(Thresholds()).flags["lookalikes"].sum())
    assert found[5] >= 5
    assert found[MIN_EFFECTIVE] <= 1
