"""Linear layers as they come: plain, convolutions of one pixel, tied, parametrized, adapted, quantized. Which they are, and what
weight they compute with.

Shapes: K labels, D embedding dimensions. Adapters are those of peft, known by what they have: nothing of it is imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from lightning_cossim.capture.cosine_heads import holds_rows, lies_in_columns, name_of_rows, shape_of_rows, why_several

__all__ = [
    "CONVOLUTIONS",
    "bias_of",
    "gives",
    "is_adapted",
    "is_compiled",
    "is_linear",
    "is_sharded",
    "number_in",
    "own_shape",
    "parameter_of",
    "plain_name",
    "shape_of",
    "takes",
    "unwrapped",
    "walk",
    "weight_of",
    "why_split",
    "why_unreadable",
]

CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_GIVEN: Final = ("out_features", "out_channels", "num_embeddings")
_TAKEN: Final = ("in_features", "in_channels", "embedding_dim")
"""Attributes in which layers tell their sizes."""
_PLAIN: Final = (nn.Linear.forward, *(kind.forward for kind in CONVOLUTIONS))
"""Forward passes that add the bias to the product."""


def is_linear(module: nn.Module) -> bool:
    """Whether a layer is a matrix product, plus a bias, of one vector at a time."""
    if isinstance(module, CONVOLUTIONS):
        told = own_shape(module)
        kernel = module.kernel_size if told is None else told[2:]
        whole = {1: (*kernel, *module.stride, module.groups), 0: module.padding}
        return all(set(values) == {value} for value, values in whole.items())
    if is_adapted(module):
        base: Any = module.base_layer
        return is_linear(base)
    return isinstance(module, nn.Linear) or _is_packed(module)


def walk(module: nn.Module, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of all modules, each once, in the order of the model; without the parts of adapters."""
    seen = set() if seen is None else seen
    module = unwrapped(module)
    if id(module) in seen:
        return
    seen.add(id(module))
    yield plain_name(path), module
    if not is_adapted(module):
        for name, child in module.named_children():
            yield from walk(child, f"{path}.{name}" if path else name, seen)


def takes(module: nn.Module) -> int | None:
    """The size of the vectors that go into a layer, if it has any; of an embedding, as a head that shares its weight has it."""
    own = own_shape(module)
    return _size(module, *_TAKEN) if own is None else own[1] * getattr(module, "groups", 1)


def gives(module: nn.Module) -> int:
    """The size of the vectors that come out of a layer that has one."""
    own = own_shape(module)
    return (_size(module, *_GIVEN) or 0) if own is None else own[0]


def own_shape(module: nn.Module) -> tuple[int, ...] | None:
    """The shape of the weight of one of torch's plain layers, which counts: attributes stay as they were if it was replaced.

    None where the weight does not tell: it is quantized, parametrized, not there yet, or split over processes.
    """
    inner: Any = module
    while is_adapted(inner):
        inner = inner.base_layer
    if not isinstance(inner, (nn.Linear, nn.Embedding, *CONVOLUTIONS)) or parametrize.is_parametrized(inner, "weight"):
        return None
    weight, num_dims = inner.weight, 2 + len(getattr(inner, "kernel_size", ()))
    if not isinstance(weight, Tensor) or isinstance(weight, UninitializedParameter):
        return None
    is_whole = weight.ndim == num_dims and weight.numel() > 0 and weight.is_floating_point()
    return tuple(weight.shape) if is_whole and not _may_be_part(inner, weight) else None


def shape_of(module: nn.Module) -> tuple[int, int]:
    """How many labels a head has, and how many dimensions."""
    return shape_of_rows(module) if _has_rows(module) else (gives(module), takes(module) or 0)


def parameter_of(module: nn.Module) -> Tensor:
    """A parameter that has the dtype and the device of the weight."""
    weight: Tensor = _stored(module) if _has_rows(module) else next(module.parameters())
    return weight


def number_in(module: nn.Module, name: str) -> float:
    """An attribute that is a number or a tensor of one. Of a sharded one, every process has to ask."""
    value: Any = getattr(module, name)
    return float(_whole(value.detach()) if isinstance(value, Tensor) else value)


