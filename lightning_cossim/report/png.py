"""Pictures as PNG, with the standard library alone, so that a notebook shows them without another import."""

import base64
import struct
import zlib
from typing import Any, Final

import numpy as np

__all__ = ["as_data_uri", "as_png"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def as_png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The PNG file of a picture.

    Args:
        pixels: (H, W, 3), uint8, at least one pixel.
    """
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # the first byte of a line is its filter: 0, none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines.tobytes())), _chunk(b"IEND", b"")]
    return b"".join([_SIGNATURE, *chunks])


def as_data_uri(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """The address of a picture that contains its PNG file. Loading it makes no request."""
    return f"data:image/png;base64,{base64.b64encode(as_png(pixels)).decode('ascii')}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
