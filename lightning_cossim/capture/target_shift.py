"""Whose target a position of a sequence learns: its own, or the next one's, as in a causal language model.

The class of the model tells, or the targets, held against the input ids. Shapes: B sequences of T positions.
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
"""Ends of the names of models whose loss takes the next position's target, as transformers names them."""
_ALIGNED: Final = ("ForMaskedLM", "ForTokenClassification", "WithLMHeadModel", "XLNetLMHeadModel")
"""Ends of the names of those whose loss takes a position's own."""
_ALIGNED_DECODERS: Final = frozenset(
    f"{family}ForCausalLM"
    for family in (
        *("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Musicgen", "MusicgenMelody"),
        *("Mvp", "PLBart", "Pegasus", "ProphetNet", "TrOCR", "Whisper"),
    )
)
"""Decoders of transformers (5.24) whose loss takes a position's own, whatever their names say."""
_ENOUGH: Final = 4
"""Positions that tell for good whether targets are the input ids."""


def shift_of(model: nn.Module, head: nn.Module) -> tuple[bool, str] | None:
    """Whether the loss of a model that holds a head takes the next position's target, and the name of that model's class.

    None where no class that holds the head is known. An encoder-decoder learns a position's own target: it is the input that is
    shifted there.
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
    """Reads the targets of batches, and finds out whether a position's target is the next one's.

    `shift_targets` of the user decides. Else, in this order: the class of an encoder-decoder or a masked language model that
    holds the head (its own); targets that equal the input ids (the next one's), or the input ids of the next position (its own:
    they are shifted already); the class of a causal language model that holds the head (the next one's). If nothing tells, its
    own.

    Args:
        labels: where targets are, and what they mean.
        model: the LightningModule.
        head: the layer watched.
        inform: logs a line, at most once a run; None: nothing is logged.
    """

    def __init__(
        self, labels: LabelSelection, model: nn.Module, head: nn.Module, inform: Callable[[str], None] | None = None
    ) -> None:
        self.labels, self._log = labels, inform
        reads = labels.targets_key is not None and labels.shift_targets is None
        self._of_model = shift_of(model, head) if reads else None
        self._equal: dict[Hashable, dict[Hashable, Comparison]] = {}
        """What was found in each stage's batches, by the key of what targets were compared with."""

    @property
    def in_words(self) -> str | None:
        """How inputs count, as far as the model's class tells; None where it does not."""
        if self._of_model is None:
            return None
        is_shifted, name = self._of_model
        return f"{self._rule(is_shifted=is_shifted)}, as in the loss of {name}"

    def read(self, batch: Any, stage: Hashable = None) -> CountedTargets | None:
        """Which inputs of a batch count; None for all.

        Raises:
            InputError: the targets are not there.
        """
        if self.labels.targets_key is None:
            return None
        targets = targets_in(batch, self.labels.targets_key)
        own, setting = targets != self.labels.ignore_index, self.labels.shift_targets
        labels = targets.long().where(own, -1)  # a copy: the step may write into its batch
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
        """Whether to shift, by what this stage's batches and the model's class tell; says so, where the class alone did not."""
        of_model = None if self._of_model is None else self._of_model[0]
        if of_model is False or (found is None and of_model is not None):
            return of_model
        if found is not None and found is not of_model:
            why = "are the input ids" if found else "are the input ids of the next position already"
            self._inform(f"{self._rule(is_shifted=found)}: targets {why}")
        elif found is None and settled:
            self._inform(f"{self._rule(is_shifted=False)}; if it learns the next one's, pass `shift_targets=True`")
        return bool(found)

    def _inform(self, text: str) -> None:
        if self._log is not None:
            self._log(text)

    def _rule(self, *, is_shifted: bool) -> str:
        whose = "the next position's target" if is_shifted else "its own target"
        return f"a position counts if {whose} in {self.labels.targets_key!r} is not {self.labels.ignore_index}"

    def _found(self, batch: Any, key: str | int, targets: Tensor, own: Tensor, stage: Hashable) -> bool | None:
        """Whether targets are the input ids (True), those of the next position (False), or neither (None)."""
        known = self._equal.setdefault(stage, {})
        for name, ids in _ids_in(batch, key, targets).items():
            so_far = known.setdefault(name, Comparison())
            if not so_far.is_settled:
                known[name] = so_far.with_batch(ids, targets, own)
        verdicts = [one.verdict for one in known.values()]
        return True if True in verdicts else False if False in verdicts else None


@dataclass(frozen=True)
class Comparison:
    """Targets that count against the ids at the same position and at the next one: how many were compared, and were equal."""

    same: tuple[int, int] = 0, 0
    next: tuple[int, int] = 0, 0

    @property
    def verdict(self) -> bool | None:
        """Whether targets are the ids (True), the next ids (False), or neither, or both (None)."""
        (num, equal), (num_next, equal_next) = self.same, self.next
        is_same, is_next = 0 < num == equal, 0 < num_next == equal_next
        return None if is_same == is_next else is_same

    @property
    def is_settled(self) -> bool:
        """Whether further batches need not be compared."""
        (num, equal), (num_next, equal_next) = self.same, self.next
        return max(num, num_next) >= _ENOUGH and (equal < num or equal_next < num_next)

    def with_batch(self, ids: Tensor, targets: Tensor, own: Tensor) -> "Comparison":
        """The same with (B, T) targets, of which some count, and ids of as many positions, one more or one fewer."""
        more = ids.shape[1] - targets.shape[1]
        same = _equal(ids, targets, own) if more <= 0 else (0, 0)
        following = _equal(ids[:, 1:], targets, own) if more >= 0 else (0, 0)
        return Comparison(_sum(self.same, same), _sum(self.next, following))


def _equal(ids: Tensor, targets: Tensor, own: Tensor) -> tuple[int, int]:
    """How many targets count among those that ids stand against, and how many of them are equal."""
    num = min(ids.shape[1], targets.shape[1])
    counts = own[:, :num]
    equal = (ids[:, :num].to(targets.device) == targets[:, :num]) & counts
    return int(counts.sum()), int(equal.sum())


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _ids_in(batch: Any, targets_key: str | int, targets: Tensor) -> dict[Hashable, Tensor]:
    """What may be the input ids of (B, T) targets, by key: `input_ids`, else whole numbers whose name is not that of targets."""
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
    """What a batch holds, by key or place; the entries of a dict in it under `place.key`."""
    if isinstance(batch, tuple | list):
        found: dict[Hashable, Any] = dict(enumerate(batch))
    else:
        found = dict(batch) if hasattr(batch, "keys") else {}
    inner = {key: value for key, value in found.items() if hasattr(value, "keys")}
    return {**found, **{f"{key}.{name}": value[name] for key, value in inner.items() for name in value.keys()}}  # noqa: SIM118


def _is_like(value: Any, targets: Tensor) -> bool:
    """Whether these are whole numbers for the same sequences, at most one position more or fewer."""
    is_whole = isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return is_whole and value.ndim == 2 and len(value) == len(targets) and abs(value.shape[1] - targets.shape[1]) <= 1
