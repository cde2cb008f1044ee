"""Draw a contact sheet: the pictures of inputs behind the first flagged pairs, with their probabilities.

Texts are drawn by matplotlib's renderer, in the font of the other figures. Pictures are copied pixel by pixel, so that they stay
crisp. A sheet is at most 300 KB as PNG. Coordinates are pixels from the top left.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import Any, Final

import numpy as np

from lightning_cossim.loggers.figures import LOOKALIKES, STRANGERS, Pixels
from lightning_cossim.report import GapReport, Pair
from lightning_cossim.report.evidence import Example, PairEvidence
from lightning_cossim.report.evidence_records import label_name
from lightning_cossim.report.pair_words import FLAGS_IN_WORDS
from lightning_cossim.report.references import foremost, has_loaders, in_words
from lightning_cossim.report.tables import shortened

__all__ = ["MAX_BYTES", "contact_sheet"]

MAX_BYTES: Final = 300_000
"""Largest size of a sheet as PNG."""
_WITH_ALPHA: Final = 1.04
"""A PNG with an opaque fourth channel, which is what matplotlib writes, is larger by at least this factor."""
_PAIRS, _INPUTS = 12, 8
"""Largest number of pairs, and of inputs of each."""
_DPI: Final = 100
_SIDE: Final = 96
"""Pictures are enlarged by a whole number to at most this many pixels."""
_MARGIN, _GAP = 16, 12
_NARROWEST: Final = 84
"""Least width for the texts below a picture."""
_HEADER, _TITLE, _LINE, _BETWEEN = 56, 26, 15, 18
"""Heights of the header, of the title of a pair, of a line of text, and of the space between two pairs."""
_DETAIL: Final = ((_SIDE, 1), (_SIDE, 8), (32, 1), (32, 8), (24, 8), (16, 8))
"""How pictures lose detail until the sheet is small enough: their largest side, and how many values of a color become one."""
_SURELY_SMALL: Final = 60_000
"""Pictures of up to so many bytes, before compression, always fit."""
_COLORS: Final = {"stranger": STRANGERS, "look-alike": LOOKALIKES}
_LONGEST: Final = 80
"""Largest number of characters of a name."""
_INK, _PALE, _EMPTY = "0.1", "0.4", 238


def contact_sheet(report: GapReport) -> Pixels | None:
    """The pictures of the inputs behind the first twelve flagged pairs, eight inputs each.

    Below each picture are the probabilities of both labels, the target if it is known (bold where the model predicts another
    label), and the reference of the input. Strangers show the inputs with most overlap, look-alikes confident inputs of either
    label.

    Args:
        report: a judged report with evidence.

    Returns:
        (H, W, 3), uint8; None if no flagged pair has a picture.
    """
    rows = [row for row in _rows(report) if any(_picture(example) is not None for example in row.examples)][:_PAIRS]
    if not rows:
        return None
    pixels, cells = _written(report, rows)
    is_small = sum(cell.picture.size for cell in cells if cell.picture is not None) <= _SURELY_SMALL
    for longest, merged in _DETAIL:
        for cell in cells:
            _paste(cell, pixels, longest, merged)
        if is_small or _num_bytes(pixels) <= _WITH_ALPHA * MAX_BYTES:
            break
    return pixels


@dataclass(frozen=True)
class _Row:
    """A flagged pair and the inputs that the sheet shows."""

    pair: Pair
    evidence: PairEvidence
    examples: tuple[Example, ...]


def _rows(report: GapReport) -> Iterator[_Row]:
    for evidence in report.evidence.pairs:
        pair = report.pair_of(evidence.labels) if evidence.flag else None
        if pair is not None:
            yield _Row(pair, evidence, foremost(evidence, _INPUTS))


def _picture(example: Example) -> Pixels | None:
    picture: Any = None if example.view is None else example.view.picture
    return picture if picture is not None and picture.size else None


def _num_bytes(pixels: Pixels) -> int:
    """The size of a picture as PNG with an opaque fourth channel."""
    from matplotlib.image import imsave

    file = BytesIO()
    imsave(file, pixels, format="png")
    return len(file.getvalue())


@dataclass(frozen=True)
class _Cell:
    """The square of a sheet for one picture."""

    top: int
    left: int
    side: int
    picture: Pixels | None


def _written(report: GapReport, rows: Sequence[_Row]) -> tuple[Pixels, list[_Cell]]:
    """The sheet with its texts, and its cells, which are all empty."""
    pictures = [[_picture(example) for example in row.examples] for row in rows]
    side = max(_shown_size(picture) for some in pictures for picture in some if picture is not None)
    step = max(side, _NARROWEST) + _GAP
    with_targets = any(example.target is not None for row in rows for example in row.examples)
    height_of_row = _TITLE + side + (4 if with_targets else 3) * _LINE + _BETWEEN
    with_loader = has_loaders(report.evidence)
    paper = _Paper(2 * _MARGIN + _INPUTS * step - _GAP, _HEADER + len(rows) * height_of_row)
    _draw_header(paper, with_targets=with_targets)
    cells = []
    for number, (row, some) in enumerate(zip(rows, pictures, strict=True)):
        top = _HEADER + number * height_of_row
        _draw_title(paper, row, top)
        for column, (example, picture) in enumerate(zip(row.examples, some, strict=True)):
            left = _MARGIN + column * step
            cells.append(_Cell(top + _TITLE, left, side, picture))
            baseline = _draw_texts(paper, report, row.evidence, example, left, top + _TITLE + side, max(side, _NARROWEST))
            _draw_pale(paper, in_words(example.reference, with_loader=with_loader), left, baseline, max(side, _NARROWEST))
    return paper.pixels(), cells


def _shown_size(picture: Pixels) -> int:
    """The longer side of a picture that is enlarged by a whole number or, if it is too large, cut down to size."""
    longer = max(picture.shape[:2])
    return longer * max(1, _SIDE // longer) if longer <= _SIDE else _SIDE


def _paste(cell: _Cell, pixels: Pixels, longest: int, merged: int) -> None:
    """Copy the picture of a cell into the middle of its square.

    Args:
        cell: the square and its picture.
        pixels: the sheet, which changes.
        longest: largest side of the picture before it is enlarged.
        merged: this many neighboring values of a color become one.
    """
    square = pixels[cell.top : cell.top + cell.side, cell.left : cell.left + cell.side]
    square[:] = _EMPTY
    if cell.picture is None:
        return
    fitting = cell.side // -(-cell.side // longest)  # so that a whole number of pixels fills the square
    values = np.floor(_reduced(cell.picture, fitting) / merged) * merged + (merged - 1) / 2
    times = cell.side // max(values.shape[:2])
    shown = values.round().astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
    height, width, _ = shown.shape
    top, left = (cell.side - height) // 2, (cell.side - width) // 2
    square[top : top + height, left : left + width] = shown


def _reduced(picture: Pixels, longest: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A picture whose sides are at most `longest`: each pixel is the mean of the pixels that it stands for."""
    values = picture.astype(np.float64)
    ratio = min(1.0, longest / max(picture.shape[:2]))
    for axis in (0, 1):
        length = picture.shape[axis]
        number = max(1, round(length * ratio))
        starts = np.arange(number) * length // number
        counts = np.diff(np.append(starts, length))
        values = np.add.reduceat(values, starts, axis=axis) / np.expand_dims(counts, (1 - axis, 2))
    return values


