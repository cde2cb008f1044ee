"""Publisher: a report to all who read it, the loggers and the callbacks that watch a key."""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from time import time
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_cossim.errors import in_one_line
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.scalars import SHARES, scalars
from lightning_cossim.loggers.pages import Pages, Write
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.loggers.tab import as_csv, as_json, step_of
from lightning_cossim.loggers.tags import GAPS, group, picture_group, window_tag
from lightning_cossim.loggers.writers import (
    log_folder,
    shows_layouts,
    shows_pictures,
    shows_steps,
    takes_images,
    write_alerts,
    write_files,
    write_layout,
    write_projection,
)
from lightning_cossim.report import GapReport, WindowKey

__all__ = ["Publisher", "ScalarLogger", "band", "log_scalars", "watchable"]

_logger = logging.getLogger(__name__)


class ScalarLogger(Protocol):
    """Any logger of Lightning's: what it has, not what it is."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write values at a step."""


class Publisher:
    """Writes the scalars and alerts of reports; what it cannot write costs a warning, nothing else.

    Args:
        link: of the head; not every scalar means something under every link.
        name: goes into the tags.
        pages: draws what is shown beside curves.
        warn: says to the user that something is wrong; what it is given again was said before.
        inform: says something else, in the same way.
    """

    def __init__(
        self, link: Link, name: str | None, pages: Pages, *, warn: Callable[[str], None], inform: Callable[[str], None]
    ) -> None:
        self.link, self.name, self._pages, self._warn, self._inform = link, name, pages, warn, inform
        self._recorder = Recorder(name)
        self._watched: dict[str, dict[str, float]] = {}
        """Group to the values that other callbacks last saw."""
        self._failed: list[tuple[ScalarLogger | None, str]] = []
        """Logger, None for all of them, and what it gets no more."""
        self._arranged: list[ScalarLogger] = []
        self._told: set[str] = set()

    def start_run(self) -> None:
        """A run begins: loggers that failed in an earlier one get another chance, and messages may come again."""
        self._failed.clear()
        self._told.clear()
        self._arranged.clear()

    def start_fit(self) -> None:
        """A fit begins that does not go on where the last one ended."""
        self._watched.clear()
        self._pages.start_fit()
        self._recorder.start_fit()

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs, in builtins."""
        watched = {tags: dict(values) for tags, values in self._watched.items()}
        return {"watched": watched, "pages": self._pages.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._watched = {tags: dict(values) for tags, values in state["watched"].items()}
        self._pages.load_state_dict(state["pages"])

    def publish(self, report: GapReport, loggers: Iterable[ScalarLogger], watched: MutableMapping[str, Tensor]) -> None:
        """Write a report to the loggers and, if it is of a validation run, into the metrics that other callbacks watch."""
        tags, end = group(report.stage, self.name), report.window.suffix
        values, bounds = {name: report.scalars[name] for name in scalars(self.link)}, band(report)
        self._warn_of_undefined(window_tag(report.window, self.name), report)
        if report.stage == "val":
            self._offer(report.window, values, watched)
        for logger in loggers:
            self._write(logger, "scalars", partial(log_scalars, [logger], tags, values, report.step, end))
            if bounds and self._asked(logger, shows_layouts, "scalars"):
                where = picture_group(report.stage, "band", self.name)
                self._write(logger, "scalars", partial(log_scalars, [logger], where, bounds, report.step, end))
            if report.alerts:
                self._write(logger, "texts", partial(write_alerts, logger, f"{tags}/alerts{end}", report.alerts, report.step))

    def publish_steps(self, reports: Sequence[GapReport], loggers: Iterable[ScalarLogger]) -> None:
        """Write reports for TensorBoard's tab, to the loggers that can."""
        for logger in loggers:
            if self._asked(logger, shows_steps, "steps"):
                for report in reports:
                    self._write(logger, "steps", partial(self._record, report, logger))
            elif self._asked(logger, takes_images, "steps") and "tab" not in self._told:
                self._told.add("tab")
                writer = type(getattr(logger, "experiment", None)).__module__
                self._inform(
                    f"TensorBoard's tab stays empty: {writer} does not write what it shows; torch.utils.tensorboard does. Its "
                    "built-in pages have everything else."
                )

    def _record(self, report: GapReport, logger: ScalarLogger) -> None:
        if not self._recorder.record(report, logger):
            where = f"step {report.step} of {window_tag(report.window, self.name)}"
            if where not in self._told:
                self._told.add(where)
                self._inform(f"{where}, or a later one, is in TensorBoard's tab already, which this report therefore is not")

    def publish_files(self, reports: Sequence[GapReport], loggers: Iterable[ScalarLogger]) -> None:
        """Write reports into files beside the events of the loggers that have some."""
        for report in reports:
            texts: dict[str, str] = {}
            for logger in loggers:
                self._write(logger, "files", partial(self._write_files, logger, report, texts))

    def _write_files(self, logger: ScalarLogger, report: GapReport, texts: dict[str, str]) -> None:
        if log_folder(logger) is None:
            return
        if not texts:  # the same for all
            name = re.sub(r"[^\w.-]", "_", window_tag(report.window, self.name))
            step = step_of(report, index=0, time=time())
            texts.update({f"{name}.csv": as_csv(step), f"{name}.json": as_json(step)})
        write_files(logger, texts)

    def publish_pictures(self, report: GapReport, loggers: Iterable[ScalarLogger]) -> None:
        """Draw a report for the loggers that show pictures, if there are any."""
        showing = [logger for logger in loggers if self._asked(logger, shows_pictures, "pictures")]
        for logger in showing:
            if logger not in self._arranged:
                self._arranged.append(logger)
                groups = [group(stage, self.name) for stage in ("val", "train")]
                bounded = f"rank_agreement_{report.ladder.cosine}" if band(report) else None
                self._write(logger, "layout", partial(write_layout, logger, groups, scalars(self.link), bounded))
        for view in self._pages.views if showing else ():
            if (None, view) in self._failed:
                continue
            try:
                drawn = self._pages.draw(view, report)
            except Exception as error:
                _logger.debug("The failure that ended a view:", exc_info=True)
                self._fail(None, view, f"there are no more {view} in this run", error)
                continue
            for logger in showing:
                self._write(logger, view, partial(_write_all, logger, drawn))

    def publish_projection(self, rows: Tensor, report: GapReport, loggers: Iterable[ScalarLogger]) -> None:
        """Write the rows (L, D) of the labels of a report for TensorBoard's projector."""
        tag = picture_group(report.stage, "rows", self.name)
        for logger in loggers:
            self._write(logger, "projections", partial(write_projection, logger, tag, rows, report.names, report.step))

    def publish_nothing(self, windows: Iterable[WindowKey], watched: MutableMapping[str, Tensor]) -> None:
        """For a validation run without a report: other callbacks find their keys all the same."""
        for window in windows:
            self._offer(window, dict.fromkeys(scalars(self.link), math.nan), watched)

    def _offer(self, window: WindowKey, values: dict[str, float], watched: MutableMapping[str, Tensor]) -> None:
        tags, key = group(window.stage, self.name), window_tag(window, self.name)
        self._watched[key] = watchable(values, self._watched.get(key, {}))
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)  # a default of half would round them
        tensors = {name: torch.tensor(value, dtype=dtype) for name, value in self._watched[key].items()}
        watched.update({f"{tags}/{name}{window.suffix}": value for name, value in tensors.items()})

    def _asked(self, logger: ScalarLogger, question: Callable[[ScalarLogger], bool], what: str) -> bool:
        """What a logger answers; to be asked may be the first thing that makes it open a file."""
        answer = False

        def ask() -> None:
            nonlocal answer
            answer = question(logger)

        self._write(logger, what, ask)
        return answer

    def _write(self, logger: ScalarLogger, what: str, write: Callable[[], None]) -> None:
        """Loggers write on one process only: a failure there must stay there, or the other processes would wait for it."""
        if (logger, what) in self._failed:
            return
        try:
            write()
        except Exception as error:
            _logger.debug("The failure that ended logging:", exc_info=True)
            self._fail(logger, what, f"{type(logger).__name__} gets no more {what} in this run", error)

    def _fail(self, logger: ScalarLogger | None, what: str, gone: str, error: Exception) -> None:
        self._failed.append((logger, what))
        cause = error.__cause__ or error  # Lightning's loggers have a guess of their own at what went wrong
        self._warn(f"{gone}, reports go on in `last_report`, after {in_one_line(cause)}")

    def _warn_of_undefined(self, tags: str, report: GapReport) -> None:
        """What has no value is told once for every scalar, with the reason; that there is no verdict once for every stage."""
        by_reason: dict[str, list[str]] = {}
        for name, why in report.undefined.items():
            if name in report.scalars and name not in {*SHARES, *self._told}:
                self._told.add(name)
                by_reason.setdefault(why, []).append(name)
        if by_reason:
            undefined = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
            self._warn(
                f"{tags}: undefined: {undefined}. Loggers get nothing; callbacks that watch them see the last value, or 1 for "
                "gaps and 0 for others."
            )
        no_verdict = report.undefined.get(SHARES[0])
        if no_verdict is not None and tags not in self._told:
            self._told.add(tags)
            self._inform(f"{tags}: no verdict on pairs: {no_verdict}. Until there is one, nothing is flagged and alerts wait.")


def _write_all(logger: ScalarLogger, writes: Iterable[Write]) -> None:
    for write in writes:
        write(logger)


def log_scalars(loggers: Iterable[ScalarLogger], group: str, scalars: Mapping[str, float], step: int, suffix: str = "") -> None:
    """Write the defined scalars of a group at one step; an undefined value leaves a hole in the curve, never an old value."""
    defined = {f"{group}/{name}{suffix}": value for name, value in scalars.items() if not math.isnan(value)}
    for logger in loggers:
        logger.log_metrics(metrics=defined, step=step)  # by keyword, as Lightning does


def band(report: GapReport) -> dict[str, float]:
    """The bounds of the interval of 95 % of the cosine's rank agreement; empty where it has no error."""
    name = f"rank_agreement_{report.ladder.cosine}"
    if name not in report.intervals:
        return {}
    low, high = report.intervals[name]
    return {f"{name}_low": low, f"{name}_high": high}


def watchable(scalars: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """The scalars without a NaN, of which callbacks that watch a key make an error.

    What is undefined keeps its last value; before there is one, 1 for gaps and 0 for the others.
    """
    return {
        name: before.get(name, 1.0 if name in GAPS else 0.0) if math.isnan(value) else value for name, value in scalars.items()
    }
