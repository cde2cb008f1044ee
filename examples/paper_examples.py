"""The examples of the paper, number by number: what cosines of label representations can and cannot tell.

Every number is printed beside the one that the authors give (for the last two examples, which are ours, beside what geometry
says), and every head is drawn: its rows, and which two labels are the most likely ones in each direction of the plane. Needs
nothing but the package, five seconds on a CPU:

    python examples/paper_examples.py

Source: Nielsen, arXiv 2603.29488; v2, with Grivas: What Cosine Similarity of Label Representations Can and Cannot Tell us.
"""

import argparse
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from lightning_cossim.functional import (
    center_labels,
    difference_cosine_similarity,
    label_cosine_similarity,
    label_reachability,
    pair_reachability,
    witness_translation,
)

COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a8a"]


def tensor(rows: Sequence[Sequence[float]]) -> Tensor:
    """Rows of a head, in float64."""
    return torch.tensor(rows, dtype=torch.float64)


H = math.sqrt(1 - 0.95**2)
TRANSLATED = tensor([[1, 0.5], [0.5, 1], [-1, 0.4], [-0.8, -0.8], [0.9, -1.2]])
CENTERED = tensor([[1.4, -1], [1.4, 1], [-0.9, 0.3], [-1, 0], [-0.9, -0.3]])
FIXED_LENGTH = tensor([[0.95, H], [-0.95, H], [-1, 0], [-0.95, -H], [0.95, -H], [1, 0]])


def cosine(rows: Tensor, one: int, other: int, *, centered: bool = False) -> float:
    """Of two labels."""
    return float(label_cosine_similarity(rows, centered=centered)[one, other])


def together(rows: Tensor) -> list[tuple[int, int]]:
    """The pairs of labels that some input can make the two most likely ones."""
    pairs = list(combinations(range(len(rows)), 2))
    verdicts = pair_reachability(rows, pairs=torch.tensor(pairs)).verdicts
    return [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict == "yes"]


def directions(num: int) -> Tensor:
    """So many inputs of length 1, evenly around the circle."""
    angle = torch.arange(num, dtype=torch.float64) * (2 * math.pi / num) + 1e-4
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def rankings(rows: Tensor) -> set[tuple[int, ...]]:
    """The orders of all labels that some input gives, by a hundred thousand directions of the plane."""
    orders = (directions(100_000) @ rows.T).argsort(dim=1, descending=True).unique(dim=0)
    return {tuple(order) for order in orders.tolist()}


def compare(what: str, theirs: object, ours: object) -> bool:
    """Print a number, or a list, beside that of the authors; whether they agree."""
    if isinstance(theirs, float) and isinstance(ours, float):
        agrees = abs(theirs - ours) < 1e-6
        print(f"  {what:<52}{theirs:>16.6f}{ours:>16.6f}  {'' if agrees else 'DIFFERS'}".rstrip())
    else:
        agrees = theirs == ours
        print(f"  {what}\n    theirs {theirs}\n    here   {ours}  {'' if agrees else 'DIFFERS'}".rstrip())
    return agrees


def draw(folder: Path, name: str, heads: dict[str, Tensor]) -> None:
    """Rows as arrows; the plane colored by the label on top, hatched borders where the second one changes."""
    figure = Figure(figsize=(4 * len(heads), 4), dpi=100, layout="constrained")
    for place, (title, rows) in enumerate(heads.items(), start=1):
        axes = figure.add_subplot(1, len(heads), place)
        reach = 1.25 * float(rows.abs().max())
        axis = torch.linspace(-reach, reach, 300, dtype=torch.float64)
        plane = torch.cartesian_prod(axis, axis).reshape(300, 300, 2).transpose(0, 1)
        top = (plane @ rows.T).topk(2, dim=2).indices
        shown = ListedColormap(COLORS[: len(rows)])
        extent = (-reach, reach, -reach, reach)
        image = {"origin": "lower", "extent": extent, "cmap": shown, "vmin": -0.5, "vmax": len(rows) - 0.5}
        axes.imshow(top[..., 0], alpha=0.30, interpolation="nearest", **image)
        axes.contour(axis, axis, top[..., 1].double() + 0.01 * top[..., 0], levels=30, colors="#00000018", linewidths=0.6)
        for label, row in enumerate(rows.tolist()):
            axes.annotate("", row, (0, 0), arrowprops={"arrowstyle": "->", "color": COLORS[label], "lw": 2})
            axes.annotate(str(label), row, textcoords="offset points", xytext=(5, 5), fontsize=10)
        axes.set_title(title, fontsize=10)
        axes.set_aspect("equal")
    FigureCanvasAgg(figure).print_png(str(folder / f"{name}.png"))


