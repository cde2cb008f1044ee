"""Model outputs: the tensors in what a module gives, whatever it packs them into."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

__all__ = ["LOGITS", "is_nested", "tensor_in", "tensors_in"]

LOGITS: Final = "logits"
"""The name that models give to their final logits."""
_DEEPEST: Final = 3
"""Containers within containers that are looked into."""
_MOST: Final = 32
"""Tensors of an output that are looked at: caches and hidden states may be many."""


def tensors_in(output: Any) -> dict[str, Tensor]:
    """Floating tensors in an output, by name, those called logits first. An output that is a tensor has no name.

    Of containers in an output that has no `logits`, the tensors are named `container.name`, and come last.
    """
    if isinstance(output, Tensor):
        named: dict[str, Any] = {"": output}
    else:
        named = dict(_walk(output, "", 0 if isinstance(_parts(output).get(LOGITS), Tensor) else _DEEPEST))
    order = sorted(named, key=_place)
    floating = [name for name in order if named[name].is_floating_point() and named[name].ndim]
    return {name: named[name].detach() for name in floating[:_MOST]}


def is_nested(name: str) -> bool:
    """Whether a tensor that `tensors_in` names lies in a container within the output."""
    return "." in name


def tensor_in(output: Any, *names: str, size: int | None = None) -> Any:
    """The tensor meant in what a module gives: itself, an entry of one of these names, or the first with an axis of a size.

    Containers within the output are looked into last. What has no such tensor is given back as it is.
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
    """What an output holds, by key, name or place."""
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return dict(output._asdict())
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    if dataclasses.is_dataclass(output):  # with slots, it has no `__dict__`
        return {field.name: getattr(output, field.name, None) for field in dataclasses.fields(output)}
    return dict(getattr(output, "__dict__", {}))
