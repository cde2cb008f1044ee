"""The final linear layer: found in a model, read, and observed while the model runs.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` its weight, `f_ND` what goes in, `z_NK` what comes out.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_cossim.errors import HeadError
from lightning_cossim.functional.precision import full_precision, result_dtype

__all__ = ["Head", "HeadObserver", "Observation", "find_head"]

USUAL_NAMES: Final = frozenset({"classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "unembed"})
_CHECKED: Final = 64
"""Inputs on which the logits are held against the weights."""


@dataclass(frozen=True)
class Head:
    """A linear layer that gives the logits of K labels."""

    path: str
    """Dotted path in the LightningModule."""
    module: nn.Linear
    found_by: str
    """How it was found, in words."""

    @property
    def num_labels(self) -> int:
        """K."""
        return self.module.out_features

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.module.in_features

    @property
    def unembedding(self) -> Tensor:
        """The weight (K, D), detached: it shares memory with the model."""
        return self.module.weight.detach()

    @property
    def bias(self) -> Tensor | None:
        """The bias (K,), detached, or None."""
        return None if self.module.bias is None else self.module.bias.detach()

    def logits(self, embedding: Tensor) -> Tensor:
        """What weight and bias make of embeddings (N, D): (N, K), in float32 or better."""
        f_ND, W_KD = (tensor.to(result_dtype(embedding)) for tensor in (embedding, self.unembedding))
        with full_precision(f_ND):
            return nn.functional.linear(f_ND, W_KD, None if self.bias is None else self.bias.to(f_ND))

    @override
    def __str__(self) -> str:
        return f"{self.path}, {_shape(self.module)}, found by {self.found_by}"


@dataclass(frozen=True)
class Observation:
    """What one call of the head showed, and the weights of the same moment."""

    unembedding: Tensor
    """(K, D), detached: it shares memory with the model."""
    logits: Tensor | None
    """(N, K), or None where they could not be read."""
    embedding: Tensor | None
    """(N, D), or None where it could not be read or does not explain the logits."""
    problem: str | None = None
    """What the user should know about it."""


def find_head(model: nn.Module, path: str | None = None) -> Head:
    """The final linear layer of a model.

    An explicit path wins. Else the layers come into question whose output no later linear layer could take as input, going by
    their sizes; of several, the one with a usual name.

    Args:
        model: the LightningModule.
        path: dotted path of the layer, for example "model.fc".

    Raises:
        HeadError: no such path, no linear layer, or several that are equally good. The text lists what could be passed.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if path is not None:
        if path not in layers:
            raise HeadError(_no_such_layer(model, path, list(layers)))
        return Head(path, layers[path], "its path")
    if not layers:
        remedy = "Build it before the fit starts (`__init__` or `configure_model`)."
        raise HeadError(
            f"Expected a model with a linear layer that gives the logits, got {type(model).__name__} with none. {remedy}"
        )
    last = list(_last_layers(layers))
    usual = [name for name in last if name.rpartition(".")[2] in USUAL_NAMES]
    if len(last) == 1:
        return Head(last[0], layers[last[0]], "being the only last linear layer")
    if len(usual) == 1:
        return Head(usual[0], layers[usual[0]], "its name")
    choices = ", ".join(f"head={name!r} ({_shape(layers[name])})" for name in usual or last)
    raise HeadError(f"Expected one final linear layer, got {len(usual or last)} that are equally good. Pass one of {choices}.")


