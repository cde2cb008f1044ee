"""Arithmetic at full precision, independent of the user's speed settings.

Similarities are small differences of large numbers. With autocast, TF32 or bf16 kernels, rounding would look like a finding.
This module chooses the working dtype, and `full_precision` turns these settings off inside a `with` block.
"""

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


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Run matrix products on the tensor's device in their own dtype inside the block: no autocast, no TF32, no bf16 kernels."""
    matmuls: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in matmuls]
    try:
        for backend in matmuls:
            backend.fp32_precision = "ieee"
        with torch.autocast(tensor.device.type, enabled=False):
            yield
    finally:
        general = torch.backends.fp32_precision  # type: ignore[attr-defined]
        for backend, precision in zip(matmuls, before, strict=True):
            # "none" makes a backend follow the general setting, as it did before.
            backend.fp32_precision = "none" if precision == general else precision
