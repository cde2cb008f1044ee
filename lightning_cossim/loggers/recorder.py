"""Write reports as steps of TensorBoard's tab, each step once and in ascending order."""

from time import time
from typing import Any, Literal

from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.tab import evidence_blob, step_of
from lightning_cossim.loggers.tags import window_tag
from lightning_cossim.loggers.writers import log_folder, write_step
from lightning_cossim.report import GapReport

__all__ = ["Recorder"]


class Recorder:
    """Writes the steps of every stage.

    A step that is not larger than the last one is not written: TensorBoard's readers disagree on repeated steps, and drop steps
    that go back.

    Args:
        name: the monitor's name, which is part of the tags; None: none.
        order: the order of labels in all heatmaps.
        evidence: which part of the evidence is written with a step: True: everything, "references": no pictures and no texts,
            False: nothing.
    """

    def __init__(self, name: str | None, order: LabelOrder, *, evidence: Literal["references"] | bool = True) -> None:
        self.name, self.evidence, self._order = name, evidence, order
        self._written: dict[tuple[str, str], tuple[int, int]] = {}
        """(Folder, tag) to (number of steps written, last step)."""

    def start_fit(self) -> None:
        """Forget all written steps. Call it when a fit starts that does not resume an earlier one."""
        self._written.clear()

    def record(self, report: GapReport, logger: Any) -> bool:
        """Write a report as a step, unless this step or a later one is written already.

        Returns:
            Whether the step was written.
        """
        tag = window_tag(report.window, self.name)
        place = log_folder(logger) or str(id(logger)), tag
        index, last = self._written.get(place, (0, -1))
        if report.step <= last:
            return False
        evidence = evidence_blob(report, with_views=self.evidence is True) if self.evidence else None
        write_step(logger, tag, step_of(report, index=index + 1, time=time(), order=self._order), evidence)
        self._written[place] = index + 1, report.step
        return True
