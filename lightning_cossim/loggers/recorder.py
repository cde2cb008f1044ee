"""Recorder: reports as steps of TensorBoard's tab, each written once and none before an earlier one."""

from time import time
from typing import Any

from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.tags import window_tag
from lightning_cossim.loggers.writers import log_folder, write_step
from lightning_cossim.report import GapReport

__all__ = ["Recorder"]


class Recorder:
    """Writes the steps of every stage. TensorBoard's readers disagree on steps that come twice, and drop those that go back.

    Args:
        name: goes into the tags.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._written: dict[tuple[str, str], tuple[int, int]] = {}
        """Folder and tag to the steps written there, and the last of them."""

    def start_fit(self) -> None:
        """A fit begins that does not go on where the last one ended."""
        self._written.clear()

    def record(self, report: GapReport, logger: Any) -> bool:
        """Write a report as a step, unless there is one already, or a later one; whether it was written."""
        tag = window_tag(report.window, self.name)
        place = log_folder(logger) or str(id(logger)), tag
        index, last = self._written.get(place, (0, -1))
        if report.step <= last:
            return False
        write_step(logger, tag, step_of(report, index=index + 1, time=time()))
        self._written[place] = index + 1, report.step
        return True