def _draw_header(paper: "_Paper", *, with_targets: bool) -> None:
    target = ", the target (bold if another label was predicted)" if with_targets else ""
    lines = [
        "Strangers show the inputs that add most to the overlap. Look-alikes show confident inputs of either label.",
        f"Below each input are the probabilities of both labels{target}, and where the input is.",
    ]
    for number, line in enumerate(lines):
        paper.write(line, _MARGIN, 22 + number * _LINE, 8, _PALE)


def _draw_title(paper: "_Paper", row: _Row, top: int) -> None:
    """The names in bold, the flag in its color, and on the right the overlap and the expected overlap."""
    pair, baseline = row.pair, top + 14
    assert pair.flag is not None
    numbers = f"overlap {pair.overlap:.2f}, expected {pair.expected_overlap:.2f}"
    flag = FLAGS_IN_WORDS[pair.flag]
    right = paper.width - _MARGIN - paper.width_of(numbers, 9)
    room = right - _MARGIN - paper.width_of(flag, 9) - 32
    names = paper.fitted(lambda most: f"{shortened(pair.label, most)} / {shortened(pair.other, most)}", room, 10, bold=True)
    paper.write(names, _MARGIN, baseline, 10, _INK, bold=True)
    paper.write(flag, _MARGIN + paper.width_of(names, 10, bold=True) + 12, baseline, 9, _COLORS[pair.flag])
    paper.write(numbers, right, baseline, 9, _INK)


