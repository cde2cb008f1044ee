"""Statistics: the numbers of a report, computed from its table of pairs, each with the reason where it is undefined."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison, Statistic, mean_over_pairs, stepped_up_reliability
from lightning_cossim.functional.rankings import Rankings
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.report.pair_table import PairTable

__all__ = ["NUM_NEIGHBORS", "TOP_SHARE", "Numbers", "Statistics"]

TOP_SHARE: Final = 0.05
"""Of the pairs, those that `top_pair_auroc` looks for."""
NUM_NEIGHBORS: Final = 5
"""Neighbors of a label that `neighbor_jaccard` looks at."""
_OF_WEIGHTS: Final = frozenset({"gap_translation", "common_mode_ratio"})
"""Scalars that want no inputs."""


@dataclass(frozen=True)
class Numbers:
    """What is computed over the pairs that count. Values are NaN where `undefined` says why."""

    scalars: Mapping[str, float]
    """Tag without its group to value."""
    rank_agreement: Mapping[str, float]
    """Similarity to its rank agreement with the overlap."""
    top_pair_auroc: Mapping[str, float]
    """Similarity to how well it finds the twentieth of the pairs that overlap most; .5 is chance."""
    neighbor_jaccard: Mapping[str, float]
    """Similarity to how far a label's five nearest neighbors are those by overlap."""
    undefined: Mapping[str, str]
    """Scalar, or other statistic and its similarity (`top_pair_auroc_raw_cosine`), to the reason why it is NaN."""
    standard_errors: Mapping[str, float]
    """Scalar, or `rank_agreement_raw_cosine` and the like, to the standard error that drawing a sample of the pairs leaves.

    Inputs are held fixed; empty where all pairs were compared."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What one window says about its labels."""

    table: PairTable
    expected_overlap: Tensor
    """(P,), the overlap that pairs with this cosine have; the centered one, the raw one where rows are not centered."""
    numbers: Numbers
    remarks: Mapping[str, str]
    """What a reader should know of the head and its inputs, kind to text."""
    rankings: Rankings | None = None
    """The cosines between differences of the most probable labels: they decide which orders of labels there can be."""

    @classmethod
    def of(
        cls,
        table: PairTable,
        halves: tuple[Tensor, Tensor],
        *,
        common_mode_ratio: float,
        remarks: Mapping[str, str],
        rankings: Rankings | None = None,
    ) -> "Statistics":
        """The statistics of a table of pairs.

        Args:
            table: what was measured.
            halves: the overlap of either half of the inputs, (P,) each, on the CPU.
            common_mode_ratio: at least 0; counts where rows are centered.
            remarks: kind to text.
            rankings: of the head's most probable labels.
        """
        ladder, rungs, pairs, overlap = table.ladder, table.rungs, table.compared, table.rungs["overlap"]
        compared: dict[str, Comparison] = {}
        for key in ladder.similarities:
            similarity = SIMILARITIES[key].direction * rungs[key]
            compared[key] = Comparison(similarity, overlap, pairs, compared.get("raw_cosine"))
        explained = {key: comparison.explained for key, comparison in compared.items()}
        behavior = explained[ladder.cosine]
        found = {f"explained_{key}": statistic for key, statistic in explained.items()}
        found |= {
            gap: mean_over_pairs((rungs[one] - rungs[other]).abs(), pairs, "both similarities")
            for gap, (one, other) in ladder.gaps.items()
        }
        found["gap_behavior"] = behavior._replace(value=1 - behavior.value)
        first, second = (half.masked_fill(overlap.isnan(), torch.nan) for half in halves)
        found["reliability"] = stepped_up_reliability(first, second, pairs)
        found["overlap_mean"] = mean_over_pairs(overlap, pairs, "an overlap")
        if ladder.is_centered:
            found["common_mode_ratio"] = _common_mode(common_mode_ratio, table.num_live)
        by_similarity = {
            "rank_agreement": {key: comparison.rank_agreement for key, comparison in compared.items()},
            "top_pair_auroc": {key: comparison.top_pair_auroc(TOP_SHARE) for key, comparison in compared.items()},
            "neighbor_jaccard": {key: comparison.neighbor_jaccard(NUM_NEIGHBORS) for key, comparison in compared.items()},
        }
        every = found | {f"{name}_{key}": one for name, values in by_similarity.items() for key, one in values.items()}
        undefined = {
            name: statistic.undefined if name in _OF_WEIGHTS else table.nothing_seen or statistic.undefined
            for name, statistic in every.items()
            if statistic.undefined is not None
        }
        errors = {name: one.standard_error for name, one in every.items() if one.standard_error is not None}
        values = {name: _values(statistics) for name, statistics in by_similarity.items()}
        numbers = Numbers(_values(found), **values, undefined=undefined, standard_errors=errors)
        return cls(table, compared[ladder.cosine].expected, numbers, remarks, rankings)

    def with_numbers(self, numbers: Numbers) -> "Statistics":
        """The same, with numbers that several processes agreed on: each computes them, to the last digit perhaps differently."""
        return self if numbers is self.numbers else replace(self, numbers=numbers)

    def with_remark(self, kind: str, text: str) -> "Statistics":
        """The same, with one more remark."""
        return replace(self, remarks={**self.remarks, kind: text})

    @property
    def gap(self) -> Tensor:
        """(P,), overlap minus expected overlap."""
        return self.table.rungs["overlap"] - self.expected_overlap

    @property
    def reliability(self) -> float:
        """How far the overlaps would come out the same with other inputs, in [0, 1]; NaN where undefined."""
        return self.numbers.scalars["reliability"]


def _common_mode(value: float, num_live: int) -> Statistic:
    equal = "all rows of the head are equal" if num_live > 1 else "only one label is live"
    return Statistic(
        torch.tensor(value, dtype=torch.float64), (equal if num_live else "no label is live") if math.isnan(value) else None
    )


def _values(statistics: Mapping[str, Statistic]) -> dict[str, float]:
    return {name: statistic.value.item() for name, statistic in statistics.items()}
