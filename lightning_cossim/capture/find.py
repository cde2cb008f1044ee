"""Find the final linear layer of a model, the head. If the choice is not clear, raise an error that lists the candidates.

Shapes: K labels, D embedding dimensions.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from torch import nn

from lightning_cossim.capture import layers
from lightning_cossim.capture.cosine_heads import name_of_scale
from lightning_cossim.capture.head import Head, shape_in_words
from lightning_cossim.capture.kinds import Kinds, is_frozen, own_modules, why_no_head
from lightning_cossim.errors import HeadError, near_names

__all__ = ["COMMON_NAMES", "GETTERS", "find_head", "why_untrained"]

COMMON_NAMES: Final = frozenset({"classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "score", "unembed"})
GETTERS: Final = ("get_output_embeddings", "get_classifier")
"""Methods with which models of transformers and timm return their own head."""
_ONE_ROW_EACH: Final = "a final linear layer with a row for each label"
_LISTED: Final = 4
"""The largest number of other candidates that a message lists."""


def find_head(model: nn.Module, path: str | None = None, *, is_called: bool = True, has_cosines: bool = False) -> Head:
    """The final linear layer of a model.

    If you pass `path`, that layer is the head. If `path` leads to a container, the final layer of the container is the head.
    Without `path`, the search has four rules:

    1. Candidates are linear layers and convolutions with kernel size 1 after the last `nn.Linear`. The output size of a candidate
       matches no later layer's input size. Layers inside a `torchmetrics.Metric` are not candidates.
    2. If another candidate is trained, frozen candidates are left out, because they belong to a teacher or a backbone. If only
       other layers are trained, for example adapters, the frozen head remains a candidate.
    3. If the model or a submodule returns its own head (`get_output_embeddings`, `get_classifier`), that layer wins, unless a
       trained candidate outside that submodule follows it.
    4. If several candidates remain, the only one with a conventional name (`COMMON_NAMES`) wins.

    Args:
        model: the LightningModule.
        path: dotted path of the layer, for example "model.fc".
        is_called: whether the layer computes the logits when it is called. If False, only its weight is needed, so an
            `nn.Embedding` is allowed.
        has_cosines: whether the head may be a custom module that stores one vector per label, as in ArcFace: in the rows of
            `weight`, or in the columns of `W` or `kernel`. Modules with a scale are preferred.

    Raises:
        HeadError: the path does not exist, there is no linear layer, several candidates are equally good, the final layer has no
            single row per label, or the weight cannot be read (for example, it is quantized, not initialized, or split over
            processes by its labels). If there are candidates, the message lists them.
    """
    kinds = Kinds(has_cosines=has_cosines)
    head = _named(model, path, kinds, is_called=is_called) if path is not None else _found(model, "", kinds)
    why = layers.why_unreadable(head.module) or layers.why_split(head.module, model)
    if why is not None:
        raise HeadError(f"Expected a head whose weight can be read, got {head.path}, {shape_in_words(head.module)}: {why}.")
    return head


def why_untrained(model: nn.Module, head: Head, trained: Collection[int]) -> str | None:
    """A warning that no optimizer trains the head although one trains another candidate; None if there is no such problem.

    Args:
        model: the LightningModule.
        head: the head that `find_head` found.
        trained: the ids of all parameters that the optimizers hold.
    """
    modules = {layers.plain_name(name): module for name, module in model.named_modules()}
    rivals = [name for name in head.others if name in modules and _has_any(modules[name], trained)]
    if not rivals or _has_any(head.module, trained):
        return None
    choices = " or ".join(f"head={name!r}" for name in rivals)
    remedy = f"If another layer is the head, pass {choices}."
    return f"watching {head.path}: no optimizer trains it, so it may belong to a teacher. {remedy}"


def _has_any(module: nn.Module, parameters: Collection[int]) -> bool:
    return any(id(parameter) in parameters for parameter in module.parameters())


def _named(model: nn.Module, path: str, kinds: Kinds, *, is_called: bool) -> Head:
    # A layer may have several paths (`self.head = self.model.fc`). Each of them is valid.
    modules = {layers.plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    path = layers.plain_name(path)
    module = layers.unwrapped(modules[path]) if path in modules else None
    if module is not None and kinds.allows(module):
        return Head(path, module, "its path")
    if isinstance(module, nn.Embedding):
        if is_called:
            remedy = "Pass `embeddings_from=`, the path of the module whose output is multiplied by its weight."
            raise HeadError(f"Expected `head` to be a linear layer, got {path!r}, an Embedding. {remedy}")
        return Head(path, module, "its path")
    why = None if module is None else why_no_head(module)
    if module is not None and why is not None:
        raise HeadError(f"Expected `head` to be the dotted path of a linear layer, got {_in_words(path, module, why)}.")
    if module is None or not _candidates(module, kinds):
        raise HeadError(_no_such_layer(modules, path, kinds))
    return _found(module, f"{path}.", kinds)


def _in_words(path: str, module: nn.Module, why: str) -> str:
    kind = type(module).__name__
    return f"{_with_article(path, kind)}: {why}"


def _with_article(path: str, kind: str) -> str:
    return f"{path!r}, {'an' if kind[0] in 'AEIO' else 'a'} {kind}"


def _found(model: nn.Module, prefix: str, kinds: Kinds) -> Head:
    found = _candidates(model, kinds)
    last = _last_layers(model, kinds)
    _refuse_no_head(model, prefix, kinds, list(last))
    if not found:
        remedy = "Build the layer before the fit starts (in `__init__` or `configure_model`)."
        raise HeadError(
            f"Expected a model with a linear layer that gives the logits, got {type(model).__name__} with none. {remedy}"
        )
    pool = _without_frozen(model, last)
    own, doubtful = _own(model, prefix, pool)
    head = own or _best(pool, prefix, kinds, doubtful | _reconstructions(model, pool, kinds))
    others = [
        prefix + name + (" (frozen)" if is_frozen(module) else "")
        for name, module in last.items()
        if module is not head.module and kinds.gives(module) > 1
    ]
    rest = [f"{len(others) - _LISTED} more"] if len(others) > _LISTED else []
    return replace(head, others=(*others[:_LISTED], *rest))


def _best(pool: Mapping[str, nn.Module], prefix: str, kinds: Kinds, doubtful: set[int]) -> Head:
    """The only layer of the pool, or the only one with a conventional name, unless its id is in `doubtful`.

    Raises:
        HeadError: several layers are equally good.
    """
    # A custom module with one vector per label and a scale is a cosine head.
    scaled = [name for name, module in pool.items() if kinds.holds_rows(module) and name_of_scale(module) is not None]
    names = scaled or list(pool)
    common = [name for name in names if (prefix + name).rpartition(".")[2] in COMMON_NAMES]
    if len(names) == 1:
        has_rows = kinds.holds_rows(pool[names[0]])
        why = "its rows, one vector per label" if has_rows else "its position as the only final linear layer"
        return Head(prefix + names[0], pool[names[0]], why)
    if len(common) == 1 and id(pool[common[0]]) not in doubtful:
        return Head(prefix + common[0], pool[common[0]], "its name")
    equal = common if len(common) > 1 else names
    choices = ", ".join(f"head={prefix + name!r} ({shape_in_words(pool[name])})" for name in equal)
    raise HeadError(f"Expected one final linear layer, got {len(equal)} that are equally good. Pass one of {choices}.")


def _without_frozen(model: nn.Module, last: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The last layers without the frozen ones of a teacher or a backbone; all of them if no other layer remains.

    Layers with one output are left out if another layer has more.
    """
    several = {name: module for name, module in last.items() if layers.gives(module) != 1} or dict(last)
    has_trained = any(not is_frozen(module) and not layers.is_adapted(module) for module in several.values())
    teachers = {
        id(part)
        for module in model.modules()
        if module is not model and is_frozen(module) and not layers.is_linear(module)
        for part in module.modules()
    }
    kept = {
        name: module
        for name, module in several.items()
        if not (is_frozen(module) and (has_trained or (id(module) in teachers and not is_frozen(model))))
    }
    return kept or several


