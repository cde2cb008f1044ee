"""Deferred: expensive analyses that run once, at the end of a run: nearest neighbors and reachability.

The functions serve a trained model's files as well, with the same limits. The Trainer comes from Lightning; nothing of Lightning
is imported here.
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
"""Seconds of work from which on the user is told about it and sees a progress bar."""
_MANY: Final = 2000
_MOST_SECONDS: Final = 240.0
"""Labels whose reachability takes seconds, and how long it may take in all."""
_NAMED: Final = 20


def search_neighbors(
    summary: VocabularySummary, device: torch.device, *, shown: bool, announce: Callable[[str], None] | None = None
) -> Neighbors:
    """The labels whose rows are most alike, on the CPU.

    Args:
        summary: of a window over a vocabulary.
        device: to search on.
        shown: whether to show a progress bar, if the search is long.
        announce: is told what takes long, if it does.
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
    """Which labels, and which flagged pairs of the reports, some input can make the most likely ones; four minutes at most.

    Args:
        reports: judged already.
        weights: of their head.
        embedding: (N, D), inputs that were seen, if any.
        ignore: labels that are not asked for.
        shown: whether to show a progress bar, if there are many labels.
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
    """Adds expensive analyses to the last reports of a run. Every process has to call it, at the same time.

    The first process works and the others take its results.

    Args:
        schedule: when analyses are due.
        ignore: labels that are not asked for.
        messages: tells what is under way.
    """

    def __init__(self, schedule: Schedule, ignore: Sequence[int], messages: Messages) -> None:
        self.schedule, self.ignore, self._messages = schedule, ignore, messages

    def is_due_for(self, report: GapReport) -> bool:
        """Whether a report, if it is the last of a run, gets something more at its end."""
        return self.schedule.reachability == "fit_end" or (bool(report.sampling) and self.schedule.neighbors == "fit_end")

    def summarized(self, trainer: Any) -> tuple[str, ...]:
        """The stages whose vocabularies are searched for neighbors: those of the runs that count, or else training."""
        return () if self.schedule.neighbors == "never" else _stages(trainer)

    def with_errors(self, session: Session, reports: Mapping[WindowKey, GapReport]) -> list[GapReport]:
        """The reports that lack the errors of their scalars, which take too long for every one, with them."""
        completed = []
        for report in reports.values():
            statistics = report.statistics
            if not (statistics.has_errors or statistics.replicates.too_few):
                numbers = session.processes.on_first(partial(_numbers_with_errors, statistics))
                completed.append(report.on(statistics.with_numbers(numbers), report.verdict))
        return completed

    def after_fit(self, session: Session, trainer: Any, reports: Mapping[WindowKey, GapReport]) -> list[GapReport]:
        """The reports of a fit that gain something at its end, with it."""
        return self._complete(session, trainer, reports, {"fit_end"} if trainer.enable_validation else {"fit_end", "validation"})

    def after_run(self, session: Session, trainer: Any, reports: Mapping[WindowKey, GapReport], *, ends: bool) -> list[GapReport]:
        """The same after a validation or test run: one by itself (`ends`) or one within a fit."""
        return self._complete(session, trainer, reports, {"fit_end", "validation"} if ends else {"validation"})

    def _complete(self, session: Session, trainer: Any, reports: Mapping[WindowKey, GapReport], due: set[str]) -> list[GapReport]:
        completed: dict[WindowKey, GapReport] = {}
        if self.schedule.neighbors in due:
            completed |= self._with_neighbors(session, reports)
        # Another sample has flagged pairs that were not asked for yet.
        if self.schedule.reachability in due or any(report.unreachable is not None for report in completed.values()):
            counted = {key: report for key, report in reports.items() if key.stage in _stages(trainer)}
            completed |= self._with_reachability(
                session, {key: completed.get(key, counted[key]) for key in sorted(counted, key=str)}
            )
        return [*completed.values()]

    def _with_neighbors(self, session: Session, reports: Mapping[WindowKey, GapReport]) -> dict[WindowKey, GapReport]:
        """Reports on samples of the pairs, with those whose rows are most alike among them."""
        return {
            key: self._among_neighbors(session, summary, reports[key]) for key, summary in session.collector.summaries.items()
        }

    def _among_neighbors(self, session: Session, summary: VocabularySummary, last: GapReport) -> GapReport:
        """A report like the last one, on a sample that has the nearest neighbors in it."""
        processes, device = session.processes, session.collector.head.device
        seconds = processes.on_first(lambda: seconds_of_search(summary.unembedding, device))
        # Processes that wait for another give up after some minutes; where all search, none waits.
        search = processes.on_first if seconds <= _MOST_SECONDS else processes.together
        neighbors = search(lambda: search_neighbors(summary, device, shown=True, announce=self._announce_search))
        statistics = agreed(processes, lambda: summary.statistics(neighbors))
        return last.on(statistics, session.judged(statistics, last.verdict.thresholds))

    def _announce_search(self, what: str) -> None:
        self._messages.inform(f'looking for {what}; `Schedule(neighbors="never")` leaves it out')

    def _with_reachability(self, session: Session, reports: Mapping[WindowKey, GapReport]) -> dict[WindowKey, GapReport]:
        """Reports with what no input can bring out on top."""
        observed = session.processes.together(session.collector.observed)
        if not session.processes.from_first(observed.explains):
            self._messages.inform_once("reachability is not decided: the model changes its logits after its head")
            return {}
        weights = observed.head.gathered() or session.processes.together(lambda: observed.head.weights)
        if observed.head.num_labels >= _MANY:
            what = f"deciding which of {observed.head.num_labels} labels can be the most likely one"
            limit = f"for {_MOST_SECONDS:.0f} s at most"
            self._messages.inform(f'{what}, {limit}; `Schedule(reachability="never")` leaves it out')
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
            self._messages.inform_once(f"{len(names)} labels can be the most likely one for no input at all: {few}{more}")


def _numbers_with_errors(statistics: Statistics) -> Numbers:
    return statistics.with_errors().numbers


def _stages(trainer: Any) -> tuple[str, ...]:
    """Of the runs that count: of training only where there are no others."""
    return ("train",) if trainer.state.fn == "fit" and not trainer.enable_validation else ("val", "test")
