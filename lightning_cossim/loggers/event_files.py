"""Event files that are written at once: a failure is raised by the call that writes, not by a later call of someone else.

TensorBoard's writer hands events to a thread. If the thread cannot write, for example because the disk is full, it prints a
traceback, and the next call of any caller raises its exception. A failure of the monitor would then end the user's run.
"""

import contextlib
import copy
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import FileWriter, SummaryWriter
from typing_extensions import override

__all__ = ["EventFile", "written_at_once"]


class EventFile(SummaryWriter):
    """A writer of one new event file, without a thread.

    Args:
        folder: the folder of the file; it must exist.
        suffix: the end of the file's name.

    Raises:
        OSError: here and in all methods: the file cannot be written.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}{suffix}"
        self._file = (folder / name).open("xb", buffering=0)
        self._of_file = FileWriter.__new__(FileWriter)
        self._of_file.event_writer = _Direct(RecordWriter(self._file), str(folder))
        self._of_file.add_event(event_pb2.Event(file_version="brain.Event:2"))
        super().__init__(str(folder))

    @override
    def _get_file_writer(self) -> FileWriter:
        return self._of_file

    @override
    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    @override
    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Direct:
    """The part of TensorBoard's `EventFileWriter` that a `FileWriter` needs, without a thread."""

    def __init__(self, records: RecordWriter, folder: str) -> None:
        self._records, self._folder = records, folder

    def get_logdir(self) -> str:
        return self._folder

    def add_event(self, event: event_pb2.Event) -> None:
        self._records.write(event.SerializeToString())


class _AfterThread:
    """Writes records in place of the thread that writes an event file, after the thread has written all of its own.

    A record that cannot be written completely is cut off again, so that later events of the user are readable.
    """

    def __init__(self, thread: Any, path: Path) -> None:
        self._thread, self._path = thread, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thread, name)

    def write(self, record: bytes) -> None:
        self._thread.flush()  # raises a failure to write the user's events, as the user's next call does
        size = self._path.stat().st_size
        records = self._thread._writer  # noqa: SLF001 - no public attribute gives the file
        try:
            records.write(record)
            records.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                os.truncate(self._path, size)
            raise


@contextlib.contextmanager
def written_at_once(logger: Any) -> Iterator[None]:
    """Within this context, what a logger writes to an event file on this machine is written at once.

    Args:
        logger: a logger without a `SummaryWriter`, or with one for a remote folder, writes as before.

    Raises:
        OSError: the event file cannot be created.
    """
    experiment: Any = _summary_writer(logger)
    if experiment is None:
        yield
        return
    writer = experiment._get_file_writer()  # noqa: SLF001 - no public method gives the file, or reopens a closed one
    direct, events = copy.copy(writer), copy.copy(writer.event_writer)
    events._async_writer = _AfterThread(events._async_writer, Path(events._file_name))  # noqa: SLF001 - no public attributes
    direct.event_writer = events
    experiment.file_writer = direct
    try:
        yield
    finally:
        if experiment.file_writer is direct:  # else it was closed meanwhile
            experiment.file_writer = writer


def _summary_writer(logger: Any) -> Any | None:
    """The logger's writer of an event file on this machine, written by a thread; None if it has none."""
    try:
        experiment: Any = getattr(logger, "experiment", None)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - a logger can need no experiment; if it does, its methods raise this again
        return None
    has_thread = isinstance(experiment, SummaryWriter) and not isinstance(experiment, EventFile)
    return experiment if has_thread and "://" not in str(experiment.log_dir) else None
