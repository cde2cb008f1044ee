"""The number of batches that a fit still has, while dataloaders, accumulation and limits can change. The Trainer is Lightning's,
but this module does not import Lightning.
"""

import math
from typing import Any

from lightning_cossim.callback.schedule import StepCounter

__all__ = ["FitEnd", "batches_of_fit"]


class FitEnd:
    """Computes how many batches a fit still has, from the values of the Trainer at every batch.

    Dataloaders, accumulation, `max_epochs` and `max_steps` can change during a fit, so the values are read at every batch. Only
    values that are equal on all processes are used. A process that trains alone uses two more: which batch its dataloader marks
    as the last, and how many batches the last epoch had, if the Trainer does not know that number or has a wrong one.
    """

    def __init__(self) -> None:
        self.per_epoch = math.inf
        """Batches of an epoch; `math.inf` if unknown."""
        self._is_alone = False
        self._said: Any = None
        """Values of the Trainer from which the end was computed."""
        self._end = math.inf
        """Batches from the start of this epoch to the end of the fit."""
        self._is_guess = self._is_last_epoch = False
        self._num_started = 0
        """Batches of this epoch that have started."""
        self._last_epoch: tuple[float, int] = math.nan, 0
        """Batches of the previous epoch: according to the Trainer, and as counted."""

    def start_fit(self, *, is_alone: bool) -> None:
        """Forget the previous fit. `is_alone`: no other process trains with this one."""
        self._is_alone, self._said, self._num_started, self._last_epoch = is_alone, None, 0, (math.nan, 0)

    def batches_left(self, trainer: Any, batch_idx: int, steps: StepCounter, *, manual: bool, has_started: bool = True) -> float:
        """Batches of the fit from the batch that starts, itself included; `math.inf` if unknown.

        Args:
            trainer: Lightning's Trainer.
            batch_idx: batches of the epoch before this batch.
            steps: a counter that includes all batches before this one.
            manual: whether optimization is manual. Its steps per batch are estimated from the steps so far.
            has_started: False before the start of a fit, to compute the value that its first batch will have.

        Returns:
            At least 1.
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
        """Compute the end of the fit from the current values of the Trainer. It holds until these values change."""
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
    """Batches from the start of an epoch to the end of the fit; `math.inf` if unknown.

    Args:
        batches_per_epoch: at least 0; `math.inf` if unknown.
        max_epochs: maximum number of epochs, this one included; None or -1: no limit.
        max_steps: maximum number of optimizer steps from the start of the epoch; -1: no limit.
        accumulate: batches of an optimizer step, at least 1. The last step of an epoch can have fewer.
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
