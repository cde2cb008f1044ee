"""Checkpoints: the head of a trained model, and arrays beside it, out of files. No code of anybody's is run by reading them.

Lightning checkpoints, state dicts, safetensors (one file, or many with their index) and NumPy's `.npy` and `.npz`.
"""

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.capture.find import USUAL_NAMES
from lightning_cossim.capture.head import Weights
from lightning_cossim.errors import CheckpointError, near_names
from lightning_cossim.functional.links import Response

__all__ = ["SavedHead", "read_array", "read_head"]

_T = TypeVar("_T")
_KINDS: Final = ".ckpt, .pt, .pth, .bin, .safetensors, .safetensors.index.json, .npy, .npz"
_EITHER: Final = ("W", "kernel")
"""What cosine heads call their weight besides `weight`, in rows or in columns."""


@dataclass(frozen=True, eq=False)
class SavedHead:
    """The weights of a final linear layer that was saved."""

    name: str
    """Of the weight in its file; empty for a file of one array."""
    unembedding: Tensor
    """(K, D), float32 or float64."""
    bias: Tensor | None
    """(K,)."""
    step: int
    """The optimizer step that a Lightning checkpoint tells, else 0."""

    def weights(self, response: Response) -> Weights:
        """What a head computes with under a link; one of cosines has no bias."""
        bias = None if self.bias is None or response.link == "cosine" else self.bias.to(self.unembedding)
        return Weights(self.unembedding, bias, response)


@dataclass(frozen=True)
class _Saved:
    """The tensors of a file, each read when it is asked for."""

    names: tuple[str, ...]
    read: Callable[[str], Tensor]
    step: int = 0


def read_head(
    path: str | PathLike[str], head: str | None = None, bias: str | None = None, *, transposed: bool | None = False
) -> SavedHead:
    """The final linear layer in a file.

    Args:
        path: of the file.
        head: the layer's dotted path ("model.fc"), or the name of its weight; default: the only one with a usual name.
        bias: the name of the bias, "none" for none; default: the one beside the weight, if there is one.
        transposed: whether a label has a column of the weight, rather than a row; None: a row, unless it is called `W` or
            `kernel`, of which that has to be told.

    Raises:
        CheckpointError: the file cannot be read without running code, or does not hold such a layer.
    """
    path = Path(path)
    saved = _opened(path)
    name = _weight_name(path, saved, head)
    unembedding = _checked(path, name, saved.read(name), dims=2)
    if transposed is None and name.rpartition(".")[2] in _EITHER:
        which = "whether a label has a row or a column of it: pass `transposed` (`--transposed` or `--no-transposed`)"
        raise CheckpointError(f"{path}: expected to be told of {name}, {tuple(unembedding.shape)}, {which}.")
    unembedding = unembedding.T.contiguous() if transposed else unembedding
    bias_name = _bias_name(path, saved, name, bias)
    b_K = None if bias_name is None else _checked(path, bias_name, saved.read(bias_name), dims=1)
    if b_K is not None and len(b_K) != len(unembedding):
        raise CheckpointError(f"{path}: expected a bias for each of {len(unembedding)} labels in {bias_name}, got {len(b_K)}.")
    return SavedHead(name, unembedding, b_K, saved.step)


def read_array(path: str | PathLike[str], what: str, width: int, of: str) -> Tensor:
    """Logits or embeddings, one row an input.

    Args:
        path: of a file of one array.
        what: what they are, for errors.
        width: the entries of a row.
        of: what these are.

    Raises:
        CheckpointError: the file does not hold one array of this width.
    """
    path = Path(path)
    saved = _opened(path)
    if len(saved.names) != 1:
        raise CheckpointError(f"{path}: expected one array of {what}, got {len(saved.names)}: {_some(saved.names)}.")
    values = _checked(path, saved.names[0], saved.read(saved.names[0]), dims=2, finite=False)
    if values.shape[1] != width:
        wanted = f"{what} of shape (N, {width}), one column for each {of}"
        raise CheckpointError(f"{path}: expected {wanted}, got {tuple(values.shape)}.")
    return values


def _opened(path: Path) -> _Saved:
    """What a file holds."""
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.suffix in {".ckpt", ".pt", ".pth", ".bin", ".safetensors"})
        raise CheckpointError(f"{path}: expected a file, got a folder" + (f" with {_some(files)}." if files else "."))
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path}: expected a checkpoint, got an empty file.")
    except OSError as error:
        raise CheckpointError(f"{path}: expected a readable file, got {_reason(error)}.") from None
    opened: dict[str, Callable[[Path], _Saved]] = {
        ".npy": _of_numpy,
        ".npz": _of_numpy,
        ".safetensors": _of_safetensors,
        ".json": _of_index,
        **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin"), _of_torch),
    }
    if path.suffix not in opened:
        raise CheckpointError(f"{path}: expected a file of one of the kinds {_KINDS}, got {path.suffix or 'no suffix'}.")
    saved = _guarded(path, lambda: opened[path.suffix](path))
    return _Saved(saved.names, lambda name: _guarded(path, lambda: saved.read(name)), saved.step)


