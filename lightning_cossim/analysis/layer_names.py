"""Names of tensors in files: find the layer of a tensor, the weights, and the name of the bias beside a weight.

Shapes: K labels, D embedding dimensions.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

__all__ = ["ADAPTER", "biases_of", "is_weight", "layer_of", "matrix_shape", "module_of", "plain", "short_name", "spellings"]

ADAPTER: Final = re.compile(r"(^|[._/])(lora|ia3|hada|lokr|oft|boft|vera|shira|trainable_tokens)_?", re.IGNORECASE)
"""The names of adapter parts."""
_FORMS: Final = (
    "weight",
    "modules_to_save.default.weight",
    "base_layer.weight",
    "weight_orig",
    "weight_v",
    "parametrizations.weight.original",
    "parametrizations.weight.original1",
    "kernel",
    "W",
    "w",
    "_w",
    "_W",
    "weights",
    "coef_",
)
"""Names of the weight of a layer, after the name of the layer and a dot."""
_JOINED: Final = ("_weight", "_kernel", "_w", "_W")
"""Suffixes of a layer's name in files without dots."""
_END: Final = re.compile(rf"(^|[./])(modules_to_save\.[^.]+\.weight|{'|'.join(map(re.escape, _FORMS))})$")
_NO_WEIGHT: Final = re.compile(
    r"(^|[._/])(weight_[gu]|\w+_mask|bias\w*|original0|original_module\.\w+|parametrizations\.\w+\.\d+\..*|running_\w+"
    r"|lora_\w+(\..*)?)$"
)
"""Names of tensors that are only a part of a weight, or not a weight at all."""
_WRAPPERS: Final = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
_WEIGHT_WORDS: Final = {"weight", "weights", "kernel", "w", "coef", "coefs"}
_BIAS_WORDS: Final = ("bias", "b", "biases", "intercept", "intercepts")


def plain(name: str) -> str:
    """A name with dots between its parts, without the prefixes that compilers and wrappers add."""
    return _WRAPPERS.sub("", name.replace("/", ".")).removeprefix(".")


def module_of(name: str) -> str:
    """The part of a name before its last dot or slash; empty if there is none."""
    return re.split(r"[./](?=[^./]*$)", name)[0] if re.search(r"[./]", name) else ""


def layer_of(name: str) -> str:
    """The path of the layer of a weight: `model.fc` for `model.fc.weight`. A name without a path is returned unchanged."""
    return _END.sub("", name) or name


def short_name(name: str) -> str:
    """The last part of a layer's path: `fc` for `model.fc.weight` or `fc_weight`."""
    last = re.split(r"[./]", layer_of(name))[-1]
    return next((last.removesuffix(end) for end in _JOINED if last.endswith(end)), last)


def spellings(head: str) -> Iterator[str]:
    """Possible names of the weight of a layer, the given name first."""
    yield head
    yield from (f"{head}.{form}" for form in _FORMS)
    yield from (f"{head}{end}" for end in _JOINED)


def is_weight(name: str) -> bool:
    """Whether a tensor with this name may be the weight of a layer."""
    return not _NO_WEIGHT.search(name) and not ADAPTER.search(name)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(K, D) of a matrix, or of a convolution with kernel size 1 in one to three dimensions; None for any other shape."""
    is_matrix = len(shape) == 2 or (2 < len(shape) <= 5 and set(shape[2:]) == {1} and shape[1] > 1)
    return (shape[0], shape[1]) if is_matrix and 0 not in shape else None


def biases_of(weight: str) -> list[str]:
    """Possible names of the bias beside a weight, the likeliest name first."""
    end = re.search(r"parametrizations\.weight\.original1?$", weight)
    if end is not None:
        return [f"{weight[: end.start()]}bias"]
    module, leaf = module_of(weight), weight[len(module_of(weight)) :]
    separator, leaf = (leaf[0], leaf[1:]) if module else ("", leaf)
    parts = re.split(r"(_|\d+)", leaf)
    found = []
    for place, word in product(range(len(parts)), _BIAS_WORDS):
        if parts[place].lower() in _WEIGHT_WORDS:
            found.append("".join([*parts[:place], word, *parts[place + 1 :]]))
    found = sorted(found, key=lambda name: len(name) == 1) if leaf.lower().endswith(("weight", "kernel")) else found
    found += [name.removesuffix(end) for name in found for end in ("_orig", "_v") if name.endswith(end)]
    found += [f"{leaf}_bias"] if leaf else []
    found += ["bias"] if module else []
    return [f"{module}{separator}{name}" for name in dict.fromkeys(found)]
