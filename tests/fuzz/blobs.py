"""Blobs of steps and of evidence that are damaged or made to harm."""

import json
import struct
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, Final

from lightning_cossim.loggers.evidence_packing import pack_evidence
from lightning_cossim.loggers.evidence_wire import unpack_evidence
from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.wire import pack, unpack
from lightning_cossim.tensorboard_plugin.history import history
from tests.fuzz.mutations import bad_bytes, bad_name
from tests.loggers.evidence import example, pair, smooth
from tests.tensorboard_plugin.events import CLOTHES, reports
from tests.tensorboard_plugin.steps import as_version_1, as_version_2, with_targets

__all__ = ["check_blob", "damaged_blob", "good_blobs"]

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e300, 1e301, -1e308, 2**31, 2**53 + 1, 2**64, 10**400),
    *(float("nan"), float("inf"), float("-inf")),
    *("", "overlap", "__proto__", "constructor", [], [[]], {}, [None], {"": None}, {"__proto__": {}}),
    *([0] * 30_000, [*range(20_000)], ["a"] * 20_000, [[0, 1]] * 9_999),
)


@cache
def good_blobs() -> tuple[bytes, ...]:
    """Blobs of steps, of every version, and one with evidence."""
    few, many = (step_of(reports(number, 1)[0], index=1, time=0.0) for number in (10, 200))
    inputs = (example(0, smooth(1), predicted=2, target=6), example(1, text="a text", predicted=2, target=None))
    evidence = pack_evidence([pair(2, 6, flag="stranger", examples={"overlap": inputs})], lambda row: CLOTHES[row])
    first = pack(few)
    return first, pack(many), pack(with_targets(few)), as_version_1(first), as_version_2(first), evidence


def damaged_blob(draw: Random) -> bytes:
    """One damaged blob."""
    blob = draw.choice(good_blobs())
    return bad_bytes(draw, blob) if draw.random() < 0.3 else _with_bad_header(draw, blob)


def refused(read: Callable[[bytes], object], blob: bytes) -> str:
    """Why a blob is refused; empty if it is read."""
    try:
        read(blob)
    except ValueError as error:
        return str(error)
    return ""


def check_blob(damaged: bytes) -> None:
    """Read a blob as the server reads it: it is a step, or a `ValueError` of one line, and other steps are still read."""
    for read in (unpack, unpack_evidence):
        said = refused(read, damaged)
        assert "\n" not in said, said[:500]
        assert len(said) < 2_000, said[:500]
    good = good_blobs()[0]
    found = history([1, 2, 3], [good, damaged, good], [(0, 1), (2, 3)])
    assert len(found["steps"]) + found["unreadable"] == 3
    assert {1, 3} <= {*found["steps"]}
    json.dumps(found, allow_nan=False)


def _with_bad_header(draw: Random, blob: bytes) -> bytes:
    start = 4 + int.from_bytes(blob[:4], "little")
    header = json.loads(blob[4:start])
    for _ in range(draw.choice((1, 1, 2, 3))):
        _damage(draw, header)
    body = blob[start:] if draw.random() < 0.8 else blob[start : draw.randrange(start, len(blob) + 1)]
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    if draw.random() < 0.1:
        deep = draw.choice((100, 1_000, 50_000))
        text = text[:-1] + b',"deep":' + b"[" * deep + b"]" * deep + b"}"
    return struct.pack("<I", draw.choice((len(text), len(text), len(text), len(text) - 1, 2**32 - 1))) + text + body


def _damage(draw: Random, value: Any) -> None:
    """Change one value somewhere in an object or a list."""
    while True:
        keys = list(value) if isinstance(value, dict) else [*range(len(value))]
        if not keys:
            return
        key = draw.choice(keys)
        if not isinstance(value[key], dict | list) or draw.random() < 0.4:
            break
        value = value[key]
    what = draw.randrange(5)
    if what == 0:
        del value[key]
    elif what == 1 and isinstance(value, dict):
        value[draw.choice(("__proto__", "constructor", "", bad_name(draw)))] = value.pop(key)
    elif what == 2 and isinstance(value, list):
        value.extend(value[key : key + 1] * draw.choice((1, 5_000)))
    elif what == 3:
        value[key] = bad_name(draw)
    else:
        value[key] = draw.choice(_VALUES)
