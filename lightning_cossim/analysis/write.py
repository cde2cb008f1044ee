"""Write: save a report as Markdown, text, JSON and CSV, and as TensorBoard events for the pages and the tab."""

import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_cossim.analysis.analyze import File
from lightning_cossim.config.settings import Display
from lightning_cossim.errors import CheckpointError
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import Context, GapReport, WindowKey

__all__ = ["write_analysis"]


class _Events:
    """A minimal logger that writes one TensorBoard run."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.experiment = SummaryWriter(str(folder))

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write scalars at a step."""
        for tag, value in metrics.items():
            self.experiment.add_scalar(tag, value, step)


def write_analysis(report: GapReport, folder: File, *, display: Display = Display(), warn: Callable[[str], None]) -> list[Path]:
    """Write a report to a folder: `report.md`, `report.txt`, JSON, CSV and TensorBoard events.

    The files are first written beside the folder and then moved, so an error never leaves a file that is half-written.

    Args:
        report: the report, with its verdict.
        folder: the folder of the files; it is created if needed. Files with the same names, and earlier events, are replaced.
        display: the settings of the events and of the tables.
        warn: a function that gets a message for each part that could not be written.

    Returns:
        The paths of the files.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
            made = Path(name)
            _write(report, made, display, warn)
            for earlier in folder.glob("events.out.tfevents.*"):  # TensorBoard would show both runs
                earlier.unlink()
            return [Path(shutil.move(str(path), str(folder / path.name))) for path in sorted(made.iterdir())]
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a writable folder, got {error.strerror or error}.") from error


def _write(report: GapReport, folder: Path, display: Display, warn: Callable[[str], None]) -> None:
    logger = _Events(folder)
    context = Context(WindowKey("analysis"), report.step, report.context.names, math.nan)
    written = GapReport(report.statistics, context, report.verdict, report.extras)
    publisher = Publisher(report.link, None, Pages(display, None, _ignore), warn=warn, inform=_ignore_text)
    publisher.publish(written, [logger], {})
    publisher.publish_steps([written], [logger])
    publisher.publish_pictures(written, [logger])
    publisher.publish_files([written], [logger])
    logger.experiment.close()
    (folder / "report.md").write_text(f"{report.to_markdown(top=display.max_pairs)}\n", encoding="utf-8")
    (folder / "report.txt").write_text(f"{report}\n", encoding="utf-8")


def _ignore() -> None:
    pass


def _ignore_text(_: str) -> None:
    pass
