"""Pickles: read a file of torch without running its code, and refuse first what would take much time or memory while it is read.

torch calls no unknown function, but a pickle can still ask it for a tensor without values, which takes as much memory as its
shape says, or for the hash of a tuple that holds another one twice, and so on: its time doubles with every level.
"""

import io
import os
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any, Final

import torch
from typing_extensions import override

from lightning_cossim.errors import CheckpointError

__all__ = ["load_pickled"]

_Object = tuple[int, Any]
"""The number of objects that the hash of an object visits, and what is known of it: a number, the name of a function, or a tuple
of what is known of each item.
"""
_ARCHIVE: Final = b"PK\x03\x04"
"""The first bytes of a file that `torch.save` writes; older files are several pickles."""
_PICKLES: Final = 5
"""Number of pickles in an older file."""
_MOST_PICKLED: Final = 1_000_000
"""Maximum number of bytes of a pickle without as many bytes of tensors: unpickling takes a second for each million."""
_MOST_READS: Final = 400_000
"""Number of reads while a file is unpickled that is allowed in any case, about 50 for each tensor; a file of more than 40 MB may
need one for each 100 bytes.
"""
_NUMBERS: Final = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG"})
_PUTS: Final = frozenset({"BINPUT", "LONG_BINPUT", "PUT"})
_GETS: Final = frozenset({"BINGET", "LONG_BINGET", "GET"})
_TUPLES: Final = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE"})
_CALLS: Final = frozenset({"REDUCE", "NEWOBJ"})


class _BoundedReads(io.BufferedReader):
    """A file that allows a bounded number of reads, which unpickling of a small file could need hours for.

    A read takes no more memory than the file is large, even if the file says a larger length.
    """

    reads = 0

    def rewind(self) -> None:
        """Go to the start, and count reads from there."""
        self.seek(0)
        self.reads = 0

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        most = os.fstat(self.fileno()).st_size
        if self.reads > _MOST_READS and self.reads > most / 100:
            raise CheckpointError(f"{self.name}: expected tensors, got mostly other objects.")
        return super().read(size if size is None else min(size, most))


def load_pickled(path: Path) -> Any:
    """The content of a file of torch, without running code.

    Raises:
        CheckpointError: the file holds mostly other objects than tensors, or objects that take too much time or memory.
        Exception: torch cannot read the file.
    """
    size = path.stat().st_size
    with _BoundedReads(io.FileIO(path)) as file:
        if file.read(len(_ARCHIVE)) != _ARCHIVE:
            file.seek(0)
            for _ in range(_PICKLES):
                if file.peek(1):
                    _check_pickle(path, file, size)
            file.rewind()
            return torch.load(file, map_location="cpu", weights_only=True)
    _check_archive(path, size)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _check_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise CheckpointError(f"{path}: expected a file that torch.save wrote, got two entries of one name.")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError(f"{path}: expected a file that torch.save wrote, got a compressed archive.")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        pickled = sum(entry.file_size for entry in pickles)
        if pickled > max(_MOST_PICKLED, size / 4):
            raise CheckpointError(f"{path}: expected tensors, got {pickled:,} bytes of other objects.")
        for entry in pickles:
            with archive.open(entry) as file:
                _check_pickle(path, io.BytesIO(file.read()), size)


def _check_pickle(path: Path, file: IO[bytes], size: int) -> None:
    """Raise `CheckpointError` if a pickle asks for more than its file of `size` bytes holds. Nothing of it is built."""
    stack: list[_Object] = []
    marks: list[int] = []
    memo: dict[int, _Object] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _PUTS:
            memo[int(argument or 0)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GETS:
            stack.append(memo[int(argument or 0)])
        elif name == "MARK":
            marks.append(len(stack))
        else:
            stack.extend(_made(path, size, opcode, argument, _taken(opcode, stack, marks)))


def _taken(opcode: pickletools.OpcodeInfo, stack: list[_Object], marks: list[int]) -> list[_Object]:
    """Take what an instruction uses from the stack."""
    is_slice = pickletools.markobject in opcode.stack_before
    start = marks.pop() if is_slice else len(stack) - len(opcode.stack_before)
    used = stack[start:]
    del stack[start:]
    if is_slice and opcode.stack_before[0] is not pickletools.markobject:
        stack.pop()  # the list or the dictionary, which comes back
    return used


def _made(path: Path, size: int, opcode: pickletools.OpcodeInfo, argument: Any, used: list[_Object]) -> list[_Object]:
    """What an instruction puts onto the stack."""
    name = opcode.name
    if name in _TUPLES:
        visited = 1 + sum(number for number, _ in used)
        if visited > 2 * size + _MOST_READS:
            raise CheckpointError(f"{path}: expected tensors, got tuples that hold one another too often.")
        return [(visited, tuple(known for _, known in used))]
    if name in _CALLS:
        _check_call(path, used[0][1], used[1][1])
    if name == "BINPERSID":
        _check_storage(path, used[0][1], size)
    known = argument if name == "GLOBAL" or name in _NUMBERS else None
    return [(1, known) for _ in opcode.stack_after]


def _check_call(path: Path, function: Any, arguments: Any) -> None:
    """Refuse a function that allocates as much as its arguments say."""
    name = str(function).rpartition(" ")[2]  # without its module, which has several names in the versions of Python
    allocates = name.endswith(("Tensor", "Storage"))
    takes_a_size = name == "bytearray" and isinstance(arguments, tuple) and len(arguments) == 1
    if (allocates and arguments != ()) or takes_a_size:
        raise CheckpointError(f"{path}: expected tensors with their values, got a call of {name}.")


def _check_storage(path: Path, described: Any, size: int) -> None:
    """Refuse a storage of more values than the file has bytes. It has a kind, type, key, device and number of values."""
    number = described[4] if isinstance(described, tuple) and len(described) > 4 else None
    if isinstance(number, int) and not 0 <= number <= size:
        raise CheckpointError(f"{path}: expected a complete file, got a storage of {number:,} values in {size:,} bytes.")
