"""Inputs that do not count: those whose target is the one to ignore, the padding of sequences for example."""

from typing import Any

from torch import Tensor

from lightning_cossim.errors import InputError, expected

__all__ = ["counted_inputs"]


def counted_inputs(batch: Any, key: str | int, ignore_index: int) -> Tensor:
    """Boolean, of the shape of the batch's targets: where they are not `ignore_index`.

    Args:
        batch: what Lightning hands to a step.
        key: of the targets in it: a key of a dict, a place in a tuple or list.
        ignore_index: the target of inputs that do not count.

    Raises:
        InputError: the batch has no such key, or what it has there is no tensor of whole numbers.
    """
    wanted = "to be the key of the targets in a batch"
    try:
        targets = batch[key]
    except (KeyError, IndexError, TypeError):
        raise InputError(expected("targets_key", wanted, f"{key!r}, where a batch has {_keys(batch)}")) from None
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
        got = f"{key!r}, where a batch has {targets.dtype if isinstance(targets, Tensor) else type(targets).__name__}"
        raise InputError(expected("targets_key", f"{wanted}, a tensor of whole numbers", got))
    return targets != ignore_index


def _keys(batch: Any) -> str:
    if hasattr(batch, "keys"):
        return ", ".join(map(repr, batch.keys()))
    return f"places 0 to {len(batch) - 1}" if isinstance(batch, tuple | list) else f"no keys: it is a {type(batch).__name__}"
