"""EvidenceKeeper: keeps the inputs behind the numbers of pairs while windows are open, and gives them to the reports."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.evidence.examples import pairs_with
from lightning_cossim.capture.evidence.noted import NotedBatch
from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.selection import Selection, merged
from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.capture.evidence.window import EvidenceWindow
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import LabelSimilarityError, expected, in_one_line
from lightning_cossim.functional.links import Link
from lightning_cossim.report import WindowKey
from lightning_cossim.report.evidence import PairsWithEvidence
from lightning_cossim.report.tables import printable
from lightning_cossim.report.wanted_pairs import WantedPairs

__all__ = ["EvidenceKeeper"]

T = TypeVar("T")


class EvidenceKeeper:
    """Keeps inputs for every open window of one head.

    A failure costs the evidence of this process for the rest of the run and one warning, nothing else.

    Args:
        settings: what is kept.
        num_labels: K.
        link: from logits to probabilities.
        viewer: makes thumbnails and texts; None: only references are kept.
        warn: warns the user.
        is_vocabulary: whether the head has so many labels that reports compare a sample of the pairs.
    """

    def __init__(
        self,
        settings: Evidence,
        num_labels: int,
        link: Link,
        viewer: Viewer | None,
        warn: Callable[[str], None],
        *,
        is_vocabulary: bool = False,
    ) -> None:
        self._settings, self._num_labels, self._link, self._viewer, self._warn = settings, num_labels, link, viewer, warn
        self._is_vocabulary = is_vocabulary
        self._windows: dict[WindowKey, EvidenceWindow] = {}
        self._flagged: dict[WindowKey, Sequence[tuple[int, int]]] = {}
        """The flagged pairs of the last report of each window. Their inputs come first."""
        self._works, self._told_of_room = True, False

    @classmethod
    def of(
        cls, settings: Evidence, head: Head, labels: LabelSelection, *, with_views: bool, warn: Callable[[str], None]
    ) -> "EvidenceKeeper":
        """The keeper for a head.

        Args:
            settings: what is kept.
            head: the head.
            labels: the names of the labels, which are the tokens of a language model, and `max_tracked`.
            with_views: whether thumbnails and texts are kept.
            warn: warns the user.
        """
        names, has_names = labels.read_names(head.num_labels), labels.names is not None
        viewer = Viewer(settings, names, has_names=has_names, warn=warn) if with_views else None
        is_vocabulary = head.num_labels > labels.max_tracked
        return cls(settings, head.num_labels, head.response.link, viewer, warn, is_vocabulary=is_vocabulary)

    def open(self, key: WindowKey) -> None:
        """Begin a window."""
        first, is_vocabulary = self._flagged.get(key, ()), self._is_vocabulary
        window = self._guarded(lambda: EvidenceWindow(self._settings, self._num_labels, first, is_vocabulary=is_vocabulary))
        window = window or self._empty()
        self._windows[key] = window
        if self._works and self._settings.max_bytes and not window.has_room and not self._told_of_room:
            self._told_of_room = True
            wanted = f"of `Evidence` to have room for the inputs of {self._num_labels} labels"
            self._warn(expected("max_bytes", wanted, self._settings.max_bytes, "No inputs are kept. The default is 64000000."))

    def drop(self, key: WindowKey) -> None:
        """End a window without a report."""
        self._windows.pop(key, None)

    def noted(self, batch: Any) -> NotedBatch | None:
        """The batch as it is before the step; None if evidence is off."""
        return self._guarded(lambda: NotedBatch.of(batch, self._settings.ids_key))

    def add(self, key: WindowKey, seen: Observation, batch: Any, place: Place) -> None:
        """Add the inputs of an observation.

        Args:
            key: the window.
            seen: the observation.
            batch: the batch, or what `noted` returned for it before the step.
            place: where the batch comes from.
        """
        logits = seen.logits
        if self._works and key in self._windows and logits is not None and len(logits):
            noted = batch if isinstance(batch, NotedBatch) else self.noted(batch)
            if noted is not None:
                self._guarded(lambda: self._windows[key].add(seen, logits, noted, place, self._link, self._viewer))

    def close(
        self,
        key: WindowKey,
        wanted: WantedPairs,
        names: Sequence[str],
        processes: Processes,
    ) -> PairsWithEvidence:
        """End a window, and return what all processes kept for some pairs. All processes must call this with the same pairs.

        In the next window with this key, the inputs of flagged pairs come first.

        Args:
            key: the window.
            wanted: the pairs.
            names: (K,), the names of the labels.
            processes: the processes that train together.
        """
        self._flagged[key], pairs = wanted.flagged, wanted.pairs
        window = self._windows.pop(key, None) or self._empty()
        kept = self._guarded(lambda: window.select(pairs)) or self._empty().select(pairs)
        has_rows = all(processes.each(int(window.has_rows)))
        has_positions = all(processes.each(int(window.has_positions)))
        of_all = processes.gathered(kept if has_rows else kept.without_rows())

        def joined() -> Selection:
            selection = merged(of_all, self._settings.per_pair)
            return selection if has_positions else selection.without_positions()

        selection = processes.together(joined)
        viewer = self._viewer
        mine = selection.inputs.number[selection.inputs.process == processes.rank].tolist()
        found = self._guarded(lambda: window.details(mine, viewer, has_rows=has_rows, has_positions=has_positions)) or ({}, {})
        details = processes.gathered(found)
        shown = processes.together(lambda: [pair for pair in pairs_with(selection, details, names) if pair.examples])
        return PairsWithEvidence(shown)

    def stop(self, error: Exception) -> None:
        """Keep nothing for the rest of the run, and warn of the failure."""
        self._works = False
        for key in self._windows:
            self._windows[key] = self._empty()
        why = printable(str(error) if isinstance(error, LabelSimilarityError) else in_one_line(error))
        self._warn(f"keeping inputs as evidence failed and is off for the rest of this run. The error: {why}")

    def _empty(self) -> "EvidenceWindow":
        return EvidenceWindow(Evidence(max_bytes=0), self._num_labels)

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """The result of the work; None if it fails, now or before."""
        if not self._works:
            return None
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - reports do not need evidence
            self.stop(error)
            return None