def unwrapped(module: nn.Module) -> nn.Module:
    """The copy that is trained in place of a layer (peft's `modules_to_save`), or the layer itself."""
    copies = getattr(module, "modules_to_save", None)
    if not isinstance(copies, nn.ModuleDict) or not hasattr(module, "original_module"):
        return module
    active: Any = getattr(module, "active_adapter", None)
    name = active[0] if isinstance(active, list | tuple) and active else active
    original: Any = module.original_module
    chosen: nn.Module = original if getattr(module, "disable_adapters", False) or name not in copies else copies[name]
    return chosen


def is_adapted(module: nn.Module) -> bool:
    """Whether a layer is wrapped by an adapter whose contribution to the weight can be asked for (peft's LoRA and its like)."""
    return isinstance(getattr(module, "base_layer", None), nn.Module) and hasattr(module, "get_delta_weight")


def weight_of(module: nn.Module) -> Tensor:
    """The weight that a layer computes with, detached, without a trace of having looked.

    Under `torch.nn.utils.parametrize` it is worked out anew at every look; past the cache, which would otherwise keep a weight
    without gradients, and in evaluation, where spectral norm does not count the look as a step of its iteration. An adapter's
    part is added, unless it has been merged already.
    """
    layer: Any = module
    if is_adapted(module):
        base = weight_of(layer.base_layer)
        with torch.no_grad(), _evaluating(layer):
            return sum((_added_by(layer, name, base) for name in _active_adapters(module)), base).detach()
    name = _name_of_weight(module)
    with torch.no_grad():
        if not parametrize.is_parametrized(module, name):
            weight = _whole(getattr(layer, name).detach())
        else:
            parametrizations = layer.parametrizations[name]
            with _evaluating(parametrizations):
                weight = _whole(parametrizations().detach())
    return weight.T if _has_rows(module) and lies_in_columns(module) else weight


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias (K,) that a layer computes with, detached, or None."""
    if is_adapted(module):
        layer: Any = module
        base, parts = bias_of(layer.base_layer), getattr(layer, "lora_B", {})
        own = {name: getattr(parts[name], "bias", None) for name in _active_adapters(module) if name in parts}
        terms = [] if base is None else [base]
        terms += [layer.scaling[name] * _whole(bias.detach()) for name, bias in own.items() if bias is not None]
        return sum(terms[1:], terms[0]) if terms else None
    bias: Any = getattr(module, "bias", None)
    if not isinstance(bias, Tensor):
        return None
    whole, shape = _whole(bias.detach()), own_shape(module)
    return whole if shape is None or whole.numel() != 1 else whole.expand(shape[0])  # torch adds a single number to all


def why_unreadable(module: nn.Module) -> str | None:
    """Why a layer's weight cannot be read as (K, D), in words; None if it can."""
    inner: Any = module
    while is_adapted(inner):
        inner = inner.base_layer
    if _has_rows(inner):
        return why_several(inner)
    weight = _stored(inner)
    if isinstance(weight, nn.UninitializedParameter):
        return (
            "its size is known only after its first call. Call the model once before the fit, or give the layer its `in_features`"
        )
    if parametrize.is_parametrized(inner, "weight"):
        return None  # what is stored has a shape of its own
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or type(weight).dequantize is not Tensor.dequantize:
        kind = weight.dtype if isinstance(weight, Tensor) and not weight.is_floating_point() else type(inner).__name__
        return f"its weight is quantized ({kind}). Leave the head out of the quantization, as most recipes do"
    if own_shape(inner) is None and weight.shape[:2] != (gives(inner), takes(inner)):
        return (
            f"its weight has the shape {tuple(weight.shape)}: a part of it that this process holds (FSDP1, DeepSpeed). Shard "
            "with `ModelParallelStrategy` and `fully_shard`, or not at all"
        )
    return _why_unfit(inner, weight)