def translation(folder: Path) -> bool:
    """The paper's first example: any raw cosine from the same probabilities."""
    print("\nLemmas 2.2 and 2.3: one vector added to all rows changes no probability, and any cosine\n")
    print(f"  {'':<52}{'theirs':>16}{'here':>16}")
    rows = TRANSLATED
    inputs = 3 * directions(360)
    moved = {wanted: rows + witness_translation(rows, 0, 1, cosine=wanted) for wanted in (-1, 1)}
    before = (inputs @ rows.T).softmax(dim=1)
    changes = [float(((inputs @ head.T).softmax(dim=1) - before).abs().max()) for head in moved.values()]
    agree = [
        compare("raw cosine of 0 and 1", 0.8, cosine(rows, 0, 1)),
        compare("label-centered cosine", 0.777278358974, cosine(rows, 0, 1, centered=True)),
        compare("raw cosine after the first vector", -1.0, cosine(moved[-1], 0, 1)),
        compare("raw cosine after the second", 1.0, cosine(moved[1], 0, 1)),
        compare("label-centered cosine after either", 0.777278358974, cosine(moved[1], 0, 1, centered=True)),
        compare("largest change of a probability", 0.0, max(changes)),
    ]
    titles = {"as given: cosine of 0 and 1 is 0.8": rows, "one vector added: -1": moved[-1], "another: +1": moved[1]}
    draw(folder, "translation", titles)
    return all(agree)


def centered(folder: Path) -> bool:
    """The second: rows that are centered, whose cosines are not about what is probable together."""
    print("\nCentered rows: which labels can be the two most likely ones\n")
    rows = CENTERED
    agree = [
        compare("cosine of 0 and 1", 0.324324, cosine(rows, 0, 1)),
        compare("cosine of 1 and 2", -0.588172, cosine(rows, 1, 2)),
        compare("cosine of 2 and 4", 0.8, cosine(rows, 2, 4)),
        compare("length of the mean row", 0.0, float(rows.mean(dim=0).norm())),
        compare("together on top", [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)], together(rows)),
    ]
    print("  1 and 2 point away from one another and can be on top together; 2 and 4 are alike, and never can.")
    draw(folder, "centered", {"centered rows": rows})
    return all(agree)


def fixed_length(folder: Path) -> bool:
    """The third: rows of one length besides."""
    print("\nCentered rows of length 1: not even then\n")
    rows = FIXED_LENGTH
    agree = [
        compare("cosine of 0 and 1", -0.805, cosine(rows, 0, 1)),
        compare("cosine of 1 and 3", 0.805, cosine(rows, 1, 3)),
        compare("shortest row", 1.0, float(rows.norm(dim=1).min())),
        compare("together on top", [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)], together(rows)),
    ]
    draw(folder, "fixed_length", {"centered rows of length 1": rows})
    return all(agree)


def other_rankings(folder: Path) -> bool:
    """v2: cosines between labels do not decide which rankings there can be, those between differences of labels do.

    The head is ours: two opposite rows of a hexagon are shortened, so the mean row stays zero and no cosine changes.
    """
    print("\nThe same cosines, other rankings (v2)\n")
    turned = directions(12)[::2]
    lengths = tensor([[1.0], [1.0], [0.75], [1.0], [1.0], [0.75]])
    heads = {"all rows of length 1": turned, "two opposite rows shortened to 0.75": lengths * turned}
    one, other = heads.values()
    change = (label_cosine_similarity(one) - label_cosine_similarity(other)).abs().max()
    pairs = torch.tensor(list(combinations(range(6), 2)))
    drift = (difference_cosine_similarity(one, pairs=pairs) - difference_cosine_similarity(other, pairs=pairs)).abs().max()
    here, there = rankings(one), rankings(other)
    agree = [
        compare("largest change of a centered cosine", 0.0, float(change)),
        compare("length of either mean row", 0.0, float(max(center.norm() for center in (one.mean(dim=0), other.mean(dim=0))))),
    ]
    print(f"  {'largest change of a cosine between differences':<52}{'above 0':>16}{float(drift):>16.6f}")
    print(f"  rankings that inputs give: {len(here)} and {len(there)}, {len(here & there)} of them the same")
    draw(folder, "other_rankings", heads)
    return all(agree) and float(drift) > 0.1 and here != there


def lost_region(folder: Path) -> bool:
    """v2: a row keeps every cosine when it is shortened, and loses the inputs that it was on top for.

    The same hexagon: the line between the neighbors of a row passes at half a length from the origin.
    """
    print("\nA shortened row loses its region (v2)\n")
    turned = directions(12)[::2]
    heads = {
        f"two opposite rows of length {length}": tensor([[1], [1], [length], [1], [1], [length]]) * turned
        for length in (0.6, 0.4)
    }
    longer, shorter = heads.values()
    agree = [
        compare(
            "largest change of a centered cosine",
            0.0,
            float((label_cosine_similarity(longer) - label_cosine_similarity(shorter)).abs().max()),
        ),
        compare("labels on top for some input, length 0.6", [0, 1, 2, 3, 4, 5], reachable(longer)),
        compare("labels on top for some input, length 0.4", [0, 1, 3, 4], reachable(shorter)),
    ]
    draw(folder, "lost_region", heads)
    return all(agree)


def reachable(rows: Tensor) -> list[int]:
    """The labels that some input can make the most likely one."""
    return [label for label, verdict in enumerate(label_reachability(rows).verdicts) if verdict == "yes"]


def main(folder: str = "paper_examples") -> bool:
    """All examples; whether every number agrees."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    assert float((center_labels(CENTERED) - CENTERED).abs().max()) < 1e-12, "centered as it is given"
    agree = [example(place) for example in (translation, centered, fixed_length, other_rankings, lost_region)]
    print(f"\n{'Every number agrees' if all(agree) else 'NOT every number agrees'}. Pictures: {place}")
    return all(agree)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="paper_examples")
    raise SystemExit(0 if main(**vars(parser.parse_args())) else 1)