def _reconstructions(model: nn.Module, pool: Mapping[str, nn.Module], kinds: Kinds) -> set[int]:
    """The ids of last layers whose output size is the input size of the first layer, as in the decoder of an autoencoder."""
    first = next((module for _, module in own_modules(model) if kinds.takes(module)), None)
    sizes = kinds.takes(first) if isinstance(first, nn.Linear) else set[int]()
    return {id(module) for module in pool.values() if kinds.gives(module) in sizes}


def _own(model: nn.Module, prefix: str, pool: Mapping[str, nn.Module]) -> tuple[Head | None, set[int]]:
    """The head that the model or a submodule returns itself, and the ids of such layers that a trained candidate follows.

    The head is None if no module returns one, or if they return different layers.
    """
    paths = {id(module): layers.plain_name(name) for name, module in model.named_modules()}
    order = [id(module) for _, module in own_modules(model)]
    named: dict[int, Head] = {}
    followed: set[int] = set()
    for _, part in own_modules(model):
        for getter in GETTERS:
            module = _asked(part, getter)
            inner = None if module is None else layers.unwrapped(module)
            if module is None or inner is None or id(inner) not in order or not layers.is_linear(inner):
                continue
            within = {id(each) for each in part.modules()}
            rivals = [each for each in pool.values() if id(each) not in within]
            if is_frozen(part) and rivals:  # a teacher or a backbone
                continue
            named.setdefault(id(inner), Head(prefix + paths[id(module)], inner, f"`{getter}()`"))
            if any(order.index(id(each)) > order.index(id(inner)) for each in rivals if not is_frozen(each)):
                followed.add(id(inner))
    chosen = named.keys() - followed
    in_pool = {id(each) for each in pool.values()}
    return named[next(iter(chosen))] if len(chosen) == 1 and not followed & in_pool else None, followed