def _why_unfit(module: Any, weight: Tensor) -> str | None:
    """Why the bias of a layer does not fit its weight, in words; None if it does."""
    bias = None if parametrize.is_parametrized(module, "bias") else getattr(module, "bias", None)
    if not isinstance(bias, Tensor) or type(module).forward not in _PLAIN or tuple(bias.shape) in {(len(weight),), (1,), ()}:
        return None
    return f"its bias has the shape {tuple(bias.shape)}, and its weight {len(weight)} rows. Give the bias one entry a row"


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is the part of a larger one that this process holds."""
    return hasattr(tensor, "full_tensor")  # a DTensor; torch may have been built without


def why_split(module: nn.Module, model: nn.Module) -> str | None:
    """Why no process sees all logits of a layer, in words; None if each does.

    A weight that `fully_shard` has split comes together for the forward pass. One that is split by labels for good does not.
    """
    weight = _stored(module)
    if weight is None or not is_sharded(weight):
        return None
    wholes = [part for part in model.modules() if hasattr(part, "unshard") and hasattr(part, "reshard")]
    fully_sharded = any(part is module for whole in wholes for part in whole.modules())
    if sum(placement.is_shard(0) for placement in weight.placements) <= fully_sharded:
        return None
    return (
        "tensor parallelism has split it by its labels, so that no process sees all of them. Leave the head out of the plan, or "
        "replicate its weight"
    )


def is_compiled(model: nn.Module, module: nn.Module) -> bool:
    """Whether a part of a model that holds a layer has been compiled."""
    return any(
        (
            hasattr(part, "_orig_mod")
            or any(getattr(part, name, None) is not None for name in ("_compiled_call_impl", "_compiler_ctx"))
        )
        and any(inner is module for inner in part.modules())
        for part in model.modules()
    )


def plain_name(path: str) -> str:
    """A dotted path without what compilers and wrappers add to it."""
    return ".".join(part for part in path.split(".") if part not in {"_orig_mod", "_checkpoint_wrapped_module"})


def _size(module: nn.Module, *names: str) -> int | None:
    return next((size for size in (getattr(module, name, None) for name in names) if isinstance(size, int)), None)


def _may_be_part(module: nn.Module, weight: Tensor) -> bool:
    """Whether a weight is smaller than its layer says, in one of several processes."""
    told = _size(module, *_GIVEN), _size(module, *_TAKEN)
    is_smaller = any(size is not None and own < size for own, size in zip(weight.shape, told, strict=False))
    group = torch.distributed
    return is_smaller and group.is_available() and group.is_initialized() and group.get_world_size() > 1


def _is_packed(module: nn.Module) -> bool:
    """Whether a layer is linear, and hides its weight behind a method, as torch's quantized layers do."""
    return isinstance(takes(module), int) and gives(module) > 0 and callable(getattr(type(module), "weight", None))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in evaluation, and draws no random numbers."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def _stored(module: Any) -> Any:
    """What a layer keeps its weight in: to ask for `weight` under a parametrization would work it out, and leave a trace."""
    name = _name_of_weight(module)
    if parametrize.is_parametrized(module, name):
        parts = module.parametrizations[name]
        return getattr(parts, "original", getattr(parts, "original0", None))
    return getattr(module, name, None)


def _name_of_weight(module: nn.Module) -> str:
    return (name_of_rows(module) if _has_rows(module) else None) or "weight"


def _has_rows(module: nn.Module) -> bool:
    return not is_linear(module) and holds_rows(module)


def _active_adapters(module: Any) -> list[str]:
    """Adapters that the layer adds to its base, and that are not yet part of it."""
    if getattr(module, "disable_adapters", False):
        return []
    merged, active = getattr(module, "merged_adapters", []), getattr(module, "active_adapters", [])
    return [name for name in active if name not in merged and name in getattr(module, "lora_A", {name: None})]


def _added_by(layer: Any, name: str, base: Tensor) -> Tensor:
    """What an adapter adds to a weight (K, D); one that has magnitudes of its own (DoRA) gives each row its length."""
    delta: Tensor = layer.get_delta_weight(name)
    magnitudes = getattr(layer, "lora_magnitude_vector", {})
    if name not in magnitudes:
        return delta
    together = base + delta
    scale_K: Tensor = magnitudes[name].weight.flatten() / together.flatten(1).norm(dim=1)
    return scale_K.view(-1, *[1] * (base.ndim - 1)) * together - base


def _whole(tensor: Any) -> Tensor:
    """All of a tensor that several processes share: each has to ask."""
    whole: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return whole
