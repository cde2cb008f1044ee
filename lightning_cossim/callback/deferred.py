"""Deferred: expensive analyses that run once, at the end of a run: nearest neighbors and reachability.

`analyze` uses the same functions, with the same limits. The Trainer is Lightning's, but this module does not import Lightning.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from lightning_cossim.callback.messages import Messages
from lightning_cossim.callback.session import Session
from lightning_cossim.capture.collector import agreed
from lightning_cossim.capture.head import Weights
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.config.settings import Schedule
from lightning_cossim.functional.neighbors import Neighbors, seconds_of_search
from lightning_cossim.loggers.progress import bar
from lightning_cossim.report import GapReport, WindowKey
from lightning_cossim.report.extras import ReachabilityVerdicts
from lightning_cossim.report.reachability import find_reachability
from lightning_cossim.report.statistics import Numbers, Statistics

__all__ = ["Deferred", "decide_reachability", "search_neighbors"]

_LONG: Final = 3.0
"""If work takes more seconds than this, the monitor logs a line and shows a progress bar."""
_MANY: Final = 2000
_MOST_SECONDS: Final = 240.0
"""For `_MANY` labels or more, reachability takes seconds; `_MOST_SECONDS` is its limit. A search for neighbors that takes longer
runs on all processes.
"""
_NAMED: Final = 20


def search_neighbors(
    summary: VocabularySummary, device: torch.device, *, shown: bool, announce: Callable[[str], None] | None = None
) -> Neighbors:
    """The labels with the most similar rows, on the CPU.

    Args:
        summary: summary of a window over a vocabulary.
        device: where to search.
        shown: whether to show a progress bar if the search is long.
        announce: receives a description of the search if it is long.
    """
    seconds = seconds_of_search(summary.unembedding, device)
    if seconds > _LONG and announce is not None:
        announce(f"the nearest neighbors of {len(summary.unembedding)} labels, about {seconds:.0f} s")
    with bar("nearest neighbors", shown=shown and seconds > _LONG) as progress:
        found = summary.nearest(device, progress)
    return Neighbors(found.labels.cpu(), found.cosines.cpu())


def decide_reachability(
    reports: Sequence[GapReport], weights: Weights, embedding: Tensor | None, ignore: Sequence[int], *, shown: bool
) -> ReachabilityVerdicts:
    """The reachability of all labels, and of the flagged pairs of the reports. It stops after four minutes.

    A label is reachable if some input can make it the most likely label; a pair, if some input can make both the most likely.

    Args:
        reports: reports with verdicts.
        weights: weights of their head.
        embedding: (N, D), inputs that were seen; None if there are none.
        ignore: labels to leave out.
        shown: whether to show a progress bar if there are many labels.
    """
    with bar("reachability", shown=shown and len(weights.unembedding) >= _MANY) as progress:
        return find_reachability(
            reports,
            weights.response.rows(weights.unembedding),
            weights.bias,
            embedding,
            ignore=ignore,
            time_limit=_MOST_SECONDS / 2,
            progress=progress,
        )


class Deferred:
    """Adds expensive analyses to the last reports of a run. All processes must call it at the same time.

    The first process does the work, and the others receive its results.

    Args:
        schedule: when analyses are due.
        ignore: labels to leave out.
        messages: logs which analysis runs.
    """

    def __init__(self, schedule: Schedule, ignore: Sequence[int], messages: Messages) -> None:
        self.schedule, self.ignore, self._messages = schedule, ignore, messages

    def is_due_for(self, report: GapReport) -> bool:
        """Whether an analysis is added to this report if it is the last one of a run."""
        return self.schedule.reachability == "fit_end" or (bool(report.sampling) and self.schedule.neighbors == "fit_end")

    def summarized(self, trainer: Any) -> tuple[str, ...]:
        """Stages whose vocabularies are searched for neighbors: validation and test, or training in a fit without validation."""
        return () if self.schedule.neighbors == "never" else _stages(trainer)

    def with_errors(self, session: Session, reports: Mapping[WindowKey, GapReport]) -> list[GapReport]:
        """Copies of the reports that lack the standard errors of their scalars, with these errors.

        They take too long to compute for every report.
        """
        completed = []
        for report in reports.values():
            statistics = report.statistics
            if not (statistics.has_errors or statistics.replicates.too_few):
                numbers = session.processes.on_first(partial(_numbers_with_errors, statistics))
                completed.append(report.on(statistics.with_numbers(numbers), report.verdict))
        return completed

    def after_fit(self, session: Session, trainer: Any, reports: Mapping[WindowKey, GapReport]) -> list[GapReport]:
        """Copies of the reports to which the end of a fit adds an analysis, with that analysis."""
        return self._complete(session, trainer, reports, {"fit_end"} if trainer.enable_validation else {"fit_end", "validation"})

    def after_run(self, session: Session, trainer: Any, reports: Mapping[WindowKey, GapReport], *, ends: bool) -> list[GapReport]:
        """The same after a validation or test run, alone (`ends`) or within a fit."""
        return self._complete(session, trainer, reports, {"fit_end", "validation"} if ends else {"validation"})

    def _complete(self, session: Session, trainer: Any, reports: Mapping[WindowKey, GapReport], due: set[str]) -> list[GapReport]:
        completed: dict[WindowKey, GapReport] = {}
        if self.schedule.neighbors in due:
            completed |= self._with_neighbors(session, reports)
        # A new sample can have flagged pairs whose reachability is unknown.
        if self.schedule.reachability in due or any(report.unreachable is not None for report in completed.values()):
            counted = {key: report for key, report in reports.items() if key.stage in _stages(trainer)}
            completed |= self._with_reachability(
                session, {key: completed.get(key, counted[key]) for key in sorted(counted, key=str)}
            )
        return [*completed.values()]

    def _with_neighbors(self, session: Session, reports: Mapping[WindowKey, GapReport]) -> dict[WindowKey, GapReport]:
        """The reports on samples of pairs, with the pairs of nearest neighbors added to the samples."""
        return {
            key: self._among_neighbors(session, summary, reports[key]) for key, summary in session.collector.summaries.items()
        }

    def _among_neighbors(self, session: Session, summary: VocabularySummary, last: GapReport) -> GapReport:
        """A report like the last one, on a sample of pairs that contains the nearest neighbors."""
        processes, device = session.processes, session.collector.head.device
        seconds = processes.on_first(lambda: seconds_of_search(summary.unembedding, device))
        # A process that waits for another one times out after some minutes. If all search, none waits.
        search = processes.on_first if seconds <= _MOST_SECONDS else processes.together
        neighbors = search(lambda: search_neighbors(summary, device, shown=True, announce=self._announce_search))
        statistics = agreed(processes, lambda: summary.statistics(neighbors))
        return last.on(statistics, session.judged(statistics, last.verdict.thresholds))

    def _announce_search(self, what: str) -> None:
        self._messages.inform(f'searching {what}; `Schedule(neighbors="never")` turns this off')

    def _with_reachability(self, session: Session, reports: Mapping[WindowKey, GapReport]) -> dict[WindowKey, GapReport]:
        """The reports, with the labels and pairs that no input makes the most likely labels."""
        observed = session.processes.together(session.collector.observed)
        if not session.processes.from_first(observed.explains):
            self._messages.inform_once("cannot decide reachability: the model changes its logits after its head")
            return {}
        weights = observed.head.gathered() or session.processes.together(lambda: observed.head.weights)
        if observed.head.num_labels >= _MANY:
            what = f"deciding which of {observed.head.num_labels} labels can be the most likely label"
            limit = f"for at most {_MOST_SECONDS:.0f} s"
            self._messages.inform(f'{what}, {limit}; `Schedule(reachability="never")` turns this off')
        found = session.processes.on_first(
            lambda: decide_reachability([*reports.values()], weights, observed.embedding, self.ignore, shown=True)
        )
        completed = {key: report.with_reachability(found) for key, report in reports.items()}
        for report in completed.values():
            self._name_unreachable(report.unreachable or ())
        return completed

    def _name_unreachable(self, names: Sequence[str]) -> None:
        if names:
            few = ", ".join(map(repr, names[:_NAMED]))
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self._messages.inform_once(f"{len(names)} labels can never be the most likely one: {few}{more}")


def _numbers_with_errors(statistics: Statistics) -> Numbers:
    return statistics.with_errors().numbers


def _stages(trainer: Any) -> tuple[str, ...]:
    """The stages that get analyses: training only if a fit has no validation."""
    return ("train",) if trainer.state.fn == "fit" and not trainer.enable_validation else ("val", "test")
