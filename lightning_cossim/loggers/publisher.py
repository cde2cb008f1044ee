"""Publish a report to loggers, and to callbacks that watch a metric."""

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from time import time
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_cossim.config.checks import Restriction, check_number
from lightning_cossim.errors import in_one_line
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.scalars import SHARES, scalars
from lightning_cossim.loggers.pages import Pages, Write
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.loggers.rows import rows_saved_at_once
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
from lightning_cossim.report.evidence_records import as_evidence_csv

__all__ = ["Publisher", "ScalarLogger", "band", "log_scalars", "watchable"]

_logger = logging.getLogger(__name__)


class ScalarLogger(Protocol):
    """A logger, by the one method that scalars need. Every Lightning logger has it."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write values at a step."""


class Publisher:
    """Writes reports to loggers and to the metrics that callbacks watch.

    If something cannot be drawn or written, the user gets one warning and the run goes on.

    Args:
        link: link of the head, which decides which scalars exist.
        name: the monitor's name, which is part of the tags; None: none.
        pages: draws pictures, tables and histograms.
        warn: warns the user with the text that it gets.
        inform: logs the text that it gets.
        in_run: whether there is a run whose loggers and callbacks lack undefined scalars, so that the user should know of them.
    """

    def __init__(
        self,
        link: Link,
        name: str | None,
        pages: Pages,
        *,
        warn: Callable[[str], None],
        inform: Callable[[str], None],
        in_run: bool = True,
    ) -> None:
        self.link, self.name, self._pages, self._warn, self._inform = link, name, pages, warn, inform
        self._in_run = in_run
        self._recorder = Recorder(name, pages.order, evidence=pages.display.evidence)
        self._watched: dict[str, dict[str, float]] = {}
        """Tag of a window to the values that other callbacks got last."""
        self._failed: list[tuple[ScalarLogger | None, str]] = []
        """(Logger, kind of item) of writes that failed and are not repeated; None as logger: the drawing failed."""
        self._unwritable: list[tuple[ScalarLogger, OSError]] = []
        """Loggers whose folder or file could not be written, with the error. They get nothing for the rest of the run."""
        self._arranged: list[ScalarLogger] = []
        self._told: set[str] = set()

    def start_run(self) -> None:
        """Forget failures and messages of earlier runs. Call it when a run starts."""
        self._failed.clear()
        self._unwritable.clear()
        self._told.clear()
        self._arranged.clear()

    def start_fit(self) -> None:
        """Forget values of earlier fits. Call it when a fit starts that does not resume an earlier one."""
        self._watched.clear()
        self._pages.order.start_fit()
        self._recorder.start_fit()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as Python builtins."""
        watched = {tags: dict(values) for tags, values in self._watched.items()}
        return {"watched": watched, "labels": self._pages.order.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. If an entry is wrong, it raises an exception and changes nothing."""
        watched = {tags: dict(values) for tags, values in state["watched"].items()}
        for values in watched.values():
            for name, value in values.items():
                check_number(value, name, Restriction(float))
        self._pages.order.load_state_dict(state["labels"])
        self._watched = watched

    def publish(self, report: GapReport, loggers: Iterable[ScalarLogger], watched: MutableMapping[str, Tensor]) -> None:
        """Write the scalars and alerts of a report to the loggers.

        The scalars of a validation report go into `watched` too, the metrics that other callbacks watch.
        """
        tags, end = group(report.stage, self.name), report.window.suffix
        values, bounds = {name: report.scalars[name] for name in scalars(self.link)}, band(report)
        if self._in_run:
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
        """Write reports as steps of TensorBoard's tab, to the loggers that can write them."""
        for logger in loggers:
            if self._asked(logger, shows_steps, "steps"):
                for report in reports:
                    self._write(logger, "steps", partial(self._record, report, logger))
            elif self._asked(logger, takes_images, "steps") and "tab" not in self._told:
                self._told.add("tab")
                writer = type(getattr(logger, "experiment", None)).__module__
                self._inform(
                    f"TensorBoard's tab stays empty: {writer} cannot write its data. Use a logger that writes with "
                    "torch.utils.tensorboard. TensorBoard's other pages have everything else."
                )

    def _record(self, report: GapReport, logger: ScalarLogger) -> None:
        if not self._recorder.record(report, logger):
            where = f"step {report.step} of {window_tag(report.window, self.name)}"
            if where not in self._told:
                self._told.add(where)
                self._inform(f"TensorBoard's tab does not get {where}: it has this step or a later one already.")

    def publish_files(self, reports: Sequence[GapReport], loggers: Iterable[ScalarLogger]) -> None:
        """Write files into the folders of loggers that have one: the pairs of reports if the tab is on, and their evidence."""
        for report in reports:
            texts: dict[str, str] = {}
            for logger in loggers:
                self._write(logger, "files", partial(self._write_files, logger, report, texts))

    def _write_files(self, logger: ScalarLogger, report: GapReport, texts: dict[str, str]) -> None:
        if log_folder(logger) is None:
            return
        if not texts:  # all loggers get the same texts
            name = re.sub(r"[^\w.-]", "_", window_tag(report.window, self.name))
            if self._pages.display.tab:
                step = step_of(report, index=0, time=time(), order=self._pages.order)
                texts.update({f"{name}.csv": as_csv(step), f"{name}.json": as_json(step)})
            if self._pages.display.evidence and report.evidence:
                texts[f"{name}_evidence.csv"] = as_evidence_csv(report)
        write_files(logger, texts)

    def publish_pictures(self, report: GapReport, loggers: Iterable[ScalarLogger]) -> None:
        """Draw a report and write it to the loggers that show pictures. Without such a logger, nothing is drawn."""
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
                self._fail(None, view, f"drawing {view} failed and is off for the rest of this run", error)
                continue
            for logger in showing:
                self._write(logger, view, partial(_write_all, logger, drawn))

    def publish_projection(self, rows: Tensor, report: GapReport, loggers: Iterable[ScalarLogger]) -> None:
        """Write the rows (L, D) of a report's labels for TensorBoard's projector."""
        tag = picture_group(report.stage, "rows", self.name)
        for logger in loggers:
            self._write(logger, "projections", partial(write_projection, logger, tag, rows, report.names, report.step))

    def publish_nothing(self, windows: Iterable[WindowKey], watched: MutableMapping[str, Tensor]) -> None:
        """Give other callbacks all keys of these windows after a validation run without a report."""
        for window in windows:
            self._offer(window, dict.fromkeys(scalars(self.link), math.nan), watched)

    def _offer(self, window: WindowKey, values: dict[str, float], watched: MutableMapping[str, Tensor]) -> None:
        tags, key = group(window.stage, self.name), window_tag(window, self.name)
        self._watched[key] = watchable(values, self._watched.get(key, {}))
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)  # half precision rounds the values
        tensors = {name: torch.tensor(value, dtype=dtype) for name, value in self._watched[key].items()}
        watched.update({f"{tags}/{name}{window.suffix}": value for name, value in tensors.items()})

    def _asked(self, logger: ScalarLogger, question: Callable[[ScalarLogger], bool], what: str) -> bool:
        """Whether a logger has an ability; False if the question fails. The question may make the logger open its first file."""
        answer = False

        def ask() -> None:
            nonlocal answer
            answer = question(logger)

        self._write(logger, what, ask)
        return answer

    def _write(self, logger: ScalarLogger, what: str, write: Callable[[], None]) -> None:
        """Write one item, and turn a failure into a warning.

        Loggers write on one process only. An exception there would leave the other processes waiting.
        """
        if (logger, what) in self._failed or self.write_error(logger) is not None:
            return
        try:
            with _at_once(logger), rows_saved_at_once(logger):
                write()
        except Exception as error:
            _logger.debug("The failure that ended logging:", exc_info=True)
            cause = error.__cause__ or error  # Lightning's loggers wrap the error in their own guess at its cause
            if isinstance(cause, OSError) and cause.errno is not None:  # from the system: a full disk, a folder that is gone
                self._unwritable.append((logger, _without_frames(cause)))
                self._warn_of_failure(f"writing to {type(logger).__name__} failed and is off for the rest of this run", cause)
            else:
                gone = f"writing {what} to {type(logger).__name__} failed and is off for the rest of this run"
                self._fail(logger, what, gone, cause)

    def write_error(self, logger: ScalarLogger) -> OSError | None:
        """The error because of which a logger gets nothing for the rest of the run; None if there was none."""
        return next((error for other, error in self._unwritable if other is logger), None)

    def _fail(self, logger: ScalarLogger | None, what: str, gone: str, error: BaseException) -> None:
        self._failed.append((logger, what))
        self._warn_of_failure(gone, error)

    def _warn_of_failure(self, gone: str, cause: BaseException) -> None:
        self._warn(f"{gone}. Reports are still in `last_report`. The error: {in_one_line(cause)}")

    def _warn_of_undefined(self, tags: str, report: GapReport) -> None:
        """Warn once of each undefined scalar, with the reason; log once for each window that there is no verdict."""
        by_reason: dict[str, list[str]] = {}
        for name, why in report.undefined.items():
            if name in report.scalars and name not in {*SHARES, *self._told}:
                self._told.add(name)
                by_reason.setdefault(why, []).append(name)
        if by_reason:
            undefined = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
            self._warn(
                f"{tags}: undefined scalars: {undefined}. Loggers get no value for them. Callbacks that watch them get the last "
                "defined value or, if there is none, 1 for gaps and 0 for others."
            )
        no_verdict = report.undefined.get(SHARES[0])
        if no_verdict is not None and tags not in self._told:
            self._told.add(tags)
            self._inform(f"{tags}: no verdict on pairs: {no_verdict}. Until there is one, no pair is flagged and alerts wait.")


