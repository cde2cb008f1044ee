"""Find the final linear layer of a model, or refuse with a list of what could be passed.

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

__all__ = ["GETTERS", "USUAL_NAMES", "find_head", "why_untrained"]

USUAL_NAMES: Final = frozenset({"classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "score", "unembed"})
GETTERS: Final = ("get_output_embeddings", "get_classifier")
"""Methods with which models of transformers and of timm name their own head."""
_ONE_ROW_EACH: Final = "a final linear layer with a row for each label"
_LISTED: Final = 4
"""Other layers that are named beside the head."""


def find_head(model: nn.Module, path: str | None = None, *, is_called: bool = True, has_cosines: bool = False) -> Head:
    """The final linear layer of a model.

    An explicit path wins; it may lead to a container, whose own final layer is then meant. Without one:

    1. Candidates are linear layers whose output size matches no later layer's input size, and convolutions with a kernel of 1
       behind the last `nn.Linear`. Layers inside a `torchmetrics.Metric` are none.
    2. Frozen candidates are left out if another one is trained: they belong to a teacher or a backbone. The frozen head of a
       model whose other layers are trained, by adapters for example, stays.
    3. A layer that the model or a part of it names itself (`get_output_embeddings`, `get_classifier`) wins, unless a trained
       candidate follows outside that part.
    4. Of several candidates, the one with a usual name wins.

    Args:
        model: the LightningModule.
        path: dotted path of the layer, for example "model.fc".
        is_called: whether the layer gives the logits itself; else its weight alone is meant, which an `nn.Embedding` has too.
        has_cosines: whether the head may be a module of the user's own that holds a row for every label (`weight`, or `W` or
            `kernel`, in columns), as those of ArcFace and the like do: of the last layers, one with a scale is meant.

    Raises:
        HeadError: no such path, no linear layer, several that are equally good, a final layer that has no row for each label, or
            a weight that cannot be read: quantized, or split over processes by its labels. The text lists what could be passed.
    """
    kinds = Kinds(has_cosines=has_cosines)
    head = _named(model, path, kinds, is_called=is_called) if path is not None else _found(model, "", kinds)
    why = layers.why_unreadable(head.module) or layers.why_split(head.module, model)
    if why is not None:
        raise HeadError(f"Expected a head whose weight can be read, got {head.path}, {shape_in_words(head.module)}: {why}.")
    return head


def why_untrained(model: nn.Module, head: Head, trained: Collection[int]) -> str | None:
    """What to say of a head that was found and that no optimizer trains, where one trains another layer in question; else None.

    Args:
        model: the LightningModule.
        head: its head.
        trained: the ids of all parameters that an optimizer has.
    """
    modules = {layers.plain_name(name): module for name, module in model.named_modules()}
    rivals = [name for name in head.others if name in modules and _has_any(modules[name], trained)]
    if not rivals or _has_any(head.module, trained):
        return None
    choices = " or ".join(f"head={name!r}" for name in rivals)
    return f"watching {head.path}: no optimizer trains it, as of a teacher. If another layer is the head, pass {choices}."


def _has_any(module: nn.Module, parameters: Collection[int]) -> bool:
    return any(id(parameter) in parameters for parameter in module.parameters())


def _named(model: nn.Module, path: str, kinds: Kinds, *, is_called: bool) -> Head:
    # A layer may be reached by several paths (`self.head = self.model.fc`): any of them will do.
    modules = {layers.plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    path = layers.plain_name(path)
    module = layers.unwrapped(modules[path]) if path in modules else None
    if module is not None and kinds.allows(module):
        return Head(path, module, "its path")
    if isinstance(module, nn.Embedding):
        if is_called:
            remedy = "Pass `embeddings_from=`, the path of the module whose output is multiplied with its weight."
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
    return f"{path!r}, {'an' if kind[0] in 'AEIO' else 'a'} {kind}: {why}"


def _found(model: nn.Module, prefix: str, kinds: Kinds) -> Head:
    found = _candidates(model, kinds)
    last = _last_layers(model, kinds)
    _refuse_no_head(model, prefix, kinds, list(last))
    if not found:
        remedy = "Build it before the fit starts (`__init__` or `configure_model`)."
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
    """Of the last layers, the only one, or the only one with a usual name, unless that is doubtful."""
    # Of rows of somebody's own, those with a scale are those of a cosine head.
    scaled = [name for name, module in pool.items() if kinds.holds_rows(module) and name_of_scale(module) is not None]
    names = scaled or list(pool)
    usual = [name for name in names if (prefix + name).rpartition(".")[2] in USUAL_NAMES]
    if len(names) == 1:
        why = "holding rows of its own" if kinds.holds_rows(pool[names[0]]) else "being the only last linear layer"
        return Head(prefix + names[0], pool[names[0]], why)
    if len(usual) == 1 and id(pool[usual[0]]) not in doubtful:
        return Head(prefix + usual[0], pool[usual[0]], "its name")
    equal = usual if len(usual) > 1 else names
    choices = ", ".join(f"head={prefix + name!r} ({shape_in_words(pool[name])})" for name in equal)
    raise HeadError(f"Expected one final linear layer, got {len(equal)} that are equally good. Pass one of {choices}.")


def _without_frozen(model: nn.Module, last: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Those of the last layers that the training is about; all if none of them is."""
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
    """The ids of last layers that give as many numbers as the first layer takes, as an autoencoder's decoder does."""
    first = next((module for _, module in own_modules(model) if kinds.takes(module)), None)
    sizes = kinds.takes(first) if isinstance(first, nn.Linear) else set[int]()
    return {id(module) for module in pool.values() if kinds.gives(module) in sizes}


