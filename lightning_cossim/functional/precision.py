"""Arithmetic at full precision, independent of the user's speed settings.

Similarities are small differences of large numbers. With autocast, TF32 or bf16 kernels, rounding would look like a finding.
This module chooses the working dtype, and `full_precision` turns these settings off inside a `with` block.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["full_precision", "has_float64", "resolution", "result_dtype", "working_dtype"]


def has_float64(device: torch.device) -> bool:
    """Whether a device supports float64."""
    return device.type != "mps"


def working_dtype(tensor: Tensor) -> torch.dtype:
    """float64, or float32 on a device without float64."""
    return torch.float64 if has_float64(tensor.device) else torch.float32


def result_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of results computed from `tensor`: float64 for a float64 tensor, float32 otherwise."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def resolution(tensor: Tensor) -> float:
    """The relative size below which a number is rounding: 16 times the machine epsilon of `result_dtype`."""
    return 16 * torch.finfo(result_dtype(tensor)).eps


class _MatrixProducts:
    """The precision of float32 matrix products, which torch keeps for the whole process, so that threads share it.

    The first block that begins notes the user's settings, and the last one that ends restores them. If each block restored what
    it found, a thread that begins while another is inside would find "ieee", and leave it behind. Every block sets "ieee" anew,
    because the user may set another precision while one is open. Such a setting stays when the last block ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before: list[str] = []

    @staticmethod
    def _backends() -> list[Any]:
        return [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]

    def begin(self) -> None:
        with self._lock:
            now = [backend.fp32_precision for backend in self._backends()]
            if self._blocks:  # what is no longer "ieee" is the user's setting of now
                now = [before if one == "ieee" else one for one, before in zip(now, self._before, strict=True)]
            self._before, self._blocks = now, self._blocks + 1
            for backend in self._backends():
                backend.fp32_precision = "ieee"

    def end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks:
                return
            general = torch.backends.fp32_precision  # type: ignore[attr-defined]
            for backend, precision in zip(self._backends(), self._before, strict=True):
                if backend.fp32_precision == "ieee":
                    # "none" makes a backend follow the general setting, as it did before.
                    backend.fp32_precision = "none" if precision == general else precision


_matrix_products = _MatrixProducts()


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Run matrix products on the tensor's device in their own dtype inside the block: no autocast, no TF32, no bf16 kernels."""
    _matrix_products.begin()
    try:
        with torch.autocast(tensor.device.type, enabled=False):
            yield
    finally:
        _matrix_products.end()
