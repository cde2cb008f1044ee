"""Model outputs: find the tensors in the output of a module, in mappings, sequences and dataclasses too."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

__all__ = ["LOGITS", "is_nested", "tensor_in", "tensors_in"]

LOGITS: Final = "logits"
"""The conventional name of final logits in a model's output."""
_DEEPEST: Final = 3
"""The largest depth of nested containers that are searched."""
_MOST: Final = 32
"""The largest number of tensors per output. An output may contain many caches and hidden states."""


def tensors_in(output: Any) -> dict[str, Tensor]:
    """The floating-point tensors in an output, detached, by name. Tensors whose name ends in "logits" come first.

    If the output is a tensor, its name is empty. If the output has no `logits`, nested containers (up to 3 levels) are searched
    too. Their tensors have names such as `container.name` and come last. At most 32 tensors are returned, and none without
    dimensions.
    """
    if isinstance(output, Tensor):
        named: dict[str, Any] = {"": output}
    else:
        named = dict(_walk(output, "", 0 if isinstance(_parts(output).get(LOGITS), Tensor) else _DEEPEST))
    order = sorted(named, key=_place)
    floating = [name for name in order if named[name].is_floating_point() and named[name].ndim]
    return {name: named[name].detach() for name in floating[:_MOST]}


def is_nested(name: str) -> bool:
    """Whether a name from `tensors_in` belongs to a tensor in a nested container."""
    return "." in name


def tensor_in(output: Any, *names: str, size: int | None = None) -> Any:
    """The tensor in an output: the output itself, the entry with one of the names, or the first tensor with a matching dimension.

    Args:
        output: the output of a module.
        names: names of entries, the preferred one first.
        size: if no entry matches, a tensor needs a dimension of this size; None: any tensor matches. Nested containers are
            searched last.

    Returns:
        The tensor; the output itself, unchanged, if it contains no such tensor.
    """
    if isinstance(output, Tensor):
        return output
    parts = _parts(output)
    for name in names:
        found = parts.get(name, None if isinstance(output, Mapping) else getattr(output, name, None))
        if isinstance(found, Tensor):
            return found
    within = sorted(_walk(output, "", _DEEPEST), key=lambda found: _place(found[0]))
    return next((value for _, value in within if size is None or size in value.shape), output)


def _place(name: str) -> tuple[bool, bool, bool]:
    return is_nested(name), name != LOGITS, not name.endswith(LOGITS)


def _walk(output: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    for key, value in _parts(output).items():
        name = f"{prefix}{str(key).replace('.', '_')}"
        if isinstance(value, Tensor):
            yield name, value
        elif depth and (isinstance(value, Mapping | tuple | list) or dataclasses.is_dataclass(value)):
            yield from _walk(value, f"{name}.", depth - 1)


def _parts(output: Any) -> dict[Any, Any]:
    """The entries of an output by key, name or position."""
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return dict(output._asdict())
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    if dataclasses.is_dataclass(output):  # a dataclass with slots has no `__dict__`
        return {field.name: getattr(output, field.name, None) for field in dataclasses.fields(output)}
    return dict(getattr(output, "__dict__", {}))
