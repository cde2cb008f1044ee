"""Readable: whether what a head was called with, and what it gave, can be read as embeddings and logits, or why not.

`f` embeddings and `z` logits as they come, `axis` the dimension of labels in the logits, counted from the back.
"""

from typing import Any

from torch import Tensor

from lightning_cossim.capture.head import Head

__all__ = ["is_paired", "odd_embeddings", "odd_logits"]


def odd_logits(head: Head, f: Any, z: Any, axis: int, *, is_own: bool) -> str | None:
    """Why logits cannot be read, in words; None if they can.

    Args:
        head: the final layer.
        f: what went into it.
        z: the logits.
        axis: their dimension of labels; 0 where nobody knows.
        is_own: whether the head's own call gave both.
    """
    if z is None:
        return None
    if not isinstance(z, Tensor):
        return _no_tensors(f, z) if is_own else f"the logits given are a {type(z).__name__}; only tensors are read"
    if axis == 0:
        sizes = f"of the shape {tuple(z.shape)}, and the head has {head.num_labels} labels"
        return f"the logits that `logits_from` gives are {sizes}: expected exactly one dimension of that size"
    num = z.shape[axis] if z.ndim >= -axis else 0
    if num != head.num_labels:
        return f"its output has {num} labels and its weight {head.num_labels}: they do not belong together"
    return None


def odd_embeddings(head: Head, f: Any, z: Any, axis: int, *, is_own: bool) -> str | None:
    """Why embeddings cannot be read or do not pair with the logits, in words; None if they can. Arguments as above."""
    if f is None:
        return None
    if not isinstance(f, Tensor):
        return _no_tensors(f, z) if is_own else f"the embeddings given are a {type(f).__name__}; only tensors are read"
    if z is not None and not is_paired(head, f, z, axis):
        if is_own:
            return f"it was called from {tuple(f.shape)} to {tuple(z.shape)}: nobody knows which output belongs to which input"
        sizes = f"embeddings of the shape {tuple(f.shape)} and final logits of the shape {tuple(z.shape)}"
        return f"{sizes} do not pair (pass those that do as `embeddings_from=`)"
    if f.ndim < -head.axis or f.shape[head.axis] != head.embedding_dim:
        sizes = f"of the shape {tuple(f.shape)}, and the head takes {head.embedding_dim} dimensions"
        return f"its embeddings are {sizes}: they do not belong together"
    return None


def is_paired(head: Head, f: Tensor, z: Tensor, axis: int) -> bool:
    """Whether there is one output for each input."""
    places = f.ndim >= -head.axis and z.ndim >= -axis
    return places and f.movedim(head.axis, -1).shape[:-1] == z.movedim(axis, -1).shape[:-1]


def _no_tensors(f: Any, z: Any) -> str:
    return f"it was called from {type(f).__name__} to {type(z).__name__}; only tensors are read"
