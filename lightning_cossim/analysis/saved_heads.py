"""Saved heads: find the weight and the bias of the final linear layer among the tensors of a file.

Shapes: K labels, D embedding dimensions.
"""

import re
from collections.abc import Iterable
from typing import Final

from lightning_cossim.analysis.layer_names import (
    ADAPTER,
    biases_of,
    is_weight,
    layer_of,
    matrix_shape,
    module_of,
    plain,
    short_name,
    spellings,
)
from lightning_cossim.analysis.saved_layers import REMEDY_OF_ADAPTERS
from lightning_cossim.analysis.saved_tensors import SavedTensors, listed
from lightning_cossim.capture.find import COMMON_NAMES
from lightning_cossim.errors import CheckpointError, near_names

__all__ = ["bias_name", "embedding_names", "matrices", "named_weight", "unused_scales", "unused_vectors", "weight_name"]

_EMBEDDINGS = frozenset(
    {"embed", "embed_in", "embed_tokens", "embedding", "embeddings", "emb", "shared", "tok_embeddings", "token_embedding"}
    | {"tokens_embed", "word_embedding", "word_embeddings", "wte"}
)
"""Names of the input embedding of tokens, which a tied head shares."""

_SCALE: Final = re.compile(r"(^|[._/])(log_)?(logits?_scale|temperature|temp|tau)$")
"""Names of a number that multiplies or divides the logits."""


def weight_name(saved: SavedTensors, head: str | None) -> str:
    """The name of the head's weight: that of the given layer, else the only candidate.

    Candidates are matrices and convolutions with kernel size 1. If there are several, the only one with a common head name wins.

    Args:
        saved: the file.
        head: the dotted path of the layer, or the name of its weight; None: find the head by its name.

    Raises:
        CheckpointError: the file has no candidate or several; the message lists the values of `head` that are possible.
    """
    if not saved.names:
        raise CheckpointError(f"{saved.path}: expected tensors by name, got none.")
    if head is not None:
        return named_weight(saved, head)
    if len(saved.names) == 1 and is_weight(saved.names[0]):
        return saved.names[0]
    found = matrices(saved)
    common = [name for name in found if short_name(name) in COMMON_NAMES]
    loose = [name for name in saved.loose if matrix_shape(saved.shape(name)) is not None]
    if len(common) == 1 and not loose:
        return common[0]
    if len(found) == 1 and all(module_of(name) == module_of(found[0]) for name in saved.names):
        return found[0]
    raise CheckpointError(_why_none(saved, found, common, loose))


def named_weight(saved: SavedTensors, head: str) -> str:
    """The name of the weight of the given layer.

    Args:
        saved: the file.
        head: the dotted path of the layer, or the name of its weight.

    Raises:
        CheckpointError: the file has no such weight or several; the message lists similar names.
    """
    full = {plain(name): name for name in saved.names}
    for wanted in (head, head.removeprefix("state_dict.")):  # the key of a file without other tensors
        for spelled in map(plain, spellings(wanted)):
            if spelled in full:
                return full[spelled]
    below = list(map(plain, saved.roots))
    for spelled in map(plain, spellings(head)):
        found = list(dict.fromkeys(full[f"{root}.{spelled}"] for root in below if f"{root}.{spelled}" in full))
        if len(found) > 1:
            choices = listed(map(layer_of, found))
            raise CheckpointError(f"{saved.path}: expected one weight of {head!r}, got {len(found)}. Pass one of {choices}.")
        if found:
            return found[0]
    adapted = [name for name in saved.names if plain(name).startswith(f"{plain(head)}.") and ADAPTER.search(name)]
    if adapted:
        raise CheckpointError(f"{saved.path}: expected the weight of {head!r}, got {_adapter_alone(adapted)}")
    known = [*saved.names, *map(layer_of, saved.names)]
    near = near_names(head, known) or list(saved.names[-3:])
    raise CheckpointError(
        f"{saved.path}: expected the weight of {head!r}, got no such name. Similar: {listed(dict.fromkeys(near))}."
    )


def matrices(saved: SavedTensors) -> list[str]:
    """The names of all tensors that could be the weight of a head: (K, D), or (K, D, 1, ...) for a convolution."""
    return [name for name in saved.names if is_weight(name) and matrix_shape(saved.shape(name)) is not None]


def embedding_names(names: Iterable[str]) -> list[str]:
    """The names of weights that embed tokens, judged by the name alone."""
    return [name for name in names if short_name(name) in _EMBEDDINGS]


