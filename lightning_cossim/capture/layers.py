"""Recognize linear layers and read their effective weight and bias.

The layers may be plain, 1x1 convolutions, tied, parametrized, adapted or quantized. Adapters are those of peft. They are
recognized by their attributes, and peft is not imported. Shapes: K labels, D embedding dimensions.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
"""Attributes in which layers store their sizes: output sizes (`_GIVEN`) and input sizes (`_TAKEN`)."""
_PLAIN: Final = (nn.Linear.forward, *(kind.forward for kind in CONVOLUTIONS))
"""Forward methods that add the bias to the product."""


def is_linear(module: nn.Module) -> bool:
    """Whether a layer multiplies each vector by a matrix and adds a bias, as `nn.Linear` and a 1x1 convolution do."""
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
    """The path and the module of each module, once, in the order of the model. The parts of adapters are left out."""
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
    """The input size of a layer, None if it has none. For an `nn.Embedding`, the input size of a head that shares its weight."""
    own = own_shape(module)
    return _size(module, *_TAKEN) if own is None else own[1] * getattr(module, "groups", 1)


def gives(module: nn.Module) -> int:
    """The output size of a layer, 0 if it has none. For an `nn.Embedding`, the output size of a head that shares its weight."""
    own = own_shape(module)
    return (_size(module, *_GIVEN) or 0) if own is None else own[0]


def own_shape(module: nn.Module) -> tuple[int, ...] | None:
    """The shape of the weight of a plain torch layer; None if the shape is unknown.

    The shape of the weight is used, because attributes such as `out_features` do not change if the weight is replaced. The shape
    is unknown if the weight is quantized, parametrized, not initialized yet, or split over processes.
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
    """The number of labels and of embedding dimensions of a head: (K, D)."""
    return shape_of_rows(module) if _has_rows(module) else (gives(module), takes(module) or 0)


def parameter_of(module: nn.Module) -> Tensor:
    """A parameter with the dtype and the device of the weight."""
    weight: Tensor = _stored(module) if _has_rows(module) else next(module.parameters())
    return weight


def number_in(module: nn.Module, name: str) -> float:
    """The value of an attribute that is a number or a tensor with one entry.

    If the tensor is sharded, all processes must call this function.
    """
    value: Any = getattr(module, name)
    return float(_whole(value.detach()) if isinstance(value, Tensor) else value)


def unwrapped(module: nn.Module) -> nn.Module:
    """The copy that is active in place of a layer (peft's `modules_to_save`), or the layer itself."""
    copies = getattr(module, "modules_to_save", None)
    if not isinstance(copies, nn.ModuleDict) or not hasattr(module, "original_module"):
        return module
    active: Any = getattr(module, "active_adapter", None)
    name = active[0] if isinstance(active, list | tuple) and active else active
    original: Any = module.original_module
    chosen: nn.Module = original if getattr(module, "disable_adapters", False) or name not in copies else copies[name]
    return chosen


def is_adapted(module: nn.Module) -> bool:
    """Whether an adapter wraps the layer and its change of the weight can be computed (LoRA and other adapters of peft)."""
    return isinstance(getattr(module, "base_layer", None), nn.Module) and hasattr(module, "get_delta_weight")


def weight_of(module: nn.Module) -> Tensor:
    """The effective weight of a layer, detached: (K, D), or (K, D, 1, ...) for a convolution. Reading changes no state.

    With `torch.nn.utils.parametrize`, the weight is computed at each read. The read bypasses the cache of `parametrize`, which
    would otherwise keep a weight without gradients. The read runs in evaluation mode, so that spectral norm does not count it as
    a step of its iteration. The change of an active adapter is added, unless it is merged already.
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
    """The effective bias (K,) of a layer, detached, or None."""
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
        return None  # the stored tensors may have another shape than the weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or type(weight).dequantize is not Tensor.dequantize:
        kind = weight.dtype if isinstance(weight, Tensor) and not weight.is_floating_point() else type(inner).__name__
        return f"its weight is quantized ({kind}). Leave the head out of the quantization"
    if own_shape(inner) is None and weight.shape[:2] != (gives(inner), takes(inner)):
        return (
            f"its weight has the shape {tuple(weight.shape)}: this process holds only a part of the weight (FSDP1, DeepSpeed). "
            "Shard the model with `ModelParallelStrategy` and `fully_shard`, or do not shard it"
        )
    return _why_unfit(inner, weight)


def _why_unfit(module: Any, weight: Tensor) -> str | None:
    """Why the bias of a layer does not fit its weight, in words; None if it does."""
    bias = None if parametrize.is_parametrized(module, "bias") else getattr(module, "bias", None)
    if not isinstance(bias, Tensor) or type(module).forward not in _PLAIN or tuple(bias.shape) in {(len(weight),), (1,), ()}:
        return None
    return f"its bias has the shape {tuple(bias.shape)}, but its weight has {len(weight)} rows. Give the bias one entry per row"


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of the tensor (a `DTensor`)."""
    return hasattr(tensor, "full_tensor")  # some builds of torch have no `DTensor` to import


