"""Draw the views of a report once, and write them to every logger that can show them.

Views are heatmaps, scatter, tables, histograms and evidence.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal

from lightning_cossim.config.settings import Display
from lightning_cossim.loggers import writers
from lightning_cossim.loggers.contact_sheet import contact_sheet
from lightning_cossim.loggers.figures import MAX_LABELS, heatmaps, scatter
from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.tags import picture_group
from lightning_cossim.report import GapReport
from lightning_cossim.report.evidence_table import as_evidence_page, flagged_inputs
from lightning_cossim.report.export import columns_of, record_of
from lightning_cossim.report.text import as_page

__all__ = ["VIEWS", "Pages", "View", "Write"]

View = Literal["heatmaps", "scatter", "tables", "histograms", "evidence"]
VIEWS: Final[tuple[View, ...]] = ("heatmaps", "scatter", "tables", "histograms", "evidence")
Write = Callable[[Any], None]
"""Writes one item to the logger that it gets."""

MIN_LABELS: Final = 15
"""Fewest kept labels for which histograms are written; for fewer labels, the table is enough."""


class Pages:
    """Draws views of reports.

    Args:
        display: which views to draw, and the number of rows of tables.
        name: the monitor's name, which is part of the tags; None: none.
        lacks_glyphs: function to call if the font lacks characters of the names.
    """

    def __init__(self, display: Display, name: str | None, lacks_glyphs: Callable[[], None]) -> None:
        self.display, self.name, self._lacks_glyphs = display, name, lacks_glyphs
        self.order = LabelOrder()
        """The order of labels in all heatmaps, the tab's included."""

    @property
    def views(self) -> tuple[View, ...]:
        """The views that `display` enables."""
        return tuple(view for view in VIEWS if getattr(self.display, view))

    def draw(self, view: View, report: GapReport) -> list[Write]:
        """Draw a view of a report.

        Returns:
            Functions that take a logger and write one item to it.
        """
        drawn: dict[View, Callable[[GapReport], Iterator[Write]]] = {
            "heatmaps": self._heatmaps,
            "scatter": self._scatter,
            "tables": self._tables,
            "histograms": self._histograms,
            "evidence": self._evidence,
        }
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            writes = list(drawn[view](report))
        if any("missing from" in str(warning.message) for warning in caught):
            self._lacks_glyphs()
        return writes

    def _tag(self, report: GapReport, kind: str, what: str) -> str:
        return f"{picture_group(report.stage, kind, self.name)}/{what}{report.window.suffix}"

    def _heatmaps(self, report: GapReport) -> Iterator[Write]:
        for what, pixels in heatmaps(report, self.order.places(report, MAX_LABELS)):
            tag = self._tag(report, "heatmap", what)
            yield partial(writers.write_image, tag=tag, pixels=pixels, step=report.step)

    def _scatter(self, report: GapReport) -> Iterator[Write]:
        if report.num_pairs:
            tag = self._tag(report, "scatter", report.ladder.cosine)
            yield partial(writers.write_image, tag=tag, pixels=scatter(report), step=report.step)

    def _tables(self, report: GapReport) -> Iterator[Write]:
        top = self.display.max_pairs
        columns = columns_of(report)
        pairs = [*report.pairs("strangers", top=top), *report.pairs("lookalikes", top=top)] or report.pairs(top=top)
        rows = [list(record_of(report, pair).values()) for pair in pairs]
        tag = self._tag(report, "pairs", "strangers_and_lookalikes")
        markdown = as_page(report, top)
        yield partial(writers.write_table, tag=tag, markdown=markdown, columns=columns, rows=rows, step=report.step)

    def _histograms(self, report: GapReport) -> Iterator[Write]:
        if int(report.kept.sum()) < MIN_LABELS:
            return
        cosine = report.ladder.cosine
        for what, values in {cosine: report.rungs[cosine], "overlap": report.rungs["overlap"], "gap": report.gap}.items():
            tag = self._tag(report, "histogram", what)
            known = values.isfinite()
            weights = None if report.compared.weight is None else report.compared.weight[known]
            yield partial(writers.write_histogram, tag=tag, values=values[known], weights=weights, step=report.step)

    def _evidence(self, report: GapReport) -> Iterator[Write]:
        """A contact sheet of the pictures behind flagged pairs or, without pictures, a table of texts and references."""
        tag, with_views = self._tag(report, "evidence", "flagged_pairs"), self.display.evidence is True
        pixels = contact_sheet(report) if with_views else None
        if pixels is not None:
            yield partial(writers.write_image, tag=tag, pixels=pixels, step=report.step)
            return
        markdown = as_evidence_page(report, with_texts=with_views)
        if markdown:
            columns, rows = flagged_inputs(report, with_texts=with_views)
            yield partial(writers.write_table, tag=tag, markdown=markdown, columns=columns, rows=rows, step=report.step)
