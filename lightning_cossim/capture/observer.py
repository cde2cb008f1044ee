"""HeadObserver: what goes into a head and what comes out, seen while the model runs.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` weight, `f_ND` embeddings, `z_NK` logits.
"""

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cossim.capture.consistency import Consistency
from lightning_cossim.capture.cosine_heads import embedding_in, holds_rows, why_turned
from lightning_cossim.capture.head import Head, Observation, Weights, num_writes
from lightning_cossim.capture.layers import is_linear
from lightning_cossim.capture.sampling import groups_of, sample_rows, take_rows
from lightning_cossim.capture.taps import Source, Tap, first_input, taps_of, tensor_in
from lightning_cossim.capture.targets import CountedTargets

__all__ = ["HeadObserver"]


class HeadObserver:
    """Sees the last call of a head while armed, or of what stands in for it; never touches it.

    Args:
        head: the head.
        model: the LightningModule; needed for the other two.
        embeddings_from: what gives the embeddings where the head is not called; logits are then worked out from its weights.
        logits_from: what gives the logits where the model changes them after its head.

    Raises:
        HeadError: a source is not there.
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
        """The dimension of labels in what `logits_from` gives, counted from the back; None until one of them was plain."""
        final = None if self._logits is None else "what `logits_from` gives"
        self._consistency = Consistency(head.response, final=final, module=head.module)

    @property
    def is_armed(self) -> bool:
        """Whether the next call counts."""
        return any(tap.armed for tap in self._taps)

    def check_again(self) -> None:
        """Hold the next logits against the weights once more: what did not show when training began may show now."""
        self._consistency.check_again()

    @property
    def explains(self) -> bool:
        """Whether the weights give the logits, as far as is known."""
        return self._consistency.explains

    def arm(self) -> None:
        """The next call counts. Of a cosine head in training, final logits do not: there are margins in them."""
        for tap in self._taps:
            if tap is self._logits and self._has_cosines and self.head.module.training:
                tap.disarm()
            else:
                tap.arm()

    def disarm(self) -> None:
        """See nothing until armed again, and forget what was seen."""
        for tap in self._taps:
            tap.disarm()

    def detach(self) -> None:
        """Remove the hooks; a second call does nothing."""
        for tap in self._taps:
            tap.detach()

    def take(
        self,
        max_inputs: int,
        generator: torch.Generator,
        targets: CountedTargets | None = None,
        weights: Weights | None = None,
    ) -> Observation | None:
        """What the last armed call showed, and disarm; None if there was no call.

        Args:
            max_inputs: of more inputs, a sample is taken.
            generator: of the sample.
            targets: which inputs count at all; default all.
            weights: those of the call; default those of now.
        """
        call, writes = self._first.call, self._first.writes if self._is_called else None
        logits = None if self._logits is None else self._logits.call
        if call is None and logits is None:
            return None
        self.disarm()
        weights = self.head.weights if weights is None else weights
        f, z = self._seen(call, logits)
        if f is None and z is None:
            return Observation(weights.unembedding, bias=weights.bias, problem=self._nothing_in(call))
        axis = self._axis(z)
        problem = self._unreadable(f, z, axis, writes)
        if problem is not None:
            return Observation(weights.unembedding, bias=weights.bias, problem=problem)
        shape = (f.movedim(self.head.axis, -1) if z is None else z.movedim(axis, -1)).shape[:-1]
        counted, problem = (None, None) if targets is None else targets.among(shape, f)
        index = sample_rows(shape, max_inputs, generator, counted)
        f_ND = None if f is None else take_rows(f.detach(), self.head.axis, index)
        z_NK = None if z is None else take_rows(z.detach(), axis, index)
        in_half = any(tap.in_half for tap in self._taps)
        seen = self._consistency.read(weights, f_ND, z_NK, was_written=num_writes(z) > 0, in_half=in_half)
        return replace(seen, groups=groups_of(shape, index), problem=seen.problem or problem)

    def _seen(self, call: Any, logits: Any) -> tuple[Any, Any]:
        """Embeddings and logits, as they come; None where nothing tells of them."""
        z = None if logits is None else tensor_in(logits[2], "logits", size=self.head.num_labels)
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
        """What the head gives out. A cosine head may give a loss, and in training logits with margins: these are none."""
        if not self._has_cosines:
            return output
        both = isinstance(f, Tensor) and isinstance(output, Tensor)
        if not both or not self._fits(f, output, self.head.axis):
            return None
        has_all = output.shape[self.head.axis] == self.head.num_labels  # else that is told
        return None if has_all and self.head.module.training and not is_linear(self.head.module) else output

    def _nothing_in(self, call: Any) -> str:
        turned = why_turned(self.head.module, *call[:2]) if call and holds_rows(self.head.module) else None
        return turned or "it was called with nothing that could be its embeddings; pass `embeddings_from=`"

    def _axis(self, z: Any) -> int:
        """The dimension of labels in the logits, counted from the back; 0 where nobody knows."""
        if self._logits is None or not isinstance(z, Tensor):
            return self.head.axis
        fitting = [axis - z.ndim for axis, size in enumerate(z.shape) if size == self.head.num_labels]
        if len(fitting) == 1:
            self._logits_axis = fitting[0]
        return self._logits_axis if self._logits_axis in fitting else 0

    def _unreadable(self, f: Any, z: Any, axis: int, writes: tuple[int, int] | None) -> str | None:
        """Why what was seen cannot be used; None if it can."""
        for kind, value in (("embeddings", f), ("logits", z)):
            if value is not None and not isinstance(value, Tensor):
                if self._is_called and self._logits is None:
                    return f"it was called from {type(f).__name__} to {type(z).__name__}; only tensors are read"
                return f"the {kind} given are a {type(value).__name__}; only tensors are read"
        return self._misshapen(f, z, axis) or self._changed(f, writes)

    def _misshapen(self, f: Tensor | None, z: Tensor | None, axis: int) -> str | None:
        num_labels, embedding_dim = self.head.num_labels, self.head.embedding_dim
        if z is not None and axis == 0:
            sizes = f"of the shape {tuple(z.shape)}, and the head has {num_labels} labels"
            return f"the logits that `logits_from` gives are {sizes}: nobody knows which dimension is that of the labels"
        if f is not None and z is not None and not self._fits(f, z, axis):
            return f"it was called from {tuple(f.shape)} to {tuple(z.shape)}: nobody knows which output belongs to which input"
        if z is not None and z.shape[axis] != num_labels:
            return f"its output has {z.shape[axis]} labels and its weight {num_labels}: they do not belong together"
        if f is not None and (f.ndim < -self.head.axis or f.shape[self.head.axis] != embedding_dim):
            sizes = f"of the shape {tuple(f.shape)}, and the head takes {embedding_dim} dimensions"
            return f"its embeddings are {sizes}: they do not belong together"
        return None

    def _changed(self, f: Tensor | None, writes: tuple[int, int] | None) -> str | None:
        now = num_writes(f), self.head.num_writes
        input_writes, weight_writes = writes or now
        if now[1] != weight_writes:
            return (
                "its weights were changed before the backward pass was seen; in manual optimization call `self.manual_backward`"
            )
        return None if now[0] == input_writes else "its input was changed in place after the call"

    def _fits(self, f: Tensor, z: Tensor, axis: int) -> bool:
        """Whether there is one output an input."""
        places = f.ndim >= -self.head.axis and z.ndim >= -axis
        return places and f.movedim(self.head.axis, -1).shape[:-1] == z.movedim(axis, -1).shape[:-1]
