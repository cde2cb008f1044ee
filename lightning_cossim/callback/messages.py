"""Messages: logs and warns in the monitor's name, each warning at most once a run."""

import logging
from collections.abc import Callable

__all__ = ["Messages"]

_logger = logging.getLogger(__name__)


class Messages:
    """Hands messages on, each beginning with who speaks.

    Args:
        inform: logs a line, on one of several processes.
        warn: warns, in the same way.
    """

    def __init__(self, inform: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._inform, self._warn = inform, warn
        self._sent: set[str] = set()

    def start_run(self) -> None:
        """Every message may come again."""
        self._sent.clear()

    def inform(self, text: str) -> None:
        """Log a line, as often as it comes."""
        self._inform(f"LabelSimilarityMonitor: {text}")

    def inform_once(self, text: str) -> None:
        """Log a line, at most once a run."""
        if self._is_new(text):
            self.inform(text)

    def warn(self, text: str) -> None:
        """Warn, at most once a run."""
        if not self._is_new(text):
            return
        text = f"LabelSimilarityMonitor: {text}"
        try:
            self._warn(text)
        except Warning:  # the user turned warnings into errors; ours must not end the run all the same
            _logger.warning(text)

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._sent
        self._sent.add(text)
        return is_new
