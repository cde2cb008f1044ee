"""Collect the values of pairs of labels, and of the steps themselves, over all steps of a tag."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from lightning_cossim.loggers.wire import FLAGS, Step, unpack

__all__ = ["history", "parse_pairs"]

_MAX_PAIRS: Final = 32
"""Largest number of pairs in one request."""
_SIDES: Final = ("strangers", "lookalikes")
"""Sides of `Step.limits`."""


def history(steps: Sequence[int], blobs: Iterable[bytes], pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The values of each pair at every step that can be read.

    Args:
        steps: numbers of the steps.
        blobs: the blob of each step.
        pairs: two labels each, as rows of the head, the order does not matter.

    Returns:
        `steps`: numbers of the steps that can be read. All other lists have one value for each of these steps, None if unknown.

        * `agreement`: rank agreement of the cosine that gaps refer to; `strangers` and `lookalikes`: numbers of flagged pairs;
        * `limits`: side to the size that a gap must exceed for a flag;
        * `pairs`: of each pair its `labels`; `values`: key of a quantity to its values; `flags`: "", "stranger" or "look-alike".
          A value is None if the step lacks the pair, too.
    """
    readable = [(number, step) for number, blob in zip(steps, blobs, strict=True) if (step := _readable(blob)) is not None]
    known = [step for _, step in readable]
    places = [_places(step, pairs) for step in known]
    names = list(dict.fromkeys(name for step in known for name in step.values))
    return {
        "steps": [number for number, _ in readable],
        "agreement": [_known(step.scalars.get(f"rank_agreement_{step.cosine}")) for step in known],
        "strangers": [int((step.flag == FLAGS.index("stranger")).sum()) for step in known],
        "lookalikes": [int((step.flag == FLAGS.index("look-alike")).sum()) for step in known],
        "limits": {side: [_known(step.limits.get(side)) for step in known] for side in _SIDES},
        "pairs": [
            {
                "labels": list(pair),
                "values": {name: [_value(step, name, of[at]) for step, of in zip(known, places, strict=True)] for name in names},
                "flags": [_flag(step, of[at]) for step, of in zip(known, places, strict=True)],
            }
            for at, pair in enumerate(pairs)
        ],
    }


def _readable(blob: bytes) -> Step | None:
    """The step in a blob; None if the blob is broken or a later version wrote it, so that other steps are still shown."""
    try:
        return unpack(blob)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _value(step: Step, name: str, place: int | None) -> float | None:
    return None if place is None or name not in step.values else _known(step.values[name][place])


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _flag(step: Step, place: int | None) -> str | None:
    return None if place is None else FLAGS[step.flag[place]]


def _places(step: Step, pairs: Sequence[tuple[int, int]]) -> list[int | None]:
    """The place of each pair in a step; None if the step lacks the pair."""
    place = {label: index for index, label in enumerate(step.labels)}
    found: list[int | None] = []
    for pair in pairs:
        one, other = sorted(place.get(label, -1) for label in pair)
        at = np.flatnonzero((step.row == one) & (step.column == other))
        found.append(int(at[0]) if one >= 0 and len(at) else None)
    return found


def parse_pairs(text: str) -> list[tuple[int, int]]:
    """The pairs in a text such as `3-8,0-12`, as rows of the head; an empty text has none.

    Raises:
        ValueError: the text is not a list of pairs, or it has more than 32 pairs.

    Example:
        >>> parse_pairs("3-8,0-12")
        [(3, 8), (0, 12)]
    """
    pairs = []
    for pair in text.split(",") if text else ():
        labels = pair.split("-")
        if len(labels) != 2 or not all(label.isascii() and label.isdigit() and len(label) < 10 for label in labels):
            raise ValueError(f"Expected `pairs` to be pairs of labels such as 3-8,0-12, got {text[:50]!r}.")
        pairs.append((int(labels[0]), int(labels[1])))
    if len(pairs) > _MAX_PAIRS:
        raise ValueError(f"Expected `pairs` to be at most {_MAX_PAIRS} pairs, got {len(pairs)}.")
    return pairs
