"""Recorder: reports as steps of TensorBoard's tab, each written once and none before an earlier one."""

from time import time
from typing import Any

from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.loggers.tab import step_of
from lightning_cossim.loggers.tags import group, suffix
from lightning_cossim.loggers.writers import log_folder, write_step
from lightning_cossim.report import GapReport

__all__ = ["Recorder"]


class Recorder:
    """Writes the steps of every stage. TensorBoard's readers disagree on steps that come twice, and drop those that go back.

    Args:
        thresholds: the reports are judged by.
        name: goes into the tags.
    """

    def __init__(self, thresholds: Thresholds, name: str | None) -> None:
        self.thresholds, self.name = thresholds, name
        self._written: dict[tuple[str, str], tuple[int, int]] = {}
        """Folder and tag to the steps written there, and the last of them."""

    def start_fit(self) -> None:
        """A fit begins that does not go on where the last one ended."""
        self._written.clear()

    def record(self, report: GapReport, logger: Any) -> bool:
        """Write a report as a step, unless there is one already, or a later one; whether it was written."""
        tag = f"{group(report.stage, self.name)}{suffix(report.dataloader_idx)}"
        place = log_folder(logger) or str(id(logger)), tag
        index, last = self._written.get(place, (0, -1))
        if report.step <= last:
            return False
        write_step(logger, tag, step_of(report, self.thresholds, index=index + 1, time=time()))
        self._written[place] = index + 1, report.step
        return True
