"""GapReport.

K labels of the head, L of them looked at; matrices are (L, L) on the CPU, NaN where a pair does not count.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.agreement import neighbor_jaccard_chance
from lightning_cossim.functional.ladder import LADDERS, RUNGS, Ladder
from lightning_cossim.functional.overlap import Link
from lightning_cossim.report.export import as_dict, as_frame
from lightning_cossim.report.pair import Flag, Pair
from lightning_cossim.report.statistics import NUM_NEIGHBORS, Statistics
from lightning_cossim.report.text import as_markdown, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GapReport", "Side"]

Side = Literal["strangers", "lookalikes"]
_FLAG: Final[Mapping[Side, Flag]] = {"strangers": "stranger", "lookalikes": "look-alike"}


@dataclass(frozen=True, eq=False)
class GapReport:
    """The ladder, the gaps and the shares explained of one window. Printing one gives its tables of pairs."""

    link: Link
    """From logits to probabilities."""
    names: tuple[str, ...]
    """(L,), of the labels looked at."""
    labels: tuple[int, ...]
    """(L,), their rows in the head."""
    num_live: int
    """K_live, the labels that means over labels are taken over."""
    num_inputs: int
    """How many inputs were seen."""
    num_skipped: int
    """How many more were left out since they are not finite."""
    mean_probs: Tensor
    """(L,), in [0, 1]."""
    mass: Tensor
    """(L, L), joint mass of two labels: what their overlap sums over inputs, over the number of inputs."""
    kept: Tensor
    """Boolean (L,): live, and probable enough for its pairs to count."""
    rungs: Mapping[str, Tensor]
    """Rung to (L, L), NaN for pairs that do not count."""
    expected_overlap: Tensor
    """(L, L): what pairs with this cosine usually overlap; the centered one, for a sigmoid head the raw one."""
    scalars: Mapping[str, float]
    """Tag without its group to value; NaN where undefined."""
    rank_agreement: Mapping[str, float]
    """Similarity to its rank agreement with the overlap; NaN where undefined, as the next two."""
    top_pair_auroc: Mapping[str, float]
    """Similarity to how well it finds the twentieth of the pairs that overlap most; .5 is chance."""
    neighbor_jaccard: Mapping[str, float]
    """Similarity to how far a label's five nearest neighbours are those by overlap; see `neighbor_jaccard_chance`."""
    undefined: Mapping[str, str]
    """Scalar, or other statistic and its similarity (`top_pair_auroc_raw_cosine`), to the reason why it is NaN."""
    remarks: Mapping[str, str]
    """What is odd about the head and its inputs, kind to text: rows that look like padding, values that are not finite."""
    stage: str = ""
    """"train", "val" or "test"; empty for a report that no training made."""
    step: int = 0
    """The x of the loggers' curves."""
    dataloader_idx: int | None = None
    """Which of several validation or test loaders, where each has reports of its own."""
    flags: Mapping[Side, Tensor] = field(default_factory=dict)
    """Side to boolean (L, L), the pairs beyond the thresholds; empty until `Thresholds` have been applied."""
    alerts: tuple[str, ...] = ()
    """The alerts that act at this report, in words."""

    @classmethod
    def from_rungs(
        cls,
        rungs: Mapping[str, Tensor],
        *,
        link: Link,
        halves: tuple[Tensor, Tensor],
        labels: Tensor,
        live: Tensor,
        mean_probs: Tensor,
        mass: Tensor,
        num_inputs: int,
        num_skipped: int,
        common_mode_ratio: float,
        min_probability: float,
        remarks: Mapping[str, str],
    ) -> "GapReport":
        """The report of a ladder.

        Args:
            rungs: each rung of the link's ladder to (L, L), on the CPU.
            link: from logits to probabilities.
            halves: the overlap of either half of the inputs, (L, L) each, on the CPU.
            labels: (L,), the rows that were looked at.
            live: boolean (K,).
            mean_probs: (K,), in [0, 1]; NaN where no inputs were seen.
            mass: (L, L), the sums of the overlap over the number of inputs.
            num_inputs: how many inputs were seen.
            num_skipped: how many were not, since they are not finite.
            common_mode_ratio: at least 0.
            min_probability: labels are kept from this share of 1/K_live on.
            remarks: what is odd, kind to text.
        """
        ladder = LADDERS[link]
        num_live = int(live.sum())
        probs_L = mean_probs[labels]
        # Without inputs nothing is known of the probabilities: the rungs of the weights are then shown for all live labels.
        probable_L = probs_L >= min_probability / max(num_live, 1) if num_inputs else torch.ones_like(labels, dtype=torch.bool)
        kept_L = live[labels] & probable_L
        counted_LL = kept_L[:, None] & kept_L
        # What float32 cannot hold is not known.
        rungs = {rung: rungs[rung].where(counted_LL & rungs[rung].isfinite(), torch.nan) for rung in ladder.rungs}
        nothing_seen = "" if num_inputs else "no finite inputs" if num_skipped else "no inputs"
        found = Statistics.of(ladder, rungs, halves, nothing_seen)
        scalars, undefined = dict(found.scalars), dict(found.undefined)
        if "gap_translation" in ladder.gaps:  # the origin is arbitrary
            scalars["common_mode_ratio"] = common_mode_ratio
            if math.isnan(common_mode_ratio):
                equal = "all rows of the head are equal" if num_live > 1 else "only one label is live"
                undefined["common_mode_ratio"] = equal if num_live else "no label is live"
        return cls(
            link=link,
            names=tuple(map(str, labels.tolist())),
            labels=tuple(labels.tolist()),
            num_live=num_live,
            num_inputs=num_inputs,
            num_skipped=num_skipped,
            mean_probs=probs_L,
            mass=mass,
            kept=kept_L,
            rungs=rungs,
            expected_overlap=found.expected_overlap,
            scalars=scalars,
            rank_agreement=found.rank_agreement,
            top_pair_auroc=found.top_pair_auroc,
            neighbor_jaccard=found.neighbor_jaccard,
            undefined=undefined,
            remarks=remarks,
        )

    @property
    def ladder(self) -> Ladder:
        """The rungs that mean something under the link."""
        return LADDERS[self.link]

    @property
    def absent(self) -> frozenset[str]:
        """The rungs that mean nothing under the link."""
        return frozenset(RUNGS) - {*self.ladder.rungs}

    @property
    def reliability(self) -> float:
        """How far the overlaps would come out the same with other inputs, in [0, 1]; NaN where undefined."""
        return self.scalars["reliability"]

    @property
    def neighbor_jaccard_chance(self) -> float:
        """The `neighbor_jaccard` of neighbours drawn at random among the kept labels; NaN where that is undefined."""
        undefined = all(map(math.isnan, self.neighbor_jaccard.values()))
        return math.nan if undefined else neighbor_jaccard_chance(int(self.kept.sum()), k=NUM_NEIGHBORS)

    @property
    def num_pairs(self) -> int:
        """How many pairs count."""
        return math.comb(int(self.kept.sum()), 2)

    @property
    def gap(self) -> Tensor:
        """(L, L), overlap minus expected overlap."""
        return self.rungs["overlap"] - self.expected_overlap

    def pairs(self, side: Side | None = None, *, top: int | None = None) -> list[Pair]:
        """The pairs that count.

        Args:
            side: "strangers" for those that overlap more than expected, largest gap first; "lookalikes" for those that overlap
                less, largest shortfall first; flagged pairs come before others. Default all, from the most positive gap down.
                Where gaps are undefined, either side is empty and all pairs come by overlap.
            top: how many at the most.

        Raises:
            InputError: `side` is unknown or `top` negative.
        """
        if side is not None and side not in get_args(Side):
            raise InputError(expected("side", "to be 'strangers', 'lookalikes' or None", repr(side)))
        if top is not None and top < 0:
            raise InputError(expected("top", "to be at least 0", top))
        row, column = torch.triu_indices(len(self.names), len(self.names), offset=1)
        gap_P = self.gap[row, column]
        if side is None:
            counts_P = self.kept[row] & self.kept[column]
            key_P = gap_P if gap_P.isfinite().any() else self.rungs["overlap"][row, column]
        else:
            key_P = gap_P if side == "strangers" else -gap_P
            counts_P = key_P > 0
            if side in self.flags:  # a gap is at most 1
                key_P = key_P + 2 * self.flags[side][row, column]
        order = key_P.nan_to_num(-math.inf).argsort(descending=True, stable=True)
        order = order[counts_P[order]][:top]
        return [self._pair(i, j) for i, j in zip(row[order].tolist(), column[order].tolist(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as builtins fit for JSON; what is undefined is None, and a rung that the link does not have is absent."""
        return as_dict(self)

    def to_pandas(self) -> "pd.DataFrame":
        """All pairs that count, one row a pair, columns as the fields of `Pair`, from the most positive gap down.

        Raises:
            LabelSimilarityError: pandas is not installed.
        """
        return as_frame(self)

    def to_markdown(self, *, top: int = 12) -> str:
        """The pairs furthest from expectation as Markdown tables, `top` rows each way; names show as text."""
        return as_markdown(self, top)

    @override
    def __str__(self) -> str:
        return as_text(self, 5)

    def _pair(self, i: int, j: int) -> Pair:
        values = {rung: self.rungs[rung][i, j].item() for rung in self.ladder.rungs}
        usual = self.expected_overlap[i, j].item()
        mass = self.mass[i, j].item() * self.num_live
        gap = values["overlap"] - usual
        values |= dict.fromkeys(self.absent, math.nan)
        flag = next((_FLAG[side] for side, flags_LL in self.flags.items() if flags_LL[i, j]), None)
        return Pair(self.names[i], self.names[j], **values, expected_overlap=usual, gap=gap, mass=mass, flag=flag)
