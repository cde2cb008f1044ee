"""Statistics: the numbers of a report, computed from its table of pairs, each with the reason where it is undefined."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison, Statistic, mean_over_pairs, stepped_up_reliability
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.rankings import Rankings
from lightning_cossim.functional.replicates import Replicates
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.report.errors import MAX_PAIRS, intervals_of, scalar_errors
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
    top_pair_auroc: Mapping[str, float]
    """Similarity to how well it finds the twentieth of the pairs that overlap most; .5 is chance."""
    neighbor_jaccard: Mapping[str, float]
    """Similarity to how far a label's five nearest neighbors are those by overlap."""
    undefined: Mapping[str, str]
    """Scalar, or other statistic and its similarity (`top_pair_auroc_raw_cosine`), to the reason why it is NaN."""
    standard_errors: Mapping[str, float]
    """Scalar to its standard error, from the inputs (`Statistics.with_errors`) and from the pairs, where these are a sample."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Scalar to its interval of 95 %, from the same errors. Its middle is corrected for the bias of few inputs, so the
    scalar itself may lie outside."""

    @property
    def rank_agreement(self) -> Mapping[str, float]:
        """Similarity to its rank agreement with the overlap, which is a scalar of its own."""
        prefix = "rank_agreement_"
        return {name.removeprefix(prefix): value for name, value in self.scalars.items() if name.startswith(prefix)}


