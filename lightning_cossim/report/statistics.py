"""The numbers of a report, worked out from its ladder: each with the reason where it is undefined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison, Statistic, mean_over_pairs, stepped_up_reliability
from lightning_cossim.functional.ladder import TOWARDS_ALIKE, Ladder
from lightning_cossim.functional.pairs import Pairs

__all__ = ["NUM_NEIGHBORS", "TOP_SHARE", "Statistics"]

TOP_SHARE: Final = 0.05
"""Of the pairs, those that `top_pair_auroc` looks for."""
NUM_NEIGHBORS: Final = 5
"""Neighbors of a label that `neighbor_jaccard` looks at."""


@dataclass(frozen=True)
class Statistics:
    """What is computed over the pairs that count. Values are NaN where `undefined` says why."""

    expected_overlap: Tensor
    """(P,): what pairs with this cosine usually overlap."""
    scalars: Mapping[str, float]
    """Tag without its group to value."""
    rank_agreement: Mapping[str, float]
    """Similarity to value, as the next two."""
    top_pair_auroc: Mapping[str, float]
    neighbor_jaccard: Mapping[str, float]
    undefined: Mapping[str, str]
    """Scalar, or statistic and similarity, to the reason."""
    standard_errors: Mapping[str, float]
    """Scalar to what drawing a sample of the pairs adds to its uncertainty; empty where all were looked at."""

    @classmethod
    def of(
        cls,
        ladder: Ladder,
        rungs: Mapping[str, Tensor],
        pairs: Pairs,
        halves: tuple[Tensor, Tensor],
        nothing_seen: str = "",
    ) -> "Statistics":
        """The statistics of a ladder.

        Args:
            ladder: the rungs there are.
            rungs: each of them to (P,), on the CPU, NaN for pairs that do not count.
            pairs: which pairs these are.
            halves: the overlap of either half of the inputs, (P,) each, on the CPU.
            nothing_seen: why no input was seen, if so.
        """
        overlap = rungs["overlap"]
        compared: dict[str, Comparison] = {}
        for rung in ladder.similarities:
            compared[rung] = Comparison(TOWARDS_ALIKE[rung] * rungs[rung], overlap, pairs, compared.get("raw_cosine"))
        explained = {rung: comparison.explained for rung, comparison in compared.items()}
        behavior = explained[ladder.cosine]
        found = {f"explained_{rung}": statistic for rung, statistic in explained.items()}
        found |= {
            gap: mean_over_pairs((rungs[one] - rungs[other]).abs(), pairs, "both similarities")
            for gap, (one, other) in ladder.gaps.items()
        }
        found["gap_behavior"] = behavior._replace(value=1 - behavior.value)
        first, second = (half.masked_fill(overlap.isnan(), torch.nan) for half in halves)
        found["reliability"] = stepped_up_reliability(first, second, pairs)
        found["overlap_mean"] = mean_over_pairs(overlap, pairs, "an overlap")
        by_rung = {
            "rank_agreement": {rung: comparison.rank_agreement for rung, comparison in compared.items()},
            "top_pair_auroc": {rung: comparison.top_pair_auroc(TOP_SHARE) for rung, comparison in compared.items()},
            "neighbor_jaccard": {rung: comparison.neighbor_jaccard(NUM_NEIGHBORS) for rung, comparison in compared.items()},
        }
        every = found | {f"{name}_{rung}": one for name, of_rung in by_rung.items() for rung, one in of_rung.items()}
        return cls(
            compared[ladder.cosine].expected,
            _values(found),
            **{name: _values(of_rung) for name, of_rung in by_rung.items()},
            undefined={
                # All but the translation gap, which is of the weights alone, want inputs.
                name: statistic.undefined if name == "gap_translation" else nothing_seen or statistic.undefined
                for name, statistic in every.items()
                if statistic.undefined is not None
            },
            standard_errors={name: one.standard_error for name, one in found.items() if one.standard_error is not None},
        )


def _values(statistics: Mapping[str, Statistic]) -> dict[str, float]:
    return {name: statistic.value.item() for name, statistic in statistics.items()}
