"""ReportData: the four immutable parts of a report, with all their values as properties of one object.

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
from lightning_cossim.report.evidence import PairsWithEvidence
from lightning_cossim.report.extras import CombinationVerdicts, Extras, ReachabilityVerdicts
from lightning_cossim.report.pair import FLAGS, OF_TARGETS, REACHES, Pair, Side, on_alone, on_top
from lightning_cossim.report.statistics import NUM_NEIGHBORS, Statistics
from lightning_cossim.report.verdicts import Verdict, judge

__all__ = ["ReportData"]


@dataclass(frozen=True, eq=False)
class ReportData:
    """The data of a report. Each part is created once, by its owner, and never changes."""

    statistics: Statistics
    """The measured and computed numbers, from the metric or from the vocabulary summary."""
    context: Context = field(default_factory=Context)
    """The window, the step and the names of the labels, from the caller."""
    verdict: Verdict = field(default_factory=Verdict)
    """The flags, shares and alerts that thresholds give."""
    extras: Extras = field(default_factory=Extras)
    """Additional results: ranking drift, reachability and evidence."""

    def judged(self, thresholds: Thresholds) -> Self:
        """A copy of the report with the verdict of these thresholds."""
        return replace(self, verdict=judge(self.statistics, thresholds, self.context.name_of))

    def on(self, statistics: Statistics, verdict: Verdict) -> Self:
        """A copy with other statistics of the same window and their verdict; it keeps the alerts, which have already acted."""
        return replace(self, statistics=statistics, verdict=verdict.with_alerts(self.alerts))

    def with_reachability(self, found: ReachabilityVerdicts) -> Self:
        """A copy of the report with these reachability verdicts."""
        return replace(self, extras=replace(self.extras, reachability=found))

    def with_evidence(self, found: PairsWithEvidence) -> Self:
        """A copy of the report with these inputs behind its pairs."""
        return replace(self, extras=replace(self.extras, evidence=found))

    # Context

    @property
    def window(self) -> WindowKey:
        """The window of the report."""
        return self.context.window

    @property
    def stage(self) -> str:
        """The stage: "train", "val" or "test"; empty for a report that comes from no training."""
        return self.context.window.stage

    @property
    def dataloader_idx(self) -> int | None:
        """Index of the data loader, if each validation or test data loader has separate reports; otherwise None."""
        return self.context.window.dataloader_idx

    @property
    def step(self) -> int:
        """The step at which loggers plot the report."""
        return self.context.step

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(L,), the names of the labels compared."""
        return tuple(map(self.context.name_of, self.labels))

    # Measured

    @property
    def link(self) -> Link:
        """The function from logits to probabilities."""
        return self.statistics.table.link

    @property
    def ladder(self) -> Ladder:
        """The similarities that are meaningful under the link."""
        return self.statistics.table.ladder

    @property
    def labels(self) -> tuple[int, ...]:
        """(L,), the labels compared, as rows of the head."""
        return self.statistics.table.labels

    @property
    def mean_probs(self) -> Tensor:
        """(L,), in [0, 1], the mean probability of each label compared; NaN if no inputs were seen."""
        return self.statistics.table.mean_probs

    @property
    def kept(self) -> Tensor:
        """Boolean (L,), whether a label is kept: it is live and its mean probability is large enough."""
        return self.statistics.table.kept

    @property
    def num_live(self) -> int:
        """K_live, the number of live labels. Means over labels are over these."""
        return self.statistics.table.num_live

    @property
    def num_kept(self) -> int:
        """Number of kept labels: of the head if the pairs are a sample, otherwise of the labels compared."""
        return self.statistics.table.num_kept

    @property
    def num_inputs(self) -> int:
        """Number of inputs seen."""
        return self.statistics.table.num_inputs

    @property
    def num_skipped(self) -> int:
        """Number of inputs left out because they are not finite."""
        return self.statistics.table.num_skipped

    @property
    def num_pairs(self) -> int:
        """Number of pairs of kept labels, compared or not."""
        return self.statistics.table.num_pairs

    @property
    def compared(self) -> Pairs:
        """The pairs compared, all or a sample, by the indices of their labels in `labels`."""
        return self.statistics.table.compared

    @property
    def sampling(self) -> str:
        """How the sample of pairs was drawn; empty if all pairs are compared."""
        return self.statistics.table.sampling

    @property
    def rungs(self) -> Mapping[str, Tensor]:
        """(P,) for the key of each similarity and for "overlap"; NaN for pairs with a label that is not kept."""
        return self.statistics.table.rungs

    @property
    def mass(self) -> Tensor:
        """(P,), at least 0, the joint mass of two labels: the mean over inputs of the numerator of their overlap."""
        return self.statistics.table.mass

    @property
    def truncation(self) -> Tensor | None:
        """(P,), by how much each overlap may be too small, since only the most likely labels of an input count; None: exact."""
        return self.statistics.table.truncation

    @property
    def joint_inputs(self) -> Tensor:
        """int64 (P,), the number of inputs on which both labels are likely (`functional.joint_inputs`)."""
        return self.statistics.table.joint_inputs

    @property
    def errors(self) -> Tensor | None:
        """int64 (2, P), the number of inputs of the first label predicted as the second, and the reverse; None: no targets."""
        return self.statistics.table.errors

    @property
    def joint_shares(self) -> Tensor | None:
        """(3, P), in [0, 1], the shares of the joint mass on inputs of the first label, the second, neither; None: no targets."""
        return self.statistics.table.joint_shares

    @property
    def effective_inputs(self) -> Tensor:
        """(L,), the number of inputs over which the probability of a label is spread; NaN if no inputs were seen."""
        return self.statistics.table.effective_inputs

    @property
    def cosine_percentile(self) -> Tensor:
        """(P,), in (0, 1], the rank of each cosine divided by the number of pairs; NaN for pairs that do not count."""
        return self.statistics.cosine_percentile

    @property
    def overlap_error(self) -> Tensor:
        """(P,), the standard error of each overlap and its gap; NaN if fewer than eight blocks have inputs."""
        return self.statistics.overlap_error

    # Computed

    @property
    def expected_overlap(self) -> Tensor:
        """(P,), in [0, 1], the overlap expected from the cosine: the fit to other pairs."""
        return self.statistics.expected_overlap

    @property
    def expected_curve(self) -> Tensor:
        """(P,), in [0, 1], the fit to all pairs including the pair itself, for plots. It never falls with the cosine."""
        return self.statistics.expected_curve

    @property
    def gap(self) -> Tensor:
        """(P,), in [-1, 1], overlap minus expected overlap."""
        return self.statistics.gap

    @property
    def scalars(self) -> dict[str, float]:
        """The value for each tag, without the group of the tag; NaN where undefined."""
        took = self.context.overhead_fraction
        overhead = {} if took is None else {"overhead_fraction": took}
        return {**self.statistics.numbers.scalars, **overhead, **self.verdict.shares}

    @property
    def rank_agreement(self) -> Mapping[str, float]:
        """For each similarity, its rank agreement with the overlap, in [-1, 1]; NaN where undefined."""
        return self.statistics.numbers.rank_agreement

    @property
    def top_pair_auroc(self) -> Mapping[str, float]:
        """For each similarity, how well it finds the 5 % of pairs with the largest overlap, in [0, 1]; 0.5 is chance."""
        return self.statistics.numbers.top_pair_auroc

    @property
    def neighbor_jaccard(self) -> Mapping[str, float]:
        """For each similarity, the mean Jaccard index, in [0, 1], of the five nearest labels by it and by overlap.

        Compare it with `neighbor_jaccard_chance`.
        """
        return self.statistics.numbers.neighbor_jaccard

    @property
    def neighbor_jaccard_chance(self) -> float:
        """The `neighbor_jaccard` of neighbors drawn at random among the kept labels; NaN if `neighbor_jaccard` is undefined."""
        undefined = all(map(math.isnan, self.neighbor_jaccard.values()))
        return math.nan if undefined else neighbor_jaccard_chance(self.num_kept, k=NUM_NEIGHBORS)

    @property
    def reliability(self) -> float:
        """How well the order of the overlaps repeats with other inputs, in [0, 1]; NaN where undefined."""
        return self.statistics.reliability

    @property
    def undefined(self) -> dict[str, str]:
        """The reason for each NaN. Keys are scalars, or a statistic and its similarity, such as `top_pair_auroc_raw_cosine`."""
        why = self.verdict.why_none
        return {**self.statistics.numbers.undefined, **(dict.fromkeys(self.verdict.shares, why) if why else {})}

    @property
    def standard_errors(self) -> Mapping[str, float]:
        """The standard error of each scalar that has one: the error from inputs and from a sample of pairs, combined."""
        return {**self.statistics.numbers.standard_errors, **self.verdict.share_errors}

    @property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """The 95 % interval of each scalar, as two bounds for the value that infinitely many inputs would give.

        Intervals are corrected for the bias of few inputs. Noise makes a rank agreement smaller, so the agreement of few inputs
        can lie below its interval (`report.errors.intervals_of`).
        """
        return self.statistics.numbers.intervals

    @property
    def remarks(self) -> Mapping[str, str]:
        """Problems of the head and its inputs that affect the numbers: a text for each kind of problem."""
        return self.statistics.remarks

    @property
    def absent(self) -> frozenset[str]:
        """Columns that pairs of this report lack: they are meaningless under the link, were not requested, or need targets."""
        unasked = frozenset({"on_top"} if self.extras.reachability is None else ())
        unasked |= frozenset({"on_alone"} if self.combinations is None else ())
        unknown = frozenset(OF_TARGETS if self.errors is None else ())
        return frozenset(RUNGS) - {*self.ladder.rungs} | unasked | unknown

    @property
    def why_absent(self) -> dict[str, str]:
        """The reason for each similarity or scalar that is meaningless under the link."""
        return dict.fromkeys(self.ladder.absent, self.ladder.why_uncentered)

    @property
    def rankings(self) -> Rankings | None:
        """The cosines between row differences of the most probable labels; they decide which rankings are possible."""
        return self.statistics.rankings

    # Judged and found

    @property
    def flags(self) -> Mapping[Side, Tensor]:
        """Boolean (P,) for each side, whether a pair is flagged; empty if the report is not judged."""
        return self.verdict.flags

    @property
    def alerts(self) -> tuple[str, ...]:
        """The alerts that act at this report, as texts."""
        return self.verdict.alerts

    @property
    def ranking_drift(self) -> float:
        """Mean change of the ranking cosines since the previous report of the stage, in [0, 2]; NaN in the first report."""
        return self.extras.ranking_drift

    @property
    def unreachable(self) -> tuple[str, ...] | None:
        """Names of the labels that no input can make the most likely one; None if reachability was not requested."""
        found = self.extras.reachability
        return None if found is None else tuple(map(self.context.name_of, found.unreachable))

    @property
    def num_undecided(self) -> int:
        """Number of labels whose reachability is undecided; 0 if reachability was not requested."""
        return 0 if self.extras.reachability is None else self.extras.reachability.num_undecided

    @property
    def combinations(self) -> CombinationVerdicts | None:
        """Which kept labels and pairs can be on alone under a sigmoid; None for other links, or if it was not requested."""
        return None if self.extras.reachability is None else self.extras.reachability.combinations

    @property
    def never_alone(self) -> tuple[str, ...] | None:
        """Names of the labels that no input can switch on with all other kept labels off; None if `combinations` is None."""
        found = self.combinations
        return None if found is None else tuple(map(self.context.name_of, found.never_alone))

    @cached_property
    def _alone(self) -> Mapping[tuple[int, int], str]:
        """The verdicts of `combinations` on pairs of rows of the head."""
        found = self.combinations
        return {} if found is None else {(one, other): verdict for one, other, verdict in found.pairs}

    @cached_property
    def reach(self) -> Tensor | None:
        """int8 (P,), the index in `REACHES` of the verdict on each pair; None if reachability was not requested."""
        found = self.extras.reachability
        if found is None:
            return None
        verdicts = {(one, other): REACHES.index(verdict) for one, other, verdict in found.pairs}
        code_P = torch.zeros_like(self.compared.row, dtype=torch.int8)
        for place in self.flagged().tolist():
            code_P[place] = verdicts.get(self.statistics.table.rows_of(place), 0)
        return code_P

    @cached_property
    def evidence(self) -> PairsWithEvidence:
        """The inputs behind pairs of labels, with the flags of this report; empty if none were kept."""
        found = self.extras.evidence
        if found is None:
            return PairsWithEvidence()
        rows_of = self.statistics.table.rows_of
        flags = {
            rows_of(place): FLAGS[side] for side, flags_P in self.flags.items() for place in flags_P.nonzero().flatten().tolist()
        }
        return found.with_flags(flags)

    # Pairs

    def flagged(self, most: int | None = None) -> Tensor:
        """The indices of the flagged pairs, the largest |gap| first.

        Args:
            most: return at most this many; default all.

        Returns:
            int64, one index in [0, P) for each pair.
        """
        flagged_P = torch.zeros_like(self.compared.row, dtype=torch.bool)
        for flags_P in self.flags.values():
            flagged_P |= flags_P
        places = flagged_P.nonzero().flatten()
        return places[self.gap[places].abs().argsort(descending=True, stable=True)[:most]]

    def matrix(self, what: str, places: Sequence[int] | Tensor | None = None) -> Tensor:
        """One quantity of all pairs as a symmetric matrix.

        Args:
            what: the key of a similarity, "overlap", "expected_overlap", "gap" or "mass".
            places: (S,), indices in `labels` of the rows and columns, in this order; default all labels, S = L.

        Returns:
            (S, S). Entries are NaN for pairs that were not compared or do not count. If a label has a pair, its diagonal entry
            is 1 for cosines, logit correlation and overlap, and 0 for the log-odds variance. All other diagonal entries are NaN.

        Raises:
            InputError: the report has no quantity `what`.
        """
        table = self.statistics.table
        values = {**self.rungs, "expected_overlap": self.expected_overlap, "gap": self.gap, "mass": self.mass}
        if what not in values:
            raise InputError(wrong_choice("what", what, [*values]))
        return table.matrix(values[what], places, of_itself=table.of_itself(what))

    def pairs(self, side: Side | None = None, *, top: int | None = None) -> list[Pair]:
        """The pairs of kept labels, sorted by gap.

        Args:
            side: "strangers" for pairs that overlap more than expected, the largest gap first; "lookalikes" for pairs that
                overlap less than expected, the most negative gap first. Flagged pairs come before others. Default: all pairs,
                from the most positive gap down. If gaps are undefined, both sides are empty, and all pairs are sorted by
                overlap, or by cosine if overlaps are undefined too.
            top: return at most this many, at least 0; default all.

        Returns:
            One `Pair` for each pair.

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
            if side in self.flags:  # gaps are at most 1, so adding 2 puts flagged pairs first
                key_P = key_P + 2 * self.flags[side]
        order = key_P.nan_to_num(-math.inf).argsort(descending=True, stable=True)
        return [self._pair(place) for place in order[counts_P[order]][:top].tolist()]

    def pair_of(self, rows: tuple[int, int]) -> Pair | None:
        """The pair of two rows of the head, in either order; None if the report did not compare it."""
        if not {*rows} <= {*self.labels} or rows[0] == rows[1]:
            return None
        one, other = (self.labels.index(row) for row in rows)
        row_P, column_P = self.compared.row, self.compared.column
        is_it_P = ((row_P == one) & (column_P == other)) | ((row_P == other) & (column_P == one))
        return self._pair(int(is_it_P.nonzero()[0])) if is_it_P.any() else None

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
            on_alone=on_alone(self._alone.get(self.statistics.table.rows_of(place), "")),
        )
