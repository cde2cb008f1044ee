"""How pairs of labels went from step to step, out of the blobs of all steps of a tag."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from lightning_cossim.reporting.wire import FLAGS, Step, unpack

__all__ = ["history", "parse_pairs"]

_MAX_PAIRS: Final = 32


def history(steps: Sequence[int], blobs: Iterable[bytes], pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Every pair's values at all steps that can be read; None where a pair is not in a step or not known.

    Args:
        steps: their numbers.
        blobs: of each step.
        pairs: labels of the head.
    """
    readable: list[int] = []
    found: list[dict[str, list[float | None]]] = [{} for _ in pairs]
    flags: list[list[str]] = [[] for _ in pairs]
    for number, blob in zip(steps, blobs, strict=True):
        try:
            step = unpack(blob)
        except (KeyError, ValueError, TypeError):  # one step that is broken, or of a later version, is no reason to show none
            continue
        readable.append(number)
        for at, place in enumerate(_places(step, pairs)):
            for name, values in step.values.items():
                earlier = found[at].setdefault(name, [None] * (len(readable) - 1))
                earlier.append(None if place is None or math.isnan(values[place]) else float(values[place]))
            flags[at].append("" if place is None else FLAGS[step.flag[place]])
    one_by_one = zip(pairs, found, flags, strict=True)
    return {
        "steps": readable,
        "pairs": [{"labels": list(pair), "values": values, "flags": flag} for pair, values, flag in one_by_one],
    }


def _places(step: Step, pairs: Sequence[tuple[int, int]]) -> list[int | None]:
    """Where pairs of labels of the head are in a step."""
    place = {label: index for index, label in enumerate(step.labels)}
    found: list[int | None] = []
    for pair in pairs:
        one, other = sorted(place.get(label, -1) for label in pair)
        at = np.flatnonzero((step.row == one) & (step.column == other))
        found.append(int(at[0]) if one >= 0 and len(at) else None)
    return found


def parse_pairs(text: str) -> list[tuple[int, int]]:
    """Pairs of labels of the head.

    Raises:
        ValueError: the text is no list of pairs.

    Example:
        >>> parse_pairs("3-8,0-12")
        [(3, 8), (0, 12)]
    """
    pairs = []
    for pair in text.split(","):
        labels = pair.split("-")
        if len(labels) != 2 or not all(label.isascii() and label.isdigit() and len(label) < 10 for label in labels):
            raise ValueError(f"Expected `pairs` to be pairs of labels such as 3-8,0-12, got {text[:50]!r}.")
        pairs.append((int(labels[0]), int(labels[1])))
    if len(pairs) > _MAX_PAIRS:
        raise ValueError(f"Expected `pairs` to be at most {_MAX_PAIRS} pairs, got {len(pairs)}.")
    return pairs
