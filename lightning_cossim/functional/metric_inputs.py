"""What the metrics ask of their arguments, each check once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_matrix

__all__ = ["check_groups", "check_rows", "label_index"]


def check_rows(tensor: Tensor, argument: str, shape: str, wanted: tuple[int | None, int | None]) -> None:
    """Raise unless `tensor` is a floating matrix with the numbers of rows and columns wanted (None: any)."""
    remedy = "The metric was built for these sizes."
    rows = f"One row an input: `{argument}.flatten(0, -2)`." if shape.startswith("(N") and tensor.ndim > 2 else remedy
    check_matrix(tensor, argument, shape, rows)
    if any(want is not None and want != got for want, got in zip(wanted, tensor.shape, strict=True)):
        sizes = ", ".join("any" if want is None else str(want) for want in wanted)
        raise InputError(expected(argument, f"of shape {shape} = ({sizes})", tuple(tensor.shape), remedy))


def check_groups(groups: Tensor | None, num_inputs: int) -> None:
    """Raise unless `groups`, where given, holds a whole number for every input."""
    if groups is not None and (groups.shape != (num_inputs,) or groups.is_floating_point() or groups.is_complex()):
        got = f"{groups.dtype} of shape {tuple(groups.shape)}"
        raise InputError(expected("groups", f"to be an integer tensor of shape ({num_inputs},)", got, "One id an input."))


def label_index(labels: Sequence[int] | Tensor | None, num_labels: int, argument: str = "labels") -> Tensor:
    """Labels as an index (L,), default all. Raises `InputError` on labels out of range or repeated."""
    if num_labels < 1:
        raise InputError(expected("num_labels", "to be at least 1", num_labels, "Pass the number of rows of the head's weight."))
    index = torch.arange(num_labels) if labels is None else torch.as_tensor(labels, dtype=torch.int64)
    if index.ndim != 1 or len(index) == 0 or index.min() < 0 or index.max() >= num_labels or index.bincount().max() > 1:
        wanted = f"to be different labels from 0 to {num_labels - 1}"
        raise InputError(expected(argument, wanted, index.tolist(), "Pass the indices of rows of the head's weight."))
    return index
