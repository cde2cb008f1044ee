"""The order of labels in heatmaps: one order for the pictures and for TensorBoard's tab.

Shapes: L labels of a report.
"""

from typing import Any, Final

import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from lightning_cossim.config.checks import saved_count
from lightning_cossim.report import GapReport

__all__ = ["LabelOrder", "label_order"]

_MOST: Final = 140
"""Largest number of labels that are ordered: as many as a step of the tab can have with all their pairs."""
_MOST_SAMPLED: Final = 100
"""The same if the report has a sample of the pairs: the sample has all pairs of this many labels."""


class LabelOrder:
    """Keeps one order of labels for all heatmaps of a run, so that steps and views can be compared.

    Labels that were ordered before keep their order, and new labels go last. If more than a third of the labels are new or
    gone, all are ordered again.
    """

    def __init__(self) -> None:
        self._rows: list[int] = []
        """Rows of the head, in order."""

    def start_fit(self) -> None:
        """Forget the order. Call it when a fit starts that does not resume an earlier one."""
        self._rows = []

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as Python builtins."""
        return {"order": list(self._rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. If an entry is wrong, it raises an exception and changes nothing."""
        self._rows = list(dict.fromkeys(saved_count(row, "order") for row in state["order"]))

    def places(self, report: GapReport, most: int) -> list[int]:
        """The most probable labels of a report, in order.

        Args:
            report: the report with the labels.
            most: largest number of labels, at least 1.

        Returns:
            Places of labels in the report, at most `most`.
        """
        rows, place = report.labels, {row: index for index, row in enumerate(report.labels)}
        num = _MOST_SAMPLED if report.sampling else _MOST
        present = {rows[index] for index in _most_probable(report, num)}
        if not present:
            return []
        staying = [row for row in self._rows if row in present]
        if 3 * len(staying) < 2 * max(len(present), len(self._rows)):
            self._rows = [rows[index] for index in label_order(report, num)]
        else:
            self._rows = [*staying, *sorted(present - {*staying})]
        shown = {*_most_probable(report, most)}
        return [place[row] for row in self._rows if place.get(row) in shown]


def _most_probable(report: GapReport, most: int) -> list[int]:
    """Places of the most probable labels, at most `most`, ascending. Labels that are not kept count as least probable."""
    probable_L = report.mean_probs.nan_to_num(0).where(report.kept, -1)
    places: list[int] = probable_L.argsort(descending=True, stable=True)[:most].sort().values.tolist()
    return places


def label_order(report: GapReport, most: int) -> list[int]:
    """The most probable labels, such that labels that overlap are next to one another, by average linkage.

    Labels that are not kept come last.

    Args:
        report: the report with the labels.
        most: largest number of labels, at least 1.

    Returns:
        Places of labels in the report, at most `most`.
    """
    shown = torch.tensor(_most_probable(report, most), dtype=torch.int64)
    kept_L = report.kept[shown]
    kept = shown[kept_L]
    overlap = report.matrix("overlap", kept).double().nan_to_num(0)
    if len(kept) >= 3:
        distance = (1 - (overlap + overlap.T) / 2).clamp_(min=0).fill_diagonal_(0)
        tree = linkage(squareform(distance.numpy(), checks=False), "average", optimal_ordering=True)
        kept = kept[torch.from_numpy(leaves_list(tree)).long()]
    order: list[int] = torch.cat([kept, shown[~kept_L]]).tolist()
    return order
