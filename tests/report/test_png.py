"""PNG: another decoder reads back every pixel."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_cossim.report.png import as_data_uri, as_png
from tests.report.made_evidence import pixels


@pytest.mark.parametrize(
    "picture",
    [pixels(64, 64), pixels(1, 1), pixels(5, 64), pixels(64, 3), np.zeros((8, 8, 3), np.uint8), pixels(9, 9)[::2, ::-1]],
)
def test_every_pixel_comes_back(picture: Any) -> None:
    """Of slices too, whose memory is not in one piece."""
    image = Image.open(io.BytesIO(as_png(picture)))
    image.verify()
    image = Image.open(io.BytesIO(base64.b64decode(as_data_uri(picture).removeprefix("data:image/png;base64,"))))
    assert (image.format, image.mode) == ("PNG", "RGB")
    assert np.array_equal(np.asarray(image), picture)
