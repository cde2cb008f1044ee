"""Readable: check whether the input and output of a head can be read as embeddings and logits, and why not.

Names: `f` embeddings and `z` logits before any conversion, `axis` the label dimension of the logits, counted from the back.
"""

from typing import Any, Final

from torch import Tensor

from lightning_cossim.capture.head import Head

__all__ = ["is_paired", "odd_embeddings", "odd_logits"]

_ONLY_TENSORS: Final = "but the monitor reads only tensors"


def odd_logits(head: Head, f: Any, z: Any, axis: int, *, is_own: bool) -> str | None:
    """Why logits cannot be read, in words; None if they can.

    Args:
        head: the head.
        f: the embeddings; None if there are none.
        z: the logits; None if there are none.
        axis: the label dimension of the logits, counted from the back (negative); 0 if it is unknown.
        is_own: whether both come from the call of the head, not from `embeddings_from` or `logits_from`.
    """
    if z is None:
        return None
    if not isinstance(z, Tensor):
        return _no_tensors(f, z) if is_own else f"the final logits have type {type(z).__name__}, {_ONLY_TENSORS}"
    if axis == 0:
        wanted = f"exactly one dimension of size {head.num_labels} (one entry per label)"
        return f"expected logits from `logits_from` with {wanted}, got shape {tuple(z.shape)}"
    num = z.shape[axis] if z.ndim >= -axis else 0
    if num != head.num_labels:
        return f"its output has {num} labels, but its weight has {head.num_labels}"
    return None


def odd_embeddings(head: Head, f: Any, z: Any, axis: int, *, is_own: bool) -> str | None:
    """Why embeddings cannot be read or do not match the logits, in words; None if they do.

    Args:
        head: the head.
        f: the embeddings; None if there are none.
        z: the logits; None if there are none.
        axis: the label dimension of the logits, counted from the back (negative).
        is_own: whether both come from the call of the head, not from `embeddings_from` or `logits_from`.
    """
    if f is None:
        return None
    if not isinstance(f, Tensor):
        return _no_tensors(f, z) if is_own else f"the embeddings have type {type(f).__name__}, {_ONLY_TENSORS}"
    if z is not None and not is_paired(head, f, z, axis):
        if is_own:
            return f"its input has shape {tuple(f.shape)} and its output {tuple(z.shape)}, so outputs cannot be matched to inputs"
        sizes = f"embeddings of shape {tuple(f.shape)} and final logits of shape {tuple(z.shape)}"
        return f"{sizes} do not match (pass `embeddings_from=` with one embedding per final logit vector)"
    if f.ndim < -head.axis or f.shape[head.axis] != head.embedding_dim:
        return f"its embeddings have shape {tuple(f.shape)}, but the head takes {head.embedding_dim} dimensions"
    return None


def is_paired(head: Head, f: Tensor, z: Tensor, axis: int) -> bool:
    """Whether the logits have exactly one output for each embedding."""
    places = f.ndim >= -head.axis and z.ndim >= -axis
    return places and f.movedim(head.axis, -1).shape[:-1] == z.movedim(axis, -1).shape[:-1]


def _no_tensors(f: Any, z: Any) -> str:
    return f"its input has type {type(f).__name__} and its output has type {type(z).__name__}, {_ONLY_TENSORS}"
