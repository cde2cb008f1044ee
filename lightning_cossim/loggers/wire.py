"""The wire format: one step of one stage, between the writer of events and TensorBoard's tab. NumPy only, no torch.

A step is one blob, since TensorBoard's reader takes some forty milliseconds for each, and needs no other step to be understood:

* four bytes, little-endian: the length of the header;
* the **header**, JSON in UTF-8, whose keys are the fields of `Step` and `version`, `columns`; `targets` names the columns that
  are the step's `targets`;
* the **body**, one array of P entries after another, little-endian, as `columns` names them, `{"name", "type", "low", "high"}`:
  `pair` (uint32, first label times number of labels plus second; missing where all pairs are there, row by row of the upper
  triangle), one uint16 column for each number of a pair, `flag` (uint8: 1 stranger, 2 look-alike, 0 nothing was judged, above
  that 2 more than the place in `reasons` of why the pair is not flagged), and `reach`, if it was asked for (uint8: 1 no input
  brings out both labels on top, 2 one does, 3 undecided, else 0).

A uint16 q stands for `low + q * (high - low) / 65534`, and 65535 for what is not known. Whole numbers up to 65534 stay whole.
Shapes: L labels, P pairs.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

import numpy as np

__all__ = ["FLAGS", "MAX_BYTES", "PLUGIN", "UNKNOWN", "VERSION", "Step", "pack", "unpack"]

PLUGIN: Final = "lightning_cossim"
"""What TensorBoard knows the tab by."""
VERSION: Final = 3
"""Version 1 called columns `blocks` and had no `quantities`. Versions 1 and 2 had no errors, joint inputs and reasons, flagged
whatever was beyond the thresholds, called `truncation` `overlap_error`, and had no `curve`: `expected_overlap` was on it."""
MAX_BYTES: Final = 200_000
"""Of a step: TensorBoard's writer takes a quarter of a second for a megabyte, and the training waits."""
UNKNOWN: Final = 65535
FLAGS: Final = ("", "stranger", "look-alike")

Floats = np.ndarray[tuple[int], np.dtype[np.floating[Any]]]
Integers = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]


@dataclass(frozen=True, eq=False)
class Step:
    """What the tab shows of a step."""

    stage: str
    """"train", "val" or "test"."""
    step: int
    """The x of the loggers' curves."""
    index: int
    """How many steps of this stage were written, this one included: TensorBoard keeps only some."""
    time: float
    """Seconds since 1970."""
    link: str
    cosine: str
    """The similarity that gaps refer to."""
    num_labels: int
    """Live ones of the head."""
    num_inputs: int
    num_pairs: int
    """Pairs that count, shown or not."""
    chosen: str
    """How the pairs shown were chosen, in words; empty where they are all there are."""
    truncation: float
    """By how much overlaps may be larger at the most, where only the most likely labels of inputs were kept."""
    verdict: str
    """Why no pair is flagged, in words; empty where pairs are judged."""
    quantities: Sequence[Mapping[str, Any]]
    """The numbers of a pair, each with `key`, `title`, `column`, `low`, `high` (None: no bound), `direction` and `about`."""
    similarities: Sequence[str]
    """Keys of the `values` that are held against the overlap."""
    thresholds: Mapping[str, float]
    limits: Mapping[Literal["strangers", "lookalikes"], float]
    """Side to the size of a gap from which on pairs are flagged; empty where pairs are not judged."""
    reasons: Sequence[str]
    """Why a pair is not flagged, in words; the first is empty. No words where pairs are not judged."""
    scalars: Mapping[str, float]
    """NaN where undefined."""
    standard_errors: Mapping[str, float]
    """Scalar to its standard error, where that is known."""
    undefined: Mapping[str, str]
    """Scalar to the reason."""
    remarks: Sequence[str]
    names: Sequence[str]
    """(L,)"""
    labels: Sequence[int]
    """(L,), rows of the head."""
    mean_probs: Sequence[float]
    """(L,)"""
    order: Sequence[int]
    """Places of the labels of heatmaps, those that overlap beside one another."""
    curve: Sequence[Sequence[float]]
    """Corners (similarity, overlap) of the curve of expected overlaps, from the left to the right; empty where there is none."""
    row: Integers
    """(P,), place of the first label."""
    column: Integers
    """(P,), of the second."""
    values: Mapping[str, Floats | Integers]
    """Similarity, "overlap", "overlap_error" (its standard error), "expected_overlap" or "joint_inputs", to (P,).

    NaN where not known. Whole numbers are sent exactly. Versions 1 and 2 had neither errors nor joint inputs.
    """
    flag: Integers
    """(P,), place in `FLAGS`."""
    why: Integers
    """(P,), place in `reasons`, 0 where a pair is flagged or nothing was judged."""
    reach: Integers
    """(P,), whether an input brings out both labels on top: 1 no, 2 yes, 3 undecided, 0 not asked for."""
    targets: Mapping[str, np.ndarray[tuple[int], Any]] = field(default_factory=dict)
    """Column to (P,), what the targets of inputs tell of pairs. A blob has them where it stays within `MAX_BYTES` with them."""


