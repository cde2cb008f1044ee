"""The header of a step from an event file: every field is checked, and counts are held against the length of the body.

`lightning_cossim.loggers.wire` describes the format. Shapes: L labels, P pairs.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from lightning_cossim.errors import as_value, expected
from lightning_cossim.loggers.fields import (
    choice,
    items,
    key_in,
    listed,
    mapped,
    number,
    number_or_nothing,
    text,
    typed,
    whole,
)

__all__ = ["MAX_ORDER", "WIDTHS", "checked_columns", "checked_header"]

WIDTHS: Final = {"uint32": 4, "uint16": 2, "uint8": 1}
"""Type of a column to its number of bytes for a pair."""
MAX_ORDER: Final = 140
"""Largest number of labels in `order`: as many as a step can have with all their pairs."""
_MAX_COLUMNS: Final = 100
_OWN: Final = {"pair": "uint32", "flag": "uint8", "reach": "uint8"}
"""Columns that are not quantities, and their types."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
_STAGES: Final = ("train", "val", "test", "analysis", "")
"""The stages of a training, of the command, and of a report that a metric made."""
_SIDES: Final = ("strangers", "lookalikes")


def checked_columns(columns: Any, num_bytes: int) -> tuple[list[Mapping[str, Any]], int]:
    """The columns of a body, and its number of pairs P.

    Args:
        columns: the value in the header.
        num_bytes: length of the body.

    Raises:
        ValueError: a column is not well-formed, or the body does not have whole columns.
    """
    found = listed(columns, "columns", _column)
    names = [one["name"] for one in found]
    if len(names) > _MAX_COLUMNS or len({*names}) < len(names):
        raise ValueError(expected("columns", f"to have at most {_MAX_COLUMNS} different names", as_value(names)))
    for name in ("flag", "overlap", "expected_overlap"):
        if name not in names:
            raise ValueError(expected("columns", f"to have {name!r}", as_value(names)))
    width = sum(WIDTHS[one["type"]] for one in found)
    num_pairs, rest = divmod(num_bytes, width)
    if rest:
        raise ValueError(expected("body", f"to be {width} bytes for each pair", f"{num_bytes} bytes"))
    return found, num_pairs


def _column(value: Any, name: str) -> Mapping[str, Any]:
    column = typed(value, name, dict)
    called = text(key_in(column, "name"), "name")
    if not _NAME.fullmatch(called):
        raise ValueError(expected("name", "to be a word of small letters, digits and _", as_value(called)))
    kind = choice(key_in(column, "type"), "type", (_OWN.get(called, "uint16"),))
    if kind != "uint16":
        return {"name": called, "type": kind}
    low = number(key_in(column, "low"), "low")
    return {"name": called, "type": kind, "low": low, "high": number(key_in(column, "high"), "high", low=low)}


def checked_header(header: Mapping[str, Any], columns: list[Mapping[str, Any]], num_pairs: int) -> dict[str, Any]:
    """The fields of a step except its arrays, and `targets`.

    `order` is cut to labels of the step, each once, and to `MAX_ORDER` labels.

    Args:
        header: a header in the form of the current version.
        columns: the columns that `checked_columns` returned.
        num_pairs: number of pairs in the body.

    Raises:
        ValueError: a field is missing or not well-formed, or there are more or fewer pairs than the names tell.
    """
    quantities = [one["name"] for one in columns if one["type"] == "uint16"]
    names = listed(key_in(header, "names"), "names", text)
    num_labels = len(names)
    if all(one["name"] != "pair" for one in columns) and num_labels * (num_labels - 1) // 2 != num_pairs:
        raise ValueError(expected("body", f"to hold all pairs of {num_labels} labels", f"{num_pairs} pairs"))
    labels = listed(key_in(header, "labels"), "labels", whole, num_labels)
    if len({*labels}) < num_labels:
        raise ValueError(expected("labels", "to be different rows", as_value(labels)))
    similarities = [choice(one, "similarities", quantities) for one in items(key_in(header, "similarities"), "similarities")]
    order = items(key_in(header, "order"), "order")
    places = [one for one in order if type(one) is int and 0 <= one < num_labels]
    return {
        "stage": choice(key_in(header, "stage"), "stage", _STAGES),
        **{key: whole(key_in(header, key), key) for key in ("step", "index", "num_labels", "num_inputs", "num_pairs")},
        "time": number(key_in(header, "time"), "time"),
        **{key: text(key_in(header, key), key) for key in ("link", "chosen", "verdict")},
        "cosine": choice(key_in(header, "cosine"), "cosine", similarities),
        "truncation": number(key_in(header, "truncation"), "truncation", 0, 1),
        "quantities": listed(key_in(header, "quantities"), "quantities", _quantity),
        "similarities": list(dict.fromkeys(similarities)),
        **{key: mapped(key_in(header, key), key, number_or_nothing) for key in ("thresholds", "scalars", "standard_errors")},
        "limits": {choice(key, "limits", _SIDES): one for key, one in _limits(header).items()},
        **{key: listed(key_in(header, key), key, text) for key in ("reasons", "remarks")},
        "undefined": mapped(key_in(header, "undefined"), "undefined", text),
        "names": names,
        "labels": labels,
        "mean_probs": listed(key_in(header, "mean_probs"), "mean_probs", number_or_nothing, num_labels),
        "order": list(dict.fromkeys(places))[:MAX_ORDER],
        "curve": [listed(corner, "curve", number, 2) for corner in items(key_in(header, "curve"), "curve")],
        "targets": [choice(one, "targets", quantities) for one in items(key_in(header, "targets"), "targets")],
    }


def _limits(header: Mapping[str, Any]) -> dict[str, float]:
    limits = mapped(key_in(header, "limits"), "limits", number_or_nothing)
    return {key: limit for key, limit in limits.items() if limit is not None}


def _quantity(value: Any, name: str) -> dict[str, Any]:
    quantity = typed(value, name, dict)
    for key in ("key", "title", "column"):
        text(key_in(quantity, key), key)
    for key in ("low", "high"):
        number_or_nothing(quantity.get(key), key)
    if quantity.get("direction") not in {1, -1}:
        raise ValueError(expected("direction", "to be 1 or -1", as_value(quantity.get("direction"))))
    typed(quantity.get("whole", False), "whole", bool)
    listed(key_in(quantity, "about"), "about", text)
    return quantity
