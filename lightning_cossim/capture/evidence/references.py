"""References: where the inputs of a call come from: row in the batch, position in the sequence, index in the dataset, identifier.

Nothing is guessed. The row is known if the first dimension of the call, and no other, is the number of rows of the batch.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lightning_cossim.capture.evidence.dataset_order import DatasetOrder
from lightning_cossim.errors import InputError, expected

__all__ = ["DatasetOrder", "Origins", "has_sequences", "ids_in", "may_select", "num_rows", "origins_of", "tensors_in"]

_LONGEST_ID: Final = 1000
"""Maximum number of characters of an identifier."""


def num_rows(batch: Any) -> int | None:
    """The number of rows of a batch: the first dimension on which all its tensors agree.

    Args:
        batch: a tensor; or mappings, lists, tuples and dataclasses, nested, with tensors. A tensor without dimensions is ignored.

    Returns:
        The number of rows; None if the tensors disagree, if there is no tensor, or if the batch holds packed sequences.
    """
    try:
        if isinstance(batch, list | tuple) and batch and all(isinstance(one, Mapping | list | tuple) for one in batch):
            return None  # a list of samples, whose first dimension may be that of channels
        sizes = _first_dimensions(batch)
    except Exception:  # noqa: BLE001 - a batch is the user's object, and observing it must not stop a run
        return None
    return sizes.pop() if len(sizes) == 1 else None


def has_sequences(batch: Any, shape: Sequence[int]) -> bool:
    """Whether a tensor of a batch has as many rows and places in a row as a call of shape (B, T), and no sequences are longer.

    Otherwise the head may have seen a part of each sequence, so the places in the call are not those in the sequence. Sequences
    are whole numbers (B, T) or vectors (B, T, D).
    """
    (num, length), tensors = shape[:2], [one for one in tensors_in(batch) if isinstance(one, Tensor) and one.ndim > 1]
    tensors = [one for one in tensors if not one.is_nested]  # their rows have no common length
    lengths = [one.size(1) for one in tensors if one.ndim == 3 or not one.is_floating_point()]
    return any((one.size(0), one.size(1)) == (num, length) for one in tensors) and max(lengths, default=0) <= length


def may_select(batch: Any, shape: Sequence[int], num_labels: int) -> bool:
    """Whether a call on as many inputs as the batch has rows may have had other inputs: selected places of its sequences.

    It may if the batch has sequences (B, T) of whole numbers, and no tensor with one entry for each row, or one for each row and
    label, as a model with one output for each row needs them to learn. For a batch of one row, any selection is of that row.

    Args:
        batch: the batch.
        shape: the shape of the call, without labels.
        num_labels: K.
    """
    if len(shape) != 1 or shape[0] == 1:
        return False
    tensors = [one for one in tensors_in(batch) if isinstance(one, Tensor) and one.ndim in {1, 2}]
    if any(one.ndim == 1 or (not one.is_nested and one.size(1) in {1, num_labels}) for one in tensors):
        return False
    return any(not one.is_floating_point() for one in tensors)


def _first_dimensions(batch: Any) -> set[int | None]:
    """The first dimensions of the tensors in a batch; None stands for rows that are packed."""
    parts = [one for one in tensors_in(batch) if not isinstance(one, Tensor) or one.ndim]
    return {int(one.size(0)) if isinstance(one, Tensor) else None for one in parts}


def tensors_in(batch: Any) -> Iterator[Tensor | PackedSequence]:
    """All tensors and packed sequences in a batch."""
    left, seen = [batch], dict[int, Any]()
    while left:
        part = left.pop()
        if isinstance(part, Tensor | PackedSequence):
            yield part
        elif id(part) not in seen:  # a batch may contain itself
            parts = list(_parts(part))
            left += parts
            seen |= {id(part): part} if parts else {}


def _parts(batch: Any) -> Iterable[Any]:
    """The values of a mapping, list, tuple or dataclass; nothing of anything else."""
    if isinstance(batch, Mapping):
        return batch.values()
    if isinstance(batch, list | tuple):
        return batch
    if is_dataclass(batch) and not isinstance(batch, type):
        return [getattr(batch, field.name, None) for field in fields(batch)]
    return ()


class Origins(NamedTuple):
    """Where the observed inputs of a call come from. Each is int64 (N,), -1 if not known."""

    row: NDArray[np.int64]
    """Index along the first dimension of the batch's tensors."""
    position: NDArray[np.int64]
    """Index among the places of a row in this call. It is the index in the sequence unless the head is called on a part of it."""
    index: NDArray[np.int64]  # type: ignore[assignment]  # a tuple has a method of this name, which nobody calls
    """Index in the dataset."""


