"""Evidence that no training made: pairs with the inputs that a test needs, and their pictures."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from lightning_cossim.loggers.evidence_wire import Picture
from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, View

__all__ = ["apart", "decoded", "example", "noise", "pair", "smooth", "together"]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def example(row: int, picture: Pixels | None = None, text: str | None = None, **fields: Any) -> Example:
    """An input of a batch, unlike the inputs in its other rows."""
    view = None if picture is None and text is None else View(picture=picture, text=text)
    known = {"probabilities": (0.5, 0.25), "predicted": 0, "target": 1, "view": view}
    return Example(**{"reference": InputReference(loader=0, batch=7, row=row, index=100 + row), **known, **fields})


def pair(one: int = 0, other: int = 1, **fields: Any) -> PairEvidence:
    """A pair of labels; without `examples`, it has none."""
    return PairEvidence(**{"labels": (one, other), "names": (f"label {one}", f"label {other}"), **fields})


def noise(seed: int, height: int = 64, width: int = 64) -> Pixels:
    """A picture that no format makes small."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(seed: int, height: int = 64, width: int = 64) -> Pixels:
    """A picture of soft transitions, as photos have them, which JPEG makes small and PNG does not."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 64
    waves = [np.sin(3 * (a * x + b * y + c)) for a, b, c in generator.uniform(0, 3, (3, 3))]
    grain = generator.normal(0, 3, (height, width, 3))
    return (128 + 90 * np.stack(waves, axis=-1) + grain).clip(0, 255).astype(np.uint8)


def decoded(picture: Picture) -> Pixels:
    """The pixels (H, W, 3) of a picture."""
    image = Image.open(BytesIO(picture.content))
    assert image.format == picture.kind.upper()
    assert image.size == (picture.width, picture.height)
    return np.asarray(image.convert("RGB"))


def apart(blob: bytes) -> tuple[bytes, bytes]:
    """Header and body of a blob."""
    start = 4 + int.from_bytes(blob[:4], "little")
    return blob[4:start], blob[start:]


def together(header: bytes, body: bytes) -> bytes:
    """The blob of a header and a body."""
    return len(header).to_bytes(4, "little") + header + body
