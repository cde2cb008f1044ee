"""Which inputs of a call count, by the targets in the batch, and what their targets are.

An input counts where its target is not `ignore_index`. A causal language model learns the next position's target: there, a
position counts by the target after it, and the last one not at all. Shapes: B sequences of T positions.
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
        batch: what Lightning hands to a step.
        key: of the targets in it: a key of a dict, a place in a tuple or list.

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
    return targets


def _keys(batch: Any) -> str:
    if hasattr(batch, "keys"):
        return ", ".join(map(repr, batch.keys()))
    return f"places 0 to {len(batch) - 1}" if isinstance(batch, tuple | list) else f"no keys: it is a {type(batch).__name__}"


@dataclass(frozen=True)
class CountedTargets:
    """Where the targets of a batch say that an input counts."""

    own: Tensor
    """Boolean, of the targets' shape: a target is not the one to ignore."""
    is_shifted: bool = False
    """Whether a position counts by the target after it; of (B, T) targets only."""
    is_causal: bool = False
    """Whether a position learns the next one, by targets that are shifted or were so before."""
    is_told: bool = True
    """Whether all that is known and no guess."""
    labels: Tensor | None = None
    """int64, of the same shape: the targets, -1 where it is the one to ignore; None: they are not needed."""

    def among(self, shape: Sequence[int], embedding: Any = None) -> tuple[Tensor | None, str | None]:
        """Which inputs of a call count, and what the user should know: a boolean for each, None for all.

        Args:
            shape: of the call, without labels.
            embedding: what went into the head, if known: of a part of the positions it may tell which.
        """
        places, counted = math.prod(shape), self._by_position(self.own, rest=False)
        found = self._placed(self.own, shape, embedding, rest=False)
        if found is not None:
            return found, None
        if places in {int(self.own.sum()), int(counted.sum())}:  # the head is called for those that count, and no others
            return None, None
        told = f"it was called for {places} inputs and there are {self.own.numel()} targets at `targets_key`: all inputs count"
        off_by_one = abs(places - self.own.numel()) == len(self.own) if self.own.ndim == 2 else False
        remedy = "; if a position learns the next one's target, pass `shift_targets=True`"
        return None, told + ("" if self.is_told or not off_by_one else remedy)

    def labels_among(self, shape: Sequence[int], embedding: Any = None) -> Tensor | None:
        """The targets of the inputs of a call, as `among` finds them; None where nobody knows which target is whose.

        Args:
            shape: of the call, without labels.
            embedding: what went into the head, if known.

        Returns:
            int64 (N,), in the order of the call's rows, negative for an input that does not count.
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
        """Values of targets for each input of a call, `rest` where none has a target; None where nobody knows whose is whose."""
        by_position = self._by_position(values, rest=rest)
        if math.prod(shape) == by_position.numel():
            return by_position
        return self._part(values, by_position, shape, embedding, rest=rest)

    def _by_position(self, values: Tensor, *, rest: int) -> Tensor:
        """Values of targets, each at the position that learns it."""
        if not self.is_shifted or values.ndim != 2:
            return values
        return nn.functional.pad(values[:, 1:], (0, 1), value=rest)

    def _part(self, values: Tensor, by_position: Tensor, shape: Sequence[int], embedding: Any, *, rest: int) -> Tensor | None:
        """The same for positions of which there are not as many as targets."""
        if not self.is_told or self.own.ndim != 2 or len(shape) > 2 or not len(self.own):
            return None
        num_sequences, num_targets = self.own.shape
        num, left = divmod(math.prod(shape), num_sequences)
        if left or (len(shape) == 2 and shape[0] != num_sequences):
            return None
        start, total = _slice(embedding, num) if len(shape) == 2 else (0, num)
        if total == num_targets > num:
            return by_position[:, start : start + num]
        if num == num_targets - 1 and self.is_shifted:  # the last one, which learns nothing, was cut off
            return by_position[:, :-1]
        if num == num_targets + 1 and self.is_causal:  # the targets were cut by hand, and the last position has none
            return nn.functional.pad(values, (0, 1), value=rest)
        return None


def _is_same_order(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether the entries of two shapes follow one another in the same order: dimensions side by side may be one.

    (B, T) and (B·T,) are, (B, T) and (T, B) are not, unless B is T.
    """
    fine, coarse = ({*accumulate((size for size in shape if size != 1), operator.mul)} for shape in (one, other))
    return fine <= coarse or coarse <= fine


def _slice(embedding: Any, num: int) -> tuple[int, int]:
    """Which of how many positions an embedding (B, num, D) holds that is a view of all, as `hidden[:, -num:]` is.

    The first one, and how many there are; of what is no such view, 0 and `num`.
    """
    if type(embedding) is not Tensor or embedding.ndim != 3 or embedding.shape[1] != num:
        return 0, num
    sequence, position, _ = embedding.stride()
    if position <= 0 or sequence < num * position or sequence % position:
        return 0, num
    return embedding.storage_offset() % sequence // position, sequence // position
