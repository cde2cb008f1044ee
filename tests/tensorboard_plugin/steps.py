"""Steps that the package does not write now: of a similarity that was added to the table, and of an earlier version."""

import json
from dataclasses import replace
from typing import Any, Final

from lightning_cossim.loggers.wire import Step

__all__ = ["ADDED", "as_version_1", "with_added"]

ADDED: Final[dict[str, Any]] = {
    "key": "added_distance",
    "title": "Added <b>distance</b>",
    "column": "added",
    "low": 0.0,
    "high": None,
    "direction": -1,
    "about": ["What was added <i>first</i>.", "And then."],
}
"""A row of the table of similarities, unlike the others; its texts show as texts."""


def with_added(step: Step) -> Step:
    """The same step, had the table one similarity more: half of what the cosine lacks to 1."""
    values = {ADDED["key"]: (1 - step.values[step.cosine]) / 2, **step.values}
    return replace(step, quantities=[ADDED, *step.quantities], values=values)


def as_version_1(blob: bytes) -> bytes:
    """A blob as version 1 of the format had it: `columns` was called `blocks`, and there were no `quantities`."""
    start = 4 + int.from_bytes(blob[:4], "little")
    header = json.loads(blob[4:start])
    header = {**header, "version": 1, "blocks": header["columns"]}
    text = json.dumps({key: value for key, value in header.items() if key not in ("columns", "quantities")}).encode()
    return len(text).to_bytes(4, "little") + text + blob[start:]