def why_split(module: nn.Module, model: nn.Module) -> str | None:
    """Why no process sees all logits of a layer, in words; None if each process does.

    `fully_shard` gathers its weight for the forward pass. Tensor parallelism keeps the labels split.
    """
    weight = _stored(module)
    if weight is None or not is_sharded(weight):
        return None
    wholes = [part for part in model.modules() if hasattr(part, "unshard") and hasattr(part, "reshard")]
    fully_sharded = any(part is module for whole in wholes for part in whole.modules())
    if sum(placement.is_shard(0) for placement in weight.placements) <= fully_sharded:
        return None
    return (
        "tensor parallelism splits its labels over processes, so no process sees all labels. Leave the head out of the plan, "
        "or replicate its weight"
    )


def is_compiled(model: nn.Module, module: nn.Module) -> bool:
    """Whether the layer or a module that contains it is compiled."""
    return any(
        (
            hasattr(part, "_orig_mod")
            or any(getattr(part, name, None) is not None for name in ("_compiled_call_impl", "_compiler_ctx"))
        )
        and any(inner is module for inner in part.modules())
        for part in model.modules()
    )


def plain_name(path: str) -> str:
    """A dotted path without the parts that compilers and wrappers add."""
    return ".".join(part for part in path.split(".") if part not in {"_orig_mod", "_checkpoint_wrapped_module"})


def _size(module: nn.Module, *names: str) -> int | None:
    for name in names:
        with suppress(Exception):  # a property of a custom layer may raise
            size = getattr(module, name, None)
            if isinstance(size, int):
                return size
    return None


def _may_be_part(module: nn.Module, weight: Tensor) -> bool:
    """Whether several processes train and the weight is smaller than the sizes in the attributes of its layer."""
    told = _size(module, *_GIVEN), _size(module, *_TAKEN)
    is_smaller = any(size is not None and own < size for own, size in zip(weight.shape, told, strict=False))
    group = torch.distributed
    return is_smaller and group.is_available() and group.is_initialized() and group.get_world_size() > 1


def _is_packed(module: nn.Module) -> bool:
    """Whether a layer has sizes and a method `weight()`, as the quantized linear layers of torch do."""
    return isinstance(takes(module), int) and gives(module) > 0 and callable(getattr(type(module), "weight", None))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """A context in which a module is in evaluation mode, so that it draws no random numbers."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def _stored(module: Any) -> Any:
    """The parameter that stores the weight. With a parametrization, reading `weight` would compute it and change its state."""
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
    """The names of the active adapters that are not merged into the base weight."""
    if getattr(module, "disable_adapters", False):
        return []
    merged, active = getattr(module, "merged_adapters", []), getattr(module, "active_adapters", [])
    return [name for name in active if name not in merged and name in getattr(module, "lora_A", {name: None})]


def _added_by(layer: Any, name: str, base: Tensor) -> Tensor:
    """The change (K, D) that an adapter adds to a weight. With magnitudes (DoRA), it also sets the length of each row."""
    delta: Tensor = layer.get_delta_weight(name)
    magnitudes = getattr(layer, "lora_magnitude_vector", {})
    if name not in magnitudes:
        return delta
    together = base + delta
    scale_K: Tensor = magnitudes[name].weight.flatten() / together.flatten(1).norm(dim=1)
    return scale_K.view(-1, *[1] * (base.ndim - 1)) * together - base


def _whole(tensor: Any) -> Tensor:
    """The full tensor. If it is sharded, this is a collective: all processes must call it."""
    whole: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return whole
