"""Recognize cosine heads: custom modules that store one vector per label, and possibly a scale.

They are recognized by their attributes: `weight`, by default of shape (K, D), or `W` or `kernel`, by default of shape (D, K).
Shapes: K labels, D embedding dimensions. In this file, "rows" means the K vectors, even if they are columns of the parameter.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_cossim.functional.inputs import is_number

__all__ = [
    "embedding_in",
    "holds_rows",
    "lies_in_columns",
    "name_of_rows",
    "name_of_scale",
    "shape_of_rows",
    "why_several",
    "why_turned",
]

_NAMES: Final = ("weight", "W", "kernel")
_SCALES: Final = ("scale", "s")
_WITHOUT_ROWS: Final = {"torch.nn.modules.loss", "torch.nn.modules.container"}
"""Files of torch whose classes store no vectors per label. A custom subclass of such a class may be a cosine head."""


def holds_rows(module: nn.Module) -> bool:
    """Whether a custom module stores one vector per label. Adapters, torch's layers and their subclasses do not count."""
    homes = {kind.__module__ for kind in type(module).__mro__ if kind is not nn.Module}
    is_known = any(home.startswith("torch.nn.modules.") and home not in _WITHOUT_ROWS for home in homes)
    return not is_known and not hasattr(module, "get_delta_weight") and name_of_rows(module) is not None and _fits(module)


def name_of_rows(module: nn.Module) -> str | None:
    """The name of the parameter that stores the rows; None if there is none."""
    return next((name for name in _NAMES if (stored := _stored(module, name)) is not None and stored.ndim == 2), None)


def shape_of_rows(module: nn.Module) -> tuple[int, int]:
    """The number of labels and of embedding dimensions: (K, D). The module must satisfy `holds_rows`."""
    name = name_of_rows(module)
    stored = None if name is None else _stored(module, name)
    assert stored is not None, "expected a module for which `holds_rows` is true"
    shape: tuple[int, int] = (stored.shape[0], stored.shape[1])
    return (shape[1], shape[0]) if lies_in_columns(module) else shape


def lies_in_columns(module: nn.Module) -> bool:
    """Whether the vectors of labels are columns of the parameter.

    The sizes in the module's attributes (`num_classes`, `in_features`, ...) decide. If they do not, vectors are rows in `weight`,
    and columns in `W` and `kernel`.
    """
    name = name_of_rows(module)
    stored = None if name is None else _stored(module, name)
    if stored is None:
        return False
    num_rows, num_columns = stored.shape
    for sizes, in_columns in ((_labels(module), True), (_dims(module), False)):
        if num_rows != num_columns and (num_rows in sizes) != (num_columns in sizes):
            return (num_columns in sizes) == in_columns
    return name != "weight"


def why_several(module: nn.Module) -> str | None:
    """Why a head with several rows per label cannot be compared, in words; None if it has one row per label."""
    num_rows, _ = shape_of_rows(module)
    for num_labels in _labels(module):
        if 0 < num_labels < num_rows and num_rows % num_labels == 0:
            rows = f"{num_rows // num_labels} rows for each of {num_labels} labels (sub-centers)"
            return f"it has {rows}, but the monitor needs one row per label"
    return None


def why_turned(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """A warning that rows and columns seem to be swapped: a call has an embedding of size K and none of size D. Else None."""
    num_labels, dim = shape_of_rows(module)
    if embedding_in(args, kwargs, dim) is not None or embedding_in(args, kwargs, num_labels) is None:
        return None
    what = "rows" if lies_in_columns(module) else "columns"
    return (
        f"its `{name_of_rows(module)}` was read as {num_labels} labels of {dim} dimensions, but its embeddings have {num_labels} "
        f"dimensions, so its {what} seem to be the labels: set the attribute `num_classes` of the module"
    )


def name_of_scale(module: nn.Module) -> str | None:
    """The attribute with the scale of the cosines (`scale` or `s`, a number or a learned parameter); None if there is none."""
    return next((name for name in _SCALES if _is_number(getattr(module, name, None))), None)


def embedding_in(args: tuple[Any, ...], kwargs: Mapping[str, Any], dim: int) -> Any:
    """The embedding in the arguments of a call: the first floating-point tensor with a last dimension of size `dim`, or None."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim and value.shape[-1] == dim:
            return value
    return None


def _stored(module: Any, name: str) -> Tensor | None:
    """A floating-point parameter of the module itself, or None. If it is parametrized: the original tensor, of the same shape."""
    if parametrize.is_parametrized(module, name):
        parts = module.parametrizations[name]
        found: Any = getattr(parts, "original", getattr(parts, "original1", None))
    else:
        found = dict(module.named_parameters(recurse=False)).get(name)
    return found if isinstance(found, Tensor) and found.is_floating_point() else None


def _fits(module: Any) -> bool:
    """Whether the shape of the rows matches `in_features` and `out_features`; True if the module has no such attributes."""
    num_in, num_out = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if not isinstance(num_in, int) or not isinstance(num_out, int) or num_out < 1:
        return True
    num_labels, dim = shape_of_rows(module)
    return dim == num_in and num_labels % num_out == 0


def _labels(module: Any) -> set[int]:
    """The numbers of labels in the module's attributes."""
    return _sizes(module, "num_classes", "out_features", "num_labels", "n_classes", "classnum")


def _dims(module: Any) -> set[int]:
    """The embedding sizes in the module's attributes."""
    return _sizes(module, "in_features", "embedding_size", "embedding_dim", "in_feats", "feat_dim")


def _sizes(module: Any, *names: str) -> set[int]:
    sizes = {getattr(module, name, None) for name in names}
    return {size for size in sizes if isinstance(size, int) and not isinstance(size, bool)}


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.dtype != torch.bool
    return is_number(value)
