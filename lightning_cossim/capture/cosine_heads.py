"""Cosine heads as they come: modules of the user's own that hold a row or a column for every label, and often their scale.

Shapes: K labels, D embedding dimensions. Known by what they have: `weight`, as a rule (K, D), `W` or `kernel`, as a rule (D, K).
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
"""Kinds of torch's own that hold nothing of the like themselves."""


def holds_rows(module: nn.Module) -> bool:
    """Whether a module that is no kind of torch's own layers holds what a label has, for all of them."""
    homes = {kind.__module__ for kind in type(module).__mro__ if kind is not nn.Module}
    is_known = any(home.startswith("torch.nn.modules.") and home not in _WITHOUT_ROWS for home in homes)
    return not is_known and not hasattr(module, "get_delta_weight") and name_of_rows(module) is not None and _fits(module)


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
    """Whether a label has a column: going by the sizes that the module tells, or else by the name, so in `W` and `kernel`."""
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
    """Why a head cannot be compared that holds several rows for each label, in words; None if it holds one."""
    num_rows, _ = shape_of_rows(module)
    for num_labels in _labels(module):
        if 0 < num_labels < num_rows and num_rows % num_labels == 0:
            return f"it has {num_rows // num_labels} rows for each of {num_labels} labels (sub-centers), which have to have one"
    return None


def why_turned(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """What to say where a call has an embedding as large as there are labels: rows were taken for columns, or the reverse."""
    num_labels, dim = shape_of_rows(module)
    if embedding_in(args, kwargs, dim) is not None or embedding_in(args, kwargs, num_labels) is None:
        return None
    what = "rows" if lies_in_columns(module) else "columns"
    return (
        f"its `{name_of_rows(module)}` for {num_labels} labels of {dim} dimensions was called with embeddings of {num_labels}, "
        f"so it seems to hold labels in {what}: give the module its `num_classes`"
    )


def name_of_scale(module: nn.Module) -> str | None:
    """The attribute that cosines are multiplied with, a number or one that is learned; None if there is none."""
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


def _fits(module: Any) -> bool:
    """Whether what looks like rows is as large as the module says: else it is something else of its."""
    num_in, num_out = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if not isinstance(num_in, int) or not isinstance(num_out, int) or num_out < 1:
        return True
    num_labels, dim = shape_of_rows(module)
    return dim == num_in and num_labels % num_out == 0


def _labels(module: Any) -> set[int]:
    """What a module says of how many labels it has."""
    return _sizes(module, "num_classes", "out_features", "num_labels", "n_classes", "classnum")


def _dims(module: Any) -> set[int]:
    """What it says of the size of embeddings."""
    return _sizes(module, "in_features", "embedding_size", "embedding_dim", "in_feats", "feat_dim")


def _sizes(module: Any, *names: str) -> set[int]:
    sizes = {getattr(module, name, None) for name in names}
    return {size for size in sizes if isinstance(size, int) and not isinstance(size, bool)}


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.dtype != torch.bool
    return is_number(value)
