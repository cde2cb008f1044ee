"""Wanted pairs: against a slow choice, pair by pair."""

from dataclasses import replace

import pytest

from lightning_cossim.report import GapReport
from lightning_cossim.report.wanted_pairs import wanted_pairs
from tests.report.made_evidence import flagged_rows, judged
from tests.report.test_verdicts import OPEN, report_of


def slow(report: GapReport, most: int) -> list[tuple[int, int]]:
    """In the words of the docstring, from `Pair`s."""
    pairs = report.pairs()
    flagged = sorted((pair for pair in pairs if pair.flag), key=lambda pair: -abs(pair.gap))
    known = sorted((pair for pair in pairs if pair.why_unflagged == "known"), key=lambda pair: -abs(pair.gap))
    more = [pair for pair in pairs if pair.gap > 0][:12]
    less = [pair for pair in reversed(pairs) if pair.gap < 0][:12]
    heavy = sorted(pairs, key=lambda pair: -pair.mass)
    rows = [(int(pair.label), int(pair.other)) for pair in (*flagged, *known, *more, *less, *heavy)]
    return list(dict.fromkeys((min(pair), max(pair)) for pair in rows))[:most]


@pytest.mark.parametrize("most", [0, 1, 5, 30, 60, 200])
@pytest.mark.parametrize("num_labels", [1, 2, 9, 25])
def test_the_most_important_pairs_come_first(num_labels: int, most: int) -> None:
    known = [("0", "1"), ("3", "5")] if num_labels > 6 else []
    report = report_of(num_labels, improbable=[2] if num_labels > 6 else []).judged(replace(OPEN, known=known))
    found = wanted_pairs(report, most)
    assert found == slow(report, most)
    assert len(found) == len({*found}) <= most
    assert all(one < other and 2 not in (one, other) for one, other in found) or num_labels <= 6


def test_a_known_pair_is_wanted_although_its_gap_is_small_beside_others() -> None:
    """A pair that would be flagged if you did not know it comes right after the flagged ones."""
    first = flagged_rows(judged(num_labels=25))[-1]
    report = report_of(25).judged(replace(OPEN, known=[tuple(map(str, first))]))
    flagged = flagged_rows(report)
    assert first not in flagged
    assert wanted_pairs(report, len(flagged) + 1)[-1] == first


def test_a_report_that_is_not_judged_has_wanted_pairs_too() -> None:
    assert len(wanted_pairs(report_of(25))) == 200
    assert wanted_pairs(report_of(25)) == slow(report_of(25), 200)


def test_a_report_without_inputs_wants_nothing() -> None:
    """There are no gaps and no mass."""
    assert wanted_pairs(report_of(12, num_inputs=0)) == []
