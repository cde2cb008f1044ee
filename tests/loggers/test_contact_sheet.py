"""The contact sheet: which pictures it has, that they are crisp and equal in size, and how large it may become."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_cossim.loggers.contact_sheet import MAX_BYTES, contact_sheet
from lightning_cossim.report import GapReport
from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, PairsWithEvidence, View
from tests.report.made_evidence import a_text, flagged_rows, judged, pixels, with_inputs

WIDE = [f"{number} {'W' * 60}" for number in range(12)]


def noisy(height: int, width: int, names: Sequence[str] | None = None, target: int | None = 0) -> GapReport:
    """Eight different pictures of noise behind every flagged pair."""
    report, found = judged(names), []
    for number, rows in enumerate(flagged_rows(report)):
        some = tuple(
            Example(
                InputReference(index=place), (0.5, 0.25), rows[0], target, View(picture=pixels(height, width, 8 * number + place))
            )
            for place in range(8)
        )
        one, other = (report.context.name_of(row) for row in rows)
        found.append(PairEvidence(rows, (one, other), None, {"overlap": some, "confident": some}))
    return report.with_evidence(PairsWithEvidence(found))


def drawn(report: GapReport) -> Any:
    """The pixels of the sheet."""
    sheet = contact_sheet(report)
    assert sheet is not None
    return sheet


def size_of(sheet: Any) -> int:
    """The bytes of a PNG, as TensorBoard writes it."""
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, format="PNG")
    return len(file.getvalue())


def places_of(sheet: Any, color: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of each rectangle of a color, row by row."""
    found, left_over = [], (sheet == color).all(axis=2)
    while left_over.any():
        top, left = np.argwhere(left_over)[0].tolist()
        width = int(np.argmin(np.append(left_over[top, left:], False)))
        height = int(np.argmin(np.append(left_over[top:, left], False)))
        assert left_over[top : top + height, left : left + width].all()
        left_over[top : top + height, left : left + width] = False
        found.append((top, left, height, width))
    return found


