"""Pack the evidence of a report into the blob that `evidence_wire` describes. Pillow encodes the pictures."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from lightning_cossim.loggers.evidence_wire import VERSION, Picture
from lightning_cossim.loggers.wire import MAX_BYTES
from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_SUSPECTS", "pack_evidence"]

MAX_SUSPECTS: Final = 16
"""Largest number of inputs of a pair in the ranking "suspect_label". Reports can have 100 of them."""
_LONGEST_ID: Final = 300
"""Largest number of characters of an identifier. A longer one loses its start, because a path ends with the file's name."""
_JPEG_QUALITY: Final = 85

_Pixels = np.ndarray[Any, np.dtype[np.uint8]]
_Key = tuple[tuple[int, ...], bytes]
"""Shape and content of a picture's pixels."""


class _Amount(NamedTuple):
    """How much of a pair goes into a blob."""

    pictures: bool
    texts: bool
    inputs: int
    """Largest number of inputs of a ranking."""


def pack_evidence(pairs: Sequence[PairEvidence], name_of: Callable[[int], str], *, with_views: bool = True) -> bytes:
    """The blob of some pairs, at most `MAX_BYTES` long.

    A pair is in the blob with all its inputs or not at all, and the pairs after one that does not fit are not in the blob. If not
    even the first pair fits, it loses all its pictures, then all its texts, then the later inputs of its rankings.

    Args:
        pairs: the pairs, the most important first.
        name_of: a function that returns the name of a row of the head.
        with_views: False omits pictures and texts.
    """
    packer = _Packer(len(pairs), name_of)
    for number, pair in enumerate(pairs):
        everything, *less = _amounts(pair, with_views=with_views)
        if not any(packer.add(pair, amount) for amount in (everything, *(() if number else less))):
            break
    return packer.blob()


def _amounts(pair: PairEvidence, *, with_views: bool) -> Iterator[_Amount]:
    """The amounts to try in turn, everything first."""
    inputs = max(map(len, pair.examples.values()), default=0)
    if with_views:
        yield _Amount(pictures=True, texts=True, inputs=inputs)
        yield _Amount(pictures=False, texts=True, inputs=inputs)
    yield _Amount(pictures=False, texts=False, inputs=inputs)
    while inputs:
        inputs //= 2
        yield _Amount(pictures=False, texts=False, inputs=inputs)


class _Packer:
    """Collects pairs for a blob while they fit.

    Args:
        num_pairs: number of pairs of the report.
        name_of: a function that returns the name of a row of the head.
    """

    def __init__(self, num_pairs: int, name_of: Callable[[int], str]) -> None:
        self._num_pairs, self._name_of = num_pairs, name_of
        self._names: dict[str, str] = {}
        self._pictures: dict[_Key, Picture] = {}
        self._pairs: list[dict[str, Any]] = []
        self._room = MAX_BYTES - len(self.blob())

    def add(self, pair: PairEvidence, amount: _Amount) -> bool:
        """Add a pair, unless it does not fit.

        Returns:
            Whether it fits.
        """
        chosen = {ranking: some[: _most(ranking, amount)] for ranking, some in pair.examples.items()}
        examples = [example for some in chosen.values() for example in some]
        pictures = self._new_pictures(examples) if amount.pictures else {}
        if pictures is None:
            return False
        places = {key: place for place, key in enumerate([*self._pictures, *pictures])} if amount.pictures else {}
        packed, names = _packed(pair, chosen, places, texts=amount.texts), self._new_names(pair, examples)
        room = self._room - sum(map(_size, (packed, names))) - sum(map(_size_of_picture, pictures.values()))
        if room < 0:
            return False
        self._room = room
        self._names.update(names)
        self._pictures.update(pictures)
        self._pairs.append(packed)
        return True

    def blob(self) -> bytes:
        """The blob of the pairs added."""
        contents = [picture.content for picture in self._pictures.values()]
        offsets = np.cumsum([0, *map(len, contents)]).tolist()
        header = {
            "version": VERSION,
            "num_pairs": self._num_pairs,
            "names": self._names,
            "pictures": [_facts(picture, offset) for picture, offset in zip(self._pictures.values(), offsets, strict=False)],
            "pairs": self._pairs,
        }
        text = _json(header)
        return b"".join([len(text).to_bytes(4, "little"), text, *contents])

    def _new_pictures(self, examples: Sequence[Example]) -> dict[_Key, Picture] | None:
        """The pictures that the blob lacks; None if they do not fit. No picture is encoded after the first that does not fit."""
        found: dict[_Key, Picture] = {}
        room = self._room
        for pixels in (example.view.picture for example in examples if example.view is not None):
            if pixels is None or (key := _key(pixels)) in self._pictures or key in found:
                continue
            found[key] = _encoded(pixels)
            room -= _size_of_picture(found[key])
            if room < 0:
                return None
        return found

    def _new_names(self, pair: PairEvidence, examples: Sequence[Example]) -> dict[str, str]:
        """Row of the head to its name, for the labels that the blob lacks."""
        labels = {*pair.labels, *(label for example in examples for label in (example.predicted, example.target))}
        rows = sorted(int(label) for label in labels if label is not None)
        return {str(row): self._name_of(row) for row in rows if str(row) not in self._names}


