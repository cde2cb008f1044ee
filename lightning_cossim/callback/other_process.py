"""Handover: what a monitor leaves in the processes that Lightning starts for a run, for the process that started them.

Under `ddp_spawn`, `ddp_fork` and `ddp_notebook` a run takes place in other processes, in copies of the monitor. The copies share
a file that has no name: only they can open it, and nothing of it is left when the last of them is gone, however the run ends.
"""

import contextlib
import multiprocessing.context
import os
import pickle
import struct
import tempfile
import weakref
from multiprocessing import reduction
from typing import Any, Final

from typing_extensions import override

__all__ = ["Handover"]

_HEADER: Final = struct.Struct("<QQ")
"""How often the file was written, and the bytes of the last time; 0 bytes until all of them are there."""
_PIECE: Final = 2**30
"""Bytes that are read or written at a time: no system takes more than 2 GiB."""


class Handover:
    """A place that an object has in common with its copies in processes that are started from its own.

    Without a file (there is no room for one, or the system cannot hand it on) nothing is handed over.
    """

    def __init__(self) -> None:
        self._home, self._seen = os.getpid(), 0
        self._file: _SharedFile | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._file = _SharedFile.new()

    @property
    def is_away(self) -> bool:
        """Whether this is a copy, in a process that was started from the first one's."""
        return os.getpid() != self._home

    def leave(self, what: object) -> None:
        """Leave something that can be pickled, in place of what was left before.

        Raises:
            OSError: the disk is full, for example.
        """
        if self._file is not None:
            self._seen = self._file.write(pickle.dumps(what))

    def collect(self) -> Any:
        """What was left elsewhere since this was last asked; None: nothing, or its process ended before all of it was written."""
        left, self._seen = self._left()
        return pickle.loads(left) if left else None  # noqa: S301 - our own bytes, in a file that nobody else can open

    def _left(self) -> tuple[bytes, int]:
        """What is to be collected, and the number of the last writing."""
        number, size = (0, 0) if self._file is None else self._file.header()
        return (self._file.read(size), number) if self._file is not None and number > self._seen else (b"", self._seen)

    @override
    def __getstate__(self) -> dict[str, Any]:
        if multiprocessing.context.get_spawning_popen() is None:  # a copy by itself
            return {"left": self._left()[0]}
        return {"_home": self._home, "_seen": self._seen, "_file": self._file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "left" not in state:
            vars(self).update(state)
            return
        Handover.__init__(self)
        if self._file is not None and state["left"]:
            self._file.write(state["left"])


class _SharedFile:
    """A file without a name, which processes inherit that are started from this one.

    Args:
        descriptor: of the file, which is closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def new(cls) -> "_SharedFile":
        """An empty one. Raises `AttributeError` on Windows, which does not hand files on in this way."""
        with tempfile.TemporaryFile() as file:
            os.pwrite(file.fileno(), _HEADER.pack(0, 0), 0)
            return cls(os.dup(file.fileno()))

    def header(self) -> tuple[int, int]:
        """How often it was written, and the bytes of the last time."""
        number, size = _HEADER.unpack(os.pread(self._descriptor, _HEADER.size, 0))
        return number, size

    def read(self, size: int) -> bytes:
        """So many bytes of the last time."""
        read = bytearray()
        while len(read) < size:
            read += os.pread(self._descriptor, min(size - len(read), _PIECE), _HEADER.size + len(read))
        return bytes(read)

    def write(self, given: bytes) -> int:
        """Write bytes in place of those there; how often it was written then."""
        number = self.header()[0] + 1
        os.pwrite(self._descriptor, _HEADER.pack(number, 0), 0)
        done = 0
        while done < len(given):
            done += os.pwrite(self._descriptor, memoryview(given)[done : done + _PIECE], _HEADER.size + done)
        os.ftruncate(self._descriptor, _HEADER.size + done)
        os.pwrite(self._descriptor, _HEADER.pack(number, len(given)), 0)
        return number

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (reduction.DupFd(self._descriptor),)


def _inherited(file: Any) -> _SharedFile:
    return _SharedFile(file.detach())
