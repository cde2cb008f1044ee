"""Find out whether a position of a sequence learns its own target or, as in a causal language model, the next position's target.

The class of the model decides this, or a comparison of the targets with the input ids. Shapes: B sequences of T positions.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_cossim.capture.targets import CountedTargets, targets_in
from lightning_cossim.config.settings import LabelSelection

__all__ = ["TargetReader", "shift_of"]

_CAUSAL: Final = ("ForCausalLM", "LMHeadModel", "DoubleHeadsModel", "ModelWithLMHead", "ForConditionalGeneration")
"""Suffixes of class names in transformers. The loss of these classes uses the next position's target."""
_ALIGNED: Final = ("ForMaskedLM", "ForTokenClassification", "WithLMHeadModel", "XLNetLMHeadModel")
"""Suffixes of class names in transformers. The loss of these classes uses the position's own target."""
_ALIGNED_DECODERS: Final = frozenset(
    f"{family}ForCausalLM"
    for family in (
        *("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Musicgen", "MusicgenMelody"),
        *("Mvp", "PLBart", "Pegasus", "ProphetNet", "TrOCR", "Whisper"),
    )
)
"""Decoders in transformers (5.24) whose loss uses the position's own target, although their names end in `ForCausalLM`."""
_ENOUGH: Final = 4
"""The number of compared positions that is enough to decide whether targets are the input ids."""


def shift_of(model: nn.Module, head: nn.Module) -> tuple[bool, str] | None:
    """Whether the loss of the model that contains a head uses the next position's target, and the name of the model's class.

    None if no class that contains the head is known. An encoder-decoder uses the position's own target, because it shifts its
    inputs instead.
    """
    holders = [part for part in model.modules() if part is not head and any(one is head for one in part.modules())]
    for part in holders:
        if getattr(getattr(part, "config", None), "is_encoder_decoder", False) is True:
            return False, type(part).__name__
    for part in reversed(holders):  # the innermost first
        name = type(part).__name__.removeprefix("FSDP")
        if name.endswith(_ALIGNED) or name in _ALIGNED_DECODERS or getattr(part, "loss_type", None) == "ForMaskedLM":
            return False, name
        if name.endswith(_CAUSAL):
            return True, name
    return None


class TargetReader:
    """Reads the targets of batches, and finds out whether a position learns its own target or the next position's target.

    If the user sets `shift_targets`, it decides. Otherwise the first of these rules that applies decides:

    1. The head is in an encoder-decoder or a masked language model: own target.
    2. The targets equal the input ids: next position's target.
    3. The targets equal the input ids of the next position: own target, because the targets are shifted already.
    4. The head is in a causal language model: next position's target.
    5. No rule applies: own target.

    Args:
        labels: the key of the targets, and what they mean.
        model: the LightningModule.
        head: the layer that is watched.
        inform: logs a line, at most once per run; None: nothing is logged.
    """

    def __init__(
        self, labels: LabelSelection, model: nn.Module, head: nn.Module, inform: Callable[[str], None] | None = None
    ) -> None:
        self.labels, self._log = labels, inform
        reads = labels.targets_key is not None and labels.shift_targets is None
        self._of_model = shift_of(model, head) if reads else None
        self._equal: dict[Hashable, dict[Hashable, Comparison]] = {}
        """The comparisons of each stage, by the key of the batch entry that the targets were compared with."""

    @property
    def in_words(self) -> str | None:
        """Which inputs count according to the class of the model, in words; None if the class does not decide it."""
        if self._of_model is None:
            return None
        is_shifted, name = self._of_model
        return f"{self._rule(is_shifted=is_shifted)}, as in the loss of {name}"

    def read(self, batch: Any, stage: Hashable = None) -> CountedTargets | None:
        """Which inputs of a batch count; None if all count because no `targets_key` is set.

        Args:
            batch: the batch that Lightning passes to a step.
            stage: the stage of the batch. Each stage has its own comparisons with the input ids.

        Raises:
            InputError: the batch has no targets at `targets_key`, or they are no tensor of integers.
        """
        if self.labels.targets_key is None:
            return None
        targets = targets_in(batch, self.labels.targets_key)
        own, setting = targets != self.labels.ignore_index, self.labels.shift_targets
        labels = targets.long().where(own, -1)  # a copy, because the step may write to its batch
        if setting is not None or targets.ndim != 2:
            return CountedTargets(own, bool(setting), bool(setting), labels=labels)
        found = self._found(batch, self.labels.targets_key, targets, own, stage)
        is_shifted = self._decide(found, settled=all(one.is_settled for one in self._equal[stage].values()))
        return CountedTargets(
            own,
            is_shifted,
            is_causal=is_shifted or found is False,
            is_told=found is not None or self._of_model is not None,
            labels=labels,
        )

    def _decide(self, found: bool | None, *, settled: bool) -> bool:
        """Whether to shift, by this stage's batches and the class of the model. Logs the rule if the class does not imply it."""
        of_model = None if self._of_model is None else self._of_model[0]
        if of_model is False or (found is None and of_model is not None):
            return of_model
        if found is not None and found is not of_model:
            why = "equal the input ids" if found else "equal the input ids of the next position already"
            self._inform(f"{self._rule(is_shifted=found)}, because the targets {why}")
        elif found is None and settled:
            remedy = "if a position learns the target of the next position, pass `shift_targets=True`"
            self._inform(f"{self._rule(is_shifted=False)}; {remedy}")
        return bool(found)

    def _inform(self, text: str) -> None:
        if self._log is not None:
            self._log(text)

    def _rule(self, *, is_shifted: bool) -> str:
        whose = "the next position's target" if is_shifted else "its own target"
        return f"a position counts if {whose} in {self.labels.targets_key!r} is not {self.labels.ignore_index}"

    def _found(self, batch: Any, key: str | int, targets: Tensor, own: Tensor, stage: Hashable) -> bool | None:
        """Whether the targets equal the input ids (True), the input ids of the next position (False), or neither (None)."""
        known = self._equal.setdefault(stage, {})
        for name, ids in _ids_in(batch, key, targets).items():
            so_far = known.setdefault(name, Comparison())
            if not so_far.is_settled:
                known[name] = so_far.with_batch(ids, targets, own)
        verdicts = [one.verdict for one in known.values()]
        return True if True in verdicts else False if False in verdicts else None


