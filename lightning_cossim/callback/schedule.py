"""When a training window opens and closes, and the x of the loggers' curves: all counting, no Lightning."""

import math
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["StepCounter", "WindowClock"]

MAX_WINDOW: Final = 64
"""Batches of a training window, at the most."""


class WindowClock:
    """Opens a window every so many optimizer steps and at the end of the fit.

    The first window opens at once, so that the first report comes early. The last one is placed so that it closes with the
    fit, as far as the length of the fit is known; a regular window that would run into it is left out. That length may change at
    any batch: the plan goes by what is left now. A window that turns out to end the fit has as many batches as are left; one that
    is open when a fit ends early is closed by its owner.

    Args:
        every_n_steps: optimizer steps from one opening to the next.
        num_batches: batches of a window, at least.
        min_inputs: a window has as many batches more as it takes to see so many inputs, at most 64 in all. That goes by its first
            batch; the last one of an epoch may be smaller.
    """

    def __init__(self, every_n_steps: int, num_batches: int, min_inputs: int = 0) -> None:
        self.every_n_steps, self.num_batches, self.min_inputs = every_n_steps, num_batches, min_inputs
        self.next_due = 0
        """The step from which the next regular window may open."""
        self.batches_left = 0
        """Batches that the open window still wants; 0 while none is open."""
        self.inputs_per_batch: int | None = None
        """Inputs of the batch with which a window last opened, the last of an epoch apart; None before the first."""
        self.inputs_of_last = 1
        """Inputs of the last batch of an epoch, as far as one has opened a window: it may have but one."""
        self.has_opened = False
        """Whether a window opens with the batch that started last."""
        self.is_new = False
        """Whether a window has just opened whose length its first batch has to tell."""
        self.is_optional = False
        """Whether a window has just opened that may be put off: a regular one."""
        self._opened: tuple[float, int] = math.inf, 0
        """Of the batch with which a window last opened: batches left in the fit, and its place in the epoch."""
        self._is_last = False
        """Whether that window was to end the fit; no longer, once there is room for another one."""
        self._per_epoch, self._last_length = math.nan, 0
        """What the length of the last window was planned for, NaN to plan it anew; that length."""

    @property
    def is_curious(self) -> bool:
        """Whether it has yet to see how many inputs a batch has, on which all plans depend."""
        return self.min_inputs > 0 and self.inputs_per_batch is None

    def aim_at(self, min_inputs: int) -> None:
        """Set how many inputs windows are to see from now on: that may depend on the head."""
        self.min_inputs, self._per_epoch = min_inputs, math.nan

    def start_batch(self, step: int, left: float, batch_idx: int = 0, per_epoch: float = math.inf) -> bool:
        """Whether the batch that starts belongs to a window.

        Args:
            step: optimizer steps taken before it.
            left: batches of the fit from it on, itself included; `math.inf` where unknown.
            batch_idx: batches of its epoch before it.
            per_epoch: batches of an epoch, `math.inf` where unknown.
        """
        if per_epoch != self._per_epoch:
            self._plan(per_epoch)
        self.has_opened = False
        if self.batches_left:
            return True
        if left > self._last_length:
            self._is_last = False
            if step < self.next_due and (self.inputs_per_batch is not None or not self.min_inputs):
                return False  # as nearly all batches do, in no time
        self.has_opened = self._opens(step, left, batch_idx)
        if self.has_opened:
            self._opened, self.is_new = (left, batch_idx), self.min_inputs > 0
            self._is_last = left <= self._last_length
            self.is_optional = not self._is_last and not self.is_curious
            self.batches_left = int(left) if self._is_last else self._length(batch_idx)
            self.next_due = step + self.every_n_steps
        return self.batches_left > 0

    def fix_length(self, inputs: int) -> bool:
        """The first batch of a window is done and had so many inputs; whether the window stays open.

        It does not where it would run into the last window, which then comes instead.
        """
        left, batch_idx = self._opened
        ends_epoch = batch_idx == self._per_epoch - 1
        if ends_epoch:
            self.inputs_of_last = max(1, inputs)
        if not ends_epoch or self.inputs_per_batch is None:
            self.inputs_per_batch = inputs
        self.is_new = False
        self._plan(self._per_epoch)
        self._is_last = self._is_last or left <= self._last_length
        length = left if self._is_last else self._length(batch_idx)
        self.batches_left = int(length) if self._is_last or length + self._last_length <= left else 0
        return self.batches_left > 0

    def decide(self, *, stays: bool) -> bool:
        """Whether the window that has just opened stays open; one that does not is due again a period later."""
        self.is_optional = False
        if not stays:
            self.batches_left, self.is_new = 0, False
        return stays

    def finish_batch(self) -> bool:
        """Count one batch of the open window; whether it was the last."""
        self.batches_left -= 1
        return self.batches_left == 0

    def next_report(self, step: int, left: float, accumulate: int = 1, batch_idx: int = 0, per_epoch: float = math.inf) -> int:
        """The step of the next report if all goes as planned, with `accumulate` batches a step; see `start_batch`."""
        self._plan(per_epoch)
        opens = max(0, self.next_due - step) * accumulate
        ends = opens + self._length(batch_idx + opens)
        if ends + self._last_length > left:  # the next one is the last
            ends = int(left)
        return step + (ends - 1) // accumulate

    def drop_window(self, step: int) -> None:
        """Forget the open window, if any, and what was planned for beyond one period from this step."""
        self.batches_left, self.is_new, self.is_optional, self._is_last = 0, False, False, False
        self.next_due = min(self.next_due, step + self.every_n_steps)

    def start_fit(self, step: int) -> None:
        """Another fit than the last one: nothing is known of its batches, and a window is due at once."""
        self.next_due, self.inputs_per_batch, self.inputs_of_last = step, None, 1
        self._per_epoch = math.nan

    def state_dict(self) -> dict[str, Any]:
        """What a fit that goes on needs, in builtins."""
        return {"next_due": self.next_due, "inputs_per_batch": self.inputs_per_batch, "inputs_of_last": self.inputs_of_last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.next_due = state["next_due"]
        self.inputs_per_batch, self.inputs_of_last = state["inputs_per_batch"], state["inputs_of_last"]
        self._per_epoch = math.nan

    def _opens(self, step: int, left: float, batch_idx: int) -> bool:
        if left == self._last_length:
            self._is_last = False
        if (left <= self._last_length and not self._is_last) or self.is_curious:
            return True
        # After a last window that was not the last, the end is no more than a guess that must not hold up others.
        return step >= self.next_due and (self._is_last or self._length(batch_idx) + self._last_length <= left)

    def _plan(self, per_epoch: float) -> None:
        """Plan the length of the last window, which closes with the last batch of an epoch, as a rule."""
        self._per_epoch = per_epoch
        self._last_length = self._length(per_epoch - 1)

    def _length(self, batch_idx: float) -> int:
        """Batches of a window that opens with this one: as few as have enough inputs for certain, if so many are allowed."""
        length, inputs, per_epoch = self.num_batches, self.inputs_per_batch, self._per_epoch
        phase = 0 if math.isinf(per_epoch) else batch_idx % per_epoch
        while inputs and length < MAX_WINDOW:
            ends = 0 if math.isinf(per_epoch) else (phase + length) // per_epoch
            if (length - ends) * inputs + ends * min(inputs, self.inputs_of_last) >= self.min_inputs:
                break
            length += 1
        return length


class StepCounter:
    """The x that Lightning gives to `self.log`: batches after which it did not accumulate.

    `trainer.global_step` is not that number: it counts the steps of every optimizer, and within `on_train_batch_end` it is one
    ahead. Under automatic optimization, a batch counts where that number changed; under manual optimization, where Lightning
    knows of no accumulation, every batch does.
    """

    def __init__(self) -> None:
        self.step = 0
        self.global_step = 0
        """`trainer.global_step` when last looked at."""
        self.in_batch = False
        """Whether a batch has started that is not counted yet."""

    def start_fit(self, global_step: int, num_optimizers: int) -> bool:
        """Begin a fit; whether it goes on where this counter stands. If not, the step is worked out from `global_step`."""
        goes_on = 0 <= global_step - self.global_step <= num_optimizers
        if not goes_on:
            self.step = global_step // max(1, num_optimizers)
            self.global_step = global_step
            self.in_batch = False
        return goes_on

    def start_batch(self, global_step: int, *, manual: bool = False) -> int:
        """The step of a batch that starts with this `global_step`, under automatic or manual optimization."""
        self.step += self.in_batch if manual else global_step != self.global_step
        self.global_step, self.in_batch = global_step, True
        return self.step

    def finish_fit(self, global_step: int, *, manual: bool = False) -> None:
        """The last batch is done: what comes now stands one further."""
        self.start_batch(global_step, manual=manual)
        self.in_batch = False

    def per_batch(self, num_optimizers: int) -> float:
        """Optimizer steps of a batch under manual optimization, on average so far; before the first, one of each optimizer."""
        return self.global_step / self.step if self.step else max(1, num_optimizers)

    def state_dict(self) -> dict[str, Any]:
        """What a fit that goes on needs, in builtins."""
        return {"step": self.step, "global_step": self.global_step, "in_batch": self.in_batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.step, self.global_step, self.in_batch = state["step"], state["global_step"], state["in_batch"]
