"""FinalCheck: whether the logits taken from a head are what its model finally gives, at the first observation of each window."""

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
    """Compares logits with the output of the modules around the head.

    Args:
        model: the LightningModule.
        head: its final layer.
        tap: sees the calls of the head, or of the module that stands in for it.
        final: gives the final logits, where the user has named their module.
    """

    def __init__(self, model: nn.Module, head: nn.Module, tap: Tap | FunctionTap, final: Tap | FunctionTap | None) -> None:
        self._tap, self._final = tap, final
        self._settings = settings_around(model, head)
        has_modules = isinstance(tap, Tap) and final is None and model is not head
        self._around = EnclosingOutputs(model, tap, tap.module) if has_modules and isinstance(tap, Tap) else None
        self._is_due = True
        self._was_compared = False

    def again(self) -> None:
        """The next observation is the first of a window."""
        self._is_due = True

    def arm(self) -> None:
        """See what the modules around the head give in the batch that begins."""
        if self._around is not None:
            self._around.arm(is_first=self._is_due)

    def disarm(self) -> None:
        """See nothing until armed again."""
        if self._around is not None:
            self._around.disarm()

    def detach(self) -> None:
        """Remove all hooks; a second call does nothing."""
        if self._around is not None:
            self._around.detach()

    def outputs(self) -> dict[str, dict[str, Tensor]]:
        """Tensors that the modules around the head gave, the outermost first."""
        return {} if self._around is None else self._around.outputs()

    def calls_in_words(self) -> str | None:
        """How many calls there were, where several differ; None if the last one tells all."""
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
            f"{what} was called {tap.num_calls} times in one step; only the inputs of its last call are counted. To count all, "
            "pass `logits_from=`: a module that is called once, or a function"
        )

    def notes(self, outputs: dict[str, dict[str, Tensor]], seen: HeadOutput | None, calls: str | None) -> tuple[str, ...]:
        """Why logits may not be the model's.

        Args:
            outputs: of the modules around the head.
            seen: the logits, and what the head gave; None where there are no logits.
            calls: how many calls there were, if that matters.
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
        """That the final logits are capped, which makes centering wrong wherever they are seen."""
        if seen.output is None or seen.output.numel() != seen.num_inputs * seen.num_labels:
            return None
        rows = seen.output.reshape(-1, seen.num_labels)
        rows = rows if seen.index is None else rows[seen.index.to(rows.device)]
        some = seen.some().to(rows.device)
        y_NK, z_NK = seen.logits[some.to(seen.logits.device)], rows[some]
        change = cap_in_settings(y_NK, z_NK.to(y_NK), seen.link, self._settings)
        return None if change is None else f"the model takes the head's output and {change.what}. {change.remedy}"

    def unchecked_in_words(self, response: Response) -> str | None:
        """What the configuration says of the logits, where no output was there to compare with; None if nothing.

        Args:
            response: from weights to logits, as the user says.
        """
        is_said = self._settings.scale == 1 and response.link_cap == self._settings.cap
        if self._was_compared or self._around is None or is_said or not self._settings.in_words:
            return None
        return (
            f"the model's config says {self._settings.in_words}, which changes its logits after the head, and no module's output "
            "shows the final ones: overlaps may be those of other logits. Pass `logits_from=`."
        )
