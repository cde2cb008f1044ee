"""HeadObserver: records the inputs and outputs of a head while the model runs.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` weight, `f_ND` embeddings, `z_NK` logits.
"""

import contextlib
import functools
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cossim.capture.consistency import LEFT_OUT, Consistency
from lightning_cossim.capture.cosine_heads import embedding_in, holds_rows, why_turned
from lightning_cossim.capture.final_check import FinalCheck
from lightning_cossim.capture.final_output import HeadOutput, keeps_first
from lightning_cossim.capture.head import Head, Observation, Weights, num_writes
from lightning_cossim.capture.layers import is_linear
from lightning_cossim.capture.model_outputs import LOGITS, tensor_in
from lightning_cossim.capture.readable import is_paired, odd_embeddings, odd_logits
from lightning_cossim.capture.sampling import groups_of, sample_rows, take_rows
from lightning_cossim.capture.taps import Source, Tap, first_input, taps_of
from lightning_cossim.capture.targets import CountedTargets

__all__ = ["HeadObserver"]


class HeadObserver:
    """Records the last call of a head while armed. It never changes the model.

    Args:
        head: the head.
        model: the LightningModule; needed for `embeddings_from` and `logits_from`.
        embeddings_from: the source of the embeddings if the head is never called. The logits are then computed from the head's
            weights.
        logits_from: the source of the final logits if the model changes the logits after the head.

    Raises:
        HeadError: `embeddings_from` or `logits_from` is a path that no module has.
    """

    def __init__(
        self,
        head: Head,
        model: nn.Module | None = None,
        *,
        embeddings_from: Source | None = None,
        logits_from: Source | None = None,
    ) -> None:
        self.head = head
        model = head.module if model is None else model
        self._is_called = embeddings_from is None
        embeddings, self._logits = taps_of(model, embeddings_from=embeddings_from, logits_from=logits_from)
        by_size = head.response.link == "cosine" and head.axis == -1
        pick = functools.partial(embedding_in, dim=head.embedding_dim) if by_size else first_input
        self._first = Tap(head.module, lambda: head.num_writes, pick) if embeddings is None else embeddings
        self._taps = [self._first] if self._logits is None else [self._first, self._logits]
        self._logits_axis: int | None = None
        """The dimension of labels in the output of `logits_from`, counted from the back; None until an output is unambiguous."""
        final = None if self._logits is None else "the output of `logits_from`"
        self._consistency = Consistency(head.response, final=final, module=head.module)
        self._final = FinalCheck(model, head.module, self._first, self._logits)

    @property
    def is_armed(self) -> bool:
        """Whether the next call is recorded."""
        return any(tap.armed for tap in self._taps)

    def check_again(self) -> None:
        """Check the next logits again: a difference may only appear later in training."""
        self._consistency.check_again()
        self._final.again()

    def unchecked_in_words(self) -> str | None:
        """A warning if the model's configuration changes the logits and no output could be compared; else None."""
        return self._final.unchecked_in_words(self.head.response)

    @property
    def explains(self) -> bool:
        """Whether the weights give the logits, as far as is known."""
        return self._consistency.explains

    def arm(self) -> None:
        """Record the next call. The final logits of a cosine head in training are not recorded, because they have margins."""
        for tap in self._taps:
            if tap is self._logits and self._has_cosines and self.head.module.training:
                tap.disarm()
            else:
                tap.arm()
        self._final.arm()

    def disarm(self) -> None:
        """Record nothing until armed again, and drop what was recorded."""
        for tap in (*self._taps, self._final):
            tap.disarm()

    def detach(self) -> None:
        """Remove all hooks. A second call does nothing."""
        with contextlib.ExitStack() as every:  # the others, too, if one fails
            for tap in (*self._taps, self._final):
                every.callback(tap.detach)

    def take(
        self,
        max_inputs: int,
        generator: torch.Generator,
        targets: CountedTargets | None = None,
        weights: Weights | None = None,
    ) -> Observation | None:
        """The observation of the last armed call; None if there was no call. Afterwards the observer is disarmed.

        Args:
            max_inputs: maximum number of inputs; of a larger call, a random sample.
            generator: random generator of the sample.
            targets: which inputs count, and their labels; default: all inputs count. Under a sigmoid the labels are not used,
                since an input may have several.
            weights: the head's weights at the time of the call; default: its current weights.

        Raises:
            InputError: a function passed as `embeddings_from=` or `logits_from=` fails.
        """
        for tap in self._taps:
            if tap.failure is not None:
                raise tap.failure
        call, writes = self._first.call, self._first.writes if self._is_called else None
        logits = None if self._logits is None else self._logits.call
        if call is None and logits is None:
            return None
        outputs, calls = self._final.outputs(), self._final.calls_in_words()
        self.disarm()
        weights = self.head.weights if weights is None else weights
        f, z = self._seen(call, logits)
        z = self._completed(z, self._output_of(call))
        if f is None and z is None:
            return Observation(weights.unembedding, bias=weights.bias, problem=self._nothing_in(call))
        axis = self._axis(z)
        is_own = self._is_called and self._logits is None
        odd = odd_logits(self.head, f, z, axis, is_own=is_own)
        problem = odd or odd_embeddings(self.head, f, z, axis, is_own=is_own) or self._changed(f, writes)
        if problem is not None and (odd is not None or self._logits is None):
            return Observation(weights.unembedding, bias=weights.bias, problem=problem)
        if problem is not None:  # the final logits of `logits_from` are still valid
            f, problem = None, f"{problem}; {LEFT_OUT}"
        shape = (f.movedim(self.head.axis, -1) if z is None else z.movedim(axis, -1)).shape[:-1]
        counted, uncounted = (None, None) if targets is None else targets.among(shape, f)
        labels = None if targets is None or self.head.response.link == "sigmoid" else targets.labels_among(shape, f)
        index = sample_rows(shape, max_inputs, generator, counted)
        f_ND = None if f is None else take_rows(f.detach(), self.head.axis, index)
        z_NK = None if z is None else take_rows(z.detach(), axis, index)
        in_half = any(tap.in_half for tap in self._taps)
        seen = self._consistency.read(weights, f_ND, z_NK, was_written=num_writes(z) > 0, in_half=in_half)
        given = None
        if seen.logits is not None and not (self._has_cosines and self.head.module.training):  # with margins
            has_targets = counted is not None
            given = HeadOutput(seen.logits, index, shape, self.head.response.link, self._output_of(call), has_targets)
        notes = self._final.notes(outputs, given, calls) if self._logits is None or seen.problem is None else ()
        return replace(
            seen,
            shape=tuple(shape),
            index=index,
            groups=groups_of(shape, index),
            targets=labels if labels is None or index is None else labels[index.to(labels.device)],
            problem=seen.problem or problem or uncounted,
            notes=notes,
        )

    def _completed(self, z: Any, output: Tensor | None) -> Any:
        """Final logits for all labels. If the model drops the last labels (a padded vocabulary), theirs are -inf."""
        if self._logits is None or output is None or not isinstance(z, Tensor) or not z.ndim or not keeps_first(z, output):
            return z
        return nn.functional.pad(z.detach(), (0, output.shape[-1] - z.shape[-1]), value=-math.inf)

    def _output_of(self, call: Any) -> Tensor | None:
        """The head's own output, labels last; None if it was overwritten or has no logits."""
        output = call[2] if call is not None and self._is_called else None
        axis = self.head.axis
        if (
            not isinstance(output, Tensor)
            or num_writes(output)
            or output.ndim < -axis
            or output.shape[axis] != self.head.num_labels
        ):
            return None
        return output.detach().movedim(axis, -1)

    def _seen(self, call: Any, logits: Any) -> tuple[Any, Any]:
        """Embeddings and logits in their original shapes; None for one that was not recorded."""
        z = None if logits is None else tensor_in(logits[2], LOGITS, size=self.head.num_labels)
        if call is None:
            return None, z
        args, kwargs, output = call
        if not self._is_called:
            return tensor_in(output, "last_hidden_state"), z
        f = self._first.pick(args, kwargs) if isinstance(self._first, Tap) else None
        if self._logits is not None:
            return f, z
        return f, self._logits_in(f, output)

    @property
    def _has_cosines(self) -> bool:
        return self.head.response.link == "cosine"

    def _logits_in(self, f: Any, output: Any) -> Any:
        """The logits in the head's output. None if a cosine head returns a loss, or logits with margins in training."""
        if not self._has_cosines:
            return output
        both = isinstance(f, Tensor) and isinstance(output, Tensor)
        if not both or not is_paired(self.head, f, output, self.head.axis):
            return None
        has_all = output.shape[self.head.axis] == self.head.num_labels  # else `odd_logits` reports it
        return None if has_all and self.head.module.training and not is_linear(self.head.module) else output

    def _nothing_in(self, call: Any) -> str:
        turned = why_turned(self.head.module, *call[:2]) if call and holds_rows(self.head.module) else None
        return turned or "no argument of the head's call can be its embeddings; pass `embeddings_from=`"

    def _axis(self, z: Any) -> int:
        """The dimension of labels in the logits, counted from the back; 0 if unknown."""
        if self._logits is None or not isinstance(z, Tensor):
            return self.head.axis
        fitting = [axis - z.ndim for axis, size in enumerate(z.shape) if size == self.head.num_labels]
        if len(fitting) == 1:
            self._logits_axis = fitting[0]
        elif z.ndim == 2 and fitting:  # as many inputs as labels: in a matrix, inputs are the first dimension
            return -1
        return self._logits_axis if self._logits_axis in fitting else 0

    def _changed(self, f: Any, writes: tuple[int, int] | None) -> str | None:
        now = num_writes(f), self.head.num_writes
        input_writes, weight_writes = writes or now
        if now[1] != weight_writes:
            return (
                "the head's weights changed before the monitor saw the backward pass; in manual optimization, call "
                "`self.manual_backward`"
            )
        return None if f is None or now[0] == input_writes else "the head's input was changed in place after the call"
