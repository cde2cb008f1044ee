"""When a training window opens and closes, and the step values of the loggers' curves. This module does not import Lightning."""

import math
from collections.abc import Mapping
from typing import Any, Final

from lightning_cossim.config.checks import check_bool, saved_count

__all__ = ["StepCounter", "WindowClock"]

MAX_WINDOW: Final = 64
"""Maximum number of batches of a training window."""


class WindowClock:
    """Opens a window every `every_n_steps` optimizer steps, and at the end of the fit.

    The first window opens at once, so the first report comes early. The last window is placed so that it closes with the end of
    the fit, if the length of the fit is known; a regular window that would run into it does not open. The length of the fit can
    change at any batch, so the plan always uses the current number of batches left. A window that ends the fit has as many
    batches as are left. If a fit ends early, the owner of this object closes the open window.

    Args:
        every_n_steps: optimizer steps from the start of one window to the start of the next, at least 1.
        num_batches: minimum number of batches of a window, 1 to 64.
        min_inputs: minimum number of inputs of a window. A window gets more batches for that, up to 64 in all. Their number
            follows from the inputs of the first batch; the last batch of an epoch can be smaller.
    """

    def __init__(self, every_n_steps: int, num_batches: int, min_inputs: int = 0) -> None:
        self.every_n_steps, self.num_batches, self.min_inputs = every_n_steps, num_batches, min_inputs
        self.next_due = 0
        """The step from which the next regular window can open."""
        self.batches_left = 0
        """Batches that the open window still needs; 0 if no window is open."""
        self.inputs_per_batch: int | None = None
        """Inputs of the first batch of the last window, unless that batch ended an epoch; None before the first window."""
        self.inputs_of_last = 1
        """Inputs of the last batch of an epoch, if such a batch has opened a window; else 1, the minimum."""
        self.has_opened = False
        """Whether a window opens with the batch that started last."""
        self.is_new = False
        """Whether a window has just opened, and its first batch must determine its length."""
        self.is_optional = False
        """Whether a regular window has just opened, which can be postponed."""
        self._opened: tuple[float, int] = math.inf, 0
        """For the batch that opened the last window: batches left in the fit, and its index in the epoch."""
        self._is_last = False
        """Whether that window was planned to end the fit; False again once there is room for another window."""
        self._per_epoch, self._last_length = math.nan, 0
        """Batches per epoch for which the length of the last window was planned (NaN: plan it again), and that length."""

    @property
    def is_curious(self) -> bool:
        """Whether the number of inputs per batch is still unknown. All plans depend on it."""
        return self.min_inputs > 0 and self.inputs_per_batch is None

    def aim_at(self, min_inputs: int) -> None:
        """Set the minimum number of inputs of the next windows, which can depend on the head."""
        self.min_inputs, self._per_epoch = min_inputs, math.nan

    def start_batch(self, step: int, left: float, batch_idx: int = 0, per_epoch: float = math.inf) -> bool:
        """Whether the batch that starts belongs to a window.

        Args:
            step: optimizer steps before this batch.
            left: batches of the fit from this batch, itself included; `math.inf` if unknown.
            batch_idx: batches of the epoch before this batch.
            per_epoch: batches of an epoch; `math.inf` if unknown.
        """
        if per_epoch != self._per_epoch:
            self._plan(per_epoch)
        self.has_opened = False
        if self.batches_left:
            return True
        if left > self._last_length:
            self._is_last = False
            if step < self.next_due and (self.inputs_per_batch is not None or not self.min_inputs):
                return False  # nearly all batches return here, so this must be fast
        self.has_opened = self._opens(step, left, batch_idx)
        if self.has_opened:
            self._opened, self.is_new = (left, batch_idx), self.min_inputs > 0
            self._is_last = left <= self._last_length
            self.is_optional = not self._is_last and not self.is_curious
            self.batches_left = int(left) if self._is_last else self._length(batch_idx)
            self.next_due = step + self.every_n_steps
        return self.batches_left > 0

    def fix_length(self, inputs: int) -> bool:
        """Set the length of a window after its first batch, which had `inputs` inputs. Returns whether the window stays open.

        It closes if it would run into the last window, which then takes its place.
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
        """Keep or close the window that has just opened. If it closes, the next one is due a period later. Returns `stays`."""
        self.is_optional = False
        if not stays:
            self.batches_left, self.is_new = 0, False
        return stays

    def finish_batch(self) -> bool:
        """Count one batch of the open window. Returns whether it was the last one."""
        self.batches_left -= 1
        return self.batches_left == 0

    def next_report(self, step: int, left: float, accumulate: int = 1, batch_idx: int = 0, per_epoch: float = math.inf) -> int:
        """The step of the next report if the plan holds. `accumulate`: batches per step; for the others see `start_batch`."""
        self._plan(per_epoch)
        opens = max(0, self.next_due - step) * accumulate
        ends = opens + self._length(batch_idx + opens)
        if ends + self._last_length > left:  # the next window is the last one
            ends = int(left)
        return step + (ends - 1) // accumulate

    def drop_window(self, step: int) -> None:
        """Forget the open window, and all plans beyond one period from this step."""
        self.batches_left, self.is_new, self.is_optional, self._is_last = 0, False, False, False
        self.next_due = min(self.next_due, step + self.every_n_steps)

    def start_fit(self, step: int) -> None:
        """A new fit starts: the number of its batches is unknown, and a window is due at once."""
        self.next_due, self.inputs_per_batch, self.inputs_of_last = step, None, 1
        self._per_epoch = math.nan

    def state_dict(self) -> dict[str, Any]:
        """State for a resumed fit, as builtins."""
        return {"next_due": self.next_due, "inputs_per_batch": self.inputs_per_batch, "inputs_of_last": self.inputs_of_last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`. If an entry is wrong, it raises an exception and changes nothing."""
        next_due, inputs = saved_count(state["next_due"], "next_due"), state["inputs_per_batch"]
        inputs = None if inputs is None else saved_count(inputs, "inputs_per_batch")
        self.inputs_of_last = saved_count(state["inputs_of_last"], "inputs_of_last", 1)
        self.next_due, self.inputs_per_batch = next_due, inputs
        self._per_epoch = math.nan

    def _opens(self, step: int, left: float, batch_idx: int) -> bool:
        if left == self._last_length:
            self._is_last = False
        if (left <= self._last_length and not self._is_last) or self.is_curious:
            return True
        # If the planned last window did not end the fit, the end is a guess and must not delay other windows.
        return step >= self.next_due and (self._is_last or self._length(batch_idx) + self._last_length <= left)

    def _plan(self, per_epoch: float) -> None:
        """Plan the length of the last window, which in general closes with the last batch of an epoch."""
        self._per_epoch = per_epoch
        self._last_length = self._length(per_epoch - 1)

    def _length(self, batch_idx: float) -> int:
        """Batches of a window that opens with this batch: as few as have enough inputs for certain, within the limits."""
        length, inputs, per_epoch = self.num_batches, self.inputs_per_batch, self._per_epoch
        phase = 0 if math.isinf(per_epoch) else batch_idx % per_epoch
        while inputs and length < MAX_WINDOW:
            ends = 0 if math.isinf(per_epoch) else (phase + length) // per_epoch
            if (length - ends) * inputs + ends * min(inputs, self.inputs_of_last) >= self.min_inputs:
                break
            length += 1
        return length


