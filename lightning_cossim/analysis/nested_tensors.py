"""nested_tensors: the tensors of a loaded file, whose state dicts may be nested in dictionaries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from lightning_cossim.errors import CheckpointError

__all__ = ["NestedTensors", "nested_tensors"]

_DEEPEST: Final = 12
"""Levels of dictionaries that are descended."""
_MOST: Final = 20_000
"""Dictionaries that are looked at: those of a file may hold one another many times."""
_NO_WEIGHTS: Final = re.compile(
    r"opt|opt_state.*|optim.*|.*optimi[sz]er.*|.*_optim|lr_?sched.*|.*scheduler.*|.*scaler|grad(ient)?s?|momentum.*|exp_avg.*|.*rng.*",
    re.IGNORECASE,
)
"""Keys of what belongs to the training and not to the model."""
_LIGHTNING: Final = "pytorch-lightning_version"


@dataclass
class NestedTensors:
    """The tensors of a file by their dotted names, and where they come from."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    """The keys that lead to dictionaries of tensors below the top."""
    loose: tuple[str, ...] = ()
    """The names of tensors at the top, if there are others below."""


def nested_tensors(path: Path, loaded: Any) -> NestedTensors:
    """The tensors of a loaded file; those of an optimizer are left out.

    A tensor alone has the name ''. The `state_dict` of a Lightning checkpoint is the model; so is one that is the only dictionary
    of tensors in its file. Below other keys, a tensor's name begins with the keys: `ema.head.weight`.

    Raises:
        CheckpointError: too many dictionaries, or an optimizer's state alone.
    """
    if isinstance(loaded, Tensor):
        return NestedTensors({"": loaded})
    if not isinstance(loaded, Mapping):
        return NestedTensors()
    if _is_optimizer(loaded):
        raise CheckpointError(f"{path}: expected the weights of a model, got an optimizer's state alone.")
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
    seen = {id(loaded)}  # one dictionary below two keys counts once
    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", loaded, 0)]
    while waiting:
        prefix, mapping, depth = waiting.pop(0)
        if len(seen) > _MOST:
            raise CheckpointError(f"{path}: expected at most {_MOST:,} nested dictionaries, got more.")
        own = {f"{prefix}{key}": value for key, value in mapping.items() if isinstance(value, Tensor)}
        tensors |= own
        if own and prefix:
            roots.append(prefix.removesuffix("."))
        for key, value in mapping.items():
            if isinstance(value, Mapping) and depth < _DEEPEST and id(value) not in seen and not _is_of_training(key, value):
                seen.add(id(value))
                waiting.append((f"{prefix}{key}.", value, depth + 1))
    loose = [str(name) for name, value in loaded.items() if isinstance(value, Tensor)] if roots else []
    return NestedTensors(tensors, tuple(roots), tuple(loose))


def _is_of_training(key: Any, value: Mapping[Any, Any]) -> bool:
    return _NO_WEIGHTS.fullmatch(str(key)) is not None or _is_optimizer(value)


def _is_optimizer(mapping: Mapping[Any, Any]) -> bool:
    """Whether a dictionary is what an optimizer of torch gives as its state."""
    return "param_groups" in mapping and "state" in mapping
