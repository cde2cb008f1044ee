"""Reproduce the numerical examples of the paper: what cosines of label representations can and cannot tell.

    python examples/paper_examples.py

The script takes ten seconds on a CPU. It prints every number beside the number of the authors. The last two examples are ours: it
prints their numbers beside the values that follow from geometry. It also draws every head: its rows, and the two most likely
labels in each direction of the plane.

Source: Nielsen, arXiv 2603.29488; v2, with Grivas: What Cosine Similarity of Label Representations Can and Cannot Tell us.
"""

import argparse
import math
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from lightning_cossim.functional import (
    center_labels,
    combination_reachability,
    difference_cosine_similarity,
    label_cosine_similarity,
    label_reachability,
    pair_reachability,
    witness_translation,
)

COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a8a"]


def tensor(rows: Sequence[Sequence[float]]) -> Tensor:
    """The rows of a head as a float64 tensor."""
    return torch.tensor(rows, dtype=torch.float64)


H = math.sqrt(1 - 0.95**2)
TRANSLATED = tensor([[1, 0.5], [0.5, 1], [-1, 0.4], [-0.8, -0.8], [0.9, -1.2]])
CENTERED = tensor([[1.4, -1], [1.4, 1], [-0.9, 0.3], [-1, 0], [-0.9, -0.3]])
FIXED_LENGTH = tensor([[0.95, H], [-0.95, H], [-1, 0], [-0.95, -H], [0.95, -H], [1, 0]])

# version 2: the rows of two sigmoid heads, after a column of ones; the third point is between the first and the last one
FIRST_SIGNS = tensor([[-0.8, 1], [0.8, 1], [0.55, -0.5], [-1, -1], [1, -1]])
OTHER_SIGNS = tensor([[-1, 1], [1, 1], [0.35, -0.5], [-0.8, -1], [0.8, -1]])


def cosine(rows: Tensor, one: int, other: int, *, centered: bool = False) -> float:
    """The raw or label-centered cosine of two labels, in [-1, 1]."""
    return float(label_cosine_similarity(rows, centered=centered)[one, other])


def together(rows: Tensor) -> list[tuple[int, int]]:
    """The pairs of labels that some input makes the two most likely labels."""
    pairs = list(combinations(range(len(rows)), 2))
    verdicts = pair_reachability(rows, pairs=torch.tensor(pairs)).verdicts
    return [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict == "yes"]


def directions(num: int) -> Tensor:
    """`num` inputs (num, 2) of length 1, at equal distances on the circle."""
    angle = torch.arange(num, dtype=torch.float64) * (2 * math.pi / num) + 1e-4
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def rankings(rows: Tensor) -> set[tuple[int, ...]]:
    """The rankings of all labels that occur over 100,000 directions of the plane."""
    orders = (directions(100_000) @ rows.T).argsort(dim=1, descending=True).unique(dim=0)
    return {tuple(order) for order in orders.tolist()}


def compare(what: str, theirs: object, ours: object) -> bool:
    """Print a number or a list beside that of the authors, and return whether they agree (numbers: within 1e-6)."""
    if isinstance(theirs, float) and isinstance(ours, float):
        agrees = abs(theirs - ours) < 1e-6
        print(f"  {what:<52}{theirs:>16.6f}{ours:>16.6f}  {'' if agrees else 'DIFFERS'}".rstrip())
    else:
        agrees = theirs == ours
        print(f"  {what}\n    theirs {theirs}\n    here   {ours}  {'' if agrees else 'DIFFERS'}".rstrip())
    return agrees


def draw(folder: Path, name: str, heads: dict[str, Tensor]) -> None:
    """Draw the rows as arrows on a plane. Colors show the most likely label, thin lines where the second one changes."""
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
    """The first example of the paper: the same probabilities allow any raw cosine. Return whether all numbers agree."""
    print("\nLemmas 2.2 and 2.3: a vector that is added to all rows changes the raw cosine and no probability\n")
    print(f"  {'':<52}{'theirs':>16}{'here':>16}")
    rows = TRANSLATED
    inputs = 3 * directions(360)
    moved = {wanted: rows + witness_translation(rows, 0, 1, cosine=wanted) for wanted in (-1, 1)}
    before = (inputs @ rows.T).softmax(dim=1)
    changes = [float(((inputs @ head.T).softmax(dim=1) - before).abs().max()) for head in moved.values()]
    agree = [
        compare("raw cosine of 0 and 1", 0.8, cosine(rows, 0, 1)),
        compare("label-centered cosine", 0.777278358974, cosine(rows, 0, 1, centered=True)),
        compare("raw cosine after adding the first vector", -1.0, cosine(moved[-1], 0, 1)),
        compare("raw cosine after adding the second vector", 1.0, cosine(moved[1], 0, 1)),
        compare("label-centered cosine after adding either vector", 0.777278358974, cosine(moved[1], 0, 1, centered=True)),
        compare("largest change of a probability", 0.0, max(changes)),
    ]
    titles = {"as given: cosine 0.8": rows, "first vector added: cosine -1": moved[-1], "second: cosine +1": moved[1]}
    draw(folder, "translation", titles)
    return all(agree)