def _own(model: nn.Module, prefix: str, pool: Mapping[str, nn.Module]) -> tuple[Head | None, set[int]]:
    """The head that the model, or a part of it, names itself; None where none does or several name different ones.

    Also the ids of the layers that are named so, though a trained candidate follows.
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
    """What a model says of itself, if it has anything to say."""
    try:
        answer = getattr(part, getter)()
    except Exception:  # noqa: BLE001 - somebody else's method, and but a hint
        return None
    return answer if isinstance(answer, nn.Module) else None


def _candidates(model: nn.Module, kinds: Kinds) -> dict[str, nn.Module]:
    """The layers that come into question: all but the convolutions before the last that is none."""
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
    """Whether a later layer could take what a module gives. A frozen model beside one that is trained does not."""
    parts = [part for _, part in own_modules(model)]
    later = parts[next(place for place, part in enumerate(parts) if part is module) + 1 :]
    takers = [part for part in later if kinds.gives(module) in kinds.takes(part)]
    if is_frozen(module) or not takers:
        return bool(takers)
    apart = [part for part in model.modules() if is_frozen(part) and sum(map(bool, map(kinds.takes, part.modules()))) > 1]
    return any(not any(taker is inner for part in apart for inner in part.modules()) for taker in takers)


def _refuse_no_head(model: nn.Module, prefix: str, kinds: Kinds, last: list[str]) -> None:
    """Name a layer that gives the logits and cannot be a head, instead of offering another one."""
    names = [name for name, _ in own_modules(model)]
    behind = max((names.index(name) for name in last), default=-1)
    has_usual = any((prefix + name).rpartition(".")[2] in USUAL_NAMES for name in last)
    for name, module in own_modules(model):
        why = why_no_head(module)
        if why is None or is_frozen(module) or has_usual or names.index(name) < behind:
            continue
        if isinstance(module, nn.AdaptiveLogSoftmaxWithLoss) or not _is_taken(model, module, kinds):
            remedy = "The monitor cannot watch it. If another layer gives the logits, pass that as `head=`."
            raise HeadError(f"Expected {_ONE_ROW_EACH}, got {_in_words(prefix + name, module, why)}. {remedy}")


def _no_such_layer(modules: Mapping[str, nn.Module], path: str, kinds: Kinds) -> str:
    possible = [name for name, module in modules.items() if name and kinds.allows(module)]
    what, layer = (
        ("Such modules", "a linear layer or of rows of its own") if kinds.has_cosines else ("Linear layers", "a linear layer")
    )
    got = f"{path!r}, a {type(modules[path]).__name__}" if path in modules else f"{path!r}, which is not there"
    near = near_names(path, possible) or possible[-3:]
    remedy = f"{what}: {', '.join(map(repr, near))}." if near else "The model has no linear layer."
    return f"Expected `head` to be the dotted path of {layer}, got {got}. {remedy}"
