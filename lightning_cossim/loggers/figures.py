"""Draw a report as pictures: heatmaps of pairs of labels, and a scatter of similarity against overlap.

Pixels are (H, W, 3), uint8. W is 350, the width at which TensorBoard shows images; H is at most 350. The module does not use
pyplot: pyplot keeps every figure that it makes, and its state belongs to the user.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.functional.similarities import GAP, QUANTITIES
from lightning_cossim.report import GapReport, Pair
from lightning_cossim.report.plots import MAX_NAMES, draw_image, shown_names
from lightning_cossim.report.tables import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LOOKALIKES", "MAX_LABELS", "STRANGERS", "Pixels", "heatmaps", "scatter"]

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

MAX_LABELS: Final = 100
"""Largest number of labels in a heatmap."""
_WIDTH, _DPI = 3.5, 100
_DENSE: Final = 20_000
"""A scatter of more pairs than this shows their density instead of points."""
_NAMED: Final = 3
"""Number of strangers, and of look-alikes, that a scatter names."""
STRANGERS, LOOKALIKES = "#d55e00", "#0072b2"
"""Orange and blue of the Okabe-Ito palette, which color-blind readers can distinguish. The markers differ too."""


def heatmaps(report: GapReport, order: Sequence[int]) -> Iterator[tuple[str, Pixels]]:
    """Key and pixels of each heatmap: the cosine that gaps refer to, the overlap, and the gap.

    A quantity without any finite value has no heatmap.

    Args:
        report: the report with the values.
        order: the labels to show, as places in the report.
    """
    cosine = report.ladder.cosine
    index = torch.tensor(list(order), dtype=torch.long)
    names = [report.names[label] for label in order]
    num_labels = report.num_live if report.sampling else len(report.names)
    note = _left_out(len(order), num_labels, int(report.kept[index].sum()))
    for name in (cosine, "overlap", "gap"):
        matrix = report.matrix(name, index)
        if matrix.isfinite().any():
            yield name, _pixels(partial(_heatmap, matrix=matrix, names=names, title=_title(name), note=note))


def scatter(report: GapReport) -> Pixels:
    """Pixels of a scatter of all pairs: cosine (x) against overlap (y), the expected overlap, and the band of the thresholds."""
    return _pixels(partial(_scatter, report=report))


def _title(key: str) -> str:
    """The title of a heatmap."""
    return "Gap: overlap minus expected" if key == GAP.key else QUANTITIES[key].title


def _pixels(draw: Callable[["Figure"], None]) -> Pixels:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _WIDTH), dpi=_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    draw(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _left_out(num_shown: int, num_labels: int, num_compared: int) -> str:
    """The note above a heatmap: how many labels it shows and names, if not all have names, and what gray means; else empty."""
    every = -(-num_shown // MAX_NAMES)
    some = f"{num_shown} of {num_labels} labels" if num_shown < num_labels else f"{num_labels} labels"
    said = [some, f"1 in {every} named"] if every > 1 else []
    if num_compared < num_shown:
        said.append("gray: not compared")
    return ", ".join(said)


def _heatmap(figure: "Figure", matrix: Tensor, names: Sequence[str], title: str, note: str) -> None:
    """Draw a heatmap. The margin for names fits the longest name, and the figure is as low as possible.

    Names are drawn as texts, not as tick labels: matplotlib takes ten times as long to make a tick.
    """
    size = 10 if len(names) <= 12 else 8
    places, texts = shown_names(names)
    room = 0.12 + max((_width(figure, text, size) for text in texts), default=0)
    side = _WIDTH - room - 0.6
    figure.set_figheight(side + room + (0.44 if note else 0.3))
    axes = _bare_axes(figure, (room, room, side, side))
    image = draw_image(axes, matrix)
    axes.set_title(title, fontsize=10, pad=14 if note else 4)
    axes.annotate(note, (0.5, 1), (0, 3), "axes fraction", "offset points", fontsize=7, color="0.35", ha="center", va="bottom")
    near, far = -0.5 - 0.05 * len(names) / side, len(names) - 0.5 + 0.05 * len(names) / side
    for place, text in zip(places, texts, strict=True):
        axes.text(near, place, text, fontsize=size, ha="right", va="center_baseline", parse_math=False)
        axes.text(place, far, text, fontsize=size, ha="center", va="top", rotation=90, parse_math=False)
    _color_bar(figure, image, (room + side + 0.08, room, 0.12, side))


def _color_bar(figure: "Figure", image: Any, place: tuple[float, float, float, float]) -> None:
    """Draw the colors of an image, with the lowest, the middle and the highest value."""
    low, high = image.get_clim()
    axes = _bare_axes(figure, place)
    axes.imshow(np.linspace(1, 0, 200)[:, None], cmap=image.cmap, aspect="auto", extent=(0, 1, low, high), vmin=0, vmax=1)
    for value in (low, (low + high) / 2, high):
        axes.text(1.4, value, f"{value:.2g}".replace("-", "\N{MINUS SIGN}"), fontsize=8, va="center_baseline")


def _bare_axes(figure: "Figure", inches: tuple[float, float, float, float]) -> "Axes":
    """Axes without ticks at (left, bottom, width, height) in inches."""
    left, bottom, width, height = inches
    all_width, all_height = figure.get_size_inches()
    place = (left / all_width, bottom / all_height, width / all_width, height / all_height)
    return figure.add_axes(place, xticks=[], yticks=[])


def _width(figure: "Figure", text: str, size: float) -> float:
    """The width of a text in inches."""
    shown = figure.text(0, 0, text, fontsize=size, parse_math=False)
    extent = shown.get_window_extent()
    shown.remove()
    return float(extent.width) / _DPI


def _scatter(figure: "Figure", report: GapReport) -> None:
    cosine = report.ladder.cosine
    s_P, o_P, e_P = report.rungs[cosine], report.rungs["overlap"], report.expected_curve
    known = s_P.isfinite() & o_P.isfinite()
    s, o, e = (values[known].numpy() for values in (s_P, o_P, e_P))
    axes = figure.add_axes((0.155, 0.13, 0.82, 0.695))
    if len(s) > _DENSE:
        axes.hexbin(s, o, gridsize=45, bins="log", cmap="Greys", mincnt=1, linewidths=0.1)
    else:
        axes.plot(s, o, ".", color="0.45", markersize=6 if len(s) < 500 else 3, alpha=0.8 if len(s) < 500 else 0.5, zorder=2)
    limits, why = report.verdict.limits, report.verdict.why_none
    if np.isfinite(e).any():
        order = np.argsort(s)
        axes.plot(s[order], e[order], color="0", linewidth=1.2, label="expected overlap", zorder=3)
        if limits:
            low, high = e[order] - limits["lookalikes"], e[order] + limits["strangers"]
            axes.fill_between(s[order], np.maximum(low, 0), high, color="0.9", linewidth=0, label="not flagged", zorder=0)
    if report.flags:
        _draw_flagged(axes, report, cosine)
    axes.set_xlabel(f"{_title(cosine).lower()}{' (a sample of the pairs)' if report.sampling else ''}", fontsize=9)
    axes.set_ylabel("probability overlap", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_ylim(bottom=-0.02 * max(1e-3, float(o.max(initial=0))))
    agreement = report.rank_agreement[cosine]
    found = "Cosine against overlap" if math.isnan(agreement) else f"Rank agreement with the overlap: {agreement:.2f}"
    title = found if why is None else f"No verdict: {why}"
    figure.text(0.565, 0.985, title, fontsize=10 if why is None else 8, ha="center", va="top")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="upper center", bbox_to_anchor=(0.565, 0.955), ncols=2, fontsize=8, frameon=False, columnspacing=1)


def _draw_flagged(axes: "Axes", report: GapReport, cosine: str) -> None:
    """Draw strangers as orange triangles that point up, look-alikes as blue triangles that point down; name the largest."""
    marks: dict[Any, tuple[str, str, str]] = {
        "strangers": ("^", STRANGERS, "strangers"),
        "lookalikes": ("v", LOOKALIKES, "look-alikes"),
    }
    places: list[float] = []
    for side, (mark, color, title) in marks.items():
        pairs = [pair for pair in report.pairs(side, top=int(report.flags[side].sum())) if pair.flag]
        if pairs:
            x, y = [pair.similarities[cosine] for pair in pairs], [pair.overlap for pair in pairs]
            size = 6 if len(pairs) <= 50 else 4 if len(pairs) <= 500 else 2
            label = f"{len(pairs)} {title if len(pairs) > 1 else title[:-1]}"
            axes.plot(x, y, mark, color=color, markersize=size, markeredgewidth=0, label=label, zorder=4)
        for pair in pairs[:_NAMED]:
            _name(axes, pair, pair.similarities[cosine], color, places)


def _name(axes: "Axes", pair: Pair, x: float, color: str, places: list[float]) -> None:
    """Write a pair's names beside its marker, on the side with more space and without covering earlier names."""
    from matplotlib.patheffects import withStroke

    low, high = axes.get_xlim()
    right = x < (low + high) / 2
    bottom, top = axes.get_ylim()
    line = (top - bottom) / 26
    y = pair.overlap
    while any(abs(y - other) < line for other in places):
        y += line
    places.append(y)
    text = f"{shortened(pair.label)} / {shortened(pair.other)}"
    shift = (high - low) / 40
    halo = [withStroke(linewidth=2.5, foreground="1")]
    figure: Any = axes.figure
    width = _width(figure, text, 8) / _WIDTH / axes.get_position().width * (high - low)
    where = min(x + shift, high - width) if right else max(x - shift, low + width)  # stay inside the axes
    align: Any = "left" if right else "right"
    axes.text(where, y, text, ha=align, va="center", fontsize=8, color=color, parse_math=False, path_effects=halo, zorder=5)
