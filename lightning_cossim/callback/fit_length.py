"""How many batches a fit still has, while loaders, accumulation and limits change. The Trainer comes from Lightning; nothing of
Lightning is imported here.
"""

import math
from typing import Any

from lightning_cossim.callback.schedule import StepCounter

__all__ = ["FitEnd", "batches_of_fit"]


class FitEnd:
    """How many batches a fit still has, by what the Trainer says at each of them.

    Loaders, accumulation, `max_epochs` and `max_steps` may change in mid-fit, so every batch asks again. Only what is equal on
    all processes counts. A process that trains alone knows more: which batch its loader calls the last, and how many batches the
    last epoch had, where the Trainer cannot say or says another number.
    """

    def __init__(self) -> None:
        self.per_epoch = math.inf
        """Batches of an epoch, `math.inf` where unknown."""
        self._is_alone = False
        self._said: Any = None
        """What the Trainer said when the end was planned."""
        self._end = math.inf
        """Batches from the start of this epoch to the end of the fit."""
        self._is_guess = self._is_last_epoch = False
        self._num_started = 0
        """Batches of this epoch so far."""
        self._last_epoch: tuple[float, int] = math.nan, 0
        """Batches of the epoch before this one: as the Trainer said, and as they came."""

    def start_fit(self, *, is_alone: bool) -> None:
        """Forget an earlier fit. `is_alone`: no other process trains with this one."""
        self._is_alone, self._said, self._num_started, self._last_epoch = is_alone, None, 0, (math.nan, 0)

    def batches_left(self, trainer: Any, batch_idx: int, steps: StepCounter, *, manual: bool, has_started: bool = True) -> float:
        """Batches of the fit from the one that starts on, itself included; `math.inf` where nobody knows.

        Args:
            trainer: Lightning's.
            batch_idx: batches of its epoch before it.
            steps: have counted up to it.
            manual: whether optimization is manual. Its steps in a batch are guessed from those so far.
            has_started: False before a fit, to know what it will say of the first batch.
        """
        said = (
            trainer.num_training_batches,
            trainer.max_epochs,
            trainer.max_steps,
            trainer.accumulate_grad_batches,
            trainer.current_epoch,
        )
        if said != self._said or self._is_guess or batch_idx >= self.per_epoch:
            self._plan(said, batch_idx, steps, steps.per_batch(len(trainer.optimizers)) if manual else 1)
            self._is_guess = manual and trainer.max_steps >= 0
        if has_started:
            self._num_started = batch_idx + 1
            if self._is_last_epoch and self._is_alone and trainer.is_last_batch:
                return 1
        return max(1, self._end - batch_idx)

    def _plan(self, said: tuple[Any, ...], batch_idx: int, steps: StepCounter, steps_per_batch: float) -> None:
        """Find the end by what the Trainer says now; that holds until it says something else."""
        per_epoch, max_epochs, max_steps, accumulate, epoch = said
        if self._is_alone and self._said is not None and epoch != self._said[-1]:
            self._last_epoch = self._said[0], self._num_started
        self._said = said
        is_like_last = per_epoch == self._last_epoch[0] and batch_idx < self._last_epoch[1]
        self.per_epoch = self._last_epoch[1] if is_like_last else per_epoch
        if max_epochs is not None and max_epochs >= 0:
            max_epochs = max(1, max_epochs - epoch)
        self._is_last_epoch = max_epochs == 1
        if max_steps >= 0:
            missing = math.ceil(max(0, max_steps - steps.global_step) / steps_per_batch) if steps_per_batch else -1
            max_steps = -1 if missing < 0 else batch_idx // accumulate + missing
        self._end = batches_of_fit(self.per_epoch, max_epochs, max_steps, accumulate)


def batches_of_fit(batches_per_epoch: float, max_epochs: int | None, max_steps: int, accumulate: int) -> float:
    """How many batches a fit has from the start of an epoch on, `math.inf` where it cannot be known.

    Args:
        batches_per_epoch: `math.inf` where unknown.
        max_epochs: how many epochs at most, that one included; None or -1 for no limit.
        max_steps: how many optimizer steps at most from there on, -1 for no limit.
        accumulate: batches of a step; the last step of an epoch may have fewer.
    """
    if max_epochs == 0:
        return 0
    total = math.inf if max_epochs is None or max_epochs < 0 else max_epochs * batches_per_epoch
    if max_steps < 0:
        return total
    if math.isinf(batches_per_epoch):
        return min(total, max_steps * accumulate)
    epochs, steps = divmod(max_steps, math.ceil(batches_per_epoch / accumulate) or 1)
    return min(total, epochs * batches_per_epoch + steps * accumulate)
