"""Turn a report into a step of TensorBoard's tab: all pairs of up to 140 labels, chosen pairs of more labels.

Shapes: L labels compared, P pairs of them, C pairs chosen.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.functional.pairs import Pairs, inverse_index
from lightning_cossim.functional.similarities import QUANTITIES
from lightning_cossim.loggers.evidence_packing import pack_evidence
from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.wire import FLAGS, MAX_BYTES, Step
from lightning_cossim.report import GapReport, Side
from lightning_cossim.report.export import harmless
from lightning_cossim.report.pair import OF_TARGETS, REACHES
from lightning_cossim.report.tables import shortened
from lightning_cossim.report.text import absent_in_words
from lightning_cossim.report.verdicts import WHY_UNFLAGGED

__all__ = ["MAX_LABELS", "MAX_NAMES", "MAX_PAIRS", "as_csv", "as_json", "evidence_blob", "step_of"]

MAX_LABELS: Final = 140
"""Up to this many labels, a step has all pairs. More would not fit into `MAX_BYTES`."""
MAX_PAIRS: Final = 10_000
"""Largest number of pairs chosen."""
MAX_NAMES: Final = 2_000
"""Largest number of labels of the pairs chosen."""
_TOP: Final = 500
"""Number of pairs chosen for each of: largest gaps, smallest gaps, most alike by each similarity."""
_TOGETHER: Final = 60
"""Number of most probable labels of which a step has all pairs, if there is space: a heatmap needs them."""
_LONGEST: Final = 48
"""Largest number of characters of a name."""
_LONGEST_TEXT: Final = 400
"""Largest number of characters of a remark."""
_OF_A_LABEL: Final = 28
"""Bytes that a label takes in a header besides its name."""
_ROOM_FOR_TEXTS: Final = 20_000
"""Bytes reserved for a header besides its labels."""
_DIGITS: Final = 6
"""Digits after the point in CSV and JSON."""
_CURVE: Final = 257
"""Grid points of the curve of expected overlaps: more than a picture can show."""
_THRESHOLDS: Final = ("stranger", "lookalike", "outlier", "min_joint_inputs", "min_reliability")
"""Thresholds that a step contains."""
_LOTS: Final = 2**20
"""Number of values that `_lot` returns."""
_NUMBERS: Final[Mapping[Side, int]] = {"strangers": FLAGS.index("stranger"), "lookalikes": FLAGS.index("look-alike")}


def step_of(report: GapReport, *, index: int, time: float, order: LabelOrder | None = None) -> Step:
    """The step of a report.

    Args:
        report: the report, after its verdict.
        index: number of steps of the report's stage, this one included.
        time: time of writing, in seconds since 1970.
        order: the order of labels in all heatmaps of the run; default an order of this report alone.
    """
    shown = _shown(report)
    pairs, flag = report.compared[shown.pairs], torch.zeros(len(shown.pairs), dtype=torch.uint8)
    for side, number in _NUMBERS.items():
        if side in report.flags:
            flag[report.flags[side][shown.pairs]] = number
    place_L = inverse_index(shown.labels, len(report.labels))
    places = (order or LabelOrder()).places(report, shown.together)
    order_L = place_L[torch.tensor(places, dtype=torch.int64)]
    truncation, thresholds, why = report.truncation, report.verdict.thresholds, report.verdict.why
    return Step(
        stage=report.stage,
        step=report.step,
        index=index,
        time=time,
        link=report.link,
        cosine=report.ladder.cosine,
        num_labels=report.num_live,
        num_inputs=report.num_inputs,
        num_pairs=report.num_pairs,
        chosen=shown.how,
        truncation=0.0 if truncation is None or not truncation.numel() else float(truncation.max()),
        verdict=report.verdict.why_none or "",
        thresholds={} if thresholds is None else {name: getattr(thresholds, name) for name in _THRESHOLDS},
        limits={side: float(limit) for side, limit in report.verdict.limits.items()},
        reasons=[] if why is None else WHY_UNFLAGGED,
        quantities=_quantities(report),
        similarities=report.ladder.similarities,
        scalars=report.scalars,
        standard_errors=report.standard_errors,
        undefined=report.undefined,
        remarks=[shortened(remark, _LONGEST_TEXT) for remark in (absent_in_words(report), *report.remarks.values()) if remark],
        names=[_name(report, label) for label in shown.labels.tolist()],
        labels=[report.labels[label] for label in shown.labels.tolist()],
        mean_probs=[float(f"{prob:.4g}") for prob in report.mean_probs[shown.labels].tolist()],
        order=order_L[order_L >= 0].tolist(),
        curve=_curve(report),
        row=place_L[pairs.row].numpy(),
        column=place_L[pairs.column].numpy(),
        values={name: values[shown.pairs].numpy() for name, values in _values(report).items()},
        flag=flag.numpy(),
        why=(torch.zeros_like(flag) if why is None else why[shown.pairs]).numpy(),
        reach=(torch.zeros_like(flag) if report.reach is None else report.reach[shown.pairs]).numpy(),
        targets=_of_targets(report, shown.pairs),
    )


def evidence_blob(report: GapReport, *, with_views: bool = True) -> bytes | None:
    """The inputs behind the pairs of a report, as the second blob of its step; None if the report has none.

    Args:
        report: the report, after its verdict.
        with_views: False omits pictures and texts, so that references and probabilities of more pairs fit.
    """
    pairs = report.evidence.pairs
    if not pairs:
        return None
    name_of = report.context.name_of
    return pack_evidence(pairs, lambda label: shortened(name_of(label), _LONGEST), with_views=with_views)


def _values(report: GapReport) -> dict[str, Tensor]:
    """Key to the values of all pairs (P,). The gap is absent, because it is the difference of two of them."""
    return {
        **report.rungs,
        "overlap_error": report.overlap_error,
        "expected_overlap": report.expected_overlap,
        "joint_inputs": report.joint_inputs,
    }


def _of_targets(report: GapReport, pairs: Tensor) -> dict[str, Any]:
    """Errors and shares of the joint mass (C,) of some pairs; empty if targets are unknown."""
    if report.errors is None or report.joint_shares is None:
        return {}
    of_pairs = [*report.errors[:, pairs], *report.joint_shares[:, pairs]]
    return {name: values.numpy() for name, values in zip(OF_TARGETS, of_pairs, strict=True)}


def _quantities(report: GapReport) -> list[dict[str, Any]]:
    """Name, range and explanation of each quantity under the report's link, from the table of similarities."""
    shown = (*_values(report), "gap")
    return [
        {
            "key": row.key,
            "title": row.title,
            "column": row.column,
            "low": _bound(row.low),
            "high": _bound(row.high),
            "direction": row.direction,
            "whole": row.form == "d",
            "about": list(row.explained(report.link)),
        }
        for row in map(QUANTITIES.__getitem__, shown)
    ]


