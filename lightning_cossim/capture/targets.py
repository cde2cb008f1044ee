"""Find which inputs of a call count, and their targets, from the targets in the batch.

An input counts if its target is not `ignore_index`. In a causal language model, a position learns the target of the next
position: it counts if that target is not `ignore_index`, and the last position never counts. Shapes: B sequences of T positions.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from torch import Tensor, nn

from lightning_cossim.errors import InputError, expected

__all__ = ["CountedTargets", "targets_in"]


def targets_in(batch: Any, key: str | int) -> Tensor:
    """The targets of a batch.

    Args:
        batch: the batch that Lightning passes to a step.
        key: the key of the targets in a dict, or their position in a tuple or list.

    Returns:
        A tensor of integers of any shape.

    Raises:
        InputError: the batch has no such key, or its value is no tensor of integers.
    """
    wanted = "to be the key of the targets in a batch"
    try:
        targets = batch[key]
    except (KeyError, IndexError, TypeError):
        raise InputError(expected("targets_key", wanted, f"{key!r}, but the batch has {_keys(batch)}")) from None
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
        kind = f"a tensor of {targets.dtype}" if isinstance(targets, Tensor) else f"an object of type {type(targets).__name__}"
        raise InputError(expected("targets_key", f"{wanted}, a tensor of integers", f"{key!r}, which holds {kind}"))
    return targets


def _keys(batch: Any) -> str:
    if hasattr(batch, "keys"):
        return f"the keys {', '.join(map(repr, batch.keys()))}"
    return f"the keys 0 to {len(batch) - 1}" if isinstance(batch, tuple | list) else f"no keys: it is a {type(batch).__name__}"


@dataclass(frozen=True)
class CountedTargets:
    """Which targets of a batch count, and which position learns which target."""

    own: Tensor
    """Boolean, of the targets' shape: whether a target is not `ignore_index`."""
    is_shifted: bool = False
    """Whether a position learns the target of the next position; only for (B, T) targets."""
    is_causal: bool = False
    """Whether the model predicts the next position, with targets that are shifted here or were shifted in the batch already."""
    is_told: bool = True
    """Whether the shift is known and not guessed."""
    labels: Tensor | None = None
    """int64, of the same shape: the targets, with -1 in place of `ignore_index`; None: they are not needed."""

    def among(self, shape: Sequence[int], embedding: Any = None) -> tuple[Tensor | None, str | None]:
        """Which inputs of a call count, and a warning.

        Args:
            shape: the shape of the call's output without the label dimension.
            embedding: the input of the head, if known. If it is a slice of the positions, it shows which slice.

        Returns:
            A boolean for each input, None if all inputs of the call count; and the text of a warning, None if there is none.
        """
        places, counted = math.prod(shape), self._by_position(self.own, rest=False)
        found = self._placed(self.own, shape, embedding, rest=False)
        if found is not None:
            return found, None
        if places in {int(self.own.sum()), int(counted.sum())}:  # the head is called only for the inputs that count
            return None, None
        targets = f"the batch has {self.own.numel()} targets at `targets_key`"
        told = f"it was called for {places} inputs, but {targets}, so all inputs count"
        off_by_one = abs(places - self.own.numel()) == len(self.own) if self.own.ndim == 2 else False
        remedy = "; if a position learns the target of the next position, pass `shift_targets=True`"
        return None, told + ("" if self.is_told or not off_by_one else remedy)

    def labels_among(self, shape: Sequence[int], embedding: Any = None) -> Tensor | None:
        """The targets of the inputs of a call.

        Args:
            shape: the shape of the call's output without the label dimension.
            embedding: the input of the head, if known.

        Returns:
            int64 (N,), in the order of the call's rows, negative for an input that does not count; None if the targets cannot be
            matched to the inputs.
        """
        if self.labels is None:
            return None
        found = self._placed(self.labels, shape, embedding, rest=-1)
        if found is None:
            counted = self._by_position(self.own, rest=False)
            if math.prod(shape) != int(counted.sum()):
                return None
            found = self._by_position(self.labels, rest=-1)[counted]
        return found.flatten() if _is_same_order(found.shape, shape) else None

    def _placed(self, values: Tensor, shape: Sequence[int], embedding: Any, *, rest: int) -> Tensor | None:
        """A value per target, arranged by the inputs of a call, `rest` for inputs without a target; None if they do not match."""
        by_position = self._by_position(values, rest=rest)
        if math.prod(shape) == by_position.numel():
            return by_position
        return self._part(values, by_position, shape, embedding, rest=rest)

    def _by_position(self, values: Tensor, *, rest: int) -> Tensor:
        """A value per target, moved to the position that learns the target; `rest` for the last position if it learns none."""
        if not self.is_shifted or values.ndim != 2:
            return values
        return nn.functional.pad(values[:, 1:], (0, 1), value=rest)

    def _part(self, values: Tensor, by_position: Tensor, shape: Sequence[int], embedding: Any, *, rest: int) -> Tensor | None:
        """The result of `_placed` if the numbers of positions and targets differ."""
        if not self.is_told or self.own.ndim != 2 or len(shape) > 2 or not len(self.own):
            return None
        num_sequences, num_targets = self.own.shape
        num, left = divmod(math.prod(shape), num_sequences)
        if left or (len(shape) == 2 and shape[0] != num_sequences):
            return None
        start, total = _slice(embedding, num) if len(shape) == 2 else (0, num)
        if total == num_targets > num:
            return by_position[:, start : start + num]
        if num == num_targets - 1 and self.is_shifted:  # the model drops the last position, which learns no target
            return by_position[:, :-1]
        if num == num_targets + 1 and self.is_causal:  # the batch has no target for the last position
            return nn.functional.pad(values, (0, 1), value=rest)
        return None


def _is_same_order(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether flattening tensors of two shapes gives the same order of entries: neighboring dimensions may be merged.

    True for (B, T) and (B·T,). False for (B, T) and (T, B), unless B equals T.
    """
    fine, coarse = ({*accumulate((size for size in shape if size != 1), operator.mul)} for shape in (one, other))
    return fine <= coarse or coarse <= fine


def _slice(embedding: Any, num: int) -> tuple[int, int]:
    """The first position and the number of all positions, if an embedding (B, num, D) is a view such as `hidden[:, -num:]`.

    If it is no such view: 0 and `num`.
    """
    if type(embedding) is not Tensor or embedding.ndim != 3 or embedding.shape[1] != num:
        return 0, num
    sequence, position, _ = embedding.stride()
    if position <= 0 or sequence < num * position or sequence % position:
        return 0, num
    return embedding.storage_offset() % sequence // position, sequence // position