class StepCounter:
    """Counts the steps that Lightning uses for `self.log`: batches after which it does not accumulate.

    `trainer.global_step` is a different number: it counts the steps of every optimizer, and within `on_train_batch_end` it is one
    ahead. Under automatic optimization, a batch counts if `trainer.global_step` changed. Under manual optimization, Lightning
    does not know about accumulation, and every batch counts.
    """

    def __init__(self) -> None:
        self.step = 0
        self.global_step = 0
        """Last known value of `trainer.global_step`."""
        self.in_batch = False
        """Whether a batch has started and is not counted yet."""

    def start_fit(self, global_step: int, num_optimizers: int) -> bool:
        """Start a fit. Returns whether it continues from this counter; if not, the step is computed from `global_step`."""
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
        """Count the last batch, so that later reports have the next step."""
        self.start_batch(global_step, manual=manual)
        self.in_batch = False

    def per_batch(self, num_optimizers: int) -> float:
        """Mean number of optimizer steps per batch so far, under manual optimization; `num_optimizers` at the start."""
        return self.global_step / self.step if self.step else max(1, num_optimizers)

    def state_dict(self) -> dict[str, Any]:
        """State for a resumed fit, as builtins."""
        return {"step": self.step, "global_step": self.global_step, "in_batch": self.in_batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`. If an entry is wrong, it raises an exception and changes nothing."""
        step, global_step = (saved_count(state[name], name) for name in ("step", "global_step"))
        check_bool(state["in_batch"], "in_batch")
        self.step, self.global_step, self.in_batch = step, global_step, state["in_batch"]