def _guarded(path: Path, read: Callable[[], _T]) -> _T:
    """What reading gives; whatever goes wrong in it is one line."""
    try:
        return read()
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: expected a whole {path.suffix} file, got {_reason(error)}.") from error


def _of_torch(path: Path) -> _Saved:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on pickles that it may refuse
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise
        remedy = "Save its tensors alone: torch.save(model.state_dict(), path)."
        raise CheckpointError(f"{path}: expected tensors alone, got objects whose loading would run code. {remedy}") from error
    step = loaded.get("global_step", 0) if isinstance(loaded, Mapping) else 0
    tensors = _tensors(loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded)
    return _Saved(tuple(tensors), tensors.__getitem__, step if isinstance(step, int) else 0)


def _tensors(loaded: Any) -> dict[str, Tensor]:
    """By name; a tensor alone has none."""
    if isinstance(loaded, Tensor):
        return {"": loaded}
    if not isinstance(loaded, Mapping):
        return {}
    return {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}


def _of_numpy(path: Path) -> _Saved:
    loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return _Saved(("",), lambda _: _from_numpy(loaded))
    return _Saved(tuple(loaded.files), lambda name: _from_numpy(loaded[name]))


def _from_numpy(array: Any) -> Tensor:
    """Of any byte order."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _of_safetensors(path: Path) -> _Saved:
    safe_open = _safe_open(path)
    with safe_open(path, framework="pt") as file:
        names = tuple(file.keys())

    def read(name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    return _Saved(names, read)


def _of_index(path: Path) -> _Saved:
    """Tensors in many files, and which is in which."""
    index = json.loads(path.read_text(encoding="utf-8"))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{path}: expected an index of safetensors, an object with a `weight_map`, got another.")

    def read(name: str) -> Tensor:
        shard = path.parent / Path(places[name]).name  # beside the index, wherever that says
        if not shard.is_file():
            raise CheckpointError(f"{path}: expected {shard.name} beside it, where {name} is, got no such file.")
        return _opened(shard).read(name)

    return _Saved(tuple(places), read)


def _safe_open(path: Path) -> Any:
    try:
        from safetensors import safe_open
    except ModuleNotFoundError:
        remedy = "pip install 'lightning-cossim[safetensors]'"
        raise CheckpointError(f"{path}: expected the package safetensors to read it, got none: {remedy}.") from None
    return safe_open


def _weight_name(path: Path, saved: _Saved, head: str | None) -> str:
    if not saved.names:
        raise CheckpointError(f"{path}: expected tensors by name, got none.")
    if head is not None:
        found = [name for name in (head, f"{head}.weight", *(f"{head}.{name}" for name in _EITHER)) if name in saved.names]
        if found:
            return found[0]
        known = [*saved.names, *map(_layer, saved.names)]
        near = near_names(head, known) or list(saved.names[-3:])
        raise CheckpointError(f"{path}: expected the weight of {head!r}, got no such name. Near: {_some(dict.fromkeys(near))}.")
    if len(saved.names) == 1:
        return saved.names[0]
    weights = [name for name in saved.names if name.endswith("weight") and saved.read(name).ndim == 2]
    usual = [name for name in weights if _layer(name).rpartition(".")[2] in USUAL_NAMES]
    if len(usual) == 1:
        return usual[0]
    choices = _some(map(_layer, usual or weights[-8:])) if weights else "no matrix whose name ends in `weight`"
    raise CheckpointError(f"{path}: expected one head, got {len(usual)} with a usual name. Pass `head`, one of {choices}.")


def _bias_name(path: Path, saved: _Saved, weight: str, bias: str | None) -> str | None:
    if bias == "none":
        return None
    if bias is not None:
        if bias not in saved.names:
            near = near_names(bias, saved.names)
            raise CheckpointError(f"{path}: expected a bias named {bias!r}, got no such name. Near: {_some(near) or 'nothing'}.")
        return bias
    beside = f"{weight.removesuffix('weight')}bias"
    return beside if beside in saved.names and beside != weight else None


def _checked(path: Path, name: str, tensor: Tensor, *, dims: int, finite: bool = True) -> Tensor:
    called = name or "its array"
    if not tensor.is_floating_point():
        raise CheckpointError(f"{path}: expected {called} to be floating, got {str(tensor.dtype).removeprefix('torch.')}.")
    if dims == 2 and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor.flatten(1)  # a convolution of one pixel
    if tensor.ndim != dims or 0 in tensor.shape:
        wanted = "of shape (K, D), a row for each label" if dims == 2 else "of shape (K,)"
        raise CheckpointError(f"{path}: expected {called} {wanted}, got {tuple(tensor.shape)}.")
    tensor = tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    if finite and not tensor.isfinite().all():
        rows = (~tensor.isfinite().reshape(len(tensor), -1).all(dim=1)).nonzero().flatten().tolist()
        raise CheckpointError(f"{path}: expected {called} to be finite, got NaN or infinity in {len(rows)} rows: {_some(rows)}.")
    return tensor


def _layer(weight: str) -> str:
    return weight.removesuffix(".weight")


def _some(names: Any) -> str:
    listed = [str(name) or "''" for name in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return text[:160].rstrip(".")
