"""Text files of the user: only regular files are read, and their size is checked before they are read."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["MOST_OF_NAMES", "MOST_OF_YAML", "kind_of_file", "read_text"]

MOST_OF_YAML: Final = 1_000_000
"""Maximum number of bytes of a YAML file."""
MOST_OF_NAMES: Final = 64_000_000
"""Maximum number of bytes of a file of names, of a vocabulary or of an index."""


def read_text(path: str | os.PathLike[str], most: int) -> str:
    """The text of a regular file in UTF-8, without a byte order mark. Line ends become line feeds.

    Args:
        path: the file.
        most: the largest allowed number of bytes.

    Raises:
        UnicodeDecodeError: the file is not in UTF-8.
        ValueError: the file cannot be read. The message says what was got instead.
    """
    try:
        kind = kind_of_file(path)
        if kind is not None:
            raise ValueError(kind)
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def kind_of_file(path: str | os.PathLike[str]) -> str | None:
    """What stands at a path, in words; None for a regular file. Nothing is opened, because opening a pipe can wait for ever.

    Raises:
        OSError, ValueError: nothing stands there, or the path is not valid.
    """
    mode = Path(path).stat().st_mode
    if stat.S_ISREG(mode):
        return None
    return os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
