"""Saved tensors: open a file and read its tensors by name, each when it is needed. Reading runs no code from the file.

Supported files are Lightning checkpoints, state dicts (also nested in dictionaries), safetensors (one file, or an index of
several files) and NumPy's `.npy` and `.npz`.
"""

import math
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.analysis.json_files import read_json, reason
from lightning_cossim.analysis.nested_tensors import nested_tensors
from lightning_cossim.analysis.pickles import load_pickled
from lightning_cossim.config.text_files import kind_of_file
from lightning_cossim.errors import CheckpointError

__all__ = ["SUFFIXES", "SavedTensors", "guarded", "listed", "open_tensors"]

_T = TypeVar("_T")
Shape = tuple[int, ...]
SUFFIXES: Final = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
"""Suffixes of files that hold the tensors of a model."""
_KINDS: Final = ".ckpt, .pt, .pth, .bin, .safetensors, .safetensors.index.json, .npy, .npz"
_LONGEST_NAME: Final = 1_000
"""Maximum number of characters of a tensor's name."""
_MOST_NAMES: Final = 200_000
_MOST_STEPS: Final = 2**63
"""A step of this size or more is no step of a training, and no seed of torch."""
_MOST_UNPACKED: Final = 64_000_000
"""Number of bytes that a compressed array can have in any case; a larger one can have 20 times those of its file."""
_NUMBERS: Final = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool),
    *(torch.complex64, torch.complex128),
}
"""Types of values that take whole bytes and that torch can convert."""


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
        kind, size = kind_of_file(path), path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        raise CheckpointError(f"{path}: expected a readable file, got {reason(error)}.") from None
    if kind is not None:
        raise CheckpointError(f"{path}: expected a file, got {kind}.")
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
    if len(saved.names) > _MOST_NAMES:
        raise CheckpointError(f"{path}: expected at most {_MOST_NAMES:,} tensors, got {len(saved.names):,}.")
    longest = max(saved.names, key=len, default="")
    if len(longest) > _LONGEST_NAME:
        got = f"one of {len(longest):,} characters, {longest[:40]}..."
        raise CheckpointError(f"{path}: expected names of at most {_LONGEST_NAME} characters, got {got}.")
    return replace(
        saved,
        shape=lambda name: guarded(path, lambda: saved.shape(name)),
        read=lambda name: guarded(path, lambda: _stored(path, name, saved.read(name))),
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


def _stored(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor, if its file holds each of its values: then no operation needs much more memory than the file is large."""
    called, wanted = name or "its array", None
    if tensor.layout != torch.strided or tensor.is_nested:
        wanted = "to be dense", "a nested tensor" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    elif tensor.is_meta:
        wanted = "to have values", "a meta tensor"
    elif tensor.dtype not in _NUMBERS:
        wanted = "to hold numbers of whole bytes", str(tensor.dtype).removeprefix("torch.")
    elif tensor.numel() == 0:
        wanted = "to have values", f"shape {tuple(tensor.shape)}"
    elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        wanted = "to be stored value by value", f"{tensor.numel():,} values in a storage of {stored:,}"
    if wanted is not None:
        raise CheckpointError(f"{path}: expected {called} {wanted[0]}, got {wanted[1]}.")
    return tensor


def _of_torch(path: Path) -> SavedTensors:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles before it refuses them
            loaded = load_pickled(path)
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
        step if isinstance(step, int) and 0 <= step < _MOST_STEPS else 0,
        nested.roots,
        nested.loose,
    )


def _of_npy(path: Path) -> SavedTensors:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return SavedTensors(path, ("",), lambda _: array.shape, lambda _: _from_numpy(path, "", array))


def _of_npz(path: Path) -> SavedTensors:
    with np.load(path, allow_pickle=False) as loaded:
        headers = {name: _header_in(loaded, name) for name in loaded.files}
    shapes = {name: shape for name, (shape, _) in headers.items()}

    def read(name: str) -> Tensor:
        shape, dtype = headers[name]
        _check_numpy(path, name, dtype)
        with np.load(path, allow_pickle=False) as loaded:
            entry = loaded.zip.getinfo(_entry_of(loaded, name))
            needed = math.prod(shape) * dtype.itemsize
            if needed > entry.file_size:
                got = f"shape {shape} in {entry.file_size:,} bytes"
                raise CheckpointError(f"{path}: expected {name} to be stored value by value, got {got}.")
            if needed > max(_MOST_UNPACKED, 20 * entry.compress_size):
                got = f"{needed:,} bytes compressed to {entry.compress_size:,}"
                raise CheckpointError(f"{path}: expected {name} to be an array of ordinary values, got {got}. Use numpy.savez.")
            return _from_numpy(path, name, loaded[name])

    return SavedTensors(path, tuple(shapes), shapes.__getitem__, read)


def _entry_of(loaded: Any, name: str) -> str:
    inside = f"{name}.npy"
    return inside if inside in loaded.zip.NameToInfo else name


def _header_in(loaded: Any, name: str) -> tuple[Shape, Any]:
    """The shape and the type of values of an array in an `.npz` file. Only the header is read."""
    with loaded.zip.open(_entry_of(loaded, name)) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


def _check_numpy(path: Path, name: str, dtype: Any) -> None:
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise CheckpointError(f"{path}: expected {name or 'its array'} to hold numbers, got {dtype}.")


def _from_numpy(path: Path, name: str, array: Any) -> Tensor:
    """An array of any byte order as a tensor. The type of its values is checked before the copy."""
    _check_numpy(path, name, array.dtype)
    if array.size == 0:
        raise CheckpointError(f"{path}: expected {name or 'its array'} to have values, got shape {array.shape}.")
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
    places = read_json(path).get("weight_map")
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