_ARRAYS: Final = ("row", "column", "values", "flag", "why", "reach", "targets")
_HEADER: Final = tuple(field.name for field in fields(Step) if field.name not in _ARRAYS)
_LIMITS: Final = {"strangers": "stranger", "lookalikes": "lookalike"}
"""Side to its threshold."""


def pack(step: Step) -> bytes:
    """The blob of a step."""
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
    """The step in a blob.

    Raises:
        ValueError: it is no step, or one of a later version.
    """
    start = 4 + int.from_bytes(blob[:4], "little")
    header, body = _current(json.loads(blob[4:start])), blob[start:]
    widths = {"uint32": 4, "uint16": 2, "uint8": 1}
    columns = header["columns"]
    width = sum(widths[one["type"]] for one in columns)
    num_pairs, rest = divmod(len(body), width)
    if rest:
        raise ValueError(f"Expected the body to be {width} bytes for each pair, got {len(body)} bytes.")
    arrays, offset = {}, 0
    for one in columns:
        dtype = np.dtype(one["type"]).newbyteorder("<")
        arrays[one["name"]] = np.frombuffer(body, dtype, num_pairs, offset)
        offset += dtype.itemsize * num_pairs
    num_labels = len(header["names"])
    pair = arrays.get("pair")
    row, column = np.triu_indices(num_labels, 1) if pair is None else np.divmod(pair, num_labels)
    if len(row) != num_pairs:
        raise ValueError(f"Expected the body to hold {len(row)} pairs of {num_labels} labels, got {num_pairs}.")
    values = {one["name"]: _real(arrays[one["name"]], one["low"], one["high"]) for one in columns if one["type"] == "uint16"}
    known = {name: header[name] for name in _HEADER}
    known["scalars"] = {name: math.nan if value is None else value for name, value in header["scalars"].items()}
    is_flag = arrays["flag"] < len(FLAGS)
    return Step(
        **known,
        row=row,
        column=column,
        targets={name: values.pop(name) for name in header["targets"]},
        values=values,
        flag=np.where(is_flag, arrays["flag"], 0),
        why=np.where(is_flag, 0, arrays["flag"] - (len(FLAGS) - 1)),
        reach=arrays.get("reach", np.zeros(num_pairs, dtype=np.uint8)),
    )


def _current(header: dict[str, Any]) -> dict[str, Any]:
    """A header of any version as this one has it."""
    if header["version"] > VERSION:
        raise ValueError(f"Expected `version` to be at most {VERSION}, got {header['version']}. Upgrade lightning-cossim.")
    if header["version"] < 2:
        header = {**header, "columns": header["blocks"], "quantities": []}
    if header["version"] < 3:
        names, thresholds = [one["name"] for one in header["columns"] if one["type"] == "uint16"], header["thresholds"]
        judged = {side: thresholds[name] for side, name in _LIMITS.items() if name in thresholds}
        header = {
            **header,
            "truncation": header["overlap_error"],
            "similarities": [name for name in names if name not in {"overlap", "expected_overlap"}],
            "limits": {} if header["verdict"] else judged,
            "reasons": [],
            "standard_errors": {},
            "targets": [],
            "curve": [],
        }
    return header


def _range(values: Floats | Integers) -> tuple[float, float]:
    """What is known lies within; a range of its own for every step keeps small differences apart.

    The levels of whole numbers are whole.
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
    """For JSON, which knows neither NaN nor tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
