"""GapReport.

K labels of the head, L of them looked at, P pairs of these; everything is on the CPU, NaN where a pair does not count.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.agreement import neighbor_jaccard_chance
from lightning_cossim.functional.ladder import LADDERS, RUNGS, Ladder
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.rankings import Rankings, rankings_of
from lightning_cossim.report.export import as_dict, as_frame
from lightning_cossim.report.pair import REACHES, Flag, OnTop, Pair
from lightning_cossim.report.statistics import NUM_NEIGHBORS, Statistics
from lightning_cossim.report.text import as_markdown, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GapReport", "Side", "kept_labels"]

Side = Literal["strangers", "lookalikes"]
_ON_TOP: Final[Mapping[tuple[str, Flag | None], OnTop]] = {
    ("no", None): "never together",
    ("yes", None): "possible",
    ("yes", "look-alike"): "possible, not seen",
    ("undecided", None): "undecided",
}
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
    kept: Tensor
    """Boolean (L,): live, and probable enough for its pairs to count."""
    num_kept: int
    """How many labels of the head are."""
    compared: Pairs
    """The pairs looked at, by the places of their labels: all that there are, or a sample."""
    mass: Tensor
    """(P,), joint mass of two labels: what their overlap sums over inputs, over the number of inputs."""
    rungs: Mapping[str, Tensor]
    """Rung to (P,), NaN for pairs that do not count."""
    expected_overlap: Tensor
    """(P,): what pairs with this cosine usually overlap; the centered one, the raw one where nothing is centered."""
    scalars: Mapping[str, float]
    """Tag without its group to value; NaN where undefined."""
    rank_agreement: Mapping[str, float]
    """Similarity to its rank agreement with the overlap; NaN where undefined, as the next two."""
    top_pair_auroc: Mapping[str, float]
    """Similarity to how well it finds the twentieth of the pairs that overlap most; .5 is chance."""
    neighbor_jaccard: Mapping[str, float]
    """Similarity to how far a label's five nearest neighbors are those by overlap; see `neighbor_jaccard_chance`."""
    undefined: Mapping[str, str]
    """Scalar, or other statistic and its similarity (`top_pair_auroc_raw_cosine`), to the reason why it is NaN."""
    remarks: Mapping[str, str]
    """What is odd about the head and its inputs, kind to text: rows that look like padding, values that are not finite."""
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    """Scalar to the standard error that looking at a sample of the pairs leaves; empty where all were looked at."""
    sampling: str = ""
    """How the pairs were chosen; empty where they are all there are."""
    overlap_error: Tensor | None = None
    """(P,), by how much each overlap may be larger, where the most likely labels of inputs alone were kept; None: not at all."""
    stage: str = ""
    """"train", "val" or "test"; empty for a report that no training made."""
    step: int = 0
    """The x of the loggers' curves."""
    dataloader_idx: int | None = None
    """Which of several validation or test loaders, where each has reports of its own."""
    flags: Mapping[Side, Tensor] = field(default_factory=dict)
    """Side to boolean (P,), the pairs beyond the thresholds; empty until `Thresholds` have been applied."""
    alerts: tuple[str, ...] = ()
    """The alerts that act at this report, in words."""
    rankings: Rankings | None = None
    """The cosines between differences of the most probable labels: they decide which orders of labels there can be."""
    ranking_drift: float = math.nan
    """By how much these have changed since the last report of the stage, on average, in [0, 2]; NaN at the first."""
    reach: Tensor | None = None
    """int8 (P,), place in `REACHES` of the verdict on a pair; None: reachability was not asked for (`Schedule.reachability`)."""
    unreachable: tuple[str, ...] | None = None
    """The labels of the head that no input can make the most likely one; None: it was not asked for."""
    num_undecided: int = 0
    """Labels that could not be decided."""

    @classmethod
    def from_rungs(
        cls,
        rungs: Mapping[str, Tensor],
        *,
        link: Link,
        pairs: Pairs,
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
        sampling: str = "",
        overlap_error: Tensor | None = None,
        unembedding: Tensor | None = None,
    ) -> "GapReport":
        """The report of a ladder.

        Args:
            rungs: each rung of the link's ladder to (P,), on the CPU.
            link: from logits to probabilities.
            pairs: (P,), by the places of their labels among those looked at.
            halves: the overlap of either half of the inputs, (P,) each, on the CPU.
            labels: (L,), the rows that were looked at.
            live: boolean (K,).
            mean_probs: (K,), in [0, 1]; NaN where no inputs were seen.
            mass: (P,), the sums of the overlap over the number of inputs.
            num_inputs: how many inputs were seen.
            num_skipped: how many were not, since they are not finite.
            common_mode_ratio: at least 0.
            min_probability: labels are kept from this share of 1/K_live on.
            remarks: what is odd, kind to text.
            sampling: how the pairs were chosen, if they are not all.
            overlap_error: (P,), by how much the overlaps may be larger; None: they are exact.
            unembedding: (K, D), of which the rankings are; None: they are left out.
        """
        ladder = LADDERS[link]
        kept_K = kept_labels(mean_probs, live=live, num_inputs=num_inputs, min_probability=min_probability)
        kept_L = kept_K[labels]
        num_live, num_kept = int(live.sum()), int((kept_K if sampling else kept_L).sum())
        counted_P = kept_L[pairs.row] & kept_L[pairs.column]
        # What float32 cannot hold is not known.
        rungs = {rung: rungs[rung].where(counted_P & rungs[rung].isfinite(), torch.nan) for rung in ladder.rungs}
        nothing_seen = "" if num_inputs else "no finite inputs" if num_skipped else "no inputs"
        found = Statistics.of(ladder, rungs, pairs, halves, nothing_seen)
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
            mean_probs=mean_probs[labels],
            kept=kept_L,
            num_kept=num_kept,
            compared=pairs,
            mass=mass,
            rungs=rungs,
            expected_overlap=found.expected_overlap,
            scalars=scalars,
            rank_agreement=found.rank_agreement,
            top_pair_auroc=found.top_pair_auroc,
            neighbor_jaccard=found.neighbor_jaccard,
            undefined=undefined,
            remarks=remarks,
            standard_errors=found.standard_errors,
            sampling=sampling,
            overlap_error=overlap_error,
            rankings=None if unembedding is None else rankings_of(unembedding, mean_probs, kept_K),
        )

    @property
    def ladder(self) -> Ladder:
        """The rungs that mean something under the link."""
        return LADDERS[self.link]

    @property
    def absent(self) -> frozenset[str]:
        """The fields of a pair that this report does not have: the rungs that mean nothing under the link, what was not asked."""
        return (frozenset(RUNGS) - {*self.ladder.rungs}) | ({"on_top"} if self.reach is None else set())

    @property
    def why_absent(self) -> dict[str, str]:
        """The rungs and scalars that mean nothing under the link, to the reason."""
        return dict.fromkeys(self.ladder.absent, self.ladder.why_uncentered)

    @property
    def reliability(self) -> float:
        """How far the overlaps would come out the same with other inputs, in [0, 1]; NaN where undefined."""
        return self.scalars["reliability"]

    @property
    def neighbor_jaccard_chance(self) -> float:
        """The `neighbor_jaccard` of neighbors drawn at random among the kept labels; NaN where that is undefined."""
        undefined = all(map(math.isnan, self.neighbor_jaccard.values()))
        return math.nan if undefined else neighbor_jaccard_chance(self.num_kept, k=NUM_NEIGHBORS)

    @property
    def num_pairs(self) -> int:
        """How many pairs count, looked at or not."""
        return math.comb(self.num_kept, 2)

    @property
    def gap(self) -> Tensor:
        """(P,), overlap minus expected overlap."""
        return self.rungs["overlap"] - self.expected_overlap

    def matrix(self, what: str, places: Sequence[int] | Tensor | None = None) -> Tensor:
        """A rung, "expected_overlap", "gap" or "mass" as a symmetric matrix (L, L).

        NaN where a pair was not looked at or does not count. Every label that has a pair is as like itself as can be: 1 for
        cosines, correlation and overlap, 0 for the log-odds variance; the other three it has not.

        Args:
            what: which.
            places: of the labels that it is to be of, in this order; default all.
        """
        values = {**self.rungs, "expected_overlap": self.expected_overlap, "gap": self.gap, "mass": self.mass}[what]
        place_L = torch.arange(len(self.labels)) if places is None else torch.full((len(self.labels),), -1)
        if places is not None:
            place_L[torch.as_tensor(places, dtype=torch.int64)] = torch.arange(len(places))
        row, column = place_L[self.compared.row], place_L[self.compared.column]
        shown = (row >= 0) & (column >= 0)
        matrix = Pairs(row[shown], column[shown]).matrix(values[shown], int(place_L.max()) + 1 if len(place_L) else 0)
        if what in self.rungs:
            with_itself = 0.0 if what == "log_odds_variance" else 1.0
            matrix.diagonal().copy_(torch.where(matrix.isfinite().any(dim=1), with_itself, torch.nan))
        return matrix

    def pairs(self, side: Side | None = None, *, top: int | None = None) -> list[Pair]:
        """The pairs that count.

        Args:
            side: "strangers" for those that overlap more than expected, largest gap first; "lookalikes" for those that overlap
                less, largest shortfall first; flagged pairs come before others. Default all, from the most positive gap down.
                Where gaps are undefined, either side is empty and all pairs come by overlap, or by cosine.
            top: how many at the most.

        Raises:
            InputError: `side` is unknown or `top` negative.
        """
        if side is not None and side not in get_args(Side):
            raise InputError(expected("side", "to be 'strangers', 'lookalikes' or None", repr(side)))
        if top is not None and top < 0:
            raise InputError(expected("top", "to be at least 0", top))
        gap_P = self.gap
        if side is None:
            counts_P = self.kept[self.compared.row] & self.kept[self.compared.column]
            keys = (gap_P, self.rungs["overlap"], self.rungs[self.ladder.cosine])
            key_P = next((one for one in keys if one.isfinite().any()), gap_P)
        else:
            key_P = gap_P if side == "strangers" else -gap_P
            counts_P = key_P > 0
            if side in self.flags:  # a gap is at most 1
                key_P = key_P + 2 * self.flags[side]
        order = key_P.nan_to_num(-math.inf).argsort(descending=True, stable=True)
        return [self._pair(index) for index in order[counts_P[order]][:top].tolist()]

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

    def _pair(self, index: int) -> Pair:
        one, other = (self.names[int(labels_P[index])] for labels_P in (self.compared.row, self.compared.column))
        values = {rung: self.rungs[rung][index].item() for rung in self.ladder.rungs}
        usual = self.expected_overlap[index].item()
        mass = self.mass[index].item() * self.num_live
        gap = values["overlap"] - usual
        values |= dict.fromkeys(self.absent - {"on_top"}, math.nan)
        flag = next((_FLAG[side] for side, flags_P in self.flags.items() if flags_P[index]), None)
        reach = REACHES[0 if self.reach is None else int(self.reach[index])]
        on_top = _ON_TOP.get((reach, flag)) or _ON_TOP.get((reach, None))
        return Pair(one, other, **values, expected_overlap=usual, gap=gap, mass=mass, flag=flag, on_top=on_top)


def kept_labels(mean_probs: Tensor, *, live: Tensor, num_inputs: int, min_probability: float) -> Tensor:
    """Boolean (K,): the labels whose pairs count, live ones that are probable enough.

    Without inputs nothing is known of the probabilities: the rungs of the weights are then shown for all live labels.
    """
    if not num_inputs:
        return live
    return live & (mean_probs >= min_probability / max(int(live.sum()), 1))
