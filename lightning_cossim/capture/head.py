"""The final linear layer, its weights at one moment, and what one call of it showed.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` its weight, `f_ND` what goes in, `z_NK` what comes out. A 1x1
convolution is a linear layer too, whose labels stand in the second dimension of its output.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim.capture import layers
from lightning_cossim.functional.links import PLAIN, Response

__all__ = ["Head", "HeadSpec", "Observation", "Weights", "num_writes", "shape_in_words"]


def num_writes(value: Any) -> int:
    """How often a tensor was written in place; one made under inference mode keeps no count."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0  # noqa: SLF001 - torch has no other way


@dataclass(frozen=True)
class Weights:
    """What a head computes with at one moment; it may share memory with the model."""

    unembedding: Tensor
    """(K, D), detached."""
    bias: Tensor | None
    """(K,), detached."""
    response: Response = PLAIN
    """From these to logits."""

    @property
    def spec(self) -> "HeadSpec":
        """The sizes that they have."""
        weight = self.unembedding
        num_labels, embedding_dim = weight.shape
        return HeadSpec(num_labels, embedding_dim, weight.dtype, weight.device, self.response)

    def logits(self, embedding: Tensor) -> Tensor:
        """The model's logits (N, K) of embeddings (N, D), in float32 or better."""
        return self.response.logits(embedding, self.unembedding, self.bias)


@dataclass(frozen=True)
class HeadSpec:
    """The sizes of a head, and where its weight lies: what a window is built from."""

    num_labels: int
    """K."""
    embedding_dim: int
    """D."""
    dtype: torch.dtype
    device: torch.device
    response: Response = PLAIN
    """From its weights to the model's logits."""


@dataclass(frozen=True)
class Head:
    """A linear layer that gives the logits of K labels, or what holds the rows of a cosine head."""

    path: str
    """Dotted path in the LightningModule."""
    module: Any
    """A linear layer, a convolution whose kernel is 1, the embedding a functional head shares, or what has rows of its own."""
    found_by: str
    """How it was found, in words."""
    response: Response = PLAIN
    """From its weights to the model's logits."""
    scale_name: str | None = None
    """The attribute of a cosine head from which the scale of the moment is read."""
    others: tuple[str, ...] = ()
    """Paths of the layers that were in question too."""

    @property
    def num_labels(self) -> int:
        """K."""
        return layers.shape_of(self.module)[0]

    @property
    def embedding_dim(self) -> int:
        """D."""
        return layers.shape_of(self.module)[1]

    @property
    def weights(self) -> Weights:
        """Those of now. Of a sharded head, every process has to ask at the same time."""
        bias, response = None if self.response.link == "cosine" else layers.bias_of(self.module), self.response
        if self.scale_name is not None:
            response = replace(response, link_scale=layers.number_in(self.module, self.scale_name))
        return Weights(layers.weight_of(self.module).flatten(1), bias, response)

    def gathered(self) -> Weights | None:
        """The weights of a sharded head, for which its processes wait for one another; None: each reads its own when needed."""
        return self.weights if self.is_sharded else None

    @property
    def unembedding(self) -> Tensor:
        """The weight (K, D) that is in effect, detached."""
        return self.weights.unembedding

    @property
    def bias(self) -> Tensor | None:
        """The bias (K,), detached, or None."""
        return self.weights.bias

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight."""
        return self._parameter.dtype

    @property
    def device(self) -> torch.device:
        """Of the weight."""
        return self._parameter.device

    @property
    def spec(self) -> HeadSpec:
        """Its sizes, without a look at the weights."""
        return HeadSpec(self.num_labels, self.embedding_dim, self.dtype, self.device, self.response)

    @property
    def _parameter(self) -> Tensor:
        return layers.parameter_of(self.module)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of the parameter that holds the weight: another one, where the layer was given a larger weight."""
        return tuple(self._parameter.shape)

    def is_in(self, model: nn.Module) -> bool:
        """Whether a model still has this layer at its path."""
        modules = model.named_modules(remove_duplicate=False)
        return any(layers.plain_name(name) == self.path and layers.unwrapped(module) is self.module for name, module in modules)

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of the weight only."""
        return any(map(layers.is_sharded, self.module.parameters()))

    @property
    def num_writes(self) -> int:
        """How often the parameters have been written in place; of a sharded head nobody knows, since they come and go."""
        return 0 if self.is_sharded else sum(map(num_writes, self.module.parameters()))

    @property
    def axis(self) -> int:
        """The dimension, counted from the back, in which embeddings stand in an input and logits in an output."""
        kernel = getattr(self.module, "kernel_size", ())
        return -1 - len(kernel) if isinstance(self.module, layers.CONVOLUTIONS) else -1

    def logits(self, embedding: Tensor) -> Tensor:
        """The model's logits (N, K) of embeddings (N, D), in float32 or better."""
        return self.weights.logits(embedding)

    @override
    def __str__(self) -> str:
        others = f" (other candidates for `head=`: {', '.join(self.others)})" if self.others else ""
        return f"{self.path}, {shape_in_words(self.module)}, found by {self.found_by}{others}"


def shape_in_words(module: nn.Module) -> str:
    """Kind and sizes of a layer: `Linear 512→10`."""
    name = type(module).__name__.removeprefix("FSDP").removeprefix("Parametrized")
    num_labels, embedding_dim = layers.shape_of(module)
    return f"{name} {embedding_dim}→{num_labels}"


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
    targets: Tensor | None = None
    """int64 (N,), the label that each input really has, negative or at least K where none is known; None: not known of any."""
    bias: Tensor | None = None
    """(K,), detached, or None."""
    response: Response | None = None
    """From these to logits; None: the head's own."""
    problem: str | None = None
    """Why it shows less than it could."""
    notes: tuple[str, ...] = ()
    """Why the logits may not be the model's."""
