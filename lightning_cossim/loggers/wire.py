"""The wire format: how one step of one stage goes from the event file to TensorBoard's tab. The module needs NumPy, not torch.

A step is one blob, because TensorBoard's reader takes about 40 ms for each blob. A blob can be read without other steps. It has:

* four bytes, little-endian: the length of the header in bytes;
* the **header**, JSON in UTF-8. Its keys are the fields of `Step` except the arrays, `version`, `columns`, and `targets`, which
  names the columns that belong to the step's `targets`;
* the **body**, arrays of P entries, little-endian, one after another. `columns` describes them in order, each as
  `{"name", "type", "low", "high"}`:

  - `pair` (uint32): first label times number of labels plus second label. The column is absent if the step has all pairs, in
    the order of the rows of the upper triangle;
  - one uint16 column for each quantity of a pair;
  - `flag` (uint8): 1 stranger, 2 look-alike, 0 not judged. A larger value means that the pair is not flagged, and is 2 more
    than the place of the reason in `reasons`;
  - `reach` (uint8): whether an input can make both labels the most likely ones: 1 no, 2 yes, 3 undecided, 0 not computed. The
    column is absent if reachability was not computed.

A uint16 q means `low + q * (high - low) / 65534`; 65535 means unknown. Whole numbers up to 65534 are exact.
Shapes: L labels, P pairs.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

import numpy as np

from lightning_cossim.errors import expected
from lightning_cossim.loggers.fields import header_and_body, items, key_in, typed, whole
from lightning_cossim.loggers.step_header import checked_columns, checked_header

__all__ = ["FLAGS", "MAX_BYTES", "PLUGIN", "UNKNOWN", "VERSION", "Step", "pack", "unpack"]

PLUGIN: Final = "lightning_cossim"
"""The plugin's name in TensorBoard and in event files."""
VERSION: Final = 3
"""Version 1 named columns `blocks` and had no `quantities`. Versions 1 and 2 named `truncation` `overlap_error`; they had no
errors, joint inputs, reasons or `curve` (`expected_overlap` was on the curve), and flagged every pair beyond the thresholds."""
MAX_BYTES: Final = 200_000
"""Largest size of a step in bytes. TensorBoard's writer takes 0.25 s for a megabyte, and training waits for it."""
_MAX_READ: Final = 2_000_000
"""Largest size of a step that is read, in bytes: steps with very long names exceed `MAX_BYTES`."""
_MAX_REACH: Final = 3
UNKNOWN: Final = 65535
"""The uint16 that means an unknown value."""
FLAGS: Final = ("", "stranger", "look-alike")
"""Flags, by their numbers in the column `flag`."""

Floats = np.ndarray[tuple[int], np.dtype[np.floating[Any]]]
Integers = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]