def _at_once(logger: ScalarLogger) -> contextlib.AbstractContextManager[None]:
    """`written_at_once`, imported late because it imports TensorBoard; without TensorBoard, a logger writes as it does."""
    try:
        from lightning_cossim.loggers.event_files import written_at_once
    except ImportError:
        return contextlib.nullcontext()
    return written_at_once(logger)


def _without_frames(error: OSError) -> OSError:
    """The error without its traceback and its causes: their frames keep the Trainer, the model and a batch alive."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _write_all(logger: ScalarLogger, writes: Iterable[Write]) -> None:
    for write in writes:
        write(logger)


def log_scalars(loggers: Iterable[ScalarLogger], group: str, scalars: Mapping[str, float], step: int, suffix: str = "") -> None:
    """Write the defined scalars of a group at one step.

    NaN is not written, so that an undefined value leaves a hole in the curve instead of an old value.

    Args:
        loggers: loggers to write to.
        group: first part of each tag.
        scalars: name to value; NaN means undefined.
        step: the x of the curves.
        suffix: last part of each tag.
    """
    defined = {f"{group}/{name}{suffix}": value for name, value in scalars.items() if not math.isnan(value)}
    for logger in loggers:
        logger.log_metrics(metrics=defined, step=step)  # by keyword, as Lightning calls it


def band(report: GapReport) -> dict[str, float]:
    """The bounds of the 95 % interval of the cosine's rank agreement with the overlap.

    Returns:
        The scalar's name with `_low` and with `_high`, each to its bound; empty if the scalar has no standard error.
    """
    name = f"rank_agreement_{report.ladder.cosine}"
    if name not in report.intervals:
        return {}
    low, high = report.intervals[name]
    return {f"{name}_low": low, f"{name}_high": high}


def watchable(scalars: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """The scalars without NaN, because callbacks that watch a metric raise an error for NaN.

    Args:
        scalars: name to value; NaN means undefined.
        before: name to the last defined value.

    Returns:
        Name to value. An undefined scalar has its value from `before` or, if there is none, 1 for gaps and 0 for others.
    """
    return {
        name: before.get(name, 1.0 if name in GAPS else 0.0) if math.isnan(value) else value for name, value in scalars.items()
    }