class HeadObserver:
    """Sees what goes into a head and what comes out, while armed; never touches it.

    The hook tests one flag and writes one slot, so that it stays cheap and survives `torch.compile`. It returns None: anything
    else would replace the model's output.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.armed = False
        self._slot: tuple[Tensor, Tensor] | None = None
        self._versions: tuple[int, ...] = ()
        self._checked = False
        self._linear = True
        self._handle: RemovableHandle = head.module.register_forward_hook(self._hook)

    def detach(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._handle.remove()
        self.disarm()

    def disarm(self) -> None:
        """See nothing until armed again, and forget what was seen."""
        self.armed, self._slot = False, None

    def _hook(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002 - torch's signature
        if self.armed and args and isinstance(output, Tensor):
            self._slot = (args[0], output)
            self._versions = _versions(args[0], output, self.head.module.weight)

    def take(self, max_inputs: int, generator: torch.Generator) -> Observation | None:
        """What the last armed call showed, at most `max_inputs` inputs of it, and disarm; None if there was no call."""
        slot = self._slot
        if slot is None:
            return None
        self.disarm()
        f_ND, z_NK = slot[0].detach(), slot[1].detach()
        if f_ND.ndim != 2 or z_NK.shape != (len(f_ND), self.head.num_labels):
            problem = f"its output has shape {tuple(z_NK.shape)}; so far only (N, {self.head.num_labels}) is read"
            return Observation(self.head.unembedding, None, None, problem)
        same_f, same_z, same_W = (now == then for now, then in zip(self._now(slot), self._versions, strict=True))
        if not same_f or not same_W:
            changed = "embeddings" if same_W else "weights"
            problem = f"its {changed} were changed in place between the forward pass and the backward pass"
            return Observation(self.head.unembedding, None, None, problem)
        if len(f_ND) > max_inputs:
            chosen = torch.randperm(len(f_ND), generator=generator)[:max_inputs].to(f_ND.device)
            f_ND, z_NK = f_ND[chosen], z_NK[chosen]
        if not same_z:  # something behind the head wrote into its output: work out what it was
            z_NK = self.head.logits(f_ND)
        return self._check(f_ND, z_NK)

    def _check(self, f_ND: Tensor, z_NK: Tensor) -> Observation:
        """At the first observation, hold the logits seen against the weights read."""
        problem = None
        if not self._checked:
            self._checked = True
            problem = self._mismatch(f_ND, z_NK)
            self._linear = problem is None
        return Observation(self.head.unembedding, z_NK, f_ND if self._linear else None, problem)

    def _mismatch(self, f_ND: Tensor, z_NK: Tensor) -> str | None:
        f_ND, z_NK = f_ND[:_CHECKED], z_NK[:_CHECKED]
        size_NK = f_ND.float().abs() @ self.head.unembedding.float().abs().T
        size_NK = size_NK if self.head.bias is None else size_NK + self.head.bias.float().abs()
        error_NK = (z_NK.float() - self.head.logits(f_ND)).abs()
        tolerance = 1e-2 if z_NK.dtype in {torch.float16, torch.bfloat16} else 1e-3  # rounding of bf16, and of TF32
        if (error_NK <= tolerance * size_NK).logical_or(error_NK.isnan()).all():
            return None
        error = error_NK.nan_to_num(0).max().item()
        return (
            f"its output differs from `embedding @ weight.T + bias` by up to {error:.3g} (an adapter that is not merged, a "
            "parametrization or another hook are likely); logit_correlation and log_odds_variance would be false and are left out"
        )

    def _now(self, slot: tuple[Tensor, Tensor]) -> tuple[int, ...]:
        return _versions(*slot, self.head.module.weight)


def _versions(*tensors: Tensor) -> tuple[int, ...]:
    """How often each was written in place; tensors made under inference mode keep no count."""
    return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)  # noqa: SLF001 - torch documents no other way


def _last_layers(layers: dict[str, nn.Linear]) -> Iterator[str]:
    """The layers whose output no later one could take as input, going by their sizes."""
    names = list(layers)
    for index, name in enumerate(names):
        later = (layers[other].in_features for other in names[index + 1 :])
        if layers[name].out_features not in later:
            yield name


def _shape(module: nn.Linear) -> str:
    return f"{type(module).__name__} {module.in_features}→{module.out_features}"


def _no_such_layer(model: nn.Module, path: str, linear: list[str]) -> str:
    found = dict(model.named_modules()).get(path)
    got = f"{path!r}, a {type(found).__name__}" if found is not None else f"{path!r}, which is not there"
    near = difflib.get_close_matches(path, linear, n=3, cutoff=0.4) or linear[-3:]
    remedy = f"Linear layers: {', '.join(map(repr, near))}." if near else "The model has no linear layer."
    return f"Expected `head` to be the dotted path of a linear layer, got {got}. {remedy}"