@dataclass(frozen=True, eq=False)
class Step:
    """The data of one step in the tab."""

    stage: str
    """"train", "val" or "test"."""
    step: int
    """The step of the loggers' curves, at least 0."""
    index: int
    """Number of steps of this stage that were written, this one included. TensorBoard keeps only some of them."""
    time: float
    """Time of writing, in seconds since 1970."""
    link: str
    cosine: str
    """The similarity that gaps refer to."""
    num_labels: int
    """Number of live labels of the head."""
    num_inputs: int
    num_pairs: int
    """Number of pairs of kept labels, whether they are in the step or not."""
    chosen: str
    """How the pairs of the step were chosen, in words; empty if the step has all pairs."""
    truncation: float
    """Upper bound on how much larger an overlap may be, in [0, 1], if only the most likely labels of inputs were kept; else 0."""
    verdict: str
    """Why there is no verdict, in words; empty if pairs are judged."""
    quantities: Sequence[Mapping[str, Any]]
    """Quantities of a pair: `key`, `title`, `column`, `low`, `high` (None: no bound), `direction`, `whole`, `about` of each."""
    similarities: Sequence[str]
    """Keys of the `values` that are compared with the overlap."""
    thresholds: Mapping[str, float]
    limits: Mapping[Literal["strangers", "lookalikes"], float]
    """Side to the size that a gap must exceed for a flag; empty if pairs are not judged."""
    reasons: Sequence[str]
    """Reasons why a pair is not flagged, in words; the first is empty. The sequence is empty if pairs are not judged."""
    scalars: Mapping[str, float]
    """Scalar to its value; NaN if it is undefined."""
    standard_errors: Mapping[str, float]
    """Scalar to its standard error, for scalars that have one."""
    undefined: Mapping[str, str]
    """Undefined scalar to the reason."""
    remarks: Sequence[str]
    names: Sequence[str]
    """(L,)"""
    labels: Sequence[int]
    """(L,), the rows of the labels in the head."""
    mean_probs: Sequence[float]
    """(L,)"""
    order: Sequence[int]
    """Places of the labels of heatmaps in `labels`, such that labels that overlap are next to one another."""
    curve: Sequence[Sequence[float]]
    """Corners (cosine, overlap) of the curve of expected overlaps, in ascending order; empty if the curve is unknown."""
    row: Integers
    """(P,), the place of the first label in `labels`."""
    column: Integers
    """(P,), the place of the second label in `labels`, larger than `row`."""
    values: Mapping[str, Floats | Integers]
    """Key of a similarity, "overlap", "overlap_error" (its standard error), "expected_overlap" or "joint_inputs" to (P,).

    NaN means unknown. Whole numbers up to 65534 are exact. Versions 1 and 2 had neither errors nor joint inputs.
    """
    flag: Integers
    """(P,), places in `FLAGS`."""
    why: Integers
    """(P,), places in `reasons`; 0 if a pair is flagged or not judged."""
    reach: Integers
    """(P,), whether an input can make both labels the most likely ones: 1 no, 2 yes, 3 undecided, 0 not computed."""
    targets: Mapping[str, np.ndarray[tuple[int], Any]] = field(default_factory=dict)
    """Column to (P,), statistics of pairs from the targets of inputs. `pack` omits them if the blob would exceed `MAX_BYTES`."""


_ARRAYS: Final = ("row", "column", "values", "flag", "why", "reach", "targets")
_HEADER: Final = tuple(field.name for field in fields(Step) if field.name not in _ARRAYS)
_LIMITS: Final = {"strangers": "stranger", "lookalikes": "lookalike"}
"""Side to the name of its threshold."""


def pack(step: Step) -> bytes:
    """The blob of a step.

    If the blob is larger than `MAX_BYTES`, `targets` are omitted. Without targets, the size is not checked.
    """
    blob = _packed(step)
    return _packed(replace(step, targets={})) if step.targets and len(blob) > MAX_BYTES else blob


def _packed(step: Step) -> bytes:
    num_labels = len(step.names)
    columns: list[dict[str, Any]] = []
    arrays = []
    row, column = np.triu_indices(num_labels, 1)
    if not (np.array_equal(step.row, row) and np.array_equal(step.column, column)):
        columns.append({"name": "pair", "type": "uint32"})
        arrays.append((step.row.astype("<u4") * num_labels + step.column).astype("<u4"))
    for name, values in (*step.values.items(), *step.targets.items()):
        low, high = _range(values)
        columns.append({"name": name, "type": "uint16", "low": low, "high": high})
        arrays.append(_quantized(values, low, high))
    columns.append({"name": "flag", "type": "uint8"})
    arrays.append(np.where((step.flag > 0) | (step.why == 0), step.flag, step.why + len(FLAGS) - 1).astype("u1"))
    if step.reach.any():
        columns.append({"name": "reach", "type": "uint8"})
        arrays.append(step.reach.astype("u1"))
    known = {name: _plain(getattr(step, name)) for name in _HEADER}
    header = {"version": VERSION, **known, "targets": [*step.targets], "columns": columns}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    return b"".join([len(text).to_bytes(4, "little"), text, *(array.tobytes() for array in arrays)])