def _draw_texts(
    paper: "_Paper", report: GapReport, evidence: PairEvidence, example: Example, left: int, top: int, width: int
) -> int:
    """The probabilities and the target of an input: names on the left, numbers on the right. Returns the next baseline."""
    baseline = top + _LINE
    for name, probability in zip(evidence.names, example.probabilities, strict=True):
        number = _short(probability)
        of_number = paper.width_of(number, 8)
        shown = paper.fitted(partial(shortened, name), width - of_number - 5, 8)
        paper.write(shown, left, baseline, 8, _PALE)
        paper.write(number, left + width - of_number, baseline, 8, _INK)
        baseline += _LINE
    target = label_name(report, example.target)
    if target is not None:
        is_wrong = example.target != example.predicted
        shown = paper.fitted(partial(shortened, f"target {target}"), width, 8, bold=is_wrong)
        paper.write(shown, left, baseline, 8, _INK if is_wrong else _PALE, bold=is_wrong)
        baseline += _LINE
    return baseline


def _draw_pale(paper: "_Paper", text: str, left: int, baseline: int, width: int) -> None:
    """A text that is shortened to a width."""
    paper.write(paper.fitted(partial(shortened, text), width, 8), left, baseline, 8, _PALE)


def _short(probability: float) -> str:
    """A probability with two decimals, without its zero."""
    if math.isnan(probability):
        return "-"
    return f"{probability:.2f}".removeprefix("0")


class _Paper:
    """A white page to write on."""

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        self.width, self._height = width, height
        renderer: Any = RendererAgg
        self._renderer = renderer(width, height, _DPI)
        self._widths: dict[tuple[str, float, bool], float] = {}

    def write(self, text: str, left: float, baseline: float, size: float, color: str, *, bold: bool = False) -> None:
        """Write a text on one line."""
        pen = self._renderer.new_gc()
        pen.set_foreground(color)
        self._renderer.draw_text(pen, left, baseline, text, _font(size, bold=bold), 0)

    def fitted(self, text_of: Callable[[int], str], width: float, size: float, *, bold: bool = False) -> str:
        """The longest text that fits into a width. `text_of` returns the text whose names have at most so many characters."""
        longest = max(
            1, bisect_right(range(2, _LONGEST), width, key=lambda most: self.width_of(text_of(most), size, bold=bold)) + 1
        )
        return text_of(longest)

    def width_of(self, text: str, size: float, *, bold: bool = False) -> float:
        """The width of a text in pixels."""
        key = text, size, bold
        if key not in self._widths:
            self._widths[key] = self._renderer.get_text_width_height_descent(text, _font(size, bold=bold), ismath=False)[0]
        return self._widths[key]

    def pixels(self) -> Pixels:
        """The page as it is now: (H, W, 3), uint8. Letters have six shades, which halves the bytes of the texts."""
        drawn = np.asarray(self._renderer.buffer_rgba()).astype(np.uint16)
        alpha = (drawn[..., 3:] + 25) // 51 * 51
        found: Pixels = ((drawn[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
        return found


@cache
def _font(size: float, *, bold: bool) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=size, weight="bold" if bold else "normal")
