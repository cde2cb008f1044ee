"""Evidence that never was: some inputs behind every flagged pair of a report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lightning_cossim.report import GapReport
from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, PairsWithEvidence, Ranking, View
from tests.report.test_verdicts import OPEN, report_of
from tests.toys import altered


def pixels(height: int = 8, width: int = 8, seed: int = 0) -> Any:
    """Noise, which compresses least."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def examples(rows: tuple[int, int], number: int = 3, *, target: int | None = None, **fields: Any) -> tuple[Example, ...]:
    """Inputs with the indices 10, 11, … in the dataset; one half of them has the one label as the most likely one."""
    sure = [(0.75, 0.125) if place < (number + 1) // 2 else (0.125, 0.75) for place in range(number)]
    return tuple(
        Example(InputReference(0, place, 1, None, 10 + place), one, rows[int(one[1] > one[0])], target, **fields)
        for place, one in enumerate(sure)
    )


def judged(names: Sequence[str] | None = None, num_labels: int = 12) -> GapReport:
    """A report with strangers and look-alikes."""
    report = report_of(num_labels)
    return (report if names is None else altered(report, names=tuple(names))).judged(OPEN)


def flagged_rows(report: GapReport) -> list[tuple[int, int]]:
    return [report.statistics.table.rows_of(place) for place in report.flagged().tolist()]


def with_inputs(report: GapReport, number: int = 3, **fields: Any) -> GapReport:
    """The report, with so many inputs in each ranking of each flagged pair."""
    found = []
    for rows in flagged_rows(report):
        some: dict[Ranking, tuple[Example, ...]] = {
            "overlap": examples(rows, number, **fields),
            "confident": examples(rows, number, **fields),
            "suspect_label": examples(rows, 1, **fields),
        }
        one, other = (report.context.name_of(row) for row in rows)
        found.append(PairEvidence(rows, (one, other), None, some))
    return report.with_evidence(PairsWithEvidence(found))


def with_errors(report: GapReport, errors: tuple[int, int], shares: tuple[float, float, float]) -> GapReport:
    """The report, as if targets were known; every pair has the same errors."""
    number = len(report.compared)
    return altered(
        report, errors=torch.tensor([errors] * number).T, joint_shares=torch.tensor([shares] * number, dtype=torch.float32).T
    )


def a_text(text: str) -> View:
    return View(text=text)