def centered(folder: Path) -> bool:
    """The second example: cosines of centered rows do not show which labels are likely together."""
    print("\nCentered rows: which pairs can be the two most likely labels\n")
    rows = CENTERED
    agree = [
        compare("cosine of 0 and 1", 0.324324, cosine(rows, 0, 1)),
        compare("cosine of 1 and 2", -0.588172, cosine(rows, 1, 2)),
        compare("cosine of 2 and 4", 0.8, cosine(rows, 2, 4)),
        compare("length of the mean row", 0.0, float(rows.mean(dim=0).norm())),
        compare("pairs that can be the two most likely labels", [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)], together(rows)),
    ]
    print("  Labels 1 and 2 have a negative cosine and can be the two most likely labels. Labels 2 and 4 have 0.8 and cannot.")
    draw(folder, "centered", {"centered rows": rows})
    return all(agree)


def fixed_length(folder: Path) -> bool:
    """The third example: the rows are centered and also have length 1."""
    print("\nCentered rows of length 1: cosines still do not show which labels are likely together\n")
    rows = FIXED_LENGTH
    agree = [
        compare("cosine of 0 and 1", -0.805, cosine(rows, 0, 1)),
        compare("cosine of 1 and 3", 0.805, cosine(rows, 1, 3)),
        compare("shortest row", 1.0, float(rows.norm(dim=1).min())),
        compare("pairs that can be the two most likely labels", [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)], together(rows)),
    ]
    draw(folder, "fixed_length", {"centered rows of length 1": rows})
    return all(agree)


def other_rankings(folder: Path) -> bool:
    """Version 2 of the paper: cosines between differences of rows decide which rankings are possible, not cosines between rows.

    The head is ours. It shortens two opposite rows of a hexagon, so the mean row stays zero and no cosine changes.
    """
    print("\nTwo heads with the same cosines and different rankings (v2)\n")
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
    print(f"  possible rankings: {len(here)} and {len(there)}; {len(here & there)} are possible in both heads")
    draw(folder, "other_rankings", heads)
    return all(agree) and float(drift) > 0.1 and here != there


def lost_region(folder: Path) -> bool:
    """Version 2 of the paper: a row that is shortened keeps its cosines, but no input makes its label the most likely one.

    In the hexagon, the line between the two neighbors of a row has distance 1/2 from the origin, so the limit is 0.5.
    """
    print("\nA label with a shortened row is never the most likely label (v2)\n")
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
        compare("labels that can be most likely, length 0.6", [0, 1, 2, 3, 4, 5], reachable(longer)),
        compare("labels that can be most likely, length 0.4", [0, 1, 3, 4], reachable(shorter)),
    ]
    draw(folder, "lost_region", heads)
    return all(agree)


def reachable(rows: Tensor) -> list[int]:
    """The labels that some input makes the most likely label."""
    return [label for label, verdict in enumerate(label_reachability(rows).verdicts) if verdict == "yes"]


def decision_regions(_: Path) -> bool:
    """Version 2, the positive theorem: the signs of minors decide about decision regions, and cosines between rows give them.

    A minor is the determinant of D rows: the rows of the labels for a sigmoid head, their differences for a softmax head.
    Their script draws random heads and stops with an error if a sign differs. The heads here are random too, of the same sizes.
    """
    print("\nThe cosines of a head decide which combinations (sigmoid) and which rankings (softmax) are possible (v2)\n")
    generator, different, count = torch.Generator().manual_seed(0), {"rows": 0, "differences": 0}, {"rows": 0, "differences": 0}
    for num_labels, dim in [(3, 2), (3, 3), *((5, dim) for dim in range(2, 6)), *((10, dim) for dim in range(2, 7))]:
        rows = torch.randn(num_labels, dim, generator=generator, dtype=torch.float64)
        pairs = torch.tensor(list(combinations(range(num_labels), 2)))
        cases = {"rows": (rows, label_cosine_similarity(rows, centered=False))}
        if dim < num_labels and len(pairs) ** dim < 1e6:
            apart = rows[pairs[:, 0]] - rows[pairs[:, 1]]
            cases["differences"] = apart, difference_cosine_similarity(rows, pairs=pairs)
        for what, (vectors, cosines) in cases.items():
            wanted, found = minor_signs(vectors), minor_signs(from_cosines(cosines, dim))
            different[what] += min(int((wanted != found).sum()), int((wanted != -found).sum()))  # a basis has two orientations
            count[what] += len(wanted)
    rows = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    agree = [
        compare(f"signs that differ, of {count['rows']} minors of rows", 0.0, float(different["rows"])),
        compare(f"signs that differ, of {count['differences']} minors of differences", 0.0, float(different["differences"])),
    ]
    print("  The number of combinations of ten random labels in three dimensions follows from geometry (Cover, 1965):")
    regions = float(2 * sum(math.comb(9, k) for k in range(3)))
    return all([*agree, compare("possible combinations, of 1024", regions, float(len(possible(rows))))])


