"""HeadObserver: what goes into a head and what comes out, seen while the model runs.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` weight, `f_ND` embeddings, `z_NK` logits.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cossim.head import Head, Weights, num_writes
from lightning_cossim.layers import is_adapted
from lightning_cossim.logit_check import (
    CHECKED,
    agree,
    agree_in_part,
    largest_error,
    multiple_of_cosines,
    no_multiple,
    other_multiple,
)
from lightning_cossim.rows import groups_of, sample_rows, take_rows
from lightning_cossim.sources import Source, Tap, taps_of, tensor_in

__all__ = ["HeadObserver", "Observation"]


@dataclass(frozen=True)
class Observation:
    """What one call of the head showed, and the weights of the same moment."""

    unembedding: Tensor
    """(K, D), detached: it shares memory with the model."""
    logits: Tensor | None = None
    """(N, K), the model's final ones, or None where they could not be read."""
    embedding: Tensor | None = None
    """(N, D), or None where it could not be read or does not explain the logits."""
    groups: Tensor | None = None
    """(N,), which sequence or image an input is of; None where each stands for itself."""
    bias: Tensor | None = None
    """(K,), detached, or None."""
    problem: str | None = None
    """What the user should know about it."""


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
        self._first = Tap(head.module, lambda: head.num_writes) if embeddings is None else embeddings
        self._taps = [self._first] if self._logits is None else [self._first, self._logits]
        self._logits_axis: int | None = None
        """The dimension of labels in what `logits_from` gives, counted from the back; None until one of them was plain."""
        self._explained: dict[bool, bool] = {}
        """Whether weight and bias explain the logits, in training and in evaluation, as far as that could be checked."""
        self._is_unchecked = True

    @property
    def is_armed(self) -> bool:
        """Whether the next call counts."""
        return any(tap.armed for tap in self._taps)

    def check_again(self) -> None:
        """Hold the next logits against the weights once more: what did not show when training began may show now."""
        self._is_unchecked = True

    def arm(self) -> None:
        """The next call counts."""
        for tap in self._taps:
            tap.armed = True

    def disarm(self) -> None:
        """See nothing until armed again, and forget what was seen."""
        for tap in self._taps:
            tap.disarm()

    def detach(self) -> None:
        """Remove the hooks; a second call does nothing."""
        for tap in self._taps:
            tap.detach()

    def take(
        self, max_inputs: int, generator: torch.Generator, counted: Tensor | None = None, weights: Weights | None = None
    ) -> Observation | None:
        """What the last armed call showed, and disarm; None if there was no call.

        Args:
            max_inputs: of more inputs, a sample is taken.
            generator: of the sample.
            counted: boolean, one entry an input: those that count at all; default all.
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
        if counted is not None and counted.numel() != shape.numel():
            targets = f"{counted.numel()} targets at `targets_key`"
            problem = f"it was called for {shape.numel()} inputs and there are {targets}: all inputs count"
            counted = None
        index = sample_rows(shape, max_inputs, generator, counted)
        f_ND = None if f is None else take_rows(f.detach(), self.head.axis, index)
        z_NK = None if z is None else take_rows(z.detach(), axis, index)
        if self._has_cosines:
            seen = self._read_cosines(weights, f_ND, z_NK)
        elif self._logits is not None:
            seen = self._read(weights, f_ND, z_NK, was_written=False)
        else:  # what the head itself gives, linear as yet
            seen = self._read(Weights(weights.unembedding, weights.bias), f_ND, z_NK, was_written=num_writes(z) > 0)
            seen = replace(seen, logits=None if seen.logits is None else weights.response.of_output(seen.logits))
        return replace(seen, groups=groups_of(shape, index), bias=weights.bias, problem=seen.problem or problem)

    def _seen(self, call: Any, logits: Any) -> tuple[Any, Any]:
        """Embeddings and logits, as they come; None where nothing tells of them."""
        z = None if logits is None else tensor_in(logits[2], "logits", size=self.head.num_labels)
        if self._has_cosines and self.head.module.training:
            z = None  # margins are in it
        if call is None:
            return None, z
        args, kwargs, output = call
        if not self._is_called:
            return tensor_in(output, "last_hidden_state"), z
        f = args[0] if args else kwargs.get("input")
        if self._has_cosines:
            f = f if args else tensor_in(kwargs, "input", size=self.head.embedding_dim) if kwargs else None
            return f, self._cosines_in(f, output) if self._logits is None else z
        return f, output if self._logits is None else z

    @property
    def _has_cosines(self) -> bool:
        return self.head.response.link == "cosine"

    def _cosines_in(self, f: Any, output: Any) -> Any:
        """What a cosine head gives in evaluation, if it is one logit a label: it may give a loss, or logits with margins."""
        is_whole = isinstance(f, Tensor) and isinstance(output, Tensor) and output.shape == (*f.shape[:-1], self.head.num_labels)
        return output if is_whole and not self.head.module.training else None

    def _nothing_in(self, call: Any) -> str | None:
        return None if call is None else "it was called with nothing that could be its embeddings; pass `embeddings_from=`"

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

    @property
    def explains(self) -> bool:
        """Whether the weights give the logits, as far as is known; not if they differed in evaluation or, else, in training."""
        return self._explained.get(False, self._explained.get(True, True))

    def _read(self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, *, was_written: bool) -> Observation:
        """What is known of some rows, held against the weights."""
        if f_ND is None:
            return Observation(weights.unembedding, z_NK)
        if z_NK is None:  # nothing shows them, which is why the user says where embeddings come from
            return Observation(weights.unembedding, weights.logits(f_ND), f_ND)
        # Written into is not yet changed: what a compiled graph gives out may have been written from within.
        if was_written and not agree_in_part(weights, f_ND, z_NK):
            return self._worked_out(weights, f_ND)
        return self._checked(weights, f_ND, z_NK)

    def _read_cosines(self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None) -> Observation:
        """Logits as they are in evaluation, without a margin: worked out, and in evaluation held against those seen."""
        if f_ND is None:
            return Observation(weights.unembedding, z_NK)
        problem = None
        if z_NK is not None and (self._is_unchecked or False not in self._explained):
            problem = self._unlike_cosines(weights, f_ND[:CHECKED], z_NK[:CHECKED])
        final_NK = None if self._logits is None else z_NK
        if self._explained.get(False) is False:
            return Observation(weights.unembedding, final_NK, problem=problem)
        return Observation(weights.unembedding, weights.logits(f_ND) if final_NK is None else final_NK, f_ND, problem=problem)

    def _unlike_cosines(self, weights: Weights, f_ND: Tensor, z_NK: Tensor) -> str | None:
        """What is odd about the logits seen in evaluation: they are no multiple of the cosines, or not the one it should be."""
        multiple, is_final = multiple_of_cosines(weights, f_ND, z_NK), self._logits is not None
        if multiple is None:
            return None
        self._is_unchecked, self._explained[False] = False, multiple > 0
        if not multiple:
            return no_multiple(is_final=is_final)
        return other_multiple(multiple, weights.response.link_scale or 1.0, is_final=is_final)

    def _worked_out(self, weights: Weights, f_ND: Tensor) -> Observation:
        """Where something behind the head wrote into its output: the logits that its weights give."""
        problem, known = None, {*self._explained.values()}
        explained = self._explained.get(self.head.module.training, True in known or None)
        if explained is False:
            problem = "its weights do not explain its output, which is then changed in place: its logits cannot be seen"
            return Observation(weights.unembedding, problem=problem)
        if explained is None:
            problem = (
                "its output is changed in place by what comes after it; the logits are worked out from its weights, unchecked"
            )
        return Observation(weights.unembedding, weights.logits(f_ND), f_ND, problem=problem)

    def _checked(self, weights: Weights, f_ND: Tensor, z_NK: Tensor) -> Observation:
        """The logits seen, held against the weights at the first observation of a window, in training and in evaluation."""
        problem, training = None, self.head.module.training
        if self._is_unchecked or training not in self._explained:
            problem = self._mismatch(weights, f_ND, z_NK)
        explained = self._explained.get(training) is not False
        return Observation(weights.unembedding, z_NK, f_ND if explained else None, problem=problem)

    def _mismatch(self, weights: Weights, f_ND: Tensor, z_NK: Tensor) -> str | None:
        f_ND, z_NK, training = f_ND[:CHECKED], z_NK[:CHECKED], self.head.module.training
        error = largest_error(weights, f_ND, z_NK)
        if error is None:
            return None
        self._is_unchecked = False
        self._explained[training] = agree(weights, f_ND, z_NK)
        if self._explained[training]:
            return None
        likely, output = "an adapter that is not merged, a parametrization or another hook are likely", "its output differs"
        if self._logits is not None:
            likely = "soft-capping (then pass `link='softcap'`) or a scale after the head are likely"
            if weights.response.link == "softcap":
                likely = "another cap or a scale after it are likely"
            output = "what `logits_from` gives differs"
        elif training and is_adapted(self.head.module):
            likely = f"{likely}; in training, an adapter's dropout too"
        return (
            f"{output} from `{weights.response.formula}` by up to {error:.3g} ({likely}); logit_correlation and "
            "log_odds_variance would be false and are left out"
        )