def _asked(part: nn.Module, getter: str) -> nn.Module | None:
    """The module that a getter of a model returns; None if there is no such getter, it fails, or it returns no module."""
    try:
        answer = getattr(part, getter)()
    except Exception:  # noqa: BLE001 - the method is third-party code and gives only a hint
        return None
    return answer if isinstance(answer, nn.Module) else None


def _candidates(model: nn.Module, kinds: Kinds) -> dict[str, nn.Module]:
    """All layers that may be heads, without the convolutions before the last layer that is not a convolution."""
    linear = {name: module for name, module in own_modules(model) if layers.is_linear(module) or (name and kinds.allows(module))}
    names = list(linear)
    last = max((index for index, name in enumerate(names) if not _is_convolution(linear[name])), default=-1)
    return {name: linear[name] for index, name in enumerate(names) if index > last or not _is_convolution(linear[name])}


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, layers.CONVOLUTIONS)


def _last_layers(model: nn.Module, kinds: Kinds) -> dict[str, nn.Module]:
    """The candidates whose output size matches no later layer's input size."""
    candidates = _candidates(model, kinds)
    return {name: module for name, module in candidates.items() if not _is_taken(model, module, kinds)}


def _is_taken(model: nn.Module, module: nn.Module, kinds: Kinds) -> bool:
    """Whether the output size of a module matches a later layer's input size.

    For a trained module, layers in a frozen submodule with several layers do not count, because that submodule is another model.
    """
    parts = [part for _, part in own_modules(model)]
    later = parts[next(place for place, part in enumerate(parts) if part is module) + 1 :]
    takers = [part for part in later if kinds.gives(module) in kinds.takes(part)]
    if is_frozen(module) or not takers:
        return bool(takers)
    apart = [part for part in model.modules() if is_frozen(part) and sum(map(bool, map(kinds.takes, part.modules()))) > 1]
    return any(not any(taker is inner for part in apart for inner in part.modules()) for taker in takers)


def _refuse_no_head(model: nn.Module, prefix: str, kinds: Kinds, last: list[str]) -> None:
    """Raise an error for a final layer that cannot be a head, instead of choosing another layer.

    Raises:
        HeadError: the layer that computes the logits has no single row per label.
    """
    names = [name for name, _ in own_modules(model)]
    behind = max((names.index(name) for name in last), default=-1)
    has_common = any((prefix + name).rpartition(".")[2] in COMMON_NAMES for name in last)
    for name, module in own_modules(model):
        why = why_no_head(module)
        if why is None or is_frozen(module) or has_common or names.index(name) < behind:
            continue
        if isinstance(module, nn.AdaptiveLogSoftmaxWithLoss) or not _is_taken(model, module, kinds):
            remedy = "The monitor cannot watch it. If another layer gives the logits, pass its path as `head=`."
            raise HeadError(f"Expected {_ONE_ROW_EACH}, got {_in_words(prefix + name, module, why)}. {remedy}")


def _no_such_layer(modules: Mapping[str, nn.Module], path: str, kinds: Kinds) -> str:
    possible = [name for name, module in modules.items() if name and kinds.allows(module)]
    what, layer = (
        ("Candidates", "a linear layer or of a module with one vector per label")
        if kinds.has_cosines
        else ("Linear layers", "a linear layer")
    )
    got = _with_article(path, type(modules[path]).__name__) if path in modules else f"{path!r}, which does not exist"
    near = near_names(path, possible) or possible[-3:]
    remedy = f"{what}: {', '.join(map(repr, near))}." if near else "The model has no linear layer."
    return f"Expected `head` to be the dotted path of {layer}, got {got}. {remedy}"
