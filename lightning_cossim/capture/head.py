"""The head (the final linear layer), its weights at one moment, and the observation of one call.

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` weight, `f_ND` input, `z_NK` output. A 1x1 convolution is a linear
layer too. Its labels are in the second dimension of its output.
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
    """The number of in-place writes to a tensor; 0 for other values and for inference tensors, which keep no count."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0  # noqa: SLF001 - torch has no other way


@dataclass(frozen=True)
class Weights:
    """The weights of a head at one moment. They may share memory with the model."""

    unembedding: Tensor
    """(K, D), detached."""
    bias: Tensor | None
    """(K,), detached, or None."""
    response: Response = PLAIN
    """How the logits follow from the weights."""

    @property
    def spec(self) -> "HeadSpec":
        """The sizes, dtype and device of these weights."""
        weight = self.unembedding
        num_labels, embedding_dim = weight.shape
        return HeadSpec(num_labels, embedding_dim, weight.dtype, weight.device, self.response)

    def logits(self, embedding: Tensor) -> Tensor:
        """The model's logits (N, K) of embeddings (N, D), in float32 or better.

        Raises:
            InputError: the response has no cap or no scale, but its link needs one.
        """
        return self.response.logits(embedding, self.unembedding, self.bias)


@dataclass(frozen=True)
class HeadSpec:
    """The sizes, dtype and device of a head. A window is built from them."""

    num_labels: int
    """K."""
    embedding_dim: int
    """D."""
    dtype: torch.dtype
    """The dtype of the weight."""
    device: torch.device
    """The device of the weight."""
    response: Response = PLAIN
    """How the model's logits follow from the weights."""


@dataclass(frozen=True)
class Head:
    """The layer that computes the logits of K labels, or the module that stores the rows of a cosine head."""

    path: str
    """Dotted path in the LightningModule."""
    module: Any
    """A linear layer, a convolution with kernel size 1, an `nn.Embedding` whose weight is the unembedding, or a custom module
    with one vector per label."""
    found_by: str
    """How the head was found, in words."""
    response: Response = PLAIN
    """How the model's logits follow from the weights."""
    scale_name: str | None = None
    """The attribute of a cosine head that holds its current scale; None: the scale is the one in `response`."""
    others: tuple[str, ...] = ()
    """Paths of the other candidates; the last entry may be a count ("3 more")."""

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
        """The current weights. If the head is sharded, all processes must read them at the same time."""
        bias, response = None if self.response.link == "cosine" else layers.bias_of(self.module), self.response
        if self.scale_name is not None:
            response = replace(response, link_scale=layers.number_in(self.module, self.scale_name))
        return Weights(layers.weight_of(self.module).flatten(1), bias, response)

    def gathered(self) -> Weights | None:
        """The current weights of a sharded head, read by a collective of all processes; None if the head is not sharded.

        If the head is not sharded, each process reads the weights when it needs them.
        """
        return self.weights if self.is_sharded else None

    @property
    def unembedding(self) -> Tensor:
        """The effective weight (K, D), detached. Adapters and parametrizations are included."""
        return self.weights.unembedding

    @property
    def bias(self) -> Tensor | None:
        """The bias (K,), detached, or None."""
        return self.weights.bias

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weight."""
        return self._parameter.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weight."""
        return self._parameter.device

    @property
    def spec(self) -> HeadSpec:
        """The sizes, dtype and device. The weights are not read."""
        return HeadSpec(self.num_labels, self.embedding_dim, self.dtype, self.device, self.response)

    @property
    def _parameter(self) -> Tensor:
        return layers.parameter_of(self.module)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the parameter that stores the weight. It changes if the layer gets a larger weight."""
        return tuple(self._parameter.shape)

    def is_in(self, model: nn.Module) -> bool:
        """Whether a model still has this layer at its path."""
        modules = model.named_modules(remove_duplicate=False)
        return any(layers.plain_name(name) == self.path and layers.unwrapped(module) is self.module for name, module in modules)

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds only a part of the weight."""
        return any(map(layers.is_sharded, self.module.parameters()))

    @property
    def num_writes(self) -> int:
        """The number of in-place writes to the parameters; 0 for a sharded head, whose parameters are replaced in each pass."""
        return 0 if self.is_sharded else sum(map(num_writes, self.module.parameters()))

    @property
    def axis(self) -> int:
        """The dimension of embeddings in an input and of labels in an output, counted from the back (negative)."""
        kernel = getattr(self.module, "kernel_size", ())
        return -1 - len(kernel) if isinstance(self.module, layers.CONVOLUTIONS) else -1

    def logits(self, embedding: Tensor) -> Tensor:
        """The model's logits (N, K) of embeddings (N, D), in float32 or better.

        Raises:
            InputError: the response has no cap or no scale, but its link needs one.
        """
        return self.weights.logits(embedding)

    @override
    def __str__(self) -> str:
        others = f" (other candidates for `head=`: {', '.join(self.others)})" if self.others else ""
        return f"{self.path}, {shape_in_words(self.module)}, found by {self.found_by}{others}"


def shape_in_words(module: nn.Module) -> str:
    """The type and the sizes (D→K) of a layer, for example `Linear 512→10`."""
    name = type(module).__name__.removeprefix("FSDP").removeprefix("Parametrized")
    num_labels, embedding_dim = layers.shape_of(module)
    return f"{name} {embedding_dim}→{num_labels}"


@dataclass(frozen=True)
class Observation:
    """The inputs and logits of one call of the head, and its weights at the same moment."""

    unembedding: Tensor
    """(K, D), detached. It may share memory with the model."""
    logits: Tensor | None = None
    """(N, K), the model's final logits; None if they cannot be read."""
    embedding: Tensor | None = None
    """(N, D); None if it cannot be read or does not explain the logits."""
    shape: tuple[int, ...] = ()
    """The shape of the call, without labels: (B,), (B, T) or (B, H, W)."""
    index: Tensor | None = None
    """int64 (N,), the flat index of each input in `shape`; None: all inputs of the call, in order."""
    groups: Tensor | None = None
    """(N,), the index of the sequence or image of each input; None if each input is its own group."""
    targets: Tensor | None = None
    """int64 (N,), the true label of each input, negative or at least K if it is unknown; None: all are unknown."""
    bias: Tensor | None = None
    """(K,), detached, or None."""
    response: Response | None = None
    """How the logits follow from the weights; None: the response of the head."""
    problem: str | None = None
    """Why a part of the observation is missing, in words; None: nothing is missing."""
    notes: tuple[str, ...] = ()
    """Reasons why the logits may not be the model's final logits."""
