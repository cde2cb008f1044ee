"""HeadObserver: what goes into a head and what comes out, seen while the model runs.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` weight, `f_ND` embeddings, `z_NK` logits.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_cossim.head import Head, num_writes
from lightning_cossim.rows import groups_of, sample_rows, take_rows

__all__ = ["HeadObserver", "Observation"]

_CHECKED: Final = 64
"""Inputs on which the logits are held against the weights."""


@dataclass(frozen=True)
class Observation:
    """What one call of the head showed, and the weights of the same moment."""

    unembedding: Tensor
    """(K, D), detached: it shares memory with the model."""
    logits: Tensor | None = None
    """(N, K), or None where they could not be read."""
    embedding: Tensor | None = None
    """(N, D), or None where it could not be read or does not explain the logits."""
    groups: Tensor | None = None
    """(N,), which sequence or image an input is of; None where each stands for itself."""
    problem: str | None = None
    """What the user should know about it."""


class HeadObserver:
    """Sees the last call of a head while armed; never touches it.

    The hook tests one flag and writes one slot, so that it stays cheap and `torch.compile` takes it in. It returns None: anything
    else would replace the model's output. All else waits for `take`.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.armed = False
        self._slot: tuple[Any, Any] | None = None
        self._versions: tuple[int, int] | None = None
        """How often input and weight had been written at the call; None where a compiled graph does not tell."""
        self._explained: bool | None = None
        """Whether weight and bias explain the logits; None until that could be checked."""
        self._handle: RemovableHandle = head.module.register_forward_hook(self._hook, with_kwargs=True)

    def arm(self) -> None:
        """The next call counts."""
        self.armed = True

    @override
    def __getstate__(self) -> dict[str, Any]:
        """A copy of the model takes its hooks along: those of a copy see nothing, and hold nothing."""
        return {**self.__dict__, "armed": False, "_slot": None}

    def disarm(self) -> None:
        """See nothing until armed again, and forget what was seen."""
        self.armed, self._slot = False, None

    def detach(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._handle.remove()
        self.disarm()

    # torch passes the module, too
    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:  # noqa: ARG002
        if self.armed:
            embedding = args[0] if args else kwargs.get("input")
            self._versions = None
            if not torch.compiler.is_compiling():
                self._versions = num_writes(embedding), self.head.num_writes
                if isinstance(output, Tensor) and output.is_inference():  # it keeps no count of what is written into it later
                    output = output.clone()
            self._slot = (embedding, output)

    def take(self, max_inputs: int, generator: torch.Generator, counted: Tensor | None = None) -> Observation | None:
        """What the last armed call showed, and disarm; None if there was no call.

        Args:
            max_inputs: of more inputs, a sample is taken.
            generator: of the sample.
            counted: boolean, one entry an input: those that count at all; default all.
        """
        if self._slot is None:
            return None
        f, z = self._slot
        self.disarm()
        problem = self._unreadable(f, z)
        if problem is not None:
            return Observation(self.head.unembedding, problem=problem)
        shape = z.movedim(self.head.axis, -1).shape[:-1]
        if counted is not None and counted.numel() != shape.numel():
            targets = f"{counted.numel()} targets at `targets_key`"
            problem = f"it was called for {shape.numel()} inputs and there are {targets}: all inputs count"
            counted = None
        index = sample_rows(shape, max_inputs, generator, counted)
        f_ND, z_NK = (take_rows(tensor.detach(), self.head.axis, index) for tensor in (f, z))
        # Written into is not yet changed: what a compiled graph gives out may have been written from within.
        written = num_writes(z) > 0 and not self._agree(f_ND, z_NK)
        seen = self._worked_out(f_ND) if written else self._checked(f_ND, z_NK)
        return replace(seen, groups=groups_of(shape, index), problem=seen.problem or problem)

    def _unreadable(self, f: Any, z: Any) -> str | None:
        if not (isinstance(f, Tensor) and isinstance(z, Tensor)):
            return f"it was called from {type(f).__name__} to {type(z).__name__}; only tensors are read"
        axis = self.head.axis
        if f.ndim != z.ndim or f.ndim < -axis or f.movedim(axis, -1).shape[:-1] != z.movedim(axis, -1).shape[:-1]:
            return f"it was called from {tuple(f.shape)} to {tuple(z.shape)}: nobody knows which output belongs to which input"
        if z.shape[axis] != self.head.num_labels:
            return f"its output has {z.shape[axis]} labels and its weight {self.head.num_labels}: they do not belong together"
        now = num_writes(f), self.head.num_writes
        input_version, weight_version = self._versions or now
        if now[1] != weight_version:
            return (
                "its weights were changed before the backward pass was seen; in manual optimization call `self.manual_backward`"
            )
        if now[0] != input_version:
            return "its input was changed in place after the call"
        return None

    def _worked_out(self, f_ND: Tensor) -> Observation:
        """Where something behind the head wrote into its output: the logits that its weights give."""
        problem = None
        if self._explained is False:
            problem = "its weights do not explain its output, which is then changed in place: its logits cannot be seen"
            return Observation(self.head.unembedding, problem=problem)
        if self._explained is None:
            problem = (
                "its output is changed in place by what comes after it; the logits are worked out from its weights, unchecked"
            )
        return Observation(self.head.unembedding, self.head.logits(f_ND), f_ND, problem=problem)

    def _checked(self, f_ND: Tensor, z_NK: Tensor) -> Observation:
        """The logits seen, held against the weights at the first observation that has any."""
        problem = None
        if self._explained is None:
            problem = self._mismatch(f_ND, z_NK)
        return Observation(self.head.unembedding, z_NK, None if self._explained is False else f_ND, problem=problem)

    def _mismatch(self, f_ND: Tensor, z_NK: Tensor) -> str | None:
        f_ND, z_NK = f_ND[:_CHECKED], z_NK[:_CHECKED]
        error_NK = (z_NK.float() - self.head.logits(f_ND)).abs()
        known_NK = error_NK.isfinite()
        if not known_NK.any():
            return None
        self._explained = self._agree(f_ND, z_NK)
        if self._explained:
            return None
        error = error_NK[known_NK].max().item()
        return (
            f"its output differs from `embedding @ weight.T + bias` by up to {error:.3g} (an adapter that is not merged, a "
            "parametrization or another hook are likely); logit_correlation and log_odds_variance would be false and are left out"
        )

    def _agree(self, f_ND: Tensor, z_NK: Tensor) -> bool:
        """Whether weight and bias give these logits, up to the rounding of bf16 or TF32; what is not finite does not count."""
        size_NK = f_ND.float().abs() @ self.head.unembedding.float().abs().T
        size_NK = size_NK if self.head.bias is None else size_NK + self.head.bias.float().abs()
        error_NK = (z_NK.float() - self.head.logits(f_ND)).abs()
        tolerance = 1e-2 if z_NK.dtype in {torch.float16, torch.bfloat16} else 1e-3
        return bool((error_NK <= tolerance * size_NK).logical_or(~error_NK.isfinite()).all())
