"""Voice: what is said to the user in a run, warnings and much else once."""

import logging
from collections.abc import Callable

__all__ = ["Voice"]

_logger = logging.getLogger(__name__)


class Voice:
    """Says things, each beginning with who speaks.

    Args:
        inform: says something, on one of several processes.
        warn: warns of something, in the same way.
    """

    def __init__(self, inform: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._inform, self._warn = inform, warn
        self._said: set[str] = set()

    def start_run(self) -> None:
        """Everything may be said again."""
        self._said.clear()

    def inform(self, text: str) -> None:
        """Say something, as often as it comes."""
        self._inform(f"LabelSimilarityMonitor: {text}")

    def inform_once(self, text: str) -> None:
        """Say something, once in a run."""
        if self._is_new(text):
            self.inform(text)

    def warn(self, text: str) -> None:
        """Warn of something, once in a run."""
        if not self._is_new(text):
            return
        text = f"LabelSimilarityMonitor: {text}"
        try:
            self._warn(text)
        except Warning:  # the user turned warnings into errors; what we have to say must not end the run all the same
            _logger.warning(text)

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._said
        self._said.add(text)
        return is_new
