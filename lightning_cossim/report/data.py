"""ReportData: the four frozen parts of a report, read as one.

Shapes: K labels of the head, L of them compared, P pairs of these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self, get_args

import torch
from torch import Tensor

from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.errors import InputError, expected, wrong_choice
from lightning_cossim.functional.agreement import neighbor_jaccard_chance
from lightning_cossim.functional.ladder import RUNGS, Ladder
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.rankings import Rankings
from lightning_cossim.report.context import Context, WindowKey
from lightning_cossim.report.extras import Extras, ReachabilityVerdicts
from lightning_cossim.report.pair import FLAGS, OF_TARGETS, REACHES, Pair, Side, on_top
from lightning_cossim.report.statistics import NUM_NEIGHBORS, Statistics
from lightning_cossim.report.verdicts import Verdict, judge

__all__ = ["ReportData"]


@dataclass(frozen=True, eq=False)
class ReportData:
    """A report: each part is made once, by its owner, and none changes afterwards."""

    statistics: Statistics
    """What the window says, from the metric or the summary of a vocabulary."""
    context: Context = field(default_factory=Context)
    """What the report is about, from whoever asked for it."""
    verdict: Verdict = field(default_factory=Verdict)
    """What thresholds make of it."""
    extras: Extras = field(default_factory=Extras)
    """What else was found out."""

    def judged(self, thresholds: Thresholds) -> Self:
        """The same report, its pairs judged by thresholds."""
        return replace(self, verdict=judge(self.statistics, thresholds, self.context.name_of))

    def on(self, statistics: Statistics, verdict: Verdict) -> Self:
        """The same report on other statistics of the same window, with their verdict; its alerts have acted."""
        return replace(self, statistics=statistics, verdict=verdict.with_alerts(self.alerts))

    def with_reachability(self, found: ReachabilityVerdicts) -> Self:
        """The same report, with what can happen at all."""
        return replace(self, extras=replace(self.extras, reachability=found))

    # The parts, read flat: what a report is about

    @property
    def window(self) -> WindowKey:
        """The window that it is about."""
        return self.context.window

    @property
    def stage(self) -> str:
        """One of "train", "val" and "test"; empty for a report that no training made."""
        return self.context.window.stage

    @property
    def dataloader_idx(self) -> int | None:
        """Which of several validation or test loaders, where each has reports of its own."""
        return self.context.window.dataloader_idx

    @property
    def step(self) -> int:
        """The x of the loggers' curves."""
        return self.context.step

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(L,), of the labels compared."""
        return tuple(map(self.context.name_of, self.labels))

    # What was measured

    @property
    def link(self) -> Link:
        """From logits to probabilities."""
        return self.statistics.table.link

    @property
    def ladder(self) -> Ladder:
        """The similarities that mean something under the link."""
        return self.statistics.table.ladder

    @property
    def labels(self) -> tuple[int, ...]:
        """(L,), rows of the head."""
        return self.statistics.table.labels

    @property
    def mean_probs(self) -> Tensor:
        """(L,), in [0, 1]; NaN where no inputs were seen."""
        return self.statistics.table.mean_probs

    @property
    def kept(self) -> Tensor:
        """Boolean (L,): live, and probable enough for its pairs to count."""
        return self.statistics.table.kept

    @property
    def num_live(self) -> int:
        """K_live, the labels that means over labels are taken over."""
        return self.statistics.table.num_live

    @property
    def num_kept(self) -> int:
        """How many labels of the head are kept."""
        return self.statistics.table.num_kept

    @property
    def num_inputs(self) -> int:
        """How many inputs were seen."""
        return self.statistics.table.num_inputs

    @property
    def num_skipped(self) -> int:
        """How many more were left out since they are not finite."""
        return self.statistics.table.num_skipped

    @property
    def num_pairs(self) -> int:
        """How many pairs count, compared or not."""
        return self.statistics.table.num_pairs

    @property
    def compared(self) -> Pairs:
        """The pairs compared, by the places of their labels: all that there are, or a sample."""
        return self.statistics.table.compared

    @property
    def sampling(self) -> str:
        """How the pairs were chosen; empty where they are all there are."""
        return self.statistics.table.sampling

    @property
    def rungs(self) -> Mapping[str, Tensor]:
        """Similarity, or "overlap", to (P,), NaN for pairs that do not count."""
        return self.statistics.table.rungs

    @property
    def mass(self) -> Tensor:
        """(P,), joint mass of two labels: what their overlap sums over inputs, over the number of inputs."""
        return self.statistics.table.mass

    @property
    def truncation(self) -> Tensor | None:
        """(P,), by how much each overlap may be larger, since only an input's most likely labels were kept; None: not at all."""
        return self.statistics.table.truncation

    @property
    def joint_inputs(self) -> Tensor:
        """int64 (P,), the inputs on which both labels are likely (`functional.joint_inputs`)."""
        return self.statistics.table.joint_inputs

    @property
    def errors(self) -> Tensor | None:
        """int64 (2, P), inputs of the first label that were predicted as the second, and the reverse; None: no targets."""
        return self.statistics.table.errors

    @property
    def joint_shares(self) -> Tensor | None:
        """(3, P), the shares of the joint mass on inputs of the first label, of the second, of neither; None: no targets."""
        return self.statistics.table.joint_shares

    @property
    def effective_inputs(self) -> Tensor:
        """(L,), the number of inputs that a label's probability is spread over; NaN where no inputs were seen."""
        return self.statistics.table.effective_inputs

    @property
    def cosine_percentile(self) -> Tensor:
        """(P,), in (0, 1]: the rank of every pair's cosine over the number of pairs; NaN for pairs that do not count."""
        return self.statistics.cosine_percentile

    @property
    def overlap_error(self) -> Tensor:
        """(P,), the standard error of every overlap and of its gap; NaN with fewer than eight groups of inputs."""
        return self.statistics.overlap_error

    # What was computed

    @property
    def expected_overlap(self) -> Tensor:
        """(P,), the overlap that other pairs with this cosine have."""
        return self.statistics.expected_overlap

    @property
    def expected_curve(self) -> Tensor:
        """(P,), the same from all pairs, each itself included: it never falls with the cosine. For pictures."""
        return self.statistics.expected_curve

    @property
    def gap(self) -> Tensor:
        """(P,), overlap minus expected overlap."""
        return self.statistics.gap

    @property
    def scalars(self) -> dict[str, float]:
        """Tag without its group to value; NaN where undefined."""
        took = self.context.overhead_fraction
        overhead = {} if took is None else {"overhead_fraction": took}
        return {**self.statistics.numbers.scalars, **overhead, **self.verdict.shares}

    @property
    def rank_agreement(self) -> Mapping[str, float]:
        """Similarity to its rank agreement with the overlap, in [-1, 1]; NaN where undefined, as the next two."""
        return self.statistics.numbers.rank_agreement

    @property
    def top_pair_auroc(self) -> Mapping[str, float]:
        """Similarity to how well it finds the twentieth of the pairs that overlap most; .5 is chance."""
        return self.statistics.numbers.top_pair_auroc

    @property
    def neighbor_jaccard(self) -> Mapping[str, float]:
        """Similarity to how far a label's five nearest neighbors are those by overlap; see `neighbor_jaccard_chance`."""
        return self.statistics.numbers.neighbor_jaccard

    @property
    def neighbor_jaccard_chance(self) -> float:
        """The `neighbor_jaccard` of neighbors drawn at random among the kept labels; NaN where that is undefined."""
        undefined = all(map(math.isnan, self.neighbor_jaccard.values()))
        return math.nan if undefined else neighbor_jaccard_chance(self.num_kept, k=NUM_NEIGHBORS)

    @property
    def reliability(self) -> float:
        """How far the overlaps would come out the same with other inputs, in [0, 1]; NaN where undefined."""
        return self.statistics.reliability

    @property
    def undefined(self) -> dict[str, str]:
        """Scalar, or other statistic and its similarity (`top_pair_auroc_raw_cosine`), to the reason why it is NaN."""
        why = self.verdict.why_none
        return {**self.statistics.numbers.undefined, **(dict.fromkeys(self.verdict.shares, why) if why else {})}

    @property
    def standard_errors(self) -> Mapping[str, float]:
        """Scalar to its standard error, from the inputs and from a sample of the pairs; absent where it has none."""
        return {**self.statistics.numbers.standard_errors, **self.verdict.share_errors}

    @property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """Scalar to the bounds of its interval of 95 %: of the values that it may have with inputs without end.

        They reach further to where few inputs bias a scalar from: noise makes a rank agreement smaller, so it may lie below its
        own interval (`report.errors.intervals_of`).
        """
        return self.statistics.numbers.intervals

    @property
    def remarks(self) -> Mapping[str, str]:
        """What a reader should know of the head and its inputs, kind to text."""
        return self.statistics.remarks

    @property
    def absent(self) -> frozenset[str]:
        """What a pair of this report lacks: what means nothing under the link, was not asked for, or needs targets."""
        unasked = frozenset({"on_top"} if self.extras.reachability is None else ())
        unknown = frozenset(OF_TARGETS if self.errors is None else ())
        return frozenset(RUNGS) - {*self.ladder.rungs} | unasked | unknown

    @property
    def why_absent(self) -> dict[str, str]:
        """The similarities and scalars that mean nothing under the link, to the reason."""
        return dict.fromkeys(self.ladder.absent, self.ladder.why_uncentered)

    @property
    def rankings(self) -> Rankings | None:
        """The cosines between differences of the most probable labels: they decide which orders of labels there can be."""
        return self.statistics.rankings

    # What was decided and found

    @property
    def flags(self) -> Mapping[Side, Tensor]:
        """Side to boolean (P,), the pairs beyond the thresholds; empty until it is judged."""
        return self.verdict.flags

    @property
    def alerts(self) -> tuple[str, ...]:
        """The alerts that act at this report, in words."""
        return self.verdict.alerts

    @property
    def ranking_drift(self) -> float:
        """By how much rankings have changed since the last report of the stage, on average, in [0, 2]; NaN at the first."""
        return self.extras.ranking_drift

    @property
    def unreachable(self) -> tuple[str, ...] | None:
        """The labels of the head that no input can make the most likely one; None: it was not asked for."""
        found = self.extras.reachability
        return None if found is None else tuple(map(self.context.name_of, found.unreachable))

    @property
    def num_undecided(self) -> int:
        """Labels whose reachability could not be decided."""
        return 0 if self.extras.reachability is None else self.extras.reachability.num_undecided

    @cached_property
    def reach(self) -> Tensor | None:
        """int8 (P,), place in `REACHES` of the verdict on a pair; None: it was not asked for."""
        found = self.extras.reachability
        if found is None:
            return None
        verdicts = {(one, other): REACHES.index(verdict) for one, other, verdict in found.pairs}
        code_P = torch.zeros_like(self.compared.row, dtype=torch.int8)
        for place in self.flagged().tolist():
            code_P[place] = verdicts.get(self.statistics.table.rows_of(place), 0)
        return code_P

    # Its pairs

    def flagged(self, most: int | None = None) -> Tensor:
        """The places of flagged pairs, those with the largest gaps first; at most so many."""
        flagged_P = torch.zeros_like(self.compared.row, dtype=torch.bool)
        for flags_P in self.flags.values():
            flagged_P |= flags_P
        places = flagged_P.nonzero().flatten()
        return places[self.gap[places].abs().argsort(descending=True, stable=True)[:most]]

    def matrix(self, what: str, places: Sequence[int] | Tensor | None = None) -> Tensor:
        """A similarity, "overlap", "expected_overlap", "gap" or "mass" as a symmetric matrix (L, L).

        NaN where a pair was not compared or does not count. Every label that has a pair is as like itself as can be: 1 for
        cosines, correlation and overlap, 0 for the log-odds variance; the other three it has not.

        Args:
            what: which.
            places: of the labels that it is to be of, in this order; default all.

        Raises:
            InputError: the report has no such thing.
        """
        table = self.statistics.table
        values = {**self.rungs, "expected_overlap": self.expected_overlap, "gap": self.gap, "mass": self.mass}
        if what not in values:
            raise InputError(wrong_choice("what", what, [*values]))
        return table.matrix(values[what], places, of_itself=table.of_itself(what))

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
        return [self._pair(place) for place in order[counts_P[order]][:top].tolist()]

    def _pair(self, place: int) -> Pair:
        one, other = (self.names[int(labels_P[place])] for labels_P in (self.compared.row, self.compared.column))
        flag = next((FLAGS[side] for side, flags_P in self.flags.items() if flags_P[place]), None)
        errors, shares = (None if one is None else tuple(one[:, place].tolist()) for one in (self.errors, self.joint_shares))
        reach = REACHES[0 if self.reach is None else int(self.reach[place])]
        return Pair(
            label=one,
            other=other,
            similarities={key: self.rungs[key][place].item() for key in self.ladder.similarities},
            overlap=self.rungs["overlap"][place].item(),
            overlap_error=self.overlap_error[place].item(),
            expected_overlap=self.expected_overlap[place].item(),
            gap=self.rungs["overlap"][place].item() - self.expected_overlap[place].item(),
            mass=self.mass[place].item() * self.num_live,
            joint_inputs=int(self.joint_inputs[place]),
            errors=errors,
            joint_shares=shares,
            flag=flag,
            why_unflagged=self.verdict.why_unflagged(place),
            on_top=on_top(reach, flag),
        )