def origins_of(
    shape: Sequence[int], flat_index: Tensor | None, batch_rows: int | None, order: DatasetOrder | None, batch_idx: int
) -> Origins:
    """Where the observed inputs of a call come from.

    The rows are known if the first dimension of the call has as many entries as the batch has rows. If another dimension has as
    many, nobody knows which one is the batch: PyTorch's transformers and recurrent networks put the sequence first by default.

    Args:
        shape: the shape of the call, without labels.
        flat_index: int64 (N,), flat indices of the observed inputs; None means all.
        batch_rows: the number of rows of the batch; None if it is not clear.
        order: the order in which the loader reads its dataset; None if nobody knows.
        batch_idx: the number of batches that the loader gave before in this epoch.
    """
    flat = np.arange(math.prod(shape)) if flat_index is None else flat_index.cpu().numpy()
    unknown = np.full(len(flat), -1)
    is_first = batch_rows is not None and len(shape) > 0 and shape[0] == batch_rows
    # In a batch of one row, the row is the first whichever dimension is the batch.
    if batch_rows is None or not is_first or (batch_rows != 1 and batch_rows in shape[1:]):
        return Origins(unknown, unknown, unknown)
    places = math.prod(shape[1:])
    row, position = (flat, unknown) if len(shape) == 1 else np.divmod(flat, max(places, 1))
    return Origins(row, position, unknown if order is None else order.index(batch_idx, row, batch_rows))


def ids_in(batch: Any, key: str | int, num_rows: int | None) -> list[str] | None:
    """The user's identifiers of the rows of a batch.

    Args:
        batch: a mapping, or a list or tuple.
        key: the key of the identifiers in a mapping, or their index in a list or tuple.
        num_rows: the number of rows of the batch; None if it is not clear.

    Returns:
        A text of at most 1000 characters for each row. A longer identifier keeps its end, which tells paths apart.
        None if the number of rows is not clear.

    Raises:
        InputError: the batch has no such key, or its value is not one string or number for each row.
    """
    wanted = "to be the key of one string or number for each row of the batch"
    if not _has(batch, key):
        raise InputError(expected("ids_key", wanted, f"{key!r}, but the batch has {_keys(batch)}"))
    found = batch[key]
    ids = _as_list(found)
    if ids is None or any(_is_container(one) for one in ids):
        held = f"{key!r}, which holds a {type(found).__name__}{_shape_of(found)}"
        raise InputError(expected("ids_key", wanted, held, "Let your dataset return one identifier for each item."))
    if num_rows is None:
        return None
    if len(ids) != num_rows:
        raise InputError(expected("ids_key", wanted, f"{key!r}, which holds {len(ids)} identifiers for {num_rows} rows"))
    return [_as_text(one) for one in ids]


def _has(batch: Any, key: str | int) -> bool:
    """Whether a batch is a mapping with a key, or a list or tuple with an index."""
    if isinstance(batch, list | tuple):
        return isinstance(key, int) and -len(batch) <= key < len(batch)
    return isinstance(batch, Mapping) and key in batch


def _keys(batch: Any) -> str:
    """The keys of a batch, in words."""
    if isinstance(batch, Mapping):
        return f"the keys {', '.join(map(repr, batch))}"
    return f"the keys 0 to {len(batch) - 1}" if isinstance(batch, list | tuple) else f"no keys: it is a {type(batch).__name__}"


def _as_list(found: Any) -> list[Any] | None:
    """The entries of a list, a tuple, or a vector or column of torch or NumPy; None for anything else."""
    if isinstance(found, list | tuple):
        return list(found)
    shape = tuple(getattr(found, "shape", ()))
    if len(shape) == 2 and shape[1] == 1:
        found, shape = found.reshape(-1), shape[:1]
    return list(found.tolist()) if len(shape) == 1 else None


def _is_container(one: Any) -> bool:
    """Whether an identifier has several values: a batch of tuples, collated by torch, is a tuple of batches."""
    has_entries = isinstance(one, Sequence | Mapping | AbstractSet) and not isinstance(one, str | bytes)
    return has_entries or len(getattr(one, "shape", ())) > 0


def _shape_of(found: Any) -> str:
    return f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""


def _as_text(one: Any) -> str:
    """An identifier as it is, so that it finds its input. Whoever shows it makes it printable."""
    one = one.item() if isinstance(one, Tensor) else one
    text = one.decode(errors="replace") if isinstance(one, bytes) else str(one)
    return text if len(text) <= _LONGEST_ID else f"…{text[1 - _LONGEST_ID :]}"
