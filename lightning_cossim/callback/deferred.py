"""Afterthoughts: what takes too long for every report, and is put into the last ones of a run: nearest neighbors, reachability.

The Trainer comes from Lightning; nothing of Lightning is imported here.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from torch import Tensor

from lightning_cossim.callback.messages import Voice
from lightning_cossim.callback.report_queue import Reporter
from lightning_cossim.callback.session import Session
from lightning_cossim.capture.head import Weights
from lightning_cossim.config.settings import Schedule
from lightning_cossim.config.thresholds import judged
from lightning_cossim.loggers.progress import bar
from lightning_cossim.report import GapReport
from lightning_cossim.report.reachability import Reach, reach_of, with_reach

__all__ = ["Afterthoughts"]

_TAKES_LONG: Final = 3.0
"""Seconds of work from which on the user is told of it, and shown how far it is."""
_MANY: Final = 2000
_MOST_SECONDS: Final = 240.0
"""Labels whose reachability takes seconds, and how long it may take in all."""
_NAMED: Final = 20


class Afterthoughts:
    """Puts into the last reports what takes long. Every process has to call it, at the same time.

    Args:
        schedule: when it is wanted.
        ignore: labels that are not asked for.
        reporter: has the last reports.
        voice: says what is under way.
    """

    def __init__(self, schedule: Schedule, ignore: Sequence[int], reporter: Reporter, voice: Voice) -> None:
        self.schedule, self.ignore, self._reporter, self._voice = schedule, ignore, reporter, voice

    def are_due_for(self, report: GapReport) -> bool:
        """Whether a report, if it is the last of a run, gets something more at its end."""
        return self.schedule.reachability == "fit_end" or (bool(report.sampling) and self.schedule.neighbors == "fit_end")

    def summarized(self, trainer: Any) -> tuple[str, ...]:
        """The stages among whose labels neighbors are looked for: those of the runs that count, or else training."""
        return () if self.schedule.neighbors == "never" else _stages(trainer)

    def follow_fit(self, session: Session, trainer: Any) -> None:
        """What is due at the end of a fit."""
        self._follow(session, trainer, {"fit_end"} if trainer.enable_validation else {"fit_end", "validation"})

    def follow_run(self, session: Session, trainer: Any, *, ends: bool) -> None:
        """What is due after a validation or test run, at the end of all (`ends`) or within a fit."""
        self._follow(session, trainer, {"fit_end", "validation"} if ends else {"validation"})

    def _follow(self, session: Session, trainer: Any, due: set[str]) -> None:
        if self.schedule.neighbors in due:
            self._look_for_neighbors(session, trainer)
        if self.schedule.reachability in due:
            self._decide_reachability(session, trainer)

    def _look_for_neighbors(self, session: Session, trainer: Any) -> None:
        """Put the pairs whose rows are most alike into the last reports on samples of the pairs."""
        for window in session.watch.summarized:
            last = self._reporter.last_report[window]
            seconds = session.processes.together(functools.partial(session.watch.seconds_of_search, window))
            if seconds > _TAKES_LONG:
                what = f"the nearest neighbors of {session.watch.head.num_labels} labels, about {seconds:.0f} s"
                self._voice.inform(f'looking for {what}; `Schedule(neighbors="never")` leaves it out')
            shown = trainer.is_global_zero and seconds > _TAKES_LONG
            report = session.processes.together(functools.partial(_searched, session, window, shown=shown))
            scalars = {**report.scalars, "overhead_fraction": last.scalars["overhead_fraction"]}
            where: dict[str, Any] = {"stage": last.stage, "step": last.step, "dataloader_idx": last.dataloader_idx}
            report = replace(report, scalars=scalars, alerts=last.alerts, ranking_drift=last.ranking_drift, **where)
            self._reporter.renew(session.processes.together(functools.partial(judged, report, self._reporter.thresholds)))

    def _decide_reachability(self, session: Session, trainer: Any) -> None:
        """Put into the last reports what no input can bring out on top; one process works, and tells the others."""
        head, names, embedding, explains = session.processes.together(session.watch.glance)
        if not session.processes.from_first(explains):
            self._voice.inform_once("reachability is not decided: the model changes its logits after its head")
            return
        weights = head.gathered() or session.processes.together(lambda: head.weights)
        windows = [window for window in sorted(self._reporter.reported) if window.startswith(_stages(trainer))]
        reports = {window: self._reporter.last_report[window] for window in windows}
        shown = trainer.is_global_zero and head.num_labels >= _MANY
        if shown:
            what = f"deciding which of {head.num_labels} labels can be the most likely one, for {_MOST_SECONDS:.0f} s at most"
            self._voice.inform(f'{what}; `Schedule(reachability="never")` leaves it out')
        work = functools.partial(_reached, list(reports.values()), weights, embedding, self.ignore, shown=shown)
        reach = session.processes.together(lambda: work() if trainer.is_global_zero else None)
        reach = session.processes.from_first(reach)
        assert reach is not None, "the first process has it"
        for window, report in reports.items():
            self._reporter.renew(with_reach(report, reach, names))
            self._tell_of_unreachable(self._reporter.last_report[window].unreachable or ())

    def _tell_of_unreachable(self, names: Sequence[str]) -> None:
        if names:
            few = ", ".join(map(repr, names[:_NAMED]))
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self._voice.inform_once(f"{len(names)} labels can be the most likely one for no input at all: {few}{more}")


def _stages(trainer: Any) -> tuple[str, ...]:
    """Of the runs that count: of training only where there are no others."""
    return ("train",) if trainer.state.fn == "fit" and not trainer.enable_validation else ("val", "test")


def _searched(session: Session, window: str, *, shown: bool) -> GapReport:
    """A report with neighbors, for which a bar may be shown."""
    with bar("nearest neighbors", shown=shown) as progress:
        return session.watch.look_for_neighbors(window, progress)


def _reached(
    reports: list[GapReport], weights: Weights, embedding: Tensor | None, ignore: Sequence[int], *, shown: bool
) -> Reach:
    """What no input can bring out on top, for which a bar may be shown."""
    with bar("reachability", shown=shown) as progress:
        return reach_of(
            reports,
            weights.response.rows(weights.unembedding),
            weights.bias,
            embedding,
            ignore=ignore,
            time_limit=_MOST_SECONDS / 2,
            progress=progress,
        )
