"""Collect the values of pairs of labels, and of the steps themselves, over all steps of a tag."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from lightning_cossim.loggers.wire import FLAGS, Step, unpack

__all__ = ["history", "parse_pairs"]

_MAX_PAIRS: Final = 32
"""Largest number of pairs in one request."""
_SIDES: Final = ("strangers", "lookalikes")
"""Sides of `Step.limits`."""


def history(steps: Sequence[int], blobs: Iterable[bytes], pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The values of each pair at every step that can be read. Only one step is in memory at a time.

    Args:
        steps: numbers of the steps.
        blobs: the blob of each step.
        pairs: two labels each, as rows of the head, the order does not matter.

    Returns:
        `steps`: numbers of the steps that can be read; `unreadable`: number of the other steps. All other lists have one value
        for each of the steps that can be read, None if unknown.

        * `agreement`: rank agreement of the cosine that gaps refer to; `strangers` and `lookalikes`: numbers of flagged pairs;
        * `limits`: side to the size that a gap must exceed for a flag;
        * `pairs`: of each pair its `labels`; `values`: key of a quantity to its values; `flags`: "", "stranger" or "look-alike".
          A value is None if the step lacks the pair, too.
    """
    read = [(number, _read(blob, pairs)) for number, blob in zip(steps, blobs, strict=True)]
    known = [one for _, one in read if one is not None]
    names = list(dict.fromkeys(name for one in known for name in one.values))
    return {
        "steps": [number for number, one in read if one is not None],
        "unreadable": len(read) - len(known),
        "agreement": [one.agreement for one in known],
        "strangers": [one.strangers for one in known],
        "lookalikes": [one.lookalikes for one in known],
        "limits": {side: [one.limits[side] for one in known] for side in _SIDES},
        "pairs": [
            {
                "labels": list(pair),
                "values": {name: [one.values[name][at] if name in one.values else None for one in known] for name in names},
                "flags": [one.flags[at] for one in known],
            }
            for at, pair in enumerate(pairs)
        ],
    }


class _Read(NamedTuple):
    """What the history has of a step; the lists have one value for each pair of the request."""

    agreement: float | None
    strangers: int
    lookalikes: int
    limits: dict[str, float | None]
    values: dict[str, list[float | None]]
    flags: list[str | None]


def _read(blob: bytes, pairs: Sequence[tuple[int, int]]) -> _Read | None:
    """What the history has of a step; None if the blob is broken or a later version wrote it, so that other steps are shown."""
    try:
        step = unpack(blob)
    except ValueError:
        return None
    places = _places(step, pairs)
    return _Read(
        _known(step.scalars.get(f"rank_agreement_{step.cosine}")),
        int((step.flag == FLAGS.index("stranger")).sum()),
        int((step.flag == FLAGS.index("look-alike")).sum()),
        {side: _known(step.limits.get(side)) for side in _SIDES},
        {name: [None if at is None else _known(values[at]) for at in places] for name, values in step.values.items()},
        [None if at is None else FLAGS[step.flag[at]] for at in places],
    )


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


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