def _most(ranking: Ranking, amount: _Amount) -> int:
    return min(amount.inputs, MAX_SUSPECTS) if ranking == "suspect_label" else amount.inputs


def _packed(
    pair: PairEvidence, chosen: Mapping[Ranking, Sequence[Example]], places: Mapping[_Key, int], *, texts: bool
) -> dict[str, Any]:
    """A pair of the header, with each of its inputs once."""
    unique: dict[str, tuple[int, dict[str, Any]]] = {}
    rankings = {}
    for ranking, some in chosen.items():
        entries = [_entry(example, places, texts=texts) for example in some]
        ranked = [unique.setdefault(json.dumps(entry), (len(unique), entry))[0] for entry in entries]
        rankings[ranking] = {"num": len(pair.examples[ranking]), "examples": ranked}
    known = _known(labels=[int(label) for label in pair.labels], flag=pair.flag, is_complete=bool(pair.is_complete))
    return {**known, "examples": [entry for _, entry in unique.values()], "rankings": rankings}


def _entry(example: Example, places: Mapping[_Key, int], *, texts: bool) -> dict[str, Any]:
    view = example.view
    pixels = None if view is None else view.picture
    return _known(
        reference=_reference(example.reference),
        p=[float(f"{p:.4g}") if math.isfinite(p) else None for p in example.probabilities],
        predicted=int(example.predicted),
        target=None if example.target is None else int(example.target),
        text=view.text if texts and view is not None else None,
        picture=None if pixels is None else places.get(_key(pixels)),
    )


def _reference(reference: InputReference) -> dict[str, Any]:
    known = _known(**reference._asdict())
    return {field: _end(value) if field == "id" else int(value) for field, value in known.items()}


def _end(text: str) -> str:
    """The text, or its last characters if it is too long."""
    return text if len(text) <= _LONGEST_ID else f"…{text[1 - _LONGEST_ID :]}"


def _key(pixels: _Pixels) -> _Key:
    return pixels.shape, pixels.tobytes()


def _encoded(pixels: _Pixels) -> Picture:
    """The smaller one of a PNG file and a JPEG file. A picture without color is encoded without color."""
    from PIL import Image

    is_gray = bool((pixels == pixels[..., :1]).all())
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if is_gray else pixels))
    jpeg = _file(image, "jpeg", quality=_JPEG_QUALITY, optimize=True)
    top = image.crop((0, 0, image.width, math.ceil(image.height / 4)))
    if len(_file(top, "png")) <= len(jpeg):  # PNG takes ten times as long for a photo, and a quarter of it is enough to see that
        png = _file(image, "png")
        if len(png) <= len(jpeg):
            return Picture("png", image.width, image.height, png)
    return Picture("jpeg", image.width, image.height, jpeg)


def _file(image: "Image", kind: str, **settings: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def _facts(picture: Picture, offset: int) -> dict[str, Any]:
    return {
        "kind": picture.kind,
        "width": picture.width,
        "height": picture.height,
        "offset": offset,
        "size": len(picture.content),
    }


def _size_of_picture(picture: Picture) -> int:
    """Upper bound on the bytes that a picture takes in a blob."""
    return len(picture.content) + _size(_facts(picture, MAX_BYTES))


def _size(value: Any) -> int:
    """Upper bound on the bytes that a value takes in a header."""
    return len(_json(value)) + len(",")


def _json(value: Any) -> bytes:
    """JSON in UTF-8. Half a surrogate pair, which UTF-8 lacks, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