@dataclass(frozen=True)
class Comparison:
    """Counts from a comparison of the targets that count with the ids at the same position and at the next position."""

    same: tuple[int, int] = 0, 0
    """Same position: how many targets were compared, and how many were equal."""
    next: tuple[int, int] = 0, 0
    """Next position: how many targets were compared, and how many were equal."""

    @property
    def verdict(self) -> bool | None:
        """Whether all targets equal the ids (True), all equal the next ids (False), or neither or both (None)."""
        (num, equal), (num_next, equal_next) = self.same, self.next
        is_same, is_next = 0 < num == equal, 0 < num_next == equal_next
        return None if is_same == is_next else is_same

    @property
    def is_settled(self) -> bool:
        """Whether enough is compared, so that later batches are not compared."""
        (num, equal), (num_next, equal_next) = self.same, self.next
        return max(num, num_next) >= _ENOUGH and (equal < num or equal_next < num_next)

    def with_batch(self, ids: Tensor, targets: Tensor, own: Tensor) -> "Comparison":
        """The comparison after adding a batch.

        Args:
            ids: integers (B, T), (B, T + 1) or (B, T - 1).
            targets: integers (B, T).
            own: boolean (B, T), whether a target counts.
        """
        more = ids.shape[1] - targets.shape[1]
        same = _equal(ids, targets, own) if more <= 0 else (0, 0)
        following = _equal(ids[:, 1:], targets, own) if more >= 0 else (0, 0)
        return Comparison(_sum(self.same, same), _sum(self.next, following))


def _equal(ids: Tensor, targets: Tensor, own: Tensor) -> tuple[int, int]:
    """How many targets at the positions of the ids count, and how many of these equal the ids."""
    num = min(ids.shape[1], targets.shape[1])
    counts = own[:, :num]
    equal = (ids[:, :num].to(targets.device) == targets[:, :num]) & counts
    return int(counts.sum()), int(equal.sum())


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _ids_in(batch: Any, targets_key: str | int, targets: Tensor) -> dict[Hashable, Tensor]:
    """The possible input ids of (B, T) targets, by key: `input_ids`, else integer tensors whose key does not name targets."""
    entries = {key: value for key, value in _entries(batch).items() if _is_like(value, targets)}
    for key, value in entries.items():
        if str(key).rpartition(".")[2] == "input_ids":
            return {key: value}
    own = targets_key % len(batch) if isinstance(batch, tuple | list) and isinstance(targets_key, int) else targets_key
    of_targets = ("label", "target")
    return {
        key: value for key, value in entries.items() if key != own and not any(word in str(key).lower() for word in of_targets)
    }


def _entries(batch: Any) -> dict[Hashable, Any]:
    """The entries of a batch by key or position. The entries of a nested dict have keys such as `position.key`."""
    if isinstance(batch, tuple | list):
        found: dict[Hashable, Any] = dict(enumerate(batch))
    else:
        found = dict(batch) if hasattr(batch, "keys") else {}
    inner = {key: value for key, value in found.items() if hasattr(value, "keys")}
    return {**found, **{f"{key}.{name}": value[name] for key, value in inner.items() for name in value.keys()}}  # noqa: SIM118


def _is_like(value: Any, targets: Tensor) -> bool:
    """Whether a value is an integer tensor for the same sequences, with at most one position more or fewer."""
    is_whole = isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return is_whole and value.ndim == 2 and len(value) == len(targets) and abs(value.shape[1] - targets.shape[1]) <= 1
