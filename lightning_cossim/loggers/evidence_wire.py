"""The wire format of evidence: the inputs behind pairs of labels, as they go from the event file to TensorBoard's tab.

Evidence is the second blob of a step, so that a reader of steps does not load it. This module needs no torch. A blob has:

* four bytes, little-endian: the length of the header in bytes;
* the **header**, JSON in UTF-8. A key that is absent means "not known". The keys are:

  - `version`;
  - `num_pairs`: number of pairs with evidence in the report. The blob has the first of them, as many as fit;
  - `names`: row of the head to name, for every label in the blob;
  - `pictures`: `{"kind", "width", "height", "offset", "size"}` of each picture, in the order of the body;
  - `pairs`: `{"labels", "flag", "is_complete", "examples", "rankings"}` of each pair. `examples` has each input of the pair once:
    `{"reference", "p", "predicted", "target", "text", "picture"}`, where `p` are the probabilities of the two labels (null:
    unknown) and `picture` is a place in `pictures`. `rankings` has for each ranking `{"num", "examples"}`: its number of inputs
    in the report, and the places in `examples` of its inputs in the blob, the first one first;

* the **body**: the PNG and JPEG files of the pictures, one after another, each one once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lightning_cossim.errors import expected
from lightning_cossim.loggers.fields import LARGEST, choice, header_and_body, text, typed, whole
from lightning_cossim.loggers.wire import MAX_BYTES

__all__ = ["VERSION", "Picture", "SentEvidence", "SentExample", "SentPair", "unpack_evidence"]

VERSION: Final = 1
_MAX_SIDE: Final = 64
"""Largest height and width of a picture, in pixels."""
_RANKINGS: Final = ("overlap", "confident", "suspect_label")
_NUMBERS: Final = ("loader", "batch", "row", "position", "index", "process")
"""Fields of a reference that are whole numbers; the other one is `id`."""
_FLAGS: Final = ("stranger", "look-alike")
_STARTS: Final = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff"}
"""Kind of a picture to the first bytes of its file."""


class Picture(NamedTuple):
    """A picture as a file."""

    kind: str
    """"png" or "jpeg"."""
    width: int
    height: int
    content: bytes


@dataclass(frozen=True)
class SentExample:
    """An input of a pair, as it was sent."""

    reference: Mapping[str, int | str]
    """Field to value, for the known fields of its `InputReference`."""
    probabilities: tuple[float, float]
    """Probabilities of the pair's two labels, with four significant digits; NaN if unknown."""
    predicted: int
    """The most likely label, as row of the head."""
    target: int | None
    """The target, as row of the head."""
    text: str | None
    picture: int | None
    """A place in the `pictures` of the blob."""


@dataclass(frozen=True)
class SentPair:
    """The inputs behind one pair of labels, as they were sent."""

    labels: tuple[int, int]
    """Rows of the head, the smaller one first."""
    flag: str | None
    is_complete: bool
    """False if inputs of the pair may be missing in the report."""
    examples: Mapping[str, tuple[SentExample, ...]]
    """Ranking to its inputs, the first one first."""
    num_examples: Mapping[str, int]
    """Ranking to the number of its inputs in the report."""


@dataclass(frozen=True)
class SentEvidence:
    """The content of a blob."""

    num_pairs: int
    """Number of pairs with evidence in the report, whether they are in the blob or not."""
    names: Mapping[int, str]
    """Row of the head to its name, for every label in the blob."""
    pairs: tuple[SentPair, ...]
    pictures: tuple[Picture, ...]


def unpack_evidence(blob: bytes) -> SentEvidence:
    """The evidence in a blob, after a check of every value. Pictures are not decoded.

    Raises:
        ValueError: the blob is not evidence, or a later version wrote it. The message is one line.
    """
    header, body = header_and_body(blob, MAX_BYTES)
    version = _whole(header, "version", low=1)
    if version > VERSION:
        raise ValueError(expected("version", f"to be at most {VERSION}", version, "Upgrade lightning-cossim."))
    names = {_row(label): text(name, "names") for label, name in _object(header, "names").items()}
    pictures = _pictures(_list(header, "pictures"), body)
    pairs = tuple(_pair(one, names, len(pictures)) for one in _list(header, "pairs"))
    return SentEvidence(_whole(header, "num_pairs", low=len(pairs)), names, pairs, pictures)


