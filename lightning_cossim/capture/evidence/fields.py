"""Input fields: which part of a batch holds the images, token ids or texts that the model reads.

Shapes: B inputs of a batch, T tokens, C channels, H and W the size of an image.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor

from lightning_cossim.capture.evidence.thumbnails import as_images, looks_like_image
from lightning_cossim.errors import InputError, expected

__all__ = ["InputFields", "fields_at", "fields_in"]

_DEEPEST: Final = 3
_MOST: Final = 1000
"""Limits of the search in a batch: containers in one another, and parts."""
_OF_TARGETS: Final = ("label", "labels", "target", "targets", "mask", "masks", "weight", "weights")
"""Last words of keys whose values are no inputs."""
_NO_INPUTS: Final = {"y", "token_type_ids", "position_ids"}
_OF_TEXTS: Final = {
    *("text", "texts", "raw_text", "sentence", "sentences", "sentence1", "premise", "question", "prompt", "prompts", "content"),
    *("document", "documents", "review", "utterance", "title", "input_text"),
}
"""Common keys of texts."""


@dataclass(frozen=True)
class InputFields:
    """What was found in a batch. A field is None if it was not found."""

    images: Tensor | None = None
    """(B, C, H, W)."""
    planes: Tensor | None = None
    """(B, 1, H, W): three-dimensional data, perhaps images."""
    items: Sequence[Any] | None = None
    """One image, text or dictionary per input."""
    tokens: Tensor | None = None
    """(B, T), integers."""
    is_token: Tensor | None = None
    """(B, T), false for padding; None: all count."""
    texts: Sequence[str] | None = None
    """One text per input."""
    are_texts_named: bool = False
    """Whether the key of the texts says that they are texts."""


def fields_at(batch: Any, key: int | str, num: int) -> InputFields:
    """The field that the user names with `input_key`.

    Args:
        batch: the batch.
        key: the key of the field in a mapping, or its index in a tuple or list.
        num: the least number of inputs in the batch.

    Raises:
        InputError: the batch has no such key, or its value is neither images nor token ids nor texts.
    """
    wanted = "to be the key of the images, token ids or texts in a batch"
    try:
        is_record = isinstance(key, str) and _is_record(batch)
        batch = dict(batch) if isinstance(batch, Mapping) else batch  # a `defaultdict` would add a missing key
        value = getattr(batch, str(key)) if is_record else batch[key]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise InputError(expected("input_key", wanted, f"{key!r}, which the batch does not have")) from None
    if hasattr(value, "__len__") and not (isinstance(value, Tensor) and not value.ndim) and len(value) < num:
        raise InputError(expected("input_key", wanted, f"{key!r}, which holds {len(value)} entries for {num} inputs or more"))
    if not isinstance(value, Tensor):
        is_list = hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | bytes | Mapping)
        if not is_list:
            raise InputError(expected("input_key", wanted, f"{key!r}, which holds an object of type {type(value).__name__}"))
        return InputFields(texts=value, are_texts_named=True) if _are_texts(value) else InputFields(items=value)
    if _is_integer(value) and value.ndim == 2:
        return _with_mask(InputFields(tokens=value), list(_parts(batch)))
    images = as_images(value)
    if images is None:
        got = f"{key!r}, which holds a tensor of {value.dtype} and shape {tuple(value.shape)}"
        raise InputError(expected("input_key", wanted, got))
    return InputFields(images=images)


def fields_in(batch: Any, num: int, skip: int | str | None = None) -> InputFields:
    """The fields that look like inputs.

    The images are the first tensor of a fitting type and shape. The token ids have the key "input_ids", or they are the first
    tensor with two or more dimensions. The texts have a common key, or they are the only list of texts.

    Args:
        batch: the batch.
        num: the least number of inputs in the batch; parts that have fewer are passed over.
        skip: a key or index of the batch that holds no inputs.
    """
    parts = list(itertools.islice(_parts(batch, skip=skip), _MOST))
    tensors = [(key, one) for key, one in parts if isinstance(one, Tensor) and one.ndim >= 2 and len(one) >= num]
    inputs = [(key, one) for key, one in tensors if not _is_target(key) and one.dtype != torch.bool]
    shaped = [(one.ndim, as_images(one)) for _, one in inputs if one.is_floating_point() or one.dtype == torch.uint8]
    texts = [(key, one) for key, one in parts if _are_texts(one) and len(one) >= num and not _is_target(key)]
    named = [one for key, one in texts if key in _OF_TEXTS]
    lone = texts[0][1] if len(texts) == 1 else None
    found = InputFields(
        images=next((one for ndim, one in shaped if one is not None and ndim > 3), None),
        planes=next((one for ndim, one in shaped if one is not None and ndim == 3), None),
        items=next((one for key, one in parts if _are_images(one) and len(one) >= num and not _is_target(key)), None),
        tokens=_tokens(inputs),
        texts=named[0] if named else lone,
        are_texts_named=bool(named),
    )
    return _with_mask(found, tensors)


def _tokens(inputs: list[tuple[Any, Tensor]]) -> Tensor | None:
    """The token ids (B, T) among the tensors with two or more dimensions."""
    named = [one for key, one in inputs if key == "input_ids"]
    for one in (named or [one for _, one in inputs])[:1]:
        if one.ndim == 2 and _is_integer(one) and one.shape[1] > 1:
            return one
    return None


def _with_mask(found: InputFields, parts: list[tuple[Any, Any]]) -> InputFields:
    """The fields with the mask of the tokens, if the batch has one."""
    for key, mask in parts:
        is_mask = key == "attention_mask" and isinstance(mask, Tensor)
        if is_mask and found.tokens is not None and mask.shape == found.tokens.shape:
            return dataclasses.replace(found, is_token=mask != 0)
    return found


def _parts(value: Any, key: Any = None, depth: int = 0, skip: Any = None) -> Iterator[tuple[Any, Any]]:
    """The parts of a batch that are no containers, each with its key, in the order of the batch."""
    items = None if _are_texts(value) or (depth and _are_images(value)) else _items(value)
    if items is None or depth == _DEEPEST:
        yield key, value
        return
    for name, one in itertools.islice(items, _MOST):
        is_of_rows = isinstance(one, list | tuple) and bool(one) and isinstance(one[0], Mapping)
        if (
            not is_of_rows
            and not (depth == 0 and skip is not None and name == skip)
            and not _is_target(name, but="attention_mask")
        ):
            yield from _parts(one, name, depth + 1)


def _items(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """The keys and values of a container; None if it is none."""
    if isinstance(value, Tensor):
        return None
    if isinstance(value, Mapping) or (hasattr(value, "keys") and hasattr(value, "__getitem__")):
        return ((key, value[key]) for key in value.keys())  # noqa: SIM118 - not every class with keys iterates over them
    if _is_record(value):
        names = getattr(value, "_fields", None) or [*vars(value)]
        return ((name, getattr(value, name)) for name in names)
    return iter(enumerate(value)) if isinstance(value, list | tuple) else None


def _is_record(value: Any) -> bool:
    """Whether a value has named attributes as its parts: a named tuple, a data class or a plain namespace."""
    is_object = dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__")
    return is_object or isinstance(value, SimpleNamespace) or (isinstance(value, tuple) and hasattr(value, "_fields"))


def _is_target(key: Any, but: str = "") -> bool:
    """Whether a key says that its value is no input."""
    if not isinstance(key, str) or key == but:
        return False
    return key.lower() in _NO_INPUTS or key.lower().replace("-", "_").split("_")[-1] in _OF_TARGETS


def _is_integer(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and not tensor.is_quantized and tensor.dtype != torch.bool


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) for one in value)


def _are_images(value: Any) -> bool:
    """Whether a value is a list of single images, for example of different sizes."""
    return isinstance(value, list | tuple) and bool(value) and all(looks_like_image(one) for one in value)
