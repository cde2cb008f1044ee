"""JSON files beside a checkpoint: read them in bounded memory, and say in one line why one cannot be read."""

import json
import re
from pathlib import Path
from typing import Any, Final

from lightning_cossim.config.text_files import MOST_OF_NAMES, read_text
from lightning_cossim.errors import CheckpointError

__all__ = ["read_json", "reason"]

_MOST_PARTS: Final = 2_000_000
"""Maximum number of objects and lists of a JSON file; the tokenizer of a vocabulary of 262,144 tokens has half a million."""
_ADVICE: Final = re.compile(r"allow_pickle|weights_only|safe_globals|max_header_size|set_int_max|trust", re.IGNORECASE)
"""Words of other libraries that advise to switch off a safeguard."""


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file, an object.

    Raises:
        CheckpointError: the file is no regular file, cannot be read, is larger than 64 MB, or holds no object.
    """
    try:
        text = read_text(path, MOST_OF_NAMES)
    except ValueError as error:
        raise _unreadable(path, str(error)) from None
    if text.count("{") + text.count("[") > _MOST_PARTS:
        raise _unreadable(path, f"more than {_MOST_PARTS:,} objects and lists")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, reason(error)) from None
    if not isinstance(found, dict):
        raise _unreadable(path, type(found).__name__)
    return found


def reason(error: BaseException) -> str:
    """The text of an error in at most 160 characters, without a line break.

    The type of the error replaces a text of another library that advises to switch off a safeguard.
    """
    text = getattr(error, "strerror", None) or " ".join(str(error)[:2_000].split()) or type(error).__name__
    return type(error).__name__ if _ADVICE.search(text) else text[:160].rstrip(".")


def _unreadable(path: Path, got: str) -> CheckpointError:
    return CheckpointError(f"{path}: expected a readable JSON object, got {got}.")
