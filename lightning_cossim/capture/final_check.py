"""FinalCheck: checks whether a head's logits are the model's final logits, at the first observation of each window."""

import torch
from torch import Tensor, nn

from lightning_cossim.capture.enclosing import EnclosingOutputs
from lightning_cossim.capture.final_output import HeadOutput, difference
from lightning_cossim.capture.logit_changes import cap_in_settings
from lightning_cossim.capture.model_config import settings_around
from lightning_cossim.capture.taps import FunctionTap, Tap
from lightning_cossim.functional.links import Response

__all__ = ["FinalCheck"]


class FinalCheck:
    """Compares the head's logits with the outputs of the modules that contain the head.

    Args:
        model: the LightningModule.
        head: the module of its head.
        tap: sees the calls of the head, or is the source that the user passed as `embeddings_from=`.
        final: the source that the user passed as `logits_from=`, or None.
    """

    def __init__(self, model: nn.Module, head: nn.Module, tap: Tap | FunctionTap, final: Tap | FunctionTap | None) -> None:
        self._tap, self._final = tap, final
        self._settings = settings_around(model, head)
        has_modules = isinstance(tap, Tap) and final is None and model is not head
        self._around = EnclosingOutputs(model, tap, tap.module) if has_modules and isinstance(tap, Tap) else None
        self._is_due = True
        self._was_compared = False

    def again(self) -> None:
        """Check again: the next observation is the first of a window."""
        self._is_due = True

    def arm(self) -> None:
        """Record the outputs of the modules that contain the head during the next batch."""
        if self._around is not None:
            self._around.arm(is_first=self._is_due)

    def disarm(self) -> None:
        """Record nothing until armed again."""
        if self._around is not None:
            self._around.disarm()

    def detach(self) -> None:
        """Remove all hooks. A second call does nothing."""
        if self._around is not None:
            self._around.detach()

    def outputs(self) -> dict[str, dict[str, Tensor]]:
        """Module path to the tensors in its output, for the modules that contain the head, the outermost first."""
        return {} if self._around is None else self._around.outputs()

    def calls_in_words(self) -> str | None:
        """A warning if the last two calls in the step gave different outputs; None if the last call is enough."""
        tap = self._final or self._tap
        if not self._is_due or not isinstance(tap, Tap) or tap.call is None or tap.call_before is None:
            return None
        last, before = tap.call[2], tap.call_before[2]
        if (
            isinstance(last, Tensor)
            and isinstance(before, Tensor)
            and (last.shape, last.dtype) == (before.shape, before.dtype)
            and torch.allclose(last, before)
        ):
            return None
        what = "the head" if self._final is None else "the module at `logits_from`"
        return (
            f"{what} was called {tap.num_calls} times in one step; only the inputs of its last call are counted. To count all "
            "inputs, pass as `logits_from=` a module that is called once per step, or a function"
        )

    def notes(self, outputs: dict[str, dict[str, Tensor]], seen: HeadOutput | None, calls: str | None) -> tuple[str, ...]:
        """Warnings that the logits may not be the model's final logits.

        Args:
            outputs: the result of `outputs`.
            seen: the logits and the head's output; None if there are no logits.
            calls: the result of `calls_in_words`.
        """
        text = None
        if self._is_due and seen is not None:
            self._is_due = False
            tells, text = difference(outputs, seen, self._settings)
            self._was_compared = self._was_compared or tells
            if self._final is not None:
                text = self._cap_in(seen)
        return tuple(note for note in (text, calls) if note is not None)

    def _cap_in(self, seen: HeadOutput) -> str | None:
        """A warning if the final logits are capped: centering is wrong then, even with `logits_from=`."""
        if seen.output is None or seen.output.numel() != seen.num_inputs * seen.num_labels:
            return None
        rows = seen.output.reshape(-1, seen.num_labels)
        rows = rows if seen.index is None else rows[seen.index.to(rows.device)]
        some = seen.some().to(rows.device)
        y_NK, z_NK = seen.logits[some.to(seen.logits.device)], rows[some]
        change = cap_in_settings(y_NK, z_NK.to(y_NK), seen.link, self._settings)
        return None if change is None else f"the model {change.what}. {change.remedy}".rstrip()

    def unchecked_in_words(self, response: Response) -> str | None:
        """A warning if the configuration changes the logits and no output could be compared; else None.

        Args:
            response: maps weights to logits, as the user set it.
        """
        is_said = self._settings.scale == 1 and response.link_cap == self._settings.cap
        if self._was_compared or self._around is None or is_said or not self._settings.in_words:
            return None
        return (
            f"the model's config has {self._settings.in_words}, which changes the logits after the head, but no module's output "
            "has the final logits, so the overlaps may be wrong. Pass `logits_from=`."
        )
