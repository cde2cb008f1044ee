"""Rows of a CSV logger: save them at once, so that a failure is raised by the call that writes, not at the end of the run."""

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["rows_saved_at_once"]


@contextlib.contextmanager
def rows_saved_at_once(logger: Any) -> Iterator[None]:
    """Save the rows that a logger gets within this context. If they cannot be saved, the logger forgets them.

    Args:
        logger: a logger that keeps rows in `experiment.metrics` until `save`, such as `CSVLogger`; others write as before.

    Raises:
        OSError: the file cannot be written.
    """
    if not isinstance(_rows(logger), list) or not callable(getattr(logger, "save", None)):
        yield
        return
    before = [*_rows(logger)]
    try:
        yield
        if _rows(logger) != before:
            logger.save()
    except OSError:
        _rows(logger)[:] = before
        raise


def _rows(logger: Any) -> Any:
    """The list of rows that are not saved yet; None if the logger keeps none."""
    try:
        return getattr(getattr(logger, "experiment", None), "metrics", None)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - a logger can need no experiment; if it does, its methods raise this again
        return None
