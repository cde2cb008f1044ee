"""Handover: passes reports from the processes that Lightning starts for a run to the process that started them.

Under `ddp_spawn`, `ddp_fork` and `ddp_notebook`, the run happens in other processes, with copies of the monitor. The copies share
a file without a name. Only they can open it, and the system deletes it when the last of them ends, however the run ends.
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
"""Number of writes so far, and bytes of the last write. The bytes are 0 until the write is complete."""
_PIECE: Final = 2**30
"""Maximum number of bytes of one read or write: no system accepts more than 2 GiB."""


class Handover:
    """A value that an object shares with its copies in processes that its own process starts.

    If there is no file, because the disk is full or the system cannot pass files to other processes, nothing is shared.
    """

    def __init__(self) -> None:
        self._home, self._seen = os.getpid(), 0
        self._file: _SharedFile | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._file = _SharedFile.new()

    @property
    def is_away(self) -> bool:
        """Whether this object is a copy in a process that the original's process started."""
        return os.getpid() != self._home

    def leave(self, what: object) -> None:
        """Write an object that pickle supports, in place of the last one.

        Raises:
            OSError: the write failed, for example because the disk is full.
        """
        if self._file is not None:
            self._seen = self._file.write(pickle.dumps(what))

    def collect(self) -> Any:
        """The object that another process wrote since the last call.

        Returns:
            None if there is no new object, or if the process ended before the write was complete.
        """
        left, self._seen = self._left()
        return pickle.loads(left) if left else None  # noqa: S301 - our own bytes, in a file that only we can open

    def _left(self) -> tuple[bytes, int]:
        """The bytes that `collect` reads, and the number of the last write."""
        number, size = (0, 0) if self._file is None else self._file.header()
        return (self._file.read(size), number) if self._file is not None and number > self._seen else (b"", self._seen)

    @override
    def __getstate__(self) -> dict[str, Any]:
        if multiprocessing.context.get_spawning_popen() is None:  # a copy in the same process, or a pickle
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
    """A file without a name, which processes that this process starts inherit.

    Args:
        descriptor: descriptor of the file. It is closed when this object is deleted.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def new(cls) -> "_SharedFile":
        """A new empty file. Raises `AttributeError` on Windows, which cannot pass files to other processes in this way."""
        with tempfile.TemporaryFile() as file:
            os.pwrite(file.fileno(), _HEADER.pack(0, 0), 0)
            return cls(os.dup(file.fileno()))

    def header(self) -> tuple[int, int]:
        """The number of writes so far, and the bytes of the last write."""
        number, size = _HEADER.unpack(os.pread(self._descriptor, _HEADER.size, 0))
        return number, size

    def read(self, size: int) -> bytes:
        """The first `size` bytes of the last write."""
        read = bytearray()
        while len(read) < size:
            read += os.pread(self._descriptor, min(size - len(read), _PIECE), _HEADER.size + len(read))
        return bytes(read)

    def write(self, given: bytes) -> int:
        """Replace the content. Returns the number of writes so far."""
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