def test_a_sheet_has_twelve_pairs_of_eight_equal_cells() -> None:
    """Left-aligned in columns, below one another in rows."""
    report = with_inputs(judged(), 11, view=View(picture=np.full((8, 8, 3), (0, 200, 0), np.uint8)))
    cells = places_of(drawn(report), (0, 200, 0))
    assert len(flagged_rows(report)) > 12
    assert len(cells) == 12 * 8
    assert {(height, width) for _, _, height, width in cells} == {(96, 96)}
    assert len({top for top, *_ in cells}) == 12
    assert len({left for _, left, *_ in cells}) == 8


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 8), (96, 96)), ((28, 28), (84, 84)), ((32, 16), (96, 48)), ((64, 64), (64, 64)), ((64, 1), (64, 1))]
)
def test_pictures_are_enlarged_by_a_whole_number(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Each pixel becomes a square of its color."""
    report = with_inputs(judged(), 1, view=View(picture=np.full((*shape, 3), (0, 200, 0), np.uint8)))
    assert {(height, width) for _, _, height, width in places_of(drawn(report), (0, 200, 0))} == {size}
    report = noisy(8, 8)
    sheet, first = drawn(report), pixels(8, 8, 0).repeat(12, axis=0).repeat(12, axis=1)
    assert any(np.array_equal(sheet[top : top + 96, 16:112], first) for top in range(40, 120))


@pytest.mark.parametrize("side", [1, 14, 15, 28, 33, 64, 200])
def test_a_sheet_has_at_most_300_kilobytes(side: int) -> None:
    """Of noise, under the widest names."""
    sheet = drawn(noisy(side, side, WIDE))
    assert size_of(sheet) <= MAX_BYTES == 300_000
    assert 700 <= sheet.shape[1] <= 1000


def test_a_sheet_that_was_too_large_still_shows_its_pictures() -> None:
    """Coarser: two halves of different brightness stay apart."""
    report = noisy(64, 64)
    for pair in report.evidence.pairs:
        for example in pair.examples["overlap"]:
            assert example.view is not None
            assert example.view.picture is not None
            example.view.picture[:32] //= 4
    sheet = drawn(report)
    tops = [
        top
        for top in range(40, 200)
        if sheet[top : top + 32, 16:80].mean() < 60 and sheet[top + 32 : top + 64, 16:80].mean() > 90
    ]
    assert tops


def test_texts_stay_in_their_columns() -> None:
    """Between two columns there is white, under the widest names too."""
    sheet = drawn(noisy(8, 8, WIDE))
    for column in range(1, 8):
        left = 16 + column * 108
        below = sheet[56 + 26 + 97 : 56 + 26 + 96 + 45, left - 10 : left - 1]
        assert (below == 255).all()
    assert (sheet[:, :14] == 255).all()
    assert (sheet[:, -14:] == 255).all()


def test_references_stand_below_the_targets() -> None:
    """The last line of a cell is where the input is: another index changes the sheet there, and nowhere else."""
    report = noisy(8, 8)
    moved = [
        replace(pair, examples={ranking: tuple(map(elsewhere, some)) for ranking, some in pair.examples.items()})
        for pair in report.evidence.pairs
    ]
    one, other = drawn(report), drawn(report.with_evidence(PairsWithEvidence(moved)))
    height = (len(one) - 56) // 12
    changed = {(row - 56) % height for row in np.flatnonzero((one != other).any(axis=(1, 2))).tolist()}
    assert changed
    assert min(changed) > 26 + 96 + 3 * 15
    assert max(changed) <= 26 + 96 + 4 * 15 + 4  # letters reach a little below their line


def elsewhere(example: Example) -> Example:
    return replace(example, reference=InputReference(index=4_000 + (example.reference.index or 0)))


def test_without_targets_a_sheet_is_lower() -> None:
    assert drawn(noisy(8, 8)).shape[0] - drawn(noisy(8, 8, target=None)).shape[0] == 12 * 15


def test_an_input_without_a_picture_is_an_empty_cell() -> None:
    report = noisy(8, 8)
    first, *rest = report.evidence.pairs
    some = first.examples["overlap"]
    blind = Example(InputReference(index=1), (float("nan"), 1.0), 0)
    changed = PairEvidence(first.labels, first.names, None, {"overlap": (blind, *some[1:]), "confident": (blind, *some[1:])})
    sheet = drawn(report.with_evidence(PairsWithEvidence([changed, *rest])))
    assert [cell[1:] for cell in places_of(sheet, (238, 238, 238)) if cell[2:] == (96, 96)] == [(16, 96, 96)]


def test_there_is_no_sheet_without_pictures_or_without_flagged_pairs() -> None:
    assert contact_sheet(judged()) is None
    assert contact_sheet(with_inputs(judged(), view=a_text("text"))) is None
    assert contact_sheet(with_inputs(judged(), view=View(picture=np.zeros((0, 8, 3), np.uint8)))) is None
    report = judged()
    rows = flagged_rows(report)
    other = next(pair for place in range(66) if (pair := report.statistics.table.rows_of(place)) not in rows)
    some = {"overlap": (Example(InputReference(), (0.5, 0.5), 0, view=View(picture=pixels())),)}
    assert contact_sheet(report.with_evidence(PairsWithEvidence([PairEvidence(other, ("a", "b"), "stranger", some)]))) is None  # type: ignore[arg-type]


HOSTILE = ["$\\frac{1}{2}$", "$", "two\nlines", "", "\x1b[31m", "_under_", "%s {x}", "שלום", "\u202ex", "é", "x" * 5000, "\ud800"]


def test_hostile_names_are_drawn_as_text() -> None:
    """Without a warning: the font has all of these characters."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(noisy(8, 8, HOSTILE))


def test_the_pictures_of_the_user_stay_as_they_are() -> None:
    report = noisy(64, 64)
    views = [example.view for pair in report.evidence.pairs for example in pair.examples["overlap"]]
    before = [view.picture.copy() for view in views if view is not None and view.picture is not None]
    first, second = drawn(report), drawn(report)
    assert np.array_equal(first, second)
    assert all(
        np.array_equal(view.picture, old)
        for view, old in zip(views, before, strict=True)
        if view is not None and view.picture is not None
    )
