"""Find the final linear layer of a model, or refuse with a list of what could be passed.

Shapes: K labels, D embedding dimensions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torch import nn

from lightning_cossim.capture import layers
from lightning_cossim.capture.cosine_heads import holds_rows, name_of_scale
from lightning_cossim.capture.head import Head, shape_in_words
from lightning_cossim.errors import HeadError, near_names

__all__ = ["GETTERS", "USUAL_NAMES", "find_head"]

USUAL_NAMES: Final = frozenset({"classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "unembed"})
GETTERS: Final = ("get_output_embeddings", "get_classifier")
"""Methods with which models of transformers and of timm name their own head."""


def find_head(model: nn.Module, path: str | None = None, *, is_called: bool = True, has_cosines: bool = False) -> Head:
    """The final linear layer of a model.

    An explicit path wins; it may lead to a container, whose own final layer is then meant. Else the layer that the model names
    itself (`get_output_embeddings`, `get_classifier`). Else the layers come into question whose output no later layer could take
    as input, going by their sizes; of several, the one with a usual name. Convolutions with a kernel of 1 come into question
    behind the last `nn.Linear`.

    Args:
        model: the LightningModule.
        path: dotted path of the layer, for example "model.fc".
        is_called: whether the layer gives the logits itself; else its weight alone is meant, which an `nn.Embedding` has too.
        has_cosines: whether the head may be a module of the user's own that holds a row for every label (`weight`, or `W` or
            `kernel`, in columns), as those of ArcFace and the like do: of the last layers, one with a scale is meant.

    Raises:
        HeadError: no such path, no linear layer, several that are equally good, or a weight that cannot be read: quantized, or
            split over processes by its labels. The text lists what could be passed.
    """
    kinds = _Kinds(has_cosines=has_cosines)
    head = _named(model, path, kinds, is_called=is_called) if path is not None else _own(model) or _found(model, "", kinds)
    why = layers.why_unreadable(head.module) or layers.why_split(head.module, model)
    if why is not None:
        raise HeadError(f"Expected a head whose weight can be read, got {head.path}, {shape_in_words(head.module)}: {why}.")
    return head


@dataclass(frozen=True)
class _Kinds:
    """Which modules may be heads."""

    has_cosines: bool

    def holds_rows(self, module: nn.Module) -> bool:
        """Whether a module is a cosine head of the user's own, where such are looked for."""
        return self.has_cosines and holds_rows(module)

    def allows(self, module: nn.Module) -> bool:
        """Whether a module may be a head."""
        return layers.is_linear(module) or self.holds_rows(module)

    def is_sized(self, module: nn.Module) -> bool:
        """Whether vectors of one size go into a module, and of one come out."""
        return self.holds_rows(module) or (layers.takes(module) is not None and not isinstance(module, nn.Embedding))

    def sizes_of(self, module: nn.Module) -> tuple[int, int | None]:
        """Of what comes out of a module, and of what goes in."""
        return layers.shape_of(module) if self.holds_rows(module) else (layers.gives(module), layers.takes(module))


def _named(model: nn.Module, path: str, kinds: _Kinds, *, is_called: bool) -> Head:
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
    if module is None or not _candidates(module, kinds):
        raise HeadError(_no_such_layer(modules, path, kinds))
    return _found(module, f"{path}.", kinds)


def _own(model: nn.Module) -> Head | None:
    """The head that the model, or a part of it, names itself; None where none does or several name different ones."""
    paths = {id(module): layers.plain_name(name) for name, module in model.named_modules()}
    named: dict[int, Head] = {}
    for part in model.modules():
        for getter in GETTERS:
            module = _asked(part, getter)
            if module is not None and id(module) in paths and layers.is_linear(layers.unwrapped(module)):
                named.setdefault(id(module), Head(paths[id(module)], layers.unwrapped(module), f"`{getter}()`"))
    return next(iter(named.values())) if len(named) == 1 else None


def _asked(part: nn.Module, getter: str) -> nn.Module | None:
    """What a model says of itself, if it has anything to say."""
    try:
        answer = getattr(part, getter)()
    except Exception:  # noqa: BLE001 - somebody else's method, and but a hint
        return None
    return answer if isinstance(answer, nn.Module) else None


def _found(model: nn.Module, prefix: str, kinds: _Kinds) -> Head:
    found = {prefix + name: module for name, module in _candidates(model, kinds).items()}
    if not found:
        remedy = "Build it before the fit starts (`__init__` or `configure_model`)."
        raise HeadError(
            f"Expected a model with a linear layer that gives the logits, got {type(model).__name__} with none. {remedy}"
        )
    last = [prefix + name for name in _last_layers(model, kinds)]
    # Of rows of somebody's own, those with a scale are those of a cosine head.
    pool = [name for name in last if kinds.holds_rows(found[name]) and name_of_scale(found[name]) is not None] or last
    usual = [name for name in pool if name.rpartition(".")[2] in USUAL_NAMES]
    if len(pool) == 1:
        why = "holding rows of its own" if kinds.holds_rows(found[pool[0]]) else "being the only last linear layer"
        return Head(pool[0], found[pool[0]], why)
    if len(usual) == 1:
        return Head(usual[0], found[usual[0]], "its name")
    choices = ", ".join(f"head={name!r} ({shape_in_words(found[name])})" for name in usual or pool)
    raise HeadError(f"Expected one final linear layer, got {len(usual or pool)} that are equally good. Pass one of {choices}.")


def _candidates(model: nn.Module, kinds: _Kinds) -> dict[str, nn.Module]:
    """The layers that come into question: all but the convolutions before the last that is none."""
    linear = {name: module for name, module in layers.walk(model) if layers.is_linear(module) or (name and kinds.allows(module))}
    names = list(linear)
    last = max((index for index, name in enumerate(names) if not _is_convolution(linear[name])), default=-1)
    return {name: linear[name] for index, name in enumerate(names) if index > last or not _is_convolution(linear[name])}


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, layers.CONVOLUTIONS)


def _last_layers(model: nn.Module, kinds: _Kinds) -> Iterator[str]:
    """The candidates whose output no later layer could take as input, going by their sizes."""
    sized = [(name, module) for name, module in layers.walk(model) if kinds.is_sized(module)]
    candidates = _candidates(model, kinds)
    for index, (name, module) in enumerate(sized):
        taken = [kinds.sizes_of(later)[1] for _, later in sized[index + 1 :]]
        if name in candidates and kinds.sizes_of(module)[0] not in taken:
            yield name


def _no_such_layer(modules: Mapping[str, nn.Module], path: str, kinds: _Kinds) -> str:
    possible = [name for name, module in modules.items() if name and kinds.allows(module)]
    what, layer = (
        ("Such modules", "a linear layer or of rows of its own") if kinds.has_cosines else ("Linear layers", "a linear layer")
    )
    got = f"{path!r}, a {type(modules[path]).__name__}" if path in modules else f"{path!r}, which is not there"
    near = near_names(path, possible) or possible[-3:]
    remedy = f"{what}: {', '.join(map(repr, near))}." if near else "The model has no linear layer."
    return f"Expected `head` to be the dotted path of {layer}, got {got}. {remedy}"
