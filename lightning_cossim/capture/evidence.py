"""EvidenceKeeper: keeps the inputs behind the numbers of pairs while windows are open, and gives them to the reports.

For every input it computes the most likely labels, passes them with a reference to an `EvidenceStore`, and keeps a thumbnail or a
text of the inputs that the store wants. Shapes: N observed inputs of a batch, K labels.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.evidence_store import EvidenceStore, Inputs, Selection, merged
from lightning_cossim.capture.head import Observation
from lightning_cossim.capture.references import DatasetOrder, ids_in, num_rows, origins_of
from lightning_cossim.capture.views import Viewer
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.errors import InputError, in_one_line
from lightning_cossim.functional.joint import NUM_LIKELY
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.most_likely import most_likely
from lightning_cossim.report import WindowKey
from lightning_cossim.report.evidence import View

__all__ = ["EvidenceKeeper", "Place"]

_ROW_BITS: Final = 32
_POSITION_BITS: Final = 22


class Place(NamedTuple):
    """Where a batch comes from."""

    loader: int | None = None
    """Index of the data loader."""
    batch: int | None = None
    """Index of the batch in its epoch."""
    order: DatasetOrder | None = None
    """The order in which the loader reads its dataset."""


class EvidenceKeeper:
    """Keeps inputs for every open window of one head.

    A failure costs the evidence of this process for the rest of the run and one warning, nothing else.

    Args:
        settings: what is kept.
        num_labels: K.
        link: from logits to probabilities.
        viewer: makes thumbnails and texts; None: only references are kept.
        warn: warns the user.
    """

    def __init__(
        self, settings: Evidence, num_labels: int, link: Link, viewer: Viewer | None, warn: Callable[[str], None]
    ) -> None:
        self._settings, self._num_labels, self._link, self._viewer, self._warn = settings, num_labels, link, viewer, warn
        self._windows: dict[WindowKey, _Window] = {}
        self._flagged: dict[WindowKey, list[tuple[int, int]]] = {}
        """The flagged pairs of the last report of each window."""
        self._works = True

    def open(self, key: WindowKey) -> None:
        """Begin a window."""
        self._windows[key] = _Window(self._settings, self._num_labels, self._flagged.get(key, ()))

    def drop(self, key: WindowKey) -> None:
        """End a window without a report."""
        self._windows.pop(key, None)

    def add(self, key: WindowKey, seen: Observation, batch: Any, place: Place) -> None:
        """Add the inputs of an observation, whose batch came from `place`."""
        if not self._works or seen.logits is None or key not in self._windows:
            return
        try:
            self._windows[key].add(seen, batch, place, self._link, self._viewer)
        except Exception as error:  # noqa: BLE001 - the report needs no evidence
            self._works = False
            for window in self._windows.values():
                window.clear()
            why = str(error) if isinstance(error, InputError) else in_one_line(error)
            self._warn(f"keeping inputs as evidence failed and is off for the rest of this run. The error: {why}")

    def close(self, key: WindowKey, pairs: Sequence[tuple[int, int]], flagged: Sequence[tuple[int, int]], processes: Processes) -> Any:
        """End a window, and return what all processes kept for some pairs. All processes must call this with the same pairs."""
        self._flagged[key] = list(flagged)
        window = self._windows.pop(key)
        selections = processes.gathered(processes.together(lambda: window.store.select(pairs)))
        return selections


class _Window:
    """What one window keeps."""

    def __init__(self, settings: Evidence, num_labels: int, first: Sequence[tuple[int, int]]) -> None:
        raise NotImplementedError
