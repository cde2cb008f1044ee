"""Pages: the views of a report beside its curves, each drawn once and then written to every logger that can show it."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, Final, Literal

from torch import triu_indices

from lightning_cossim.config import Display
from lightning_cossim.report import GapReport, Pair, as_page
from lightning_cossim.reporting import tensorboard
from lightning_cossim.reporting.figures import MAX_LABELS, heatmaps, label_order, scatter
from lightning_cossim.reporting.tags import picture_group, suffix
from lightning_cossim.thresholds import Thresholds

__all__ = ["VIEWS", "Pages", "View", "Write"]

View = Literal["heatmaps", "scatter", "tables", "histograms"]
VIEWS: Final[tuple[View, ...]] = ("heatmaps", "scatter", "tables", "histograms")
Write = Callable[[Any], None]
"""Writes something to a logger."""

MIN_LABELS: Final = 15
"""From which on a histogram says more than a table."""


class Pages:
    """Draws views of reports; remembers one order of labels for all heatmaps.

    Args:
        display: which views, and how long tables are.
        thresholds: the reports are judged by.
        name: goes into the tags.
        lacks_glyphs: told when names hold characters that the font does not have.
    """

    def __init__(self, display: Display, thresholds: Thresholds, name: str | None, lacks_glyphs: Callable[[], None]) -> None:
        self.display, self.thresholds, self.name, self._lacks_glyphs = display, thresholds, name, lacks_glyphs
        self.order: list[int] | None = None
        """Labels of the head that heatmaps show, in their order; None before the first."""

    @property
    def views(self) -> tuple[View, ...]:
        """Those that are wanted."""
        return tuple(view for view in VIEWS if getattr(self.display, view))

    def draw(self, view: View, report: GapReport) -> list[Write]:
        """What a view writes to every logger."""
        drawn: dict[View, Callable[[GapReport], Iterator[Write]]] = {
            "heatmaps": self._heatmaps,
            "scatter": self._scatter,
            "tables": self._tables,
            "histograms": self._histograms,
        }
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            writes = list(drawn[view](report))
        if any("missing from" in str(warning.message) for warning in caught):
            self._lacks_glyphs()
        return writes

    def _tag(self, report: GapReport, kind: str, what: str) -> str:
        return f"{picture_group(report.stage, kind, self.name)}/{what}{suffix(report.dataloader_idx)}"

    def _heatmaps(self, report: GapReport) -> Iterator[Write]:
        place = {label: index for index, label in enumerate(report.labels)}
        order = self.order or ()
        if not ({*order} <= {*place} and len(order) == min(len(place), MAX_LABELS)):
            self.order = order = [report.labels[index] for index in label_order(report)]
        for what, pixels in heatmaps(report, [place[label] for label in order]):
            tag = self._tag(report, "heatmap", what)
            yield partial(tensorboard.write_image, tag=tag, pixels=pixels, step=report.step)

    def _scatter(self, report: GapReport) -> Iterator[Write]:
        if report.num_pairs:
            tag = self._tag(report, "scatter", report.ladder.cosine)
            yield partial(tensorboard.write_image, tag=tag, pixels=scatter(report, self.thresholds), step=report.step)

    def _tables(self, report: GapReport) -> Iterator[Write]:
        top = self.display.max_pairs
        columns = [field.name for field in fields(Pair) if field.name not in report.absent]
        pairs = [*report.pairs("strangers", top=top), *report.pairs("lookalikes", top=top)] or report.pairs(top=top)
        rows = [[getattr(pair, column) for column in columns] for pair in pairs]
        tag = self._tag(report, "pairs", "strangers_and_lookalikes")
        markdown = as_page(report, top)
        yield partial(tensorboard.write_table, tag=tag, markdown=markdown, columns=columns, rows=rows, step=report.step)

    def _histograms(self, report: GapReport) -> Iterator[Write]:
        if int(report.kept.sum()) < MIN_LABELS:
            return
        row, column = triu_indices(len(report.names), len(report.names), offset=1)
        cosine = report.ladder.cosine
        for what, matrix in {cosine: report.rungs[cosine], "overlap": report.rungs["overlap"], "gap": report.gap}.items():
            values = matrix[row, column]
            tag = self._tag(report, "histogram", what)
            yield partial(tensorboard.write_histogram, tag=tag, values=values[values.isfinite()], step=report.step)
