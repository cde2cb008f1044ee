"""Statistics: the numbers of a report, computed from its table of pairs. Each undefined number has a reason."""

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
"""Share of the pairs that `top_pair_auroc` must find: those with the largest overlap."""
NUM_NEIGHBORS: Final = 5
"""Number of nearest labels that `neighbor_jaccard` compares."""
_OF_WEIGHTS: Final = frozenset({"gap_translation", "common_mode_ratio"})
"""Scalars that need no inputs."""


@dataclass(frozen=True)
class Numbers:
    """The numbers computed over all pairs that count. If a value is NaN, `undefined` has the reason."""

    scalars: Mapping[str, float]
    """The value for each tag, without the group of the tag."""
    top_pair_auroc: Mapping[str, float]
    """For each similarity, how well it finds the 5 % of pairs with the largest overlap, in [0, 1]; 0.5 is chance."""
    neighbor_jaccard: Mapping[str, float]
    """For each similarity, the mean Jaccard index, in [0, 1], of the five nearest labels by it and by overlap."""
    undefined: Mapping[str, str]
    """The reason for each NaN. Keys are scalars, or a statistic and its similarity, such as `top_pair_auroc_raw_cosine`."""
    standard_errors: Mapping[str, float]
    """The standard error of each scalar: from inputs (`Statistics.with_errors`) and, if pairs are a sample, from the sample."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The 95 % interval of each scalar, from the same errors.

    Its center is corrected for the bias of few inputs, so the scalar itself can lie outside.
    """

    @property
    def rank_agreement(self) -> Mapping[str, float]:
        """For each similarity, its rank agreement with the overlap, in [-1, 1]: the scalars `rank_agreement_<similarity>`."""
        prefix = "rank_agreement_"
        return {name.removeprefix(prefix): value for name, value in self.scalars.items() if name.startswith(prefix)}


@dataclass(frozen=True, eq=False)
class Statistics:
    """The table of pairs of one window and all numbers computed from it."""

    table: PairTable
    expected_overlap: Tensor
    """(P,), in [0, 1], the overlap of other pairs with this cosine: label-centered if the link centers rows, otherwise raw."""
    expected_curve: Tensor
    """(P,), in [0, 1], the fit to all pairs including the pair itself, for plots. It never falls with the cosine."""
    overlap_error: Tensor
    """(P,), the standard error of each overlap and its gap; NaN if fewer than eight blocks have inputs."""
    cosine_percentile: Tensor
    """(P,), in (0, 1], the rank of each cosine divided by the number of pairs; NaN for pairs that do not count."""
    replicates: Replicates
    """The overlaps, recomputed without each block of inputs."""
    numbers: Numbers
    remarks: Mapping[str, str]
    """Problems of the head and its inputs that affect the numbers: a text for each kind of problem."""
    rankings: Rankings | None = None
    """The cosines between row differences of the most probable labels; they decide which rankings are possible."""

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
        """Compute the statistics of a table of pairs.

        The errors of scalars are included for up to `MAX_PAIRS` pairs. For more pairs, call `with_errors`.

        Args:
            table: the measurements.
            replicates: the overlaps, recomputed without each block of inputs, on the CPU.
            common_mode_ratio: at least 0, or NaN if undefined. It is ignored if the link does not center rows.
            remarks: a text for each kind of problem.
            rankings: row differences of the most probable labels of the head.
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
        """A copy with standard errors of the scalars from inputs; their computation takes about one second for 512 labels."""
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
        if replicates.similarities:  # frees their large source tensors
            replicates = replace(replicates, similarities=dict)
        return replace(self, replicates=replicates, numbers=replace(numbers, standard_errors=errors, intervals=intervals))

    @property
    def has_errors(self) -> bool:
        """Whether the standard errors of the scalars from inputs are computed."""
        return bool(self.numbers.intervals)

    def with_numbers(self, numbers: Numbers) -> "Statistics":
        """A copy with numbers that all processes share. Numbers that each process computes can differ in the last digit."""
        return self if numbers is self.numbers else replace(self, numbers=numbers)

    def with_remark(self, kind: str, text: str) -> "Statistics":
        """A copy with one more remark."""
        return replace(self, remarks={**self.remarks, kind: text})

    @property
    def num_blocks(self) -> int:
        """Number of blocks that have inputs, at most eight."""
        return self.replicates.num_blocks

    @property
    def gap(self) -> Tensor:
        """(P,), in [-1, 1], overlap minus expected overlap."""
        return self.table.rungs["overlap"] - self.expected_overlap

    @property
    def residual_scale(self) -> float:
        """1.4826 times the median of |gap|, a robust standard deviation of the gaps; NaN where undefined."""
        return self.numbers.scalars["residual_scale"]

    @property
    def reliability(self) -> float:
        """How well the order of the overlaps repeats with other inputs, in [0, 1]; NaN where undefined."""
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
