"""Steps that the package does not write now: of a similarity that was added to the table, and of earlier versions."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from lightning_cossim.loggers.wire import Step, pack, unpack

__all__ = ["ADDED", "NEW", "as_version_1", "as_version_2", "with_added", "with_targets"]

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


NEW: Final = ("overlap_error", "joint_inputs")
"""Numbers of a pair that steps have from version 3 on."""


def with_added(step: Step) -> Step:
    """The same step, had the table one similarity more: half of what the cosine lacks to 1."""
    values = {ADDED["key"]: (1 - step.values[step.cosine]) / 2, **step.values}
    similarities = [ADDED["key"], *step.similarities]
    return replace(step, quantities=[ADDED, *step.quantities], values=values, similarities=similarities)


def with_targets(step: Step) -> Step:
    """The same step, had it known targets: of the first pair everything is known, of the second no joint mass, all else is 0."""
    of_first = {"errors": 12, "errors_back": 3, "mass_label": 0.5, "mass_other": 0.25, "mass_neither": 0.25}
    of_second = {"errors": 1, "errors_back": 0, "mass_label": np.nan, "mass_other": np.nan, "mass_neither": np.nan}
    rest = [0] * (len(step.row) - 2)
    return replace(step, targets={name: np.array([of_first[name], of_second[name], *rest]) for name in of_first})


def as_version_2(blob: bytes) -> bytes:
    """A blob as version 2 of the format had it.

    There were no errors, joint inputs, targets and reasons, and no limits beside the thresholds; `truncation` was called
    `overlap_error`, and there was no `curve`.
    """
    step = unpack(blob)
    old = replace(
        step,
        values={name: values for name, values in step.values.items() if name not in NEW},
        quantities=[_without(one, "whole") for one in step.quantities if one["key"] not in NEW],
        why=np.zeros_like(step.why),
        targets={},
    )

    def change(header: dict[str, Any]) -> dict[str, Any]:
        new = ("curve", "similarities", "limits", "reasons", "standard_errors", "targets", "truncation")
        return {**_without(header, *new), "overlap_error": header["truncation"], "version": 2}

    return _with_header(pack(old), change)


def as_version_1(blob: bytes) -> bytes:
    """A blob as version 1 of the format had it.

    What differed in version 2, and: `columns` was called `blocks`, and there were no `quantities` and no rank agreements.
    """

    def change(header: dict[str, Any]) -> dict[str, Any]:
        scalars = {name: value for name, value in header["scalars"].items() if not name.startswith("rank_agreement_")}
        changed = {"version": 1, "blocks": header["columns"], "scalars": scalars}
        return {**_without(header, "columns", "quantities"), **changed}

    return _with_header(as_version_2(blob), change)


def _with_header(blob: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    start = 4 + int.from_bytes(blob[:4], "little")
    text = json.dumps(change(json.loads(blob[4:start]))).encode()
    return len(text).to_bytes(4, "little") + text + blob[start:]


def _without(header: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key not in keys}