def bias_name(saved: SavedTensors, weight: str, num_labels: int, bias: str | None) -> str | None:
    """The name of the bias: the given one, else the one beside the weight; None if there is none.

    Args:
        saved: the file.
        weight: the name of the weight.
        num_labels: K.
        bias: the name of the bias; "none" for no bias; None: find the bias beside the weight.

    Raises:
        CheckpointError: the file has no such name, or the bias is parametrized.
    """
    if bias == "none":
        return None
    names = {plain(name): name for name in saved.names}
    if bias is not None:
        found = [names[spelled] for spelled in map(plain, (bias, f"{bias}.bias")) if spelled in names]
        found += [names[f"{plain(root)}.{plain(bias)}"] for root in saved.roots if f"{plain(root)}.{plain(bias)}" in names]
        if not found:
            near = listed(near_names(bias, saved.names)) or "none"
            raise CheckpointError(f"{saved.path}: expected a bias named {bias!r}, got no such name. Similar: {near}.")
        return found[0]
    parametrized = [name for name in saved.names if name.startswith(f"{layer_of(weight)}.parametrizations.bias.")]
    if parametrized:
        remedy = "Call `torch.nn.utils.parametrize.remove_parametrizations(layer, 'bias')` before you save."
        raise CheckpointError(f"{saved.path}: expected a bias for {layer_of(weight)}, got {listed(parametrized, 4)}. {remedy}")
    beside = [names[plain(name)] for name in biases_of(weight) if plain(name) in names and names[plain(name)] != weight]
    fitting = [name for name in beside if is_vector(saved.shape(name), num_labels)]
    if fitting:
        return fitting[0]
    wrong = [name for name in beside if len(saved.shape(name)) == 1]
    return wrong[0] if wrong else None


def is_vector(shape: tuple[int, ...], size: int) -> bool:
    """Whether a shape is (size,), (size, 1) or (1, size)."""
    return len(shape) in {1, 2} and max(shape) == size and sum(side != 1 for side in shape) == (size != 1)


def unused_scales(saved: SavedTensors, weight: str) -> list[str]:
    """Names of single numbers in the head's module, or in one that contains it, whose name is that of a logit scale."""
    layer, module = layer_of(weight), module_of(weight)
    found = []
    for name in filter(_SCALE.search, saved.names):
        its = module_of(name)
        is_near = its in {"", layer, module} or layer.startswith((f"{its}.", f"{its}/"))
        if is_near and all(size == 1 for size in _shape_if_there(saved, name)) and saved.read(name).is_floating_point():
            found.append(name)
    return found


def unused_vectors(saved: SavedTensors, weight: str, bias: str | None, num_labels: int, embedding_dim: int) -> list[str]:
    """Names of vectors of length K near the head that are neither its weight nor its bias, but may change its logits.

    A vector is near if it is in the head's module, or if it is the only tensor in a module that contains the head. If K is not D,
    it is also near if it is the only tensor in any module, or if it is in a module beside the head that holds only vectors.
    """
    if num_labels == 1:
        return []
    layer, module = layer_of(weight), module_of(weight)
    inside: dict[str, list[str]] = {}
    for name in saved.names:
        inside.setdefault(module_of(name), []).append(name)
    found = []
    for name in saved.names:
        if name in {weight, bias} or not is_vector(_shape_if_there(saved, name), num_labels):
            continue
        its, alone = module_of(name), len(inside[module_of(name)]) == 1
        is_part = name.endswith(("weight_u", "weight_v", "weight_g", "_mask")) or ".parametrizations." in name
        in_head = its in {layer, module}
        around = alone and (not its or layer.startswith((f"{its}.", f"{its}/")))
        beside = num_labels != embedding_dim and (alone or _follows(saved, inside[its], its, layer))
        is_near = in_head or around or beside
        if is_near and not is_part and not ADAPTER.search(name) and saved.read(name).is_floating_point():
            found.append(name)
    return found


def _shape_if_there(saved: SavedTensors, name: str) -> tuple[int, ...]:
    """The shape of a tensor; empty if its shard is missing, as in a folder after a partial download."""
    try:
        return saved.shape(name)
    except CheckpointError:
        return ()


def _follows(saved: SavedTensors, names: list[str], module: str, layer: str) -> bool:
    """Whether a module is beside the head and holds only vectors, as a normalization layer of the logits does."""
    return (
        module_of(module) == module_of(layer)
        and bool(module)
        and not any(len(_shape_if_there(saved, name)) > 1 for name in names)
    )


def _why_none(saved: SavedTensors, found: list[str], common: list[str], loose: list[str]) -> str:
    if any(ADAPTER.search(name) for name in saved.names) and not common:
        return f"{saved.path}: expected a head, got {_adapter_alone([name for name in saved.names if ADAPTER.search(name)])}"
    if len(common) == 1:
        nested = layer_of(common[0])
        return (
            f"{saved.path}: expected one head, got {nested} in nested dictionaries and {listed(loose)} beside them. "
            f"Pass `head`, for example {nested}."
        )
    embeddings = [] if common else embedding_names(found)
    if embeddings:
        which = " or ".join(f"head={layer_of(name)!r}" for name in embeddings[:4])
        others = [layer_of(name) for name in found if name not in embeddings][-8:]
        rest = f" Otherwise, pass one of {listed(others)} as `head`." if others else ""
        return (
            f"{saved.path}: expected one layer with a common head name, got 0. If the model ties its head to its embedding, "
            f"pass {which}.{rest}"
        )
    choices = listed(map(layer_of, common or found[-8:]))
    remedy = f"Pass `head`, one of {choices}." if found else "The file has no matrix of shape (K, D)."
    return f"{saved.path}: expected one layer with a common head name, got {len(common)}. {remedy}"


def _adapter_alone(parts: list[str]) -> str:
    return f"an adapter without its base model: {listed(parts, 3)}. {REMEDY_OF_ADAPTERS}"
