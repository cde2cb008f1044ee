"""Nested tensors: collect the tensors of a loaded file, whose state dicts may be nested in dictionaries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from lightning_cossim.errors import CheckpointError

__all__ = ["NestedTensors", "nested_tensors"]

_DEEPEST: Final = 12
"""The deepest level of nested dictionaries that is searched."""
_MOST: Final = 20_000
"""The largest number of dictionaries that are searched: dictionaries may contain each other many times."""
_NO_WEIGHTS: Final = re.compile(
    r"opt|opt_state.*|optim.*|.*optimi[sz]er.*|.*_optim|lr_?sched.*|.*scheduler.*|.*scaler|grad(ient)?s?|momentum.*|exp_avg.*|.*rng.*",
    re.IGNORECASE,
)
"""Keys of the state of a training run, which is not part of the model."""
_LIGHTNING: Final = "pytorch-lightning_version"


@dataclass
class NestedTensors:
    """The tensors of a file by their dotted names, and the keys that lead to them."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    """The dotted keys of nested dictionaries that hold tensors."""
    loose: tuple[str, ...] = ()
    """The names of tensors at the top level, if nested dictionaries hold tensors too."""


def nested_tensors(path: Path, loaded: Any) -> NestedTensors:
    """The tensors of a loaded file, without the tensors of an optimizer.

    - A file of one tensor: its name is ''.
    - A Lightning checkpoint, or a file with a `state_dict` and no other tensors: the names are those in the `state_dict`.
    - Any other file: the names begin with the keys of the nested dictionaries, for example `ema.head.weight`.

    Args:
        path: the file, for errors.
        loaded: the content of the file.

    Raises:
        CheckpointError: the file holds more than 20,000 dictionaries, or only the state of an optimizer.
    """
    if isinstance(loaded, Tensor):
        return NestedTensors({"": loaded})
    if not isinstance(loaded, Mapping):
        return NestedTensors()
    if _is_optimizer(loaded):
        raise CheckpointError(f"{path}: expected the weights of a model, got only the state of an optimizer.")
    if _LIGHTNING in loaded and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    found = _found_in(path, loaded)
    groups = {name.partition(".")[0] for name in found.roots}
    if groups == {"state_dict"} and not found.loose:
        found = _found_in(path, loaded["state_dict"])
    return found


def _found_in(path: Path, loaded: Mapping[Any, Any]) -> NestedTensors:
    tensors: dict[str, Tensor] = {}
    roots: list[str] = []
    seen = {id(loaded)}  # a dictionary with two keys counts once
    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", loaded, 0)]
    while waiting:
        prefix, mapping, depth = waiting.pop(0)
        if len(seen) > _MOST:
            raise CheckpointError(f"{path}: expected at most {_MOST:,} nested dictionaries, got more.")
        own = {f"{prefix}{key}": value for key, value in mapping.items() if isinstance(value, Tensor) and _is_name(key)}
        tensors |= own
        if own and prefix:
            roots.append(prefix.removesuffix("."))
        for key, value in mapping.items():
            if not isinstance(value, Mapping) or not _is_name(key):
                continue
            if depth < _DEEPEST and id(value) not in seen and not _is_of_training(key, value):
                seen.add(id(value))
                waiting.append((f"{prefix}{key}.", value, depth + 1))
    loose = [str(name) for name, value in loaded.items() if isinstance(value, Tensor) and _is_name(name)] if roots else []
    return NestedTensors(tensors, tuple(roots), tuple(loose))


def _is_name(key: Any) -> bool:
    """Whether a key is a part of a name. The text of any other key could be as long as memory allows."""
    return isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**63)


def _is_of_training(key: Any, value: Mapping[Any, Any]) -> bool:
    return _NO_WEIGHTS.fullmatch(str(key)) is not None or _is_optimizer(value)


def _is_optimizer(mapping: Mapping[Any, Any]) -> bool:
    """Whether a dictionary is the state of a torch optimizer."""
    return "param_groups" in mapping and "state" in mapping