def sign_patterns(folder: Path) -> bool:
    """Version 2: two heads allow the same combinations under a sigmoid and different rankings under a softmax."""
    print("\nThe same combinations and different rankings (v2)\n")
    heads = {"first head": FIRST_SIGNS, "other head": OTHER_SIGNS}
    here, there = (possible(torch.cat([torch.ones(5, 1), rows], dim=1)) for rows in heads.values())
    one, other = map(rankings, heads.values())
    pairs = torch.tensor(list(combinations(range(5), 2)))
    signs, others = (minor_signs(rows[pairs[:, 0]] - rows[pairs[:, 1]]) for rows in heads.values())
    agree = [
        compare("the possible combinations are the same", theirs=True, ours=here == there),
        compare("each head allows a ranking that the other does not", theirs=True, ours=bool(one - other) and bool(other - one)),
        compare("minors of differences whose signs differ", 1.0, float((signs != others).sum())),
    ]
    print(f"  possible combinations: {len(here)} of 32; rankings: {len(one)} and {len(other)}, {len(one & other)} in both heads")
    print("  Their script finds both sets by random inputs. Here linear programs decide about each combination.")
    draw(folder, "sign_patterns", heads)
    return all(agree)


def seven_lengths(folder: Path) -> bool:
    """Version 2: seven labels with rows of length 5. A shorter third row keeps every cosine and loses its region."""
    print("\nSeven labels, the third row shortened from 5 to 2 (v2)\n")
    angle = torch.tensor([0, 1, 2, 3, 4, 5, 7], dtype=torch.float64) * (math.pi / 4)
    longer = 5 * torch.stack([angle.cos(), angle.sin()], dim=1)
    shorter = longer.clone()
    shorter[2] = torch.tensor([0.0, 2.0])
    before, after = (label_cosine_similarity(rows, centered=False) for rows in (longer, shorter))
    agree = [
        compare("largest change of a raw cosine", 0.0, float((before - after).abs().max())),
        compare("labels that can be most likely, all rows of length 5", [0, 1, 2, 3, 4, 5, 6], reachable(longer)),
        compare("labels that can be most likely, third row of length 2", [0, 1, 3, 4, 5, 6], reachable(shorter)),
    ]
    draw(folder, "seven_lengths", {"all rows of length 5": longer, "third row of length 2": shorter})
    return all(agree)


def possible(rows: Tensor) -> set[tuple[bool, ...]]:
    """The combinations of labels that some input switches on, all others being off, under a sigmoid without a bias."""
    on = torch.tensor(list(product([False, True], repeat=len(rows))))
    verdicts = combination_reachability(rows, on=on, off=~on).verdicts
    return {tuple(labels) for labels, verdict in zip(on.tolist(), verdicts, strict=True) if verdict == "yes"}


def minor_signs(vectors: Tensor) -> Tensor:
    """The signs of all minors of as many vectors as there are dimensions; 0 within rounding."""
    chosen = torch.tensor(list(combinations(range(len(vectors)), vectors.shape[1])))
    directions_of = torch.nn.functional.normalize(vectors, dim=1)
    minors = torch.linalg.det(directions_of[chosen])
    return torch.where(minors.abs() < 1e-9, 0.0, minors.sign())


def from_cosines(cosines: Tensor, dim: int) -> Tensor:
    """Vectors in `dim` dimensions with these cosines, unique up to a rotation or a reflection."""
    values, basis = torch.linalg.eigh(cosines)
    return basis[:, -dim:] * values[-dim:].clamp(min=0).sqrt()


EXAMPLES = (
    translation,
    centered,
    fixed_length,
    decision_regions,
    sign_patterns,
    seven_lengths,
    other_rankings,
    lost_region,
)


def main(folder: str = "paper_examples") -> bool:
    """Run all examples, and return whether every number agrees."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    assert float((center_labels(CENTERED) - CENTERED).abs().max()) < 1e-12, "The rows of CENTERED have the mean zero."
    agree = [example(place) for example in EXAMPLES]
    print(f"\n{'Every number agrees' if all(agree) else 'NOT every number agrees'}. Pictures: {place}")
    return all(agree)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="paper_examples", help="folder of the pictures; default: paper_examples")
    raise SystemExit(0 if main(**vars(parser.parse_args())) else 1)
