"""Arithmetic that the user's speed settings cannot blur.

Similarities are small differences of large numbers: autocast, TF32 or bf16 kernels would turn rounding into findings
(THEORY §7). Here the working dtype is chosen, and those settings are held off for the length of one `with`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["full_precision", "has_float64", "resolution", "result_dtype", "working_dtype"]


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64."""
    return device.type != "mps"


def working_dtype(tensor: Tensor) -> torch.dtype:
    """float64, or float32 on a device that has no float64."""
    return torch.float64 if has_float64(tensor.device) else torch.float32


def result_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of what is computed from `tensor`: float32, unless `tensor` has float64."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def resolution(tensor: Tensor) -> float:
    """Sixteen units of rounding, of float32 at the coarsest: a smaller relative size is noise."""
    return 16 * torch.finfo(result_dtype(tensor)).eps


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Inside, matrix products on the tensor's device run in their own dtype: no autocast, no TF32, no bf16 kernels."""
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
            # A setting that came from the general one goes on coming from there: "none" is to have none of its own.
            backend.fp32_precision = "none" if precision == general else precision
