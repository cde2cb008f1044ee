"""Cosine heads as they come: modules of the user's own that hold a row or a column for every label, and often their scale.

Shapes: K labels, D embedding dimensions. Known by what they have: `weight` (K, D), `W` or `kernel` (D, K).
"""

from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["embedding_in", "holds_rows", "lies_in_columns", "name_of_rows", "name_of_scale", "shape_of_rows", "why_several"]

_NAMES: Final = ("weight", "W", "kernel")
_SCALES: Final = ("scale", "s")


def holds_rows(module: nn.Module) -> bool:
    """Whether a module that is no kind of torch's own layers holds what a label has, for all of them."""
    is_known = any(kind is not nn.Module and kind.__module__.startswith("torch.nn.modules.") for kind in type(module).__mro__)
    return not is_known and not hasattr(module, "get_delta_weight") and name_of_rows(module) is not None


def name_of_rows(module: nn.Module) -> str | None:
    """The parameter that holds them."""
    return next((name for name in _NAMES if (stored := _stored(module, name)) is not None and stored.ndim == 2), None)


def shape_of_rows(module: nn.Module) -> tuple[int, int]:
    """(K, D)."""
    name = name_of_rows(module)
    stored = None if name is None else _stored(module, name)
    assert stored is not None, "`holds_rows`"
    shape: tuple[int, int] = (stored.shape[0], stored.shape[1])
    return (shape[1], shape[0]) if lies_in_columns(module) else shape


def lies_in_columns(module: nn.Module) -> bool:
    """Whether a label has a column: so in a `kernel`, and in a `W` whose module says so by its `num_classes`."""
    name, stored, num = name_of_rows(module), None, getattr(module, "num_classes", None)
    if name == "W":
        stored = _stored(module, name)
    return name == "kernel" or (stored is not None and isinstance(num, int) and (stored.shape[1] == num or _several(stored, num)))


def why_several(module: nn.Module) -> str | None:
    """Why a head cannot be compared that holds several rows for each label, in words; None if it holds one."""
    num_rows = shape_of_rows(module)[0]
    for name in ("num_classes", "out_features"):
        num_labels = getattr(module, name, None)
        if isinstance(num_labels, int) and 0 < num_labels < num_rows and num_rows % num_labels == 0:
            return f"it has {num_rows // num_labels} rows for each of {num_labels} labels (sub-centers), which have to have one"
    return None


def name_of_scale(module: nn.Module) -> str | None:
    """The attribute that cosines are multiplied with, a number or one that is learnt; None if there is none."""
    return next((name for name in _SCALES if _is_number(getattr(module, name, None))), None)


def embedding_in(args: tuple[Any, ...], kwargs: Mapping[str, Any], dim: int) -> Any:
    """What of a call is the embedding: the first floating tensor of its size; None if there is none."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim and value.shape[-1] == dim:
            return value
    return None


def _stored(module: Any, name: str) -> Tensor | None:
    """A parameter of a module's own, floating; under a parametrization what it is made of, in the same shape."""
    if parametrize.is_parametrized(module, name):
        parts = module.parametrizations[name]
        found: Any = getattr(parts, "original", getattr(parts, "original1", None))
    else:
        found = dict(module.named_parameters(recurse=False)).get(name)
    return found if isinstance(found, Tensor) and found.is_floating_point() else None


def _several(stored: Tensor, num_labels: int) -> bool:
    """Whether columns are several for each label."""
    return 0 < num_labels < stored.shape[1] and stored.shape[1] % num_labels == 0 and stored.shape[0] != num_labels


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.dtype != torch.bool
    return isinstance(value, Real) and not isinstance(value, bool)