@dataclass(frozen=True, eq=False)
class Statistics:
    """What one window says about its labels."""

    table: PairTable
    expected_overlap: Tensor
    """(P,), the overlap that other pairs with this cosine have; the centered one, the raw one where rows are not centered."""
    expected_curve: Tensor
    """(P,), the same from all pairs, each itself included: it never falls with the cosine. For pictures."""
    overlap_error: Tensor
    """(P,), the standard error of every overlap, and of its gap; NaN where there are fewer than eight groups of inputs."""
    cosine_percentile: Tensor
    """(P,), in (0, 1]: the rank of every pair's cosine over the number of pairs; NaN for pairs that do not count."""
    replicates: Replicates
    """The overlaps without each block of the inputs."""
    numbers: Numbers
    remarks: Mapping[str, str]
    """What a reader should know of the head and its inputs, kind to text."""
    rankings: Rankings | None = None
    """The cosines between differences of the most probable labels: they decide which orders of labels there can be."""

    @classmethod
    def of(
        cls,
        table: PairTable,
        replicates: Replicates,
        *,
        common_mode_ratio: float,
        remarks: Mapping[str, str],
        rankings: Rankings | None = None,
    ) -> "Statistics":
        """The statistics of a table of pairs.

        Args:
            table: what was measured.
            replicates: the overlaps without each block of the inputs, on the CPU.
            common_mode_ratio: at least 0; counts where rows are centered.
            remarks: kind to text.
            rankings: of the head's most probable labels.
        """
        ladder, rungs, pairs, overlap = table.ladder, table.rungs, table.compared_rows, table.rungs["overlap"]
        compared: dict[str, Comparison] = {}
        for key in ladder.similarities:
            similarity = SIMILARITIES[key].direction * rungs[key]
            compared[key] = Comparison(similarity, overlap, pairs, compared.get("raw_cosine"))
        agreement = {key: comparison.rank_agreement for key, comparison in compared.items()}
        behavior = agreement[ladder.cosine]
        found = {f"rank_agreement_{key}": statistic for key, statistic in agreement.items()}
        found |= {f"explained_{key}": comparison.explained for key, comparison in compared.items()}
        found |= {
            gap: mean_over_pairs((rungs[one] - rungs[other]).abs(), pairs, "both similarities")
            for gap, (one, other) in ladder.gaps.items()
        }
        found["gap_behavior"] = behavior._replace(value=1 - behavior.value.clamp(0, 1))
        found["reliability"] = _reliability(replicates, overlap, pairs)
        found["residual_scale"] = compared[ladder.cosine].residual_scale
        found["overlap_mean"] = mean_over_pairs(overlap, pairs, "an overlap")
        if ladder.is_centered:
            found["common_mode_ratio"] = _common_mode(common_mode_ratio, table.num_live)
        by_similarity = {
            "top_pair_auroc": {key: comparison.top_pair_auroc(TOP_SHARE) for key, comparison in compared.items()},
            "neighbor_jaccard": {key: comparison.neighbor_jaccard(NUM_NEIGHBORS) for key, comparison in compared.items()},
        }
        every = found | {f"{name}_{key}": one for name, values in by_similarity.items() for key, one in values.items()}
        undefined = {
            name: statistic.undefined if name in _OF_WEIGHTS else table.nothing_seen or statistic.undefined
            for name, statistic in every.items()
            if statistic.undefined is not None
        }
        cosine = compared[ladder.cosine]
        numbers = Numbers(
            _values(found),
            _values(by_similarity["top_pair_auroc"]),
            _values(by_similarity["neighbor_jaccard"]),
            undefined=undefined,
            standard_errors={name: one.standard_error for name, one in every.items() if one.standard_error is not None},
        )
        statistics = cls(
            table,
            expected_overlap=cosine.expected,
            expected_curve=cosine.curve,
            overlap_error=replicates.overlap_error(overlap.double(), cosine.expected).to(overlap),
            cosine_percentile=cosine.percentile,
            replicates=replicates,
            numbers=numbers,
            remarks=remarks,
            rankings=rankings,
        )
        return statistics.with_errors() if len(pairs) <= MAX_PAIRS else statistics

    def with_errors(self) -> "Statistics":
        """The same, with the errors that inputs leave in its scalars: of 512 labels they take about a second."""
        numbers = self.numbers
        if self.has_errors or self.replicates.too_few:
            return self
        found = scalar_errors(numbers.scalars, self.table, self.replicates, self.expected_overlap)
        errors = {
            name: math.hypot(found.errors.get(name, 0.0), numbers.standard_errors.get(name, 0.0))  # inputs, and a sample of pairs
            for name in {**found.errors, **numbers.standard_errors}
        }
        intervals = intervals_of(numbers.scalars, errors, found.corrected, self.table.ladder)
        replicates = self.replicates
        if replicates.similarities:  # what they are computed from has served, and is large
            replicates = replace(replicates, similarities=dict)
        return replace(self, replicates=replicates, numbers=replace(numbers, standard_errors=errors, intervals=intervals))

    @property
    def has_errors(self) -> bool:
        """Whether the errors that inputs leave in the scalars are known."""
        return bool(self.numbers.intervals)

    def with_numbers(self, numbers: Numbers) -> "Statistics":
        """The same, with numbers that several processes agreed on: each computes them, to the last digit perhaps differently."""
        return self if numbers is self.numbers else replace(self, numbers=numbers)

    def with_remark(self, kind: str, text: str) -> "Statistics":
        """The same, with one more remark."""
        return replace(self, remarks={**self.remarks, kind: text})

    @property
    def num_blocks(self) -> int:
        """Blocks that have inputs."""
        return self.replicates.num_blocks

    @property
    def gap(self) -> Tensor:
        """(P,), overlap minus expected overlap."""
        return self.table.rungs["overlap"] - self.expected_overlap

    @property
    def residual_scale(self) -> float:
        """1.4826 times the median of the gaps' sizes, a robust standard deviation of them; NaN where undefined."""
        return self.numbers.scalars["residual_scale"]

    @property
    def reliability(self) -> float:
        """How far the overlaps would come out the same with other inputs, in [0, 1]; NaN where undefined."""
        return self.numbers.scalars["reliability"]


def _reliability(replicates: Replicates, overlap: Tensor, pairs: Pairs) -> Statistic:
    if replicates.too_few:
        return Statistic(overlap.new_full((), torch.nan), replicates.too_few)
    first, second = (half.masked_fill(overlap.isnan(), torch.nan) for half in replicates.halves)
    return stepped_up_reliability(first, second, pairs)


def _common_mode(value: float, num_live: int) -> Statistic:
    equal = "all rows of the head are equal" if num_live > 1 else "only one label is live"
    return Statistic(
        torch.tensor(value, dtype=torch.float64), (equal if num_live else "no label is live") if math.isnan(value) else None
    )


def _values(statistics: Mapping[str, Statistic]) -> dict[str, float]:
    return {name: statistic.value.item() for name, statistic in statistics.items()}
