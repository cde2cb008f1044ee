"""The final linear layer: found in a model, and read.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` its weight, `f_ND` what goes in, `z_NK` what comes out.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim.errors import HeadError
from lightning_cossim.functional.precision import full_precision, result_dtype

__all__ = ["Head", "find_head"]

USUAL_NAMES: Final = frozenset({"classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "unembed"})


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
    if path is not None:
        # A layer may be reached by several paths (`self.head = self.model.fc`): any of them will do.
        modules = dict(model.named_modules(remove_duplicate=False))
        module = modules.get(path)
        if not isinstance(module, nn.Linear):
            raise HeadError(_no_such_layer(modules, path))
        return Head(path, module, "its path")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
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


def _last_layers(layers: dict[str, nn.Linear]) -> Iterator[str]:
    """The layers whose output no later one could take as input, going by their sizes."""
    names = list(layers)
    for index, name in enumerate(names):
        later = (layers[other].in_features for other in names[index + 1 :])
        if layers[name].out_features not in later:
            yield name


def _shape(module: nn.Linear) -> str:
    return f"{type(module).__name__} {module.in_features}→{module.out_features}"


def _no_such_layer(modules: dict[str, nn.Module], path: str) -> str:
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    got = f"{path!r}, a {type(modules[path]).__name__}" if path in modules else f"{path!r}, which is not there"
    near = difflib.get_close_matches(path, linear, n=3, cutoff=0.4) or linear[-3:]
    remedy = f"Linear layers: {', '.join(map(repr, near))}." if near else "The model has no linear layer."
    return f"Expected `head` to be the dotted path of a linear layer, got {got}. {remedy}"
