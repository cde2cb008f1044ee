"""Kinds: which modules can be heads, which cannot and why, and the input and output sizes of a module."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from torch import nn
from torchmetrics import Metric

from lightning_cossim.capture import layers
from lightning_cossim.capture.cosine_heads import holds_rows

__all__ = ["Kinds", "is_frozen", "own_modules", "why_no_head"]

_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Kinds:
    """Which modules can be heads, with or without custom cosine heads."""

    has_cosines: bool
    """Whether custom modules with one vector per label (cosine heads) can be heads."""

    def holds_rows(self, module: nn.Module) -> bool:
        """Whether `has_cosines` is true and a custom module stores one vector per label."""
        return self.has_cosines and holds_rows(module)

    def allows(self, module: nn.Module) -> bool:
        """Whether a module can be a head."""
        return layers.is_linear(module) or self.holds_rows(module)

    def gives(self, module: nn.Module) -> int:
        """The output size of a module, 0 if it has none."""
        return layers.shape_of(module)[0] if self.holds_rows(module) else layers.gives(module)

    def takes(self, module: nn.Module) -> set[int]:
        """The input sizes of a module; empty if it has none."""
        if isinstance(module, nn.Embedding):
            return set()
        if self.holds_rows(module):
            return {layers.shape_of(module)[1]}
        sizes: list[Any] = [layers.takes(module)]
        if isinstance(module, nn.RNNBase | nn.Bilinear):
            sizes += [getattr(module, name, None) for name in ("input_size", "in1_features", "in2_features")]
        return {size for size in sizes if size is not None}


def own_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The path and the module of each module of the model.

    Metrics and the modules inside them are left out, and so are the modules inside `nn.AdaptiveLogSoftmaxWithLoss`.
    """
    apart = {
        id(part)
        for module in model.modules()
        if isinstance(module, Metric | nn.AdaptiveLogSoftmaxWithLoss)
        for part in module.modules()
        if part is not module or isinstance(module, Metric)
    }
    for name, module in layers.walk(model):
        if id(module) not in apart:
            yield name, module


def is_frozen(module: nn.Module) -> bool:
    """Whether no parameter of a module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())


def why_no_head(module: nn.Module) -> str | None:
    """Why a torch layer with an output per label cannot be a head, in words; None for other modules."""
    if isinstance(module, nn.Bilinear):
        return "it has a matrix for each label, not a row"
    if isinstance(module, nn.AdaptiveLogSoftmaxWithLoss):
        return "it splits its labels over several layers"
    if not isinstance(module, (*layers.CONVOLUTIONS, *_TRANSPOSED)) or layers.is_linear(module):
        return None
    if module.groups > 1:
        return "it has several groups, so each label uses only a part of the embedding"
    return "only an ordinary convolution with kernel size 1, stride 1 and no padding has one row for each label"
