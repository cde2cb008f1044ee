"""Write: save a report as Markdown, text, JSON and CSV, and as TensorBoard events for the pages and the tab."""

import contextlib
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from lightning_cossim.analysis.analyze import File
from lightning_cossim.config.settings import Display
from lightning_cossim.errors import CheckpointError, expected
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import Context, GapReport, WindowKey

__all__ = ["check_folder", "write_analysis"]

_RUN: Final = "cossim_analysis"
"""Name of the folder that holds the files; for TensorBoard, a run."""
_SUFFIX: Final = ".cossim_analysis"
_EVENTS: Final = f"events.out.tfevents.*{_SUFFIX}"
"""Pattern of the names of event files. The suffix tells them from the event files of a training."""
_REPORTS: Final = ("report.md", "report.txt", f"{_RUN}.csv", f"{_RUN}.json", f"{_RUN}_evidence.csv")
"""Names of all other files."""


class _TensorBoard:
    """A minimal logger that writes one event file."""

    def __init__(self, folder: Path) -> None:
        from lightning_cossim.loggers.event_files import EventFile

        self.experiment = EventFile(folder, _SUFFIX)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write scalars at a step."""
        for tag, value in metrics.items():
            self.experiment.add_scalar(tag, value, step)


def check_folder(folder: File) -> Path:
    """The folder as a path, if `write_analysis` may write there. Nothing is created.

    Raises:
        CheckpointError: the name is empty, or something else than a folder or one of our files stands in the way.
    """
    if not os.fspath(folder):
        raise CheckpointError(expected("out", "to be a folder", "an empty name", "Pass `--out .` for the current folder."))
    folder = Path(folder)
    run = folder / _RUN
    for path in (folder, run):
        if _exists(path) and not path.is_dir():
            raise CheckpointError(f"{path}: expected a folder, got a file.")
    for path in _ours(run):
        if not stat.S_ISREG(path.lstat().st_mode):
            remedy = "Move it, or choose another folder."
            raise CheckpointError(f"{path}: expected a regular file or none, got a folder, a link or a device. {remedy}")
    return folder


def write_analysis(report: GapReport, folder: File, *, display: Display = Display(), warn: Callable[[str], None]) -> list[Path]:
    """Write a report to the subfolder `cossim_analysis`: `report.md`, `report.txt`, JSON, CSV and TensorBoard events.

    All files are first written to a temporary folder inside `folder`, and then replace those of an earlier analysis. On an error,
    or Ctrl-C, the earlier files are as they were. No other file is touched.

    Args:
        report: the report, with its verdict.
        folder: a folder that can be written; it is created if needed.
        display: the settings of the events and of the tables.
        warn: a function that gets a message for each part that could not be drawn.

    Returns:
        The paths of the files.

    Raises:
        CheckpointError: the folder or a file cannot be written.
    """
    folder = check_folder(folder)
    warnings: list[str] = []
    try:
        with _created(folder), tempfile.TemporaryDirectory(dir=folder, prefix=f".{_RUN}-") as name:
            made, kept = Path(name, "made"), Path(name, "kept")
            made.mkdir()
            _write(report, made, display, warnings.append)
            with _created(folder / _RUN):
                written = _put(made, folder / _RUN, kept)
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a folder that can be written, got {error.strerror or error}.") from error
    for text in warnings:
        warn(text)
    return written


def _write(report: GapReport, folder: Path, display: Display, warn: Callable[[str], None]) -> None:
    """Write all files to an empty folder; raises `OSError` if one of them cannot be written completely."""
    (folder / "report.md").write_text(f"{report.to_markdown(top=display.max_pairs)}\n", encoding="utf-8")
    (folder / "report.txt").write_text(f"{report}\n", encoding="utf-8")
    logger = _TensorBoard(folder)
    with contextlib.closing(logger.experiment):
        context = Context(WindowKey("analysis"), report.step, report.context.names, math.nan)
        written = GapReport(report.statistics, context, report.verdict, report.extras)
        publisher = Publisher(report.link, None, Pages(display, None, _ignore), warn=warn, inform=_ignore_text, in_run=False)
        publisher.publish(written, [logger], {})
        publisher.publish_steps([written], [logger])
        publisher.publish_pictures(written, [logger])
        publisher.publish_files([written], [logger])
        error = publisher.write_error(logger)
        if error is not None:
            raise error


@contextlib.contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create a folder and its parents. If the work in this context fails, remove those that were created."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # not empty any more, or never created
                path.rmdir()
        raise


def _put(made: Path, run: Path, kept: Path) -> list[Path]:
    """Move the files in `made` to `run`, then remove the other files of an earlier analysis there.

    Args:
        made: the new files.
        run: where they go.
        kept: a folder for copies of the earlier files, from which a failure restores them.
    """
    kept.mkdir()
    earlier = _ours(run)
    for path in earlier:
        shutil.copy2(path, kept)
    new = sorted(path.name for path in made.iterdir())
    try:
        for name in new:
            (made / name).replace(run / name)
        for path in earlier:
            if path.name not in new:
                path.unlink(missing_ok=True)
    except BaseException:
        for name in new:
            if not (made / name).exists() and not (kept / name).exists():
                (run / name).unlink(missing_ok=True)
        for copy in kept.iterdir():
            copy.replace(run / copy.name)
        raise
    return [run / name for name in new]


def _ours(run: Path) -> list[Path]:
    """What has the name of one of our files."""
    return [path for path in (*sorted(run.glob(_EVENTS)), *(run / name for name in _REPORTS)) if _exists(path)]


def _exists(path: Path) -> bool:
    """Whether there is anything with this path, a broken link too.

    Raises:
        CheckpointError: it is unknown, because a folder may not be searched or the name is not valid.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a path that can be written, got {getattr(error, 'strerror', error)}.") from None
    return True


def _ignore() -> None:
    pass


def _ignore_text(_: str) -> None:
    pass
