"""Plots on matplotlib Axes: heatmaps of label pairs, bars and curves, for `plot()` of metrics and for loggers.

matplotlib is imported at the first plot, since its import takes a third of a second. Names are drawn literally: `$` in a name
does not start a formula. Shapes: L labels, S steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.report.tables import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MAX_NAMES",
    "axes_for",
    "draw_bars",
    "draw_curves",
    "draw_heatmap",
    "draw_image",
    "last_matrix",
    "series",
    "shown_names",
]

MAX_NAMES: Final = 20
"""Maximum number of names on an axis. With more labels only every second, third, ... label is named."""
_OF_COMPUTE: Final = "Pass what `compute` returns."
_MISSING: Final = "0.85"
"""The gray of entries without a value: the diagonal, and pairs that are not compared or do not count."""


def draw_heatmap(ax: "Axes", matrix: Tensor, names: Sequence[str], *, title: str) -> Any:
    """Draw a matrix with the names of its labels: red above zero, white at zero, blue below zero, gray without a value.

    The diagonal is left out, since each label equals itself. The color scale ends at the largest absolute value. With more than
    20 labels it ends at the 99 % quantile instead, so that one extreme pair does not make all others pale.

    Args:
        ax: the axes to draw on.
        matrix: (L, L), NaN for missing values.
        names: (L,), one for each label.
        title: the title of the axes.

    Returns:
        The image, for a color bar.
    """
    image = draw_image(ax, matrix)
    places, texts = shown_names(names)
    ax.set_xticks(places, texts, rotation=90, fontsize=8, parse_math=False)
    ax.set_yticks(places, texts, fontsize=8, parse_math=False)
    ax.set_title(title, parse_math=False)
    return image


def draw_image(ax: "Axes", matrix: Tensor) -> Any:
    """Draw the image of `draw_heatmap` without names and title, and return it."""
    values = matrix.detach().cpu().double().numpy().copy()
    np.fill_diagonal(values, np.nan)
    known = np.abs(values[np.isfinite(values)])
    limit = 1.0
    if known.size and known.max() > 0:
        limit = float(np.quantile(known, 0.99) if len(values) > MAX_NAMES else known.max()) or float(known.max())
    signed = bool((values < 0).any())
    return ax.imshow(values, cmap=_colors(signed=signed), vmin=-limit if signed else 0, vmax=limit, interpolation="nearest")


def axes_for(ax: "Axes | None") -> tuple["Figure", "Axes"]:
    """The figure of the axes, and the axes. If `ax` is None, both are new and from pyplot, so that a notebook shows them."""
    if ax is None:
        from matplotlib import pyplot as plt

        return plt.subplots(layout="constrained")
    figure = ax.get_figure(root=True)
    assert figure is not None, "the axes belong to a figure"
    return figure, ax


def draw_bars(ax: "Axes", values: Mapping[str, float], *, title: str) -> None:
    """Draw one horizontal bar for each value, the first one highest. Undefined values have no bar."""
    names = list(values)
    lengths = [0.0 if math.isnan(value) else value for value in values.values()]
    ax.barh(range(len(names)), lengths, color="0.4")
    ax.set_yticks(range(len(names)), names, parse_math=False)
    for place, value in enumerate(values.values()):
        text = "undefined" if math.isnan(value) else f"{value:.2f}"
        ax.annotate(text, (max(lengths[place], 0), place), xytext=(3, 0), textcoords="offset points", va="center")
    ax.axvline(0, color="0", linewidth=0.8)
    ax.margins(x=0.2)
    ax.invert_yaxis()
    ax.set_title(title)


def draw_curves(ax: "Axes", values: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Draw one curve over the steps for each name, with a hole at undefined values. Two or more curves get a legend."""
    from matplotlib.ticker import MaxNLocator

    lines = [ax.plot(range(len(curve)), list(curve), marker="o")[0] for curve in values.values()]
    if len(lines) > 1:
        # matplotlib leaves names that start with "_" out of a legend.
        texts = [f" {name}" if name.startswith("_") else name for name in values]
        for text in ax.legend(lines, texts).get_texts():
            text.set_parse_math(False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("Step")
    ax.set_title(title)


def last_matrix(value: Any) -> tuple[Tensor, str]:
    """The matrix to draw, and an addition to the title.

    Args:
        value: (L, L), or several of them, one for each step: a sequence, or (S, L, L).

    Returns:
        The matrix, or the last one of several; and ", the last of S" if there are several, otherwise an empty string.

    Raises:
        InputError: `value` has another type or shape.
    """
    several = len(value) if isinstance(value, list | tuple) or (isinstance(value, Tensor) and value.ndim == 3) else 0
    matrix = value[-1] if several else value
    if not isinstance(matrix, Tensor) or matrix.ndim != 2 or len(matrix) != matrix.shape[1]:
        got = tuple(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        raise InputError(expected("val", "of shape (L, L)", got, _OF_COMPUTE))
    return matrix, f", the last of {several}" if several else ""


def series(value: Any) -> dict[str, list[float]]:
    """The values of each scalar over the steps, by name. For a single step, each list has one value.

    Args:
        value: a mapping of names to scalars, one scalar, or a sequence of either, one for each step. A tensor (S,) means a
            sequence of scalars. A scalar without a name gets the name "value".

    Returns:
        A list of S values for each name.

    Raises:
        InputError: `value` has another type, or the names differ between steps.
    """
    steps = value if isinstance(value, list | tuple) else [value]
    named: list[Mapping[str, Any]] = [step if isinstance(step, Mapping) else {"value": step} for step in steps]
    if not named or any(step.keys() != named[0].keys() for step in named):
        got = "none" if not named else "different names at different steps"
        wanted = "to be a mapping of names to scalars, one scalar, or a sequence of either"
        raise InputError(expected("val", wanted, got, _OF_COMPUTE))
    return {name: [number for step in named for number in _numbers(step[name])] for name in named[0]}


def _numbers(value: Any) -> list[float]:
    """A scalar, or a tensor (S,), as a list of numbers."""
    if isinstance(value, Tensor) and value.ndim < 2:
        return [float(number) for number in value.detach().flatten().tolist()]
    if isinstance(value, int | float):
        return [float(value)]
    got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise InputError(expected("val", "to hold scalars", got, _OF_COMPUTE))


def shown_names(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The indices of the labels that are named on an axis, at most 20, and their names, shortened."""
    every = max(1, math.ceil(len(names) / MAX_NAMES))
    places = list(range(0, len(names), every))
    return places, [shortened(names[place]) for place in places]


def _colors(*, signed: bool) -> Any:
    """Blue over white to red, which color-blind readers can distinguish; only the red half if no value is below zero."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    both = colormaps["RdBu_r"]
    colors = both if signed else ListedColormap(both(np.linspace(0.5, 1, 256)))
    return colors.with_extremes(bad=_MISSING)
