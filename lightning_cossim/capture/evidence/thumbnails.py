"""Thumbnails: small 8-bit pictures of the images in a batch.

Shapes: B inputs of a batch, n chosen inputs, C channels (1, 3 or 4), H and W the size of an image, h and w that of its thumbnail.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_cossim.functional.precision import full_precision, has_float64, resolution

__all__ = ["Picture", "Thumbnails", "as_images", "looks_like_image", "single_image"]

Picture = NDArray[np.uint8]
"""(h, w, 3), 8 bit, h and w at most 64."""

_SIDE: Final = 64
"""The longest side of a thumbnail, in pixels."""
_FINEST: Final = 512
"""The longest side that is averaged exactly. Of a larger image, only every second, third, … pixel is read."""
_NUM_NUMBERS: Final = 2**22
"""Maximum number of pixel values that are processed at a time, if a single image has fewer."""
_CHANNELS: Final = (3, 1, 4)
"""The numbers of channels of an image, the most common one first."""
_SMALLEST: Final = 4
"""The shortest side of what counts as an image in a batch."""
_WIDE: Final = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)
"""Types whose values float32 cannot hold."""


def as_images(tensor: Tensor) -> Tensor | None:
    """A tensor of a batch as images, the channels first; None if its shape does not fit.

    Args:
        tensor: images (B, C, H, W), (B, H, W, C) or (B, H, W); or videos (B, T, C, H, W), (B, C, T, H, W) or (B, T, H, W, C), of
            which the middle frame counts. If several layouts fit, 3 channels are preferred to 1, and 1 to 4.

    Returns:
        (B, C, H, W), a view.
    """
    if not _is_dense(tensor) or not tensor.numel() or tensor.ndim not in {3, 4, 5}:
        return None
    images = [tensor[:, None]] if tensor.ndim == 3 else [tensor.movedim(axis, 1) for axis in (1, 3)]
    if tensor.ndim == 5:
        images = [one[:, :, one.shape[2] // 2] for one in (tensor.movedim(axis, 1) for axis in (2, 1, 4))]
    fitting = [one for one in images if one.shape[1] in _CHANNELS and min(one.shape[2:]) >= _SMALLEST]
    if tensor.ndim == 5:
        fitting.sort(key=lambda one: _CHANNELS.index(one.shape[1]))
    return fitting[0] if fitting else None


def single_image(value: Any) -> Tensor | None:
    """A single image as (1, C, H, W); None if the value is no image.

    Args:
        value: a tensor or an array (H, W), (C, H, W) or (H, W, C), or a PIL image. If both of the last two fit, a tensor has
            its channels first and an array has them last.
    """
    is_tensor = isinstance(value, Tensor)
    if _is_pil(value):
        value = _pixels(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        # A copy in the machine's byte order: torch reads neither other orders nor read-only arrays.
        value = torch.from_numpy(np.array(value, dtype=np.uint8 if value.dtype == np.uint8 else np.float64, order="C"))
    if not isinstance(value, Tensor) or not _is_dense(value) or not value.numel():
        return None
    if value.ndim == 2:
        return value[None, None]
    fitting = [axis for axis in ((0, 2) if is_tensor else (2, 0)) if value.ndim == 3 and value.shape[axis] in _CHANNELS]
    return value.movedim(fitting[0], 0)[None] if fitting else None


def looks_like_image(value: Any) -> bool:
    """Whether a value is a single image with a dimension of channels, as `single_image` takes it. Reads no pixels."""
    if _is_pil(value):
        return True
    is_array = isinstance(value, Tensor | np.ndarray) and value.ndim == 3
    return is_array and bool({value.shape[0], value.shape[2]} & {*_CHANNELS}) and sorted(value.shape)[1] >= _SMALLEST


class Thumbnails:
    """Makes thumbnails.

    Args:
        mean: the mean that was subtracted from each channel; None: the images are not normalized, or it is not known how.
        std: the standard deviation by which each channel was divided, present with `mean`.
        warn: warns; it gets a text.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, warn: Callable[[str], None]) -> None:
        self._mean, self._std, self._warn = mean, std, warn

    def of(self, images: Tensor, rows: Sequence[int]) -> list[Picture | None]:
        """The thumbnails of some images of a batch.

        8-bit images keep their colors. Other images are undone their normalization if `mean` is given. Without it, an image with
        values in [0, 1] keeps them, and another one is scaled by its own range; if it is constant, it becomes gray.

        Args:
            images: (B, C, H, W), real numbers of any type.
            rows: the n chosen images, from 0 to B - 1.

        Returns:
            n thumbnails; None for an image with NaN or infinite values.
        """
        step = -(-max(images.shape[2:]) // _FINEST)
        images = images[:, :, ::step, ::step]
        num = max(1, _NUM_NUMBERS // images[:1].numel())
        pictures: list[Picture | None] = []
        for first in range(0, len(rows), num):
            # An index from NumPy, because the user's default device must not matter.
            index = torch.from_numpy(np.array(rows[first : first + num], dtype=np.int64)).to(images.device)
            pictures += self._pictures(images.index_select(0, index))
        if any(picture is None for picture in pictures):
            self._warn("some inputs are shown without their pictures, because these have NaN or infinite values")
        return pictures

    def _pictures(self, images: Tensor) -> list[Picture | None]:
        dtype, channels = images.dtype, images.shape[1]
        if dtype in {torch.uint8, torch.bool} and channels < 4 and max(images.shape[2:]) <= _SIDE:
            return list(_copies(images if dtype == torch.uint8 else images.to(torch.uint8) * 255))
        x = images.to(torch.float64 if dtype in _WIDE and has_float64(images.device) else torch.float32)
        if channels == 4:
            x = 255 - (255 - x[:, :3]) * (x[:, 3:] / 255) if dtype == torch.uint8 else x[:, :3]
        x = _reduced(x)
        low, high = (one[:, None, None, None] for one in (x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)))
        is_finite = (low.isfinite() & high.isfinite()).flatten()
        if dtype == torch.uint8:
            x = x / 255
        elif dtype != torch.bool:
            x = self._colors(x, low, high, channels, rounding=resolution(x))
        pictures = _copies((x * 255).add_(0.5).clamp_(0, 255).to(torch.uint8))
        return [picture if finite else None for picture, finite in zip(pictures, is_finite.tolist(), strict=True)]

    def _colors(self, x: Tensor, low: Tensor, high: Tensor, channels: int, *, rounding: float) -> Tensor:
        """Values (n, C, h, w) as colors, black 0 and white 1. A smaller relative difference than `rounding` is none."""
        if self._mean is None or self._std is None:
            return _in_own_range(x, low, high, rounding)
        if not {len(self._mean), len(self._std)} <= {1, channels}:
            self._warn(
                f"`Evidence(mean=…, std=…)` has {len(self._mean)} and {len(self._std)} numbers, but images of inputs have "
                f"{channels} channels, so each thumbnail is scaled by its own range"
            )
            return _in_own_range(x, low, high, rounding)
        mean, std = (np.reshape(one, (-1, 1, 1))[: x.shape[1]] for one in (self._mean, self._std))
        white = 255 if max(*self._mean, *self._std) > 1 else 1  # a mean above 1 is that of values from 0 to 255
        return x * _like(std / white, x) + _like(mean / white, x)


def _copies(levels: Tensor) -> Iterator[Picture]:
    """Levels (n, 1 or 3, h, w) as pictures. A copy each: a thumbnail that is kept must not keep the others in memory."""
    pixels = levels.cpu().numpy()
    if pixels.shape[1] == 1:
        return (one.copy() for one in np.repeat(pixels.transpose(0, 2, 3, 1), 3, axis=3))
    return (one.copy().transpose(1, 2, 0) for one in pixels)


def _in_own_range(x: Tensor, low: Tensor, high: Tensor, rounding: float) -> Tensor:
    """Values (n, C, h, w) as colors: an image that leaves [0, 1] by more than one gray level is scaled by its own range."""
    is_scaled = (low < -1 / 255) | (high > 1 + 1 / 255)
    if not is_scaled.any():
        return x
    half_size = high / 2 - low / 2  # the range of the largest numbers would overflow
    has_contrast = half_size > rounding * torch.maximum(-low, high) / 2
    scaled = (x / 2 - low / 2) / torch.where(has_contrast, half_size, 1)
    return torch.where(is_scaled, torch.where(has_contrast, scaled, 0.5), x)


def _reduced(images: Tensor) -> Tensor:
    """Images (n, C, H, W) as (n, C, h, w): each pixel is the mean of the area that it covers. Images up to 64 px stay."""
    height, width = images.shape[2:]
    longest = max(height, width)
    if longest <= _SIDE:
        return images
    rows, columns = (_areas(size, max(1, round(size * _SIDE / longest)), images) for size in (height, width))
    with full_precision(images):
        return rows @ images @ columns.T


def _areas(size: int, num: int, like: Tensor) -> Tensor:
    """(num, size), the share of each of `size` pixels in each of `num` equal parts of their line; each row sums to 1."""
    pixel, edges = np.arange(size), np.arange(num + 1) * (size / num)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return _like(shared.clip(0) * (num / size), like)


def _like(values: NDArray[Any], tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(tensor.device, tensor.dtype)


def _is_dense(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_quantized and not tensor.is_nested


def _is_pil(value: Any) -> bool:
    """Whether a value is a PIL image. If PIL was not imported, it is none."""
    pil: Any = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def _pixels(image: Any) -> NDArray[Any]:
    """The pixels of a PIL image: gray levels (H, W), or colors (H, W, 3 or 4)."""
    if image.mode in {"L", "F"} or image.mode.startswith("I"):
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.mode in {"P", "PA", "LA", "RGBA", "RGBa"} else "RGB"))