def _pictures(facts: list[Any], body: bytes) -> tuple[Picture, ...]:
    pictures, end = [], 0
    for one in facts:
        fact = typed(one, "pictures", dict)
        kind = choice(fact.get("kind"), "kind", tuple(_STARTS))
        width, height = (_whole(fact, side, low=1, high=_MAX_SIDE) for side in ("width", "height"))
        offset, size = _whole(fact, "offset", low=end, high=end), _whole(fact, "size", low=1, high=len(body) - end)
        end = offset + size
        content = body[offset:end]
        if not content.startswith(_STARTS[kind]):
            raise ValueError(expected("pictures", f"to be {kind} files where their kind says so", repr(content[:8])))
        pictures.append(Picture(kind, width, height, content))
    if end != len(body):
        raise ValueError(expected("pictures", f"to fill the body of {len(body)} bytes", f"{end} bytes"))
    return tuple(pictures)


def _pair(value: Any, names: Mapping[int, str], num_pictures: int) -> SentPair:
    pair = typed(value, "pairs", dict)
    labels = _list(pair, "labels")
    if len(labels) != 2 or not all(type(label) is int and label in names for label in labels) or labels[0] >= labels[1]:
        raise ValueError(expected("labels", "to be two rows with names, the smaller one first", repr(labels)))
    examples = [_example(one, names, num_pictures) for one in _list(pair, "examples")]
    ranked, num_examples = {}, {}
    for ranking, one in _object(pair, "rankings").items():
        if ranking not in _RANKINGS:
            raise ValueError(expected("rankings", f"to be among {', '.join(_RANKINGS)}", repr(ranking)))
        content = typed(one, "rankings", dict)
        places = [whole(place, "examples", high=len(examples) - 1) for place in _list(content, "examples")]
        ranked[ranking] = tuple(examples[place] for place in places)
        num_examples[ranking] = _whole(content, "num", low=len(places))
    flag = choice(pair["flag"], "flag", _FLAGS) if "flag" in pair else None
    return SentPair((labels[0], labels[1]), flag, typed(pair.get("is_complete"), "is_complete", bool), ranked, num_examples)


def _example(value: Any, names: Mapping[int, str], num_pictures: int) -> SentExample:
    example = typed(value, "examples", dict)
    probabilities = _list(example, "p")
    if len(probabilities) != 2 or not all(map(_is_probability, probabilities)):
        raise ValueError(expected("p", "to be two numbers from 0 to 1, or null", repr(probabilities)))
    first, second = (math.nan if p is None else float(p) for p in probabilities)
    rows = {key: _whole(example, key) for key in ("predicted", "target") if key in example or key == "predicted"}
    for key, row in rows.items():
        if row not in names:
            raise ValueError(expected(key, "to be a row with a name", row))
    return SentExample(
        _reference(_object(example, "reference")),
        (first, second),
        rows["predicted"],
        rows.get("target"),
        text(example["text"], "text") if "text" in example else None,
        _whole(example, "picture", high=num_pictures - 1) if "picture" in example else None,
    )


def _reference(fields: dict[str, Any]) -> dict[str, int | str]:
    for field in fields:
        if field not in (*_NUMBERS, "id"):
            raise ValueError(expected("reference", f"to have the fields {', '.join(_NUMBERS)} and id", repr(field)))
    return {field: text(value, field) if field == "id" else whole(value, field) for field, value in fields.items()}


def _row(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < len(str(LARGEST))):
        raise ValueError(expected("names", "to have rows as keys", repr(key)))
    return int(key)


def _is_probability(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and 0 <= value <= 1)


def _whole(values: Mapping[str, Any], key: str, low: int = 0, high: int = LARGEST) -> int:
    return whole(values.get(key), key, low, high)


def _object(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = typed(values.get(key), key, dict)
    return found


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    found: list[Any] = typed(values.get(key), key, list)
    return found
