"""Saved layers: compute the effective weight and bias of a layer whose file stores them in parts.

Parts are the factors of weight norm, spectral norm and pruning, and adapters beside their base layer. If the kind of a part is
unknown, the error names it.

Shapes: K labels, D embedding dimensions; `W_KD` the weight, `b_K` the bias.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_cossim.analysis.json_files import read_json
from lightning_cossim.analysis.layer_names import ADAPTER, layer_of
from lightning_cossim.analysis.saved_tensors import SavedTensors, listed
from lightning_cossim.errors import CheckpointError

__all__ = ["REMEDY_OF_ADAPTERS", "effective_bias", "effective_weight", "refused_adapter"]

REMEDY_OF_ADAPTERS = "Save the merged model: `model.merge_and_unload().save_pretrained(folder)`."
_ADAPTER_CONFIG = "adapter_config.json"


def effective_weight(saved: SavedTensors, name: str) -> Tensor:
    r"""The effective weight of a layer, in the stored shape.

    - weight norm: :math:`g v / |v|`, with the norm over all dimensions where g has size 1;
    - spectral norm: :math:`W / (u^T W v)`;
    - pruning: :math:`W` times its mask;
    - LoRA: :math:`W + B A \alpha / r`, with r and alpha from `adapter_config.json` beside the file;
    - rsLoRA: the same with :math:`\sqrt{r}` instead of r.

    Args:
        saved: the file.
        name: the name of the weight, or of one of its parts.

    Raises:
        CheckpointError: the weight cannot be computed from the parts in the file.
    """
    base, names = name, set(saved.names)
    if re.search(r"(^|[._])parametrizations\.", name):
        weight = _parametrized(saved, name)
    elif name.endswith(("weight_v", "weight_g")) and {f"{name[:-1]}g", f"{name[:-1]}v"} <= names:
        weight = _weight_normed(saved.read(f"{name[:-1]}g"), saved.read(f"{name[:-1]}v"))
    elif re.search(r"(^|[._/])weight_[gv]$", name):
        got = f"only {name}"
        raise CheckpointError(f"{saved.path}: expected both parts of weight norm, weight_g and weight_v, got {got}.")
    elif name.endswith("weight_orig"):
        base = name.removesuffix("_orig")
        weight = saved.read(name)
        if f"{base}_mask" in names:
            weight = weight * saved.read(f"{base}_mask")
        if {f"{base}_u", f"{base}_v"} <= names:
            weight = _spectrally_normed(weight, saved.read(f"{base}_u"), saved.read(f"{base}_v"))
    else:
        weight = saved.read(name)
    return _with_adapters(saved, name, weight)


def effective_bias(saved: SavedTensors, name: str) -> Tensor:
    """The effective bias (K,) of a layer; a stored row (1, K) or column (K, 1) is flattened."""
    b_K = saved.read(name)
    mask = f"{name.removesuffix('_orig')}_mask"
    if name.endswith("bias_orig") and mask in saved.names:
        b_K = b_K * saved.read(mask)
    return b_K.flatten() if b_K.ndim == 2 and 1 in b_K.shape else b_K


def refused_adapter(saved: SavedTensors, layer: str, parts: list[str], why: str) -> CheckpointError:
    """The error for an adapter that cannot be merged."""
    got = f"an adapter beside it, {listed(parts, 3)} ({why})"
    return CheckpointError(f"{saved.path}: expected the merged weight of {layer}, got {got}. {REMEDY_OF_ADAPTERS}")


def _weight_normed(g: Tensor, v: Tensor) -> Tensor:
    over = [dim for dim in range(v.ndim) if g.ndim != v.ndim or g.shape[dim] == 1]
    return g * v / torch.linalg.vector_norm(v.double(), dim=over, keepdim=True).to(v) if over else v


def _spectrally_normed(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    sigma = u.double() @ weight.flatten(1).double() @ v.double()
    return weight / sigma.to(weight)


def _parametrized(saved: SavedTensors, name: str) -> Tensor:
    """The weight of a torch parametrization: weight norm or spectral norm, identified by the names of the parts."""
    before, layer, rest = name.partition("parametrizations.")
    prefix = f"{before}{layer}{rest.partition('.')[0]}."
    parts = {other.removeprefix(prefix): other for other in saved.names if other.startswith(prefix)}
    if set(parts) == {"original0", "original1"}:
        return _weight_normed(saved.read(parts["original0"]), saved.read(parts["original1"]))
    if set(parts) == {"original", "0._u", "0._v"}:
        return _spectrally_normed(*(saved.read(parts[part]) for part in ("original", "0._u", "0._v")))
    wanted = f"a weight for {layer_of(name)}, or the parts of weight norm or spectral norm"
    remedy = "Call `torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')` before you save."
    raise CheckpointError(f"{saved.path}: expected {wanted}, got {listed(parts.values(), 4)}. {remedy}")


def _with_adapters(saved: SavedTensors, name: str, weight: Tensor) -> Tensor:
    """A weight plus the update of its adapter, if it has one."""
    layer = layer_of(name)
    below = [other for other in saved.names if other.startswith((f"{layer}.", f"{layer}/")) and other != name]
    parts = [other for other in below if ADAPTER.search(other[len(layer) :])]
    if "modules_to_save." in name[len(layer) :]:
        return weight
    if not parts:
        others = [other for other in below if not other.endswith(("base_layer.bias", ".bias"))]
        if name.endswith("base_layer.weight") and others:
            raise refused_adapter(saved, layer, others, "of an unknown kind")
        return weight
    factors: dict[str, list[str]] = {}
    for part in parts:
        match = re.fullmatch(r"lora_([AB])((?:\.[^.]+)?)(?:\.weight)?", part[len(layer) + 1 :])
        if match is None:
            raise refused_adapter(saved, layer, parts, "of a kind that is not supported")
        factors.setdefault(match[1], []).append(part)
    if sorted(factors) != ["A", "B"] or len(factors["A"]) != 1 or len(factors["B"]) != 1:
        raise refused_adapter(saved, layer, parts, "which are not one pair of factors A and B")
    (down,), (up,) = factors["A"], factors["B"]
    r_D, K_r = saved.read(down), saved.read(up)
    if K_r.flatten(1).shape[1:] != r_D.shape[:1] or (len(K_r), r_D[0].numel()) != (len(weight), weight[0].numel()):
        raise refused_adapter(saved, layer, parts, "with factors of shapes that do not fit")
    scale = _scale_of_adapter(saved, layer, parts, rank=len(r_D))
    return weight + scale * (K_r.flatten(1).to(weight) @ r_D.flatten(1).to(weight)).view_as(weight)


def _scale_of_adapter(saved: SavedTensors, layer: str, parts: list[str], rank: int) -> float:
    """The scale of a LoRA update: alpha / r, or alpha / sqrt(r) for rsLoRA."""
    config = _adapter_config(saved.path.parent / _ADAPTER_CONFIG)
    if config is None:
        raise refused_adapter(saved, layer, parts, f"without a readable {_ADAPTER_CONFIG}, which gives its scale")
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or config.get("r") != rank:
        raise refused_adapter(saved, layer, parts, f"of rank {rank}, but {_ADAPTER_CONFIG} has another rank or no lora_alpha")
    odd = [key for key in ("rank_pattern", "alpha_pattern", "use_dora", "lora_bias", "fan_in_fan_out") if config.get(key)]
    if odd:
        raise refused_adapter(saved, layer, parts, f"with {odd[0]}, which is not supported")
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _adapter_config(path: Path) -> Mapping[str, Any] | None:
    return read_json(path) if path.exists() else None
