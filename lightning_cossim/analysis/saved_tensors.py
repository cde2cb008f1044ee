"""Saved tensors: open a file and read its tensors by name, each when it is needed. Reading runs no code from the file.

Supported files are Lightning checkpoints, state dicts (also nested in dictionaries), safetensors (one file, or an index of
several files) and NumPy's `.npy` and `.npz`.
"""

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.analysis.nested_tensors import nested_tensors
from lightning_cossim.errors import CheckpointError

__all__ = ["SUFFIXES", "SavedTensors", "guarded", "listed", "open_tensors", "reason"]

_T = TypeVar("_T")
Shape = tuple[int, ...]
SUFFIXES: Final = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
"""Suffixes of files that hold the tensors of a model."""
_KINDS: Final = ".ckpt, .pt, .pth, .bin, .safetensors, .safetensors.index.json, .npy, .npz"
_LONGEST_INDEX: Final = 2**28
"""The largest size of an index in bytes; the index of a large model has about a hundred thousand."""


@dataclass(frozen=True)
class SavedTensors:
    """The names of the tensors in a file, and functions that read them."""

    path: Path
    names: tuple[str, ...]
    """The names, in the order of the file. A tensor without a name has the name ''."""
    shape: Callable[[str], Shape] = field(repr=False)
    """Return the shape of a tensor by name, without reading the tensor."""
    read: Callable[[str], Tensor] = field(repr=False)
    """Return a tensor by name."""
    step: int = 0
    """The optimizer step of a Lightning checkpoint, else 0."""
    roots: tuple[str, ...] = ()
    """The dotted keys of nested dictionaries that hold tensors, for example `model` or `ema.module`."""
    loose: tuple[str, ...] = ()
    """The names of tensors at the top level of a file whose other tensors are nested."""


def open_tensors(path: Path) -> SavedTensors:
    """The tensors of a file, by name.

    Raises:
        CheckpointError: the file cannot be read without running code, is empty, or has an unknown suffix.
    """
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        raise CheckpointError(f"{path}: expected a readable file, got {reason(error)}.") from None
    if size == 0:
        raise CheckpointError(f"{path}: expected a checkpoint, got an empty file.")
    opened: dict[str, Callable[[Path], SavedTensors]] = {
        ".npy": _of_npy,
        ".npz": _of_npz,
        ".safetensors": _of_safetensors,
        ".json": _of_index,
        **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin"), _of_torch),
    }
    if path.suffix not in opened:
        raise CheckpointError(f"{path}: expected a file of type {_KINDS}, got {path.suffix or 'no suffix'}.")
    saved = guarded(path, lambda: opened[path.suffix](path))
    return replace(
        saved,
        shape=lambda name: guarded(path, lambda: saved.shape(name)),
        read=lambda name: guarded(path, lambda: saved.read(name)),
    )


def guarded(path: Path, read: Callable[[], _T]) -> _T:
    """The result of `read`. Any exception in it becomes a `CheckpointError` with a message of one line.

    Raises:
        CheckpointError: reading failed.
    """
    try:
        return read()
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: expected a complete {path.suffix} file, got {reason(error)}.") from error


def _of_torch(path: Path) -> SavedTensors:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles before it refuses them
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise
        remedy = "Save only the tensors: torch.save(model.state_dict(), path)."
        raise CheckpointError(f"{path}: expected only tensors, got objects that would run code on loading. {remedy}") from error
    nested = nested_tensors(path, loaded)
    tensors = nested.tensors
    step = loaded.get("global_step", 0) if isinstance(loaded, Mapping) else 0
    return SavedTensors(
        path,
        tuple(tensors),
        lambda name: tuple(tensors[name].shape),
        lambda name: tensors[name].detach(),
        step if isinstance(step, int) else 0,
        nested.roots,
        nested.loose,
    )


def _of_npy(path: Path) -> SavedTensors:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return SavedTensors(path, ("",), lambda _: array.shape, lambda _: _from_numpy(path, "", array))


def _of_npz(path: Path) -> SavedTensors:
    with np.load(path, allow_pickle=False) as loaded:
        shapes = {name: _shape_in(loaded, name) for name in loaded.files}

    def read(name: str) -> Tensor:
        with np.load(path, allow_pickle=False) as loaded:
            return _from_numpy(path, name, loaded[name])

    return SavedTensors(path, tuple(shapes), shapes.__getitem__, read)


def _shape_in(loaded: Any, name: str) -> Shape:
    """The shape of an array in an `.npz` file. Only the header is read."""
    inside = f"{name}.npy"
    with loaded.zip.open(inside if inside in loaded.zip.namelist() else name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape: Shape = read(file)[0]
    return shape


def _from_numpy(path: Path, name: str, array: Any) -> Tensor:
    """An array of any byte order as a tensor. The type of its values is checked before the copy."""
    if array.dtype.kind not in "fiub":
        raise CheckpointError(f"{path}: expected {name or 'its array'} to hold numbers, got {array.dtype}.")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _of_safetensors(path: Path) -> SavedTensors:
    safe_open = _safe_open(path)
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a mapping

    def read(name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    return SavedTensors(path, tuple(shapes), shapes.__getitem__, read)


def _of_index(path: Path) -> SavedTensors:
    """Tensors in several files, and an index that gives the file of each tensor."""
    if path.stat().st_size > _LONGEST_INDEX:
        raise CheckpointError(f"{path}: expected an index of at most {_LONGEST_INDEX:,} bytes, got {path.stat().st_size:,}.")
    index = json.loads(path.read_text(encoding="utf-8"))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{path}: expected an index of safetensors, a JSON object with a `weight_map`, got other JSON.")

    @cache
    def shard(name: str) -> SavedTensors:
        file = path.parent / Path(name).name  # always beside the index, even if the index names another folder
        if not file.is_file():
            first = next(tensor for tensor, place in places.items() if place == name)
            raise CheckpointError(f"{path}: expected {file.name} beside it, which holds {first}, got no such file.")
        if file.suffix not in SUFFIXES:
            raise CheckpointError(f"{path}: expected shards of type {', '.join(SUFFIXES)}, got {file.name}.")
        return open_tensors(file)

    def held(name: str) -> SavedTensors:
        found = shard(places[name])
        if name not in found.names:
            raise CheckpointError(f"{path}: expected {name} in {found.path.name}, got no such name.")
        return found

    return SavedTensors(path, tuple(places), lambda name: held(name).shape(name), lambda name: held(name).read(name))


def _safe_open(path: Path) -> Any:
    try:
        from safetensors import safe_open
    except ModuleNotFoundError:
        remedy = "pip install 'lightning-cossim[safetensors]'"
        raise CheckpointError(f"{path}: expected the package safetensors, got none. Install it: {remedy}.") from None
    return safe_open


def listed(names: Any, most: int = 8) -> str:
    """Names in one line, at most `most`, with the number of the names that are left out."""
    shown = [str(name) or "''" for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def reason(error: BaseException) -> str:
    """The text of an error in at most 160 characters, without a line break."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return text[:160].rstrip(".")