def unpack(blob: bytes) -> Step:
    """The step in a blob, after a check of every field. Counts are held against the length of the blob before any allocation.

    Raises:
        ValueError: the blob is not a step, or a later version wrote it. The message is one line.
    """
    header, body = header_and_body(blob, _MAX_READ)
    header = _current(header)
    columns, num_pairs = checked_columns(key_in(header, "columns"), len(body))
    known = checked_header(header, columns, num_pairs)
    arrays, offset = {}, 0
    for one in columns:
        dtype = np.dtype(one["type"]).newbyteorder("<")
        arrays[one["name"]] = np.frombuffer(body, dtype, num_pairs, offset)
        offset += dtype.itemsize * num_pairs
    row, column = _places(arrays.get("pair"), len(known["names"]))
    values = {one["name"]: _real(arrays[one["name"]], one["low"], one["high"]) for one in columns if one["type"] == "uint16"}
    known["scalars"] = {name: math.nan if value is None else value for name, value in known["scalars"].items()}
    targets = {name: values.pop(name) for name in dict.fromkeys(known.pop("targets"))}
    reach = arrays.get("reach", np.zeros(num_pairs, dtype=np.uint8))
    is_flag = arrays["flag"] < len(FLAGS)
    why = np.where(is_flag, 0, arrays["flag"] - (len(FLAGS) - 1))
    if why.max(initial=0) >= max(1, len(known["reasons"])) or reach.max(initial=0) > _MAX_REACH:
        raise ValueError(expected("body", "to have marks of pairs that the format knows", "others"))
    return Step(
        **known,
        row=row,
        column=column,
        targets=targets,
        values=values,
        flag=np.where(is_flag, arrays["flag"], 0),
        why=why,
        reach=reach,
    )


def _places(pair: Integers | None, num_labels: int) -> tuple[Integers, Integers]:
    """The places of the labels of pairs, (P,) each."""
    if pair is None:
        return np.triu_indices(num_labels, 1)
    row, column = np.divmod(pair, max(1, num_labels))
    if (row >= column).any() or len(np.unique(pair)) < len(pair):
        raise ValueError(expected("body", f"to have different pairs of {num_labels} labels", "others"))
    return row, column


def _current(header: dict[str, Any]) -> dict[str, Any]:
    """The header in the form of the current version."""
    version = whole(key_in(header, "version"), "version", low=1)
    if version > VERSION:
        raise ValueError(expected("version", f"to be at most {VERSION}", version, "Upgrade lightning-cossim."))
    if version < 2:
        header = {**header, "columns": key_in(header, "blocks"), "quantities": []}
    if version < 3:
        columns = [typed(one, "columns", dict) for one in items(key_in(header, "columns"), "columns")]
        names = [one.get("name") for one in columns if one.get("type") == "uint16"]
        thresholds = typed(key_in(header, "thresholds"), "thresholds", dict)
        judged = {side: thresholds[name] for side, name in _LIMITS.items() if name in thresholds}
        header = {
            **header,
            "truncation": key_in(header, "overlap_error"),
            "similarities": [name for name in names if name not in ("overlap", "expected_overlap")],
            "limits": {} if header.get("verdict") else judged,
            "reasons": [],
            "standard_errors": {},
            "targets": [],
            "curve": [],
        }
    return header


def _range(values: Floats | Integers) -> tuple[float, float]:
    """The lowest and the highest known value. Each step has its own range, so that small differences survive quantization.

    The range of whole numbers is such that every level is a whole number.
    """
    if values.dtype.kind in "iu":
        return 0.0, float((UNKNOWN - 1) * max(1, math.ceil(values.max(initial=0) / (UNKNOWN - 1))))
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def _quantized(values: Floats | Integers, low: float, high: float) -> Integers:
    scale = (UNKNOWN - 1) / (high - low) if high > low else 0.0
    known = np.isfinite(values)
    exact = (np.where(known, values, low).astype(np.float64) - low) * scale
    return np.where(known, exact.round().clip(0, UNKNOWN - 1), UNKNOWN).astype("<u2")


def _real(quantized: Integers, low: float, high: float) -> Floats:
    return np.where(quantized == UNKNOWN, np.nan, low + quantized * ((high - low) / (UNKNOWN - 1)))


def _plain(value: Any) -> Any:
    """The value with None for NaN and lists for tuples, as JSON needs."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