def _curve(report: GapReport) -> list[list[float]]:
    """The corners (cosine, overlap) of the curve of expected overlaps, on a grid of cosines; empty if the curve is unknown."""
    known = report.expected_curve.isfinite()
    if not known.any():
        return []
    s_P, e_P = (values[known].double().numpy() for values in (report.rungs[report.ladder.cosine], report.expected_curve))
    order = s_P.argsort()
    grid = np.linspace(s_P[order[0]], s_P[order[-1]], _CURVE)
    curve = np.interp(grid, s_P[order], e_P[order])
    turns = np.ones(_CURVE, dtype=bool)
    turns[1:-1] = (curve[1:-1] > curve[:-2]) | (curve[1:-1] < curve[2:])
    return [[float(f"{number:.4g}") for number in corner] for corner in zip(grid[turns], curve[turns], strict=True)]


def _bound(value: float) -> float | None:
    """A bound of a range as JSON can hold it; None if it is infinite."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class _Shown:
    """The pairs and labels of a report that a step has."""

    pairs: Tensor
    """(C,), places of the pairs in the report, ascending."""
    labels: Tensor
    """Places of the labels of these pairs in the report, ascending."""
    together: int
    """Number of most probable labels of which the step should have all pairs: the largest heatmap."""
    how: str
    """How the pairs were chosen, in words; empty if the step has all pairs."""


def _shown(report: GapReport) -> _Shown:
    num_labels = len(report.labels)
    if num_labels <= MAX_LABELS and not report.sampling:
        return _Shown(torch.arange(len(report.compared)), torch.arange(num_labels), MAX_LABELS, "")
    probable = report.mean_probs.nan_to_num(0).where(report.kept, -1).topk(min(_TOGETHER, num_labels)).indices
    order = _by_importance(report, probable)
    within = _fits(report, order)
    pairs = order[:within].sort().values
    compared = report.compared[pairs]
    how = (
        f"{len(pairs)} of {report.num_pairs} pairs: the {_TOP} largest gaps in either direction, the {_TOP} most alike pairs by "
        f"each similarity, all pairs of the {len(probable)} most probable labels, flagged pairs, and random others"
    )
    how += f", chosen from a sample ({report.sampling})" if report.sampling else ""
    return _Shown(pairs, compared.labels, len(probable), how)


def _by_importance(report: GapReport, probable: Tensor) -> Tensor:
    """Places of pairs of kept labels (C,), at most `MAX_PAIRS`, the most important first."""
    compared = report.compared
    gap = report.gap
    first = [_top(gap), _top(-gap)]
    first += [_top(QUANTITIES[rung].direction * values) for rung, values in report.rungs.items()]
    is_probable = torch.zeros(len(report.labels), dtype=torch.bool)
    is_probable[probable] = True
    first.append((is_probable[compared.row] & is_probable[compared.column]).nonzero().flatten())
    first += [flagged.nonzero().flatten() for flagged in report.flags.values()]
    rank = torch.full((len(compared),), len(first))
    for number, some in reversed(list(enumerate(first))):
        rank[some] = number
    key = rank * _LOTS + _lot(torch.tensor(report.labels), compared)
    key = key.where(report.kept[compared.row] & report.kept[compared.column], 100 * _LOTS)
    first_of_all = key.topk(min(MAX_PAIRS, len(key)), largest=False)
    return first_of_all.indices[first_of_all.values < 100 * _LOTS]


def _lot(labels: Tensor, pairs: Pairs) -> Tensor:
    """A pseudorandom number in [0, `_LOTS`) for each pair (P,), equal at every step, so that the chosen pairs have a history."""
    mixed = labels[pairs.row] * 0x9E3779B1 ^ labels[pairs.column] * 0x85EBCA77
    mixed = (mixed ^ mixed >> 15) * 0x2C1B3C6D & 0x7FFFFFFFFFFF
    return (mixed ^ mixed >> 17) & (_LOTS - 1)


def _top(values: Tensor) -> Tensor:
    """The places of the `_TOP` largest known values."""
    largest = values.nan_to_num(-math.inf).topk(min(_TOP, len(values)))
    return largest.indices[largest.values > -math.inf]


def _fits(report: GapReport, order: Tensor) -> int:
    """Number of pairs, taken in this order, that fit into `MAX_BYTES` with the names of their labels."""
    compared = report.compared[order]
    labels, first = np.unique(torch.stack([compared.row, compared.column], dim=1).flatten().numpy(), return_index=True)
    by_first = first.argsort()[:MAX_NAMES]
    num_pairs = len(order) if len(by_first) == len(labels) else int(first[by_first[-1]]) // 2
    size = np.zeros(2 * len(order))
    size[first[by_first]] = [_OF_A_LABEL + len(_name(report, label).encode()) for label in labels[by_first].tolist()]
    of_a_pair = 4 + 2 * len(_values(report)) + 1
    total = size.reshape(-1, 2).sum(axis=1).cumsum() + of_a_pair * np.arange(1, len(order) + 1)
    return min(num_pairs, int((total <= MAX_BYTES - _ROOM_FOR_TEXTS).sum()))


def _name(report: GapReport, label: int) -> str:
    return shortened(report.names[label], _LONGEST)


def as_csv(step: Step) -> str:
    """The pairs of a step that have a value as CSV, one line for each, in descending order of the gap.

    A name that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    rows = list(_records(step))
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["label", "other"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def as_json(step: Step) -> str:
    """A step as JSON: its facts, and its pairs as in `as_csv`."""
    whole = {
        "stage": step.stage,
        "step": step.step,
        "time": step.time,
        "num_inputs": step.num_inputs,
        "num_pairs": step.num_pairs,
        "chosen": step.chosen,
        "truncation": step.truncation,
        "verdict": step.verdict,
        "thresholds": dict(step.thresholds),
        "limits": dict(step.limits),
        "scalars": {name: None if math.isnan(value) else value for name, value in step.scalars.items()},
        "standard_errors": dict(step.standard_errors),
        "undefined": dict(step.undefined),
        "remarks": list(step.remarks),
        "pairs": list(_records(step)),
    }
    return json.dumps(whole, ensure_ascii=False, allow_nan=False)


def _records(step: Step) -> Iterator[dict[str, Any]]:
    gap = step.values["overlap"] - step.values["expected_overlap"]
    counts = np.flatnonzero(np.isfinite([step.values[name] for name in (*step.similarities, "overlap")]).any(axis=0))
    order = counts[np.argsort(-np.nan_to_num(gap[counts], nan=-2.0), kind="stable")]
    known = {**step.values, "gap": gap, **step.targets}
    columns = {name: _rounded(values[order]) for name, values in known.items()}
    for number, index in enumerate(order.tolist()):
        yield {
            "label": step.names[step.row[index]],
            "other": step.names[step.column[index]],
            **{name: None if math.isnan(values[number]) else values[number] for name, values in columns.items()},
            "flag": FLAGS[step.flag[index]],
            "why_unflagged": _why(step, index),
            **({"reachable": REACHES[step.reach[index]]} if step.reach.any() else {}),
        }


def _why(step: Step, index: int) -> str:
    """The reason why a pair is not flagged, or "no verdict"; empty if the pair is flagged or the step has no reasons."""
    return "no verdict" if step.verdict else step.reasons[step.why[index]] if step.reasons else ""


def _rounded(values: Any) -> list[float]:
    """Real numbers rounded to `_DIGITS` digits after the point; whole numbers unchanged."""
    found: list[float] = (np.round(values.astype(float), _DIGITS) if values.dtype.kind == "f" else values).tolist()
    return found
