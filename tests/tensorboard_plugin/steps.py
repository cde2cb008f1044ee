"""Steps that the package does not write now: of a similarity that was added to the table, and of earlier versions."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from lightning_cossim.loggers.wire import Step

__all__ = ["ADDED", "as_version_1", "as_version_2", "with_added"]

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


def as_version_2(blob: bytes) -> bytes:
    """A blob as version 2 of the format had it: there was no `curve`."""
    return _with_header(blob, lambda header: {**_without(header, "curve"), "version": 2})


def as_version_1(blob: bytes) -> bytes:
    """A blob as version 1 of the format had it.

    `columns` was called `blocks`, and there were no `quantities`, no `curve` and no rank agreements.
    """

    def change(header: dict[str, Any]) -> dict[str, Any]:
        scalars = {name: value for name, value in header["scalars"].items() if not name.startswith("rank_agreement_")}
        changed = {"version": 1, "blocks": header["columns"], "scalars": scalars}
        return {**_without(header, "curve", "columns", "quantities"), **changed}

    return _with_header(blob, change)


def _with_header(blob: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    start = 4 + int.from_bytes(blob[:4], "little")
    text = json.dumps(change(json.loads(blob[4:start]))).encode()
    return len(text).to_bytes(4, "little") + text + blob[start:]


def _without(header: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key not in keys}
