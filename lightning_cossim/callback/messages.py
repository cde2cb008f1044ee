"""Messages: logs and warns with the monitor's name, and sends each warning at most once per run."""

import logging
from collections.abc import Callable

__all__ = ["Messages"]

_logger = logging.getLogger(__name__)


class Messages:
    """Sends messages that start with the monitor's name.

    Args:
        inform: logs a line, on one process only.
        warn: warns, on one process only.
    """

    def __init__(self, inform: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._inform, self._warn = inform, warn
        self._sent: set[str] = set()

    def start_run(self) -> None:
        """Allow every message again."""
        self._sent.clear()

    def inform(self, text: str) -> None:
        """Log a line, every time."""
        self._inform(f"LabelSimilarityMonitor: {text}")

    def inform_once(self, text: str) -> None:
        """Log a line, at most once per run."""
        if self._is_new(text):
            self.inform(text)

    def warn(self, text: str) -> None:
        """Warn, at most once per run."""
        if not self._is_new(text):
            return
        text = f"LabelSimilarityMonitor: {text}"
        try:
            self._warn(text)
        except Warning:  # if the user turns warnings into errors, this one must still not end the run
            _logger.warning(text)

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._sent
        self._sent.add(text)
        return is_new
