"""The final linear layer: found in a model, and read.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` its weight, `f_ND` what goes in, `z_NK` what comes out. A 1x1
convolution is a linear layer too, whose labels stand in the second dimension of its output.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from typing_extensions import override

from lightning_cossim.errors import HeadError
from lightning_cossim.functional.precision import full_precision, result_dtype

__all__ = ["Head", "find_head", "num_writes"]

USUAL_NAMES: Final = frozenset({"classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "unembed"})
_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LinearLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def num_writes(value: Any) -> int:
    """How often a tensor was written in place; one made under inference mode keeps no count."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0  # noqa: SLF001 - torch has no other way


@dataclass(frozen=True)
class Head:
    """A linear layer that gives the logits of K labels."""

    path: str
    """Dotted path in the LightningModule."""
    module: LinearLayer
    """An `nn.Linear`, or a convolution whose kernel is 1."""
    found_by: str
    """How it was found, in words."""

    @property
    def num_labels(self) -> int:
        """K."""
        return _gives(self.module)

    @property
    def embedding_dim(self) -> int:
        """D."""
        return _takes(self.module) or 0

    @property
    def unembedding(self) -> Tensor:
        """The weight (K, D) that is in effect, detached: it may share memory with the model."""
        return _effective_weight(self.module).detach().flatten(1)

    @property
    def bias(self) -> Tensor | None:
        """The bias (K,), detached, or None."""
        return None if self.module.bias is None else self.module.bias.detach()

    @property
    def num_writes(self) -> int:
        """How often the parameters have been written in place."""
        return sum(map(num_writes, self.module.parameters()))

    @property
    def axis(self) -> int:
        """The dimension, counted from the back, in which embeddings stand in an input and logits in an output."""
        return -1 - len(self.module.kernel_size) if isinstance(self.module, _CONVOLUTIONS) else -1

    def logits(self, embedding: Tensor) -> Tensor:
        """What weight and bias make of embeddings (N, D): (N, K), in float32 or better."""
        f_ND, W_KD = (tensor.to(result_dtype(embedding)) for tensor in (embedding, self.unembedding))
        with full_precision(f_ND):
            return nn.functional.linear(f_ND, W_KD, None if self.bias is None else self.bias.to(f_ND))

    @override
    def __str__(self) -> str:
        return f"{self.path}, {_shape(self.module)}, found by {self.found_by}"


def find_head(model: nn.Module, path: str | None = None) -> Head:
    """The final linear layer of a model.

    An explicit path wins; it may lead to a container, whose own final layer is then meant. Else the layers come into question
    whose output no later layer could take as input, going by their sizes; of several, the one with a usual name. Convolutions
    with a kernel of 1 come into question behind the last `nn.Linear`.

    Args:
        model: the LightningModule.
        path: dotted path of the layer, for example "model.fc".

    Raises:
        HeadError: no such path, no linear layer, or several that are equally good. The text lists what could be passed.
    """
    if path is None:
        return _found(model, "")
    # A layer may be reached by several paths (`self.head = self.model.fc`): any of them will do.
    modules = dict(model.named_modules(remove_duplicate=False))
    module = modules.get(path)
    if module is not None and _is_linear(module):
        return Head(path, module, "its path")
    if module is None or not _candidates(module):
        raise HeadError(_no_such_layer(modules, path))
    return _found(module, f"{path}.")


def _found(model: nn.Module, prefix: str) -> Head:
    layers = {prefix + name: module for name, module in _candidates(model).items()}
    if not layers:
        remedy = "Build it before the fit starts (`__init__` or `configure_model`)."
        raise HeadError(
            f"Expected a model with a linear layer that gives the logits, got {type(model).__name__} with none. {remedy}"
        )
    last = [prefix + name for name in _last_layers(model)]
    usual = [name for name in last if name.rpartition(".")[2] in USUAL_NAMES]
    if len(last) == 1:
        return Head(last[0], layers[last[0]], "being the only last linear layer")
    if len(usual) == 1:
        return Head(usual[0], layers[usual[0]], "its name")
    choices = ", ".join(f"head={name!r} ({_shape(layers[name])})" for name in usual or last)
    raise HeadError(f"Expected one final linear layer, got {len(usual or last)} that are equally good. Pass one of {choices}.")


def _candidates(model: nn.Module) -> dict[str, LinearLayer]:
    """The layers that come into question: every `nn.Linear`, and the convolutions of kernel 1 behind the last of them."""
    linear = {name: module for name, module in model.named_modules() if _is_linear(module)}
    names = list(linear)
    last = max((index for index, name in enumerate(names) if isinstance(linear[name], nn.Linear)), default=-1)
    return {name: linear[name] for index, name in enumerate(names) if index > last or isinstance(linear[name], nn.Linear)}


def _last_layers(model: nn.Module) -> Iterator[str]:
    """The candidates whose output no later layer could take as input, going by their sizes."""
    sized = [(name, module) for name, module in model.named_modules() if _takes(module) is not None]
    candidates = _candidates(model)
    for index, (name, module) in enumerate(sized):
        if name in candidates and _gives(module) not in (_takes(later) for _, later in sized[index + 1 :]):
            yield name


def _is_linear(module: nn.Module) -> TypeGuard[LinearLayer]:
    """Whether a layer is a matrix product, plus a bias, of one vector at a time."""
    if isinstance(module, _CONVOLUTIONS):
        whole = {1: (*module.kernel_size, *module.stride, module.groups), 0: module.padding}
        return all(set(values) == {value} for value, values in whole.items())
    return isinstance(module, nn.Linear)


def _takes(module: nn.Module) -> int | None:
    """The size of the vectors that go into a layer, if it has any."""
    size = getattr(module, "in_features", getattr(module, "in_channels", None))
    return size if isinstance(size, int) else None


def _gives(module: nn.Module) -> int:
    """The size of the vectors that come out of a layer that has one."""
    return int(getattr(module, "out_features", getattr(module, "out_channels", 0)))


def _effective_weight(module: LinearLayer) -> Tensor:
    """The weight that a layer computes with, without a trace of having looked.

    Under `torch.nn.utils.parametrize` it is worked out anew at every look; past the cache, which would otherwise keep a weight
    without gradients, and in evaluation, where spectral norm does not count the look as a step of its iteration.
    """
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight
    parametrizations: Any = module.parametrizations
    training = [part for part in parametrizations.weight.modules() if part.training]
    try:
        for part in training:
            part.training = False
        with torch.no_grad():
            effective: Tensor = parametrizations.weight()
    finally:
        for part in training:
            part.training = True
    return effective


def _shape(module: nn.Module) -> str:
    name = type(module).__name__.removeprefix("Parametrized")
    return f"{name} {_takes(module)}→{_gives(module)}"


def _no_such_layer(modules: Mapping[str, nn.Module], path: str) -> str:
    linear = [name for name, module in modules.items() if _is_linear(module)]
    got = f"{path!r}, a {type(modules[path]).__name__}" if path in modules else f"{path!r}, which is not there"
    near = difflib.get_close_matches(path, linear, n=3, cutoff=0.4) or linear[-3:]
    remedy = f"Linear layers: {', '.join(map(repr, near))}." if near else "The model has no linear layer."
    return f"Expected `head` to be the dotted path of a linear layer, got {got}. {remedy}"
